// SPDX-License-Identifier: Apache-2.0
/* Drains as the scheduler runs them: a whole scheduler in this process, agents and clients that are
 * played here, and a clock that is turned. tests/integration/fleet-drain.py has the whole way, and
 * restarts. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#include "clock.h"
#include "rpc/texts.h"
#include "scheduler/drain/drain_internal.h"
#include "scheduler/drain/progress.h"
#include "scheduler/fleet/message.h"
#include "whole.h"

#define WITH_WHOLE(name) TEST_WITH(name, struct whole *f, whole_set_up, whole_tear_down)

#define S  STOW_SECOND
#define GI (UINT64_C(1) << 30)

static const ProtobufCServiceDescriptor *const service = &pb_scheduler__descriptor;

static void mute(struct whole_agent *a, bool value)
{
	pthread_mutex_lock(&a->lock);
	a->mute = value;
	pthread_mutex_unlock(&a->lock);
}

/* --- a client ----------------------------------------------------------------------------------- */

struct call {
	pthread_mutex_t lock;
	struct stow_rpc_call *call;
	PbDrainStep step;
	int told;
	struct stow_err err;
	bool closed;
	char id[17], message[256];
};

static int on_progress(struct stow_rpc_call *call, void *ctx, const void *message,
		       struct stow_err *err)
{
	const PbDrainProgress *in = message;
	struct call *c = ctx;

	pthread_mutex_lock(&c->lock);
	if (!c->told) /* who reads it has seen a step */
		snprintf(c->id, sizeof(c->id), "%s", in->id);
	snprintf(c->message, sizeof(c->message), "%s", in->message);
	c->step = in->step;
	c->told++;
	pthread_mutex_unlock(&c->lock);
	return 0;
}

static void on_over(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct call *c = ctx;

	pthread_mutex_lock(&c->lock);
	c->closed = true;
	if (err)
		c->err = *err;
	pthread_mutex_unlock(&c->lock);
}

static const struct stow_rpc_stream_ops call_ops = { .message = on_progress, .closed = on_over };

static void drain(struct whole *f, struct call *c, const char *node, const char *request_id,
		  bool dry)
{
	PbDrainMemoryRequest in = PB_DRAIN_MEMORY_REQUEST__INIT;
	PbDrainSpec spec = PB_DRAIN_SPEC__INIT;

	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	spec.what_case = PB_DRAIN_SPEC__WHAT_NUMA_NODE;
	spec.numa_node = 1;
	in.node = (char *)(uintptr_t)node;
	in.spec = &spec;
	in.dry_run = dry;
	in.request_id = (char *)(uintptr_t)request_id;
	assert_int_equal(stow_rpc_client_open(f->client, service, "DrainMemory", &call_ops, c, &in,
					      STOW_RPC_NO_DEADLINE, &c->call, NULL),
			 0);
}

static bool at(struct call *c, PbDrainStep step)
{
	return LOCKED(&c->lock, c->step == step);
}

static bool over(struct call *c)
{
	return LOCKED(&c->lock, c->closed);
}

static bool says(struct call *c, const char *text)
{
	return LOCKED(&c->lock, strstr(c->message, text) != NULL);
}

static void done(struct call *c)
{
	struct stow_err err;

	stow_err_set(&err, ECANCELED, "enough");
	stow_rpc_close(c->call, &err);
	UNTIL(over(c));
	stow_rpc_unref(c->call);
	pthread_mutex_destroy(&c->lock);
}

static int cancel(struct whole *f, const char *id, struct stow_err *err)
{
	PbCancelDrainRequest in = PB_CANCEL_DRAIN_REQUEST__INIT;
	void *out = NULL;
	int r;

	in.id = (char *)(uintptr_t)id;
	r = whole_ask(f, "CancelDrain", &in, &out, err);
	stow_rpc_message_free(out);
	return r;
}

static PbListDrainsResponse *listed(struct whole *f, bool ended)
{
	PbListDrainsRequest in = PB_LIST_DRAINS_REQUEST__INIT;
	PbListDrainsResponse *out = NULL;

	in.ended = ended;
	assert_int_equal(whole_ask(f, "ListDrains", &in, (void **)&out, NULL), 0);
	return out;
}

static size_t count(struct whole *f, bool ended)
{
	PbListDrainsResponse *out = listed(f, ended);
	size_t n = out->n_drains;

	stow_rpc_message_free(out);
	return n;
}

static uint32_t machines(struct whole *f)
{
	uint32_t n;

	stow_lock_take(&f->s.fleet->lock);
	n = f->s.fleet->n_machines;
	stow_lock_give(&f->s.fleet->lock);
	return n;
}

/* Of the only drain. */
static size_t followers(struct whole *f)
{
	size_t n;

	stow_lock_take(&f->s.fleet->lock);
	n = f->s.drains->under_way[0]->n_followers;
	stow_lock_give(&f->s.fleet->lock);
	return n;
}

/* --- tests -------------------------------------------------------------------------------------- */

WITH_WHOLE(a_machine_that_does_not_plan)
{
	struct whole_agent a;
	struct call c;

	WHOLE_SET(f, stale_after, 3600 * S);
	whole_join(f, &a, "web-3");
	mute(&a, true);
	drain(f, &c, "web-3", "", false);
	UNTIL(whole_number(&a, &a.plans) == 1);
	clock_advance(200 * S); /* and what a busy machine takes */
	usleep(150000);		/* a few looks of the scheduler's clock */
	assert_false(over(&c));
	clock_advance(101 * S);
	UNTIL(over(&c));
	assert_true(at(&c, PB_DRAIN_STEP_FAILED) && says(&c, "sent no plan within 300 s"));
	UNTIL(whole_number(&a, &a.drain_cancels) == 1);
	/* A plan that comes later is ignored. */
	whole_send_plan(&a, c.id);
	whole_send_step(&a, c.id, PB_DRAIN_STEP_DONE, NULL);
	UNTIL(whole_number(&a, &a.drain_cancels) == 2);
	done(&c);
	whole_leave(&a);
}

/* A machine that is silent before its drain began does not keep others waiting; one that is silent
 * in the middle does. */
WITH_WHOLE(a_silent_machine_frees_its_slot)
{
	struct whole_agent a, b;
	struct call first, second;

	WHOLE_SET(f, max_drains, 1);
	whole_join(f, &a, "a");
	whole_join(f, &b, "b");
	mute(&a, true);
	drain(f, &first, "a", "", false);
	UNTIL(whole_number(&a, &a.plans) == 1);
	drain(f, &second, "b", "", false);
	UNTIL(says(&second, "of node a: the limit is reached"));
	whole_leave(&a);
	clock_advance(16 * S);
	whole_report(&b);
	UNTIL(at(&second, PB_DRAIN_STEP_FENCED) && whole_number(&b, &b.orders) == 1);
	UNTIL(at(&first, PB_DRAIN_STEP_WAITING) && says(&first, "of node b"));
	whole_send_step(&b, second.id, PB_DRAIN_STEP_OFFLINING, NULL);
	UNTIL(at(&second, PB_DRAIN_STEP_OFFLINING));
	whole_leave(&b);
	clock_advance(60 * S);
	whole_join(f, &a, "a");
	UNTIL(says(&first, "of node b"));
	usleep(150000);
	assert_int_equal(whole_number(&a, &a.plans), 0);
	/* An operator ends it; and nothing is left of it. */
	assert_int_equal(cancel(f, second.id, NULL), 0);
	UNTIL(over(&second));
	assert_true(at(&second, PB_DRAIN_STEP_CANCELLED) && says(&second, "is silent"));
	UNTIL(whole_number(&a, &a.orders) == 1);
	done(&first);
	done(&second);
	whole_leave(&a);
}

WITH_WHOLE(a_machine_with_drains_is_not_forgotten)
{
	struct whole_agent a;
	struct call c;

	whole_join(f, &a, "web-3");
	drain(f, &c, "web-3", "", false);
	UNTIL(whole_number(&a, &a.orders) == 1 && at(&c, PB_DRAIN_STEP_FENCED));
	whole_leave(&a);
	clock_advance(48 * 3600 * S);
	usleep(150000);
	assert_int_equal(count(f, false), 1);
	whole_stop(f);
	whole_start(f);
	usleep(150000);
	assert_int_equal(count(f, false), 1);
	assert_int_equal(machines(f), 1);
	stow_lock_take(&f->s.fleet->lock);
	assert_true(f->s.fleet->machines[0]->fenced && !f->s.fleet->machines[0]->fences);
	stow_lock_give(&f->s.fleet->lock);
	assert_int_equal(cancel(f, c.id, NULL), 0);
	/* No agent has connected since the start: its drain is not given up before it could. */
	usleep(150000);
	assert_int_equal(count(f, false), 1);
	clock_advance(16 * S);
	UNTIL(count(f, false) == 0);
	UNTIL(machines(f) == 0);
	done(&c);
}

WITH_WHOLE(what_ended_is_listed_for_a_day)
{
	struct whole_agent a;
	struct call c;

	WHOLE_SET(f, stale_after, 100 * 24 * 3600 * S);
	whole_join(f, &a, "web-3");
	drain(f, &c, "web-3", "r1", false);
	UNTIL(whole_number(&a, &a.orders) == 1 && at(&c, PB_DRAIN_STEP_FENCED));
	whole_send_step(&a, c.id, PB_DRAIN_STEP_DONE, NULL);
	UNTIL(over(&c));
	done(&c);
	clock_advance(23 * 3600 * S);
	usleep(150000);
	assert_int_equal(count(f, true), 1);
	drain(f, &c, "web-3", "r1", false);
	UNTIL(over(&c) && at(&c, PB_DRAIN_STEP_DONE));
	done(&c);
	clock_advance(2 * 3600 * S);
	UNTIL(count(f, true) == 0);
	drain(f, &c, "web-3", "r1", false); /* a new one */
	UNTIL(whole_number(&a, &a.orders) == 2);
	done(&c);
	whole_leave(&a);
	whole_stop(f);
	whole_start(f);
	assert_int_equal(count(f, true), 1);
}

WITH_WHOLE(the_number_of_followers_is_bounded)
{
	struct call calls[SCHEDULER_FOLLOWERS_MAX + 1];
	struct whole_agent a;

	whole_join(f, &a, "web-3");
	for (int i = 0; i < SCHEDULER_FOLLOWERS_MAX; i++)
		drain(f, &calls[i], "web-3", "r1", false);
	for (int i = 0; i < SCHEDULER_FOLLOWERS_MAX; i++)
		UNTIL(at(&calls[i], PB_DRAIN_STEP_FENCED));
	assert_int_equal(count(f, true), 1);
	drain(f, &calls[SCHEDULER_FOLLOWERS_MAX], "web-3", "r1", false);
	UNTIL(over(&calls[SCHEDULER_FOLLOWERS_MAX]));
	assert_int_equal(calls[SCHEDULER_FOLLOWERS_MAX].err.code, ENOSPC);
	/* One that goes makes room. */
	done(&calls[0]);
	UNTIL(followers(f) == SCHEDULER_FOLLOWERS_MAX - 1);
	drain(f, &calls[0], "web-3", "r1", false);
	UNTIL(at(&calls[0], PB_DRAIN_STEP_FENCED));
	whole_send_step(&a, calls[0].id, PB_DRAIN_STEP_FAILED, NULL);
	for (int i = 0; i <= SCHEDULER_FOLLOWERS_MAX; i++) {
		UNTIL(over(&calls[i]));
		assert_true(i == SCHEDULER_FOLLOWERS_MAX || at(&calls[i], PB_DRAIN_STEP_FAILED));
		done(&calls[i]);
	}
	whole_leave(&a);
}

WITH_WHOLE(plans_without_a_caller_are_dropped)
{
	struct call calls[SCHEDULER_TRIES_MAX + 1];
	struct whole_agent a;

	whole_join(f, &a, "web-3");
	mute(&a, true);
	for (int i = 0; i < SCHEDULER_TRIES_MAX; i++)
		drain(f, &calls[i], "web-3", "same", true);
	UNTIL(whole_number(&a, &a.plans) == SCHEDULER_TRIES_MAX);
	assert_int_equal(count(f, true), 0);
	drain(f, &calls[SCHEDULER_TRIES_MAX], "web-3", "same", true);
	UNTIL(over(&calls[SCHEDULER_TRIES_MAX]));
	assert_int_equal(calls[SCHEDULER_TRIES_MAX].err.code, ENOSPC);
	/* A dry run has no turn, and takes none. */
	done(&calls[0]);
	UNTIL(whole_number(&a, &a.drain_cancels) == 1);
	assert_int_equal(cancel(f, "", NULL), -ENOENT);
	mute(&a, false);
	drain(f, &calls[0], "web-3", "", false);
	UNTIL(whole_number(&a, &a.orders) == 1);
	whole_leave(&a);
	for (int i = 1; i < SCHEDULER_TRIES_MAX; i++) {
		UNTIL(over(&calls[i]));
		assert_true(at(&calls[i], PB_DRAIN_STEP_FAILED));
	}
	for (int i = 0; i <= SCHEDULER_TRIES_MAX; i++)
		done(&calls[i]);
	assert_int_equal(count(f, true), 1);
}

/* The answer is no more than a client takes, whatever plans there are. */
WITH_WHOLE(a_list_fits_into_an_answer)
{
	enum { N = 12 };
	PbListDrainsResponse *out;
	struct whole_agent agents[N];
	struct call calls[N];
	size_t whole = 0;

	WHOLE_SET(f, max_drains, 100);
	for (int i = 0; i < N; i++) {
		char name[16];

		snprintf(name, sizeof(name), "web-%d", i);
		whole_join(f, &agents[i], name);
		agents[i].blocks = SCHEDULER_BLOCKS_MAX;
		drain(f, &calls[i], name, "", false);
		UNTIL(whole_number(&agents[i], &agents[i].orders) == 1);
	}
	out = listed(f, false);
	assert_int_equal(out->n_drains, N);
	for (size_t i = 0; i < N; i++) {
		assert_int_equal(out->drains[i]->plan->bytes, (uint64_t)SCHEDULER_BLOCKS_MAX << 27);
		whole += out->drains[i]->plan->n_blocks == SCHEDULER_BLOCKS_MAX;
	}
	assert_true(whole > 0 && whole < N);
	assert_int_equal(out->drains[N - 1]->plan->n_blocks, SCHEDULER_BLOCKS_MAX);
	stow_rpc_message_free(out);
	for (int i = 0; i < N; i++) {
		done(&calls[i]);
		whole_leave(&agents[i]);
	}
}

WITH_WHOLE(the_beginning_of_an_id_is_enough)
{
	struct whole_agent a, b;
	struct call c, d;
	struct stow_err err;

	whole_join(f, &a, "a");
	whole_join(f, &b, "b");
	assert_int_equal(cancel(f, "", &err), -ENOENT);
	drain(f, &c, "a", "", false);
	drain(f, &d, "b", "", false);
	UNTIL(at(&c, PB_DRAIN_STEP_FENCED) && at(&d, PB_DRAIN_STEP_FENCED));
	assert_int_equal(cancel(f, "", &err), -EINVAL);
	assert_non_null(strstr(err.msg, c.id));
	assert_non_null(strstr(err.msg, d.id));
	assert_int_equal(cancel(f, "ABC", &err), -EINVAL);
	assert_int_equal(cancel(f, "00112233445566778", &err), -EINVAL);
	c.id[15] = '\0';
	assert_int_equal(cancel(f, c.id, &err), 0);
	UNTIL(whole_number(&a, &a.drain_cancels) == 1);
	assert_int_equal(whole_number(&b, &b.drain_cancels), 0);
	done(&c);
	done(&d);
	whole_leave(&a);
	whole_leave(&b);
}

/* --- what agents say ---------------------------------------------------------------------------- */

TEST(progress_is_made_fit)
{
	/* An unknown field in the progress, and one in its plan. */
	static const uint8_t bytes[] = { 0x0a, 2,    'i', '\n', 0xfa, 0x7f, 3,	 'a', 'b',
					 'c',  0x52, 5,	  0xfa, 0x7f, 2,    'x', 'y' };
	PbDrainProgress *in = pb_drain_progress__unpack(NULL, sizeof(bytes), bytes), *out;
	char *list = malloc(SCHEDULER_LIST_MAX + 8);

	assert_non_null(in);
	assert_int_equal(in->base.n_unknown_fields, 1);
	out = scheduler_progress_copy(in);
	assert_string_equal(out->id, "i?");
	assert_int_equal(out->base.n_unknown_fields, 0);
	assert_int_equal(out->plan->base.n_unknown_fields, 0);
	stow_rpc_message_free(out);
	stow_message_set_text(&in->blocks_gone, "48-50,52");
	out = scheduler_progress_copy(in);
	assert_string_equal(out->blocks_gone, "48-50,52");
	stow_rpc_message_free(out);
	stow_message_set_text(&in->blocks_gone, "48;50");
	out = scheduler_progress_copy(in);
	assert_string_equal(out->blocks_gone, "");
	stow_rpc_message_free(out);
	for (size_t i = 0; i < SCHEDULER_LIST_MAX + 7; i++)
		list[i] = "12345,"[i % 6];
	list[SCHEDULER_LIST_MAX + 7] = '\0';
	stow_message_set_text(&in->blocks_gone, list);
	out = scheduler_progress_copy(in);
	assert_true(strlen(out->blocks_gone) <= SCHEDULER_LIST_MAX &&
		    strlen(out->blocks_gone) > SCHEDULER_LIST_MAX - 6);
	assert_true(list[strlen(out->blocks_gone)] == ',');
	stow_rpc_message_free(out);
	stow_rpc_message_free(in);
	free(list);
}

/* --- this program ------------------------------------------------------------------------------- */

/* Of a scheduler with an agent and a client, in the midst of a drain. */
static void a_check_that_fails(void **state)
{
	struct whole *f = *state;
	struct whole_agent a;
	struct call c;

	whole_join(f, &a, "web-3");
	drain(f, &c, "web-3", "", false);
	UNTIL(at(&c, PB_DRAIN_STEP_FENCED));
	assert_int_equal(whole_number(&a, &a.plans), 77);
}

TEST(a_failed_check_ends_the_program)
{
	char *argv[] = { (char *)"test_drain_fleet", (char *)"--fail", NULL };
	posix_spawn_file_actions_t quiet;
	int status;
	pid_t pid;

	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &quiet, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&quiet);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static int run_a_check_that_fails(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_check_that_fails, whole_set_up, whole_tear_down),
	};
	static const struct rlimit no_core = { 0, 0 };

	setrlimit(RLIMIT_CORE, &no_core);
	alarm(600); /* instead of a hang */
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--fail") == 0)
		return run_a_check_that_fails();
	return unit_run(NULL, NULL);
}
