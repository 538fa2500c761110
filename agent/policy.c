/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/policy.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "rpc/log.h"

struct agent_policy {
	struct stow_root *root;
	struct stow_pidref self;
	char *node;
	atomic_bool broken;
	struct stat seen; /* config.yaml, as last read; for the main thread */

	pthread_mutex_t lock; /* for all fields below */
	struct stow_config *placing;
	struct stow_config **retired;
	size_t n_retired;
	enum agent_mode mode;
	struct agent_policy_limits limits;
};

/* Return whether config.yaml is another file than was read last, or has changed. */
static bool placing_changed(struct agent_policy *policy)
{
	struct stat was = policy->seen;

	policy->seen = (struct stat){ 0 };
	(void)stow_root_stat(policy->root, &policy->seen, NULL, "%s", STOW_CONFIG_PATH);
	return was.st_ino != policy->seen.st_ino || was.st_size != policy->seen.st_size ||
	       was.st_mtim.tv_sec != policy->seen.st_mtim.tv_sec ||
	       was.st_mtim.tv_nsec != policy->seen.st_mtim.tv_nsec;
}

/* With an invalid config.yaml the agent does not exit, but observes. */
static int read_placing(struct agent_policy *policy, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r;

	(void)placing_changed(policy);
	r = stow_config_read_anyway(policy->root, &policy->placing, &why);
	if (r < 0)
		return stow_err_move(err, r, &why);
	if (r > 0) {
		policy->placing->mode = STOW_MODE_OBSERVE;
		atomic_store(&policy->broken, true);
		stow_log(STOW_LOG_ERR,
			 "the configuration has an error: the agent only observes until it is "
			 "fixed",
			 stow_why(&why));
	}
	return 0;
}

/* With the lock held, or before other threads have the policy. */
static void take_settings(struct agent_policy *policy, const struct agent_config *config)
{
	policy->mode = (enum agent_mode)config->mode;
	policy->limits = (struct agent_policy_limits){
		.repin_batch = config->repin_batch,
		.repin_pause = config->repin_pause,
		.max_drain = config->max_drain,
		.drain_rate = config->drain_rate,
		.drain_block_timeout = config->drain_block_timeout,
		.drain_timeout = config->drain_timeout,
		.removal_timeout = config->removal_timeout,
	};
}

int agent_policy_new(struct stow_root *root, const struct agent_config *config,
		     struct agent_policy **ret, struct stow_err *err)
{
	struct agent_policy *policy = calloc(1, sizeof(*policy));
	int r;

	if (!policy)
		return stow_err_set(err, ENOMEM, "out of memory");
	pthread_mutex_init(&policy->lock, NULL);
	policy->root = root;
	take_settings(policy, config);
	/* Set here, because a copied tree's /proc does not have this process. */
	policy->self.pid = getpid();
	(void)stow_pidref_read(root, getpid(), &policy->self, NULL);
	policy->node = strdup(config->node);
	r = policy->node ? read_placing(policy, err) : stow_err_set(err, ENOMEM, "out of memory");
	if (r < 0) {
		agent_policy_free(policy);
		return r;
	}
	*ret = policy;
	return 0;
}

void agent_policy_free(struct agent_policy *policy)
{
	if (!policy)
		return;
	stow_config_free_ptr(&policy->placing);
	for (size_t i = 0; i < policy->n_retired; i++)
		stow_config_free(policy->retired[i]);
	free(policy->retired);
	free(policy->node);
	pthread_mutex_destroy(&policy->lock);
	free(policy);
}

void agent_policy_replace(struct agent_policy *policy, struct stow_config *placing,
			  const struct agent_config *config)
{
	struct stow_config **retired;

	pthread_mutex_lock(&policy->lock);
	retired = STOW_APPEND(policy->retired, policy->n_retired);
	if (retired) /* otherwise the old one leaks, because another thread may be reading it */
		*retired = policy->placing;
	policy->placing = placing;
	if (config)
		take_settings(policy, config);
	pthread_mutex_unlock(&policy->lock);
}

bool agent_policy_follow(struct agent_policy *policy)
{
	struct stow_config *placing = NULL;
	struct stow_err err = { 0 };

	if (!placing_changed(policy))
		return false;
	if (stow_config_read(policy->root, &placing, &err) < 0) {
		stow_log(STOW_LOG_ERR,
			 "the configuration has an error: the agent goes on with the last one",
			 stow_why(&err));
		agent_policy_set_broken(policy, true);
		return false;
	}
	agent_policy_replace(policy, placing, NULL);
	agent_policy_set_broken(policy, false);
	stow_log(STOW_LOG_NOTICE, "the configuration has changed and was read");
	return true;
}

void agent_policy_set_broken(struct agent_policy *policy, bool broken)
{
	atomic_store(&policy->broken, broken);
}

bool agent_policy_is_broken(const struct agent_policy *policy)
{
	return atomic_load(&policy->broken);
}

const char *agent_policy_node(const struct agent_policy *policy)
{
	return policy->node;
}

struct stow_grant_context agent_policy_context(struct agent_policy *policy)
{
	struct stow_grant_context context = { .root = policy->root, .self = policy->self };

	pthread_mutex_lock(&policy->lock);
	context.config = policy->placing;
	pthread_mutex_unlock(&policy->lock);
	return context;
}

struct agent_policy_limits agent_policy_limits(struct agent_policy *policy)
{
	struct agent_policy_limits limits;

	pthread_mutex_lock(&policy->lock);
	limits = policy->limits;
	pthread_mutex_unlock(&policy->lock);
	return limits;
}

enum stow_changes agent_policy_changes(struct agent_policy *policy)
{
	enum stow_mode mode;

	pthread_mutex_lock(&policy->lock);
	mode = policy->mode == AGENT_OBSERVE ? STOW_MODE_OBSERVE : policy->placing->mode;
	pthread_mutex_unlock(&policy->lock);
	return stow_changes(policy->root, mode);
}

int agent_policy_check_changes(struct agent_policy *policy, struct stow_err *err)
{
	int r = stow_changes_refuse(agent_policy_changes(policy), err);

	return r < 0 ? stow_err_wrap(err, r, "node %s", policy->node) : 0;
}
