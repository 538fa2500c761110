// SPDX-License-Identifier: Apache-2.0
#include "node/devicetree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/read.h"
#include "base/text.h"

#define BASE	  "/sys/firmware/devicetree/base"
#define PROPERTY  (1U << 20) /* bytes; a matrix of 256 nodes has 768 KiB */
#define CHILDREN  16384	     /* folders that are looked at, in each of the two places */
#define NODE_NONE UINT32_MAX

static uint32_t be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t cells(const uint8_t *at, unsigned int n)
{
	return n == 2 ? (uint64_t)be32(at) << 32 | be32(at + 4) : be32(at);
}

int stow_devicetree_parse_reg(const void *data, size_t len, unsigned int address_cells,
			      unsigned int size_cells, uint32_t domain,
			      struct stow_devicetree *tree)
{
	size_t entry = 4 * ((size_t)address_cells + size_cells);
	const uint8_t *at = data;

	if (address_cells < 1 || address_cells > 2 || size_cells < 1 || size_cells > 2 ||
	    len % entry)
		return -EINVAL;
	for (size_t i = 0; i < len; i += entry) {
		struct stow_dt_memory *new, m = { .domain = domain };

		m.start = cells(at + i, address_cells);
		m.size = cells(at + i + 4 * (size_t)address_cells, size_cells);
		if (m.size && m.start > UINT64_MAX - (m.size - 1))
			return -EINVAL;
		if (!m.size)
			continue;
		new = STOW_APPEND(tree->memory, tree->n_memory);
		if (!new)
			return -ENOMEM;
		*new = m;
	}
	return 0;
}

int stow_devicetree_parse_distances(const void *data, size_t len, struct stow_devicetree *tree)
{
	const uint8_t *at = data;

	if (len % 12)
		return -EINVAL;
	for (size_t i = 0; i < len; i += 12) {
		struct stow_dt_distance *new = STOW_APPEND(tree->distances, tree->n_distances);

		if (!new)
			return -ENOMEM;
		*new = (struct stow_dt_distance){ be32(at + i), be32(at + i + 4),
						  be32(at + i + 8) };
	}
	return 0;
}

/* Read a property. NULL: there is none that can be read. */
static uint8_t *property(struct stow_root *root, const char *dir, const char *name, size_t *ret_len)
{
	_cleanup_close_ int fd = stow_root_openat(root, O_RDONLY, 0, NULL, BASE "%s%s/%s",
						  *dir ? "/" : "", dir, name);
	char *data = NULL;

	if (fd < 0 || stow_read_all(fd, PROPERTY, name, &data, ret_len, NULL) < 0)
		return NULL;
	return (uint8_t *)data;
}

/* Return a property of one cell, or `otherwise`. */
static uint32_t cell(struct stow_root *root, struct stow_devicetree *tree, const char *dir,
		     const char *name, uint32_t otherwise)
{
	size_t len;
	_cleanup_free_ uint8_t *data = property(root, dir, name, &len);

	if (!data)
		return otherwise;
	if (len != 4) {
		tree->n_broken++;
		return otherwise;
	}
	return be32(data);
}

static int add_cpu(struct stow_devicetree *tree, const char *dir, uint32_t domain)
{
	struct stow_dt_cpu *new = STOW_APPEND(tree->cpus, tree->n_cpus);

	if (!new)
		return -ENOMEM;
	new->domain = domain;
	snprintf(new->path, sizeof(new->path), "%.*s", (int)sizeof(new->path) - 1, dir);
	stow_text_ascii(new->path);
	return 0;
}

static int add_memory(struct stow_root *root, struct stow_devicetree *tree, const char *dir,
		      uint32_t domain)
{
	size_t len;
	_cleanup_free_ uint8_t *data = property(root, dir, "reg", &len);
	int r = data ? stow_devicetree_parse_reg(data, len,
						 cell(root, tree, "", "#address-cells", 2),
						 cell(root, tree, "", "#size-cells", 1), domain,
						 tree)
		     : -EINVAL;

	if (r == -EINVAL)
		tree->n_broken++;
	return r == -ENOMEM ? r : 0;
}

/* Look at one folder that may be a CPU or memory. */
static int take(struct stow_root *root, struct stow_devicetree *tree, const char *dir,
		const char *name)
{
	uint32_t domain;

	if (strncmp(name, "cpu@", 4) != 0 && strncmp(name, "memory", 6) != 0)
		return 0;
	domain = cell(root, tree, dir, "numa-node-id", NODE_NONE);
	if (domain == NODE_NONE)
		return 0;
	return *name == 'c' ? add_cpu(tree, dir, domain) : add_memory(root, tree, dir, domain);
}

static int take_children(struct stow_root *root, struct stow_devicetree *tree, const char *parent,
			 struct stow_err *err)
{
	_cleanup_closedir_ DIR *d =
		stow_root_opendir(root, err, BASE "%s%s", *parent ? "/" : "", parent);
	struct dirent *e;
	int r = d ? 0 : -errno;

	for (int n = 0; r == 0 && n < CHILDREN && (e = readdir(d)); n++) {
		char dir[300];

		snprintf(dir, sizeof(dir), "%s%s%s", parent, *parent ? "/" : "", e->d_name);
		r = take(root, tree, dir, e->d_name);
		if (r < 0)
			return stow_err_sys(err, -r, BASE);
	}
	return r;
}

static int by_path(const void *a, const void *b)
{
	return strverscmp(((const struct stow_dt_cpu *)a)->path,
			  ((const struct stow_dt_cpu *)b)->path);
}

static int by_start(const void *a, const void *b)
{
	uint64_t x = ((const struct stow_dt_memory *)a)->start,
		 y = ((const struct stow_dt_memory *)b)->start;

	return (x > y) - (x < y);
}

int stow_devicetree_read(struct stow_root *root, struct stow_devicetree *ret, struct stow_err *err)
{
	struct stow_devicetree tree = { 0 };
	_cleanup_free_ uint8_t *matrix = NULL;
	struct stow_err inner;
	size_t len;
	int r = take_children(root, &tree, "", &inner);

	tree.present = r == 0;
	if (r == 0) {
		r = take_children(root, &tree, "cpus", &inner);
		matrix = property(root, "distance-map", "distance-matrix", &len);
	}
	if (matrix && (r == 0 || r == -ENOENT)) {
		r = stow_devicetree_parse_distances(matrix, len, &tree);
		if (r == -EINVAL)
			tree.n_broken++;
		if (r == -ENOMEM)
			(void)stow_err_sys(&inner, ENOMEM, BASE);
	}
	if (r < 0 && r != -ENOENT && r != -ENOTDIR && r != -EINVAL) {
		stow_devicetree_done(&tree);
		return stow_err_move(err, r, &inner);
	}
	if (tree.n_cpus)
		qsort(tree.cpus, tree.n_cpus, sizeof(*tree.cpus), by_path);
	if (tree.n_memory)
		qsort(tree.memory, tree.n_memory, sizeof(*tree.memory), by_start);
	*ret = tree;
	return 0;
}

void stow_devicetree_done(struct stow_devicetree *tree)
{
	free(tree->cpus);
	free(tree->memory);
	free(tree->distances);
	*tree = (struct stow_devicetree){ 0 };
}
