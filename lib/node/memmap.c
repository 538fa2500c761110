// SPDX-License-Identifier: Apache-2.0
#include "node/memmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"

#define MEMMAP "/sys/firmware/memmap"

static bool read_hex(struct stow_root *root, int entry, const char *file, uint64_t *ret)
{
	const char *p;
	char text[32];

	if (stow_root_read_buf(root, text, sizeof(text), NULL, MEMMAP "/%d/%s", entry, file) < 0)
		return false;
	p = strncmp(text, "0x", 2) == 0 ? text + 2 : text;
	return stow_scan_hex(&p, ret) && !*p;
}

static bool read_region(struct stow_root *root, int entry, struct stow_memmap_region *ret)
{
	if (!read_hex(root, entry, "start", &ret->start) ||
	    !read_hex(root, entry, "end", &ret->end) || ret->end < ret->start)
		return false;
	if (stow_root_read_buf(root, ret->type, sizeof(ret->type), NULL, MEMMAP "/%d/type", entry) <
	    0)
		return false;
	stow_text_ascii(ret->type);
	ret->ram = strcmp(ret->type, "System RAM") == 0;
	return true;
}

static int by_start(const void *a, const void *b)
{
	const struct stow_memmap_region *x = a, *y = b;

	return x->start != y->start ? (x->start > y->start) - (x->start < y->start)
				    : (x->end > y->end) - (x->end < y->end);
}

int stow_memmap_read(struct stow_root *root, struct stow_memmap *ret, struct stow_err *err)
{
	struct stow_memmap map = { 0 };
	struct stow_idset entries;
	struct stow_err inner;
	int r = stow_root_list_ids(root, MEMMAP, "", &entries, &inner);

	if (r < 0 && r != -ENOENT && r != -ENOTDIR)
		return stow_err_move(err, r, &inner);
	if (r < 0)
		entries = (struct stow_idset){ 0 };
	STOW_IDSET_FOR(entry, &entries) {
		struct stow_memmap_region *new, region;

		if (!read_region(root, entry, &region)) {
			map.n_broken++;
			continue;
		}
		new = STOW_APPEND(map.regions, map.n_regions);
		if (!new) {
			stow_memmap_done(&map);
			return stow_err_sys(err, ENOMEM, MEMMAP);
		}
		*new = region;
	}
	if (map.n_regions)
		qsort(map.regions, map.n_regions, sizeof(*map.regions), by_start);
	*ret = map;
	return 0;
}

void stow_memmap_done(struct stow_memmap *map)
{
	free(map->regions);
	*map = (struct stow_memmap){ 0 };
}
