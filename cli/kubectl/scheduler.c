// SPDX-License-Identifier: Apache-2.0
#include "cli/kubectl/scheduler.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/helper.h"
#include "base/read.h"
#include "base/yaml.h"
#include "cli/kubectl/kubectl.h"

#define CLIENT_YAML "/etc/numastow/client.yaml"
#define WORDS_MAX   256
#define TEXT_MAX    ((size_t)64 << 20)

struct client {
	char **scheduler;
	bool skipped;
};

static const struct stow_setting client_settings[] = {
	{ "scheduler", STOW_SETTING_LIST, offsetof(struct client, scheduler), 0, 0, NULL, NULL,
	  NULL },
	{ 0 },
};
/* numastow-fleet checks them. */
static const struct stow_yaml_other client_others[] = {
	{ "ca", offsetof(struct client, skipped) },
	{ "certificate", offsetof(struct client, skipped) },
	{ "key", offsetof(struct client, skipped) },
	{ "server-name", offsetof(struct client, skipped) },
	{ "agent", offsetof(struct client, skipped) },
	{ "timeout", offsetof(struct client, skipped) },
	{ 0 },
};
static const struct stow_yaml_table client_table = { .settings = client_settings,
						     .others = client_others };

int kubectl_scheduler_find(bool given, const char *config, const char *name, struct stow_err *err)
{
	const char *path = config ? config : CLIENT_YAML;
	struct client client = { 0 };
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	bool found;
	int r;

	if (given)
		return 0;
	r = stow_read_file(path, STOW_YAML_MAX, &text, &len, err);
	if (r < 0 && (config || r != -ENOENT))
		return r;
	if (r == 0) {
		r = stow_yaml_parse(&client_table, &client, text, len, path, err);
		found = client.scheduler != NULL;
		stow_settings_done(client_settings, &client);
		if (r < 0 || found)
			return r;
	}
	return stow_err_set(err, ENOTCONN,
			    "%s asks numastow-scheduler, and none is configured: name it in %s or "
			    "with --scheduler",
			    name, path);
}

/* Start it; its standard output goes to `out`, unless that is negative. */
static int start(char *const *words, int out, pid_t *ret, struct stow_err *err)
{
	char *argv[WORDS_MAX + 2] = { (char *)(uintptr_t) "numastow" }, path[PATH_MAX];
	posix_spawn_file_actions_t actions;
	size_t n = 0;
	int r;

	for (; words[n]; n++) {
		if (n == WORDS_MAX)
			return stow_err_set(err, E2BIG, "more than %d words", WORDS_MAX);
		argv[n + 1] = words[n];
	}
	r = posix_spawn_file_actions_init(&actions);
	if (r == 0) {
		if (out >= 0)
			r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
		stow_helper_path("numastow-fleet", path, sizeof(path));
		if (r == 0)
			r = posix_spawn(ret, path, &actions, NULL, argv, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	return r ? stow_err_sys(err, r, "cannot start numastow-fleet") : 0;
}

int kubectl_scheduler_ask(char *const *words, char **ret_text, size_t *ret_len,
			  struct stow_err *err)
{
	_cleanup_close_ int in = -EBADF, out = -EBADF;
	int fds[2], status, r;
	pid_t pid;

	if (ret_text && pipe2(fds, O_CLOEXEC) < 0)
		return stow_err_sys(err, errno, "no pipe");
	if (ret_text) {
		in = fds[0];
		out = fds[1];
	}
	fflush(stdout);
	r = start(words, out, &pid, err);
	if (r < 0)
		return r;
	stow_close_ptr(&out);
	if (ret_text)
		r = stow_read_all(in, TEXT_MAX, "numastow-fleet", ret_text, ret_len, err);
	stow_close_ptr(&in); /* with more to print, it ends */
	/* It has the terminal's signals, too, and cancels what it began. */
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return stow_err_sys(err, errno, "numastow-fleet");
	if (r < 0)
		return r;
	return WIFEXITED(status) ? WEXITSTATUS(status) : CLI_FAILED;
}
