// SPDX-License-Identifier: Apache-2.0
/* Drains as the scheduler runs them: a whole scheduler in this process, agents and clients that are
 * played here, and a clock that is turned. tests/integration/fleet-drain.py has the whole way, and
 * restarts. */
#include "unit.h"

#include <numastow/v1/scheduler.pb-c.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "clock.h"
#include "report.h"
#include "rpc/log.h"
#include "rpc/texts.h"
#include "scheduler/drain/drain_internal.h"
#include "scheduler/drain/progress.h"
#include "scheduler/fleet/message.h"
#include "scheduler/scheduler.h"

#define S	 UINT64_C(1000000000)
#define GI	 (UINT64_C(1) << 30)
#define PATIENCE 2000 /* looks, 10 ms apart */

static const ProtobufCServiceDescriptor *const service = &pb_scheduler__descriptor;

#define UNTIL(what)                                            \
	do {                                                   \
		int left = PATIENCE;                           \
		while (!(what) && left--)                      \
			usleep(10000);                         \
		if (!(what))                                   \
			fail_msg("waited in vain for " #what); \
	} while (0)

/* --- the scheduler ------------------------------------------------------------------------------ */

struct fixture {
	struct scheduler s;
	struct stow_rpc_loop *loop;
	struct stow_rpc_client *client;
	char dir[64];
};

static void start(struct fixture *f)
{
	struct stow_rpc_client_options options = { 0 };
	struct stow_err err = { 0 };
	char target[64];

	memset(&f->s, 0, sizeof(f->s));
	scheduler_config_defaults(&f->s.config);
	free(f->s.config.listen);
	free(f->s.config.data);
	f->s.config.listen = strdup("127.0.0.1:0");
	f->s.config.data = strdup(f->dir);
	if (scheduler_start(&f->s, &err) < 0 || scheduler_activate(&f->s, &err) < 0)
		fail_msg("%s", err.msg);
	snprintf(target, sizeof(target), "127.0.0.1:%d", f->s.port);
	options.target = target;
	assert_int_equal(stow_rpc_loop_new(2, &f->loop, NULL), 0);
	assert_int_equal(stow_rpc_client_new(f->loop, &options, &f->client, NULL), 0);
}

/* As a reload would. */
#define SETTING(f, key, value)                       \
	do {                                         \
		stow_lock_take(&(f)->s.fleet->lock); \
		(f)->s.config.key = value;           \
		stow_lock_give(&(f)->s.fleet->lock); \
	} while (0)

static void stop(struct fixture *f)
{
	stow_rpc_client_free(f->client);
	scheduler_stop(&f->s);
	stow_rpc_loop_free(f->loop);
	scheduler_config_done(&f->s.config);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	stow_log_configure(STOW_LOG_ERR, STOW_LOG_TEXT);
	strcpy(f->dir, "/tmp/test_drain_fleet.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	start(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const files[] = { "scheduler.db", "scheduler.db-wal",
					     "scheduler.db-shm" };
	struct fixture *f = *state;
	char path[128];

	stop(f);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, files[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static int ask(struct fixture *f, const char *method, const void *request, void **ret,
	       struct stow_err *err)
{
	return stow_rpc_client_call(f->client, service, method, request, 20 * S, ret, err);
}

/* --- an agent ----------------------------------------------------------------------------------- */

struct agent {
	pthread_mutex_t lock;
	struct report report;
	struct stow_rpc_call *call;
	int welcomes, plans, orders, cancels, blocks;
	bool mute, closed;
	char id[17]; /* of the last order */
};

static void say(struct agent *a, const char *id, PbDrainStep step, PbDrainPlan *plan)
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

static void say_plan(struct agent *a, const char *id)
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
	say(a, id, PB_DRAIN_STEP_PLANNED, &plan);
	free(blocks);
	free(list);
}

static int on_directive(struct stow_rpc_call *call, void *ctx, const void *message,
			struct stow_err *err)
{
	PbReportRequest out = PB_REPORT_REQUEST__INIT;
	PbDirectiveResult result = PB_DIRECTIVE_RESULT__INIT;
	const PbDirective *in = message;
	struct agent *a = ctx;
	bool plans = false;

	pthread_mutex_lock(&a->lock);
	a->welcomes += in->kind_case == PB_DIRECTIVE__KIND_WELCOME;
	a->cancels += in->kind_case == PB_DIRECTIVE__KIND_CANCEL_DRAIN;
	if (in->kind_case == PB_DIRECTIVE__KIND_DRAIN) {
		a->plans += in->drain->plan;
		a->orders += !in->drain->plan;
		plans = in->drain->plan && !a->mute;
		snprintf(a->id, sizeof(a->id), "%s", in->drain->id);
	}
	pthread_mutex_unlock(&a->lock);
	result.directive = in->id;
	out.kind_case = PB_REPORT_REQUEST__KIND_RESULT;
	out.result = &result;
	stow_rpc_send(call, &out);
	if (plans)
		say_plan(a, in->drain->id);
	return 0;
}

static void on_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct agent *a = ctx;

	pthread_mutex_lock(&a->lock);
	a->closed = true;
	pthread_mutex_unlock(&a->lock);
}

static const struct stow_rpc_stream_ops agent_ops = { .message = on_directive,
						      .closed = on_closed };

static int number(struct agent *a, const int *value)
{
	int n;

	pthread_mutex_lock(&a->lock);
	n = *value;
	pthread_mutex_unlock(&a->lock);
	return n;
}

static void mute(struct agent *a, bool value)
{
	pthread_mutex_lock(&a->lock);
	a->mute = value;
	pthread_mutex_unlock(&a->lock);
}

static void report(struct agent *a)
{
	PbReportRequest out = PB_REPORT_REQUEST__INIT;

	out.kind_case = PB_REPORT_REQUEST__KIND_REPORT;
	out.report = &a->report.message;
	assert_int_equal(stow_rpc_send(a->call, &out), 0);
	a->report.message.sequence++;
}

static void join(struct fixture *f, struct agent *a, const char *name, const char *domain)
{
	memset(a, 0, sizeof(*a));
	pthread_mutex_init(&a->lock, NULL);
	a->blocks = 8;
	report_init(&a->report, name, 2, 8, 16 * GI);
	a->report.message.failure_domain = (char *)(uintptr_t)domain;
	assert_int_equal(stow_rpc_client_open(f->client, service, "Report", &agent_ops, a, NULL,
					      STOW_RPC_NO_DEADLINE, &a->call, NULL),
			 0);
	report(a);
	UNTIL(number(a, &a->welcomes) == 1);
}

static bool is_closed(struct agent *a)
{
	bool closed;

	pthread_mutex_lock(&a->lock);
	closed = a->closed;
	pthread_mutex_unlock(&a->lock);
	return closed;
}

static void leave(struct agent *a)
{
	struct stow_err err;

	stow_err_set(&err, ECANCELED, "the agent leaves");
	stow_rpc_close(a->call, &err);
	UNTIL(is_closed(a));
	stow_rpc_unref(a->call);
	pthread_mutex_destroy(&a->lock);
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

static void drain(struct fixture *f, struct call *c, const char *node, const char *request_id,
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
	bool is;

	pthread_mutex_lock(&c->lock);
	is = c->step == step;
	pthread_mutex_unlock(&c->lock);
	return is;
}

static bool over(struct call *c)
{
	bool is;

	pthread_mutex_lock(&c->lock);
	is = c->closed;
	pthread_mutex_unlock(&c->lock);
	return is;
}

static bool says(struct call *c, const char *text)
{
	bool is;

	pthread_mutex_lock(&c->lock);
	is = strstr(c->message, text) != NULL;
	pthread_mutex_unlock(&c->lock);
	return is;
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

static int cancel(struct fixture *f, const char *id, struct stow_err *err)
{
	PbCancelDrainRequest in = PB_CANCEL_DRAIN_REQUEST__INIT;
	void *out = NULL;
	int r;

	in.id = (char *)(uintptr_t)id;
	r = ask(f, "CancelDrain", &in, &out, err);
	stow_rpc_message_free(out);
	return r;
}

static PbListDrainsResponse *listed(struct fixture *f, bool ended)
{
	PbListDrainsRequest in = PB_LIST_DRAINS_REQUEST__INIT;
	PbListDrainsResponse *out = NULL;

	in.ended = ended;
	assert_int_equal(ask(f, "ListDrains", &in, (void **)&out, NULL), 0);
	return out;
}

static size_t count(struct fixture *f, bool ended)
{
	PbListDrainsResponse *out = listed(f, ended);
	size_t n = out->n_drains;

	stow_rpc_message_free(out);
	return n;
}

static uint32_t machines(struct fixture *f)
{
	uint32_t n;

	stow_lock_take(&f->s.fleet->lock);
	n = f->s.fleet->n_machines;
	stow_lock_give(&f->s.fleet->lock);
	return n;
}

/* Of the only drain. */
static size_t followers(struct fixture *f)
{
	size_t n;

	stow_lock_take(&f->s.fleet->lock);
	n = f->s.drains->under_way[0]->n_followers;
	stow_lock_give(&f->s.fleet->lock);
	return n;
}

/* --- tests -------------------------------------------------------------------------------------- */

static void a_machine_that_does_not_plan(void **state)
{
	struct fixture *f = *state;
	struct agent a;
	struct call c;

	SETTING(f, stale_after, 3600 * S);
	join(f, &a, "web-3", "");
	mute(&a, true);
	drain(f, &c, "web-3", "", false);
	UNTIL(number(&a, &a.plans) == 1);
	clock_advance(299 * S);
	usleep(150000); /* a few looks of the scheduler's clock */
	assert_false(over(&c));
	clock_advance(2 * S);
	UNTIL(over(&c));
	assert_true(at(&c, PB_DRAIN_STEP_FAILED) && says(&c, "sent no plan within 300 s"));
	UNTIL(number(&a, &a.cancels) == 1);
	/* What it says then is nobody's business any more. */
	say_plan(&a, c.id);
	say(&a, c.id, PB_DRAIN_STEP_DONE, NULL);
	UNTIL(number(&a, &a.cancels) == 2);
	done(&c);
	leave(&a);
}

/* Who is gone before anything was done keeps nobody waiting; who is gone in the middle does. */
static void a_silent_machine_gives_its_turn_back(void **state)
{
	struct fixture *f = *state;
	struct agent a, b;
	struct call first, second;

	SETTING(f, max_drains, 1);
	join(f, &a, "a", "");
	join(f, &b, "b", "");
	mute(&a, true);
	drain(f, &first, "a", "", false);
	UNTIL(number(&a, &a.plans) == 1);
	drain(f, &second, "b", "", false);
	UNTIL(says(&second, "of node a: the limit is reached"));
	leave(&a);
	clock_advance(16 * S);
	report(&b);
	UNTIL(at(&second, PB_DRAIN_STEP_FENCED) && number(&b, &b.orders) == 1);
	UNTIL(at(&first, PB_DRAIN_STEP_WAITING) && says(&first, "of node b"));
	say(&b, second.id, PB_DRAIN_STEP_OFFLINING, NULL);
	UNTIL(at(&second, PB_DRAIN_STEP_OFFLINING));
	leave(&b);
	clock_advance(60 * S);
	join(f, &a, "a", "");
	UNTIL(says(&first, "of node b"));
	usleep(150000);
	assert_int_equal(number(&a, &a.plans), 0);
	/* An operator ends it; and nothing is left of it. */
	assert_int_equal(cancel(f, second.id, NULL), 0);
	UNTIL(over(&second));
	assert_true(at(&second, PB_DRAIN_STEP_CANCELLED) && says(&second, "is silent"));
	UNTIL(number(&a, &a.orders) == 1);
	done(&first);
	done(&second);
	leave(&a);
}

static void a_machine_with_drains_is_not_forgotten(void **state)
{
	struct fixture *f = *state;
	struct agent a;
	struct call c;

	join(f, &a, "web-3", "");
	drain(f, &c, "web-3", "", false);
	UNTIL(number(&a, &a.orders) == 1 && at(&c, PB_DRAIN_STEP_FENCED));
	leave(&a);
	clock_advance(48 * 3600 * S);
	usleep(150000);
	assert_int_equal(count(f, false), 1);
	stop(f);
	start(f);
	usleep(150000);
	assert_int_equal(count(f, false), 1);
	assert_int_equal(machines(f), 1);
	stow_lock_take(&f->s.fleet->lock);
	assert_true(f->s.fleet->machines[0]->fenced && !f->s.fleet->machines[0]->fences);
	stow_lock_give(&f->s.fleet->lock);
	assert_int_equal(cancel(f, c.id, NULL), 0);
	/* Nobody has been heard of since the start: not given up before that may be. */
	usleep(150000);
	assert_int_equal(count(f, false), 1);
	clock_advance(16 * S);
	UNTIL(count(f, false) == 0);
	UNTIL(machines(f) == 0);
	done(&c);
}

static void what_ended_is_listed_for_a_day(void **state)
{
	struct fixture *f = *state;
	struct agent a;
	struct call c;

	SETTING(f, stale_after, 100 * 24 * 3600 * S);
	join(f, &a, "web-3", "");
	drain(f, &c, "web-3", "r1", false);
	UNTIL(number(&a, &a.orders) == 1 && at(&c, PB_DRAIN_STEP_FENCED));
	say(&a, c.id, PB_DRAIN_STEP_DONE, NULL);
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
	UNTIL(number(&a, &a.orders) == 2);
	done(&c);
	leave(&a);
	stop(f);
	start(f);
	assert_int_equal(count(f, true), 1);
}

static void who_may_follow_is_bounded(void **state)
{
	struct call calls[SCHEDULER_FOLLOWERS_MAX + 1];
	struct fixture *f = *state;
	struct agent a;

	join(f, &a, "web-3", "");
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
	say(&a, calls[0].id, PB_DRAIN_STEP_FAILED, NULL);
	for (int i = 0; i <= SCHEDULER_FOLLOWERS_MAX; i++) {
		UNTIL(over(&calls[i]));
		assert_true(i == SCHEDULER_FOLLOWERS_MAX || at(&calls[i], PB_DRAIN_STEP_FAILED));
		done(&calls[i]);
	}
	leave(&a);
}

static void plans_for_nobody_are_dropped(void **state)
{
	struct call calls[SCHEDULER_TRIES_MAX + 1];
	struct fixture *f = *state;
	struct agent a;

	join(f, &a, "web-3", "");
	mute(&a, true);
	for (int i = 0; i < SCHEDULER_TRIES_MAX; i++)
		drain(f, &calls[i], "web-3", "same", true);
	UNTIL(number(&a, &a.plans) == SCHEDULER_TRIES_MAX);
	assert_int_equal(count(f, true), 0);
	drain(f, &calls[SCHEDULER_TRIES_MAX], "web-3", "same", true);
	UNTIL(over(&calls[SCHEDULER_TRIES_MAX]));
	assert_int_equal(calls[SCHEDULER_TRIES_MAX].err.code, ENOSPC);
	/* A dry run has no turn, and takes none. */
	done(&calls[0]);
	UNTIL(number(&a, &a.cancels) == 1);
	assert_int_equal(cancel(f, "", NULL), -ENOENT);
	mute(&a, false);
	drain(f, &calls[0], "web-3", "", false);
	UNTIL(number(&a, &a.orders) == 1);
	leave(&a);
	for (int i = 1; i < SCHEDULER_TRIES_MAX; i++) {
		UNTIL(over(&calls[i]));
		assert_true(at(&calls[i], PB_DRAIN_STEP_FAILED));
	}
	for (int i = 0; i <= SCHEDULER_TRIES_MAX; i++)
		done(&calls[i]);
	assert_int_equal(count(f, true), 1);
}

/* The answer is no more than a client takes, whatever plans there are. */
static void a_list_fits_into_an_answer(void **state)
{
	enum { N = 12 };
	PbListDrainsResponse *out;
	struct fixture *f = *state;
	struct agent agents[N];
	struct call calls[N];
	size_t whole = 0;

	SETTING(f, max_drains, 100);
	for (int i = 0; i < N; i++) {
		char name[16];

		snprintf(name, sizeof(name), "web-%d", i);
		join(f, &agents[i], name, "");
		agents[i].blocks = SCHEDULER_BLOCKS_MAX;
		drain(f, &calls[i], name, "", false);
		UNTIL(number(&agents[i], &agents[i].orders) == 1);
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
		leave(&agents[i]);
	}
}

static void the_beginning_of_an_id_is_enough(void **state)
{
	struct fixture *f = *state;
	struct agent a, b;
	struct call c, d;
	struct stow_err err;

	join(f, &a, "a", "");
	join(f, &b, "b", "");
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
	UNTIL(number(&a, &a.cancels) == 1);
	assert_int_equal(number(&b, &b.cancels), 0);
	done(&c);
	done(&d);
	leave(&a);
	leave(&b);
}

/* --- what agents say ---------------------------------------------------------------------------- */

static void texts_are_made_fit(void **state)
{
	static const struct {
		const char *in, *out;
		size_t most;
	} cases[] = {
		{ "plain", "plain", 10 },
		{ "a\nb\tc\x7f", "a?b?c?", 10 },
		{ "\x1b[2J", "?[2J", 10 },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", 10 },
		{ "\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x82\xac\xf0\x9f\x98\x80", 10 },
		{ "\xc2\x9b", "??", 10 },		 /* U+009B, a terminal's CSI */
		{ "\xc0\xaf\xc1\x81", "????", 10 },	 /* overlong */
		{ "\xe0\x80\xaf", "???", 10 },		 /* overlong */
		{ "\xed\xa0\x80", "???", 10 },		 /* a surrogate */
		{ "\xf4\x90\x80\x80", "????", 10 },	 /* above U+10FFFF */
		{ "\xf8\x88\x80\x80\x80", "?????", 10 }, /* five bytes */
		{ "\xe2\x82", "??", 10 },		 /* cut */
		{ "x\xff", "x?", 10 },
		{ "abcdef", "abc", 3 },
		{ "ab\xe2\x82\xac", "ab", 4 }, /* not in the middle of one */
		{ "ab\xe2\x82\xac", "ab\xe2\x82\xac", 5 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char text[16];

		strcpy(text, cases[i].in);
		stow_text_clean(text, cases[i].most);
		assert_string_equal(text, cases[i].out);
	}
}

static void progress_is_made_fit(void **state)
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_machine_that_does_not_plan),
		TEST(a_silent_machine_gives_its_turn_back),
		TEST(a_machine_with_drains_is_not_forgotten),
		TEST(what_ended_is_listed_for_a_day),
		TEST(who_may_follow_is_bounded),
		TEST(plans_for_nobody_are_dropped),
		TEST(a_list_fits_into_an_answer),
		TEST(the_beginning_of_an_id_is_enough),
		cmocka_unit_test(texts_are_made_fit),
		cmocka_unit_test(progress_is_made_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
