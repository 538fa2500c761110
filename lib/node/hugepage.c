// SPDX-License-Identifier: Apache-2.0
#include "node/hugepage.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define PREFIX "hugepages-"

/* Parse "hugepages-2048kB" to bytes, or 0. */
static uint64_t size_of_name(const char *name)
{
	const char *p = name + strlen(PREFIX);
	char digits[24];
	uint64_t kib;
	size_t n;

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
		return 0;
	n = strspn(p, "0123456789");
	if (n >= sizeof(digits) || strcmp(p + n, "kB") != 0)
		return 0;
	memcpy(digits, p, n);
	digits[n] = '\0';
	if (stow_parse_u64(digits, UINT64_MAX >> 10, &kib, NULL) < 0)
		return 0;
	return kib << 10;
}

static int list_sizes(struct stow_root *root, const char *dir, uint64_t sizes[STOW_POOLS_MAX],
		      struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	int n = 0;

	d = stow_root_opendir(root, err, "%s", dir);
	if (!d)
		return -errno;
	while (n < STOW_POOLS_MAX && (e = readdir(d))) {
		uint64_t size = size_of_name(e->d_name);
		int at = n;

		if (!size)
			continue;
		for (; at > 0 && sizes[at - 1] > size; at--)
			sizes[at] = sizes[at - 1];
		sizes[at] = size;
		n++;
	}
	return n;
}

int stow_pool_default_size(struct stow_root *root, uint64_t *ret, struct stow_err *err)
{
	static const char tag[] = "\nHugepagesize:";
	_cleanup_free_ char *text = NULL;
	char digits[24] = "";
	const char *line;
	uint64_t kib;
	int r;

	r = stow_root_read(root, STOW_ROOT_READ_MAX, &text, NULL, err, "/proc/meminfo");
	if (r < 0)
		return r;
	line = strstr(text, tag);
	if (line) {
		line += strlen(tag);
		line += strspn(line, " ");
		snprintf(digits, sizeof(digits), "%.*s", (int)strspn(line, "0123456789"), line);
	}
	if (stow_parse_u64(digits, UINT64_MAX >> 10, &kib, NULL) < 0 || !kib)
		return stow_err_set(err, ENOENT,
				    "the kernel has no hugepages (no Hugepagesize in "
				    "/proc/meminfo)");
	*ret = kib << 10;
	return 0;
}

int stow_pool_sizes(struct stow_root *root, uint64_t sizes[STOW_POOLS_MAX], struct stow_err *err)
{
	struct stow_idset nodes = { 0 };
	struct stow_err inner = { 0 };
	int r = list_sizes(root, "/sys/kernel/mm/hugepages", sizes, &inner);

	/* A copied tree may have only the nodes' folders, and not every node has memory. */
	if (r == -ENOENT) {
		(void)stow_root_list_ids(root, "/sys/devices/system/node", "node", &nodes, NULL);
		STOW_IDSET_FOR(node, &nodes) {
			char dir[64];

			snprintf(dir, sizeof(dir), "/sys/devices/system/node/node%d/hugepages",
				 node);
			r = list_sizes(root, dir, sizes, &inner);
			if (r != -ENOENT)
				break;
		}
	}
	if (r < 0 && r != -ENOENT)
		return stow_err_move(err, -inner.code, &inner);
	return r < 0 ? 0 : r;
}

struct pool_dir {
	char path[96];
};

static void node_dir(struct pool_dir *dir, int node, uint64_t size)
{
	snprintf(dir->path, sizeof(dir->path),
		 "/sys/devices/system/node/node%d/hugepages/" PREFIX "%" PRIu64 "kB", node,
		 size >> 10);
}

/* After -ENOENT from the node's folder: return whether the machine's pools stand for it. */
static bool machine_dir(struct stow_root *root, struct pool_dir *dir, int node, uint64_t size)
{
	if (node != 0 || stow_root_exists(root, "/sys/devices/system/node/node0") != 0)
		return false;
	snprintf(dir->path, sizeof(dir->path), "/sys/kernel/mm/hugepages/" PREFIX "%" PRIu64 "kB",
		 size >> 10);
	return true;
}

int stow_pool_read(struct stow_root *root, int node, uint64_t size, struct stow_pool *ret,
		   struct stow_err *err)
{
	struct stow_pool pool = { .size = size };
	struct stow_err first = { 0 };
	struct pool_dir dir;
	int r;

	node_dir(&dir, node, size);
	r = stow_root_read_u64(root, &pool.total, &first, "%s/nr_hugepages", dir.path);
	if (r == -ENOENT && machine_dir(root, &dir, node, size))
		r = stow_root_read_u64(root, &pool.total, &first, "%s/nr_hugepages", dir.path);
	if (r < 0)
		return stow_err_move(err, -first.code, &first);
	/* Surplus pages count in nr_hugepages: in an empty pool there is nothing more to read. */
	if (pool.total) {
		r = stow_root_read_u64(root, &pool.free, err, "%s/free_hugepages", dir.path);
		if (r == 0)
			r = stow_root_read_u64(root, &pool.surplus, err, "%s/surplus_hugepages",
					       dir.path);
		if (r < 0)
			return r;
	}
	*ret = pool;
	return 0;
}

int stow_pool_write(struct stow_root *root, int node, uint64_t size, uint64_t persistent_pages,
		    struct stow_err *err)
{
	struct stow_err first = { 0 };
	struct pool_dir dir;
	sigset_t all, old;
	int r;

	node_dir(&dir, node, size);
	sigfillset(&all);
	r = pthread_sigmask(SIG_SETMASK, &all, &old);
	if (r != 0)
		return stow_err_sys(err, r, "blocking signals");
	r = stow_root_write_u64(root, persistent_pages, &first, "%s/nr_hugepages", dir.path);
	if (r == -ENOENT && machine_dir(root, &dir, node, size))
		r = stow_root_write_u64(root, persistent_pages, &first, "%s/nr_hugepages",
					dir.path);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r < 0 ? stow_err_move(err, -first.code, &first) : 0;
}
