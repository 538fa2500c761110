/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/repin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "grant/repin.h"
#include "rpc/say.h"

#define AT_ONCE	  4		      /* repins */
#define TELL_EACH UINT64_C(100000000) /* ns between two messages of progress */

/* One repin: a thread, with a ledger of its own. */
struct job {
	struct job *next;
	struct agent *agent;
	struct stow_rpc_call *call;
	pthread_t thread;
	char *id;
	struct stow_repin_options options;
	uint64_t told;
	bool begun; /* more than planned */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct job *jobs;
static bool stopping;

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
	pthread_mutex_lock(&lock);
	stop = stopping;
	pthread_mutex_unlock(&lock);
	if (stop || stow_rpc_cancelled(job->call))
		return -ECANCELED;
	if (p->step == STOW_REPIN_MOVING && now < job->told + TELL_EACH)
		return 0;
	job->told = now;
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

/* A dry run has moved nothing, and a repin that never began has nothing to take back. */
static void say_end(const struct job *job, int r, const struct stow_err *err)
{
	const char *what = job->options.dry_run ? "a repin cannot be planned"
			   : job->begun		? "a repin failed, and was taken back"
						: "a repin was refused";

	if (r < 0)
		stow_say(STOW_LOG_WARNING, what, stow_text("container", job->id), stow_why(err));
	else
		stow_say(STOW_LOG_NOTICE, job->options.dry_run ? "planned a repin" : "repinned",
			 stow_text("container", job->id));
}

static void *run(void *arg)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct job *job = arg;
	struct agent *agent = job->agent;
	struct stow_grant_context context = agent_context(agent);
	struct stow_err err = { 0 };
	int r;

	r = stow_ledger_open(context.root, false, &ledger, &err);
	if (r == 0) {
		context.ledger = ledger;
		r = stow_repin(&context, job->id, &job->options, &err);
	}
	say_end(job, r, &err);
	if (r == 0 && !job->options.dry_run) {
		pthread_mutex_lock(&agent->lock);
		agent->counters.repins++;
		pthread_mutex_unlock(&agent->lock);
	}
	stow_rpc_close(job->call, r < 0 ? &err : NULL);
	pthread_mutex_lock(&lock);
	for (struct job **at = &jobs; *at; at = &(*at)->next)
		if (*at == job) {
			*at = job->next;
			break;
		}
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	job_free(job);
	return NULL;
}

/* The whole id, when `id` is the beginning of one container's only, as podman takes ids. */
static char *whole_id(struct agent *agent, const char *id, struct stow_err *err)
{
	const char *found = NULL;
	char *copy = NULL;
	size_t n = 0;

	pthread_mutex_lock(&agent->lock);
	for (size_t i = 0; i < agent->current->n_containers; i++) {
		const char *other = agent->current->containers[i]->id;

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
	pthread_mutex_unlock(&agent->lock);
	if (n > 1)
		stow_err_set(err, EINVAL, "id: \"%.64s\" is the beginning of %zu containers", id,
			     n);
	else if (!copy)
		stow_err_set(err, ENOENT, "no container %.64s has a grant here", id);
	return copy;
}

static int start(struct job *job, struct stow_err *err)
{
	size_t n = 0;
	int r = 0;

	pthread_mutex_lock(&lock);
	for (const struct job *other = jobs; other; other = other->next) {
		n++;
		if (strcmp(other->id, job->id) == 0)
			r = stow_err_set(err, EBUSY, "container %s is being moved already",
					 job->id);
	}
	if (r == 0 && (n >= AT_ONCE || stopping))
		r = stow_err_set(err, EBUSY, "%d repins at a time", AT_ONCE);
	if (r == 0) {
		r = -pthread_create(&job->thread, NULL, run, job);
		if (r < 0)
			stow_err_sys(err, -r, "cannot start a thread");
	}
	if (r == 0) {
		pthread_detach(job->thread);
		job->next = jobs;
		jobs = job;
	}
	pthread_mutex_unlock(&lock);
	return r;
}

int agent_repin_start(struct agent *agent, struct stow_rpc_call *call,
		      const PbRepinRequest *request, struct stow_err *err)
{
	struct job *job;
	int r;

	/* A dry run changes nothing, and is allowed in every mode. */
	r = request->dry_run ? 0 : agent_check_changes(agent, err);
	if (r < 0)
		return r;
	job = calloc(1, sizeof(*job));
	if (!job)
		return stow_err_set(err, ENOMEM, "out of memory");
	job->agent = agent;
	job->call = stow_rpc_ref(call);
	job->options.batch = request->batch ? request->batch : agent->config.repin_batch;
	job->options.pause = request->pause ? request->pause : agent->config.repin_pause;
	job->options.dry_run = request->dry_run;
	job->options.progress = on_progress;
	job->options.ctx = job;
	if (request->numa_nodes[0] && strcmp(request->numa_nodes, "auto") != 0) {
		r = stow_idset_parse(request->numa_nodes, &job->options.nodes, err);
		if (r < 0)
			r = stow_err_wrap(err, r, "numa_nodes");
	}
	if (r == 0) {
		job->id = whole_id(agent, request->id, err);
		r = job->id ? start(job, err) : -err->code;
	}
	if (r < 0)
		job_free(job);
	return r;
}

void agent_repin_stop(struct agent *agent)
{
	pthread_mutex_lock(&lock);
	stopping = true;
	while (jobs)
		pthread_cond_wait(&changed, &lock);
	stopping = false;
	pthread_mutex_unlock(&lock);
}
