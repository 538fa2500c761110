// SPDX-License-Identifier: Apache-2.0
/*
 * Runs the hook, or garbage collection, on a copied tree with a simulated kernel (fakekernel.h).
 *
 *	hook-on-root ROOT apply|release|precreate < STATE
 *	hook-on-root ROOT gc|restore
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
	proc_path(dir, pid, "", path, sizeof(path));
	rmdir(path);
}

/* --- commands ------------------------------------------------------------- */

static int collect(struct stow_root *root, bool all, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_(stow_config_free_ptr) struct stow_config *config = NULL;
	struct stow_grant_context context = { .root = root };
	struct stow_gc_result result = { 0 };
	int r;

	r = stow_config_read(root, &config, err);
	if (r == 0)
		r = stow_pidref_read(root, getpid(), &context.self, err);
	if (r == 0)
		r = stow_ledger_open(root, true, &ledger, err);
	if (r < 0)
		return r;
	context.ledger = ledger;
	context.config = config;
	if (all)
		return stow_restore_all(&context, err);
	r = stow_gc(&context, &result, err);
	printf("expired %zu undone %zu reclaimed %zu unmanaged %zu pages %llu\n", result.expired,
	       result.undone, result.reclaimed, result.unmanaged, (unsigned long long)result.pages);
	stow_gc_result_done(&result);
	return r;
}

static int work(const char *dir, const char *word, struct fakekernel *kernel)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	enum hook_command command = HOOK_APPLY;
	struct stow_err err = { 0 };
	bool gc = strcmp(word, "gc") == 0, all = strcmp(word, "restore") == 0;
	int r;

	r = stow_root_open(dir, &root, &err);
	if (r == 0 && root->live)
		r = stow_err_set(&err, EINVAL, "not on the live root");
	if (r == 0 && !gc && !all)
		r = hook_command_parse(word, &command, &err);
	if (r == 0)
		r = fakekernel_begin(kernel, root, &err);
	if (r == 0)
		r = gc || all ? collect(root, all, &err)
			      : stow_hook_run(root, command, STDIN_FILENO, STDOUT_FILENO, &err);
	if (r < 0)
		fprintf(stderr, "numastow: %s\n", err.msg);
	if (root)
		fakekernel_end(kernel, root);
	return r < 0;
}

/* A process that will be killed is a child, so that the parent can remove it from the tree. */
static int work_and_die(const char *dir, const char *word, struct fakekernel *kernel)
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
		exit(work(dir, word, kernel));
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

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'k')
			kernel.kill_at = strtoul(optarg, NULL, 10);
		else if (c == 'f')
			kernel.fail_at = strtoul(optarg, NULL, 10);
		else if (c == 't')
			kernel.trace = fopen(optarg, "we");
		else
			return 2;
	}
	if (argc - optind != 2 || !realpath(argv[optind], dir)) {
		fputs("usage: hook-on-root [--kill-at N] [--fail-at N] [--trace FILE] ROOT "
		      "apply|release|precreate|gc|restore\n",
		      stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (kernel.kill_at)
		return work_and_die(dir, argv[optind + 1], &kernel);
	proc_enter(dir, getpid());
	r = work(dir, argv[optind + 1], &kernel);
	proc_leave(dir, getpid());
	return r;
}
