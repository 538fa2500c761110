// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "tree.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

static void host_path(struct tree *tree, const char *path, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s/%s", tree->dir, path[0] == '/' ? path + 1 : path);

	assert_in_range(n, 1, size - 1);
}

static void make_parents(struct tree *tree, char *host)
{
	for (char *p = host + strlen(tree->dir) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (mkdir(host, 0755) < 0)
			assert_int_equal(errno, EEXIST);
		*p = '/';
	}
}

struct tree *tree_new(void)
{
	const char *tmp = getenv("TMPDIR");
	struct tree *tree = calloc(1, sizeof(*tree));
	struct stow_err err = { 0 };
	int r;

	assert_non_null(tree);
	if (asprintf(&tree->dir, "%s/numastow-tree-XXXXXX", tmp && *tmp ? tmp : "/tmp") < 0)
		fail_msg("out of memory");
	if (!mkdtemp(tree->dir))
		fail_msg("%s: %s", tree->dir, strerror(errno));
	r = stow_root_open(tree->dir, &tree->root, &err);
	if (r == -ENOSYS) {
		print_message("skipped: %s\n", err.msg);
		tree_free(tree);
		skip();
	}
	if (r < 0)
		fail_msg("%s", err.msg);
	return tree;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void tree_free(struct tree *tree)
{
	if (!tree)
		return;
	stow_root_free(tree->root);
	nftw(tree->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(tree->dir);
	free(tree);
}

void tree_write_data(struct tree *tree, const char *path, const void *data, size_t len)
{
	_cleanup_close_ int fd = -EBADF;
	char host[PATH_MAX];

	host_path(tree, path, host, sizeof(host));
	make_parents(tree, host);
	fd = open(host, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		fail_msg("%s: %s", host, strerror(errno));
	assert_int_equal(write(fd, data, len), (ssize_t)len);
}

void tree_write(struct tree *tree, const char *path, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	assert_true(n >= 0);
	tree_write_data(tree, path, text, (size_t)n);
}

void tree_mkdir(struct tree *tree, const char *path)
{
	char host[PATH_MAX];

	host_path(tree, path, host, sizeof(host));
	make_parents(tree, host);
	if (mkdir(host, 0755) < 0)
		assert_int_equal(errno, EEXIST);
}

void tree_link(struct tree *tree, const char *path, const char *target)
{
	char host[PATH_MAX];

	host_path(tree, path, host, sizeof(host));
	make_parents(tree, host);
	if (symlink(target, host) < 0)
		fail_msg("%s: %s", host, strerror(errno));
}

void tree_remove(struct tree *tree, const char *path)
{
	char host[PATH_MAX];

	host_path(tree, path, host, sizeof(host));
	if (nftw(host, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
		fail_msg("%s: %s", host, strerror(errno));
}

char *tree_read(struct tree *tree, const char *path)
{
	struct stow_err err = { 0 };
	char *text = NULL;

	if (stow_root_read(tree->root, STOW_ROOT_READ_MAX, &text, NULL, &err, "%s", path) < 0)
		fail_msg("%s", err.msg);
	return text;
}
