// SPDX-License-Identifier: Apache-2.0
/*
 * Measures the time from the end of a hook until the scheduler's table has the container: watches a
 * node at the scheduler, runs the hook for one container repeatedly, and waits for the node's
 * event.
 *
 * usage: fleet_delay SCHEDULER NODE HOOK STATE RUNS COMMAND CONTAINER
 *
 * STATE is the OCI state of CONTAINER, whose process keeps running; COMMAND (numastow) restores it
 * between two runs. Prints "KEY VALUE" lines.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <numastow/v1/scheduler.pb-c.h>

#include "base/clock.h"
#include "base/idlist.h"

#include "rpc/rpc.h"

#define S STOW_SECOND

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static const char *container;
static bool present, closed;
static uint64_t seen_at;

static int on_event(struct stow_rpc_call *call, void *ctx, const void *message,
		    struct stow_err *err)
{
	const PbNodeEvent *in = message;
	bool there = false;

	if (in->kind_case != PB_NODE_EVENT__KIND_NODE || !in->node->report)
		return 0;
	for (size_t i = 0; i < in->node->report->n_containers; i++)
		if (strcmp(in->node->report->containers[i]->id, container) == 0 &&
		    in->node->report->containers[i]->state == PB_CONTAINER_STATE_ACTIVE)
			there = true;
	pthread_mutex_lock(&lock);
	if (there != present) {
		present = there;
		seen_at = stow_clock_monotonic();
		pthread_cond_broadcast(&changed);
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

static void on_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	fprintf(stderr, "fleet_delay: the watch ended: %s\n", err ? err->msg : "");
	pthread_mutex_lock(&lock);
	closed = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

/* Run a program, and return the time when it ended. */
static uint64_t run(const char *const argv[], const char *input)
{
	posix_spawn_file_actions_t actions;
	int status = 0;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	if (posix_spawn(&pid, argv[0], &actions, NULL, (char **)(uintptr_t)argv, environ) != 0 ||
	    waitpid(pid, &status, 0) < 0 || status != 0) {
		fprintf(stderr, "fleet_delay: %s %s failed\n", argv[0], argv[1]);
		_exit(1);
	}
	posix_spawn_file_actions_destroy(&actions);
	return stow_clock_monotonic();
}

/* Wait until the container is (not) in the table. Returns the time, or 0 after 10 s. */
static uint64_t await(bool there)
{
	struct timespec until;
	uint64_t at = 0;

	until = stow_clock_timespec(stow_clock_wall() + 10 * STOW_SECOND);
	pthread_mutex_lock(&lock);
	while (present != there && !closed)
		if (pthread_cond_timedwait(&changed, &lock, &until) == ETIMEDOUT)
			break;
	if (present == there)
		at = seen_at;
	pthread_mutex_unlock(&lock);
	return at;
}

/* Microseconds below which that share of them was; they are in order. */
static double percentile(const uint64_t *delays, size_t n, size_t share)
{
	size_t at = n * share / 100;

	return (double)delays[at < n ? at : n - 1] / 1e3;
}

int main(int argc, char **argv)
{
	static const struct stow_rpc_stream_ops ops = { .message = on_event, .closed = on_closed };
	PbWatchNodesRequest in = PB_WATCH_NODES_REQUEST__INIT;
	struct stow_rpc_client_options options = { 0 };
	struct stow_rpc_client *client;
	struct stow_rpc_loop *loop;
	struct stow_err err = { 0 };
	uint64_t *delays;
	size_t n, lost = 0;

	if (argc != 8) {
		fprintf(stderr,
			"usage: fleet_delay SCHEDULER NODE HOOK STATE RUNS COMMAND CONTAINER\n");
		return 2;
	}
	n = strtoul(argv[5], NULL, 10);
	delays = calloc(n + 1, sizeof(*delays));
	container = argv[7];
	options.target = argv[1];
	in.names = &argv[2];
	in.n_names = 1;
	in.containers = true;
	if (stow_rpc_loop_new(1, &loop, &err) < 0 ||
	    stow_rpc_client_new(loop, &options, &client, &err) < 0 ||
	    stow_rpc_client_open(client, &pb_scheduler__descriptor, "WatchNodes", &ops, NULL, &in,
				 STOW_RPC_NO_DEADLINE, NULL, &err) < 0) {
		fprintf(stderr, "fleet_delay: %s\n", err.msg);
		return 1;
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t ended = run((const char *[]){ argv[3], "apply", NULL }, argv[4]);
		uint64_t seen = await(true);

		/* The ledger is committed a little before the hook ends, so the event may be first.
		 */
		delays[i] = seen > ended ? seen - ended : 0;
		if (seen == 0) {
			lost++;
			delays[i] = 10 * S;
		}
		run((const char *[]){ argv[6], "restore", argv[7], NULL }, "/dev/null");
		await(false);
	}
	stow_idlist_sort(delays, n);
	printf("runs %zu\nlost %zu\np50_us %.0f\np99_us %.0f\nmax_us %.0f\n", n, lost,
	       percentile(delays, n, 50), percentile(delays, n, 99), percentile(delays, n, 100));
	fflush(stdout);
	_exit(lost > 0);
}
