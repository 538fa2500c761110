/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/repin.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "grant/repin.h"
#include "rpc/log.h"

#define AT_ONCE	    4			     /* repins at a time */
#define NOTIFY_EACH (100 * STOW_MILLISECOND) /* ns between two messages of progress */

/* A repin: a thread with a ledger handle of its own. */
struct job {
	struct job *next;
	struct agent_repins *repins;
	struct stow_rpc_call *call;
	pthread_t thread;
	char *id;
	struct stow_repin_options options;
	uint64_t notified;
	bool begun; /* went beyond planning */
};

struct agent_repins {
	struct agent_policy *policy;
	struct agent_publisher *publisher;

	pthread_mutex_t lock; /* for all fields below */
	pthread_cond_t changed;
	struct job *jobs;
	bool stopping;
};

static const PbRepinStep steps[] = {
	[STOW_REPIN_PLANNED] = PB_REPIN_STEP_PLANNED,
	[STOW_REPIN_WIDENED] = PB_REPIN_STEP_WIDENED,
	[STOW_REPIN_MOVING] = PB_REPIN_STEP_MOVING,
	[STOW_REPIN_NARROWED] = PB_REPIN_STEP_NARROWED,
	[STOW_REPIN_VERIFIED] = PB_REPIN_STEP_VERIFIED,
};

static int on_progress(void *ctx, const struct stow_repin_progress *p)
{
	PbRepinProgress out = PB_REPIN_PROGRESS__INIT;
	char from[1024], to[1024], cpus[4096];
	struct job *job = ctx;
	uint64_t now = stow_clock_monotonic();
	bool stop;

	job->begun |= p->step != STOW_REPIN_PLANNED;
	pthread_mutex_lock(&job->repins->lock);
	stop = job->repins->stopping;
	pthread_mutex_unlock(&job->repins->lock);
	if (stop || stow_rpc_cancelled(job->call))
		return -ECANCELED;
	if (p->step == STOW_REPIN_MOVING && now < job->notified + NOTIFY_EACH)
		return 0;
	job->notified = now;
	out.step = steps[p->step];
	out.from = (char *)(uintptr_t)stow_idset_format(&p->from, from, sizeof(from));
	out.to = (char *)(uintptr_t)stow_idset_format(&p->to, to, sizeof(to));
	out.cpus = (char *)(uintptr_t)stow_idset_format(&p->cpus, cpus, sizeof(cpus));
	out.total = p->total;
	out.moved = p->moved;
	out.failed = p->failed;
	out.longest_batch = p->longest;
	out.left_mapped = p->left_mapped;
	out.left_unmapped = p->left_unmapped;
	out.message = (char *)(uintptr_t)(p->message ? p->message : "");
	stow_rpc_send(job->call, &out);
	return 0;
}

static void job_free(struct job *job)
{
	stow_rpc_unref(job->call);
	free(job->id);
	free(job);
}

/* Log the outcome. A dry run, or a repin that never began, has nothing to undo. */
static void log_end(const struct job *job, int r, const struct stow_err *err)
{
	const char *what = job->options.dry_run ? "a repin cannot be planned"
			   : job->begun		? "a repin failed, and was undone"
						: "a repin was refused";

	if (r < 0)
		stow_log(STOW_LOG_WARNING, what, stow_text("container", job->id), stow_why(err));
	else
		stow_log(STOW_LOG_NOTICE, job->options.dry_run ? "planned a repin" : "repinned",
			 stow_text("container", job->id));
}

static void *run(void *arg)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct job *job = arg;
	struct agent_repins *repins = job->repins;
	struct stow_grant_context context = agent_policy_context(repins->policy);
	struct stow_err err = { 0 };
	int r;

	r = stow_ledger_open(context.root, false, &ledger, &err);
	if (r == 0) {
		context.ledger = ledger;
		r = stow_repin(&context, job->id, &job->options, &err);
	}
	log_end(job, r, &err);
	if (r == 0 && !job->options.dry_run)
		agent_publisher_count(repins->publisher, AGENT_COUNT_REPINS, 1);
	stow_rpc_close(job->call, r < 0 ? &err : NULL);
	pthread_mutex_lock(&repins->lock);
	for (struct job **at = &repins->jobs; *at; at = &(*at)->next)
		if (*at == job) {
			*at = job->next;
			break;
		}
	job_free(job);
	pthread_cond_broadcast(&repins->changed);
	pthread_mutex_unlock(&repins->lock); /* after this the repins may be freed */
	return NULL;
}

/* Return the full id, if `id` is an unambiguous prefix of a container's id, as in Podman. */
static char *whole_id(struct agent_publisher *publisher, const char *id, struct stow_err *err)
{
	struct agent_published published;
	const char *found = NULL;
	char *copy = NULL;
	size_t n = 0;

	agent_publisher_borrow(publisher, &published);
	for (size_t i = 0; i < published.report->n_containers; i++) {
		const char *other = published.report->containers[i]->id;

		if (strcmp(other, id) == 0) {
			found = other;
			n = 1;
			break;
		}
		if (id[0] && strncmp(other, id, strlen(id)) == 0) {
			found = other;
			n++;
		}
	}
	if (n == 1)
		copy = strdup(found);
	agent_publisher_return(publisher);
	if (n > 1)
		stow_err_set(err, EINVAL, "id: \"%.64s\" is a prefix of %zu containers", id, n);
	else if (!copy)
		stow_err_set(err, ENOENT, "no container %.64s has a grant on this machine", id);
	return copy;
}

static int start(struct job *job, struct stow_err *err)
{
	struct agent_repins *repins = job->repins;
	size_t n = 0;
	int r = 0;

	pthread_mutex_lock(&repins->lock);
	for (const struct job *other = repins->jobs; other; other = other->next) {
		n++;
		if (strcmp(other->id, job->id) == 0)
			r = stow_err_set(err, EBUSY, "container %s is being repinned already",
					 job->id);
	}
	if (r == 0 && (n >= AT_ONCE || repins->stopping))
		r = stow_err_set(err, EBUSY, "%d repins at a time", AT_ONCE);
	if (r == 0) {
		r = -pthread_create(&job->thread, NULL, run, job);
		if (r < 0)
			stow_err_sys(err, -r, "cannot start a thread");
	}
	if (r == 0) {
		pthread_detach(job->thread);
		job->next = repins->jobs;
		repins->jobs = job;
	}
	pthread_mutex_unlock(&repins->lock);
	return r;
}

int agent_repin_start(struct agent_repins *repins, struct stow_rpc_call *call,
		      const PbRepinRequest *request, struct stow_err *err)
{
	struct agent_policy_limits limits = agent_policy_limits(repins->policy);
	struct job *job;
	int r;

	/* A dry run changes nothing, and is allowed in every mode. */
	r = request->dry_run ? 0 : agent_policy_check_changes(repins->policy, err);
	if (r < 0)
		return r;
	job = calloc(1, sizeof(*job));
	if (!job)
		return stow_err_set(err, ENOMEM, "out of memory");
	job->repins = repins;
	job->call = stow_rpc_ref(call);
	job->options.batch = request->batch ? request->batch : limits.repin_batch;
	job->options.pause = request->pause ? request->pause : limits.repin_pause;
	job->options.dry_run = request->dry_run;
	job->options.progress = on_progress;
	job->options.ctx = job;
	if (request->numa_nodes[0] && strcmp(request->numa_nodes, "auto") != 0) {
		r = stow_idset_parse(request->numa_nodes, &job->options.nodes, err);
		if (r < 0)
			r = stow_err_wrap(err, r, "numa_nodes");
	}
	if (r == 0) {
		job->id = whole_id(repins->publisher, request->id, err);
		r = job->id ? start(job, err) : -err->code;
	}
	if (r < 0)
		job_free(job);
	return r;
}

/* --- start and end -------------------------------------------------------- */

/* With the lock held. */
static void wait_for_all(struct agent_repins *repins)
{
	repins->stopping = true;
	while (repins->jobs)
		pthread_cond_wait(&repins->changed, &repins->lock);
}

void agent_repin_cancel_all(struct agent_repins *repins)
{
	pthread_mutex_lock(&repins->lock);
	wait_for_all(repins);
	repins->stopping = false;
	pthread_mutex_unlock(&repins->lock);
}

int agent_repin_new(struct agent_policy *policy, struct agent_publisher *publisher,
		    struct agent_repins **ret, struct stow_err *err)
{
	struct agent_repins *repins = calloc(1, sizeof(*repins));

	if (!repins)
		return stow_err_set(err, ENOMEM, "out of memory");
	repins->policy = policy;
	repins->publisher = publisher;
	pthread_mutex_init(&repins->lock, NULL);
	pthread_cond_init(&repins->changed, NULL);
	*ret = repins;
	return 0;
}

void agent_repin_free(struct agent_repins *repins)
{
	if (!repins)
		return;
	pthread_mutex_lock(&repins->lock);
	wait_for_all(repins);
	pthread_mutex_unlock(&repins->lock);
	pthread_cond_destroy(&repins->changed);
	pthread_mutex_destroy(&repins->lock);
	free(repins);
}
