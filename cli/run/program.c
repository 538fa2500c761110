// SPDX-License-Identifier: Apache-2.0
/* The program itself: its user, its environment, its start. */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/run/run.h"
#include "node/hugepage.h"

void run_prepare(struct run_before *before)
{
	struct sigaction child = { .sa_handler = SIG_DFL }, pipe = { .sa_handler = SIG_IGN };

	/* Helpers are waited for, which a caller that ignores SIGCHLD makes impossible. */
	sigaction(SIGCHLD, &child, &before->child);
	/* A closed pipe is an error, and must not end the program with its work half done. */
	sigaction(SIGPIPE, &pipe, &before->pipe);
	before->umask = umask(022);
}

static void put_back(const struct run_before *before)
{
	sigaction(SIGCHLD, &before->child, NULL);
	sigaction(SIGPIPE, &before->pipe, NULL);
	umask(before->umask);
}

/* --- finding -------------------------------------------------------------- */

static int report(const char *program, int error)
{
	struct stow_err err;

	(void)stow_err_sys(&err, error, "cannot execute \"%.256s\"", program);
	(void)cli_fail(&err);
	return error == ENOENT || error == ENOTDIR ? RUN_NOT_FOUND : RUN_NOT_EXECUTABLE;
}

/* Return 0, or the errno with which execve(2) would fail. */
static int check_file(const char *path)
{
	struct stat st;

	/* As in a shell: what a folder hides is not found. */
	if (stat(path, &st) < 0)
		return errno == EACCES ? ENOENT : errno;
	if (S_ISDIR(st.st_mode))
		return EACCES;
	return access(path, X_OK) < 0 ? errno : 0;
}

int run_find(const char *program)
{
	const char *folders = secure_getenv("PATH");
	int error = ENOENT;

	if (strchr(program, '/')) {
		error = access(program, F_OK) < 0 ? errno : check_file(program);
		return error ? report(program, error) : 0;
	}
	if (!folders)
		folders = "/bin:/usr/bin"; /* as execvp(3) */
	while (*program) {
		char path[PATH_MAX];
		size_t len = strcspn(folders, ":");
		int found;

		if (snprintf(path, sizeof(path), "%.*s%s%s", (int)len, folders, len ? "/" : "",
			     program) < (int)sizeof(path)) {
			found = check_file(path);
			if (!found)
				return 0;
			if (found != ENOENT && found != ENOTDIR)
				error = found;
		}
		if (!folders[len])
			break;
		folders += len + 1;
	}
	return report(program, error);
}

/* --- the user ------------------------------------------------------------- */

/* By name, or by number. */
static const struct passwd *find_user(const char *user)
{
	const struct passwd *found = getpwnam(user);
	uint64_t number;

	if (!found && stow_parse_u64(user, UINT32_MAX - 1, &number, NULL) == 0)
		found = getpwuid((uid_t)number);
	return found;
}

int run_check_user(const char *user, struct stow_err *err)
{
	if (!user || find_user(user))
		return 0;
	return stow_err_set(err, EINVAL, "--user: there is no user \"%.64s\"", user);
}

int run_become(const char *user, struct stow_err *err)
{
	const struct passwd *found;

	if (!user)
		return 0;
	found = find_user(user);
	if (!found)
		return stow_err_set(err, EINVAL, "--user: there is no user \"%.64s\"", user);
	if (setenv("HOME", found->pw_dir, 1) < 0 || setenv("USER", found->pw_name, 1) < 0 ||
	    setenv("LOGNAME", found->pw_name, 1) < 0 || setenv("SHELL", found->pw_shell, 1) < 0)
		return stow_err_sys(err, errno, "the environment");
	if (initgroups(found->pw_name, found->pw_gid) < 0 || setgid(found->pw_gid) < 0 ||
	    setresuid(found->pw_uid, found->pw_uid, 0) < 0)
		return stow_err_sys(err, errno, "--user: becoming \"%.64s\"", user);
	return 0;
}

/* --- the start ------------------------------------------------------------ */

int run_set_tunables(struct stow_root *root, uint64_t page_size, struct stow_err *err)
{
	const char *before = secure_getenv("GLIBC_TUNABLES");
	_cleanup_free_ char *text = NULL;
	uint64_t size = 0;
	int r;

	if (!page_size)
		return 0;
	/* 2 is the default size, a larger number is a size in bytes. */
	(void)stow_pool_default_size(root, &size, NULL);
	r = asprintf(&text, "%s%sglibc.malloc.hugetlb=%" PRIu64, before ? before : "",
		     before && *before ? ":" : "", page_size == size ? 2 : page_size);
	if (r < 0 || setenv("GLIBC_TUNABLES", text, 1) < 0)
		return stow_err_sys(err, ENOMEM, "GLIBC_TUNABLES");
	return 0;
}

int run_execute(const struct run_before *before, char **command)
{
	int error;

	put_back(before);
	execvp(command[0], command);
	error = errno;
	/* Become root again, for what the caller has to undo. */
	if (geteuid() != 0)
		(void)!seteuid(0);
	return report(command[0], error);
}
