// SPDX-License-Identifier: Apache-2.0
/*
 * --each-node: an instance on each NUMA node, as a child. Each instance is placed, tells so, and
 * waits until all are: then all start, or all give back what they have.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/run/run.h"

/* Passed on to all instances, unless the terminal has sent them to all already. */
static const int passed_on[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2 };

struct instance {
	int node;
	pid_t pid;
	int ready; /* from which a byte comes when it is placed */
	int code;
};

struct all {
	struct instance *list;
	size_t n;
	int go[2]; /* a byte for each instance; or its end: give up */
	sigset_t mask, before_mask;
	struct run_before before;
};

/* The nodes of --nodes, or all that have CPUs. */
static int find_nodes(const struct run_options *options, struct stow_idset *ret,
		      struct stow_err *err)
{
	_cleanup_(run_close) struct run run;
	int r = run_open(&run, options, err);

	if (r == 0)
		r = run_request(&run, -1, err);
	if (r < 0)
		return r;
	if (run.request.nodes_auto)
		return run_read_nodes(run.root, "has_cpu", ret, err);
	*ret = run.request.nodes;
	return 0;
}

static int prepare(struct all *all, const struct stow_idset *nodes, struct stow_err *err)
{
	all->list = calloc(stow_idset_count(nodes), sizeof(*all->list));
	if (!all->list || pipe2(all->go, O_CLOEXEC) < 0)
		return stow_err_sys(err, errno, "--each-node");
	STOW_IDSET_FOR(node, nodes)
		all->list[all->n++] = (struct instance){ .node = node, .ready = -EBADF };
	/* Taken by sigwaitinfo(2). */
	sigemptyset(&all->mask);
	sigaddset(&all->mask, SIGCHLD);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(passed_on); i++)
		sigaddset(&all->mask, passed_on[i]);
	sigprocmask(SIG_BLOCK, &all->mask, &all->before_mask);
	return 0;
}

/* --- an instance ---------------------------------------------------------- */

static int wait_for_all(int go)
{
	char byte;
	ssize_t n;

	do
		n = read(go, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : -ECANCELED;
}

static int be_instance(struct all *all, const struct run_options *options, int node, int ready)
{
	_cleanup_(run_close) struct run run;
	struct stow_err err;
	char number[16];
	int r;

	close(all->go[1]);
	r = run_open(&run, options, &err);
	run.before = all->before;
	if (r == 0)
		r = run_place(&run, node, &err);
	if (r < 0) {
		fprintf(stderr, "numastow: NUMA node %d: %s\n", node, err.msg);
		return RUN_FAILED;
	}
	snprintf(number, sizeof(number), "%d", node);
	if (setenv("NUMASTOW_NODE", number, 1) < 0 || write(ready, "", 1) != 1 ||
	    wait_for_all(all->go[0]) < 0) {
		run_take_back(&run, "another NUMA node's instance could not be placed");
		return RUN_FAILED;
	}
	sigprocmask(SIG_SETMASK, &all->before_mask, NULL);
	return run_program(&run);
}

static int start(struct all *all, const struct run_options *options, struct instance *instance)
{
	int ready[2];

	if (pipe2(ready, O_CLOEXEC) < 0)
		return -errno;
	instance->pid = fork();
	if (instance->pid == 0)
		_exit(be_instance(all, options, instance->node, ready[1]));
	close(ready[1]);
	instance->ready = ready[0];
	return instance->pid < 0 ? -errno : 0;
}

/* --- all of them ---------------------------------------------------------- */

/* Return whether all instances have been placed. */
static bool are_placed(struct all *all)
{
	bool placed = true;
	char byte;

	for (size_t i = 0; i < all->n; i++) {
		ssize_t n;

		do
			n = read(all->list[i].ready, &byte, 1);
		while (n < 0 && errno == EINTR);
		placed &= n == 1;
	}
	return placed;
}

/* Let all start, or none. */
static void decide(struct all *all, bool placed)
{
	for (size_t i = 0; i < all->n && placed; i++)
		placed = write(all->go[1], "", 1) == 1;
	close(all->go[0]);
	close(all->go[1]);
}

static void note_end(struct all *all, pid_t pid, int status)
{
	for (size_t i = 0; i < all->n; i++) {
		if (all->list[i].pid != pid)
			continue;
		all->list[i].pid = 0;
		all->list[i].code =
			WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
}

static size_t reap(struct all *all)
{
	size_t running = 0;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		note_end(all, pid, status);
	for (size_t i = 0; i < all->n; i++)
		running += all->list[i].pid > 0;
	return running;
}

static void wait_for_ends(struct all *all)
{
	siginfo_t info;

	while (reap(all) > 0) {
		int signal = sigwaitinfo(&all->mask, &info);

		if (signal <= 0 || signal == SIGCHLD || info.si_code == SI_KERNEL)
			continue;
		for (size_t i = 0; i < all->n; i++)
			if (all->list[i].pid > 0)
				kill(all->list[i].pid, signal);
	}
}

int run_each(const struct run_options *options)
{
	struct all all = { .go = { -EBADF, -EBADF } };
	struct stow_idset nodes;
	struct stow_err err;
	bool placed = true;
	int r;

	run_prepare(&all.before);
	r = find_nodes(options, &nodes, &err);
	if (r == 0)
		r = prepare(&all, &nodes, &err);
	if (r < 0) {
		fprintf(stderr, "numastow: %s\n", err.msg);
		return RUN_FAILED;
	}
	for (size_t i = 0; i < all.n && placed; i++) {
		r = start(&all, options, &all.list[i]);
		placed = r == 0;
		if (r < 0)
			fprintf(stderr, "numastow: NUMA node %d: %s\n", all.list[i].node,
				strerror(-r));
	}
	placed = placed && are_placed(&all);
	decide(&all, placed);
	wait_for_ends(&all);
	r = placed ? 0 : RUN_FAILED;
	for (size_t i = 0; i < all.n && !r; i++)
		r = all.list[i].code;
	free(all.list);
	return r;
}
