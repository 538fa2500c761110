// SPDX-License-Identifier: Apache-2.0
/*
 * Measures the applier with many containers, against bare loops over the same files.
 *
 *	apply PARENT N ROUNDS records|unmanaged
 *
 * PARENT is the directory of a cgroup of the cpuset hierarchy. N cgroups are created below it, for
 * containers with a shared grant or unmanaged ones, and removed again. It uses the machine's
 * ledger: mount something over /run/numastow first. Prints for each measurement: a name, the median
 * and minimum of the wall time, and the same of the processor time, in ns.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cgroup/cpuset.h"
#include "grant/apply.h"

struct bench {
	struct stow_root *root;
	struct stow_grant_context context;
	const char *parent; /* the directory */
	int n, rounds;
	bool unmanaged;
	struct stow_cgroup_id *ids;
	struct stow_idset all, taken;
	int64_t key; /* of the record that has `taken` */
};

static void check(int r, const struct stow_err *err)
{
	if (r >= 0)
		return;
	fprintf(stderr, "apply: %s\n", err->msg);
	exit(1);
}

/* --- the containers ------------------------------------------------------- */

static void put(const char *dir, const char *name, const char *value)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) < 0) {
		perror(path);
		exit(1);
	}
	close(fd);
}

static void dir_of(const struct bench *b, int i, char *buf, size_t size)
{
	snprintf(buf, size, "%s/c%04d", b->parent, i);
}

/* Record the identity that a createRuntime hook would find, with a process that is in the cgroup
 * for a moment. */
static void identify(struct bench *b, int i, const char *dir)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_err err = { 0 };

	put(dir, "cgroup.procs", "0");
	check(stow_cgroup_of_pid(b->root, getpid(), &cgroup, &err), &err);
	check(stow_cgroup_id_copy(&cgroup->id, &b->ids[i], &err), &err);
}

static void make_cgroups(struct bench *b)
{
	_cleanup_free_ char *cpus = stow_idset_to_list(&b->all);
	bool v1 = access("/sys/fs/cgroup/cgroup.controllers", F_OK) != 0;
	char dir[256];

	for (int i = 0; i < b->n; i++) {
		dir_of(b, i, dir, sizeof(dir));
		(void)mkdir(dir, 0755);
		put(dir, "cpuset.cpus", cpus);
		if (v1)
			put(dir, "cpuset.mems", "0");
		identify(b, i, dir);
	}
}

static void remove_cgroups(struct bench *b)
{
	char dir[256];

	put("/sys/fs/cgroup/cpuset", "cgroup.procs", "0");
	for (int i = 0; i < b->n; i++) {
		dir_of(b, i, dir, sizeof(dir));
		(void)rmdir(dir);
	}
}

static void enter_record(struct bench *b, int i, const struct stow_pidref *ref)
{
	struct stow_share share = { .node = 0 };
	struct stow_err err = { 0 };
	char id[65];
	struct stow_record record = {
		.state = STOW_STATE_ACTIVE,
		.id = id,
		.init = *ref,
		.worker = *ref,
		.cgroup = b->ids[i], /* not owned */
		.shares = &share,
		.n_shares = 1,
	};

	snprintf(id, sizeof(id), "%064x", (unsigned int)i);
	check(stow_ledger_insert(b->context.ledger, &record, &err), &err);
}

static void enter_unmanaged(struct bench *b, int i, const struct stow_pidref *ref)
{
	struct stow_unmanaged entry = { .init = *ref, .cgroup = b->ids[i] };
	struct stow_err err = { 0 };

	snprintf(entry.id, sizeof(entry.id), "%064x", (unsigned int)i);
	check(stow_unmanaged_write(b->root, &entry, &err), &err);
}

static void enter_all(struct bench *b)
{
	struct stow_err err = { 0 };
	struct stow_pidref ref;

	check(stow_pidref_read(b->root, getpid(), &ref, &err), &err);
	check(stow_ledger_begin(b->context.ledger, &err), &err);
	for (int i = 0; i < b->n; i++)
		(b->unmanaged ? enter_unmanaged : enter_record)(b, i, &ref);
	check(stow_ledger_commit(b->context.ledger, &err), &err);
}

/* --- what is measured ----------------------------------------------------- */

/* Grant the CPU `taken` exclusively: all other containers have to leave it. */
static void promise(struct bench *b)
{
	struct stow_share share = { .node = 0, .cpus = 1 };
	struct stow_err err = { 0 };
	struct stow_record record = {
		.state = STOW_STATE_LEASE,
		.id = (char *)"mine",
		.exclusive = true,
		.cpus = b->taken,
		.shares = &share,
		.n_shares = 1,
	};

	record.cgroup = b->ids[0];
	record.cgroup.at[STOW_CGROUP_CPUSET].path = (char *)"/none";
	check(stow_ledger_begin(b->context.ledger, &err), &err);
	check(stow_ledger_insert(b->context.ledger, &record, &err), &err);
	check(stow_ledger_commit(b->context.ledger, &err), &err);
	b->key = record.key;
}

static void take_back(struct bench *b)
{
	struct stow_err err = { 0 };

	check(stow_ledger_begin(b->context.ledger, &err), &err);
	check(stow_ledger_delete(b->context.ledger, b->key, &err), &err);
	check(stow_ledger_commit(b->context.ledger, &err), &err);
}

static void apply(struct bench *b, size_t changed)
{
	static const struct stow_apply_options options = { 0 };
	struct stow_apply_result result;
	struct stow_err err = { 0 };

	check(stow_apply(&b->context, &options, &result, &err), &err);
	if (result.changed != changed || result.n_problems) {
		fprintf(stderr, "apply: %zu of %zu changed, %zu problems: %s\n", result.changed,
			changed, result.n_problems,
			result.n_problems ? result.problems[0].text : "");
		exit(1);
	}
	stow_apply_result_done(&result);
}

static void bare_write(struct bench *b, const struct stow_idset *set)
{
	_cleanup_free_ char *list = stow_idset_to_list(set);
	char dir[256];

	for (int i = 0; i < b->n; i++) {
		dir_of(b, i, dir, sizeof(dir));
		put(dir, "cpuset.cpus", list);
	}
}

static void bare_read(struct bench *b)
{
	const char *name = b->ids[0].at[STOW_CGROUP_CPUSET].version == 1 ? "cpuset.effective_cpus"
									 : "cpuset.cpus.effective";
	char path[512], buf[4096];

	for (int i = 0; i < b->n; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/c%04d/%s", b->parent, i, name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, buf, sizeof(buf)) <= 0) {
			perror(path);
			exit(1);
		}
		close(fd);
	}
}

enum what { TAKE, WRITE, LOOK, READ, CURRENT, WHATS };

static const char *const names[WHATS] = { "take a CPU from all", "bare loop, writing",
					  "see that nothing is to do", "bare loop, reading",
					  "a start sees that nothing is to do" };

struct span {
	uint64_t clock, cpu;
};

static void measure(struct bench *b, enum what what, const struct stow_idset *less,
		    struct span *ret)
{
	struct span begin = { stow_clock_read(CLOCK_MONOTONIC),
			      stow_clock_read(CLOCK_PROCESS_CPUTIME_ID) };

	if (what == TAKE)
		apply(b, (size_t)b->n);
	else if (what == WRITE)
		bare_write(b, less);
	else if (what == LOOK)
		apply(b, 0);
	else if (what == READ)
		bare_read(b);
	else if (!stow_apply_is_current(&b->context))
		exit(1);
	ret->clock = stow_clock_read(CLOCK_MONOTONIC) - begin.clock;
	ret->cpu = stow_clock_read(CLOCK_PROCESS_CPUTIME_ID) - begin.cpu;
}

static void one_round(struct bench *b, struct span *spans, int i)
{
	struct stow_idset less = b->all;

	stow_idset_minus(&less, &b->taken);
	bare_write(b, &b->all);
	measure(b, WRITE, &less, &spans[WRITE * b->rounds + i]);
	bare_write(b, &b->all);
	promise(b);
	measure(b, TAKE, NULL, &spans[TAKE * b->rounds + i]);
	measure(b, READ, NULL, &spans[READ * b->rounds + i]);
	measure(b, LOOK, NULL, &spans[LOOK * b->rounds + i]);
	measure(b, CURRENT, NULL, &spans[CURRENT * b->rounds + i]);
	take_back(b);
	apply(b, (size_t)b->n);
}

static int by_clock(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return x->clock < y->clock ? -1 : x->clock > y->clock;
}

static int by_cpu(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return x->cpu < y->cpu ? -1 : x->cpu > y->cpu;
}

static void print(const struct bench *b, struct span *spans)
{
	for (int what = 0; what < WHATS; what++) {
		struct span *s = &spans[what * b->rounds];
		uint64_t median, lowest;

		qsort(s, (size_t)b->rounds, sizeof(*s), by_clock);
		median = s[b->rounds / 2].clock;
		lowest = s[0].clock;
		qsort(s, (size_t)b->rounds, sizeof(*s), by_cpu);
		printf("%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n", names[what],
		       median, lowest, s[b->rounds / 2].cpu, s[0].cpu);
	}
}

int main(int argc, char **argv)
{
	struct bench b = { 0 };
	struct stow_config *config;
	struct stow_err err = { 0 };
	struct span *spans;
	size_t half;

	if (argc != 5) {
		fputs("usage: apply PARENT N ROUNDS records|unmanaged\n", stderr);
		return 2;
	}
	b.parent = argv[1];
	b.n = (int)strtol(argv[2], NULL, 10);
	b.rounds = (int)strtol(argv[3], NULL, 10);
	b.unmanaged = strcmp(argv[4], "unmanaged") == 0;
	b.ids = calloc((size_t)b.n, sizeof(*b.ids));
	spans = calloc((size_t)b.rounds * WHATS, sizeof(*spans));
	if (!b.ids || !spans)
		return 1;
	check(stow_root_open("/", &b.root, &err), &err);
	check(stow_config_read(b.root, &config, &err), &err);
	check(stow_ledger_open(b.root, true, &b.context.ledger, &err), &err);
	b.context.root = b.root;
	b.context.config = config;
	check(stow_root_read_idset(b.root, &b.all, &err, "/sys/devices/system/cpu/online"), &err);
	/* Four CPUs, or half of them. */
	half = stow_idset_count(&b.all) / 2;
	STOW_IDSET_FOR(cpu, &b.all)
		if (stow_idset_count(&b.taken) < (half < 4 ? half : 4))
			stow_idset_add(&b.taken, cpu);
	make_cgroups(&b);
	enter_all(&b);
	apply(&b, 0);
	for (int i = 0; i < b.rounds; i++)
		one_round(&b, spans, i);
	remove_cgroups(&b);
	print(&b, spans);
	return 0;
}
