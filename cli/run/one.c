// SPDX-License-Identifier: Apache-2.0
/* One instance: root's are placed with a grant; others get affinity and policy only. */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/admin.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "cgroup/hierarchy.h"
#include "cgroup/numa_own.h"
#include "cli/run/run.h"
#include "place/changes.h"

int run_open(struct run *run, const struct run_options *options, struct stow_err *err)
{
	bool grants;
	int r;

	*run = (struct run){ .options = options };
	run_prepare(&run->before);
	r = stow_root_open("/", &run->root, err);
	if (r < 0)
		return r;
	grants = stow_admin_is_root(run->root); /* only root gets grants */
	r = grants ? stow_config_read(run->root, &run->config, err)
		   : stow_config_read_anyway(run->root, &run->config, err);
	if (r >= 0)
		r = stow_pidref_read(run->root, getpid(), &run->context.self, err);
	if (r == 0 && grants)
		r = stow_may_change(run->root, run->config->mode, err);
	if (r == 0 && grants)
		r = stow_ledger_open(run->root, true, &run->context.ledger, err);
	if (r == 0 && grants)
		r = stow_ledger_check_namespaces(run->context.ledger, err);
	run->context.root = run->root;
	run->context.config = run->config;
	return r < 0 ? r : 0;
}

void run_close(struct run *run)
{
	stow_placed_done(&run->placed);
	stow_ledger_close(run->context.ledger);
	stow_config_free(run->config);
	stow_root_free(run->root);
}

/* --- the journal and the history ------------------------------------------ */

static void audit(struct run *run, const char *kind, const char *text)
{
	const struct stow_record *record = run->placed.record;
	char cpus[256] = "", nodes[128] = "", line[1400];
	const struct stow_log_field fields[] = {
		{ "NUMASTOW_ACTION", kind },
		{ "NUMASTOW_CONTAINER", run->name },
		{ "NUMASTOW_CPUS", record ? cpus : NULL },
		{ "NUMASTOW_NODES", record ? nodes : NULL },
	};

	if (record) {
		stow_idset_format(&run->placed.cpus, cpus, sizeof(cpus));
		stow_idset_format(&record->nodes, nodes, sizeof(nodes));
		snprintf(line, sizeof(line), "%s %s: CPUs %s%s, nodes %s: %s", kind, run->name,
			 cpus, record->exclusive ? " (exclusive)" : "", nodes, text);
	} else {
		snprintf(line, sizeof(line), "%s %s: %s", kind, run->name, text);
	}
	stow_log_audit(line, fields, STOW_ARRAY_SIZE(fields));
}

/* A failure is ignored: the journal has the line. */
static void add_history(struct run *run, const char *kind, const char *text)
{
	struct stow_ledger *ledger = run->context.ledger;

	if (stow_ledger_begin(ledger, NULL) == 0)
		(void)stow_ledger_end(
			ledger, stow_ledger_event(ledger, kind, run->name, NULL, text, NULL), NULL);
}

/* --- with a grant --------------------------------------------------------- */

static int set_name(struct run *run, int node, struct stow_err *err)
{
	const char *name = run->options->name;
	char *program, suffix[16] = "";

	if (node >= 0)
		snprintf(suffix, sizeof(suffix), "-node%d", node);
	if (name) {
		if (snprintf(run->name, sizeof(run->name), "%s%s", name, suffix) >=
		    (int)sizeof(run->name))
			return stow_err_set(err, EINVAL,
					    "--name: \"%.80s%s\" is longer than %d characters",
					    name, suffix, STOW_PROGRAM_NAME_MAX);
		return stow_program_check_name(run->name, err);
	}
	/* The program's name, as far as it can be one, and the process. */
	program = basename(run->options->command[0]);
	snprintf(run->name, sizeof(run->name), "%.30s-%d%s", program, (int)getpid(), suffix);
	for (char *c = run->name; *c; c++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-",
			    *c))
			*c = '_';
	if (strchr("_.-", run->name[0]))
		run->name[0] = 'x';
	return stow_program_check_name(run->name, err);
}

/* systemd's scope where cgroup v2 has the cpusets and systemd runs; otherwise groups. */
static int join(void *ctx, const struct stow_made_sets *planned, struct stow_err *err)
{
	struct run *run = ctx;
	struct stow_hierarchy at;
	int r = stow_cgroup_hierarchy(run->root, STOW_CGROUP_CPUSET, &at, err);

	if (r < 0)
		return r;
	if (at.version == 2 && stow_systemd_runs())
		return run_join_scope(run, planned, err);
	if (run->options->slice)
		return stow_err_set(err, ENOTSUP,
				    "--slice: \"%.64s\": systemd does not manage cpusets here "
				    "(cgroup v1, or no systemd)",
				    run->options->slice);
	return run_join_group(run, err);
}

/* Collect the nodes of the plan that have memory: the policy is about these. With `preferred` the
 * process may use the memory of others, too. */
static void policy_nodes(struct run *run, struct stow_idset *ret)
{
	const struct stow_record *record = run->placed.record;
	struct stow_idset memory;

	*ret = (struct stow_idset){ 0 };
	for (size_t i = 0; i < record->n_shares; i++)
		stow_idset_add(ret, record->shares[i].node);
	if (run_read_nodes(run->root, "has_memory", &memory, NULL) == 0)
		stow_idset_and(ret, &memory);
	stow_idset_and(ret, &run->placed.mems);
	if (stow_idset_empty(ret))
		*ret = run->placed.mems;
}

static int refuse(struct run *run, const struct stow_refusal *refusal, struct stow_err *err)
{
	return stow_err_set(err, ENOSPC, "cannot place \"%s\": %s%s%s", run->name, refusal->text,
			    refusal->suggestion[0] ? "; " : "", refusal->suggestion);
}

static int place(struct run *run, struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	const struct stow_program program = {
		.name = run->name, .request = &run->request, .join = join, .ctx = run
	};
	struct stow_apply_result *problems = &run->placed.problems;
	int r;

	if (run->request.n_pages)
		(void)stow_own_mems_widen(run->root, NULL);
	r = stow_program_place(&run->context, &program, &run->placed, &refusal, err);
	if (r == -ENOSPC && refusal)
		r = refuse(run, refusal, err);
	for (size_t i = 0; i < problems->n_problems; i++) {
		fprintf(stderr, "numastow: %s\n", problems->problems[i].text);
		add_history(run, problems->problems[i].partition ? "partition" : "overlap",
			    problems->problems[i].text);
	}
	if (r == 0)
		audit(run, "placed", run->placed.record->reason);
	return r;
}

void run_take_back(struct run *run, const char *text)
{
	struct stow_err err;

	if (!run->placed.record)
		return;
	audit(run, "undone", text);
	if (stow_program_undo(&run->context, run->placed.record, text, &err) < 0)
		fprintf(stderr, "numastow: %s (numastow gc takes the rest back)\n", err.msg);
	stow_record_free(run->placed.record);
	run->placed.record = NULL;
}

static int place_granted(struct run *run, struct stow_err *err)
{
	struct stow_idset nodes;
	struct stow_err why;
	int r = place(run, &why);

	if (r < 0) {
		stow_record_free(run->placed.record);
		run->placed.record = NULL;
		audit(run, "refused", why.msg);
		add_history(run, "refused", why.msg);
		return stow_err_move(err, r, &why);
	}
	policy_nodes(run, &nodes);
	r = run_affinity_all(&why);
	if (r == 0)
		r = run->options->policy.given
			    ? run_set_policy(run->options->policy.value, &nodes, &why)
			    : run_reset_policy(&why);
	if (r == 0)
		return 0;
	run_take_back(run, why.msg);
	return stow_err_move(err, r, &why);
}

/* --- without root --------------------------------------------------------- */

static int check_unprivileged(const struct run *run, struct stow_err *err)
{
	if (stow_cpu_mode_owns(run->request.cpu_mode))
		return stow_err_set(err, EPERM,
				    "exclusive CPUs: only root can keep other containers off "
				    "them");
	if (run->options->user)
		return stow_err_set(err, EPERM,
				    "--user: \"%.64s\": only root can start programs "
				    "of other users",
				    run->options->user);
	return 0;
}

/* Plan for a caller that may not read the ledger: with what the machine has, within the caller's
 * own cgroup. */
static int place_unprivileged(struct run *run, struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	struct stow_subject subject = { .id = run->name };
	struct stow_idset memory, nodes;
	enum run_policy policy = run->options->policy.given ? run->options->policy.value : RUN_BIND;
	int r = check_unprivileged(run, err);

	if (r < 0)
		return r;
	if (stow_cgroup_of_pid(run->root, getpid(), &cgroup, NULL) == 0 &&
	    cgroup->at[STOW_CGROUP_CPUSET].version)
		subject.cgroup = cgroup;
	r = stow_grant_plan(&run->context, &subject, &run->request, &plan, &refusal, err);
	if (r == -ENOSPC && refusal)
		return refuse(run, refusal, err);
	if (r < 0)
		return r;
	nodes = plan->nodes;
	if (run_read_nodes(run->root, "has_memory", &memory, NULL) == 0)
		stow_idset_and(&nodes, &memory);
	if (!run->options->quiet)
		fprintf(stderr,
			"numastow: without root: affinity and memory policy only; no grant, "
			"no cgroup, no memory limit, no hugepages added\n");
	r = run_affinity(&plan->cpus, err);
	return r < 0 ? r : run_set_policy(policy, &nodes, err);
}

int run_place(struct run *run, int node, struct stow_err *err)
{
	int r = set_name(run, node, err);

	if (r == 0)
		r = run_request(run, node, err);
	if (r == 0)
		r = run_check_user(run->options->user, err);
	if (r == 0)
		r = run->context.ledger ? place_granted(run, err) : place_unprivileged(run, err);
	return r < 0 ? run_name_option(run->options, r, err) : r;
}

int run_program(struct run *run)
{
	struct stow_err err;
	int r;

	r = run_set_tunables(run->root, run->page_size, &err);
	if (r == 0)
		r = run_become(run->options->user, &err);
	if (r < 0) {
		fprintf(stderr, "numastow: %s\n", err.msg);
		(void)!seteuid(0);
		run_take_back(run, err.msg);
		return RUN_FAILED;
	}
	r = run_execute(&run->before, run->options->command);
	run_take_back(run, "the program could not be executed");
	return r;
}
