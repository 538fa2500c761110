/* SPDX-License-Identifier: Apache-2.0 */
/* Keeping the machine as granted: reconciling, garbage collection, counting events, and a ledger
 * that was rebuilt. */
#include <errno.h>
#include <string.h>

#include "agent/machine_internal.h"
#include "base/clock.h"
#include "grant/apply.h"
#include "grant/discover.h"
#include "grant/gc.h"
#include "grant/threads.h"
#include "rpc/log.h"

#define GATHER	       (20 * STOW_MILLISECOND) /* changes within this time become one report */
#define EVENTS_AT_ONCE 256
#define CONFINE_TIME   (60 * STOW_SECOND)

void agent_machine_look(struct agent_machine *machine, unsigned int look)
{
	machine->look |= look;
	if (!machine->due)
		machine->due = stow_clock_monotonic() + GATHER;
}

int agent_machine_reopen(struct agent_machine *machine, struct stow_err *err)
{
	struct stow_reconcile *reconcile = NULL;
	struct stow_ledger *ledger = NULL;
	int r;

	r = stow_ledger_open(machine->context.root, true, &ledger, err);
	if (r == 0)
		r = stow_reconcile_new(&reconcile, err);
	if (r < 0) {
		stow_ledger_close_ptr(&ledger);
		return r;
	}
	stow_ledger_close(machine->context.ledger);
	machine->context.ledger = ledger;
	agent_source_follow(machine->source, reconcile);
	stow_reconcile_free(machine->reconcile);
	machine->reconcile = reconcile;
	machine->next_reconcile = 0;
	agent_machine_look(machine, AGENT_LOOK_ALL);
	stow_log(STOW_LOG_NOTICE, "the ledger was rebuilt, and is open again");
	return 0;
}

/* Log containers whose CPUs are wrong, with the reason. */
static void report_problems(struct agent_machine *machine, struct stow_apply_result *result)
{
	for (size_t i = 0; i < result->n_problems; i++)
		stow_log(STOW_LOG_WARNING, "a container has wrong CPUs",
			 stow_text("container", result->problems[i].id),
			 stow_text("why", result->problems[i].text));
	agent_publisher_count(machine->publisher, AGENT_COUNT_PROBLEMS, result->n_problems);
	stow_apply_result_done(result);
}

/* Log threads that had CPUs outside of their cpuset, once until none is found for a while. */
static void report_threads(struct agent_machine *machine, int n)
{
	uint64_t now = stow_clock_monotonic();

	if (n <= 0)
		return;
	if (now >= machine->confine_until)
		stow_log(STOW_LOG_NOTICE,
			 "threads of io_uring might run outside of their container's CPUs: the "
			 "cpuset decides now",
			 stow_number("threads", (uint64_t)n));
	machine->confine_until = now + CONFINE_TIME;
}

/* --- collecting ----------------------------------------------------------- */

static bool is_in(const struct stow_adoption *list, const struct stow_adopted *container)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->list[i].inode == container->inode &&
		    strcmp(list->list[i].id, container->id) == 0)
			return true;
	return false;
}

/* Log containers for which the hook never ran, each once. Those that could not be recorded are
 * found again the next time. */
static void report_found(struct agent_machine *machine, struct stow_adoption *found)
{
	for (size_t i = 0; i < found->n; i++)
		if (!is_in(&machine->found, &found->list[i]))
			stow_log(found->list[i].entered ? STOW_LOG_NOTICE : STOW_LOG_WARNING,
				 stow_adopted_text(&found->list[i]),
				 stow_text("container", found->list[i].id));
	if (found->cut && !machine->found.cut)
		stow_log(STOW_LOG_WARNING,
			 "there are too many cgroups: some containers may not have been found",
			 stow_number("cgroups", STOW_DISCOVER_CGROUPS));
	stow_adoption_done(&machine->found);
	machine->found = *found;
	*found = (struct stow_adoption){ 0 };
}

void agent_machine_collect(struct agent_machine *machine)
{
	struct agent_publisher *publisher = machine->publisher;
	struct stow_gc_result result;
	struct stow_err err = { 0 };
	int r;

	if (agent_policy_changes(machine->policy) != STOW_CHANGES_MADE)
		return;
	r = stow_ledger_check_namespaces(machine->context.ledger, &err);
	if (r == -EXDEV) {
		stow_log(STOW_LOG_WARNING, "nothing is collected", stow_why(&err));
		return;
	}
	r = stow_gc(&machine->context, &result, &err);
	if (r == -ESTALE && agent_machine_reopen(machine, &err) == 0) {
		stow_gc_result_done(&result);
		r = stow_gc(&machine->context, &result, &err);
	}
	if (r < 0)
		stow_log(STOW_LOG_WARNING, "garbage collection was incomplete", stow_why(&err));
	report_threads(machine, (int)result.threads);
	report_problems(machine, &result.problems);
	report_found(machine, &result.found);
	if (result.strangers)
		stow_log(STOW_LOG_WARNING,
			 STOW_UNMANAGED_DIR " or " STOW_PODS_DIR
					    " had files that are not entries of numastow",
			 stow_number("files", result.strangers));
	if (result.reclaimed || result.undone || result.expired || result.pages)
		stow_log(STOW_LOG_NOTICE, "reclaimed grants of ended containers",
			 stow_number("containers", result.reclaimed + result.undone),
			 stow_number("leases", result.expired),
			 stow_number("hugepages", result.pages));
	agent_publisher_count(publisher, AGENT_COUNT_RECLAIMED, result.reclaimed + result.undone);
	agent_publisher_count(publisher, AGENT_COUNT_RECLAIMED_HUGEPAGES, result.pages);
	stow_gc_result_done(&result);
}

/* --- reconciling ---------------------------------------------------------- */

void agent_machine_reconcile(struct agent_machine *machine)
{
	enum stow_changes changes = agent_policy_changes(machine->policy);
	struct agent_publisher *publisher = machine->publisher;
	struct stow_reconcile_result result;
	struct stow_err err = { 0 };

	if (changes == STOW_CHANGES_DISABLED || changes == STOW_CHANGES_UNKNOWN)
		return;
	if (stow_reconcile_run(machine->reconcile, &machine->context, changes != STOW_CHANGES_MADE,
			       &result, &err) < 0)
		stow_log(STOW_LOG_WARNING, "cannot reconcile all containers", stow_why(&err));
	if (stow_clock_monotonic() < machine->confine_until && changes == STOW_CHANGES_MADE)
		report_threads(machine,
			       stow_threads_confine(&machine->context, &result.problems, NULL));
	report_problems(machine, &result.problems);
	agent_publisher_set_kubelet_managed(publisher, result.foreign);
	if (result.ended)
		agent_machine_collect(machine);
	if (!result.adopted && !result.restored && !result.refused && !result.ended)
		return;
	if (result.adopted || result.restored || result.refused)
		stow_log(STOW_LOG_NOTICE,
			 changes == STOW_CHANGES_MADE
				 ? "CPU sets or NUMA nodes were changed by another program"
				 : "CPU sets or NUMA nodes were changed by another program; in "
				   "mode enforce this would be done",
			 stow_number("adopted", result.adopted),
			 stow_number("restored", result.restored),
			 stow_number("left", result.refused));
	agent_publisher_count(publisher, AGENT_COUNT_ADOPTED, result.adopted);
	agent_publisher_count(publisher, AGENT_COUNT_RESTORED, result.restored);
	agent_publisher_count(publisher, AGENT_COUNT_REFUSED, result.refused);
	agent_machine_look(machine, AGENT_LOOK_LEDGER);
}

/* --- counting and warnings ------------------------------------------------ */

/* Events before the agent's start are not counted. */
void agent_machine_count_events(struct agent_machine *machine)
{
	struct stow_event *events = NULL;
	int64_t last = machine->event;
	size_t n = 0;

	if (stow_ledger_events(machine->context.ledger, NULL, EVENTS_AT_ONCE, &events, &n, NULL) <
	    0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (last && events[i].seq > last)
			agent_publisher_count_event(machine->publisher, events[i].kind);
		if (events[i].seq > machine->event)
			machine->event = events[i].seq;
	}
	if (!machine->event)
		machine->event = 1; /* the ledger is empty: count from the first event */
	stow_events_free(events, n);
}

/* A single privileged container with the host's cgroup namespace can remove nsdelegate for the
 * whole machine. */
void agent_machine_check_delegation(struct agent_machine *machine)
{
	bool undelegated = agent_watch_nsdelegate(machine->context.root) == 0;

	if (undelegated && !machine->undelegated)
		stow_log(
			STOW_LOG_WARNING,
			"cgroup2 is mounted without nsdelegate: containers can move processes into "
			"each other's cgroups; mount -o remount,nsdelegate,memory_recursiveprot "
			"/sys/fs/cgroup puts it back");
	else if (!undelegated && machine->undelegated)
		stow_log(STOW_LOG_NOTICE, "cgroup2 has nsdelegate again");
	machine->undelegated = undelegated;
}
