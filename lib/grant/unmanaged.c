// SPDX-License-Identifier: Apache-2.0
#include "grant/unmanaged.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "cgroup/hierarchy.h"
#include "ledger/ledger.h"

#define ENTRY_MAX (64U << 10) /* bytes of one file: three paths and a CPU list */

void stow_unmanaged_done(struct stow_unmanaged *container)
{
	stow_cgroup_id_done(&container->cgroup);
}

/* --- the file ------------------------------------------------------------- */

/*
 *	init PID START
 *	cpuset VERSION INODE PATH	and, on cgroup v1, hugetlb and memory: theirs are others
 *	cpus LIST			the CPUs that it was started with
 *	fallback, reset
 */
static void print(FILE *out, const struct stow_unmanaged *c, const char *cpus)
{
	const struct stow_cgroup_id *id = &c->cgroup;

	fprintf(out, "init %d %" PRIu64 "\n", (int)c->init.pid, c->init.start);
	for (int i = 0; i < STOW_CGROUP_CONTROLLERS; i++)
		if (id->at[i].version == 1 || (i == STOW_CGROUP_CPUSET && id->at[i].version))
			fprintf(out, "%s %d %" PRIu64 " %s\n", stow_controller_names[i],
				id->at[i].version, id->at[i].inode, id->at[i].path);
	if (*cpus)
		fprintf(out, "cpus %s\n", cpus);
	if (c->fallback)
		fputs("fallback\n", out);
	if (c->reset)
		fputs("reset\n", out);
}

static int put(struct stow_root *root, const struct stow_unmanaged *container,
	       int (*put_file)(struct stow_root *root, const char *path, const char *text,
			       mode_t mode, struct stow_err *err),
	       struct stow_err *err)
{
	_cleanup_free_ char *cpus = stow_idset_to_list(&container->given), *text = NULL;
	const char *dir = container->pods ? STOW_PODS_DIR : STOW_UNMANAGED_DIR;
	char path[sizeof(STOW_UNMANAGED_DIR) + STOW_ID_MAX + 1];
	size_t len = 0;
	FILE *out;
	int r;

	out = cpus ? open_memstream(&text, &len) : NULL;
	if (!out)
		return stow_err_sys(err, ENOMEM, "%s", container->id);
	print(out, container, cpus);
	if (fclose(out) != 0)
		return stow_err_sys(err, ENOMEM, "%s", container->id);
	snprintf(path, sizeof(path), "%s/%s", dir, container->id);
	r = put_file(root, path, text, 0600, err);
	if (r != -ENOENT)
		return r;
	/* The first container since boot. */
	r = stow_root_mkdir(root, dir, err);
	return r < 0 ? r : put_file(root, path, text, 0600, err);
}

int stow_unmanaged_write(struct stow_root *root, const struct stow_unmanaged *container,
			 struct stow_err *err)
{
	return put(root, container, stow_root_replace, err);
}

int stow_unmanaged_enter(struct stow_root *root, const struct stow_unmanaged *container,
			 struct stow_err *err)
{
	int r = put(root, container, stow_root_create, err);

	return r == -EEXIST ? 0 : r < 0 ? r : 1;
}

static int parse_init(char *text, struct stow_pidref *ret)
{
	char *space = strchr(text, ' ');
	uint64_t pid;

	if (!space)
		return -EINVAL;
	*space = '\0';
	if (stow_parse_u64(text, INT32_MAX, &pid, NULL) < 0 ||
	    stow_parse_u64(space + 1, UINT64_MAX, &ret->start, NULL) < 0)
		return -EINVAL;
	ret->pid = (pid_t)pid;
	return 0;
}

/* "VERSION INODE PATH". */
static int parse_cgroup(char *text, int c, struct stow_cgroup_id *ret)
{
	char *inode = strchr(text, ' '), *path = inode ? strchr(inode + 1, ' ') : NULL;
	uint64_t version;

	if (!path || path[1] != '/' || ret->at[c].path)
		return -EINVAL;
	*inode++ = *path++ = '\0';
	if (stow_parse_u64(text, 2, &version, NULL) < 0 || !version ||
	    stow_parse_u64(inode, UINT64_MAX, &ret->at[c].inode, NULL) < 0)
		return -EINVAL;
	ret->at[c].version = (int)version;
	ret->at[c].path = strdup(path);
	return ret->at[c].path ? 0 : -ENOMEM;
}

static int parse_line(char *line, struct stow_unmanaged *c)
{
	char *value = strchr(line, ' ');

	if (strcmp(line, "reset") == 0 || strcmp(line, "fallback") == 0) {
		*(line[0] == 'r' ? &c->reset : &c->fallback) = true;
		return 0;
	}
	if (!value)
		return -EINVAL;
	*value++ = '\0';
	if (strcmp(line, "init") == 0)
		return parse_init(value, &c->init);
	if (strcmp(line, "cpus") == 0)
		return stow_idset_parse(value, &c->given, NULL);
	for (int i = 0; i < STOW_CGROUP_CONTROLLERS; i++)
		if (strcmp(line, stow_controller_names[i]) == 0)
			return parse_cgroup(value, i, &c->cgroup);
	return -EINVAL;
}

int stow_unmanaged_parse(const char *id, char *text, struct stow_unmanaged *ret,
			 struct stow_err *err)
{
	struct stow_unmanaged c = { 0 };
	char *save = NULL;
	int r = 0;

	snprintf(c.id, sizeof(c.id), "%s", id);
	for (char *line = strtok_r(text, "\n", &save); line && r == 0;
	     line = strtok_r(NULL, "\n", &save))
		r = parse_line(line, &c);
	/* On v2 all controllers are in one cgroup. */
	for (int i = STOW_CGROUP_CPUSET + 1; i < STOW_CGROUP_CONTROLLERS && r == 0; i++) {
		if (c.cgroup.at[STOW_CGROUP_CPUSET].version != 2 || c.cgroup.at[i].path)
			continue;
		c.cgroup.at[i] = c.cgroup.at[STOW_CGROUP_CPUSET];
		c.cgroup.at[i].path = strdup(c.cgroup.at[STOW_CGROUP_CPUSET].path);
		r = c.cgroup.at[i].path ? 0 : -ENOMEM;
	}
	if (r < 0) {
		stow_unmanaged_done(&c);
		return r == -ENOMEM ? stow_err_sys(err, ENOMEM, "%s", id)
				    : stow_err_set(err, ENOENT, "%s: not an entry of numastow", id);
	}
	*ret = c;
	return 0;
}

static int read_entry(struct stow_root *root, const char *dir, const char *id,
		      struct stow_unmanaged *ret, struct stow_err *err)
{
	char text[ENTRY_MAX];
	int r;

	r = stow_root_read_buf(root, text, sizeof(text), err, "%s/%s", dir, id);
	/* No regular file, or too long. */
	if (r == -EINVAL || r == -E2BIG)
		return stow_err_set(err, ENOENT, "%s: not an entry of numastow", id);
	return r < 0 ? r : stow_unmanaged_parse(id, text, ret, err);
}

int stow_unmanaged_read(struct stow_root *root, const char *id, struct stow_unmanaged *ret,
			struct stow_err *err)
{
	return read_entry(root, STOW_UNMANAGED_DIR, id, ret, err);
}

int stow_unmanaged_remove(struct stow_root *root, const char *id, struct stow_err *err)
{
	return stow_root_unlink(root, err, STOW_UNMANAGED_DIR "/%s", id);
}

void stow_unmanaged_remove_of(struct stow_root *root, const char *id, pid_t init)
{
	_cleanup_(stow_unmanaged_done) struct stow_unmanaged known = { 0 };

	if (stow_unmanaged_read(root, id, &known, NULL) == 0 && known.init.pid == init)
		(void)stow_unmanaged_remove(root, id, NULL);
}

void stow_unmanaged_set_beside(struct stow_unmanaged *container)
{
	char inode[24];
	size_t len;

	len = (size_t)snprintf(inode, sizeof(inode), "-%" PRIu64,
			       container->cgroup.at[STOW_CGROUP_CPUSET].inode);
	memcpy(container->id + STOW_MIN(strlen(container->id), STOW_ID_MAX - len), inode, len + 1);
}

int stow_unmanaged_remove_pods(struct stow_root *root, const char *id, struct stow_err *err)
{
	return stow_root_unlink(root, err, STOW_PODS_DIR "/%s", id);
}

/* --- all of them ---------------------------------------------------------- */

bool stow_unmanaged_ended(struct stow_root *root, const struct stow_unmanaged *container)
{
	if (stow_pidref_alive(root, &container->init))
		return false;
	return stow_cgroup_populated(root, &container->cgroup, NULL) == 0;
}

static int each(struct stow_root *root, bool pods,
		int (*visit)(struct stow_root *root, struct stow_unmanaged *container, void *ctx,
			     struct stow_err *err),
		void *ctx, struct stow_err *err)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *dir = NULL;
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	struct stow_first first = { .err = err };
	int sum = 0, r;

	r = stow_root_sub(root, &dir, err, "%s", pods ? STOW_PODS_DIR : STOW_UNMANAGED_DIR);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	d = stow_root_opendir(dir, err, "/");
	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		_cleanup_(stow_unmanaged_done) struct stow_unmanaged container = { 0 };

		if (e->d_name[0] == '.' || strlen(e->d_name) > STOW_ID_MAX)
			continue;
		/* Continue after a file that cannot be read. */
		r = read_entry(dir, "", e->d_name, &container, first.err);
		if (r < 0) {
			stow_first_note(&first, r == -ENOENT ? 0 : r);
			continue;
		}
		container.pods = pods;
		r = visit(root, &container, ctx, err);
		if (r < 0)
			return r;
		sum += r;
	}
	return first.code ? first.code : sum;
}

int stow_unmanaged_each(struct stow_root *root,
			int (*visit)(struct stow_root *root, struct stow_unmanaged *container,
				     void *ctx, struct stow_err *err),
			void *ctx, struct stow_err *err)
{
	return each(root, false, visit, ctx, err);
}

int stow_unmanaged_each_pods(struct stow_root *root,
			     int (*visit)(struct stow_root *root, struct stow_unmanaged *container,
					  void *ctx, struct stow_err *err),
			     void *ctx, struct stow_err *err)
{
	return each(root, true, visit, ctx, err);
}

int stow_unmanaged_leave(struct stow_root *root, const char *id, struct stow_err *err)
{
	_cleanup_(stow_unmanaged_done) struct stow_unmanaged container = { 0 };
	int r;

	r = stow_unmanaged_read(root, id, &container, NULL);
	if (r == -ENOENT)
		return 0;
	if (r == 0 && !stow_unmanaged_ended(root, &container))
		return 0;
	r = stow_unmanaged_remove(root, id, err);
	return r < 0 ? r : 1;
}

static int sweep_one(struct stow_root *root, struct stow_unmanaged *container, void *ctx,
		     struct stow_err *err)
{
	int r;

	if (!stow_unmanaged_ended(root, container))
		return 0;
	r = stow_unmanaged_remove(root, container->id, err);
	return r < 0 ? r : 1;
}

/* Remove temporary files of stow_root_replace() whose writer died. */
static void sweep_unfinished(struct stow_root *root, const char *dir)
{
	_cleanup_closedir_ DIR *d = stow_root_opendir(root, NULL, "%s", dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		const char *dot = strrchr(e->d_name, '.');
		struct stow_pidref ref;
		uint64_t pid;

		if (e->d_name[0] == '.' && dot > e->d_name &&
		    stow_parse_u64(dot + 1, INT32_MAX, &pid, NULL) == 0 &&
		    stow_pidref_read(root, (pid_t)pid, &ref, NULL) == -ESRCH)
			(void)stow_root_unlink(root, NULL, "%s/%s", dir, e->d_name);
	}
}

/* Remove files that are not entries; return how many there were. If one is a damaged entry, its
 * container is found again by its cgroup. */
static size_t sweep_strangers(struct stow_root *root, const char *dir)
{
	_cleanup_closedir_ DIR *d = stow_root_opendir(root, NULL, "%s", dir);
	struct dirent *e;
	size_t n = 0;

	if (!d && errno == ENOTDIR) {
		(void)stow_root_unlink(root, NULL, "%s", dir);
		return 1;
	}
	while (d && (e = readdir(d))) {
		_cleanup_(stow_unmanaged_done) struct stow_unmanaged container = { 0 };

		if (e->d_name[0] == '.' ||
		    read_entry(root, dir, e->d_name, &container, NULL) != -ENOENT ||
		    stow_root_exists(root, "%s/%s", dir, e->d_name) != 1)
			continue;
		/* A folder stays unless it is empty. */
		(void)(e->d_type == DT_DIR ? stow_root_rmdir
					   : stow_root_unlink)(root, NULL, "%s/%s", dir, e->d_name);
		n++;
	}
	return n;
}

int stow_unmanaged_sweep(struct stow_root *root, size_t *ret_strangers, struct stow_err *err)
{
	sweep_unfinished(root, STOW_RUN_DIR);
	sweep_unfinished(root, STOW_UNMANAGED_DIR);
	sweep_unfinished(root, STOW_PODS_DIR);
	*ret_strangers =
		sweep_strangers(root, STOW_UNMANAGED_DIR) + sweep_strangers(root, STOW_PODS_DIR);
	return stow_unmanaged_each(root, sweep_one, NULL, err);
}

struct pinned {
	const struct stow_idset *online;
	struct stow_idset *set;
};

static int pinned_one(struct stow_root *root, struct stow_unmanaged *container, void *ctx,
		      struct stow_err *err)
{
	struct pinned *pinned = ctx;

	/* A set that covers the whole machine restricts nothing. */
	if (!stow_idset_empty(&container->given) &&
	    !stow_idset_subset(pinned->online, &container->given) &&
	    !stow_unmanaged_ended(root, container))
		stow_idset_or(pinned->set, &container->given);
	return 0;
}

int stow_unmanaged_pinned(struct stow_root *root, const struct stow_idset *online,
			  struct stow_idset *ret, struct stow_err *err)
{
	struct stow_idset set = { 0 };
	struct pinned pinned = { .online = online, .set = &set };
	int r = stow_unmanaged_each(root, pinned_one, &pinned, err);

	if (r == 0)
		*ret = set;
	return r;
}
