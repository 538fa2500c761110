// SPDX-License-Identifier: Apache-2.0
#include "place/request.h"
#include "place/reservation.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"

#define KEYS_MAX      1024 /* numastow's annotations on one container: more are an attack */
#define VALUE_MAX     1024 /* bytes; the longest real value is a list of nodes */
#define CONTAINER_MAX 63   /* a DNS label, RFC 1123 */
#define SHOWN_MAX     80   /* bytes of a key or value that an error quotes */

const char *const stow_cpu_modes[] = { "shared", "exclusive", "isolated", NULL };
const char *const stow_policies[] = { "single-numa-node", "restricted", "best-effort", "spread",
				      NULL };
static const char *const scopes[] = { "container", "pod", NULL };
const char *const stow_memory_policies[] = { "bind", "preferred", "interleave", "local", NULL };
const char *const stow_drains[] = { "repin", "evict", "refuse", NULL };
static const char *const on_failures[] = { "fail", "ignore", NULL };

enum key {
	KEY_CPUS,
	KEY_CPU_MODE,
	KEY_MEMORY,
	KEY_POLICY,
	KEY_SCOPE,
	KEY_NODES,
	KEY_MEMORY_POLICY,
	KEY_NEAR,
	KEY_DRAIN,
	KEY_ON_FAILURE,
	KEY_RESERVATION,
	KEY_HUGEPAGES,
};

/* Two page sizes stand for all of them in the search for the nearest key. */
static const char *const keys[] = {
	[KEY_CPUS] = "cpus",
	[KEY_CPU_MODE] = "cpu-mode",
	[KEY_MEMORY] = "memory",
	[KEY_POLICY] = "policy",
	[KEY_SCOPE] = "scope",
	[KEY_NODES] = "nodes",
	[KEY_MEMORY_POLICY] = "memory-policy",
	[KEY_NEAR] = "near",
	[KEY_DRAIN] = "drain",
	[KEY_ON_FAILURE] = "on-failure",
	[KEY_RESERVATION] = "reservation",
	[KEY_HUGEPAGES] = "hugepages-2Mi",
	[KEY_HUGEPAGES + 1] = "hugepages-1Gi",
	NULL,
};

#define HUGEPAGES "hugepages-"

/* An annotation of numastow's, divided into its parts. */
struct item {
	enum key key;
	uint64_t page_size;    /* for KEY_HUGEPAGES */
	const char *container; /* after the dot, or NULL */
	const char *name;      /* the whole key, for messages */
	const char *value;
};

const char *stow_cpu_mode_name(enum stow_cpu_mode v)
{
	return stow_cpu_modes[v];
}

const char *stow_policy_name(enum stow_policy v)
{
	return stow_policies[v];
}

const char *stow_memory_policy_name(enum stow_memory_policy v)
{
	return stow_memory_policies[v];
}

/* Set the error `numastow.io/KEY: "VALUE" TEXT`. */
static int bad_value(const struct item *item, struct stow_err *err, int errnum, const char *fmt,
		     ...) __attribute__((format(printf, 4, 5)));

static int bad_value(const struct item *item, struct stow_err *err, int errnum, const char *fmt,
		     ...)
{
	char key[SHOWN_MAX + 4], value[SHOWN_MAX + 4], text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return stow_err_set(err, errnum, "%s: \"%s\" %s",
			    stow_text_quote(item->name, key, sizeof(key)),
			    stow_text_quote(item->value, value, sizeof(value)), text);
}

/* Format the words as "a, b, c". */
static const char *join(const char *const *words, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (int i = 0; words[i] && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s", i ? ", " : "", words[i]);
	return buf;
}

static int parse_word(const struct item *item, const char *const *words, struct stow_err *err)
{
	char why[STOW_WHY_MAX];
	int i = stow_parse_word_why(item->value, words, why);

	return i < 0 ? bad_value(item, err, EINVAL, "%s", why) : i;
}

static int parse_cpus(const struct item *item, struct stow_request *req, struct stow_err *err)
{
	uint64_t v;
	int r = stow_parse_u64(item->value, STOW_CPUS_MAX, &v, NULL);

	if (r < 0 || v == 0)
		return bad_value(item, err, r < 0 ? -r : EINVAL,
				 "is not a whole number of CPUs from 1 to %d", STOW_CPUS_MAX);
	req->cpus = (uint32_t)v;
	req->has_cpus = true;
	return 0;
}

static int parse_bytes(const struct item *item, uint64_t *ret, struct stow_err *err)
{
	char why[STOW_WHY_MAX];
	int r = stow_parse_quantity_why(item->value, ret, why);

	return r < 0 ? bad_value(item, err, -r, "%s", why) : 0;
}

static int parse_memory(const struct item *item, struct stow_request *req, struct stow_err *err)
{
	char meant[32];
	uint64_t v;
	int r = parse_bytes(item, &v, err);

	if (r < 0)
		return r;
	if (v == 0)
		return bad_value(item, err, EINVAL,
				 "is no memory; set more than 0, or omit the key");
	if (v < STOW_PAGE_MIN && stow_quantity_meant(item->value, meant, sizeof(meant)))
		return bad_value(item, err, EINVAL,
				 "is less than a page of memory; did you mean \"%s\"?", meant);
	if (v < STOW_PAGE_MIN)
		return bad_value(item, err, EINVAL,
				 "is less than a page of memory; set an amount like 512Mi or 8Gi");
	req->memory = v;
	req->has_memory = true;
	return 0;
}

/* Set the number of pages of one size; 0 removes the size. -E2BIG: too many sizes. */
static int set_pages(struct stow_request *req, uint64_t size, uint64_t count)
{
	size_t i = 0;

	while (i < req->n_pages && req->pages[i].size < size)
		i++;
	if (i < req->n_pages && req->pages[i].size == size) {
		if (count) {
			req->pages[i].count = count;
			return 0;
		}
		req->n_pages--;
		memmove(&req->pages[i], &req->pages[i + 1],
			(req->n_pages - i) * sizeof(req->pages[0]));
		return 0;
	}
	if (!count)
		return 0;
	if (req->n_pages == STOW_POOLS_MAX)
		return -E2BIG;
	memmove(&req->pages[i + 1], &req->pages[i], (req->n_pages - i) * sizeof(req->pages[0]));
	req->n_pages++;
	req->pages[i] = (struct stow_page_request){ .size = size, .count = count };
	return 0;
}

static int parse_hugepages(const struct item *item, struct stow_request *req, struct stow_err *err)
{
	char below[32], above[32];
	uint64_t bytes;
	int r = parse_bytes(item, &bytes, err);

	if (r < 0)
		return r;
	if (bytes % item->page_size) {
		uint64_t down = bytes - bytes % item->page_size;

		stow_format_size(down, below, sizeof(below));
		stow_format_size(down + item->page_size, above, sizeof(above));
		if (!down)
			return bad_value(item, err, EINVAL, "is less than one page; %s is one",
					 above);
		return bad_value(item, err, EINVAL,
				 "is not a multiple of the page size; %s and %s are", below, above);
	}
	if (set_pages(req, item->page_size, bytes / item->page_size) < 0)
		return bad_value(item, err, EINVAL,
				 "is one page size too many; at most %d are possible",
				 STOW_POOLS_MAX);
	return 0;
}

static int parse_nodes(const struct item *item, struct stow_request *req, struct stow_err *err)
{
	struct stow_idset nodes;

	if (strcmp(item->value, "auto") == 0) {
		req->nodes_auto = true;
		memset(&req->nodes, 0, sizeof(req->nodes));
		return 0;
	}
	if (stow_idset_parse(item->value, &nodes, NULL) < 0 || stow_idset_empty(&nodes))
		return bad_value(item, err, EINVAL, "is neither auto nor a list of nodes like %s",
				 "0 or 0-1,3");
	req->nodes_auto = false;
	req->nodes = nodes;
	return 0;
}

/* Parse a text that is kept as it is: only letters, digits and characters of `also`. */
static int parse_text(const struct item *item, const char *also, const char *what, char *buf,
		      size_t size, struct stow_err *err)
{
	size_t len = strlen(item->value);

	if (!len || len >= size)
		return bad_value(item, err, EINVAL, "is not %s of 1 to %zu characters", what,
				 size - 1);
	for (size_t i = 0; i < len; i++) {
		char c = item->value[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    !strchr(also, c))
			return bad_value(item, err, EINVAL,
					 "is not %s: only letters, digits and %s may be in it",
					 what, also);
	}
	memcpy(buf, item->value, len + 1);
	return 0;
}

static int parse_near(const struct item *item, struct stow_request *req, struct stow_err *err)
{
	char name[sizeof(req->near)];
	int r = parse_text(item, "._:-", "a PCI address or a device name", name, sizeof(name), err);

	if (r < 0)
		return r;
	/* It becomes part of a path below /sys. */
	if (name[0] == '.')
		return bad_value(item, err, EINVAL,
				 "is not a PCI address or a device name like 0000:3b:00.0 or eth0");
	memcpy(req->near, name, sizeof(name));
	return 0;
}

/* Apply one annotation's value to the request. */
static int apply(const struct item *item, struct stow_request *req, struct stow_err *err)
{
	struct stow_reservation_name reservation;
	int v = 0;

	switch (item->key) {
	case KEY_CPUS:
		return parse_cpus(item, req, err);
	case KEY_MEMORY:
		return parse_memory(item, req, err);
	case KEY_HUGEPAGES:
		return parse_hugepages(item, req, err);
	case KEY_NODES:
		return parse_nodes(item, req, err);
	case KEY_NEAR:
		return parse_near(item, req, err);
	case KEY_RESERVATION:
		v = parse_text(item, "._:,@-", "a reservation", req->reservation,
			       sizeof(req->reservation), err);
		return v < 0 ? v : stow_reservation_parse(req->reservation, &reservation, err);
	case KEY_CPU_MODE:
		v = parse_word(item, stow_cpu_modes, err);
		if (v >= 0)
			req->cpu_mode = (enum stow_cpu_mode)v;
		break;
	case KEY_POLICY:
		v = parse_word(item, stow_policies, err);
		if (v >= 0)
			req->policy = (enum stow_policy)v;
		break;
	case KEY_SCOPE:
		v = parse_word(item, scopes, err);
		if (v >= 0)
			req->scope = (enum stow_scope)v;
		break;
	case KEY_MEMORY_POLICY:
		v = parse_word(item, stow_memory_policies, err);
		if (v >= 0)
			req->memory_policy = (enum stow_memory_policy)v;
		break;
	case KEY_DRAIN:
		v = parse_word(item, stow_drains, err);
		if (v >= 0)
			req->drain = (enum stow_drain)v;
		break;
	case KEY_ON_FAILURE:
		v = parse_word(item, on_failures, err);
		if (v >= 0)
			req->on_failure = (enum stow_on_failure)v;
		break;
	}
	return v < 0 ? v : 0;
}

static int unknown_key(const char *name, const char *base, const char *container,
		       struct stow_err *err)
{
	char key[SHOWN_MAX + 4], behind[SHOWN_MAX + 4] = "", list[256];
	int near = stow_nearest(base, keys);

	stow_text_quote(name, key, sizeof(key));
	if (container)
		stow_text_quote(container, behind, sizeof(behind));
	if (near >= 0)
		return stow_err_set(err, EINVAL,
				    "unknown annotation \"%s\"; did you mean \"%s%s%s%s\"?", key,
				    STOW_ANNOTATION_PREFIX, keys[near], container ? "." : "",
				    behind);
	return stow_err_set(err, EINVAL, "unknown annotation \"%s\"; the keys are %s", key,
			    join(keys, list, sizeof(list)));
}

static bool is_dns_label(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (!(text[i] >= 'a' && text[i] <= 'z') && !(text[i] >= '0' && text[i] <= '9') &&
		    (text[i] != '-' || i == 0 || i == len - 1))
			return false;
	return len > 0 && len <= CONTAINER_MAX;
}

/* Parse an annotation that has numastow's prefix. */
static int parse_item(const struct stow_annotation *a, struct item *ret, struct stow_err *err)
{
	const char *rest = a->key + strlen(STOW_ANNOTATION_PREFIX), *dot = strchr(rest, '.');
	size_t len = dot ? (size_t)(dot - rest) : strlen(rest);
	char base[SHOWN_MAX + 1], key[SHOWN_MAX + 4];
	struct item item = { .container = dot ? dot + 1 : NULL, .name = a->key, .value = a->value };
	int k = 0;

	if (len >= sizeof(base))
		len = sizeof(base) - 1;
	memcpy(base, rest, len);
	base[len] = '\0';
	stow_text_quote(a->key, key, sizeof(key));
	if (strncmp(base, HUGEPAGES, strlen(HUGEPAGES)) == 0) {
		k = KEY_HUGEPAGES;
		if (stow_parse_pagesize(base + strlen(HUGEPAGES), &item.page_size, NULL) < 0)
			return stow_err_set(err, EINVAL,
					    "%s: the key must end in a page size like 2Mi or 1Gi, "
					    "a power of two",
					    key);
	} else {
		while (k < KEY_HUGEPAGES && strcmp(base, keys[k]) != 0)
			k++;
		if (k == KEY_HUGEPAGES)
			return unknown_key(a->key, base, item.container, err);
	}
	item.key = (enum key)k;
	if (item.container && !is_dns_label(item.container))
		return stow_err_set(err, EINVAL,
				    "%s: after the dot comes a container's name: at most %d lower "
				    "case letters, digits and '-'",
				    key, CONTAINER_MAX);
	if (item.container && item.key == KEY_SCOPE)
		return stow_err_set(err, EINVAL,
				    "%s: the scope is the same for all containers of a pod; write "
				    "%sscope",
				    key, STOW_ANNOTATION_PREFIX);
	if (!item.value || strlen(item.value) > VALUE_MAX)
		return stow_err_set(err, EINVAL, "%s: the value is longer than %d bytes", key,
				    VALUE_MAX);
	*ret = item;
	return 0;
}

int stow_request_check_key(const char *key, struct stow_err *err)
{
	uint64_t size;
	int near;

	for (int i = 0; i < KEY_HUGEPAGES; i++)
		if (strcmp(key, keys[i]) == 0)
			return 0;
	if (strcmp(key, "hugepages") == 0 ||
	    (strncmp(key, HUGEPAGES, strlen(HUGEPAGES)) == 0 &&
	     stow_parse_pagesize(key + strlen(HUGEPAGES), &size, NULL) == 0))
		return 0;
	near = stow_nearest(key, keys);
	if (near < 0)
		return stow_err_set(err, EINVAL, "\"%.64s\" is not a key", key);
	return stow_err_set(err, EINVAL, "\"%.64s\" is not a key; did you mean \"%s\"?", key,
			    keys[near]);
}

static bool is_ours(const struct stow_annotation *a)
{
	return a->key &&
	       strncmp(a->key, STOW_ANNOTATION_PREFIX, strlen(STOW_ANNOTATION_PREFIX)) == 0;
}

static bool same_container(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Return whether the administrator allows `item`. "hugepages" stands for every page size. */
static bool allowed(const struct item *item, const char *const *allowed_keys)
{
	uint64_t size;

	for (; *allowed_keys; allowed_keys++) {
		const char *name = *allowed_keys;

		if (item->key != KEY_HUGEPAGES) {
			if (strcmp(name, keys[item->key]) == 0)
				return true;
		} else if (strcmp(name, "hugepages") == 0) {
			return true;
		} else if (strncmp(name, HUGEPAGES, strlen(HUGEPAGES)) == 0 &&
			   stow_parse_pagesize(name + strlen(HUGEPAGES), &size, NULL) == 0 &&
			   size == item->page_size) {
			return true;
		}
	}
	return false;
}

/* Check that no two items set the same thing, however it is spelled. */
static int check_once(const struct item *items, size_t n, struct stow_err *err)
{
	char a[SHOWN_MAX + 4], b[SHOWN_MAX + 4];
	const struct item *last = &items[n - 1];

	for (size_t i = 0; i + 1 < n; i++) {
		if (items[i].key != last->key || items[i].page_size != last->page_size ||
		    !same_container(items[i].container, last->container))
			continue;
		if (strcmp(items[i].name, last->name) == 0)
			return stow_err_set(err, EINVAL, "%s is given twice",
					    stow_text_quote(last->name, a, sizeof(a)));
		return stow_err_set(err, EINVAL, "%s and %s are the same page size; give one",
				    stow_text_quote(items[i].name, a, sizeof(a)),
				    stow_text_quote(last->name, b, sizeof(b)));
	}
	return 0;
}

/* Collect and check the annotations, each on a temporary request of its own. */
static int collect(const struct stow_annotation *annotations, size_t n,
		   const char *const *allowed_keys, struct item *items, struct stow_err *err)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++) {
		struct stow_request scratch = { 0 };
		char key[SHOWN_MAX + 4], list[256];
		int r;

		if (!is_ours(&annotations[i]))
			continue;
		if (found == KEYS_MAX)
			return stow_err_set(err, EINVAL, "more than %d annotations with %s",
					    KEYS_MAX, STOW_ANNOTATION_PREFIX);
		r = parse_item(&annotations[i], &items[found], err);
		if (r < 0)
			return r;
		if (allowed_keys && !allowed(&items[found], allowed_keys))
			return stow_err_set(
				err, EPERM, "%s is not allowed here; the administrator allows %s",
				stow_text_quote(annotations[i].key, key, sizeof(key)),
				*allowed_keys ? join(allowed_keys, list, sizeof(list)) : "no key");
		r = apply(&items[found++], &scratch, err);
		if (r == 0)
			r = check_once(items, found, err);
		if (r < 0)
			return r;
	}
	return (int)found;
}

/* A key for one container must not be ignored because this container's name is unknown: Podman
 * gives its containers no name. */
static int refuse_nameless(const struct item *item, struct stow_err *err)
{
	char key[SHOWN_MAX + 4];
	size_t len = strlen(item->name) - strlen(item->container) - 1;

	return stow_err_set(err, EINVAL,
			    "%s is for a container of that name, and this one has none "
			    "(io.kubernetes.container.name; Podman gives none); write %.*s",
			    stow_text_quote(item->name, key, sizeof(key)), (int)len, item->name);
}

int stow_request_parse(const struct stow_annotation *annotations, size_t n, const char *container,
		       const char *const *allowed_keys, enum stow_policy default_policy,
		       struct stow_request *ret, struct stow_err *err)
{
	struct stow_request req = { .policy = default_policy, .nodes_auto = true };
	struct item items[KEYS_MAX];
	int found, applied = 0;

	found = collect(annotations, n, allowed_keys, items, err);
	if (found < 0)
		return found;
	for (int i = 0; i < found && !(container && *container); i++)
		if (items[i].container)
			return refuse_nameless(&items[i], err);
	/* First the keys for all containers, then those for this one, which take precedence. */
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < found; i++) {
			bool mine = items[i].container && container && *container &&
				    strcmp(items[i].container, container) == 0;
			int r;

			if (pass == 0 ? items[i].container != NULL : !mine)
				continue;
			r = apply(&items[i], &req, err);
			if (r < 0)
				return r;
			applied = 1;
		}
	*ret = req;
	return applied;
}
