// SPDX-License-Identifier: Apache-2.0
#include "node/hugetlb.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"

#define MACHINE	    "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB"
#define NODE	    "/sys/devices/system/node/node%d/hugepages/hugepages-%" PRIu64 "kB"
#define FILES_MAX   4096
#define FOLDERS_MAX 8

static uint64_t number(struct stow_root *root, uint64_t size, const char *file)
{
	uint64_t value;

	if (stow_root_read_u64(root, &value, NULL, MACHINE "/%s", size >> 10, file) < 0)
		return STOW_UNKNOWN;
	return value;
}

/* Read "2048kB". */
static uint64_t split_size(struct stow_root *root, uint64_t size)
{
	char text[32];
	uint64_t kib;
	size_t len;
	int r = stow_root_read_buf(root, text, sizeof(text), NULL, MACHINE "/demote_size",
				   size >> 10);

	if (r == -ENOENT)
		return 0;
	len = r < 0 ? 0 : strlen(text);
	if (len < 3 || strcmp(text + len - 2, "kB") != 0)
		return STOW_UNKNOWN;
	text[len - 2] = '\0';
	if (stow_parse_u64(text, UINT64_MAX >> 10, &kib, NULL) < 0)
		return STOW_UNKNOWN;
	return kib << 10;
}

void stow_hugetlb_read(struct stow_root *root, uint64_t size, struct stow_hugetlb *ret)
{
	*ret = (struct stow_hugetlb){
		.size = size,
		.total = number(root, size, "nr_hugepages"),
		.free = number(root, size, "free_hugepages"),
		.surplus = number(root, size, "surplus_hugepages"),
		.reserved = number(root, size, "resv_hugepages"),
		.overcommit = number(root, size, "nr_overcommit_hugepages"),
		.split_size = split_size(root, size),
	};
}

int stow_hugetlb_split(struct stow_root *root, int node, uint64_t size, uint64_t pages,
		       struct stow_err *err)
{
	struct stow_err why = { 0 };
	char text[32];
	int r = stow_root_write_u64(root, pages, &why, NODE "/demote", node, size >> 10);

	/* Without NUMA, the machine's pools are node 0's. */
	if (r == -ENOENT && node == 0 &&
	    stow_root_exists(root, "/sys/devices/system/node/node0") == 0)
		r = stow_root_write_u64(root, pages, &why, MACHINE "/demote", size >> 10);
	if (r == -ENOENT)
		return stow_err_set(
			err, EOPNOTSUPP,
			"node %d: this kernel cannot split hugepages of %s (since 5.16, "
			"for sizes above the smallest)",
			node, stow_format_size(size, text, sizeof(text)));
	return r < 0 ? stow_err_move(err, r, &why) : 0;
}

/* --- hugetlbfs ---------------------------------------------------------------------------- */

/* Copy a field of mounts(5), in which blanks are written as \040. NULL: out of memory. */
static char *unescape(const char *field, size_t len)
{
	char *text = malloc(len + 1);
	size_t n = 0;

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		const char *p = field + i;

		if (*p == '\\' && len - i > 3 && strspn(p + 1, "01234567") >= 3 && p[1] < '4') {
			text[n++] = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + p[3] - '0');
			i += 3;
		} else {
			text[n++] = *p;
		}
	}
	text[n] = '\0';
	return text;
}

/* Parse a size as the kernel prints it: "2M", "1024M", "64K", "1073741824". */
static uint64_t mount_size(const char *text, size_t len)
{
	char digits[24];
	uint64_t value;
	unsigned int shift = 0;

	if (len && text[len - 1] == 'K')
		shift = 10;
	else if (len && text[len - 1] == 'M')
		shift = 20;
	else if (len && text[len - 1] == 'G')
		shift = 30;
	len -= shift != 0;
	if (!len || len >= sizeof(digits))
		return STOW_UNKNOWN;
	memcpy(digits, text, len);
	digits[len] = '\0';
	if (stow_parse_u64(digits, UINT64_MAX >> shift >> 1, &value, NULL) < 0)
		return STOW_UNKNOWN;
	return value << shift;
}

static void take_options(struct stow_hugetlbfs *m, const char *options, size_t len)
{
	for (size_t at = 0; at < len;) {
		const char *word = options + at;
		size_t n = strcspn(word, ", \n");

		if (n > len - at)
			n = len - at;
		if (n > 9 && strncmp(word, "pagesize=", 9) == 0)
			m->page_size = mount_size(word + 9, n - 9);
		else if (n > 5 && strncmp(word, "size=", 5) == 0)
			m->limit = mount_size(word + 5, n - 5);
		else if (n == 2 && strncmp(word, "ro", 2) == 0)
			m->read_only = true;
		at += n + 1;
	}
}

int stow_hugetlbfs_line(const char *line, size_t len, struct stow_hugetlbfs *ret)
{
	const char *fields[4];
	size_t lens[4], at = 0;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(fields); i++) {
		fields[i] = line + at;
		for (lens[i] = 0; at < len && line[at] != ' ' && line[at] != '\n'; at++)
			lens[i]++;
		if (!lens[i])
			return 0;
		at++;
		if (at > len)
			at = len;
	}
	if (lens[2] != strlen("hugetlbfs") || strncmp(fields[2], "hugetlbfs", lens[2]) != 0)
		return 0;
	*ret = (struct stow_hugetlbfs){ .path = unescape(fields[1], lens[1]),
					.page_size = STOW_UNKNOWN,
					.limit = STOW_UNKNOWN };
	if (!ret->path)
		return -ENOMEM;
	take_options(ret, fields[3], lens[3]);
	return 1;
}

void stow_hugetlbfs_done(struct stow_hugetlbfs_list *mounts)
{
	for (size_t i = 0; i < mounts->n; i++)
		free(mounts->list[i].path);
	free(mounts->list);
	*mounts = (struct stow_hugetlbfs_list){ 0 };
}

int stow_hugetlbfs_read(struct stow_root *root, struct stow_hugetlbfs_list *ret,
			struct stow_err *err)
{
	struct stow_hugetlbfs_list mounts = { 0 };
	_cleanup_free_ char *text = NULL;
	struct stow_err why = { 0 };
	/* A copied tree has the file of another process, or the link to it only. */
	int r = stow_root_read(root, STOW_ROOT_READ_MAX, &text, NULL, &why, "/proc/self/mounts");

	if (r == -ENOENT)
		r = stow_root_read(root, STOW_ROOT_READ_MAX, &text, NULL, &why, "/proc/mounts");
	*ret = mounts;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return stow_err_move(err, r, &why);
	for (const char *p = text; *p;) {
		size_t len = strcspn(p, "\n");
		struct stow_hugetlbfs mount, *place;

		r = stow_hugetlbfs_line(p, len, &mount);
		p += len + (p[len] == '\n');
		if (r == 0)
			continue;
		place = r > 0 ? STOW_APPEND(mounts.list, mounts.n) : NULL;
		if (!place) {
			if (r > 0)
				free(mount.path);
			stow_hugetlbfs_done(&mounts);
			return stow_err_sys(err, ENOMEM, "mounts");
		}
		*place = mount;
	}
	*ret = mounts;
	return 0;
}

struct walk {
	struct stow_root *root;
	uint64_t bytes;
	unsigned int files;
};

static int walk(struct walk *w, const char *path, int depth, struct stow_err *err)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *e;

	if (depth > FOLDERS_MAX)
		return stow_err_set(err, EOVERFLOW, "%s: folders are too deep", path);
	dir = stow_root_opendir(w->root, err, "%s", path);
	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		char below[4096];
		struct stat st;
		int r;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (++w->files > FILES_MAX || (size_t)snprintf(below, sizeof(below), "%s/%s", path,
							       e->d_name) >= sizeof(below))
			return stow_err_set(err, EOVERFLOW, "%s has more than %d files", path,
					    FILES_MAX);
		/* Links lead elsewhere, and hold nothing. */
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISREG(st.st_mode))
			w->bytes += (uint64_t)st.st_blocks * 512;
		else if (S_ISDIR(st.st_mode)) {
			r = walk(w, below, depth + 1, err);
			if (r < 0 && r != -ENOENT)
				return r;
		}
	}
	return 0;
}

int stow_hugetlbfs_used(struct stow_root *root, const struct stow_hugetlbfs *mount,
			uint64_t *ret_bytes, struct stow_err *err)
{
	struct walk w = { .root = root };
	int r = walk(&w, mount->path, 0, err);

	if (r == 0)
		*ret_bytes = w.bytes;
	return r;
}

int stow_hugetlbfs_mount(struct stow_root *root, const char *path, uint64_t page_size,
			 uint64_t limit, struct stow_err *err)
{
	char options[96];
	struct stat st;
	int r;

	if (path[0] != '/')
		return stow_err_set(err, EINVAL, "%s: the folder must be an absolute path", path);
	r = stow_root_stat(root, &st, err, "%s", path);
	if (r < 0)
		return r;
	if (!S_ISDIR(st.st_mode))
		return stow_err_set(err, ENOTDIR, "%s is not a folder", path);
	if (!root->live)
		return stow_err_set(err, EOPNOTSUPP, "%s: nothing is mounted in a copied tree",
				    path);
	snprintf(options, sizeof(options), "pagesize=%" PRIu64, page_size);
	if (limit)
		stow_append(options, sizeof(options), ",size=%" PRIu64, limit);
	if (mount("hugetlbfs", path, "hugetlbfs", MS_NOSUID | MS_NODEV, options) < 0)
		return stow_err_sys(err, errno, "mounting hugetlbfs (%s) at %s", options, path);
	return 0;
}
