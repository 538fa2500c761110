// SPDX-License-Identifier: Apache-2.0
/* What an agent may do on its machine, asked by all its threads while it is reloaded. */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>

#include "agent/policy.h"
#include "tree.h"

END_WHEN_A_CHECK_FAILS

#define THREADS 4
#define RELOADS 200

struct setup {
	struct tree *t;
	struct agent_config config;
	struct agent_policy *policy;
	atomic_bool stop;
	atomic_int mixed; /* limits of two settings at once */
};

static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->t = tree_new();
	agent_config_defaults(&s->config);
	s->config.node = strdup("web-3");
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	agent_policy_free(s->policy);
	agent_config_done(&s->config);
	tree_free(s->t);
	free(s);
	return 0;
}

#define WITH_TREE(name) TEST_WITH(name, struct setup *s, set_up, tear_down)

static void start(struct setup *s)
{
	assert_int_equal(agent_policy_new(s->t->root, &s->config, &s->policy, NULL), 0);
}

static void reload(struct setup *s)
{
	struct stow_config *placing = NULL;

	assert_int_equal(stow_config_read(s->t->root, &placing, NULL), 0);
	agent_policy_replace(s->policy, placing, &s->config);
}

WITH_TREE(a_broken_configuration_observes)
{
	struct stow_err err = { 0 };

	tree_write(s->t, "/etc/numastow/config.yaml", "mode: [\n");
	start(s);
	assert_true(agent_policy_is_broken(s->policy));
	assert_int_equal(agent_policy_changes(s->policy), STOW_CHANGES_OBSERVED);
	assert_int_equal(agent_policy_check_changes(s->policy, &err), -EACCES);
	assert_non_null(strstr(err.msg, "web-3"));
	tree_write(s->t, "/etc/numastow/config.yaml", "mode: enforce\n");
	assert_true(agent_policy_follow(s->policy));
	assert_false(agent_policy_is_broken(s->policy));
	assert_int_equal(agent_policy_changes(s->policy), STOW_CHANGES_MADE);
	assert_int_equal(agent_policy_check_changes(s->policy, &err), 0);
}

WITH_TREE(a_changed_configuration_is_read)
{
	start(s);
	assert_false(agent_policy_follow(s->policy));
	tree_write(s->t, "/etc/numastow/config.yaml", "mode: observe\n");
	assert_true(agent_policy_follow(s->policy));
	assert_false(agent_policy_follow(s->policy));
	assert_int_equal(agent_policy_changes(s->policy), STOW_CHANGES_OBSERVED);
	/* The last valid one stays. */
	tree_write(s->t, "/etc/numastow/config.yaml", "mode: [\n");
	assert_false(agent_policy_follow(s->policy));
	assert_true(agent_policy_is_broken(s->policy));
	assert_int_equal(agent_policy_changes(s->policy), STOW_CHANGES_OBSERVED);
	assert_int_equal(stow_root_unlink(s->t->root, NULL, "/etc/numastow/config.yaml"), 0);
	assert_true(agent_policy_follow(s->policy));
	assert_false(agent_policy_is_broken(s->policy));
	assert_int_equal(agent_policy_changes(s->policy), STOW_CHANGES_MADE);
}

WITH_TREE(either_file_may_say_observe)
{
	start(s);
	assert_false(agent_policy_is_broken(s->policy));
	assert_int_equal(agent_policy_changes(s->policy), STOW_CHANGES_MADE);
	s->config.mode = AGENT_OBSERVE;
	reload(s);
	assert_int_equal(agent_policy_changes(s->policy), STOW_CHANGES_OBSERVED);
	s->config.mode = AGENT_ENFORCE;
	tree_write(s->t, "/etc/numastow/config.yaml", "mode: observe\n");
	reload(s);
	assert_int_equal(agent_policy_changes(s->policy), STOW_CHANGES_OBSERVED);
	tree_write(s->t, STOW_DISABLED_PATH, "%s", "");
	assert_int_equal(agent_policy_changes(s->policy), STOW_CHANGES_DISABLED);
}

/* A repin that has begun reads what it began with. */
WITH_TREE(what_was_handed_out_stays)
{
	struct stow_grant_context before;

	tree_write(s->t, "/etc/numastow/config.yaml", "mode: observe\n");
	start(s);
	before = agent_policy_context(s->policy);
	assert_null(before.ledger);
	assert_ptr_equal(before.root, s->t->root);
	tree_write(s->t, "/etc/numastow/config.yaml", "mode: enforce\n");
	for (int i = 0; i < 3; i++)
		reload(s);
	assert_ptr_not_equal(agent_policy_context(s->policy).config, before.config);
	assert_int_equal(before.config->mode, STOW_MODE_OBSERVE);
}

static void *ask(void *arg)
{
	struct setup *s = arg;

	while (!atomic_load(&s->stop)) {
		struct agent_policy_limits limits = agent_policy_limits(s->policy);
		struct stow_grant_context context = agent_policy_context(s->policy);

		if (limits.repin_batch != limits.drain_rate ||
		    context.config->mode != STOW_MODE_ENFORCE ||
		    agent_policy_check_changes(s->policy, NULL) < 0)
			atomic_fetch_add(&s->mixed, 1);
	}
	return NULL;
}

WITH_TREE(all_threads_may_ask_while_it_is_reloaded)
{
	pthread_t threads[THREADS];

	tree_write(s->t, "/etc/numastow/config.yaml", "mode: enforce\n");
	start(s);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask, s), 0);
	for (uint64_t i = 0; i < RELOADS; i++) {
		s->config.repin_batch = s->config.drain_rate = i;
		reload(s);
	}
	atomic_store(&s->stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&s->mixed), 0);
	assert_int_equal(agent_policy_limits(s->policy).drain_rate, RELOADS - 1);
}
