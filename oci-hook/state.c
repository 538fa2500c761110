// SPDX-License-Identifier: Apache-2.0
#include "oci-hook/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/parse.h"
#include "base/read.h"
#include "base/text.h"

#define SHOWN_MAX 80 /* bytes of an untrusted value in a message */

/* Safe in a path, in a message and in the journal. */
static const char name_characters[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-";

STOW_DEFINE_CLEANUP(json_tokener_free, struct json_tokener);

int hook_parse_json(const char *text, size_t len, const char *what, struct json_object **ret,
		    struct stow_err *err)
{
	_cleanup_(json_tokener_free_ptr) struct json_tokener *tokener = json_tokener_new();
	_cleanup_json_ struct json_object *json = NULL;
	_cleanup_free_ char *copy = NULL;
	size_t end;

	if (!tokener || len > INT32_MAX || stow_text_json_names(text, len, &copy) < 0)
		return stow_err_sys(err, ENOMEM, "%s", what);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	text = copy ? copy : text;
	/* Includes the terminator, so that the tokener recognizes the end. */
	json = json_tokener_parse_ex(tokener, text, (int)len + 1);
	end = json_tokener_get_parse_end(tokener);
	if (!json && json_tokener_get_error(tokener) != json_tokener_success)
		return stow_err_set(err, EINVAL, "%s is not JSON: %s at byte %zu", what,
				    json_tokener_error_desc(json_tokener_get_error(tokener)), end);
	while (end < len && strchr(" \t\r\n", text[end]))
		end++;
	if (end < len)
		return stow_err_set(err, EINVAL, "%s is not JSON: more text at byte %zu", what,
				    end);
	if (!json_object_is_type(json, json_type_object))
		return stow_err_set(err, EINVAL, "%s is not a JSON object", what);
	*ret = STOW_TAKE_PTR(json);
	return 0;
}

static const char *text_member(struct json_object *o, const char *key)
{
	struct json_object *v = stow_json_member(o, key, json_type_string);

	/* An embedded NUL would hide the rest from the checks. */
	if (!v || strlen(json_object_get_string(v)) != (size_t)json_object_get_string_len(v))
		return NULL;
	return json_object_get_string(v);
}

/* Return whether a name is safe as a component of a path, as an argument, and in messages. */
static bool is_name(const char *name)
{
	size_t len = strlen(name);

	if (!len || len > STOW_NAME_MAX || name[0] == '.' || name[0] == '-')
		return false;
	return strspn(name, name_characters) == len;
}

/* Turn an id that is not a name into one, for a container without numastow's annotations: it must
 * start whatever its id is, and crun accepts everything but a slash. '%', which is in no name,
 * keeps the result apart from other ids. */
static char *name_of_id(const char *id)
{
	size_t size = 3 * strlen(id) + 1, len = 0;
	char *name = malloc(size), hex[STOW_DIGEST_LEN + 1];
	struct stow_digest digest;

	for (const char *p = id; name && *p; p++)
		if (strchr(name_characters, *p) &&
		    (*p != '.' || p > id)) /* "." would hide the file */
			name[len++] = *p;
		else
			len += (size_t)snprintf(name + len, size - len, "%%%02X",
						(unsigned char)*p);
	if (!name)
		return NULL;
	name[len] = '\0';
	if (len <= STOW_NAME_MAX)
		return name;
	stow_digest_begin(&digest, "id");
	stow_digest_text(&digest, id);
	stow_digest_end(&digest, hex);
	snprintf(name, size, "%%%s", hex);
	return name;
}

static int check_name(const char *key, const char *value, struct stow_err *err)
{
	if (!value || is_name(value))
		return 0;
	return stow_err_set(err, EINVAL,
			    "%s: only letters, digits, '.', '_', '+' and '-' are valid, at most %d",
			    key, STOW_NAME_MAX);
}

static const struct stow_annotation *find(const struct hook_container *c, const char *key)
{
	for (size_t i = 0; i < c->n_annotations; i++)
		if (strcmp(c->annotations[i].key, key) == 0)
			return &c->annotations[i];
	return NULL;
}

/*
 * Find and check the value of several keys, because runtimes use different keys for the same thing.
 * No runtime writes the key of another one: if two values differ, the pod's author wrote one of
 * them, to pass for another container.
 */
static int pick(const struct hook_container *c, const char *const *keys, const char **ret,
		struct stow_err *err)
{
	const struct stow_annotation *first = NULL, *a;
	char one[SHOWN_MAX + 4], other[SHOWN_MAX + 4];

	*ret = NULL;
	for (; *keys; keys++) {
		a = find(c, *keys);
		if (!a)
			continue;
		if (!is_name(a->value))
			return stow_err_set(err, EINVAL,
					    "%s: \"%s\" is not a name: 1 to %d letters, digits, "
					    "'.', '_', '+' and '-' are",
					    a->key, stow_text_quote(a->value, one, sizeof(one)),
					    STOW_NAME_MAX);
		if (first && strcmp(first->value, a->value) != 0)
			return stow_err_set(err, EINVAL,
					    "%s: \"%s\" and %s: \"%s\" contradict each other; the "
					    "container's engine gives one of them",
					    first->key,
					    stow_text_quote(first->value, one, sizeof(one)), a->key,
					    stow_text_quote(a->value, other, sizeof(other)));
		if (!first)
			first = a;
	}
	*ret = first ? first->value : NULL;
	return 0;
}

/* Read the container's names from its annotations. A container without numastow.io annotations only
 * has to be kept off exclusive CPUs: an invalid identity must not prevent its start, and counts as
 * unknown. */
static int read_identity(struct hook_container *c, struct stow_err *err)
{
	static const char *const name[] = { "io.kubernetes.container.name",
					    "io.kubernetes.cri.container-name", NULL };
	static const char *const ns[] = { "io.kubernetes.pod.namespace",
					  "io.kubernetes.cri.sandbox-namespace", NULL };
	static const char *const pod[] = { "io.kubernetes.pod.name",
					   "io.kubernetes.cri.sandbox-name", NULL };
	static const char *const uid[] = { "io.kubernetes.pod.uid", "io.kubernetes.cri.sandbox-uid",
					   NULL };
	static const char *const sandbox[] = { "io.kubernetes.cri.sandbox-id",
					       "io.kubernetes.cri-o.SandboxID", NULL };
	static const char *const type[] = { "io.kubernetes.cri.container-type",
					    "io.kubernetes.cri-o.ContainerType", NULL };
	const char *kind, *sandbox_id;
	const struct {
		const char *const *keys;
		const char **ret;
	} all[] = { { name, &c->name },	 { ns, &c->ns },	   { pod, &c->pod },
		    { uid, &c->pod_id }, { sandbox, &sandbox_id }, { type, &kind } };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(all); i++) {
		int r = pick(c, all[i].keys, all[i].ret, c->annotated ? err : NULL);

		if (r < 0 && c->annotated)
			return r;
	}
	if (!c->pod_id)
		c->pod_id = sandbox_id;
	c->sandbox = kind && strcmp(kind, "sandbox") == 0;
	return 0;
}

static int read_annotations(struct hook_container *c, struct stow_err *err)
{
	struct json_object *map = NULL;
	size_t n = 0;

	if (!json_object_object_get_ex(c->json, "annotations", &map) || !map)
		return 0;
	if (!json_object_is_type(map, json_type_object))
		return stow_err_set(err, EINVAL, "annotations is not an object");
	c->annotations =
		calloc((size_t)json_object_object_length(map) + 1, sizeof(*c->annotations));
	if (!c->annotations)
		return stow_err_sys(err, ENOMEM, "annotations");
	json_object_object_foreach(map, key, value) {
		bool ours =
			strncmp(key, STOW_ANNOTATION_PREFIX, strlen(STOW_ANNOTATION_PREFIX)) == 0;
		const char *text =
			json_object_is_type(value, json_type_string) ? text_member(map, key) : NULL;

		if (!text && ours)
			return stow_err_set(err, EINVAL, "annotation %.128s is not a plain string",
					    key);
		if (!text)
			continue;
		c->annotations[n].key = key;
		c->annotations[n++].value = text;
		c->annotated |= ours;
	}
	c->n_annotations = n;
	return read_identity(c, err);
}

static int read_id(struct hook_container *c, struct stow_err *err)
{
	if (is_name(c->id))
		return 0;
	if (c->annotated)
		return check_name("the OCI state's id", c->id, err);
	c->own_id = name_of_id(c->id);
	if (!c->own_id)
		return stow_err_sys(err, ENOMEM, "the OCI state's id");
	c->id = c->own_id;
	return 0;
}

int hook_parse_state(const char *text, size_t len, struct hook_container *ret, struct stow_err *err)
{
	struct hook_container c = { 0 };
	struct json_object *pid;
	int r;

	r = hook_parse_json(text, len, "the OCI state on standard input", &c.json, err);
	if (r < 0)
		return r;
	c.id = text_member(c.json, "id");
	c.bundle = text_member(c.json, "bundle");
	pid = stow_json_member(c.json, "pid", json_type_int);
	if (!c.id || !c.id[0])
		r = stow_err_set(err, EINVAL, "the OCI state has no id");
	else if (pid && (json_object_get_int64(pid) < 0 || json_object_get_int64(pid) > INT32_MAX))
		r = stow_err_set(err, EINVAL, "the OCI state's pid is out of range");
	else
		r = read_annotations(&c, err);
	if (r == 0)
		r = read_id(&c, err);
	if (r < 0) {
		hook_container_done(&c);
		return r;
	}
	c.pid = pid ? (pid_t)json_object_get_int64(pid) : 0;
	*ret = c;
	return 0;
}

/*
 * Extract the container's id from linux.cgroupsPath, as the OCI state will have it; NULL: out of
 * memory. The forms are "machine.slice:libpod:ID" (systemd), "/libpod_parent/libpod-ID" (cgroupfs),
 * "/UNIT/libpod-payload-ID" (Podman's --cgroups=split, Quadlet's default),
 * "/machine.slice/libpod-ID.scope".
 */
static char *id_of_cgroups_path(const char *path)
{
	static const char *const prefixes[] = { "libpod-payload-", "libpod-", "crio-",
						"cri-containerd-", "docker-" };
	static const char scope[] = ".scope";
	const char *colon = strrchr(path, ':'), *slash = strrchr(path, '/');
	const char *id = colon ? colon + 1 : slash ? slash + 1 : path;
	size_t len;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(prefixes) && !colon; i++)
		if (strncmp(id, prefixes[i], strlen(prefixes[i])) == 0) {
			id += strlen(prefixes[i]);
			break;
		}
	len = strlen(id);
	if (len > strlen(scope) && strcmp(id + len - strlen(scope), scope) == 0)
		len -= strlen(scope);
	return strndup(id, len);
}

int hook_parse_config(const char *text, size_t len, struct hook_container *ret,
		      struct stow_err *err)
{
	struct hook_container c = { 0 };
	const char *path;
	int r;

	r = hook_parse_json(text, len, "the config.json on standard input", &c.json, err);
	if (r < 0)
		return r;
	r = read_annotations(&c, err);
	path = text_member(stow_json_member(c.json, "linux", json_type_object), "cgroupsPath");
	if (path) {
		c.id = c.own_id = id_of_cgroups_path(path);
		if (!c.id)
			r = stow_err_sys(err, ENOMEM, "linux.cgroupsPath");
	}
	if (r == 0 && c.annotated && !c.id)
		r = stow_err_set(err, ENOENT, "config.json has no linux.cgroupsPath");
	if (r == 0 && c.annotated)
		r = check_name("the end of linux.cgroupsPath", c.id, err);
	if (r < 0) {
		hook_container_done(&c);
		return r;
	}
	*ret = c;
	return 0;
}

void hook_container_done(struct hook_container *container)
{
	free(container->annotations);
	free(container->own_id);
	json_object_put(container->json);
	memset(container, 0, sizeof(*container));
}

int hook_read_config(struct stow_root *root, const char *bundle, char **ret_text, size_t *ret_len,
		     struct stow_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	if (!bundle || bundle[0] != '/')
		return stow_err_set(err, EINVAL, "the OCI state has no absolute bundle path");
	/* O_NONBLOCK: a FIFO instead of the file must not block the hook. */
	fd = stow_root_openat(root, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err, "%s/config.json",
			      bundle);
	if (fd == -ELOOP)
		return stow_err_set(err, ELOOP, "%s/config.json is a symbolic link", bundle);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return stow_err_set(err, EINVAL, "%s/config.json is not a regular file", bundle);
	return stow_read_all(fd, HOOK_CONFIG_MAX, "config.json", ret_text, ret_len, err);
}

int hook_open_config(struct stow_root *root, const char *bundle, struct json_object **ret_config,
		     struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = hook_read_config(root, bundle, &text, &len, err);

	return r < 0 ? r : hook_parse_json(text, len, "config.json", ret_config, err);
}

/* Read a limit: 0 if it is absent, null or -1 ("unlimited"). */
static uint64_t positive(struct json_object *o, const char *key)
{
	struct json_object *v = stow_json_member(o, key, json_type_int);
	int64_t n = v ? json_object_get_int64(v) : 0;

	return n > 0 ? (uint64_t)n : 0;
}

static int read_hugepage_limits(struct json_object *resources, struct stow_limits *limits,
				struct stow_err *err)
{
	struct json_object *list = stow_json_member(resources, "hugepageLimits", json_type_array);

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);
		const char *page = text_member(item, "pageSize");
		struct json_object *limit = stow_json_member(item, "limit", json_type_int);
		int64_t bytes = limit ? json_object_get_int64(limit) : -1;
		uint64_t size;
		int r;

		if (!page)
			return stow_err_set(err, EINVAL, "hugepageLimits without a pageSize");
		r = stow_parse_pagesize(page, &size, err);
		if (r < 0)
			return stow_err_wrap(err, r, "config.json: hugepageLimits");
		/* 0 is a limit: no pages. Very large numbers mean "unlimited". */
		if (bytes < 0 || bytes >= INT64_C(1) << 62 || limits->n_pages == STOW_POOLS_MAX)
			continue;
		limits->pages[limits->n_pages].size = size;
		limits->pages[limits->n_pages++].count = (uint64_t)bytes / size;
	}
	return 0;
}

int hook_config_limits(struct json_object *config, struct stow_limits *ret, struct stow_err *err)
{
	struct json_object *resources = stow_json_member(
		stow_json_member(config, "linux", json_type_object), "resources", json_type_object);
	struct json_object *cpu = stow_json_member(resources, "cpu", json_type_object);
	uint64_t quota = positive(cpu, "quota"), period = positive(cpu, "period");
	uint64_t memory =
		positive(stow_json_member(resources, "memory", json_type_object), "limit");
	struct stow_limits limits = { 0 };
	int r;

	if (quota && !period)
		period = 100000; /* the kernel's default, in microseconds */
	if (quota)
		limits.cpus = (uint32_t)((quota - 1) / period + 1 < STOW_CPUS_MAX
						 ? (quota - 1) / period + 1
						 : STOW_CPUS_MAX);
	/* Runtimes also write the largest number for "unlimited". */
	limits.memory = memory < (UINT64_C(1) << 62) ? memory : 0;
	r = read_hugepage_limits(resources, &limits, err);
	if (r == 0)
		*ret = limits;
	return r;
}

const char *hook_config_memory_policy(struct json_object *config)
{
	return text_member(stow_json_member(stow_json_member(config, "linux", json_type_object),
					    "memoryPolicy", json_type_object),
			   "mode");
}
