// SPDX-License-Identifier: Apache-2.0
#include "grant/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"

#define LIST_MAX ((size_t)16 << 20) /* bytes of a list */
#define NAME_LEN 512

static int add(struct stow_names *names, const char *id, const char *name)
{
	struct stow_name *added = STOW_APPEND(names->list, names->n);

	if (!added)
		return -ENOMEM;
	added->id = strdup(id);
	added->name = stow_text_copy(name, NAME_LEN);
	return added->id && added->name ? 0 : -ENOMEM;
}

/* Take a container of [{"id":"...","names":["web"]}]; anything else is left out. */
static int take(struct stow_names *names, json_object *entry)
{
	json_object *id, *list, *name;

	if (!json_object_is_type(entry, json_type_object) ||
	    !json_object_object_get_ex(entry, "id", &id) ||
	    !json_object_is_type(id, json_type_string) ||
	    !json_object_object_get_ex(entry, "names", &list) ||
	    !json_object_is_type(list, json_type_array) || !json_object_array_length(list))
		return 0;
	name = json_object_array_get_idx(list, 0);
	return json_object_is_type(name, json_type_string)
		       ? add(names, json_object_get_string(id), json_object_get_string(name))
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

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct stow_name *)a)->id, ((const struct stow_name *)b)->id);
}

int stow_names_read(struct stow_root *root, struct stow_names *ret, struct stow_err *err)
{
	/* By storage driver; the last is that of a transient store. */
	static const char *const paths[] = {
		"/var/lib/containers/storage/overlay-containers/containers.json",
		"/var/lib/containers/storage/overlay-containers/volatile-containers.json",
		"/var/lib/containers/storage/vfs-containers/containers.json",
		"/var/lib/containers/storage/vfs-containers/volatile-containers.json",
		"/run/containers/storage/overlay-containers/volatile-containers.json",
	};
	struct stow_names names = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < STOW_ARRAY_SIZE(paths); i++)
		r = read_list(root, paths[i], &names);
	if (r < 0) {
		stow_names_done(&names);
		return stow_err_sys(err, -r, "the names of containers");
	}
	if (names.n)
		qsort(names.list, names.n, sizeof(*names.list), by_id);
	*ret = names;
	return 0;
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
	const struct stow_name wanted = { .id = (char *)id }, *found = NULL;

	if (names->n)
		found = bsearch(&wanted, names->list, names->n, sizeof(wanted), by_id);
	return found ? found->name : NULL;
}

const char *stow_names_of(const struct stow_names *names, const struct stow_record *record,
			  char *buf, size_t size)
{
	const char *const parts[] = { record->ns, record->pod, record->name };

	if (!*record->name)
		return stow_names_find(names, record->id);
	*buf = '\0';
	for (size_t i = 0; i < STOW_ARRAY_SIZE(parts); i++)
		if (*parts[i])
			stow_append(buf, size, "%s%s", *buf ? "/" : "", parts[i]);
	return buf;
}
