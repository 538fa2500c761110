// SPDX-License-Identifier: Apache-2.0
/*
 * Runs the hook, or garbage collection, on a copied tree with a simulated kernel (fakekernel.h).
 *
 *	hook-on-root ROOT apply|release|precreate [--claim UID --share ID] < STATE
 *	hook-on-root ROOT gc|rebuild|restore
 *	hook-on-root ROOT run NAME [ANNOTATION VALUE]...
 *
 * `run` is what `numastow run` does before it executes the program: the cgroup /machine.slice/NAME,
 * which exists, is the one that it joins.
 *
 *	--kill-at N	kill the process with SIGKILL at the N-th step
 *	--fail-at N	fail the N-th step with EIO
 *	--trace FILE	list the steps
 *
 * While it runs, the program is a process in the tree's /proc. Exit code and message are those of
 * numastow-hook.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fakekernel.h"
#include "grant/gc.h"
#include "grant/program.h"
#include "oci-hook/hook.h"

/* --- a process of the tree's machine -------------------------------------- */

static void proc_path(const char *dir, pid_t pid, const char *file, char *buf, size_t size)
{
	snprintf(buf, size, "%s/proc/%d%s", dir, (int)pid, file);
}

/* Copy the present /proc/PID/stat. */
static void proc_enter(const char *dir, pid_t pid)
{
	_cleanup_close_ int from = -EBADF, to = -EBADF;
	char path[4096], stat[4096];
	ssize_t n;

	proc_path("", pid, "/stat", path, sizeof(path));
	from = open(path, O_RDONLY | O_CLOEXEC);
	n = from < 0 ? -1 : read(from, stat, sizeof(stat));
	proc_path(dir, pid, "", path, sizeof(path));
	mkdir(path, 0755);
	proc_path(dir, pid, "/stat", path, sizeof(path));
	to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (n < 0 || to < 0 || write(to, stat, (size_t)n) != n) {
		perror(path);
		exit(3);
	}
}

static void proc_leave(const char *dir, pid_t pid)
{
	char path[4096];

	proc_path(dir, pid, "/stat", path, sizeof(path));
	unlink(path);
	proc_path(dir, pid, "/cgroup", path, sizeof(path));
	unlink(path);
	proc_path(dir, pid, "", path, sizeof(path));
	rmdir(path);
}

/* --- commands ------------------------------------------------------------- */

/* What `numastow gc --rebuild` does before it collects. */
static int rebuild(struct stow_root *root, const struct stow_grant_context *context,
		   struct stow_ledger **ret, struct stow_err *err)
{
	struct stow_grant_context now = *context;
	char aside[512];
	int r = stow_ledger_open(root, true, ret, NULL);

	if (r != -EUCLEAN && r != -EPROTO)
		return r;
	r = stow_ledger_set_aside(root, aside, sizeof(aside), err);
	if (r == 0)
		r = stow_ledger_open(root, true, ret, err);
	if (r < 0)
		return r;
	now.ledger = *ret;
	r = stow_rebuild(&now, err);
	printf("rebuilt %d\n", r);
	return r < 0 ? r : 0;
}

static int collect(struct stow_root *root, const char *command, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_(stow_config_free_ptr) struct stow_config *config = NULL;
	struct stow_grant_context context = { .root = root };
	struct stow_gc_result result = { 0 };
	int r;

	r = stow_config_read(root, &config, err);
	if (r == 0)
		r = stow_pidref_read(root, getpid(), &context.self, err);
	context.config = config;
	if (r == 0)
		r = strcmp(command, "rebuild") == 0 ? rebuild(root, &context, &ledger, err)
						    : stow_ledger_open(root, true, &ledger, err);
	if (r < 0)
		return r;
	context.ledger = ledger;
	if (strcmp(command, "restore") == 0)
		return stow_restore_all(&context, err);
	r = stow_gc(&context, &result, err);
	printf("expired %zu undone %zu reclaimed %zu unmanaged %zu pages %llu\n", result.expired,
	       result.undone, result.reclaimed, result.unmanaged, (unsigned long long)result.pages);
	stow_gc_result_done(&result);
	return r;
}

/* --- numastow run --------------------------------------------------------- */

struct program_join {
	const char *dir, *name;
	bool v1;
};

static int write_membership(const struct program_join *to, const char *name)
{
	static const char *const controllers[] = { "0:", "2:cpuset", "3:memory", "4:hugetlb" };
	const char *above = *name ? "/machine.slice/" : "/";
	char path[4096];
	FILE *out;

	proc_path(to->dir, getpid(), "/cgroup", path, sizeof(path));
	out = fopen(path, "we");
	if (!out)
		return -errno;
	for (size_t i = to->v1; i < (to->v1 ? STOW_ARRAY_SIZE(controllers) : 1); i++)
		fprintf(out, "%s:%s%s\n", controllers[i], above, name);
	return fclose(out) == 0 ? 0 : -errno;
}

static int join(void *ctx, const struct stow_made_sets *planned, struct stow_err *err)
{
	const struct program_join *to = ctx;
	int r = write_membership(to, to->name);

	return r < 0 ? stow_err_sys(err, -r, "joining") : 0;
}

static int place(struct stow_root *root, const char *dir, int argc, char **argv,
		 struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_(stow_config_free_ptr) struct stow_config *config = NULL;
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_placed_done) struct stow_placed placed = { 0 };
	struct program_join to = { .dir = dir, .name = argc > 1 ? argv[1] : "" };
	struct stow_annotation annotations[16];
	struct stow_grant_context context = { .root = root };
	struct stow_request request;
	struct stow_program program = {
		.name = to.name, .request = &request, .join = join, .ctx = &to
	};
	size_t n = 0;
	int r;

	for (int i = 2; i + 1 < argc && n < STOW_ARRAY_SIZE(annotations); i += 2)
		annotations[n++] = (struct stow_annotation){ argv[i], argv[i + 1] };
	to.v1 = stow_root_exists(root, "/sys/fs/cgroup/cgroup.controllers") != 1;
	r = stow_config_read(root, &config, err);
	if (r == 0)
		r = stow_pidref_read(root, getpid(), &context.self, err);
	if (r == 0)
		r = stow_ledger_open(root, true, &ledger, err);
	if (r == 0)
		r = stow_request_parse(annotations, n, NULL, NULL, STOW_POLICY_SINGLE_NUMA_NODE,
				       &request, err);
	if (r >= 0)
		r = stow_request_complete(&request, &(struct stow_limits){ 0 }, false, err);
	if (r == 0 && (r = write_membership(&to, "")) < 0)
		r = stow_err_sys(err, -r, "%s", dir);
	if (r < 0)
		return r;
	context.ledger = ledger;
	context.config = config;
	return stow_program_place(&context, &program, &placed, &refusal, err);
}

static int work(const char *dir, int argc, char **argv, struct fakekernel *kernel)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	struct hook_call call = { 0 };
	struct stow_err err = { 0 };
	bool collects = strcmp(argv[0], "gc") == 0 || strcmp(argv[0], "restore") == 0 ||
			strcmp(argv[0], "rebuild") == 0;
	bool run = strcmp(argv[0], "run") == 0;
	int r;

	r = stow_root_open(dir, &root, &err);
	if (r == 0 && root->live)
		r = stow_err_set(&err, EINVAL, "not on the live root");
	if (r == 0 && !collects && !run)
		r = hook_call_parse(argc, argv, &call, &err);
	if (r == 0)
		r = fakekernel_begin(kernel, root, &err);
	if (r == 0)
		r = collects ? collect(root, argv[0], &err)
		    : run    ? place(root, dir, argc, argv, &err)
			     : stow_hook_run(root, &call, STDIN_FILENO, STDOUT_FILENO, &err);
	if (r < 0)
		fprintf(stderr, "numastow: %s\n", err.msg);
	if (root)
		fakekernel_end(kernel, root);
	return r < 0;
}

/* A process that will be killed is a child, so that the parent can remove it from the tree. */
static int work_and_die(const char *dir, int argc, char **argv, struct fakekernel *kernel)
{
	int go[2], status;
	char byte = 0;
	pid_t pid;

	if (pipe2(go, O_CLOEXEC) < 0)
		return 3;
	pid = fork();
	if (pid < 0)
		return 3;
	if (pid == 0) {
		if (read(go[0], &byte, 1) != 1)
			_exit(3);
		exit(work(dir, argc, argv, kernel));
	}
	proc_enter(dir, pid);
	if (write(go[1], &byte, 1) != 1 || waitpid(pid, &status, 0) < 0)
		return 3;
	proc_leave(dir, pid);
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
	}
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "kill-at", required_argument, NULL, 'k' },
		{ "fail-at", required_argument, NULL, 'f' },
		{ "trace", required_argument, NULL, 't' },
		{ 0 },
	};
	struct fakekernel kernel = { .lock = -EBADF };
	char dir[4096];
	int c, r;

	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (c == 'k')
			kernel.kill_at = strtoul(optarg, NULL, 10);
		else if (c == 'f')
			kernel.fail_at = strtoul(optarg, NULL, 10);
		else if (c == 't')
			kernel.trace = fopen(optarg, "we");
		else
			return 2;
	}
	if (argc - optind < 2 || !realpath(argv[optind], dir)) {
		fputs("usage: hook-on-root [--kill-at N] [--fail-at N] [--trace FILE] ROOT "
		      "apply|release|precreate|gc|restore|run [ARGUMENT...]\n",
		      stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (kernel.kill_at)
		return work_and_die(dir, argc - optind - 1, argv + optind + 1, &kernel);
	proc_enter(dir, getpid());
	r = work(dir, argc - optind - 1, argv + optind + 1, &kernel);
	proc_leave(dir, getpid());
	return r;
}
