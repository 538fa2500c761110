// SPDX-License-Identifier: Apache-2.0
/* numastow migrate: move the pages of a process or container between nodes. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "cgroup/cpuset.h"
#include "cgroup/procs.h"
#include "cli/bar.h"
#include "cli/cli.h"
#include "cli/container.h"
#include "cli/json_writer.h"
#include "cli/options.h"
#include "cli/process.h"
#include "pages/holds.h"
#include "pages/move.h"
#include "pages/numa_maps.h"
#include "pages/pairs.h"

#define NODES_MAX 1024 /* of a kernel */

struct migrate {
	struct cli_context context;
	bool last, dry_run, json, quiet;
	uint64_t batch, pause;
	int failed;	/* the exit code of a failure */
	char what[320]; /* "process 4711 (postgres)" */
	struct cli_process process;
	struct stow_cgroup *cgroup; /* of a container; NULL: a process */
	char *id;		    /* of it */
	bool granted;		    /* it is in the ledger */
	struct stow_idset mems;	    /* where its pages may be */
	struct stow_page_pair pairs[NODES_MAX];
	size_t n_pairs;
	uint64_t before[NODES_MAX], after[NODES_MAX];
	uint64_t total, stayed; /* bytes */
	struct stow_page_move move;
	struct cli_bar bar;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	(void)signal;
	interrupted = 1;
}

static void migrate_done(struct migrate *m)
{
	stow_cgroup_free_ptr(&m->cgroup);
	free(m->id);
	cli_context_done(&m->context);
}

/* --- what is asked for ------------------------------------------------------------------- */

/* Open the cgroup of a container with a grant. NULL: the last. */
static int open_granted(struct migrate *m, const char *name, struct stow_err *err)
{
	struct stow_record **records = NULL;
	size_t n = 0;
	int r = cli_find_records(&m->context, name, &records, &n, err);

	if (r < 0)
		return r;
	m->granted = true;
	m->id = strdup(records[0]->id);
	if (!m->id)
		r = stow_err_sys(err, ENOMEM, "containers");
	else if (records[0]->move)
		r = stow_err_set(err, EBUSY, "container %s is being moved by a repin", m->id);
	else if ((r = stow_cgroup_open(m->context.root, &records[0]->cgroup, &m->cgroup, err)) < 0)
		r = stow_err_wrap(err, r, "container %s", m->id);
	stow_records_free(records, n);
	return r;
}

/* Open the cgroup of a container without a grant. */
static int open_found(struct migrate *m, const char *name, struct stow_err *err)
{
	struct cli_container found;
	int r = cli_container_find(m->context.root, name, &found, err);

	if (r < 0)
		return r;
	m->id = STOW_TAKE_PTR(found.id);
	m->cgroup = STOW_TAKE_PTR(found.cgroup);
	cli_container_done(&found);
	return 0;
}

/* NULL: the last that got a grant. */
static int find_container(struct migrate *m, const char *name, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = open_granted(m, name, &why);

	if (r == -ENOENT && name && !m->granted)
		r = open_found(m, name, err);
	else if (r < 0)
		r = stow_err_move(err, r, &why);
	if (r < 0)
		return r;
	snprintf(m->what, sizeof(m->what), "container %s", m->id);
	r = stow_cpuset_read_mems(m->cgroup, true, &m->mems, err);
	return r < 0 ? stow_err_wrap(err, r, "%s", m->what) : 0;
}

static int find_process(struct migrate *m, const char *pid, struct stow_err *err)
{
	int r = cli_process_parse(m->context.root, pid, &m->process, err);

	if (r < 0)
		return r;
	snprintf(m->what, sizeof(m->what), "process %d (%s)", (int)m->process.ref.pid,
		 m->process.name);
	m->mems = m->process.allowed.mems;
	return 0;
}

/* Pages of a process may only be on nodes of its cpuset: elsewhere they would come back. */
static int check_target(struct migrate *m, const struct stow_idset *to, struct stow_err *err)
{
	char wanted[64], mems[64];

	if (stow_idset_subset(to, &m->mems))
		return 0;
	m->failed = CLI_NOT_FIT;
	return stow_err_set(err, ERANGE, "%s: node %s is outside of its cpuset, which has %s%s",
			    m->what, stow_idset_format(to, wanted, sizeof(wanted)),
			    stow_idset_format(&m->mems, mems, sizeof(mems)),
			    m->granted ? "; numastow repin moves a container to other nodes" : "");
}

/* `words`: FROM and TO. */
static int parse_nodes(struct migrate *m, char **words, struct stow_err *err)
{
	struct stow_idset there, from, to;
	int r;

	cli_nodes_with_memory(m->context.root, &there);
	m->failed = CLI_USAGE;
	r = cli_parse_ids("FROM", words[0], "node", &there, &from, err);
	if (r == 0)
		r = cli_parse_ids("TO", words[1], "node", &there, &to, err);
	if (r < 0)
		return r;
	m->failed = CLI_FAILED;
	r = check_target(m, &to, err);
	if (r == 0)
		m->n_pairs = stow_pages_pairs(&from, &to, m->pairs, NODES_MAX);
	return r;
}

/* --- pages ----------------------------------------------------------------------------------- */

static int count_process(struct migrate *m, pid_t pid, uint64_t *bytes, struct stow_err *err)
{
	_cleanup_(stow_process_pages_done) struct stow_process_pages pages = { 0 };
	int r = stow_process_pages_read(m->context.root, pid, &pages, err);

	if (r == -EACCES || r == -EPERM)
		return stow_err_set(
			err, EACCES,
			"process %d belongs to another user: only root can move its pages",
			(int)pid);
	for (size_t node = 0; node < pages.n_nodes && node < NODES_MAX && r == 0; node++)
		bytes[node] += stow_process_pages_on(&pages, (int)node);
	return r;
}

/* Add the bytes on each node, of the process or of all in the container. */
static int count_pages(struct migrate *m, uint64_t *bytes, struct stow_err *err)
{
	_cleanup_free_ pid_t *pids = NULL;
	size_t n = 0;
	int r;

	if (!m->cgroup)
		return count_process(m, m->process.ref.pid, bytes, err);
	r = stow_cgroup_pids(m->cgroup, &pids, &n, err);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = count_process(m, pids[i], bytes, err);
		r = r == -ESRCH ? 0 : r;
	}
	return r;
}

static int on_batch(void *ctx, const struct stow_page_move *move)
{
	struct migrate *m = ctx;

	if (interrupted)
		return -EINTR;
	if (!m->json && !m->quiet)
		cli_bar_show(&m->bar, "moving", move->moved < m->total ? move->moved : m->total,
			     m->total, "");
	return 0;
}

static int move_pair(struct migrate *m, const struct stow_page_pair *pair, struct stow_err *err)
{
	uint64_t bytes[NODES_MAX] = { 0 };
	int r;

	m->move.from = m->move.to = (struct stow_idset){ 0 };
	stow_idset_add(&m->move.from, pair->from);
	stow_idset_add(&m->move.to, pair->to);
	if (m->cgroup)
		r = stow_pages_move_all(m->context.root, m->cgroup, &m->move, err);
	else
		r = stow_pages_move_process(m->context.root, &m->process.ref, &m->move, err);
	/* Before pages of another pair come to this node. */
	if (r == 0 && count_pages(m, bytes, NULL) == 0)
		m->stayed += bytes[pair->from];
	return r;
}

static int move_pairs(struct migrate *m, struct stow_err *err)
{
	struct sigaction action = { .sa_handler = on_signal };
	int r = 0;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	m->move = (struct stow_page_move){ .batch = m->batch,
					   .pause = m->pause,
					   .unshared = geteuid() != 0,
					   .progress = on_batch,
					   .ctx = m };
	for (size_t i = 0; i < m->n_pairs && r == 0; i++)
		r = move_pair(m, &m->pairs[i], err);
	cli_bar_end(&m->bar);
	return r;
}

/* --- what came of it ---------------------------------------------------------------------------- */

static const struct {
	enum stow_page_reason reason;
	const char *word, *text;
} reasons[] = {
	{ STOW_PAGES_BUSY, "busy", "pinned, or in use at that moment" },
	{ STOW_PAGES_SHARED, "shared", "mapped by other processes, too: root can move these" },
	{ STOW_PAGES_FULL, "no-memory", "no free memory or hugepage of that size on the target" },
};

static void print_stayed(const struct migrate *m)
{
	char size[32], holds[128];

	if (!m->stayed)
		return;
	printf("stayed: %s\n", stow_format_size(m->stayed, size, sizeof(size)));
	for (size_t i = 0; i < STOW_ARRAY_SIZE(reasons); i++)
		if (m->move.reasons & reasons[i].reason)
			printf("  %s\n", reasons[i].text);
	if (!m->move.reasons)
		printf("  allocated meanwhile, or not movable now\n");
	if (!m->cgroup &&
	    *stow_process_holds(m->context.root, m->process.ref.pid, holds, sizeof(holds)))
		printf("  the process has %s\n", holds);
}

static void print_text(const struct migrate *m)
{
	char before[32], after[32], moved[32];

	if (m->dry_run)
		printf("%4s  %10s\n", "NODE", "HAS");
	else
		printf("%4s  %10s  %10s\n", "NODE", "BEFORE", "AFTER");
	for (int node = 0; node < NODES_MAX; node++) {
		if (!m->before[node] && !m->after[node])
			continue;
		printf("%4d  %10s", node,
		       stow_format_size(m->before[node], before, sizeof(before)));
		if (!m->dry_run)
			printf("  %10s", stow_format_size(m->after[node], after, sizeof(after)));
		putchar('\n');
	}
	if (m->dry_run)
		return;
	printf("moved: %s in %" PRIu64 " calls, the longest %" PRIu64 ".%03" PRIu64 " ms\n",
	       stow_format_size(m->move.moved, moved, sizeof(moved)), m->move.calls,
	       m->move.longest / 1000000, m->move.longest / 1000 % 1000);
	print_stayed(m);
	printf("The memory policy is unchanged: new pages come from where it says.\n");
	if (cli_balancing(m->context.root))
		printf("NUMA balancing is on, and may move pages back.\n");
}

static void put_size(struct json_writer *w, json_object *to, const char *key, uint64_t bytes)
{
	json_put(w, to, key, json_object_new_uint64(bytes));
}

static json_object *nodes_json(const struct migrate *m, struct json_writer *w)
{
	json_object *list = json_object_new_array();

	for (int node = 0; node < NODES_MAX; node++) {
		json_object *o;

		if (!m->before[node] && !m->after[node])
			continue;
		o = json_object_new_object();
		json_put(w, o, "node", json_object_new_int(node));
		put_size(w, o, "before", m->before[node]);
		if (!m->dry_run)
			put_size(w, o, "after", m->after[node]);
		json_append(w, list, o);
	}
	return list;
}

static int print_json(const struct migrate *m)
{
	json_object *o = json_object_new_object(), *pairs = json_object_new_array(),
		    *why = json_object_new_array();
	struct json_writer w = { .ok = true };

	json_put(&w, o, "version", json_object_new_string(STOW_VERSION));
	if (m->id)
		json_put(&w, o, "container", json_object_new_string(m->id));
	else
		json_put(&w, o, "pid", json_object_new_int(m->process.ref.pid));
	for (size_t i = 0; i < m->n_pairs; i++) {
		json_object *pair = json_object_new_object();

		json_put(&w, pair, "from", json_object_new_int(m->pairs[i].from));
		json_put(&w, pair, "to", json_object_new_int(m->pairs[i].to));
		json_append(&w, pairs, pair);
	}
	json_put(&w, o, "pairs", pairs);
	json_put(&w, o, "nodes", nodes_json(m, &w));
	for (size_t i = 0; i < STOW_ARRAY_SIZE(reasons); i++)
		if (m->move.reasons & reasons[i].reason)
			json_append(&w, why, json_object_new_string(reasons[i].word));
	if (!m->dry_run) {
		put_size(&w, o, "moved", m->move.moved);
		put_size(&w, o, "stayed", m->stayed);
		json_put(&w, o, "calls", json_object_new_uint64(m->move.calls));
		json_put(&w, o, "longest_call_seconds",
			 json_object_new_double((double)m->move.longest / STOW_SECOND));
	}
	json_put(&w, o, "reasons", why);
	json_put(&w, o, "numa_balancing", json_object_new_boolean(cli_balancing(m->context.root)));
	return json_print(&w, o);
}

static void print_plan(const struct migrate *m)
{
	if (m->json || m->quiet)
		return;
	printf("%s:", m->what);
	for (size_t i = 0; i < m->n_pairs; i++)
		printf("%s node %d to %d", i ? "," : "", m->pairs[i].from, m->pairs[i].to);
	puts(m->n_pairs ? "" : " nothing to move, each node stays itself");
}

static int print_result(const struct migrate *m)
{
	if (m->json && print_json(m) < 0)
		return CLI_FAILED;
	if (!m->json && !m->quiet)
		print_text(m);
	if (m->dry_run)
		return CLI_OK;
	return m->stayed && m->move.reasons ? CLI_PARTIAL : CLI_OK;
}

/* `word`: the process or container; NULL: the last container. */
static int run(struct migrate *m, const char *word, char **nodes, struct stow_err *err)
{
	int r;

	r = word && cli_is_pid(word) ? find_process(m, word, err) : find_container(m, word, err);
	if (r == 0)
		r = parse_nodes(m, nodes, err);
	if (r == 0)
		r = count_pages(m, m->before, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < m->n_pairs; i++)
		m->total += m->before[m->pairs[i].from];
	print_plan(m);
	if (m->dry_run)
		return 0;
	cli_widen_mems(m->context.root);
	r = move_pairs(m, err);
	return r < 0 ? r : count_pages(m, m->after, err);
}

static int take_time(const char *text, void *value, struct stow_err *err)
{
	int r = stow_parse_duration(text, value, err);

	if (r == 0 && *(uint64_t *)value > 10 * STOW_SECOND)
		r = stow_err_set(err, ERANGE, "\"%.32s\" is over 10s", text);
	return r;
}

/* Whether a container has a grant is in the ledger, which only root can read. */
static int open_context(struct migrate *m, const char *word, struct stow_err *err)
{
	if (!word || !cli_is_pid(word))
		return cli_context_open_anyway(&m->context, NULL, false, err);
	return stow_root_open("/", &m->context.root, err);
}

int cmd_migrate(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "migrate",
		.arguments = "[OPTION...] PID|CONTAINER|--last FROM TO",
		.summary = "Move the pages of a process or container from nodes to nodes",
		.options = "  --last        the container that got its grant last\n"
			   "  --batch SIZE  how much to move between two pauses (about 100 ms of "
			   "work)\n"
			   "  --pause TIME  pause between two batches, up to 10s\n"
			   "  --dry-run     print where the pages are, and change nothing\n"
			   "  -J, --json    print JSON\n"
			   "  -q, --quiet   print errors only\n"
			   "  -h, --help    print this text\n"
			   "\n"
			   "FROM and TO are lists: 0,2-3, 0-6:2, all, !1. The n-th node of FROM "
			   "goes to the\n"
			   "n-th of TO.\n",
		.words = 3,
	};
	_cleanup_(migrate_done) struct migrate m = { .failed = CLI_FAILED,
						     .bar.terminal = isatty(STDOUT_FILENO) };
	const struct cli_option options[] = {
		{ "last", .flag = &m.last },
		{ "batch", .take = cli_take_size, .value = &m.batch },
		{ "pause", .take = take_time, .value = &m.pause },
		{ "dry-run", .flag = &m.dry_run },
		{ "json", 'J', .flag = &m.json },
		{ "quiet", 'q', .flag = &m.quiet },
		{ 0 },
	};
	struct stow_err err = { 0 };
	const char *word;
	int r = cli_options(&usage, options, argc, argv);

	if (r >= 0)
		return r;
	if (argc - optind != (m.last ? 2 : 3))
		return cli_wrong_usage("migrate", "migrate takes a process or container (or "
						  "--last), and two lists of nodes");
	word = m.last ? NULL : argv[optind++];
	r = open_context(&m, word, &err);
	if (r == 0)
		r = run(&m, word, argv + optind, &err);
	if (r == 0)
		return print_result(&m);
	if (m.failed == CLI_USAGE)
		return cli_wrong_usage("migrate", "%s", err.msg);
	(void)cli_fail(&err);
	if (interrupted) {
		fprintf(stderr, "numastow: stopped; what has moved stays where it is\n");
		return CLI_INTERRUPTED;
	}
	return m.failed;
}
