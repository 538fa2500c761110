// SPDX-License-Identifier: Apache-2.0
#include "grant/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/parse.h"
#include "base/text.h"

#define LIST_MAX ((size_t)16 << 20) /* bytes of a list */
#define NAME_LEN 512

static int add(struct stow_names *names, const char *id, const char *name, bool granted)
{
	struct stow_name *added = STOW_APPEND(names->list, names->n);

	if (!added)
		return -ENOMEM;
	added->id = strdup(id);
	added->name = stow_text_copy(name, NAME_LEN);
	added->granted = granted;
	return added->id && added->name ? 0 : -ENOMEM;
}

/* Take a container of [{"id":"...","names":["web"]}]; anything else is left out. */
static int take(struct stow_names *names, json_object *entry)
{
	json_object *id = stow_json_member(entry, "id", json_type_string), *name;
	json_object *list = stow_json_member(entry, "names", json_type_array);

	if (!id || !list || !json_object_array_length(list))
		return 0;
	name = json_object_array_get_idx(list, 0);
	return json_object_is_type(name, json_type_string)
		       ? add(names, json_object_get_string(id), json_object_get_string(name), false)
		       : 0;
}

static int read_list(struct stow_root *root, const char *path, struct stow_names *names)
{
	_cleanup_free_ char *text = NULL;
	json_object *list;
	int r = 0;

	if (stow_root_read(root, LIST_MAX, &text, NULL, NULL, "%s", path) < 0)
		return 0;
	list = json_tokener_parse(text);
	for (size_t i = 0; r == 0 && json_object_is_type(list, json_type_array) &&
			   i < json_object_array_length(list);
	     i++)
		r = take(names, json_object_array_get_idx(list, i));
	json_object_put(list);
	return r;
}

/* Kubernetes' name of a container comes before that which CRI-O has given it in the same lists as
 * Podman's. */
static int by_id(const void *a, const void *b)
{
	const struct stow_name *x = a, *y = b;
	int order = strcmp(x->id, y->id);

	return order ? order : y->granted - x->granted;
}

static int sorted(struct stow_names *names, int r, struct stow_names *ret, struct stow_err *err)
{
	if (r < 0) {
		stow_names_done(names);
		return stow_err_sys(err, -r, "the names of containers");
	}
	if (names->n)
		qsort(names->list, names->n, sizeof(*names->list), by_id);
	*ret = *names;
	return 0;
}

static int read_lists(struct stow_root *root, struct stow_names *names)
{
	/* By storage driver; the last is that of a transient store. */
	static const char *const paths[] = {
		"/var/lib/containers/storage/overlay-containers/containers.json",
		"/var/lib/containers/storage/overlay-containers/volatile-containers.json",
		"/var/lib/containers/storage/vfs-containers/containers.json",
		"/var/lib/containers/storage/vfs-containers/volatile-containers.json",
		"/run/containers/storage/overlay-containers/volatile-containers.json",
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < STOW_ARRAY_SIZE(paths); i++)
		r = read_list(root, paths[i], names);
	return r;
}

int stow_names_read_podman(struct stow_root *root, struct stow_names *ret, struct stow_err *err)
{
	struct stow_names names = { 0 };

	return sorted(&names, read_lists(root, &names), ret, err);
}

static int add_record(struct stow_names *names, const struct stow_record *record)
{
	const char *const parts[] = { record->ns, record->pod, record->name };
	char name[1024] = "";

	if (!*record->id || !*record->name || stow_record_is_share(record))
		return 0;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(parts); i++)
		if (*parts[i])
			stow_append(name, sizeof(name), "%s%s", *name ? "/" : "", parts[i]);
	return add(names, record->id, name, true);
}

int stow_names_read(struct stow_root *root, struct stow_names *ret, struct stow_err *err)
{
	struct stow_record **records = NULL;
	struct stow_ledger *ledger = NULL;
	struct stow_names names = { 0 };
	size_t n = 0;
	int r = 0;

	if (stow_ledger_open(root, false, &ledger, NULL) == 0)
		(void)stow_ledger_records(ledger, NULL, &records, &n, NULL);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_record(&names, records[i]);
	stow_records_free(records, n);
	stow_ledger_close(ledger);
	return sorted(&names, r == 0 ? read_lists(root, &names) : r, ret, err);
}

void stow_names_done(struct stow_names *names)
{
	for (size_t i = 0; i < names->n; i++) {
		free(names->list[i].id);
		free(names->list[i].name);
	}
	free(names->list);
	*names = (struct stow_names){ 0 };
}

const char *stow_names_find(const struct stow_names *names, const char *id)
{
	/* Before those of the same id. */
	const struct stow_name wanted = { .id = (char *)id, .granted = true };
	size_t low = 0, high = names->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (by_id(&names->list[middle], &wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < names->n && strcmp(names->list[low].id, id) == 0 ? names->list[low].name
								      : NULL;
}

const char *stow_short_id(const char *id, char *buf, size_t size)
{
	bool hex = strlen(id) == 64 && strspn(id, "0123456789abcdef") == 64;

	snprintf(buf, size, "%.*s", hex ? 12 : (int)size - 1, id);
	return buf;
}
