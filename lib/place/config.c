// SPDX-License-Identifier: Apache-2.0
#include "place/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "place/config_yaml.h"

#define FILE_MAX      (1U << 20) /* bytes */
#define LEASE_DEFAULT 300	 /* seconds: a slow image pull lies between precreate and apply */
#define LEASE_MAX     86400

static const char *const modes[] = { "enforce", "observe", NULL };

/* The file while it is taken over. */
struct reading {
	const char *text;
	size_t len;
	const char *name;
	struct stow_err *err;
};

/* `NAME:LINE: KEY: text` for a value that has the right shape and a wrong meaning. */
static int bad(const struct reading *rd, const char *key, size_t index, const char *field,
	       const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static int bad(const struct reading *rd, const char *key, size_t index, const char *field,
	       const char *fmt, ...)
{
	unsigned int line = stow_yaml_line(rd->text, rd->len, key, index, field);
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *p = text; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	return stow_err_set(rd->err, EINVAL, "%s:%u: %s%s%s: %s", rd->name, line, key,
			    field ? " " : "", field ? field : "", text);
}

static int take_quantity(const struct reading *rd, const char *key, size_t index, const char *field,
			 const char *text, uint64_t *ret)
{
	struct stow_err err;
	char meant[32];

	if (!text)
		return 0;
	if (stow_parse_quantity(text, ret, &err) < 0)
		return bad(rd, key, index, field, "%s", err.msg);
	if (!*ret || *ret >= STOW_PAGE_MIN)
		return 0;
	if (stow_quantity_meant(text, meant, sizeof(meant)))
		return bad(rd, key, index, field,
			   "\"%.64s\" is less than a page of memory; did you mean \"%s\"?", text,
			   meant);
	return bad(rd, key, index, field, "\"%.64s\" is less than a page of memory", text);
}

static int take_mode(const struct reading *rd, const char *word, struct stow_config *config)
{
	int near;

	for (int i = 0; modes[i]; i++)
		if (strcmp(word, modes[i]) == 0) {
			config->mode = (enum stow_mode)i;
			return 0;
		}
	near = stow_nearest(word, modes);
	if (near < 0)
		return bad(rd, "mode", 0, NULL, "\"%.64s\" is not one of enforce, observe", word);
	return bad(rd, "mode", 0, NULL,
		   "\"%.64s\" is not one of enforce, observe; did you mean \"%s\"?", word,
		   modes[near]);
}

static int take_reserved_entry(const struct reading *rd, size_t i,
			       const struct stow_yaml_reserved *y, struct stow_config_node *ret)
{
	static const char key[] = "reserved";
	struct stow_err err;
	uint64_t id;

	if (strcmp(y->node, "*") == 0)
		ret->id = -1;
	else if (stow_parse_u64(y->node, STOW_IDSET_MAX - 1, &id, NULL) == 0)
		ret->id = (int)id;
	else
		return bad(rd, key, i, "node", "\"%.64s\" is neither a node's number nor \"*\"",
			   y->node);
	if (y->cpus && y->count)
		return bad(rd, key, i, "count", "cpus says already which CPUs; give one of them");
	if (y->cpus && stow_idset_parse(y->cpus, &ret->cpu_set, &err) < 0)
		return bad(rd, key, i, "cpus", "%s", err.msg);
	if (y->count && *y->count > STOW_IDSET_MAX)
		return bad(rd, key, i, "count", "%" PRIu32 " is more than %d", *y->count,
			   STOW_IDSET_MAX);
	ret->cpus = y->count ? *y->count : 0;
	return take_quantity(rd, key, i, "memory", y->memory, &ret->memory);
}

static int take_reserved(const struct reading *rd, const struct stow_yaml *y,
			 struct stow_config *config)
{
	config->reserved = calloc(y->reserved_count + 1, sizeof(*config->reserved));
	if (!config->reserved)
		return stow_err_set(rd->err, ENOMEM, "out of memory");
	for (size_t i = 0; i < y->reserved_count; i++) {
		int r = take_reserved_entry(rd, i, &y->reserved[i], &config->reserved[i]);

		if (r < 0)
			return r;
		for (size_t j = 0; j < i; j++)
			if (config->reserved[j].id == config->reserved[i].id)
				return bad(rd, "reserved", i, "node",
					   "node %s has an entry already", y->reserved[i].node);
		config->n_reserved++;
	}
	return 0;
}

static int take_bool(const struct reading *rd, const char *key, size_t index, const char *field,
		     const char *word, bool *ret)
{
	static const char *const words[] = { "true", "false", "yes", "no", "on", "off" };

	for (size_t i = 0; word && i < STOW_ARRAY_SIZE(words); i++)
		if (strcmp(word, words[i]) == 0) {
			*ret = i % 2 == 0;
			return 0;
		}
	return word ? bad(rd, key, index, field, "\"%.64s\" is neither true nor false", word) : 0;
}

static int take_namespaces(const struct reading *rd, const struct stow_yaml *y,
			   struct stow_config *config)
{
	static const char key[] = "namespaces";

	config->namespaces = calloc(y->namespaces_count + 1, sizeof(*config->namespaces));
	if (!config->namespaces)
		return stow_err_set(rd->err, ENOMEM, "out of memory");
	for (size_t i = 0; i < y->namespaces_count; i++) {
		struct stow_config_namespace *ns = &config->namespaces[i];
		const struct stow_yaml_namespace *from = &y->namespaces[i];
		int r;

		if (strlen(from->name) > STOW_NAME_MAX)
			return bad(rd, key, i, "name", "\"%.64s...\" is longer than %d bytes",
				   from->name, STOW_NAME_MAX);
		for (size_t j = 0; j < i; j++)
			if (strcmp(y->namespaces[j].name, from->name) == 0)
				return bad(rd, key, i, "name", "\"%.64s\" has an entry already",
					   from->name);
		ns->name = strdup(from->name);
		config->n_namespaces++;
		if (!ns->name)
			return stow_err_set(rd->err, ENOMEM, "out of memory");
		ns->total.cpus = from->cpus;
		r = take_bool(rd, key, i, "exclusive-cpus", from->exclusive_cpus, &ns->exclusive);
		if (r == 0)
			r = take_quantity(rd, key, i, "memory", from->memory, &ns->total.memory);
		if (r == 0)
			r = take_quantity(rd, key, i, "hugepages", from->hugepages,
					  &ns->total.hugepages);
		if (r < 0)
			return r;
	}
	return 0;
}

static int take_list(char *const *from, size_t n, char ***ret)
{
	if (!n)
		return 0;
	*ret = calloc(n + 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		(*ret)[i] = strdup(from[i]);
		if (!(*ret)[i])
			return -ENOMEM;
	}
	return 0;
}

static int take_lists(const struct reading *rd, const struct stow_yaml *y,
		      struct stow_config *config)
{
	struct stow_err err;

	for (size_t i = 0; i < y->allowed_keys_count; i++)
		if (stow_request_check_key(y->allowed_keys[i], &err) < 0)
			return bad(rd, "allowed-keys", i, NULL, "%s", err.msg);
	/* A name without a path would be looked for in whatever folder the hook runs in. */
	for (size_t i = 0; i < y->runtimes_count; i++)
		if (y->runtimes[i][0] != '/')
			return bad(rd, "runtimes", i, NULL,
				   "\"%.64s\" is not a whole path like /usr/bin/crun",
				   y->runtimes[i]);
	if (take_list(y->allowed_keys, y->allowed_keys_count, &config->allowed_keys) < 0 ||
	    take_list(y->runtimes, y->runtimes_count, &config->runtimes) < 0)
		return stow_err_set(rd->err, ENOMEM, "out of memory");
	return 0;
}

static int take(const struct reading *rd, const struct stow_yaml *y, struct stow_config *config)
{
	struct stow_err err;
	int r = 0;

	if (y->mode)
		r = take_mode(rd, y->mode, config);
	if (r == 0 && y->default_policy &&
	    stow_policy_parse(y->default_policy, &config->default_policy, &err) < 0)
		r = bad(rd, "default-policy", 0, NULL, "%s", strchr(err.msg, '"'));
	if (r == 0)
		r = take_reserved(rd, y, config);
	if (r == 0 && y->caps) {
		config->request.cpus = y->caps->cpus;
		r = take_quantity(rd, "caps", 0, "memory", y->caps->memory,
				  &config->request.memory);
		if (r == 0)
			r = take_quantity(rd, "caps", 0, "hugepages", y->caps->hugepages,
					  &config->request.hugepages);
	}
	if (r == 0)
		r = take_namespaces(rd, y, config);
	if (r == 0)
		r = take_lists(rd, y, config);
	if (r == 0)
		r = take_bool(rd, "full-cores", 0, NULL, y->full_cores, &config->full_cores);
	if (r == 0)
		r = take_bool(rd, "adopt", 0, NULL, y->adopt, &config->adopt);
	if (r == 0)
		r = take_bool(rd, "partitions", 0, NULL, y->partitions, &config->partitions);
	if (r == 0 && y->lease_seconds) {
		if (*y->lease_seconds < 1 || *y->lease_seconds > LEASE_MAX)
			return bad(rd, "lease-seconds", 0, NULL,
				   "%" PRIu32 " is not a number of seconds from 1 to %d",
				   *y->lease_seconds, LEASE_MAX);
		config->lease_seconds = *y->lease_seconds;
	}
	return r;
}

int stow_config_parse(const char *text, size_t len, const char *name,
		      struct stow_config **ret_config, struct stow_err *err)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *config = NULL;
	_cleanup_(stow_yaml_free_ptr) struct stow_yaml *yaml = NULL;
	struct reading rd = { text, len, name, err };
	int r;

	config = calloc(1, sizeof(*config));
	if (!config)
		return stow_err_set(err, ENOMEM, "out of memory");
	config->lease_seconds = LEASE_DEFAULT;
	config->adopt = true;
	r = stow_yaml_load(text, len, name, &yaml, err);
	if (r == 0 && yaml)
		r = take(&rd, yaml, config);
	if (r < 0)
		return r;
	*ret_config = STOW_TAKE_PTR(config);
	return 0;
}

int stow_config_read(struct stow_root *root, struct stow_config **ret_config, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	r = stow_root_read(root, FILE_MAX, &text, &len, err, STOW_CONFIG_PATH);
	if (r == -ENOENT)
		return stow_config_parse("", 0, STOW_CONFIG_PATH, ret_config, err);
	if (r < 0)
		return r;
	return stow_config_parse(text, len, STOW_CONFIG_PATH, ret_config, err);
}

int stow_config_read_anyway(struct stow_root *root, struct stow_config **ret_config,
			    struct stow_err *err)
{
	int r = stow_config_read(root, ret_config, err);

	if (r == 0 || r == -ENOMEM)
		return r;
	r = stow_config_parse("", 0, STOW_CONFIG_PATH, ret_config, NULL);
	if (r < 0)
		return stow_err_sys(err, -r, STOW_CONFIG_PATH);
	(*ret_config)->unread = true;
	return 1;
}

void stow_config_free(struct stow_config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_namespaces; i++)
		free(config->namespaces[i].name);
	for (char **p = config->allowed_keys; p && *p; p++)
		free(*p);
	for (char **p = config->runtimes; p && *p; p++)
		free(*p);
	free(config->reserved);
	free(config->namespaces);
	free(config->allowed_keys);
	free(config->runtimes);
	free(config);
}

void stow_config_reserved_digest(const struct stow_config *config,
				 char ret[static STOW_DIGEST_LEN + 1])
{
	struct stow_digest digest;

	stow_digest_begin(&digest, "numastow reserved CPUs 1");
	for (size_t i = 0; config && i < config->n_reserved; i++) {
		stow_digest_number(&digest, (uint64_t)config->reserved[i].id);
		stow_digest_number(&digest, config->reserved[i].cpus);
		stow_digest_set(&digest, &config->reserved[i].cpu_set);
	}
	stow_digest_end(&digest, ret);
}
