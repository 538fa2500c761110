// SPDX-License-Identifier: Apache-2.0
/*
 * Drains on a simulated machine, whose NUMA node 1 has a DIMM of four blocks, 48 to 51, in zone
 * Movable: plans, refusals, success, failure and undoing; cancelled and killed at every step. What
 * a real kernel does is tested in virtual machines.
 */
#include "unit.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "drain/internal.h"
#include "grant/claim.h"
#include "grant/gc.h"
#include "node/hotplug.h"
#include "played.h"

#define MEMORY "/sys/devices/system/memory"
#define NODE   "/sys/devices/system/node"
#define ACPI   "/sys/devices/LNXSYSTM:00/PNP0C80:00"
#define MIB    (UINT64_C(1) << 20)
#define GIB    (UINT64_C(1) << 30)
#define STEPS  (STOW_DRAIN_STEP_CANCELLED + 1)
#define ID     "00000000000000aa"

struct setup {
	struct played *p;
	int (*before)(void *ctx, const char *path, const char *value);
	void (*wrote)(void *ctx, struct stow_root *root, const char *path, const char *value);
	int stuck;		 /* a block that does not go offline, or 0 */
	int stays_off;		 /* a block that does not come online again, or 0 */
	int die_at;		 /* in the write that takes this block offline, or 0 */
	bool pulled_when_safe;	 /* a hypervisor takes the DIMM */
	enum stow_drain_step at; /* where to cancel, or to die */
	bool kill;
	int told[STEPS];
	char gone[64], message[1024];
	uint64_t staying;
	enum stow_drain_release release;
};

/* --- the machine ---------------------------------------------------------- */

static void add_block(struct tree *t, int id, int node, bool dimm)
{
	char path[128], link[160];

	snprintf(path, sizeof(path), MEMORY "/memory%d/state", id);
	tree_write(t, path, "online\n");
	snprintf(path, sizeof(path), MEMORY "/memory%d/removable", id);
	tree_write(t, path, "1\n");
	snprintf(path, sizeof(path), MEMORY "/memory%d/valid_zones", id);
	tree_write(t, path, dimm ? "Movable\n" : "Normal\n");
	snprintf(path, sizeof(path), NODE "/node%d/memory%d", node, id);
	snprintf(link, sizeof(link), "../../memory/memory%d", id);
	tree_link(t, path, link);
	snprintf(path, sizeof(path), MEMORY "/memory%d/firmware_node", id);
	if (dimm)
		tree_link(t, path, "../../../LNXSYSTM:00/PNP0C80:00");
}

static void remove_block(struct tree *t, int id)
{
	char path[128];

	snprintf(path, sizeof(path), MEMORY "/memory%d", id);
	tree_remove(t, path);
	snprintf(path, sizeof(path), NODE "/node1/memory%d", id);
	tree_remove(t, path);
}

static bool is_state(const char *path, int *ret_id)
{
	return sscanf(path, MEMORY "/memory%d/state", ret_id) == 1;
}

static int before(void *ctx, const char *path, const char *value)
{
	struct setup *s = ctx;
	int id;

	if (value && is_state(path, &id) && strcmp(value, "offline") == 0) {
		if (id == s->die_at)
			_exit(42);
		if (id == s->stuck)
			return -EINTR;
	}
	if (value && is_state(path, &id) && strncmp(value, "on", 2) == 0 && id == s->stays_off)
		return -EIO;
	return s->before(s->p, path, value);
}

static void wrote(void *ctx, struct stow_root *root, const char *path, const char *value)
{
	struct setup *s = ctx;
	int id;

	if (is_state(path, &id))
		tree_write(s->p->t, path, strncmp(value, "on", 2) == 0 ? "online\n" : "offline\n");
	else if (strcmp(path, ACPI "/eject") == 0)
		for (id = 48; id < 52; id++)
			remove_block(s->p->t, id);
	else
		s->wrote(s->p, root, path, value);
}

static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));
	struct tree *t;

	s->p = played_new();
	t = s->p->t;
	tree_write(t, MEMORY "/block_size_bytes", "8000000\n");
	tree_write(t, NODE "/has_memory", "0-1\n");
	for (int id = 0; id < 4; id++)
		add_block(t, id, id / 2, false);
	for (int id = 48; id < 52; id++)
		add_block(t, id, 1, true);
	tree_write(t, ACPI "/uid", "0x00\n");
	tree_write(t, ACPI "/path", "\\_SB_.MHPC.MP00\n");
	tree_write(t, ACPI "/eject", "%s", "");
	s->before = s->p->ops.before;
	s->wrote = s->p->ops.wrote;
	s->p->ops = (struct stow_root_ops){ .ctx = s, .before = before, .wrote = wrote };
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	played_free(s->p);
	free(s);
	return 0;
}

#define WITH_SETUP(name) TEST_WITH(name, struct setup *s, set_up, tear_down)

static bool is_online(struct setup *s, int id)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), MEMORY "/memory%d/state", id);
	text = tree_read(s->p->t, path);
	return strncmp(text, "online", 6) == 0;
}

static void blocks_are(struct setup *s, bool online)
{
	for (int id = 48; id < 52; id++)
		assert_int_equal(is_online(s, id), online);
}

static bool is_fenced(struct setup *s)
{
	struct stow_idset fenced;

	assert_int_equal(stow_ledger_fenced(s->p->context.ledger, NULL, &fenced, NULL), 0);
	return stow_idset_has(&fenced, 1);
}

static size_t rows(struct setup *s)
{
	struct stow_drain_row *list;
	size_t n;

	assert_int_equal(stow_drain_rows(s->p->context.ledger, &list, &n, NULL), 0);
	stow_drain_rows_free(list, n);
	return n;
}

/* Online, not fenced, nothing written down. */
static void all_is_as_before(struct setup *s)
{
	blocks_are(s, true);
	assert_false(is_fenced(s));
	assert_int_equal(rows(s), 0);
}

/* --- running -------------------------------------------------------------- */

static int on_progress(void *ctx, const PbDrainProgress *progress)
{
	struct setup *s = ctx;

	s->told[progress->step]++;
	snprintf(s->gone, sizeof(s->gone), "%s", progress->blocks_gone);
	snprintf(s->message, sizeof(s->message), "%s", progress->message);
	s->staying = progress->bytes_staying;
	s->release = (enum stow_drain_release)progress->release;
	if (progress->step == PB_DRAIN_STEP_SAFE && s->pulled_when_safe)
		for (int id = 48; id < 52; id++)
			remove_block(s->p->t, id);
	if ((enum stow_drain_step)progress->step != s->at)
		return 0;
	if (s->kill)
		_exit(42);
	return -1;
}

static void never(void *ctx, const struct stow_drain_claim *claims, size_t n)
{
	fail_msg("conditions were asked for");
}

static int run(struct setup *s, const struct stow_drain_spec *spec, enum stow_drain_step *step,
	       struct stow_err *err)
{
	struct stow_drain_watch watch = { .progress = on_progress,
					  .evict = spec->force_taint ? never : NULL,
					  .ctx = s };

	memset(s->told, 0, sizeof(s->told));
	*step = 0;
	return stow_drain_run(&s->p->context, ID, false, spec, &watch, step, err);
}

static int recover(struct setup *s)
{
	struct stow_drain_watch watch = { .progress = on_progress, .ctx = s };

	memset(s->told, 0, sizeof(s->told));
	s->at = 0;
	s->die_at = 0;
	return stow_drain_recover(&s->p->context, &watch, NULL);
}

/* Run the drain in a process that exits in the middle. In the ledger it is process 100, which does
 * not exist. */
static void run_and_die(struct setup *s, const struct stow_drain_spec *spec)
{
	int status;
	pid_t pid;

	/* A handle of a ledger does not go through a fork (sqlite.org/howtocorrupt.html). */
	stow_ledger_close(s->p->context.ledger);
	s->p->context.ledger = NULL;
	pid = fork();
	if (pid == 0) {
		enum stow_drain_step step;

		if (stow_ledger_open(s->p->t->root, false, &s->p->context.ledger, NULL) < 0)
			_exit(1);
		s->p->context.self.pid = 100;
		(void)run(s, spec, &step, NULL);
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	assert_int_equal(stow_ledger_open(s->p->t->root, false, &s->p->context.ledger, NULL), 0);
}

static const struct stow_drain_spec the_dimm = { .node = -1,
						 .device = "dimm0",
						 .block_timeout = 300 * 1000000 };

/* --- planning ------------------------------------------------------------- */

static void refuses(struct setup *s, struct stow_drain_spec spec, int code, const char *words)
{
	_cleanup_(stow_drain_plan_free_ptr) struct stow_drain_plan *plan = NULL;
	struct stow_err err = { 0 };

	assert_int_equal(stow_drain_plan(&s->p->context, &spec, &plan, &err), -code);
	if (!strstr(err.msg, words) || strchr(err.msg, '\n'))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
	all_is_as_before(s);
}

WITH_SETUP(bad_input_is_told)
{
	refuses(s, (struct stow_drain_spec){ .node = -1 }, EINVAL, "expected one of");
	refuses(s, (struct stow_drain_spec){ .node = 1, .device = "dimm0" }, EINVAL,
		"expected one of");
	refuses(s, (struct stow_drain_spec){ .node = 7 }, EINVAL,
		"no NUMA node 7; this machine has 0-1");
	refuses(s, (struct stow_drain_spec){ .node = 0 }, EPERM, "boot memory");
	tree_mkdir(s->p->t, "/sys/devices/system/node/node2"); /* CPUs only */
	refuses(s, (struct stow_drain_spec){ .node = 2 }, EPERM, "NUMA node 2 has no memory");
	tree_remove(s->p->t, "/sys/devices/system/node/node2");
	refuses(s, (struct stow_drain_spec){ .node = 1, .size = GIB }, ERANGE,
		"1Gi is more than the 512Mi of NUMA node 1");
	refuses(s, (struct stow_drain_spec){ .node = -1, .blocks = "1,48" }, EINVAL, "NUMA node");
	refuses(s, (struct stow_drain_spec){ .node = -1, .blocks = "3" }, EPERM, "boot memory");
	refuses(s, (struct stow_drain_spec){ .node = -1, .blocks = "99" }, EINVAL,
		"no memory block 99; this machine has 0-3,48-51");
	refuses(s, (struct stow_drain_spec){ .node = -1, .blocks = "abc" }, EINVAL, "blocks");
	refuses(s, (struct stow_drain_spec){ .node = -1, .blocks = "48", .size = MIB }, EINVAL,
		"size");
	refuses(s, (struct stow_drain_spec){ .node = -1, .device = "dimm7" }, ENODEV,
		"this machine has dimm0");
	refuses(s,
		(struct stow_drain_spec){ .node = -1, .blocks = "48", .eject = STOW_EJECT_EJECT },
		EINVAL, "dimm0 has other blocks online");
	refuses(s, (struct stow_drain_spec){ .node = 1, .most = 256 * MIB }, EACCES,
		"512Mi would be offline, above this machine's own limit of 256Mi");
	tree_write(s->p->t, MEMORY "/memory51/removable", "0\n");
	refuses(s, the_dimm, EOPNOTSUPP, "HOTREMOVE");
}

WITH_SETUP(a_size_is_rounded_up_and_the_highest_blocks_go_first)
{
	_cleanup_(stow_drain_plan_free_ptr) struct stow_drain_plan *plan = NULL;
	struct stow_drain_spec spec = { .node = 1, .size = 200 * MIB };

	assert_int_equal(stow_drain_plan(&s->p->context, &spec, &plan, NULL), 0);
	assert_int_equal(plan->n_blocks, 2);
	assert_int_equal(plan->blocks[0].id, 50);
	assert_int_equal(plan->blocks[1].id, 51);
	assert_int_equal(plan->bytes, 256 * MIB);
	assert_string_equal(plan->device->name, "dimm0");
	assert_false(plan->whole_node);
	assert_true(plan->n_notes >= 1);
	assert_non_null(strstr(plan->notes[0], "200Mi is rounded up to 256Mi"));
}

/* A claim's memory has been promised on the node; its containers do not move. */
WITH_SETUP(a_claim_holds_its_node)
{
	const char *uid = "11111111-2222-4333-8444-555555555555";
	const struct stow_claim_share share = {
		.id = uid, .part = "main", .node = 1, .memory = 15 * GIB + 800 * MIB
	};
	const struct stow_claim claim = {
		.uid = uid, .ns = "team", .name = "db", .shares = &share, .n = 1
	};
	struct stow_err err = { 0 };

	tree_write(s->p->t, NODE "/node1/meminfo",
		   "Node 1 MemTotal: 16777216 kB\nNode 1 MemFree: 16777216 kB\n");
	if (stow_claim_take(&s->p->context, &claim, &err) != 1)
		fail_msg("%s", err.msg);
	refuses(s, the_dimm, ENOSPC, "no container there can move");
	assert_int_equal(stow_claim_drop(&s->p->context, uid, NULL), 1);
	_cleanup_(stow_drain_plan_free_ptr) struct stow_drain_plan *plan = NULL;
	assert_int_equal(stow_drain_plan(&s->p->context, &the_dimm, &plan, NULL), 0);
}

#define CLAIM_UID "11111111-2222-4333-8444-555555555555"

/* What happens to a claim whose eviction is asked for. */
struct evicting {
	struct setup *s;
	bool obeys; /* its pod is evicted, and kubelet unprepares it */
	bool stops; /* the drain is cancelled meanwhile */
	size_t asked, ended;
	bool fenced;
};

static void on_evict(void *ctx, const struct stow_drain_claim *claims, size_t n)
{
	struct evicting *e = ctx;
	struct stow_idset fenced;

	if (n == 0) {
		e->ended++;
		return;
	}
	e->asked++;
	assert_int_equal(n, 1);
	assert_string_equal(claims[0].uid, CLAIM_UID);
	assert_string_equal(claims[0].share, CLAIM_UID);
	assert_int_equal(stow_ledger_fenced(e->s->p->context.ledger, NULL, &fenced, NULL), 0);
	e->fenced = stow_idset_has(&fenced, 1);
	if (e->obeys)
		assert_int_equal(stow_claim_drop(&e->s->p->context, CLAIM_UID, NULL), 1);
}

static bool stop_when_asked(void *ctx)
{
	const struct evicting *e = ctx;

	return e->stops && e->asked;
}

static void take_claim(struct setup *s, enum stow_drain drain, uint64_t memory)
{
	const struct stow_claim_share share = {
		.id = CLAIM_UID, .part = "main", .node = 1, .memory = memory, .drain = drain
	};
	const struct stow_claim claim = {
		.uid = CLAIM_UID, .ns = "team", .name = "db", .shares = &share, .n = 1
	};
	struct stow_err err = { 0 };

	tree_write(s->p->t, NODE "/node1/meminfo",
		   "Node 1 MemTotal: 16777216 kB\nNode 1 MemFree: 16777216 kB\n");
	if (stow_claim_take(&s->p->context, &claim, &err) != 1)
		fail_msg("%s", err.msg);
}

static int run_evicting(struct evicting *e, const struct stow_drain_spec *spec,
			struct stow_err *err)
{
	const struct stow_drain_watch watch = { .stop = stop_when_asked,
						.evict = on_evict,
						.ctx = e };
	enum stow_drain_step step;
	int r = stow_drain_run(&e->s->p->context, ID, false, spec, &watch, &step, err);
	struct stow_idset fenced;

	/* However it ends, the eviction was requested once and withdrawn, and no fence is left. */
	assert_int_equal(e->asked, 1);
	assert_int_equal(e->ended, 1);
	assert_true(e->fenced);
	assert_int_equal(stow_ledger_fenced(e->s->p->context.ledger, NULL, &fenced, NULL), 0);
	assert_true(stow_idset_empty(&fenced));
	return r;
}

/* The drain waits until Kubernetes has evicted the pod of a claim with drain=evict. */
WITH_SETUP(a_claim_is_evicted)
{
	struct evicting e = { .s = s, .obeys = true };
	struct stow_err err = { 0 };

	take_claim(s, STOW_DRAIN_MODE_EVICT, 15 * GIB + 800 * MIB);
	/* Nothing evicts pods where there is no agent that can ask for it. */
	refuses(s, the_dimm, ENOSPC, "no container there can move");
	if (run_evicting(&e, &the_dimm, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(played_records(s->p), 0);
}

WITH_SETUP(a_claim_that_is_not_evicted)
{
	struct stow_drain_spec spec = the_dimm;
	struct stow_err err = { 0 };

	take_claim(s, STOW_DRAIN_MODE_EVICT, 15 * GIB + 800 * MIB);
	spec.timeout = 300 * 1000000;
	assert_int_equal(run_evicting(&(struct evicting){ .s = s }, &spec, &err), -ETIMEDOUT);
	if (!strstr(err.msg, "claim team/db is still in use after"))
		fail_msg("%s", err.msg);
	assert_int_equal(run_evicting(&(struct evicting){ .s = s, .stops = true }, &the_dimm, &err),
			 -ECANCELED);
	assert_int_equal(played_records(s->p), 1);
}

/* All memory of a NUMA node: its claims are evicted, or say why not. */
WITH_SETUP(claims_of_a_whole_node)
{
	static const struct {
		enum stow_drain drain;
		bool evicts;
		const char *text;
	} cases[] = {
		{ STOW_DRAIN_MODE_REPIN, true,
		  "claim team/db (main) has CPUs or memory of NUMA node 1 and cannot be moved; "
		  "delete its pod, or give the claim drain=evict" },
		{ STOW_DRAIN_MODE_REFUSE, true, "and drain=refuse; delete its pod" },
		{ STOW_DRAIN_MODE_EVICT, false,
		  "and drain=evict, but only an agent with \"kubernetes: true\" can have its pod "
		  "evicted; delete its pod" },
	};
	struct stow_err err = { 0 };

	for (int id = 2; id < 4; id++)
		remove_block(s->p->t, id);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		struct stow_drain_spec spec = the_dimm;

		spec.evicts = cases[i].evicts;
		take_claim(s, cases[i].drain, GIB);
		refuses(s, spec, EBUSY, cases[i].text);
		assert_int_equal(stow_claim_drop(&s->p->context, CLAIM_UID, NULL), 1);
	}
	take_claim(s, STOW_DRAIN_MODE_EVICT, GIB);
	if (run_evicting(&(struct evicting){ .s = s, .obeys = true }, &the_dimm, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(played_records(s->p), 0);
}

/* --- with force_taint ----------------------------------------------------- */

struct forcing {
	struct setup *s;
	bool obeys; /* the pod is deleted, and kubelet unprepares its claim */
	size_t tainted;
};

/* Look at what the agent taints the node for. */
static bool look_at_taint(void *ctx)
{
	struct forcing *f = ctx;
	struct stow_drain_row *rows;
	size_t n;

	assert_int_equal(stow_drain_rows(f->s->p->context.ledger, &rows, &n, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		assert_true(rows[i].force_taint);
		f->tainted += rows[i].step == STOW_DRAIN_STEP_MOVING;
	}
	stow_drain_rows_free(rows, n);
	if (f->tainted == 1 && f->obeys)
		assert_int_equal(stow_claim_drop(&f->s->p->context, CLAIM_UID, NULL), 1);
	return f->tainted && !f->obeys;
}

/* Claims go that would stay, or refuse the drain. */
WITH_SETUP(all_pods_of_a_tainted_node_are_deleted)
{
	static const enum stow_drain modes[] = { STOW_DRAIN_MODE_REPIN, STOW_DRAIN_MODE_EVICT,
						 STOW_DRAIN_MODE_REFUSE };
	struct stow_drain_spec spec = the_dimm;
	struct stow_err err = { 0 };
	enum stow_drain_step step;

	spec.force_taint = true;
	refuses(s, spec, EOPNOTSUPP, "force-taint: only an agent with \"kubernetes: true\"");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(modes) * 2; i++) {
		struct forcing f = { .s = s, .obeys = i >= STOW_ARRAY_SIZE(modes) };
		const struct stow_drain_watch watch = { .stop = look_at_taint,
							.evict = never,
							.ctx = &f };

		take_claim(s, modes[i % STOW_ARRAY_SIZE(modes)], GIB);
		assert_int_equal(stow_drain_run(&s->p->context, ID, false, &spec, &watch, &step,
						&err),
				 f.obeys ? 0 : -ECANCELED);
		assert_true(f.tainted);
		assert_false(is_fenced(s));
		if (f.obeys)
			for (uint64_t id = 48; id < 52; id++)
				assert_int_equal(stow_memblock_online(s->p->t->root, id,
								      STOW_ZONE_MOVABLE, NULL),
						 1);
		else
			assert_int_equal(stow_claim_drop(&s->p->context, CLAIM_UID, NULL), 1);
	}
}

/* The program that goes on with it knows of the taint; one that cannot taint undoes the drain. */
WITH_SETUP(a_resumed_drain_taints_again)
{
	struct stow_drain_spec spec = the_dimm;

	spec.force_taint = spec.resume = true;
	for (int can = 0; can < 2; can++) {
		struct forcing f = { .s = s, .obeys = true };
		const struct stow_drain_watch watch = { .stop = look_at_taint,
							.evict = can ? never : NULL,
							.ctx = &f };

		take_claim(s, STOW_DRAIN_MODE_REFUSE, GIB);
		s->kill = true;
		s->at = STOW_DRAIN_STEP_FENCED;
		run_and_die(s, &spec);
		assert_int_equal(stow_drain_recover(&s->p->context, &watch, NULL),
				 can ? 1 : -EOPNOTSUPP);
		assert_int_equal(f.tainted > 0, can);
		assert_false(is_fenced(s));
		assert_int_equal(played_records(s->p), !can);
		blocks_are(s, !can);
		if (!can)
			assert_int_equal(stow_claim_drop(&s->p->context, CLAIM_UID, NULL), 1);
	}
}

WITH_SETUP(what_is_offline_already_is_told_apart)
{
	struct stow_err err = { 0 };
	enum stow_drain_step step;

	assert_int_equal(run(s, &the_dimm, &step, NULL), 0);
	assert_int_equal(run(s, &the_dimm, &step, &err), -EALREADY);
	assert_non_null(strstr(err.msg, "offline already"));
	assert_int_equal(s->told[STOW_DRAIN_STEP_FAILED], 1);
	blocks_are(s, false);
}

/* Flags and cgroups of a page in block 49: anonymous, of the container's cgroup. */
static void give_page(struct setup *s, const char *container)
{
	uint64_t pfn = 49 * (128 * MIB / 4096),
		 word = UINT64_C(1) << 12 | 1 << 14; /* ANON, SWAPBACKED */
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	static const char *const names[] = { "/proc/kpageflags", "/proc/kpagecount",
					     "/proc/kpagecgroup" };
	_cleanup_free_ struct stow_record *none = NULL;
	uint64_t values[3] = { word, 1, 0 };
	struct stow_record *record = played_grant(s->p, container);

	assert_int_equal(stow_cgroup_of_pid(s->p->t->root, record->init.pid, &cgroup, NULL), 0);
	values[2] = cgroup->inode;
	stow_record_free(record);
	for (int i = 0; i < 3; i++) {
		char path[512];
		FILE *file;

		tree_write(s->p->t, names[i], "%s", "");
		snprintf(path, sizeof(path), "%s%s", s->p->t->dir, names[i]);
		file = fopen(path, "r+e");
		assert_non_null(file);
		assert_int_equal(fseek(file, (long)pfn * 8, SEEK_SET), 0);
		assert_int_equal(fwrite(&values[i], 8, 1, file), 1);
		assert_int_equal(ftruncate(fileno(file), 52L * (128 << 20) / 4096 * 8), 0);
		assert_int_equal(fclose(file), 0);
	}
}

/* Set the flags of page `page` of block 49. */
static void give_flags(struct setup *s, uint64_t page, uint64_t flags)
{
	uint64_t pfn = 49 * (128 * MIB / 4096) + page;
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/proc/kpageflags", s->p->t->dir);
	file = fopen(path, "r+e");
	assert_non_null(file);
	assert_int_equal(fseek(file, (long)pfn * 8, SEEK_SET), 0);
	assert_int_equal(fwrite(&flags, 8, 1, file), 1);
	assert_int_equal(fclose(file), 0);
}

/* As distributions bring added memory online: what is in it decides, as `numastow blocks` says. */
WITH_SETUP(in_a_zone_of_the_kernels_contents_decide)
{
	struct stow_drain_spec spec = { .node = -1, .blocks = "49" };
	_cleanup_(stow_drain_plan_free_ptr) struct stow_drain_plan *plan = NULL;

	tree_write(s->p->t, MEMORY "/memory49/valid_zones", "Normal\n");
	played_container(s->p, 7, "db", 1, 1, GIB, false);
	tree_write(s->p->t, "/sys/fs/cgroup/db/memory.max", "max\n");
	give_page(s, "db");
	for (uint64_t i = 1; i < 128 * MIB / 4096; i++)
		give_flags(s, i, UINT64_C(1) << 10); /* BUDDY */
	give_flags(s, 9, 0);
	assert_int_equal(stow_drain_plan(&s->p->context, &spec, &plan, NULL), 0);
	assert_int_equal(plan->n_notes, 3);
	assert_non_null(strstr(plan->notes[0], "384Mi of dimm0 stays online"));
	assert_non_null(strstr(plan->notes[1], "4Ki in the blocks is the kernel's, or free"));
	assert_non_null(strstr(plan->notes[2], "online_movable"));
	give_flags(s, 9, UINT64_C(1) << 7); /* SLAB */
	refuses(s, spec, EBUSY,
		"block 49 cannot be emptied: the kernel uses it itself (zone Normal; "
		"slab 4Ki)");
	tree_write(s->p->t, MEMORY "/memory49/valid_zones", "none\n");
	refuses(s, spec, EBUSY, "block 49 spans several zones or has holes");
}

/* kernelcore= and movable_node set memory of the machine's own apart. */
WITH_SETUP(boot_memory_that_was_set_apart_can_leave)
{
	struct stow_drain_spec spec = { .node = -1, .blocks = "3" };
	_cleanup_(stow_drain_plan_free_ptr) struct stow_drain_plan *plan = NULL;

	refuses(s, spec, EPERM, "boot memory in zone Normal");
	tree_write(s->p->t, MEMORY "/memory3/valid_zones", "Movable\n");
	assert_int_equal(stow_drain_plan(&s->p->context, &spec, &plan, NULL), 0);
	assert_int_equal(plan->n_blocks, 1);
	assert_int_equal(plan->n_notes, 1); /* that what is in it is not known */
}

static void set_drain(struct setup *s, const char *id, enum stow_drain drain)
{
	struct stow_record *record = played_grant(s->p, id);

	record->drain = drain;
	assert_int_equal(stow_ledger_begin(s->p->context.ledger, NULL), 0);
	assert_int_equal(stow_ledger_update(s->p->context.ledger, record, NULL), 0);
	assert_int_equal(stow_ledger_commit(s->p->context.ledger, NULL), 0);
	stow_record_free(record);
}

WITH_SETUP(whose_page_it_is_decides)
{
	_cleanup_(stow_drain_plan_free_ptr) struct stow_drain_plan *plan = NULL;

	played_container(s->p, 7, "db", 1, 1, GIB, false);
	tree_write(s->p->t, "/sys/fs/cgroup/db/memory.max", "max\n");
	give_page(s, "db");
	assert_int_equal(stow_drain_plan(&s->p->context, &the_dimm, &plan, NULL), 0);
	assert_true(plan->use_known);
	assert_int_equal(plan->to_move, 4096);
	assert_int_equal(plan->n_affected, 1);
	assert_string_equal(plan->affected[0].id, "db");
	assert_int_equal(plan->affected[0].bytes, 4096);
	assert_int_equal(plan->affected[0].action, STOW_DRAIN_ACTION_RETURN);
	set_drain(s, "db", STOW_DRAIN_MODE_REFUSE);
	refuses(s, the_dimm, EBUSY, "\"db\" (db) has drain=refuse, and 4Ki there");
}

WITH_SETUP(a_refusing_container_is_avoided_when_there_is_a_choice)
{
	struct stow_drain_spec spec = { .node = 1, .size = 384 * MIB };
	_cleanup_(stow_drain_plan_free_ptr) struct stow_drain_plan *plan = NULL;

	played_container(s->p, 7, "db", 1, 1, GIB, false);
	tree_write(s->p->t, "/sys/fs/cgroup/db/memory.max", "max\n");
	give_page(s, "db");
	set_drain(s, "db", STOW_DRAIN_MODE_REFUSE);
	assert_int_equal(stow_drain_plan(&s->p->context, &spec, &plan, NULL), 0);
	assert_int_equal(plan->n_blocks, 3);
	for (size_t i = 0; i < plan->n_blocks; i++)
		assert_int_not_equal(plan->blocks[i].id, 49);
}

WITH_SETUP(a_promise_that_would_not_fit_is_moved)
{
	enum stow_drain_step step;

	/* 15 GiB of 15.4 are promised; 0.5 leave. */
	played_container(s->p, 7, "big", 1, 1, 14 * GIB, false);
	played_container(s->p, 8, "small", 1, 1, GIB, false);
	tree_write(s->p->t, NODE "/node1/meminfo",
		   "Node 1 MemTotal: 16148070 kB\nNode 1 MemFree: 16000000 kB\n");
	assert_int_equal(run(s, &the_dimm, &step, NULL), 0);
	assert_int_equal(step, STOW_DRAIN_STEP_DONE);
	played_has(s->p, "big", "4-7", "1");
	played_has(s->p, "small", "0-3", "0");
	assert_true(s->told[STOW_DRAIN_STEP_MOVING] >= 1);
	blocks_are(s, false);
}

WITH_SETUP(who_was_moved_goes_back_also_under_a_schedulers_fence)
{
	struct stow_idset fence = { 0 };
	enum stow_drain_step step;

	played_container(s->p, 7, "big", 1, 1, 14 * GIB, false);
	played_container(s->p, 8, "small", 1, 1, GIB, false);
	tree_write(s->p->t, NODE "/node1/meminfo",
		   "Node 1 MemTotal: 16148070 kB\nNode 1 MemFree: 16000000 kB\n");
	stow_idset_add(&fence, 1);
	assert_int_equal(stow_ledger_fence_set(s->p->context.ledger, "scheduler", &fence, NULL), 0);
	s->stuck = 50;
	assert_true(run(s, &the_dimm, &step, NULL) < 0);
	assert_int_equal(step, STOW_DRAIN_STEP_FAILED);
	assert_true(s->told[STOW_DRAIN_STEP_MOVING] >= 1);
	played_has(s->p, "small", "4-7", "1");
	blocks_are(s, true);
	assert_int_equal(rows(s), 0);
}

/* Without /proc/kpage* the blocks count as full. */
WITH_SETUP(what_may_have_to_move_has_to_fit)
{
	tree_write(s->p->t, NODE "/node0/meminfo",
		   "Node 0 MemTotal: 16777216 kB\nNode 0 MemFree: 100000 kB\n");
	tree_write(s->p->t, NODE "/node1/meminfo",
		   "Node 1 MemTotal: 16777216 kB\nNode 1 MemFree: 8000000 kB\n");
	refuses(s, the_dimm, ENOSPC, "512Mi must move and would push other NUMA nodes below");
}

WITH_SETUP(a_container_that_has_nowhere_to_go_is_named)
{
	played_container(s->p, 7, "big", 1, 1, 15 * GIB, false);
	played_container(s->p, 8, "other", 0, 1, 15 * GIB, false);
	for (int id = 2; id < 4; id++)
		remove_block(s->p->t, id); /* the DIMM is all that the node has */
	refuses(s, the_dimm, ENOSPC, "\"big\" (big) would have nowhere to go");
}

/* --- done, cancelled, failed ---------------------------------------------- */

WITH_SETUP(a_dimm_is_drained)
{
	enum stow_drain_step step;
	char kind[32];

	assert_int_equal(run(s, &the_dimm, &step, NULL), 0);
	assert_int_equal(step, STOW_DRAIN_STEP_DONE);
	blocks_are(s, false);
	assert_false(is_fenced(s));
	assert_int_equal(rows(s), 0);
	assert_int_equal(s->told[STOW_DRAIN_STEP_PLANNED], 1);
	assert_int_equal(s->told[STOW_DRAIN_STEP_FENCED], 1);
	assert_int_equal(s->told[STOW_DRAIN_STEP_OFFLINING], 4);
	assert_int_equal(s->told[STOW_DRAIN_STEP_SAFE], 1);
	assert_int_equal(s->told[STOW_DRAIN_STEP_DONE], 1);
	assert_string_equal(s->gone, "48-51");
	assert_non_null(strstr(s->message, "512Mi of dimm0 is offline"));
	assert_string_equal(played_event(s->p, ID, kind, sizeof(kind)), "drained");
}

WITH_SETUP(it_is_ejected_or_waited_for)
{
	struct stow_drain_spec spec = the_dimm;
	struct stow_err err = { 0 };
	enum stow_drain_step step;

	spec.eject = STOW_EJECT_WAIT;
	spec.removal_timeout = 1000000;
	assert_int_equal(run(s, &spec, &step, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "was not removed"));
	all_is_as_before(s);
	spec.removal_timeout = 0;
	spec.eject = STOW_EJECT_EJECT;
	assert_int_equal(run(s, &spec, &step, NULL), 0);
	assert_int_equal(step, STOW_DRAIN_STEP_DONE);
	assert_int_equal(s->told[STOW_DRAIN_STEP_REMOVED], 1);
	assert_false(is_fenced(s));
	for (int id = 48; id < 52; id++)
		add_block(s->p->t, id, 1, true);
	spec.eject = STOW_EJECT_WAIT;
	s->pulled_when_safe = true;
	assert_int_equal(run(s, &spec, &step, NULL), 0);
	assert_int_equal(s->told[STOW_DRAIN_STEP_REMOVED], 1);
	assert_non_null(strstr(s->message, "has left the machine"));
}

WITH_SETUP(cancelled_at_any_step_all_is_as_before)
{
	static const enum stow_drain_step steps[] = {
		STOW_DRAIN_STEP_PLANNED, STOW_DRAIN_STEP_FENCED, STOW_DRAIN_STEP_OFFLINING,
		STOW_DRAIN_STEP_RETURNING, STOW_DRAIN_STEP_SAFE
	};
	enum stow_drain_step step;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(steps); i++) {
		s->at = steps[i];
		assert_int_equal(run(s, &the_dimm, &step, NULL), -ECANCELED);
		assert_int_equal(step, STOW_DRAIN_STEP_CANCELLED);
		assert_int_equal(s->told[STOW_DRAIN_STEP_CANCELLED], 1);
		all_is_as_before(s);
	}
}

static int cancel_from_elsewhere(void *ctx, const PbDrainProgress *progress)
{
	struct setup *s = ctx;
	char id[STOW_DRAIN_ID_LEN + 1];

	if (progress->step == PB_DRAIN_STEP_FENCED) {
		assert_int_equal(stow_drain_cancel(s->p->context.ledger, "", id, NULL), 0);
		assert_string_equal(id, ID);
	}
	return 0;
}

WITH_SETUP(another_program_cancels_by_the_ledger)
{
	struct stow_drain_watch watch = { .progress = cancel_from_elsewhere, .ctx = s };
	enum stow_drain_step step;

	assert_int_equal(stow_drain_cancel(s->p->context.ledger, "", NULL, NULL), -ENOENT);
	assert_int_equal(stow_drain_run(&s->p->context, ID, false, &the_dimm, &watch, &step, NULL),
			 -ECANCELED);
	all_is_as_before(s);
}

WITH_SETUP(a_block_that_stays_takes_all_back)
{
	struct stow_drain_spec spec = the_dimm;
	struct stow_err err = { 0 };
	enum stow_drain_step step;

	s->stuck = 50;
	assert_true(run(s, &spec, &step, &err) < 0);
	assert_int_equal(step, STOW_DRAIN_STEP_FAILED);
	assert_non_null(strstr(err.msg, "block 50"));
	all_is_as_before(s);
	spec.keep = true;
	assert_int_equal(run(s, &spec, &step, &err), -EREMOTEIO);
	assert_int_equal(step, STOW_DRAIN_STEP_PARTIAL);
	assert_string_equal(s->gone, "48-49,51");
	assert_true(is_online(s, 50));
	assert_false(is_online(s, 51));
	assert_false(is_fenced(s));
	assert_int_equal(rows(s), 0);
}

WITH_SETUP(what_cannot_be_taken_back_is_tried_again)
{
	struct stow_err err = { 0 };
	enum stow_drain_step step;

	s->stuck = 50;
	s->stays_off = 49;
	assert_true(run(s, &the_dimm, &step, &err) < 0);
	assert_int_equal(step, STOW_DRAIN_STEP_FAILED);
	assert_non_null(strstr(err.msg, "block 50"));
	assert_non_null(strstr(err.msg, "is tried again later"));
	assert_false(is_online(s, 49));
	assert_true(is_fenced(s));
	assert_true(stow_drain_orphans(&s->p->context));
	assert_true(recover(s) < 0);
	assert_true(is_fenced(s));
	s->stays_off = 0;
	assert_int_equal(recover(s), 1);
	assert_non_null(strstr(s->message, "block 50"));
	all_is_as_before(s);
}

/* Cancel after two blocks. */
static int cancel_after_two(void *ctx, const PbDrainProgress *progress)
{
	struct setup *s = ctx;

	s->told[progress->step]++;
	snprintf(s->gone, sizeof(s->gone), "%s", progress->blocks_gone);
	return progress->step == PB_DRAIN_STEP_OFFLINING && progress->blocks_offline == 2 ? -1 : 0;
}

WITH_SETUP(cancelled_half_way_what_is_off_is_kept_when_it_is_to)
{
	struct stow_drain_spec spec = the_dimm;
	struct stow_drain_watch watch = { .progress = cancel_after_two, .ctx = s };
	enum stow_drain_step step = 0;

	assert_int_equal(stow_drain_run(&s->p->context, ID, false, &spec, &watch, &step, NULL),
			 -ECANCELED);
	all_is_as_before(s);
	spec.keep = true;
	assert_int_equal(stow_drain_run(&s->p->context, ID, false, &spec, &watch, &step, NULL),
			 -EREMOTEIO);
	assert_int_equal(step, STOW_DRAIN_STEP_PARTIAL);
	assert_string_equal(s->gone, "48-49");
	assert_false(is_online(s, 49));
	assert_true(is_online(s, 50));
	assert_false(is_fenced(s));
	assert_int_equal(rows(s), 0);
}

WITH_SETUP(switched_off_nothing_is_begun)
{
	struct stow_err err = { 0 };
	enum stow_drain_step step;

	tree_write(s->p->t, "/etc/numastow/disabled", "%s", "");
	assert_int_equal(run(s, &the_dimm, &step, &err), -EACCES);
	assert_non_null(strstr(err.msg, "disabled"));
	all_is_as_before(s);
	tree_remove(s->p->t, "/etc/numastow/disabled");
	s->p->config->mode = STOW_MODE_OBSERVE;
	assert_int_equal(run(s, &the_dimm, &step, &err), -EACCES);
	assert_non_null(strstr(err.msg, "mode: observe"));
	all_is_as_before(s);
}

WITH_SETUP(there_is_one_at_a_time)
{
	struct stow_drain_row row = { .id = "00000000000000bb",
				      .step = STOW_DRAIN_STEP_FENCED,
				      .worker = { .pid = 7, .start = 1 },
				      .node = 0 };
	struct stow_err err = { 0 };
	enum stow_drain_step step;

	played_process(s->p, 7, "x");
	assert_int_equal(stow_drain_row_begin(s->p->context.ledger, &row, NULL), 0);
	assert_int_equal(run(s, &the_dimm, &step, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "drain 00000000000000bb is under way"));
	blocks_are(s, true);
	assert_int_equal(s->told[STOW_DRAIN_STEP_FAILED], 1);
}

/* --- killed --------------------------------------------------------------- */

WITH_SETUP(killed_at_any_step_it_is_taken_back)
{
	static const enum stow_drain_step steps[] = {
		STOW_DRAIN_STEP_PLANNED, STOW_DRAIN_STEP_FENCED, STOW_DRAIN_STEP_OFFLINING,
		STOW_DRAIN_STEP_RETURNING, STOW_DRAIN_STEP_SAFE
	};

	s->kill = true;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(steps); i++) {
		s->at = steps[i];
		run_and_die(s, &the_dimm);
		assert_int_equal(stow_drain_orphans(&s->p->context), i > 0);
		assert_int_equal(recover(s), i > 0);
		assert_int_equal(s->told[STOW_DRAIN_STEP_FAILED], i > 0);
		all_is_as_before(s);
	}
	for (s->die_at = 48; s->die_at < 52; s->die_at++) {
		int at = s->die_at;

		s->at = 0;
		run_and_die(s, &the_dimm);
		assert_true(is_fenced(s));
		assert_int_equal(recover(s), 1);
		all_is_as_before(s);
		s->die_at = at;
	}
}

WITH_SETUP(killed_at_any_step_it_goes_on_when_it_is_to)
{
	static const enum stow_drain_step steps[] = { STOW_DRAIN_STEP_FENCED,
						      STOW_DRAIN_STEP_OFFLINING,
						      STOW_DRAIN_STEP_RETURNING,
						      STOW_DRAIN_STEP_SAFE };
	struct stow_drain_spec spec = the_dimm;

	spec.resume = true;
	s->kill = true;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(steps) + 4; i++) {
		if (i < STOW_ARRAY_SIZE(steps))
			s->at = steps[i];
		else
			s->die_at = 48 + (int)(i - STOW_ARRAY_SIZE(steps));
		run_and_die(s, &spec);
		assert_int_equal(recover(s), 1);
		assert_int_equal(s->told[STOW_DRAIN_STEP_DONE], 1);
		assert_string_equal(s->gone, "48-51");
		blocks_are(s, false);
		assert_false(is_fenced(s));
		assert_int_equal(rows(s), 0);
		for (int id = 48; id < 52; id++)
			assert_int_equal(stow_memblock_online(s->p->t->root, (uint64_t)id,
							      STOW_ZONE_MOVABLE, NULL),
					 1);
	}
}

/* A block cannot be emptied: the drain is undone, and the program that resumed it gets the error. */
WITH_SETUP(a_resumed_drain_that_fails_is_undone)
{
	struct stow_drain_spec spec = the_dimm;

	spec.resume = true;
	s->kill = true;
	s->at = STOW_DRAIN_STEP_FENCED;
	run_and_die(s, &spec);
	tree_write(s->p->t, MEMORY "/memory49/valid_zones", "none\n");
	assert_int_equal(recover(s), -EBUSY);
	assert_int_equal(s->told[STOW_DRAIN_STEP_FAILED], 1);
	all_is_as_before(s);
}

/* The DIMM's blocks, as a worker that was killed has entered them: `gone` of them begun with. The
 * worker does not exist. */
static struct stow_drain_row left_behind(enum stow_drain_step step,
					 struct stow_drain_row_block *four, size_t gone)
{
	for (size_t i = 0; i < 4; i++)
		four[i] = (struct stow_drain_row_block){ .id = 48 + i,
							 .zone = STOW_ZONE_MOVABLE,
							 .gone = i < gone };
	return (struct stow_drain_row){ .id = ID,
					.step = step,
					.worker = { .pid = 100, .start = 1 },
					.node = 1,
					.blocks = four,
					.n_blocks = 4 };
}

static bool count_stops(void *ctx)
{
	++*(int *)ctx;
	return false;
}

/* A block has 200 ms, during which the drain checks every 50 ms whether to stop. */
WITH_SETUP(blocks_of_a_killed_worker_are_not_waited_for)
{
	struct stow_drain_row_block blocks[4];
	struct stow_drain_row row = left_behind(STOW_DRAIN_STEP_OFFLINING, blocks, 3);
	int stops = 0;
	struct stow_drain_watch watch = { .stop = count_stops, .ctx = &stops };

	row.resume = true;
	row.rate = 671088640;
	for (uint64_t id = 48; id < 51; id++)
		assert_int_equal(stow_memblock_offline(s->p->t->root, id, GIB, NULL, NULL, NULL),
				 1);
	assert_int_equal(stow_drain_row_begin(s->p->context.ledger, &row, NULL), 0);
	assert_int_equal(stow_drain_recover(&s->p->context, &watch, NULL), 1);
	blocks_are(s, false);
	assert_in_range(stops, 1, 14);
}

/* After a failed attempt the drain is still an orphan, so that other programs can recover it. */
WITH_SETUP(a_drain_that_was_not_recovered_stays_an_orphan)
{
	struct stow_drain_row_block blocks[4];
	struct stow_drain_row row = left_behind(STOW_DRAIN_STEP_FENCED, blocks, 0);

	assert_int_equal(stow_drain_row_begin(s->p->context.ledger, &row, NULL), 0);
	tree_write(s->p->t, MEMORY "/block_size_bytes", "nonsense\n");
	assert_int_equal(recover(s), -EINVAL);
	assert_true(stow_drain_orphans(&s->p->context));
	tree_write(s->p->t, MEMORY "/block_size_bytes", "8000000\n");
	assert_int_equal(recover(s), 1);
	all_is_as_before(s);
}

WITH_SETUP(an_ejected_one_goes_on_to_its_end)
{
	struct stow_drain_spec spec = the_dimm;

	spec.resume = true;
	spec.eject = STOW_EJECT_EJECT;
	s->kill = true;
	s->at = STOW_DRAIN_STEP_SAFE;
	run_and_die(s, &spec);
	assert_int_equal(recover(s), 1);
	assert_int_equal(s->told[STOW_DRAIN_STEP_REMOVED], 1);
	assert_int_equal(stow_root_exists(s->p->t->root, MEMORY "/memory48"), 0);
	assert_false(is_fenced(s));
	assert_int_equal(rows(s), 0);
}

/* --- hugepages ------------------------------------------------------------ */

#define POOL "/hugepages/hugepages-2048kB/"

static void add_pools(struct setup *s, uint64_t pages)
{
	static const char *const files[] = { "nr_hugepages", "free_hugepages",
					     "surplus_hugepages" };
	char path[160];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(files); i++) {
		uint64_t n = i < 2 ? pages : 0;

		snprintf(path, sizeof(path), "/sys/kernel/mm" POOL "%s", files[i]);
		tree_write(s->p->t, path, "%llu\n", (unsigned long long)n);
		snprintf(path, sizeof(path), NODE "/node1" POOL "%s", files[i]);
		tree_write(s->p->t, path, "%llu\n", (unsigned long long)n);
	}
}

static uint64_t added(struct setup *s)
{
	struct stow_ledger_pool pool;

	assert_int_equal(stow_ledger_pool_get(s->p->context.ledger, 1, 2 * MIB, &pool, NULL), 0);
	return pool.added;
}

/* Killed after it has counted the pages that a block took along, and before it has saved that. */
WITH_SETUP(pages_are_counted_once)
{
	struct stow_drain_row_block blocks[4];
	struct stow_ledger_pool pool = { .node = 1, .size = 2 * MIB, .added = 10 };
	struct stow_ledger *ledger = s->p->context.ledger;
	struct stow_draining d = { .context = &s->p->context, .n_gone = 1 };

	d.row = left_behind(STOW_DRAIN_STEP_OFFLINING, blocks, 1);
	add_pools(s, 10);
	assert_int_equal(stow_ledger_begin(ledger, NULL), 0);
	assert_int_equal(stow_ledger_end(ledger, stow_ledger_pool_put(ledger, &pool, NULL), NULL),
			 0);
	assert_int_equal(stow_drain_row_begin(ledger, &d.row, NULL), 0);
	assert_int_equal(stow_drain_pools_init(s->p->t->root, 1, &d.row, &d.pools, NULL), 0);
	assert_int_equal(stow_drain_pools_lock(s->p->t->root, &d.pools, NULL), 0);
	assert_int_equal(stow_drain_save_row(&d, NULL), 0);
	add_pools(s, 6);
	assert_int_equal(stow_drain_pools_account(&s->p->context, &d.pools, NULL, NULL), 0);
	stow_drain_pools_unlock(&d.pools);
	assert_int_equal(recover(s), 1);
	all_is_as_before(s);
	assert_int_equal(added(s), 10);
}

/* Killed while block 48 went, and four pages with it; gc comes first. */
WITH_SETUP(a_pool_of_a_killed_drain_waits_for_its_count)
{
	struct stow_drain_row_block blocks[4];
	struct stow_drain_row row = left_behind(STOW_DRAIN_STEP_OFFLINING, blocks, 1);
	struct stow_ledger_pool pool = { .node = 1, .size = 2 * MIB, .added = 10 };
	struct stow_ledger *ledger = s->p->context.ledger;
	struct stow_gc_result swept;

	row.pools[row.n_pools++] = (struct stow_drain_row_pool){ .size = 2 * MIB, .before = 11 };
	add_pools(s, 6);
	assert_int_equal(stow_ledger_begin(ledger, NULL), 0);
	assert_int_equal(stow_ledger_end(ledger, stow_ledger_pool_put(ledger, &pool, NULL), NULL),
			 0);
	assert_int_equal(stow_drain_row_begin(ledger, &row, NULL), 0);
	assert_int_equal(stow_gc(&s->p->context, &swept, NULL), 0);
	stow_gc_result_done(&swept);
	assert_int_equal(added(s), 10);
	assert_int_equal(recover(s), 1);
	assert_int_equal(added(s), 10);
	assert_int_equal(stow_gc(&s->p->context, &swept, NULL), 0);
	stow_gc_result_done(&swept);
	assert_true(swept.pages > 0);
}

/* --- a part of a device --------------------------------------------------- */

/* The outcome says what stays online, and never that the device may be removed. */
WITH_SETUP(of_a_part_it_is_not_said_that_it_may_be_removed)
{
	static const struct stow_drain_spec parts[] = {
		{ .node = -1, .device = "dimm0", .size = 384 * MIB },
		{ .node = 1, .size = 384 * MIB },
		{ .node = -1, .blocks = "49-51" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(parts); i++) {
		_cleanup_(stow_drain_plan_free_ptr) struct stow_drain_plan *plan = NULL;
		struct stow_drain_spec spec = parts[i];
		struct stow_err err = { 0 };
		enum stow_drain_step step;
		bool noted = false;

		assert_int_equal(stow_drain_plan(&s->p->context, &spec, &plan, NULL), 0);
		assert_int_equal(plan->staying, 128 * MIB);
		for (size_t n = 0; n < plan->n_notes; n++)
			noted |= strstr(plan->notes[n], "128Mi of dimm0 stays online: the device "
							"cannot be removed") != NULL;
		assert_true(noted);
		assert_int_equal(run(s, &spec, &step, NULL), 0);
		assert_int_equal(step, STOW_DRAIN_STEP_DONE);
		assert_int_equal(s->told[STOW_DRAIN_STEP_SAFE], 0);
		assert_int_equal(s->release, STOW_RELEASE_NONE);
		assert_int_equal(s->staying, 128 * MIB);
		assert_string_equal(s->message, "384Mi of dimm0 is offline; 128Mi of dimm0 stays "
						"online and cannot be removed");
		for (uint64_t id = 49; id < 52; id++)
			assert_int_equal(stow_memblock_online(s->p->t->root, id, STOW_ZONE_MOVABLE,
							      NULL),
					 1);
		/* Nor does the drain wait for its removal. */
		spec.eject = STOW_EJECT_WAIT;
		assert_int_equal(run(s, &spec, &step, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "128Mi of dimm0 would stay online"));
		all_is_as_before(s);
	}
}

/* Draining the last part counts as draining the whole device. */
WITH_SETUP(the_rest_of_a_device_makes_it_whole)
{
	struct stow_drain_spec spec = { .node = -1, .blocks = "48" };
	enum stow_drain_step step;

	for (uint64_t id = 49; id < 52; id++)
		assert_int_equal(stow_memblock_offline(s->p->t->root, id, GIB, NULL, NULL, NULL),
				 1);
	assert_int_equal(run(s, &spec, &step, NULL), 0);
	assert_int_equal(s->told[STOW_DRAIN_STEP_SAFE], 1);
	assert_int_equal(s->release, STOW_RELEASE_DEVICE);
	assert_int_equal(s->staying, 0);
}

static int bring_one_back(void *ctx, const PbDrainProgress *progress)
{
	struct setup *s = ctx;

	s->told[progress->step]++;
	s->release = (enum stow_drain_release)progress->release;
	snprintf(s->message, sizeof(s->message), "%s", progress->message);
	if (progress->step == PB_DRAIN_STEP_RETURNING)
		tree_write(s->p->t, MEMORY "/memory49/state", "online\n");
	return 0;
}

/* The blocks come online meanwhile, as a udev rule would bring them. */
WITH_SETUP(what_came_online_meanwhile_counts)
{
	struct stow_drain_spec spec = the_dimm;
	struct stow_drain_watch watch = { .progress = bring_one_back, .ctx = s };
	struct stow_err err = { 0 };
	enum stow_drain_step step;

	assert_int_equal(stow_drain_run(&s->p->context, ID, false, &spec, &watch, &step, NULL), 0);
	assert_int_equal(s->told[STOW_DRAIN_STEP_SAFE], 0);
	assert_int_equal(s->release, STOW_RELEASE_NONE);
	assert_non_null(strstr(s->message, "128Mi of dimm0 stays online and cannot be removed"));
	for (uint64_t id = 48; id < 52; id++)
		(void)stow_memblock_online(s->p->t->root, id, STOW_ZONE_MOVABLE, NULL);
	spec.eject = STOW_EJECT_WAIT;
	assert_int_equal(stow_drain_run(&s->p->context, ID, false, &spec, &watch, &step, &err),
			 -EBUSY);
	assert_int_equal(s->told[STOW_DRAIN_STEP_SAFE], 0);
	assert_non_null(strstr(err.msg, "128Mi of dimm0 is online: the device cannot be removed"));
	all_is_as_before(s);
}

/* Memory that belongs to no device goes offline, and nothing else happens. */
WITH_SETUP(boot_memory_stays_in_the_machine)
{
	struct stow_drain_spec spec = { .node = -1, .blocks = "3" };
	struct stow_err err = { 0 };
	enum stow_drain_step step;

	tree_write(s->p->t, MEMORY "/memory3/valid_zones", "Movable\n");
	spec.eject = STOW_EJECT_WAIT;
	assert_int_equal(run(s, &spec, &step, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "belong to no device"));
	spec.eject = STOW_EJECT_KEEP;
	assert_int_equal(run(s, &spec, &step, NULL), 0);
	assert_int_equal(s->told[STOW_DRAIN_STEP_SAFE], 0);
	assert_string_equal(s->message, "128Mi is offline");
}
