// SPDX-License-Identifier: Apache-2.0
#include "pages/numa_maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define READ_SIZE 16384

/* Parse "KEY=NUMBER"; false for another word. */
static bool pair(const char *word, const char *key, uint64_t *ret)
{
	size_t len = strlen(key);

	return strncmp(word, key, len) == 0 && word[len] == '=' &&
	       stow_parse_u64(word + len + 1, UINT64_MAX, ret, NULL) == 0;
}

/* Parse "N3=120"; return the node, or -1. */
static int node_pair(const char *word, uint64_t *ret_pages)
{
	const char *equals = strchr(word, '=');
	char number[16];
	uint64_t node;

	if (word[0] != 'N' || !equals || (size_t)(equals - word) > sizeof(number))
		return -1;
	snprintf(number, sizeof(number), "%.*s", (int)(equals - word) - 1, word + 1);
	if (stow_parse_u64(number, STOW_IDSET_MAX - 1, &node, NULL) < 0 ||
	    stow_parse_u64(equals + 1, UINT64_MAX, ret_pages, NULL) < 0)
		return -1;
	return (int)node;
}

static int hex(const char *text, uint64_t *ret, const char **ret_end)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 16); /* the kernel's own text, without sign or prefix */
	*ret_end = end;
	return errno || end == text ? -EINVAL : 0;
}

int stow_numa_maps_line(const char *line, const struct stow_idset *nodes, struct stow_numa_map *ret)
{
	const char *p;
	char word[256];

	*ret = (struct stow_numa_map){ .page_size = 4096 };
	if (hex(line, &ret->start, &p) < 0 || *p != ' ')
		return -EINVAL;
	while (*p) {
		size_t len;
		uint64_t value;
		int node;

		p += strspn(p, " \n");
		len = strcspn(p, " \n");
		snprintf(word, sizeof(word), "%.*s", (int)(len < 255 ? len : 255), p);
		p += len;
		node = node_pair(word, &value);
		if (node >= 0 && stow_idset_has(nodes, node))
			ret->pages += value;
		else if (node >= 0)
			ret->others += value;
		else if (pair(word, "kernelpagesize_kB", &value) && value > 0 &&
			 value <= UINT64_MAX / 1024)
			ret->page_size = value * 1024;
	}
	return 0;
}

int stow_maps_line(const char *line, uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t start, end;
	const char *p;

	if (hex(line, &start, &p) < 0 || *p != '-' || hex(p + 1, &end, &p) < 0 || *p != ' ')
		return -EINVAL;
	*ret_start = start;
	*ret_end = end;
	return 0;
}

int stow_numa_maps_open(struct stow_root *root, pid_t pid, const char *name,
			struct stow_numa_maps *ret, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int fd = stow_root_openat(root, O_RDONLY, 0, &why, "/proc/%d/%s", (int)pid, name);

	*ret = (struct stow_numa_maps){ 0 };
	if (fd == -ENOENT || fd == -ESRCH)
		return stow_err_set(err, ESRCH, "process %d has ended", (int)pid);
	if (fd < 0)
		return stow_err_move(err, fd, &why);
	ret->file = fdopen(fd, "re");
	if (!ret->file) {
		close(fd);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	/* The C library's default is to read 1 KiB at a time. */
	(void)setvbuf(ret->file, NULL, _IOFBF, READ_SIZE);
	return 0;
}

int stow_numa_maps_next(struct stow_numa_maps *maps, const struct stow_idset *nodes,
			struct stow_numa_map *ret)
{
	while (getline(&maps->line, &maps->size, maps->file) > 0)
		if (stow_numa_maps_line(maps->line, nodes, ret) == 0 && ret->pages)
			return 1;
	return 0;
}

void stow_numa_maps_close(struct stow_numa_maps *maps)
{
	if (maps->file)
		(void)fclose(maps->file);
	free(maps->line);
	*maps = (struct stow_numa_maps){ 0 };
}

int stow_pages_mapped(struct stow_root *root, pid_t pid, const struct stow_idset *nodes,
		      uint64_t *ret_bytes, struct stow_err *err)
{
	_cleanup_(stow_numa_maps_close) struct stow_numa_maps maps;
	struct stow_numa_map map;
	int r = stow_numa_maps_open(root, pid, "numa_maps", &maps, err);

	*ret_bytes = 0;
	while (r == 0 && stow_numa_maps_next(&maps, nodes, &map) == 1)
		*ret_bytes += map.pages * map.page_size;
	return r;
}
