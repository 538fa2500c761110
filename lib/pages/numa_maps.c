// SPDX-License-Identifier: Apache-2.0
#include "pages/numa_maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "base/span.h"

#define READ_SIZE 16384

int stow_numa_maps_line(const char *line, const struct stow_idset *nodes, struct stow_numa_map *ret)
{
	const char *p = line;
	struct stow_span rest, word;
	uint64_t value;
	int node;

	*ret = (struct stow_numa_map){ .page_size = 4096 };
	if (!stow_scan_hex(&p, &ret->start) || *p != ' ')
		return -EINVAL;
	rest = (struct stow_span){ p, p + strcspn(p, "\n") };
	while (rest.p < rest.end) {
		if (stow_span_node_pair(&rest, &node, &value))
			*(stow_idset_has(nodes, node) ? &ret->pages : &ret->others) += value;
		else if (stow_span_word(&rest, &word) &&
			 stow_span_pair(word, "kernelpagesize_kB=", &value) && value > 0 &&
			 value <= UINT64_MAX / 1024)
			ret->page_size = value * 1024;
	}
	return 0;
}

bool stow_maps_scan(const char **line, uint64_t *ret_start, uint64_t *ret_end)
{
	return stow_scan_hex(line, ret_start) && *(*line)++ == '-' &&
	       stow_scan_hex(line, ret_end) && **line == ' ';
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

/* --- where all pages of a process are ------------------------------------- */

static bool starts(struct stow_span word, const char *with)
{
	size_t len = strlen(with);

	return (size_t)(word.end - word.p) >= len && memcmp(word.p, with, len) == 0;
}

struct mapping {
	enum stow_pages_kind kind;
	uint64_t page_size;
	bool file, shared;
};

static const char *const kind_words[STOW_PAGES_PRIVATE] = {
	[STOW_PAGES_HUGE] = "huge",
	[STOW_PAGES_HEAP] = "heap",
	[STOW_PAGES_STACK] = "stack",
};

/* A name in the line has no blanks: the kernel writes them as \040. */
static void take_word(struct stow_span word, struct mapping *m)
{
	uint64_t v;

	if (starts(word, "file=")) {
		m->file = true;
	} else if (stow_span_pair(word, "mapmax=", &v)) {
		m->shared = v > 1;
	} else if (stow_span_pair(word, "kernelpagesize_kB=", &v)) {
		if (v > 0 && v <= UINT64_MAX / 1024)
			m->page_size = v * 1024;
	} else if (m->kind == STOW_PAGES_PRIVATE) {
		for (int i = 0; i < STOW_PAGES_PRIVATE; i++)
			if (starts(word, kind_words[i])) {
				m->kind = i;
				break;
			}
	}
}

static struct stow_node_pages *node_of(struct stow_process_pages *pages, int node)
{
	size_t wanted = (size_t)node + 1;
	struct stow_node_pages *grown;

	if (wanted <= pages->n_nodes)
		return &pages->nodes[node];
	grown = reallocarray(pages->nodes, wanted, sizeof(*grown));
	if (!grown)
		return NULL;
	memset(grown + pages->n_nodes, 0, (wanted - pages->n_nodes) * sizeof(*grown));
	pages->nodes = grown;
	pages->n_nodes = wanted;
	return &grown[node];
}

static void add_to(uint64_t *sum, uint64_t bytes)
{
	*sum = stow_saturating_add(*sum, bytes);
}

int stow_process_pages_add(const char *line, size_t len, struct stow_process_pages *pages)
{
	struct stow_span rest = { line, line + len }, word, all;
	struct mapping m = { .kind = STOW_PAGES_PRIVATE, .page_size = 4096 };
	uint64_t count, bytes;
	bool any = false;
	int node;

	if (!stow_span_word(&rest, &word))
		return -EINVAL;
	for (const char *p = word.p; p < word.end; p++)
		if (!((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f')))
			return -EINVAL;
	if (!stow_span_word(&rest, &word)) /* the policy */
		return -EINVAL;
	/* The size of a page comes last. */
	for (all = rest; stow_span_word(&all, &word);) {
		any = any || *word.p == 'N';
		take_word(word, &m);
	}
	while (any && rest.p < rest.end) {
		struct stow_node_pages *on;

		if (!stow_span_node_pair(&rest, &node, &count)) {
			(void)stow_span_word(&rest, &word);
			continue;
		}
		on = node_of(pages, node);
		if (!on)
			return -ENOMEM;
		if (__builtin_mul_overflow(count, m.page_size, &bytes))
			bytes = UINT64_MAX;
		add_to(&on->kinds[m.kind], bytes);
		if (m.kind == STOW_PAGES_PRIVATE && m.file)
			add_to(&on->file, bytes);
		if (m.kind == STOW_PAGES_PRIVATE && m.shared)
			add_to(&on->shared, bytes);
	}
	return 0;
}

int stow_process_pages_read(struct stow_root *root, pid_t pid, struct stow_process_pages *ret,
			    struct stow_err *err)
{
	_cleanup_(stow_numa_maps_close) struct stow_numa_maps maps;
	struct stow_process_pages pages = { 0 };
	ssize_t len = 0;
	int r = stow_numa_maps_open(root, pid, "numa_maps", &maps, err);

	if (r < 0)
		return r;
	errno = 0;
	while (r != -ENOMEM && (len = getline(&maps.line, &maps.size, maps.file)) > 0) {
		if (maps.line[len - 1] == '\n')
			len--;
		r = stow_process_pages_add(maps.line, (size_t)len, &pages);
		pages.other_lines += r == -EINVAL;
		errno = 0;
	}
	/* The check whether the caller may read it is made by the first read(2) as well. */
	r = r == -ENOMEM ? -ENOMEM : ferror(maps.file) ? -(errno ?: EIO) : 0;
	if (r < 0) {
		stow_process_pages_done(&pages);
		return r == -ESRCH ? stow_err_set(err, ESRCH, "process %d has ended", (int)pid)
				   : stow_err_sys(err, -r, "numa_maps of process %d", (int)pid);
	}
	*ret = pages;
	return 0;
}

void stow_process_pages_done(struct stow_process_pages *pages)
{
	free(pages->nodes);
	*pages = (struct stow_process_pages){ 0 };
}

uint64_t stow_process_pages_on(const struct stow_process_pages *pages, int node)
{
	uint64_t sum = 0;

	for (int i = 0; (size_t)node < pages->n_nodes && i < STOW_PAGES_KINDS; i++)
		add_to(&sum, pages->nodes[node].kinds[i]);
	return sum;
}
