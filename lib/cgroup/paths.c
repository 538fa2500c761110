// SPDX-License-Identifier: Apache-2.0
#include "cgroup/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cgroup/hierarchy.h"
#include "cgroup/hierarchy_entry.h"

#define DEPTH_MAX 64 /* nested directories */

struct wanted {
	uint64_t inode;
	size_t at; /* in the caller's list */
};

struct search {
	struct stow_root *top; /* the hierarchy */
	struct wanted *wanted; /* by inode */
	size_t n, left;
	char **paths;
	char path[4096]; /* the current directory */
};

static int by_inode(const void *a, const void *b)
{
	const struct wanted *x = a, *y = b;

	return (x->inode > y->inode) - (x->inode < y->inode);
}

/* Set the path of every entry with this inode. */
static int found(struct search *s, uint64_t inode)
{
	struct wanted key = { .inode = inode };
	struct wanted *hit = bsearch(&key, s->wanted, s->n, sizeof(key), by_inode);

	if (!hit)
		return 0;
	while (hit > s->wanted && hit[-1].inode == inode)
		hit--;
	for (; hit < s->wanted + s->n && hit->inode == inode; hit++) {
		if (s->paths[hit->at])
			continue;
		s->paths[hit->at] = strdup(s->path[0] ? s->path : "/");
		if (!s->paths[hit->at])
			return -ENOMEM;
		s->left--;
	}
	return 0;
}

/* A cgroup's inode number is in its parent's directory entry, so a directory is opened only to read
 * its children. A cgroup that vanishes meanwhile is gone. */
static int search_below(struct search *s, int depth)
{
	_cleanup_closedir_ DIR *folder = stow_root_opendir(s->top, NULL, "%s/", s->path);
	size_t len = strlen(s->path);
	const struct dirent *entry;
	int r = 0;

	while (folder && s->left && r == 0 && (entry = readdir(folder))) {
		size_t more = strlen(entry->d_name);

		if (!stow_entry_is_cgroup(entry) || len + more + 2 > sizeof(s->path))
			continue;
		s->path[len] = '/';
		memcpy(s->path + len + 1, entry->d_name, more + 1);
		r = found(s, entry->d_ino);
		if (r == 0 && depth < DEPTH_MAX)
			r = search_below(s, depth + 1);
		s->path[len] = '\0';
	}
	return r;
}

static int search_all(struct stow_root *root, struct search *s, struct stow_err *err)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *top = NULL;
	const char *mount = NULL;
	struct stat st;
	int r;

	r = stow_cgroup_mount(root, STOW_CGROUP_MEMORY, &mount, err);
	if (r == 0)
		r = stow_root_sub(root, &top, err, "%s", mount);
	if (r < 0)
		return r;
	s->top = top;
	if (fstat(top->fd, &st) < 0)
		return stow_err_sys(err, errno, "%s", mount);
	r = found(s, st.st_ino);
	if (r == 0)
		r = search_below(s, 0);
	return r < 0 ? stow_err_sys(err, -r, "%s", mount) : 0;
}

int stow_cgroup_paths(struct stow_root *root, const uint64_t *inodes, size_t n, char **ret_paths,
		      struct stow_err *err)
{
	_cleanup_free_ struct wanted *wanted = calloc(n ? n : 1, sizeof(*wanted));
	_cleanup_free_ char **paths = calloc(n ? n : 1, sizeof(*paths));
	struct search s = { .wanted = wanted, .paths = paths };
	int r = 0;

	if (!wanted || !paths)
		return stow_err_sys(err, ENOMEM, "paths of cgroups");
	for (size_t i = 0; i < n; i++)
		if (inodes[i]) /* 0: no cgroup */
			wanted[s.n++] = (struct wanted){ inodes[i], i };
	qsort(wanted, s.n, sizeof(*wanted), by_inode);
	s.left = s.n;
	if (s.n)
		r = search_all(root, &s, err);
	if (r < 0) {
		for (size_t i = 0; i < n; i++)
			free(paths[i]);
		return r;
	}
	memcpy(ret_paths, paths, n * sizeof(*paths));
	return 0;
}

/* --- the container in a path ---------------------------------------------- */

/* A part of a path: "libpod-4c1f.scope". */
struct part {
	const char *at;
	size_t len;
};

static bool part_is(const struct part *p, const char *text)
{
	return p->len == strlen(text) && memcmp(p->at, text, p->len) == 0;
}

static bool cut_prefix(struct part *p, const char *prefix)
{
	size_t len = strlen(prefix);

	if (p->len <= len || memcmp(p->at, prefix, len) != 0)
		return false;
	p->at += len;
	p->len -= len;
	return true;
}

static bool cut_suffix(struct part *p, const char *suffix)
{
	size_t len = strlen(suffix);

	if (p->len <= len || memcmp(p->at + p->len - len, suffix, len) != 0)
		return false;
	p->len -= len;
	return true;
}

/* Find the component of `path` that ends before `end`; false when there is none. */
static bool part_before(const char *path, const char *end, struct part *ret)
{
	while (end > path && end[-1] == '/')
		end--;
	ret->at = end;
	while (ret->at > path && ret->at[-1] != '/')
		ret->at--;
	ret->len = (size_t)(end - ret->at);
	return ret->len > 0;
}

/* Find the id in the name of a runtime that has its own prefix: "libpod-ID.scope". The monitors'
 * names ("libpod-conmon-ID.scope") give an empty part. */
static bool id_of_runtime(struct part *p)
{
	static const char *const prefixes[] = { "libpod-", "crio-", "cri-containerd-", "docker-" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(prefixes); i++) {
		struct part monitor;

		if (!cut_prefix(p, prefixes[i]))
			continue;
		monitor = *p;
		if (cut_prefix(&monitor, "conmon-"))
			p->len = 0;
		cut_suffix(p, ".scope");
		return true;
	}
	return false;
}

/* Find the id in a scope that an OCI runtime made under systemd:
 * "machine.slice/PREFIX-ID.scope". */
static bool id_of_scope(struct part *p, const struct part *above)
{
	const char *dash;

	if (!part_is(above, "machine.slice") || !cut_suffix(p, ".scope"))
		return false;
	dash = memchr(p->at, '-', p->len);
	if (!dash || dash + 1 == p->at + p->len)
		return false;
	p->len -= (size_t)(dash + 1 - p->at);
	p->at = dash + 1;
	return true;
}

static bool is_unit(struct part p)
{
	return cut_suffix(&p, ".slice") || cut_suffix(&p, ".scope") || cut_suffix(&p, ".service");
}

/* Find the id in paths that only runtimes make: "/docker/ID", "/default/ID" (containerd), and
 * Kubernetes' "/kubepods/burstable/podUID/ID". */
static bool id_of_plain(const char *path, struct part *p, const struct part *above)
{
	struct part each = { path, 0 }, pod;

	if (!above->len || part_is(p, "container") || part_is(p, "init.scope"))
		return false;
	if (strncmp(path, "/kubepods", 9) == 0) {
		pod = *above;
		return (cut_prefix(&pod, "pod") || strstr(path, "-pod")) && !is_unit(*p);
	}
	for (const char *end = path + strlen(path); part_before(path, end, &each); end = each.at)
		if (is_unit(each))
			return false;
	return true;
}

const char *stow_cgroup_container(const char *path, char *buf, size_t size)
{
	struct part part = { path, 0 }, above;
	const char *end;

	/* Take the innermost component with a runtime's own prefix; if there is none, guess. */
	for (int guess = 0; guess < 2; guess++)
		for (end = path + strlen(path); part_before(path, end, &part);) {
			end = part.at;
			if (!part_before(path, end, &above))
				above.len = 0;
			if (guess ? id_of_scope(&part, &above) || id_of_plain(path, &part, &above)
				  : id_of_runtime(&part)) {
				snprintf(buf, size, "%.*s", (int)part.len, part.at);
				return buf;
			}
		}
	snprintf(buf, size, "%s", "");
	return buf;
}
