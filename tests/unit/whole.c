// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "whole.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "rpc/log.h"

END_WHEN_A_CHECK_FAILS

#define S  STOW_SECOND
#define GI (UINT64_C(1) << 30)

/* --- the wall clock ----------------------------------------------------------------------------- */

static _Atomic time_t wall_ahead;

int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, id, ret);

	if (id == CLOCK_REALTIME)
		ret->tv_sec += atomic_load(&wall_ahead);
	return r;
}

void whole_wall_ahead(time_t seconds)
{
	atomic_store(&wall_ahead, seconds);
}

/* --- the scheduler ------------------------------------------------------------------------------ */

void whole_start(struct whole *w)
{
	struct stow_rpc_client_options options = { 0 };
	struct stow_err err = { 0 };
	char target[64];

	memset(&w->s, 0, sizeof(w->s));
	scheduler_config_defaults(&w->s.config);
	free(w->s.config.listen);
	free(w->s.config.data);
	w->s.config.listen = strdup("127.0.0.1:0");
	w->s.config.data = strdup(w->dir);
	w->s.config.confirm_within = 600 * S; /* the machine may be busy */
	if (scheduler_start(&w->s, &err) < 0 || scheduler_activate(&w->s, &err) < 0)
		fail_msg("%s", err.msg);
	snprintf(target, sizeof(target), "127.0.0.1:%d", w->s.port);
	options.target = target;
	assert_int_equal(stow_rpc_loop_new(2, &w->loop, NULL), 0);
	assert_int_equal(stow_rpc_client_new(w->loop, &options, &w->client, NULL), 0);
}

void whole_stop(struct whole *w)
{
	stow_rpc_client_free(w->client);
	scheduler_stop(&w->s);
	stow_rpc_loop_free(w->loop);
	scheduler_config_done(&w->s.config);
}

int whole_set_up(void **state)
{
	struct whole *w = calloc(1, sizeof(*w));

	stow_log_configure(STOW_LOG_ERR, STOW_LOG_TEXT);
	strcpy(w->dir, "/tmp/numastow-unit.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	whole_start(w);
	*state = w;
	return 0;
}

int whole_tear_down(void **state)
{
	struct whole *w = *state;

	whole_stop(w);
	whole_remove_store(w->dir);
	free(w);
	return 0;
}

void whole_remove_store(const char *dir)
{
	static const char *const files[] = { "scheduler.db", "scheduler.db-wal",
					     "scheduler.db-shm" };
	char path[128];

	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(dir), 0);
}

int whole_ask(struct whole *w, const char *method, const void *request, void **ret,
	      struct stow_err *err)
{
	return stow_rpc_client_call(w->client, &pb_scheduler__descriptor, method, request, 600 * S,
				    ret, err);
}

/* --- an agent ----------------------------------------------------------------------------------- */

void whole_send_step(struct whole_agent *a, const char *id, PbDrainStep step, PbDrainPlan *plan)
{
	PbDrainProgress progress = PB_DRAIN_PROGRESS__INIT;
	PbReportRequest out = PB_REPORT_REQUEST__INIT;

	progress.id = (char *)(uintptr_t)id;
	progress.step = step;
	progress.plan = plan;
	out.kind_case = PB_REPORT_REQUEST__KIND_DRAIN;
	out.drain = &progress;
	stow_rpc_send(a->call, &out);
}

void whole_send_plan(struct whole_agent *a, const char *id)
{
	PbDrainBlock *blocks = calloc((size_t)a->blocks, sizeof(*blocks)), **list;
	PbDrainPlan plan = PB_DRAIN_PLAN__INIT;

	list = calloc((size_t)a->blocks, sizeof(*list));
	for (int i = 0; i < a->blocks; i++) {
		pb_drain_block__init(&blocks[i]);
		blocks[i].id = (uint64_t)i + 1000000;
		blocks[i].zone = (char *)"Movable";
		list[i] = &blocks[i];
	}
	plan.blocks = list;
	plan.n_blocks = (size_t)a->blocks;
	plan.bytes = (uint64_t)a->blocks << 27;
	plan.numa_node = 1;
	whole_send_step(a, id, PB_DRAIN_STEP_PLANNED, &plan);
	free(blocks);
	free(list);
}

void whole_hold(struct whole_agent *a, const char *id)
{
	snprintf(a->ids[a->n_ids++], sizeof(a->ids[0]), "%s", id);
}

void whole_let_go(struct whole_agent *a, const char *id)
{
	for (int i = 0; i < a->n_ids; i++)
		if (strcmp(a->ids[i], id) == 0)
			memmove(a->ids[i], a->ids[--a->n_ids], sizeof(a->ids[0]));
}

static void reserve(struct whole_agent *a, const char *id, PbDirectiveResult *result)
{
	a->reserves++;
	if (!a->refuses) {
		whole_hold(a, id);
		return;
	}
	result->code = stow_status_of_errno(ENOSPC);
	result->message = (char *)"no room here";
}

static int on_directive(struct stow_rpc_call *call, void *ctx, const void *message,
			struct stow_err *err)
{
	PbReportRequest out = PB_REPORT_REQUEST__INIT;
	PbDirectiveResult result = PB_DIRECTIVE_RESULT__INIT;
	const PbDirective *in = message;
	struct whole_agent *a = ctx;
	bool answers, plans = false;

	pthread_mutex_lock(&a->lock);
	result.directive = in->id;
	answers = !a->silent;
	a->welcomes += in->kind_case == PB_DIRECTIVE__KIND_WELCOME;
	a->fences += in->kind_case == PB_DIRECTIVE__KIND_FENCE;
	a->drain_cancels += in->kind_case == PB_DIRECTIVE__KIND_CANCEL_DRAIN;
	if (in->kind_case == PB_DIRECTIVE__KIND_RESERVE)
		reserve(a, in->reserve->id, &result);
	if (in->kind_case == PB_DIRECTIVE__KIND_CANCEL) {
		a->cancels++;
		whole_let_go(a, in->cancel->id);
	}
	if (in->kind_case == PB_DIRECTIVE__KIND_DRAIN) {
		a->plans += in->drain->plan;
		a->orders += !in->drain->plan;
		plans = in->drain->plan && !a->mute;
	}
	pthread_mutex_unlock(&a->lock);
	out.kind_case = PB_REPORT_REQUEST__KIND_RESULT;
	out.result = &result;
	if (answers)
		stow_rpc_send(call, &out);
	if (plans)
		whole_send_plan(a, in->drain->id);
	return 0;
}

static void on_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct whole_agent *a = ctx;

	pthread_mutex_lock(&a->lock);
	a->closed = true;
	pthread_mutex_unlock(&a->lock);
}

static const struct stow_rpc_stream_ops agent_ops = { .message = on_directive,
						      .closed = on_closed };

int whole_number(struct whole_agent *a, const int *value)
{
	return LOCKED(&a->lock, *value);
}

void whole_report(struct whole_agent *a)
{
	PbReportRequest out = PB_REPORT_REQUEST__INIT;

	out.kind_case = PB_REPORT_REQUEST__KIND_REPORT;
	out.report = &a->report.message;
	assert_int_equal(stow_rpc_send(a->call, &out), 0);
	a->report.message.sequence++;
}

void whole_join(struct whole *w, struct whole_agent *a, const char *name)
{
	memset(a, 0, sizeof(*a));
	pthread_mutex_init(&a->lock, NULL);
	a->blocks = 8;
	report_init(&a->report, name, 2, 8, 16 * GI);
	assert_int_equal(stow_rpc_client_open(w->client, &pb_scheduler__descriptor, "Report",
					      &agent_ops, a, NULL, STOW_RPC_NO_DEADLINE, &a->call,
					      NULL),
			 0);
	whole_report(a);
	UNTIL(whole_number(a, &a->welcomes) == 1);
}

void whole_leave(struct whole_agent *a)
{
	struct stow_err err;

	stow_err_set(&err, ECANCELED, "the agent leaves");
	stow_rpc_close(a->call, &err);
	UNTIL(LOCKED(&a->lock, a->closed));
	stow_rpc_unref(a->call);
	pthread_mutex_destroy(&a->lock);
}
