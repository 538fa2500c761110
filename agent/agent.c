/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/delta.h"
#include "agent/drain.h"
#include "agent/link.h"
#include "agent/local.h"
#include "agent/probe.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "grant/apply.h"
#include "grant/gc.h"
#include "grant/lease.h"
#include "grant/reconcile.h"
#include "rpc/say.h"
#include "rpc/signals.h"
#include "rpc/texts.h"

#define DELEGATION_INTERVAL  (60 * STOW_SECOND)
#define MS		     UINT64_C(1000000)
#define AGENT_CONTAINERS_MAX 8192 /* that a scheduler takes of one machine */
#define EVENTS_AT_ONCE	     256
#define GATHER		     (20 * MS) /* changes that come within this time are one report */

/* --- tasks -------------------------------------------------------------------------------------- */

void agent_post(struct agent *agent, void (*run)(struct agent *agent, void *arg), void *arg)
{
	struct agent_task *task = calloc(1, sizeof(*task));

	if (!task)
		abort(); /* a stream's end that is never handled would be worse */
	task->run = run;
	task->arg = arg;
	pthread_mutex_lock(&agent->tasks_lock);
	*agent->tasks_end = task;
	agent->tasks_end = &task->next;
	pthread_mutex_unlock(&agent->tasks_lock);
	eventfd_write(agent->wake, 1);
}

static void run_tasks(struct agent *agent)
{
	struct agent_task *task;
	eventfd_t ignored;

	(void)eventfd_read(agent->wake, &ignored);
	pthread_mutex_lock(&agent->tasks_lock);
	task = agent->tasks;
	agent->tasks = NULL;
	agent->tasks_end = &agent->tasks;
	pthread_mutex_unlock(&agent->tasks_lock);
	while (task) {
		struct agent_task *next = task->next;

		task->run(agent, task->arg);
		free(task);
		task = next;
	}
}

/* --- reports ------------------------------------------------------------------------------------ */

void agent_sign(const struct agent *agent, PbNodeReport *report)
{
	report->name = agent->config.node;
	report->time = stow_clock_wall();
	report->mode = agent->told == STOW_CHANGES_DISABLED   ? PB_MODE_DISABLED
		       : agent->told == STOW_CHANGES_OBSERVED ? PB_MODE_OBSERVE
							      : PB_MODE_ENFORCE;
	report->counters = (PbAgentCounters *)(uintptr_t)&agent->counters;
	if (!report->full)
		return;
	report->version = (char *)(uintptr_t)STOW_VERSION;
	report->boot_id = (char *)(uintptr_t)agent->boot_id;
	report->failure_domain = agent->config.failure_domain;
}

#define PIECE_BYTES (1U << 20) /* of containers, in one message; another has at most 4 MiB */

/* How many of the containers from `first` on go into one message. */
static size_t piece(const PbNodeReport *report, size_t first)
{
	size_t bytes = 0, n = 0;

	while (first + n < report->n_containers) {
		bytes += pb_container__get_packed_size(report->containers[first + n]) + 8;
		if (n && bytes > PIECE_BYTES)
			break;
		n++;
	}
	return n;
}

size_t agent_report_fit(const PbNodeReport *report)
{
	return piece(report, 0);
}

static void send_one(struct agent_subscriber *to, PbNodeReport *report)
{
	PbReportRequest wrapped = PB_REPORT_REQUEST__INIT;
	PbNodeReport mine = *report;

	mine.sequence = ++to->sequence;
	if (to->private) {
		mine.n_containers = mine.n_gone = mine.n_reservations = mine.n_drains = 0;
		mine.containers = NULL;
		mine.gone = mine.reservations = mine.drains = NULL;
	}
	wrapped.kind_case = PB_REPORT_REQUEST__KIND_REPORT;
	wrapped.report = &mine;
	/* An end of the stream comes by its own way. */
	if (to->scheduler)
		stow_rpc_send(to->call, &wrapped);
	else
		stow_rpc_send(to->call, &mine);
}

/* With the lock held. A report never exceeds what is accepted: containers that do not fit into one
 * message follow as changes. */
static void send_to(struct agent_subscriber *to, const PbNodeReport *report)
{
	PbNodeReport part = *report;
	size_t done = piece(report, 0);

	part.n_containers = done;
	send_one(to, &part);
	part.full = false;
	part.n_numa_nodes = part.n_gone = 0;
	for (size_t n; done < report->n_containers; done += n) {
		if (to->private)
			return;
		n = piece(report, done);
		part.containers = report->containers + done;
		part.n_containers = n;
		send_one(to, &part);
	}
}

/* With the lock held. */
static void send_full(struct agent *agent, struct agent_subscriber *to)
{
	PbNodeReport full = *agent->current;

	full.full = true;
	agent_sign(agent, &full);
	send_to(to, &full);
}

int agent_subscribe(struct agent *agent, struct stow_rpc_call *call, bool scheduler, bool private)
{
	struct agent_subscriber *to = calloc(1, sizeof(*to));

	if (!to)
		return -ENOMEM;
	to->call = stow_rpc_ref(call);
	to->scheduler = scheduler;
	to->private = private;
	pthread_mutex_lock(&agent->lock);
	to->next = agent->subscribers;
	agent->subscribers = to;
	send_full(agent, to);
	pthread_mutex_unlock(&agent->lock);
	return 0;
}

void agent_unsubscribe(struct agent *agent, const struct stow_rpc_call *call)
{
	struct agent_subscriber *gone;
	struct agent_subscriber **at;

	pthread_mutex_lock(&agent->lock);
	for (at = &agent->subscribers; *at && (*at)->call != call; at = &(*at)->next)
		;
	gone = *at;
	if (gone)
		*at = gone->next;
	pthread_mutex_unlock(&agent->lock);
	if (gone)
		stow_rpc_unref(gone->call);
	free(gone);
}

void agent_report_again(struct agent *agent, const struct stow_rpc_call *call)
{
	pthread_mutex_lock(&agent->lock);
	for (struct agent_subscriber *to = agent->subscribers; to; to = to->next)
		if (to->call == call)
			send_full(agent, to);
	pthread_mutex_unlock(&agent->lock);
}

static void note_error(struct agent *agent, const struct stow_err *err)
{
	if (err && (!agent->last_error || strcmp(agent->last_error, err->msg) != 0))
		stow_say(STOW_LOG_ERR, "cannot look at the machine", stow_why(err));
	pthread_mutex_lock(&agent->lock);
	free(agent->last_error);
	agent->last_error = err ? strdup(err->msg) : NULL;
	pthread_mutex_unlock(&agent->lock);
}

/* The ledger that is open was set aside (`numastow gc --rebuild`): opens the new one, and forgets
 * what is known of the containers of the old one. */
static int reopen_ledger(struct agent *agent, struct stow_err *err)
{
	struct stow_reconcile *reconcile = NULL;
	struct stow_ledger *ledger = NULL;
	int r;

	r = stow_ledger_open(agent->root, true, &ledger, err);
	if (r == 0)
		r = stow_reconcile_new(&reconcile, err);
	if (r < 0) {
		stow_ledger_close_ptr(&ledger);
		return r;
	}
	pthread_mutex_lock(&agent->lock);
	stow_ledger_close(agent->ledger);
	agent->ledger = ledger;
	agent->context.ledger = ledger;
	pthread_mutex_unlock(&agent->lock);
	agent_source_follow(agent->source, reconcile);
	stow_reconcile_free(agent->reconcile);
	agent->reconcile = reconcile;
	agent->next_reconcile = 0;
	agent_look(agent, AGENT_LOOK_ALL);
	stow_say(STOW_LOG_NOTICE, "the ledger was made anew, and is open again");
	return 0;
}

/* The texts come from annotations, from runtimes and from a scheduler. */
static void make_fit(PbNodeReport *report)
{
	stow_texts_clean(&report->base, STOW_TEXT_LIST);
	if (report->n_containers <= AGENT_CONTAINERS_MAX)
		return;
	stow_say(STOW_LOG_WARNING, "more containers than a report may have; some are not reported",
		 stow_number("containers", report->n_containers));
	while (report->n_containers > AGENT_CONTAINERS_MAX)
		stow_rpc_message_free(report->containers[--report->n_containers]);
}

/* With the lock held. */
static void count_event(struct agent *agent, const char *kind)
{
	size_t i = 0;

	while (i < agent->n_events && strcmp(agent->events[i].kind, kind) != 0)
		i++;
	if (i == AGENT_EVENT_KINDS)
		return;
	if (i == agent->n_events)
		snprintf(agent->events[agent->n_events++].kind, sizeof(agent->events[i].kind), "%s",
			 kind);
	agent->events[i].n++;
}

/* What has happened since the last time; before the start is nobody's business. */
static void count_events(struct agent *agent)
{
	struct stow_event *events = NULL;
	int64_t last = agent->event;
	size_t n = 0;

	if (stow_ledger_events(agent->ledger, NULL, EVENTS_AT_ONCE, &events, &n, NULL) < 0)
		return;
	pthread_mutex_lock(&agent->lock);
	for (size_t i = 0; i < n; i++) {
		if (last && events[i].seq > last)
			count_event(agent, events[i].kind);
		if (events[i].seq > agent->event)
			agent->event = events[i].seq;
	}
	if (!agent->event)
		agent->event = 1; /* an empty ledger: the first one counts */
	pthread_mutex_unlock(&agent->lock);
	stow_events_free(events, n);
}

/* Looks, and tells everybody what has changed. */
static int publish(struct agent *agent)
{
	unsigned int look = agent->look;
	struct stow_err err = { 0 };
	PbNodeReport *now, delta;
	int r;

	agent->look = 0;
	agent->due = 0;
	r = agent_source_report(agent->source, look, agent->current, agent->config.memory_step,
				&now, &err);
	if (r == -ESTALE)
		return reopen_ledger(agent, &err) < 0 ? (note_error(agent, &err), r) : 0;
	if (r == 0)
		make_fit(now);
	if (r == 0 && agent_drains_report(agent, now) < 0) {
		stow_rpc_message_free(now);
		r = stow_err_set(&err, ENOMEM, "out of memory");
	}
	if (r < 0) {
		note_error(agent, &err);
		return r;
	}
	note_error(agent, NULL);
	if (look & AGENT_LOOK_LEDGER) {
		agent->new_leases = 0;
		count_events(agent);
	}
	pthread_mutex_lock(&agent->lock);
	agent->looked = stow_clock_wall();
	if (agent_delta(agent->current, now, &delta)) {
		agent->counters.reports++;
		agent_sign(agent, &delta);
		for (struct agent_subscriber *to = agent->subscribers; to; to = to->next)
			send_to(to, &delta);
	}
	/* The delta borrows from both. */
	agent_delta_done(&delta);
	stow_rpc_message_free(agent->current);
	agent->current = now;
	pthread_mutex_unlock(&agent->lock);
	return 0;
}

void agent_look(struct agent *agent, unsigned int look)
{
	agent->look |= look;
	if (!agent->due)
		agent->due = stow_clock_monotonic() + GATHER;
}

/* --- what is done by the clock ------------------------------------------------------------------ */

enum stow_changes agent_changes(const struct agent *agent)
{
	return stow_changes(agent->root, agent->config.mode == AGENT_OBSERVE ? STOW_MODE_OBSERVE
									     : agent->policy->mode);
}

int agent_check_changes(struct agent *agent, struct stow_err *err)
{
	int r;

	pthread_mutex_lock(&agent->lock);
	r = stow_changes_refuse(agent_changes(agent), err);
	if (r < 0)
		r = stow_err_wrap(err, r, "node %s", agent->config.node);
	pthread_mutex_unlock(&agent->lock);
	return r;
}

static bool may_change(const struct agent *agent)
{
	return agent_changes(agent) == STOW_CHANGES_MADE;
}

/* Containers that are not where they must be, and why. */
static void report_problems(struct agent *agent, struct stow_apply_result *result)
{
	for (size_t i = 0; i < result->n_problems; i++)
		stow_say(STOW_LOG_WARNING, "a container's CPUs are not as they must be",
			 stow_text("container", result->problems[i].id),
			 stow_text("why", result->problems[i].text));
	pthread_mutex_lock(&agent->lock);
	agent->counters.problems += result->n_problems;
	pthread_mutex_unlock(&agent->lock);
	stow_apply_result_done(result);
}

static bool is_in(const struct stow_adoption *list, const struct stow_adopted *container)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->list[i].inode == container->inode &&
		    strcmp(list->list[i].id, container->id) == 0)
			return true;
	return false;
}

/* Containers that never met the hook: each is said once. Those that are not entered are found again
 * the next time. */
static void report_found(struct agent *agent, struct stow_adoption *found)
{
	for (size_t i = 0; i < found->n; i++)
		if (!is_in(&agent->found, &found->list[i]))
			stow_say(found->list[i].entered ? STOW_LOG_NOTICE : STOW_LOG_WARNING,
				 stow_adopted_text(&found->list[i]),
				 stow_text("container", found->list[i].id));
	if (found->cut && !agent->found.cut)
		stow_say(STOW_LOG_WARNING,
			 "there are more cgroups than are looked into: containers in the others "
			 "were not found",
			 stow_number("cgroups", STOW_DISCOVER_CGROUPS));
	stow_adoption_done(&agent->found);
	agent->found = *found;
	*found = (struct stow_adoption){ 0 };
}

static void collect(struct agent *agent)
{
	struct stow_gc_result result;
	struct stow_err err = { 0 };
	int r;

	if (!may_change(agent))
		return;
	r = stow_gc(&agent->context, &result, &err);
	if (r == -ESTALE && reopen_ledger(agent, &err) == 0) {
		stow_gc_result_done(&result);
		r = stow_gc(&agent->context, &result, &err);
	}
	if (r < 0)
		stow_say(STOW_LOG_WARNING, "cannot collect everything", stow_why(&err));
	report_problems(agent, &result.problems);
	report_found(agent, &result.found);
	if (result.reclaimed || result.undone || result.expired || result.pages)
		stow_say(STOW_LOG_NOTICE, "reclaimed what nobody gave back",
			 stow_number("containers", result.reclaimed + result.undone),
			 stow_number("leases", result.expired),
			 stow_number("hugepages", result.pages));
	pthread_mutex_lock(&agent->lock);
	agent->counters.reclaimed += result.reclaimed + result.undone;
	agent->counters.reclaimed_hugepages += result.pages;
	pthread_mutex_unlock(&agent->lock);
	stow_gc_result_done(&result);
}

static void reconcile(struct agent *agent)
{
	enum stow_changes changes = agent_changes(agent);
	struct stow_reconcile_result result;
	struct stow_err err = { 0 };

	if (changes == STOW_CHANGES_DISABLED)
		return;
	if (stow_reconcile_run(agent->reconcile, &agent->context, changes != STOW_CHANGES_MADE,
			       &result, &err) < 0)
		stow_say(STOW_LOG_WARNING, "cannot keep everything as it was given",
			 stow_why(&err));
	report_problems(agent, &result.problems);
	pthread_mutex_lock(&agent->lock);
	agent->counters.foreign = result.foreign;
	pthread_mutex_unlock(&agent->lock);
	if (result.ended)
		collect(agent);
	if (!result.adopted && !result.restored && !result.refused && !result.ended)
		return;
	if (result.adopted || result.restored || result.refused)
		stow_say(STOW_LOG_NOTICE,
			 changes == STOW_CHANGES_MADE
				 ? "CPU sets or nodes were changed behind our back"
				 : "CPU sets or nodes were changed behind our back; "
				   "what would be done about it, if not in mode observe",
			 stow_number("adopted", result.adopted),
			 stow_number("restored", result.restored),
			 stow_number("left", result.refused));
	pthread_mutex_lock(&agent->lock);
	agent->counters.adopted += result.adopted;
	agent->counters.restored += result.restored;
	agent->counters.refused += result.refused;
	pthread_mutex_unlock(&agent->lock);
	agent_look(agent, AGENT_LOOK_LEDGER);
}

static void earlier(uint64_t *when, uint64_t other)
{
	if (other && (!*when || other < *when))
		*when = other;
}

/* The mode is no part of what is compared between reports: everybody is told all of it. */
static void look_for_switch(struct agent *agent)
{
	enum stow_changes changes = agent_changes(agent);

	if (changes == agent->told)
		return;
	pthread_mutex_lock(&agent->lock);
	agent->told = changes;
	for (struct agent_subscriber *to = agent->subscribers; to; to = to->next)
		send_full(agent, to);
	pthread_mutex_unlock(&agent->lock);
}

/* One privileged container with the host's cgroup namespace takes it away for all the machine. */
static void look_for_delegation(struct agent *agent)
{
	bool undelegated = agent_watch_nsdelegate(agent->root) == 0;

	if (undelegated && !agent->undelegated)
		stow_say(
			STOW_LOG_WARNING,
			"cgroup2 is mounted without nsdelegate: containers can move processes into "
			"each other's cgroups; mount -o remount,nsdelegate,memory_recursiveprot "
			"/sys/fs/cgroup puts it back");
	else if (!undelegated && agent->undelegated)
		stow_say(STOW_LOG_NOTICE, "cgroup2 has nsdelegate again");
	agent->undelegated = undelegated;
}

/* Does what is due; returns when something is due again. */
static uint64_t tick(struct agent *agent)
{
	uint64_t now = stow_clock_monotonic(), next = 0;

	look_for_switch(agent);
	if (now >= agent->next_reconcile) {
		agent->next_reconcile = now + agent->config.reconcile_interval;
		reconcile(agent);
	}
	if (now >= agent->next_gc) {
		agent->next_gc = now + agent->config.gc_interval;
		collect(agent);
		if (may_change(agent))
			agent_drains_recover(agent);
	}
	if (now >= agent->next_delegation) {
		agent->next_delegation = now + DELEGATION_INTERVAL;
		look_for_delegation(agent);
	}
	if (now >= agent->next_usage) {
		agent->next_usage = now + agent->config.usage_interval;
		agent->look |= AGENT_LOOK_USAGE | AGENT_LOOK_LEDGER;
		earlier(&agent->due, now);
	}
	if (now >= agent->next_poll) {
		agent->next_poll = now + agent->config.poll_interval;
		agent->look |= AGENT_LOOK_MEMORY;
		earlier(&agent->due, now);
	}
	if (agent->due && now >= agent->due)
		publish(agent);
	earlier(&next, agent->due);
	earlier(&next, agent->next_poll);
	earlier(&next, agent->next_usage);
	earlier(&next, agent->next_reconcile);
	earlier(&next, agent->next_gc);
	earlier(&next, agent->next_delegation);
	earlier(&next, agent_probe_tick(agent->probe, now));
	if (agent->link)
		earlier(&next, agent_link_tick(agent->link, now));
	return next;
}

/* --- running ------------------------------------------------------------------------------------ */

static void on_signal(struct agent *agent, int signals, void (*reload)(struct agent *agent))
{
	int number;

	while ((number = stow_signals_next(signals))) {
		if (number == SIGHUP)
			reload(agent);
		else
			agent->stopping = true;
	}
}

/* By the thread that must not hang, as long as others are answered, too. */
static void feed(const struct agent *agent, bool *deaf)
{
	char why[256];

	if (agent_probe_answered(agent->probe, why, sizeof(why))) {
		*deaf = false;
		sd_notify(0, "WATCHDOG=1");
	} else if (!*deaf) {
		*deaf = true;
		stow_say(STOW_LOG_ERR, "the watchdog is fed no more", stow_text("error", why));
	}
}

void agent_run(struct agent *agent, int signals, void (*reload)(struct agent *agent))
{
	struct pollfd polls[] = {
		{ .fd = signals, .events = POLLIN },
		{ .fd = agent->wake, .events = POLLIN },
		{ .fd = agent->watch.ledger, .events = POLLIN },
		{ .fd = agent->watch.uevent, .events = POLLIN },
	};
	uint64_t watchdog = 0;
	bool deaf = false;

	if (sd_watchdog_enabled(0, &watchdog) <= 0)
		watchdog = 0;
	while (!agent->stopping) {
		uint64_t next = tick(agent), now = stow_clock_monotonic();
		uint64_t wait = next > now ? (next - now + MS - 1) / MS : 0;
		int r;

		if (watchdog) { /* in microseconds */
			feed(agent, &deaf);
			wait = wait < watchdog / 3000 ? wait : watchdog / 3000;
		}
		agent_probe_sleeps(agent->probe, true);
		r = poll(polls, STOW_ARRAY_SIZE(polls), (int)wait);
		agent_probe_sleeps(agent->probe, false);
		if (r < 0 && errno != EINTR) {
			stow_say(STOW_LOG_ERR, "poll failed", stow_text("error", strerror(errno)));
			return;
		}
		if (polls[0].revents)
			on_signal(agent, signals, reload);
		if (polls[1].revents)
			run_tasks(agent);
		if (polls[2].revents && agent_watch_ledger(&agent->watch))
			agent_look(agent, AGENT_LOOK_LEDGER);
		if (polls[3].revents && agent_watch_uevent(&agent->watch)) {
			agent_look(agent, AGENT_LOOK_TOPOLOGY | AGENT_LOOK_LEDGER);
			/* At once: a container whose CPUs are all offline runs on anybody's. */
			agent->next_reconcile = 0;
		}
	}
}

/* --- start and stop ----------------------------------------------------------------------------- */

/* One agent a machine: the lock's text says who and what the machine is called, for the hook. It is
 * a lock that can be asked for without taking it (fcntl(2), F_OFD_GETLK), on root's own file. */
static int take_lock(struct agent *agent, struct stow_err *err)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char text[320], other[320];
	int fd;

	fd = stow_root_openat(agent->root, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err, "%s",
			      STOW_AGENT_LOCK_PATH);
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
		if (stow_root_read_buf(agent->root, other, sizeof(other), NULL, "%s",
				       STOW_AGENT_LOCK_PATH) < 0)
			snprintf(other, sizeof(other), "?");
		other[strcspn(other, " ")] = '\0';
		close(fd);
		return stow_err_set(err, EBUSY,
				    "an agent is running already, with pid %s (it holds %s)", other,
				    STOW_AGENT_LOCK_PATH);
	}
	snprintf(text, sizeof(text), "%d %s\n", (int)getpid(), agent->config.node);
	/* An earlier version's file was for everybody to open. */
	if (fchmod(fd, 0600) < 0 || ftruncate(fd, 0) < 0 || write(fd, text, strlen(text)) < 0) {
		close(fd);
		return stow_err_sys(err, errno, "cannot write %s", STOW_AGENT_LOCK_PATH);
	}
	agent->lock_file = fd;
	return 0;
}

/* A typing error in config.yaml must not take away what only looks: then the agent observes. */
static int read_policy(struct agent *agent, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = stow_config_read_anyway(agent->root, &agent->policy, &why);

	if (r < 0)
		return stow_err_set(err, -r, "%s", why.msg);
	if (r > 0) {
		agent->policy->mode = STOW_MODE_OBSERVE;
		atomic_store(&agent->config_error, true);
		stow_say(STOW_LOG_ERR,
			 "the configuration is broken: the agent only observes, until it is "
			 "repaired "
			 "and the agent reloaded",
			 stow_why(&why));
	}
	return 0;
}

static int open_machine(struct agent *agent, const char *sysroot, struct stow_err *err)
{
	int r;

	r = stow_root_open(sysroot, &agent->root, err);
	if (r == 0)
		r = agent_watch_open(agent->root, &agent->watch, err);
	if (r == 0)
		r = take_lock(agent, err);
	if (r == 0)
		r = read_policy(agent, err);
	if (r == 0)
		r = stow_ledger_open(agent->root, true, &agent->ledger, err);
	if (r < 0)
		return r;
	if (stow_root_read_buf(agent->root, agent->boot_id, sizeof(agent->boot_id), NULL,
			       "/proc/sys/kernel/random/boot_id") < 0)
		agent->boot_id[0] = '\0';
	agent->context.root = agent->root;
	agent->context.ledger = agent->ledger;
	agent->context.config = agent->policy;
	agent->told = agent_changes(agent);
	/* Ours even on a copied tree, whose /proc does not have us. */
	agent->context.self.pid = getpid();
	(void)stow_life_read(agent->root, getpid(), &agent->context.self, NULL);
	return 0;
}

int agent_start(struct agent *agent, const char *sysroot, struct stow_err *err)
{
	int r;

	pthread_mutex_init(&agent->lock, NULL);
	pthread_mutex_init(&agent->tasks_lock, NULL);
	pb_agent_counters__init(&agent->counters);
	agent->tasks_end = &agent->tasks;
	agent->lock_file = agent->watch.ledger = agent->watch.uevent = -1;
	agent->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (agent->wake < 0)
		return stow_err_sys(err, errno, "eventfd");
	r = open_machine(agent, sysroot, err);
	if (r == 0)
		r = stow_reconcile_new(&agent->reconcile, err);
	if (r == 0)
		r = agent_source_new(&agent->context, &agent->source, err);
	if (r < 0)
		return r;
	agent_source_follow(agent->source, agent->reconcile);
	/* The first report is there before anybody can ask for it. */
	r = agent_source_report(agent->source, AGENT_LOOK_ALL, NULL, 0, &agent->current, err);
	if (r == 0)
		make_fit(agent->current);
	if (r == 0)
		r = agent_drains_new(agent, &agent_drain_ops, err);
	if (r == 0 && agent_drains_report(agent, agent->current) < 0)
		r = stow_err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = stow_rpc_loop_new(1, &agent->loop, err);
	if (r == 0)
		r = agent_local_new(agent, &agent->local, err);
	if (r == 0)
		r = agent_probe_new(agent, agent_local_path(agent->local), &agent->probe, err);
	if (r == 0 && agent->config.schedulers && agent->config.schedulers[0])
		r = agent_link_new(agent, &agent->link, err);
	return r;
}

void agent_set_policy(struct agent *agent, struct stow_config *policy)
{
	struct stow_config **more =
		reallocarray(agent->retired, agent->n_retired + 1, sizeof(*more));

	pthread_mutex_lock(&agent->lock);
	if (more) { /* else the old one is lost: better than one that is read and freed */
		agent->retired = more;
		agent->retired[agent->n_retired++] = agent->policy;
	}
	agent->policy = policy;
	agent->context.config = policy;
	pthread_mutex_unlock(&agent->lock);
}

struct stow_grant_context agent_context(struct agent *agent)
{
	struct stow_grant_context context;

	pthread_mutex_lock(&agent->lock);
	context = agent->context;
	pthread_mutex_unlock(&agent->lock);
	context.ledger = NULL;
	return context;
}

void agent_stop(struct agent *agent)
{
	struct agent_subscriber *to;

	agent->left = agent_drains_stop(agent);
	if (agent->wake >= 0)
		run_tasks(agent); /* how they ended is told, if the stream is quick enough */
	agent_link_free(agent->link);
	agent->link = NULL;
	agent_probe_free(agent->probe);
	agent->probe = NULL;
	agent_local_free(agent->local);
	if (agent->left)
		return; /* a thread uses the rest */
	if (agent->wake >= 0)
		run_tasks(agent); /* what was posted meanwhile is freed */
	while ((to = agent->subscribers)) {
		agent->subscribers = to->next;
		stow_rpc_unref(to->call);
		free(to);
	}
	stow_rpc_loop_free(agent->loop);
	agent_drains_free(agent->drains);
	agent_source_free(agent->source);
	stow_reconcile_free(agent->reconcile);
	stow_rpc_message_free(agent->current);
	free(agent->last_error);
	stow_adoption_done(&agent->found);
	stow_ledger_close_ptr(&agent->ledger);
	stow_config_free_ptr(&agent->policy);
	for (size_t i = 0; i < agent->n_retired; i++)
		stow_config_free(agent->retired[i]);
	free(agent->retired);
	agent_watch_close(&agent->watch);
	if (agent->lock_file >= 0)
		close(agent->lock_file);
	stow_root_free_ptr(&agent->root);
	if (agent->wake >= 0)
		close(agent->wake);
}
