// SPDX-License-Identifier: Apache-2.0
/*
 * Podman's precreate: reads config.json and writes it back, before there is a process. It reserves
 * a lease, and writes into the configuration what only the runtime can do. Podman needs the
 * configuration back in every case.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/helper.h"
#include "base/json.h"
#include "base/read.h"
#include "oci-hook/input.h"
#include "oci-hook/internal.h"
#include "place/changes.h"

#define FEATURES_MAX	 (1U << 20)
#define FEATURES_TIMEOUT (2 * STOW_SECOND)

const char *hook_memory_policy_mode(enum stow_memory_policy policy)
{
	switch (policy) {
	case STOW_MEMORY_PREFERRED:
		return "MPOL_PREFERRED";
	case STOW_MEMORY_INTERLEAVE:
		return "MPOL_INTERLEAVE";
	case STOW_MEMORY_LOCAL:
		return "MPOL_LOCAL";
	case STOW_MEMORY_BIND:
		break;
	}
	return NULL;
}

/* --- features of the runtime ---------------------------------------------- */

/* Read until the end or the deadline. Return the length, or -errno; -E2BIG: the text and its
 * terminator do not fit. */
static ssize_t read_until(int fd, char *buf, size_t size, uint64_t until)
{
	size_t len = 0;

	while (len < size) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int left = stow_clock_ms_left(stow_clock_monotonic(), until);
		ssize_t n;

		if (!left || poll(&p, 1, left) == 0)
			return -ETIMEDOUT;
		n = read(fd, buf + len, size - len);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0) {
			buf[len] = '\0';
			return (ssize_t)len;
		}
		len += n > 0 ? (size_t)n : 0;
	}
	return -E2BIG;
}

/* Run `RUNTIME features`, and return its output. NULL: the command is unknown, its output is too
 * long, or it ran for more than 2 s and was killed. */
static char *runtime_features(const char *runtime)
{
	char *argv[] = { (char *)runtime, (char *)"features", NULL };
	char *environment[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	_cleanup_close_ int reading = -EBADF, writing = -EBADF;
	_cleanup_free_ char *text = malloc(FEATURES_MAX);
	posix_spawn_file_actions_t actions;
	int fds[2], status = -1, r;
	uint64_t until;
	ssize_t n;
	pid_t pid;

	if (!text || pipe2(fds, O_CLOEXEC) < 0)
		return NULL;
	reading = fds[0];
	writing = fds[1];
	until = stow_clock_monotonic() + FEATURES_TIMEOUT;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, writing, STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	r = posix_spawn(&pid, runtime, &actions, NULL, argv, environment);
	posix_spawn_file_actions_destroy(&actions);
	if (r != 0)
		return NULL;
	close(STOW_TAKE_FD(writing));
	n = read_until(reading, text, FEATURES_MAX, until);
	/* It may have closed its output without exiting. */
	r = stow_helper_wait(pid, n < 0 ? 0 : stow_clock_elapsed(stow_clock_monotonic(), until),
			     &status);
	if (n < 0 || r < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return NULL;
	return STOW_TAKE_PTR(text);
}

/* Return whether the runtime supports a mode: "linux.memoryPolicy.modes" of features.md. */
static bool runtime_knows(const char *runtime, const char *mode)
{
	_cleanup_free_ char *text = runtime_features(runtime);
	_cleanup_json_ struct json_object *features = text ? json_tokener_parse(text) : NULL;
	struct json_object *linux_ = stow_json_member(features, "linux", json_type_object);
	struct json_object *policy = stow_json_member(linux_, "memoryPolicy", json_type_object);

	return stow_json_has(stow_json_member(policy, "modes", json_type_array), mode);
}

/* Check that all runtimes that are configured, or found in the usual places, support the mode,
 * because Podman does not tell which one it will start. */
static int check_runtimes(const struct stow_config *config, const struct stow_request *request,
			  struct stow_err *err)
{
	static const char *const usual[] = { "/usr/bin/crun", "/usr/bin/runc", "/usr/sbin/runc",
					     NULL };
	const char *mode = hook_memory_policy_mode(request->memory_policy);
	const char *const *list = config->runtimes ? (const char *const *)config->runtimes : usual;
	bool any = false;

	for (; *list; list++) {
		if (access(*list, X_OK) < 0)
			continue;
		if (!runtime_knows(*list, mode))
			return stow_err_set(
				err, ENOTSUP,
				STOW_ANNOTATION_PREFIX
				"memory-policy: \"%s\": %s does not support linux.memoryPolicy "
				"mode %s (see `%s features`); \"bind\" "
				"works everywhere",
				stow_memory_policy_name(request->memory_policy), *list, mode,
				*list);
		any = true;
	}
	return any ? 0
		   : stow_err_set(err, ENOTSUP,
				  STOW_ANNOTATION_PREFIX
				  "memory-policy: \"%s\": no runtime found that supports "
				  "linux.memoryPolicy; \"bind\" works everywhere",
				  stow_memory_policy_name(request->memory_policy));
}

/* --- the edit ------------------------------------------------------------- */

static int set_memory_policy(struct json_object *config_json, const struct stow_record *record,
			     const struct stow_request *request, struct stow_err *err)
{
	struct json_object *linux_ = stow_json_member(config_json, "linux", json_type_object);
	struct json_object *policy = linux_ ? json_object_new_object() : NULL, *flags;
	struct stow_idset nodes = { 0 };
	char list[1024];

	if (!linux_)
		return stow_err_set(err, EINVAL, "config.json has no \"linux\"");
	if (!policy)
		return stow_err_sys(err, ENOMEM, "editing config.json");
	for (size_t i = 0; i < record->n_shares; i++)
		stow_idset_add(&nodes, record->shares[i].node);
	json_object_object_add(
		policy, "mode",
		json_object_new_string(hook_memory_policy_mode(request->memory_policy)));
	if (request->memory_policy != STOW_MEMORY_LOCAL) {
		stow_idset_format(&nodes, list, sizeof(list));
		json_object_object_add(policy, "nodes", json_object_new_string(list));
		/* apply sets cpuset.mems later: the node numbers must keep their meaning then. */
		flags = json_object_new_array();
		json_object_array_add(flags, json_object_new_string("MPOL_F_STATIC_NODES"));
		json_object_object_add(policy, "flags", flags);
	}
	json_object_object_add(linux_, "memoryPolicy", policy);
	return 0;
}

static int lease(struct hook_run *run, const struct hook_container *container, bool *ret_edited,
		 struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	bool policy = run->request.memory_policy != STOW_MEMORY_BIND;
	int r;

	if (policy) {
		r = check_runtimes(run->config, &run->request, err);
		if (r < 0)
			return r;
	}
	if (stow_changes(run->root, run->config->mode) != STOW_CHANGES_MADE)
		return 0;
	r = hook_run_open_ledger(run, true, err);
	if (r == 0)
		r = stow_grant_reserve(&run->context, &run->subject, &run->request, NULL, 0,
				       &record, &refusal, err);
	if (refusal && r == -ENOSPC)
		return hook_refuse(run->root, container, refusal, err);
	if (r == 0 && policy) {
		r = set_memory_policy(container->json, record, &run->request, err);
		*ret_edited = r == 0;
	}
	if (r == 0)
		hook_audit(run, "leased", record, record->reason, true);
	return r;
}

static int precreate_annotated(struct stow_root *root, const struct hook_container *container,
			       bool *ret_edited, struct stow_err *err)
{
	_cleanup_(hook_run_done) struct hook_run run = { 0 };
	struct stow_err why = { 0 };
	int r;

	r = hook_run_open(root, container, &run, &why);
	if (r == 0)
		r = hook_run_begin(&run, container, container->json, NULL, &why);
	/* Leases of a whole pod are made when its first container has a process. */
	if (r > 0 && run.request.scope == STOW_SCOPE_POD)
		r = 0;
	if (r > 0)
		r = lease(&run, container, ret_edited, &why);
	if (r >= 0)
		return 0;
	run.root = root;
	run.subject.id = container->id;
	if (run.context.config && run.request.on_failure == STOW_ON_FAILURE_IGNORE &&
	    run.request.memory_policy == STOW_MEMORY_BIND)
		return 0; /* apply will report it */
	hook_audit(&run, "refused", NULL, why.msg, true);
	return stow_err_move(err, r, &why);
}

int hook_precreate(struct stow_root *root, int in, int out, struct stow_err *err)
{
	_cleanup_(hook_container_done) struct hook_container container = { 0 };
	_cleanup_free_ char *text = NULL;
	bool edited = false;
	const char *json;
	size_t len;
	int r;

	r = stow_read_most(in, HOOK_CONFIG_MAX + 1, "the config.json on standard input", &text,
			   &len, err);
	if (r < 0)
		return r;
	/* Too long: apply refuses a container that asks for something. */
	if (len > HOOK_CONFIG_MAX || stow_changes(root, STOW_MODE_ENFORCE) == STOW_CHANGES_DISABLED)
		return hook_input_copy(in, out, text, len, err);
	r = hook_parse_config(text, len, &container, err);
	if (r == 0 && container.annotated && !container.sandbox)
		r = precreate_annotated(root, &container, &edited, err);
	if (r < 0)
		return r;
	if (!edited) /* unchanged, byte for byte */
		return hook_write_config(out, text, len, err);
	json = json_object_to_json_string_ext(container.json, JSON_C_TO_STRING_NOSLASHESCAPE);
	return hook_write_config(out, json, strlen(json), err);
}
