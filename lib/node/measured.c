// SPDX-License-Identifier: Apache-2.0
#include "node/measured.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/idset.h"
#include "base/json.h"
#include "base/text.h"

#define FILE_MAX ((size_t)64 << 20) /* bytes: 1,024 nodes have 1,048,576 pairs at most */

void stow_measured_digest(struct stow_root *root, char ret[static STOW_DIGEST_LEN + 1])
{
	static const char *const tables[] = { "SRAT", "SLIT", "HMAT" };
	char version[128] = "";
	struct stow_digest digest;

	*ret = '\0';
	stow_digest_begin(&digest, "firmware tables");
	(void)stow_root_read_buf(root, version, sizeof(version), NULL,
				 "/sys/class/dmi/id/bios_version");
	stow_digest_text(&digest, version);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(tables); i++) {
		_cleanup_free_ char *table = NULL;
		size_t len = 0;
		int r = stow_root_exists(root, "/sys/firmware/acpi/tables/%s", tables[i]);

		if (r == 1)
			r = stow_root_read(root, STOW_ROOT_READ_MAX, &table, &len, NULL,
					   "/sys/firmware/acpi/tables/%s", tables[i]);
		if (r < 0)
			return;
		stow_digest_number(&digest, len);
		for (size_t at = 0; at < len; at++)
			stow_digest_number(&digest, (unsigned char)table[at]);
	}
	stow_digest_end(&digest, ret);
}

/* --- the file ------------------------------------------------------------------- */

/* Copy a text; "": there is none. */
static void take_text(json_object *from, const char *key, char *buf, size_t size)
{
	snprintf(buf, size, "%s", stow_json_text(from, key));
	stow_text_clean(buf, size - 1);
}

/* Return a figure; 0: it was not measured. */
static double take_figure(json_object *pair, const char *key)
{
	json_object *value;
	double figure = 0;

	if (json_object_object_get_ex(pair, key, &value) &&
	    (json_object_is_type(value, json_type_double) ||
	     json_object_is_type(value, json_type_int)))
		figure = json_object_get_double(value);
	return isfinite(figure) && figure > 0 ? figure : 0;
}

/* Return the number of a node, or -1. */
static int take_node(json_object *pair, const char *key)
{
	json_object *value = stow_json_member(pair, key, json_type_int);
	int64_t node = value ? json_object_get_int64(value) : -1;

	return node >= 0 && node < STOW_IDSET_MAX ? (int)node : -1;
}

static int take_pairs(json_object *list, struct stow_measured *measured, struct stow_err *err)
{
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *o = json_object_array_get_idx(list, i);
		struct stow_measured_pair pair, *added;

		if (!json_object_is_type(o, json_type_object))
			return stow_err_set(err, EINVAL, "a pair is not an object");
		pair = (struct stow_measured_pair){
			.from = take_node(o, "from"),
			.to = take_node(o, "to"),
			.latency = take_figure(o, "latency_ns"),
			.latency_4k = take_figure(o, "latency_4k_ns"),
			.read = take_figure(o, "read_mbps"),
			.read_write = take_figure(o, "read_write_mbps"),
		};
		if (pair.from < 0 || pair.to < 0)
			return stow_err_set(err, EINVAL, "a pair has no nodes");
		added = STOW_APPEND(measured->pairs, measured->n);
		if (!added)
			return stow_err_sys(err, ENOMEM, "its pairs");
		*added = pair;
	}
	return 0;
}

static int by_nodes(const void *a, const void *b)
{
	const struct stow_measured_pair *x = a, *y = b;

	return x->to != y->to ? x->to - y->to : x->from - y->from;
}

static int take(json_object *all, struct stow_measured *measured, char *digest, size_t size,
		struct stow_err *err)
{
	json_object *about = stow_json_member(all, "measured", json_type_object);
	json_object *pairs = stow_json_member(all, "pairs", json_type_array);
	int r;

	if (!about || !pairs)
		return stow_err_set(err, EINVAL, "it is not a JSON object with measured and pairs");
	take_text(about, "time", measured->time, sizeof(measured->time));
	take_text(about, "virtualization", measured->virtualization,
		  sizeof(measured->virtualization));
	take_text(about, "firmware", digest, size);
	r = take_pairs(pairs, measured, err);
	if (r == 0 && measured->n)
		qsort(measured->pairs, measured->n, sizeof(*measured->pairs), by_nodes);
	return r;
}

int stow_measured_read(struct stow_root *root, struct stow_measured *ret, struct stow_err *err)
{
	char digest[STOW_DIGEST_LEN + 1], now[STOW_DIGEST_LEN + 1];
	struct stow_measured measured = { 0 };
	_cleanup_free_ char *text = NULL;
	json_object *all;
	int r = stow_root_read(root, FILE_MAX, &text, NULL, err, STOW_MEASURED_PATH);

	*ret = (struct stow_measured){ 0 };
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	all = json_tokener_parse(text);
	r = take(all, &measured, digest, sizeof(digest), err);
	json_object_put(all);
	if (r < 0) {
		stow_measured_done(&measured);
		return stow_err_wrap(err, r, STOW_MEASURED_PATH);
	}
	stow_measured_digest(root, now);
	measured.firmware = !*now		       ? STOW_MEASURED_UNKNOWN
			    : strcmp(now, digest) == 0 ? STOW_MEASURED_SAME
						       : STOW_MEASURED_OTHER;
	*ret = measured;
	return 0;
}

void stow_measured_done(struct stow_measured *measured)
{
	free(measured->pairs);
	*measured = (struct stow_measured){ 0 };
}
