// SPDX-License-Identifier: Apache-2.0
/* What an agent makes of a scheduler's orders to drain, with an engine that is played. */
#include "unit.h"

#include <pthread.h>
#include <unistd.h>

#include "agent/drain.h"
#include "agent/drain_internal.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "drain/internal.h"
#include "played.h"
#include "rpc/copy.h"
#include "rpc/rpc.h"

END_WHEN_A_CHECK_FAILS

#define GIB UINT64_C(1073741824)
#define S   STOW_SECOND
#define ID  "00000000000000a1"
#define ID2 "00000000000000b2"

/* --- the engine --------------------------------------------------------------------------------- */

/* The linker puts these in the place of the real ones (tests/module.mk). */
PbDrainProgress *__wrap_stow_drain_preview(const struct stow_grant_context *context, const char *id,
					   const struct stow_drain_spec *spec);
int __wrap_stow_drain_run(const struct stow_grant_context *context, const char *id, bool ordered,
			  const struct stow_drain_spec *spec, const struct stow_drain_watch *watch,
			  enum stow_drain_step *ret_step, struct stow_err *err);
bool __wrap_stow_drain_orphans(const struct stow_grant_context *context);
int __wrap_stow_drain_recover(const struct stow_grant_context *context,
			      const struct stow_drain_watch *watch, struct stow_err *err);
void __wrap_stow_drain_rows_free(struct stow_drain_row *rows, size_t n);
int __wrap_stow_drain_rows(struct stow_ledger *ledger, struct stow_drain_row **ret, size_t *ret_n,
			   struct stow_err *err);
int __wrap_stow_drain_forget(struct stow_ledger *ledger, const char *id, struct stow_err *err);

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct stow_drain_spec spec; /* as it was run or planned with */
	int runs, plans, recovers;
	bool hold_plan; /* plan() waits until this is false, and fails */
	bool hold;	/* run() stays in step OFFLINING until this is false, or it is to stop */
	bool offlining; /* it is there */
	bool linger;	/* run() does not return after its end until this is false */
	int result;	/* of plan() and run() */
	struct stow_drain_row rows[4];
	size_t n_rows;
	bool orphans;
	char forgotten[128];
	struct agent_drains *drains; /* who asks */
	bool waited_with_lock;
} engine = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void fill_plan(struct stow_drain_plan *plan)
{
	assert_non_null(plan);
	plan->node = 1;
	plan->bytes = GIB;
	plan->page_size = 4096;
	plan->all.block_size = GIB / 8;
	plan->n_blocks = 8;
	plan->blocks = calloc(8, sizeof(*plan->blocks));
	for (size_t i = 0; i < 8; i++)
		plan->blocks[i].id = 48 + i;
}

PbDrainProgress *__wrap_stow_drain_preview(const struct stow_grant_context *context, const char *id,
					   const struct stow_drain_spec *spec)
{
	int result = engine.result;
	PbDrainProgress *out;
	struct stow_drain_plan plan = { 0 };
	struct stow_err why;

	fill_plan(&plan);
	pthread_mutex_lock(&engine.lock);
	engine.plans++;
	engine.spec = *spec;
	pthread_cond_broadcast(&engine.changed);
	if (engine.hold_plan)
		result = -EBUSY;
	while (engine.hold_plan)
		pthread_cond_wait(&engine.changed, &engine.lock);
	pthread_mutex_unlock(&engine.lock);
	if (result)
		stow_err_set(&why, -result, "played");
	out = stow_drain_plan_message(id, &plan, result ? &why : NULL);
	assert_non_null(out);
	free(plan.blocks);
	return out;
}

static void say(const struct stow_drain_watch *watch, const char *id, enum stow_drain_step step,
		uint32_t blocks, int code)
{
	struct stow_drain_plan plan = { 0 };
	struct stow_err why = { .code = code };
	PbDrainProgress *p;

	if (step == STOW_DRAIN_STEP_PLANNED) {
		fill_plan(&plan);
		p = stow_drain_plan_message(id, &plan, NULL);
	} else {
		p = stow_drain_end_message(id, step, &why);
	}
	assert_non_null(p);
	p->blocks_offline = blocks;
	p->bytes_total = GIB;
	p->bytes_offline = blocks * GIB / 8;
	watch->progress(watch->ctx, p);
	pb_drain_progress__free_unpacked(p, NULL);
	free(plan.blocks);
}

int __wrap_stow_drain_run(const struct stow_grant_context *context, const char *id, bool ordered,
			  const struct stow_drain_spec *spec, const struct stow_drain_watch *watch,
			  enum stow_drain_step *ret_step, struct stow_err *err)
{
	bool stop;

	assert_non_null(context->ledger);
	say(watch, id, STOW_DRAIN_STEP_PLANNED, 0, 0);
	say(watch, id, STOW_DRAIN_STEP_FENCED, 0, 0);
	for (uint32_t i = 0; i < 8; i++)
		say(watch, id, STOW_DRAIN_STEP_OFFLINING, i, 0);
	pthread_mutex_lock(&engine.lock);
	engine.runs++;
	engine.spec = *spec;
	engine.offlining = true;
	pthread_cond_broadcast(&engine.changed);
	do {
		pthread_mutex_unlock(&engine.lock);
		stop = watch->stop(watch->ctx);
		usleep(1000);
		pthread_mutex_lock(&engine.lock);
	} while (engine.hold && !stop);
	pthread_mutex_unlock(&engine.lock);
	*ret_step = stop	    ? STOW_DRAIN_STEP_CANCELLED
		    : engine.result ? STOW_DRAIN_STEP_FAILED
				    : STOW_DRAIN_STEP_DONE;
	say(watch, id, *ret_step, stop ? 0 : 8, stop ? ECANCELED : -engine.result);
	pthread_mutex_lock(&engine.lock);
	while (engine.linger) {
		pthread_mutex_unlock(&engine.lock);
		usleep(1000);
		pthread_mutex_lock(&engine.lock);
	}
	pthread_mutex_unlock(&engine.lock);
	if (stop)
		return stow_err_set(err, ECANCELED, "cancelled");
	return engine.result ? stow_err_set(err, -engine.result, "played") : 0;
}

bool __wrap_stow_drain_orphans(const struct stow_grant_context *context)
{
	return engine.orphans;
}

/* Undoes the first row. */
int __wrap_stow_drain_recover(const struct stow_grant_context *context,
			      const struct stow_drain_watch *watch, struct stow_err *err)
{
	say(watch, engine.rows[0].id, STOW_DRAIN_STEP_UNDOING, 0, 0);
	say(watch, engine.rows[0].id, STOW_DRAIN_STEP_FAILED, 0, EOWNERDEAD);
	pthread_mutex_lock(&engine.lock);
	engine.rows[0].step = STOW_DRAIN_STEP_FAILED;
	engine.orphans = false;
	engine.recovers++;
	pthread_cond_broadcast(&engine.changed);
	pthread_mutex_unlock(&engine.lock);
	return 1;
}

/* The main thread must not wait for the ledger with the table's lock held: the thread that has the
 * ledger may wait for that lock. */
static void look_at_the_lock(struct stow_ledger *ledger)
{
	struct agent_drain_table *table;

	if (!engine.drains || agent_machine_context(engine.drains->machine)->ledger != ledger)
		return;
	table = agent_drain_table(engine.drains);
	if (pthread_mutex_trylock(&table->lock) == 0)
		pthread_mutex_unlock(&table->lock);
	else
		engine.waited_with_lock = true;
}

int __wrap_stow_drain_rows(struct stow_ledger *ledger, struct stow_drain_row **ret, size_t *ret_n,
			   struct stow_err *err)
{
	look_at_the_lock(ledger);
	*ret = engine.rows;
	*ret_n = engine.n_rows;
	return 0;
}

void __wrap_stow_drain_rows_free(struct stow_drain_row *rows, size_t n)
{
}

int __wrap_stow_drain_forget(struct stow_ledger *ledger, const char *id, struct stow_err *err)
{
	look_at_the_lock(ledger);
	snprintf(engine.forgotten, sizeof(engine.forgotten), "%s", id);
	return 0;
}

/* What the scheduler has heard. */
static struct {
	PbDrainProgress *list[64];
	size_t n;
} heard;

static void hear(void *ctx, const PbDrainProgress *progress)
{
	assert_true(heard.n < STOW_ARRAY_SIZE(heard.list));
	heard.list[heard.n++] = stow_rpc_message_copy(progress);
}

static void hear_nothing(void)
{
	while (heard.n)
		stow_rpc_message_free(heard.list[--heard.n]);
}

/* --- the agent ---------------------------------------------------------------------------------- */

struct setup {
	struct played *p;
	struct agent_config config;
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct agent_loop *loop;
	struct agent_machine *machine;
	struct agent_drains *drains;
};

/* Two NUMA nodes of 4 GiB. */
static PbNodeReport *machine_report(void)
{
	PbNodeReport *report = malloc(sizeof(*report));

	pb_node_report__init(report);
	report->numa_nodes = calloc(2, sizeof(*report->numa_nodes));
	for (; report->n_numa_nodes < 2; report->n_numa_nodes++) {
		PbNumaNode *node = malloc(sizeof(*node));

		pb_numa_node__init(node);
		node->memory_total = 4 * GIB;
		report->numa_nodes[report->n_numa_nodes] = node;
	}
	return report;
}

static void begin_agent(struct setup *s)
{
	const struct agent_publisher_identity identity = { .node = "web-3",
							   .boot_id = "",
							   .failure_domain = "" };
	struct agent_drain_parts parts = { .notify = hear, .ctx = s };

	agent_config_defaults(&s->config);
	assert_int_equal(stow_settings_parse(agent_settings, &s->config, "node: web-3\n", 12,
					     "test", NULL),
			 0);
	assert_int_equal(agent_policy_new(s->p->context.root, &s->config, &s->policy, NULL), 0);
	assert_int_equal(agent_publisher_new(&identity, &s->publisher, NULL), 0);
	agent_publisher_publish(s->publisher, machine_report());
	assert_int_equal(agent_loop_new(&s->loop, NULL), 0);
	assert_int_equal(agent_machine_new(s->policy, s->publisher, &s->config, &s->machine, NULL),
			 0);
	parts.machine = s->machine;
	parts.policy = s->policy;
	parts.publisher = s->publisher;
	parts.loop = agent_loop_handle(s->loop);
	assert_int_equal(agent_drain_new(&parts, &s->drains, NULL), 0);
	engine.drains = s->drains;
}

/* The settings as after a reload. */
static void reload(struct setup *s)
{
	struct stow_config *placing = NULL;

	assert_int_equal(stow_config_read(s->p->context.root, &placing, NULL), 0);
	agent_policy_replace(s->policy, placing, &s->config);
}

static void end_agent(struct setup *s)
{
	engine.drains = NULL;
	agent_drain_free(s->drains);
	agent_machine_free(s->machine);
	agent_loop_free(s->loop);
	agent_publisher_free(s->publisher);
	agent_policy_free(s->policy);
	agent_config_done(&s->config);
}

static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->p = played_new();
	engine.runs = engine.plans = engine.recovers = engine.result = 0;
	engine.hold = engine.orphans = engine.offlining = engine.linger = false;
	engine.n_rows = 0;
	engine.forgotten[0] = '\0';
	memset(&engine.spec, 0, sizeof(engine.spec));
	begin_agent(s);
	*state = s;
	return 0;
}

/* As the main thread does. */
static void run_tasks(struct setup *s)
{
	agent_loop_run_tasks(s->loop);
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	assert_false(agent_drain_stop(s->drains));
	run_tasks(s);
	end_agent(s);
	hear_nothing();
	played_free(s->p);
	free(s);
	assert_false(engine.waited_with_lock);
	return 0;
}

#define WITH_AGENT(name) TEST_WITH(name, struct setup *s, set_up, tear_down)

static int order(struct setup *s, const char *id, bool plan, struct stow_err *err)
{
	PbOrderDrain in = PB_ORDER_DRAIN__INIT;
	PbDrainSpec spec = PB_DRAIN_SPEC__INIT;

	spec.what_case = PB_DRAIN_SPEC__WHAT_NUMA_NODE;
	spec.numa_node = 1;
	spec.size = GIB;
	spec.timeout = 3600 * S;
	spec.block_timeout = 3 * S;
	in.id = (char *)(uintptr_t)id;
	in.spec = &spec;
	in.plan = plan;
	return agent_drain_order(s->drains, &in, err);
}

static void wait_for_offlining(void)
{
	pthread_mutex_lock(&engine.lock);
	while (!engine.offlining)
		pthread_cond_wait(&engine.changed, &engine.lock);
	pthread_mutex_unlock(&engine.lock);
}

static void let_go(void)
{
	pthread_mutex_lock(&engine.lock);
	engine.hold = false;
	pthread_mutex_unlock(&engine.lock);
}

/* Until the scheduler has heard of that step; what it heard. */
static const PbDrainProgress *wait_for(struct setup *s, PbDrainStep step)
{
	for (;;) {
		run_tasks(s);
		for (size_t i = 0; i < heard.n; i++)
			if (heard.list[i]->step == step)
				return heard.list[i];
		usleep(1000);
	}
}

static size_t listed(struct setup *s)
{
	PbNodeReport *report = malloc(sizeof(*report));
	size_t n;

	pb_node_report__init(report);
	assert_int_equal(agent_drain_report(s->drains, report), 0);
	n = report->n_drains;
	stow_rpc_message_free(report);
	return n;
}

/* Whether it is at work on nothing. */
static void wait_until_idle(struct setup *s)
{
	char *text = NULL;
	size_t size;

	do {
		FILE *f;

		free(text);
		usleep(1000);
		f = open_memstream(&text, &size);
		agent_drain_render(agent_drain_table(s->drains), f);
		fclose(f);
	} while (!strstr(text, "numastow_agent_draining 0"));
	free(text);
}

/* --- tests -------------------------------------------------------------------------------------- */

WITH_AGENT(an_order_is_done_and_told)
{
	struct agent_published published;
	const PbDrainProgress *end;
	int steps = 0;

	assert_int_equal(listed(s), 0);
	assert_int_equal(order(s, ID, false, NULL), 0);
	end = wait_for(s, PB_DRAIN_STEP_DONE);
	assert_string_equal(end->id, ID);
	assert_int_equal(end->code, 0);
	assert_int_equal(end->blocks_offline, 8);
	/* In the order of the steps; the end once. */
	for (size_t i = 0; i < heard.n; i++) {
		if (i > 0)
			assert_true(heard.list[i]->step >= heard.list[i - 1]->step);
		steps += i == 0 || heard.list[i]->step != heard.list[i - 1]->step;
	}
	assert_int_equal(steps, 4);
	assert_non_null(heard.list[0]->plan);
	assert_int_equal(heard.list[0]->plan->n_blocks, 8);
	wait_until_idle(s);
	agent_publisher_borrow(s->publisher, &published);
	assert_int_equal(published.counters->drains, 1);
	agent_publisher_return(s->publisher);
	assert_int_equal(listed(s), 1); /* until it is known that it was heard */
}

WITH_AGENT(the_machine_has_its_own_limits)
{
	s->config.drain_rate = 77;
	reload(s);
	assert_int_equal(order(s, ID, false, NULL), 0);
	(void)wait_for(s, PB_DRAIN_STEP_DONE);
	wait_until_idle(s);
	assert_true(engine.spec.most == 4 * GIB);
	assert_int_equal(engine.spec.rate, 77);
	assert_true(engine.spec.timeout == 600 * S); /* not an hour */
	assert_true(engine.spec.block_timeout == 3 * S);
	assert_true(engine.spec.removal_timeout == 300 * S);
	assert_int_equal(engine.spec.node, 1);
	assert_true(engine.spec.size == GIB);
}

WITH_AGENT(what_may_not_be_is_refused)
{
	struct stow_err err;

	assert_int_equal(order(s, "short", false, &err), -EINVAL);
	s->config.max_drain = 0;
	reload(s);
	assert_int_equal(order(s, ID, false, &err), -EACCES);
	assert_non_null(strstr(err.msg, "max-drain"));
	s->config.max_drain = 50;
	s->config.mode = AGENT_OBSERVE;
	reload(s);
	assert_int_equal(order(s, ID, false, &err), -EACCES);
	assert_non_null(strstr(err.msg, "observe"));
	tree_write(s->p->t, STOW_DISABLED_PATH, "%s", "");
	assert_int_equal(order(s, ID, false, &err), -EACCES);
	assert_non_null(strstr(err.msg, STOW_DISABLED_PATH));
	assert_int_equal(engine.runs, 0);
	/* A plan changes nothing. */
	assert_int_equal(order(s, ID, true, &err), 0);
	assert_non_null(wait_for(s, PB_DRAIN_STEP_PLANNED)->plan);
	assert_int_equal(engine.runs, 0);
	assert_int_equal(listed(s), 0);
}

WITH_AGENT(a_plan_that_fails_is_an_end)
{
	const PbDrainProgress *end;

	engine.result = -ENOSPC;
	assert_int_equal(order(s, ID, true, NULL), 0);
	end = wait_for(s, PB_DRAIN_STEP_FAILED);
	assert_int_equal(end->code, stow_status_of_errno(ENOSPC));
	assert_string_equal(end->message, "played");
	assert_non_null(end->plan); /* what was found */
}

static bool is_planning(struct setup *s)
{
	struct agent_drain_table *table = agent_drain_table(s->drains);

	return LOCKED(&table->lock, table->plans > 0);
}

WITH_AGENT(a_plan_that_was_asked_for_twice_is_no_end)
{
	engine.hold = engine.hold_plan = true;
	assert_int_equal(order(s, ID, true, NULL), 0);
	pthread_mutex_lock(&engine.lock);
	while (!engine.plans)
		pthread_cond_wait(&engine.changed, &engine.lock);
	pthread_mutex_unlock(&engine.lock);
	assert_int_equal(order(s, ID, false, NULL), 0);
	wait_for_offlining();
	pthread_mutex_lock(&engine.lock);
	engine.hold_plan = false;
	pthread_cond_broadcast(&engine.changed);
	pthread_mutex_unlock(&engine.lock);
	while (is_planning(s))
		usleep(1000);
	let_go();
	(void)wait_for(s, PB_DRAIN_STEP_DONE);
	for (size_t i = 0; i < heard.n; i++)
		assert_int_not_equal(heard.list[i]->step, PB_DRAIN_STEP_FAILED);
	wait_until_idle(s);
}

WITH_AGENT(one_at_a_time)
{
	const PbDrainProgress *again;
	struct stow_err err;

	engine.hold = true;
	assert_int_equal(order(s, ID, false, NULL), 0);
	wait_for_offlining();
	assert_int_equal(order(s, ID2, false, &err), -EBUSY);
	assert_non_null(strstr(err.msg, ID));
	/* The same again is answered, with the plan. */
	run_tasks(s);
	hear_nothing();
	assert_int_equal(order(s, ID, false, NULL), 0);
	again = wait_for(s, PB_DRAIN_STEP_OFFLINING);
	assert_non_null(again->plan);
	assert_int_equal(engine.runs, 1);
	let_go();
	(void)wait_for(s, PB_DRAIN_STEP_DONE);
	wait_until_idle(s);
	assert_int_equal(order(s, ID2, false, NULL), 0);
	wait_until_idle(s);
	assert_int_equal(engine.runs, 2);
}

WITH_AGENT(cancelling)
{
	struct stow_err err;

	assert_int_equal(agent_drain_cancel_order(s->drains, ID, &err), -ENOENT);
	engine.hold = true;
	assert_int_equal(order(s, ID, false, NULL), 0);
	wait_for_offlining();
	assert_int_equal(agent_drain_cancel_order(s->drains, ID, NULL), 0);
	assert_int_equal(wait_for(s, PB_DRAIN_STEP_CANCELLED)->code, 1);
	wait_until_idle(s);
	assert_int_equal(listed(s), 1);
	/* Once more: the scheduler has heard it. */
	assert_int_equal(agent_drain_cancel_order(s->drains, ID, NULL), 0);
	assert_string_equal(engine.forgotten, ID);
	assert_int_equal(listed(s), 0);
	assert_int_equal(agent_drain_cancel_order(s->drains, ID, NULL), -ENOENT);
}

/* The scheduler answers an end before the thread that has said it is done. */
WITH_AGENT(a_quick_scheduler_is_heard)
{
	engine.linger = true;
	assert_int_equal(order(s, ID, false, NULL), 0);
	(void)wait_for(s, PB_DRAIN_STEP_DONE);
	assert_int_equal(agent_drain_cancel_order(s->drains, ID, NULL), 0);
	assert_int_equal(listed(s), 1);
	agent_drain_welcome(s->drains, NULL, 0);
	assert_int_equal(listed(s), 1);
	pthread_mutex_lock(&engine.lock);
	engine.linger = false;
	pthread_mutex_unlock(&engine.lock);
	wait_until_idle(s);
	run_tasks(s);
	assert_int_equal(listed(s), 0);
	assert_string_equal(engine.forgotten, ID);
}

WITH_AGENT(a_welcome_says_what_is_under_way)
{
	char *ids[] = { (char *)(uintptr_t)ID };

	engine.hold = true;
	assert_int_equal(order(s, ID, false, NULL), 0);
	wait_for_offlining();
	run_tasks(s);
	hear_nothing();
	agent_drain_welcome(s->drains, ids, 1);
	assert_non_null(wait_for(s, PB_DRAIN_STEP_OFFLINING)->plan);
	assert_int_equal(listed(s), 1);
	/* It knows nothing of it any more. */
	agent_drain_welcome(s->drains, NULL, 0);
	(void)wait_for(s, PB_DRAIN_STEP_CANCELLED);
	wait_until_idle(s);
	agent_drain_welcome(s->drains, NULL, 0);
	assert_int_equal(listed(s), 0);
	assert_string_equal(engine.forgotten, ID);
}

static struct stow_drain_row row(const char *id, enum stow_drain_step step)
{
	static char empty[] = "", message[] = "it was told so";
	static struct stow_drain_row_block blocks[] = { { .id = 48 }, { .id = 49 } };
	struct stow_drain_row out = { .step = step,
				      .ordered = true,
				      .node = 1,
				      .device = empty,
				      .blocks = blocks,
				      .n_blocks = STOW_ARRAY_SIZE(blocks),
				      .message = message };

	memcpy(out.id, id, STOW_DRAIN_ID_LEN);
	return out;
}

WITH_AGENT(after_a_restart)
{
	char *ids[] = { (char *)(uintptr_t)ID, (char *)(uintptr_t)ID2 };
	const PbDrainProgress *end;

	end_agent(s);
	/* A running drain, one whose end was not sent, and a local one, which is not reported. */
	engine.rows[0] = row(ID, STOW_DRAIN_STEP_OFFLINING);
	engine.rows[1] = row(ID2, STOW_DRAIN_STEP_PARTIAL);
	engine.rows[1].code = EREMOTEIO;
	engine.rows[2] = row("00000000000000c3", STOW_DRAIN_STEP_OFFLINING);
	engine.rows[2].ordered = false;
	engine.n_rows = 3;
	engine.orphans = true;
	begin_agent(s);
	assert_int_equal(listed(s), 2);
	agent_drain_welcome(s->drains, ids, 2);
	end = wait_for(s, PB_DRAIN_STEP_PARTIAL);
	assert_string_equal(end->message, "it was told so");
	assert_int_equal(end->code, stow_status_of_errno(EREMOTEIO));
	agent_drain_recover(s->drains);
	end = wait_for(s, PB_DRAIN_STEP_FAILED);
	assert_string_equal(end->id, ID);
	assert_int_equal(end->code, stow_status_of_errno(EOWNERDEAD));
	wait_until_idle(s);
	assert_int_equal(engine.recovers, 1);
	agent_drain_recover(s->drains);
	assert_int_equal(engine.recovers, 1);
}

/* `numastow gc` was faster. */
WITH_AGENT(another_program_took_it_back)
{
	end_agent(s);
	engine.rows[0] = row(ID, STOW_DRAIN_STEP_OFFLINING);
	engine.n_rows = 1;
	begin_agent(s);
	agent_drain_recover(s->drains);
	run_tasks(s);
	assert_int_equal(heard.n, 0); /* its worker lives */
	engine.rows[0].step = STOW_DRAIN_STEP_FAILED;
	engine.rows[0].code = EOWNERDEAD;
	agent_drain_recover(s->drains);
	assert_string_equal(wait_for(s, PB_DRAIN_STEP_FAILED)->message, "it was told so");
	assert_int_equal(engine.recovers, 0);
}

/* One of two rows is gone from the ledger: each drain ends with its own reason. */
static void ends_of_two(struct setup *s, const char *kept)
{
	end_agent(s);
	hear_nothing();
	engine.rows[0] = row(ID, STOW_DRAIN_STEP_OFFLINING);
	engine.rows[1] = row(ID2, STOW_DRAIN_STEP_OFFLINING);
	engine.n_rows = 2;
	begin_agent(s);
	engine.rows[0] = row(kept, STOW_DRAIN_STEP_PARTIAL);
	engine.rows[0].code = EREMOTEIO;
	engine.n_rows = 1;
	agent_drain_recover(s->drains);
	assert_string_equal(wait_for(s, PB_DRAIN_STEP_PARTIAL)->message, "it was told so");
	assert_string_equal(wait_for(s, PB_DRAIN_STEP_FAILED)->message,
			    "the program that ran it was killed; the drain was undone");
}

WITH_AGENT(each_ends_with_its_own_reason)
{
	ends_of_two(s, ID);
	ends_of_two(s, ID2);
}

WITH_AGENT(stopping_takes_it_back)
{
	struct stow_err err;

	engine.hold = true;
	assert_int_equal(order(s, ID, false, NULL), 0);
	wait_for_offlining();
	assert_false(agent_drain_stop(s->drains));
	(void)wait_for(s, PB_DRAIN_STEP_CANCELLED);
	assert_int_equal(order(s, ID2, false, &err), -EBUSY);
}

WITH_AGENT(or_leaves_it_to_the_next)
{
	PbOrderDrain in = PB_ORDER_DRAIN__INIT;
	PbDrainSpec spec = PB_DRAIN_SPEC__INIT;

	spec.what_case = PB_DRAIN_SPEC__WHAT_DEVICE;
	spec.device = (char *)(uintptr_t) "dimm0";
	spec.resume = true;
	in.id = (char *)(uintptr_t)ID;
	in.spec = &spec;
	engine.hold = true;
	assert_int_equal(agent_drain_order(s->drains, &in, NULL), 0);
	wait_for_offlining();
	assert_true(agent_drain_stop(s->drains));
	let_go(); /* the test's process goes on */
	assert_string_equal(engine.spec.device, "dimm0");
	(void)wait_for(s, PB_DRAIN_STEP_DONE);
	wait_until_idle(s);
}

TEST(what_is_asked_for_is_checked)
{
	PbDrainSpec spec = PB_DRAIN_SPEC__INIT;
	struct stow_drain_spec out;
	struct stow_err err;

	assert_int_equal(stow_drain_spec_read(NULL, &out, &err), -EINVAL);
	assert_int_equal(stow_drain_spec_read(&spec, &out, &err), -EINVAL);
	spec.what_case = PB_DRAIN_SPEC__WHAT_NUMA_NODE;
	spec.numa_node = UINT32_MAX;
	assert_int_equal(stow_drain_spec_read(&spec, &out, &err), -EINVAL);
	spec.numa_node = 3;
	spec.eject = (PbDrainEject)99;
	assert_int_equal(stow_drain_spec_read(&spec, &out, &err), -EINVAL);
	spec.eject = PB_DRAIN_EJECT_WAIT;
	assert_int_equal(stow_drain_spec_read(&spec, &out, &err), 0);
	assert_int_equal(out.node, 3);
	assert_null(out.blocks);
	assert_int_equal(out.eject, STOW_EJECT_WAIT);
	spec.what_case = PB_DRAIN_SPEC__WHAT_BLOCKS;
	spec.blocks = (char *)(uintptr_t) "48-55";
	spec.size = 1;
	assert_int_equal(stow_drain_spec_read(&spec, &out, &err), -EINVAL);
	spec.size = 0;
	assert_int_equal(stow_drain_spec_read(&spec, &out, &err), 0);
	assert_int_equal(out.node, -1);
	assert_string_equal(out.blocks, "48-55");
	spec.what_case = PB_DRAIN_SPEC__WHAT_DEVICE;
	spec.device = (char *)(uintptr_t) "";
	assert_int_equal(stow_drain_spec_read(&spec, &out, &err), -EINVAL);
}

/* A machine of many terabytes, with containers and files that are called what they like. */
TEST(messages_are_bounded)
{
	static char odd[5000] = "x\xff\n\xc3\xa9\xe2\x82";
	struct stow_drain_plan plan = { .node = 1,
					.page_size = 4096,
					.n_blocks = 20000,
					.n_affected = 3000,
					.suspects.n = 500 };
	struct stow_err why = { .code = EBUSY };
	PbDrainProgress *out;
	PbDrainPlan *got;

	memset(odd + 7, 'y', sizeof(odd) - 8);
	plan.all.block_size = GIB / 8;
	plan.blocks = calloc(plan.n_blocks, sizeof(*plan.blocks));
	plan.affected = calloc(plan.n_affected, sizeof(*plan.affected));
	plan.suspects.list = calloc(plan.suspects.n, sizeof(*plan.suspects.list));
	for (size_t i = 0; i < plan.n_blocks; i++)
		plan.blocks[i].id = 100 + i;
	for (size_t i = 0; i < plan.n_affected; i++)
		plan.affected[i] = (struct stow_drain_affected){
			.id = odd, .pod = odd, .ns = odd, .name = odd, .suspect = odd
		};
	for (size_t i = 0; i < plan.suspects.n; i++)
		plan.suspects.list[i] = (struct stow_culprit){ .pfn = 48 * (GIB / 8 / 4096) + 5,
							       .pages = 1,
							       .cgroup = odd,
							       .container = odd,
							       .program = odd,
							       .file = odd,
							       .reason = odd,
							       .advice = odd };
	plan.suspects.list[1].pfn = 0;
	plan.suspects.list[1].blocks = (char[]){ "101-103,200" };
	memcpy(why.msg, odd, sizeof(why.msg) - 1);
	out = stow_drain_plan_message(ID, &plan, &why);
	assert_non_null(out);
	assert_int_equal(out->plan->n_blocks, 20000); /* here all of it is shown */
	assert_int_equal(stow_drain_bound(out), 0);
	assert_true(pb_drain_progress__get_packed_size(out) < STOW_RPC_MESSAGE_MAX);
	got = out->plan;
	assert_int_equal(got->n_blocks, STOW_DRAIN_BLOCKS_MAX);
	assert_int_equal(got->n_affected, STOW_DRAIN_AFFECTED_MAX);
	assert_int_equal(out->n_culprits, STOW_DRAIN_CULPRITS_MAX);
	assert_int_equal(out->culprits[0]->block, 48);
	assert_string_equal(out->culprits[0]->blocks, "48");
	assert_int_equal(out->culprits[1]->block, 101);
	assert_string_equal(out->culprits[1]->blocks, "101-103,200");
	assert_true(got->address == 100 * GIB / 8);
	assert_non_null(strstr(got->notes[got->n_notes - 1], "15904 more blocks"));
	assert_memory_equal(out->culprits[0]->program, "x??\xc3\xa9??yy", 9);
	stow_rpc_message_free(out);
	free(plan.blocks);
	free(plan.affected);
	free(plan.suspects.list);
}

/* What the ledger has of a drain says as much as the caller had asked for. */
TEST(a_row_has_the_request)
{
	struct stow_drain_row_block blocks[] = { { .id = 48, .gone = true }, { .id = 49 } };
	struct stow_drain_row row = { .id = ID,
				      .step = STOW_DRAIN_STEP_PARTIAL,
				      .node = 1,
				      .eject = STOW_EJECT_WAIT,
				      .keep = true,
				      .resume = true,
				      .elsewhere = true,
				      .force_taint = true,
				      .block_timeout = S,
				      .timeout = 2 * S,
				      .removal_timeout = 3 * S,
				      .blocks = blocks,
				      .n_blocks = 2,
				      .bytes = 2 * GIB,
				      .bytes_offline = GIB,
				      .release = STOW_RELEASE_SHRINK,
				      .code = EREMOTEIO };
	PbDrain *out = stow_drain_row_message(&row);
	struct stow_drain_spec spec;

	assert_non_null(out);
	assert_int_equal(stow_drain_spec_read(out->spec, &spec, NULL), 0);
	assert_string_equal(spec.blocks, "48-49");
	assert_int_equal(spec.eject, STOW_EJECT_WAIT);
	assert_true(spec.keep && spec.resume && spec.hugepages_elsewhere && spec.force_taint);
	assert_true(spec.block_timeout == S && spec.timeout == 2 * S &&
		    spec.removal_timeout == 3 * S);
	assert_string_equal(out->progress->blocks_gone, "48");
	assert_int_equal(out->progress->step, PB_DRAIN_STEP_PARTIAL);
	assert_int_equal(out->progress->release, PB_DRAIN_RELEASE_SHRINK);
	assert_int_equal(out->progress->code, STOW_STATUS_ABORTED);
	assert_true(out->progress->bytes_offline == GIB);
	pb_drain__free_unpacked(out, NULL);
}
