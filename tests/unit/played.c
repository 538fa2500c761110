// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "played.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "grant/cpuview.h"

#define CGROUPS "/sys/fs/cgroup"

static int before(void *ctx, const char *path, const char *value)
{
	const struct played *played = ctx;

	return value && played->refuse && strcmp(path, played->refuse) == 0 ? -EIO : 0;
}

/* Make a written set effective; an empty set inherits all. */
static void wrote(void *ctx, struct stow_root *root, const char *path, const char *value)
{
	struct played *played = ctx;
	char effective[256];

	if (strncmp(path, CGROUPS "/", strlen(CGROUPS "/")) != 0 || !strstr(path, "/cpuset."))
		return;
	snprintf(effective, sizeof(effective), "%s.effective", path);
	if (value[0] == '\0' || value[0] == '\n')
		value = strstr(path, "cpus") ? "0-7" : "0-1";
	tree_write(played->t, effective, "%s\n", value);
}

void played_nodes(struct tree *t)
{
	tree_write(t, "/sys/devices/system/cpu/online", "0-7\n");
	tree_write(t, "/sys/devices/system/node/online", "0-1\n");
	for (int i = 0; i < 2; i++) {
		char path[128];

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", i);
		tree_write(t, path, "%d-%d\n", 4 * i, 4 * i + 3);
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", i);
		tree_write(t, path, "Node %d MemTotal: 16777216 kB\nNode %d MemFree: 16000000 kB\n",
			   i, i);
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/distance", i);
		tree_write(t, path, i ? "20 10\n" : "10 20\n");
	}
}

struct played *played_new(void)
{
	struct played *p = calloc(1, sizeof(*p));
	struct tree *t = p->t = tree_new();

	tree_write(t, "/proc/self/mountinfo",
		   "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	tree_write(t, CGROUPS "/cpuset.cpus.effective", "0-7\n");
	tree_write(t, CGROUPS "/cpuset.mems.effective", "0-1\n");
	played_nodes(t);
	tree_mkdir(t, "/run");
	p->ops = (struct stow_root_ops){ .ctx = p, .before = before, .wrote = wrote };
	t->root->ops = &p->ops;
	assert_int_equal(stow_config_read(t->root, &p->config, NULL), 0);
	p->context.root = t->root;
	p->context.config = p->config;
	p->context.self = (struct stow_pidref){ .pid = 99, .start = 1 };
	assert_int_equal(stow_ledger_open(t->root, true, &p->context.ledger, NULL), 0);
	return p;
}

void played_free(struct played *played)
{
	stow_ledger_close(played->context.ledger);
	stow_config_free(played->config);
	tree_free(played->t);
	free(played);
}

void played_process(struct played *played, int pid, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	tree_write(played->t, path, "0::/%s\n", name);
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	tree_write(played->t, path, "%d (x) S 1 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 1 99\n",
		   pid);
}

void played_kill(struct played *played, int pid, const char *name)
{
	_cleanup_closedir_ DIR *d = NULL;
	char path[512], aside[512];
	struct dirent *e;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	tree_remove(played->t, path);
	if (!name)
		return;
	/* Emptied, not removed: the inode number of a removed folder may be used again at once,
	 * which that of a cgroup is not. */
	snprintf(path, sizeof(path), "%s" CGROUPS "/%s", played->t->dir, name);
	snprintf(aside, sizeof(aside), "%s/gone-%d", played->t->dir, pid);
	assert_int_equal(rename(path, aside), 0);
	d = opendir(aside);
	assert_non_null(d);
	while ((e = readdir(d)))
		if (e->d_type == DT_REG)
			assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
}

void played_write(struct played *played, const char *name, const char *file, const char *list)
{
	char path[512];

	snprintf(path, sizeof(path), CGROUPS "/%s/%s", name, file);
	tree_write(played->t, path, "%s\n", list);
	wrote(played, NULL, path, list);
}

static void grant(struct played *played, int pid, const char *name, const char *id,
		  const struct stow_request *request, struct stow_apply_result *ret)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_subject subject = { .id = id, .init = { .pid = pid, .start = 1 } };
	struct stow_err err = { 0 };
	char procs[512];

	played_process(played, pid, name);
	played_write(played, name, "cpuset.cpus", "");
	played_write(played, name, "cpuset.mems", "");
	snprintf(procs, sizeof(procs), CGROUPS "/%s/cgroup.procs", name);
	tree_write(played->t, procs, "%s", ""); /* whose pages would move, on a live machine */
	if (stow_cgroup_of_pid(played->t->root, pid, &cgroup, &err) < 0)
		fail_msg("%s", err.msg);
	subject.cgroup = cgroup;
	if (stow_grant_reserve(&played->context, &subject, request, NULL, 0, &record, &refusal,
			       &err) < 0 ||
	    stow_grant_enact(&played->context, record, request, false, cgroup, ret, &err) < 0)
		fail_msg("%s", err.msg);
}

void played_container(struct played *played, int pid, const char *name, int node, uint32_t cpus,
		      uint64_t memory, bool exclusive)
{
	struct stow_request request = { .cpus = cpus, .memory = memory };

	request.cpu_mode = exclusive ? STOW_CPU_EXCLUSIVE : STOW_CPU_SHARED;
	stow_idset_add(&request.nodes, node);
	grant(played, pid, name, name, &request, NULL);
}

void played_isolated(struct played *played, int pid, const char *name, uint32_t cpus,
		     struct stow_apply_result *ret)
{
	struct stow_request request = { .cpus = cpus, .cpu_mode = STOW_CPU_ISOLATED };
	const char *slash = strrchr(name, '/');

	stow_idset_add(&request.nodes, 0);
	grant(played, pid, name, slash ? slash + 1 : name, &request, ret);
}

void played_has(struct played *played, const char *name, const char *cpus, const char *nodes)
{
	_cleanup_free_ char *has_cpus = NULL, *has_nodes = NULL;
	char path[512];

	snprintf(path, sizeof(path), CGROUPS "/%s/cpuset.cpus", name);
	has_cpus = tree_read(played->t, path);
	snprintf(path, sizeof(path), CGROUPS "/%s/cpuset.mems", name);
	has_nodes = tree_read(played->t, path);
	assert_string_equal(has_cpus, cpus);
	assert_string_equal(has_nodes, nodes);
}

struct stow_record *played_grant(struct played *played, const char *id)
{
	struct stow_record **records, *first;
	size_t n;

	assert_int_equal(stow_ledger_records(played->context.ledger, id, &records, &n, NULL), 0);
	assert_int_equal(n, 1);
	first = STOW_TAKE_PTR(records[0]);
	stow_records_free(records, n);
	return first;
}

void played_cpus(struct played *played, const struct stow_record *record, char *buf, size_t size)
{
	_cleanup_(stow_cpu_view_done) struct stow_cpu_view view = { 0 };
	struct stow_idset cpus;

	assert_int_equal(stow_cpu_view_read(played->t->root, played->config, played->context.ledger,
					    &view, NULL),
			 0);
	stow_cpu_view_of(&view, record, &cpus);
	stow_idset_format(&cpus, buf, size);
}

size_t played_records(struct played *played)
{
	struct stow_record **records;
	size_t n;

	assert_int_equal(stow_ledger_records(played->context.ledger, NULL, &records, &n, NULL), 0);
	stow_records_free(records, n);
	return n;
}

const char *played_event(struct played *played, const char *id, char *buf, size_t size)
{
	struct stow_event *events;
	size_t n;

	assert_int_equal(stow_ledger_events(played->context.ledger, id, 1, &events, &n, NULL), 0);
	snprintf(buf, size, "%s", n ? events[0].kind : "");
	stow_events_free(events, n);
	return buf;
}
