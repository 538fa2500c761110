// SPDX-License-Identifier: Apache-2.0
#include "kube/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <spawn.h>
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
#include "base/setting.h"
#include "kube/json.h"
#include "kube/plugin.h"

#define ANSWER_MAX  ((size_t)1 << 20)
#define CA_MAX	    ((size_t)1 << 20)
#define TIMEOUT	    (60 * STOW_SECOND)
#define TIMEOUT_TTY (300 * STOW_SECOND) /* interactive: a user may have to log in */

/* --- the plugin's environment --------------------------------------------- */

static int put(struct json_object *object, const char *key, struct json_object *value)
{
	if (object && value && json_object_object_add(object, key, value) == 0)
		return 0;
	json_object_put(value);
	return -ENOMEM;
}

static int put_text(struct json_object *object, const char *key, const char *text)
{
	return put(object, key, json_object_new_string(text));
}

/* Add the CA, in base64. */
static int put_ca(struct json_object *cluster, const struct stow_kube_config *config,
		  struct stow_err *err)
{
	_cleanup_free_ char *read = NULL, *encoded = NULL;
	const char *text = config->ca;
	size_t len = 0;
	int r;

	if (!text && config->ca_file) {
		r = stow_read_file(config->ca_file, CA_MAX, &read, &len, err);
		if (r < 0)
			return r;
		text = read;
	}
	if (!text)
		return 0;
	len = strlen(text);
	encoded = malloc(len / 3 * 4 + 8);
	if (!encoded)
		return stow_err_set(err, ENOMEM, "out of memory");
	EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)text, (int)len);
	return put_text(cluster, "certificate-authority-data", encoded) < 0
		       ? stow_err_set(err, ENOMEM, "out of memory")
		       : 0;
}

/* Make the variable KUBERNETES_EXEC_INFO, with an object ExecCredential. */
static int make_info(const struct stow_kube_config *config, bool interactive, char **ret,
		     struct stow_err *err)
{
	_cleanup_json_ struct json_object *info = json_object_new_object();
	struct json_object *spec = json_object_new_object(), *cluster;
	int r = put(info, "spec", spec);

	if (r == 0)
		r = put_text(info, "kind", "ExecCredential");
	if (r == 0)
		r = put_text(info, "apiVersion", config->exec->version);
	if (r == 0)
		r = put(spec, "interactive", json_object_new_boolean(interactive));
	if (r == 0 && config->exec->cluster_info) {
		cluster = json_object_new_object();
		r = put(spec, "cluster", cluster);
		if (r == 0)
			r = put_text(cluster, "server", config->server);
		if (r == 0 && (r = put_ca(cluster, config, err)) < 0)
			return r;
	}
	if (r == 0 && asprintf(ret, "KUBERNETES_EXEC_INFO=%s",
			       json_object_to_json_string_ext(info, JSON_C_TO_STRING_PLAIN)) < 0)
		r = -ENOMEM;
	return r < 0 ? stow_err_set(err, ENOMEM, "out of memory") : 0;
}

/* Add a variable to an environment, or replace it there. */
static int set_variable(char ***env, const char *text, struct stow_err *err)
{
	size_t len = strcspn(text, "=") + 1;

	for (char **e = *env; e && *e; e++)
		if (strncmp(*e, text, len) == 0) {
			char *copy = strdup(text);

			if (!copy)
				return stow_err_set(err, ENOMEM, "out of memory");
			free(*e);
			*e = copy;
			return 0;
		}
	return stow_list_append(env, text, strlen(text), err);
}

static int make_environment(const struct stow_kube_config *config, bool interactive, char ***ret,
			    struct stow_err *err)
{
	_cleanup_free_ char *info = NULL;
	int r = make_info(config, interactive, &info, err);

	for (char **e = environ; r == 0 && e && *e; e++)
		r = stow_list_append(ret, *e, strlen(*e), err);
	for (char **e = config->exec->env; r == 0 && e && *e; e++)
		r = set_variable(ret, *e, err);
	return r == 0 ? set_variable(ret, info, err) : r;
}

/* --- running it ----------------------------------------------------------- */

static int spawn(const struct stow_kube_exec *exec, char **env, bool interactive, int out,
		 pid_t *ret, struct stow_err *err)
{
	posix_spawn_file_actions_t actions;
	int r = posix_spawn_file_actions_init(&actions);

	if (r == 0) {
		r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
		if (r == 0 && !interactive)
			r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null",
							     O_RDONLY, 0);
		if (r == 0)
			r = posix_spawnp(ret, exec->argv[0], &actions, NULL, exec->argv, env);
		posix_spawn_file_actions_destroy(&actions);
	}
	return r ? stow_err_sys(err, r, "it does not start") : 0;
}

/* Read what it prints, until it closes its standard output. */
static int read_answer(int fd, uint64_t until, char *buf, size_t *ret_len, struct stow_err *err)
{
	size_t len = 0;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int left = stow_clock_ms_left(stow_clock_monotonic(), until);
		ssize_t n;

		if (left <= 0)
			return stow_err_set(err, ETIMEDOUT, "it printed no credentials in time");
		if (poll(&p, 1, left) <= 0)
			continue;
		n = read(fd, buf + len, ANSWER_MAX - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return stow_err_sys(err, errno, "its output cannot be read");
		len += (size_t)n;
		if (n == 0)
			break;
		if (len == ANSWER_MAX)
			return stow_err_set(err, E2BIG, "it printed more than %zu bytes",
					    ANSWER_MAX - 1);
	}
	*ret_len = len;
	return 0;
}

static int run(const struct stow_kube_config *config, bool interactive, char *buf, size_t *ret_len,
	       struct stow_err *err)
{
	uint64_t until = stow_clock_monotonic() + (interactive ? TIMEOUT_TTY : TIMEOUT);
	_cleanup_close_ int in = -EBADF, out = -EBADF;
	char **env = NULL;
	int fds[2], status = 0, r;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return stow_err_sys(err, errno, "no pipe");
	in = fds[0];
	out = fds[1];
	r = make_environment(config, interactive, &env, err);
	if (r == 0)
		r = spawn(config->exec, env, interactive, out, &pid, err);
	stow_list_clear(&env);
	if (r < 0)
		return r;
	stow_close_ptr(&out);
	r = read_answer(in, until, buf, ret_len, err);
	if (stow_helper_wait(pid, r < 0 ? 0 : stow_saturating_sub(until, stow_clock_monotonic()),
			     &status) < 0 &&
	    r == 0)
		r = stow_err_set(err, ETIMEDOUT, "it does not end");
	if (r == 0 && status != 0)
		r = stow_err_set(err, EACCES, "it failed (%s %d)",
				 WIFEXITED(status) ? "exit code" : "signal",
				 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	return r;
}

/* --- the plugin's answer --------------------------------------------------- */

/* Replace a setting of the configuration, given as a text or as a file. */
static int replace(char **text, char **file, const char *value, struct stow_err *err)
{
	free(*file);
	*file = NULL;
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = value[0] ? strdup(value) : NULL;
	return value[0] && !*text ? stow_err_set(err, ENOMEM, "out of memory") : 0;
}

static int take_credentials(struct stow_kube_config *config, const char *buf, size_t len,
			    struct stow_err *err)
{
	_cleanup_json_ struct json_object *answer = NULL;
	const char *token, *certificate, *key;
	int r = stow_kube_parse(buf, len, &answer, NULL);

	if (r < 0)
		return stow_err_set(err, EBADMSG, "it did not print a JSON object");
	if (strcmp(stow_kube_text(answer, "kind"), "ExecCredential") != 0 ||
	    strcmp(stow_kube_text(answer, "apiVersion"), config->exec->version) != 0)
		return stow_err_set(err, EBADMSG, "it did not print an ExecCredential of %s",
				    config->exec->version);
	token = stow_kube_text(answer, "status.token");
	certificate = stow_kube_text(answer, "status.clientCertificateData");
	key = stow_kube_text(answer, "status.clientKeyData");
	if (!token[0] && !certificate[0])
		return stow_err_set(err, EBADMSG, "it printed no token and no certificate");
	if (!certificate[0] != !key[0])
		return stow_err_set(
			err, EBADMSG,
			"it printed a certificate without a key, or a key without a certificate");
	if (token[0])
		r = replace(&config->token, &config->token_file, token, err);
	if (r == 0 && certificate[0])
		r = replace(&config->certificate, &config->certificate_file, certificate, err);
	if (r == 0 && certificate[0])
		r = replace(&config->key, &config->key_file, key, err);
	return r;
}

int stow_kube_exec_run(struct stow_kube_config *config, struct stow_err *err)
{
	const struct stow_kube_exec *exec = config->exec;
	bool interactive = exec->mode != KUBE_PLUGIN_NEVER && isatty(STDIN_FILENO);
	_cleanup_free_ char *buf = NULL;
	size_t len = 0;
	int r;

	if (exec->mode == KUBE_PLUGIN_ALWAYS && !interactive)
		return stow_err_set(err, EACCES,
				    "%.200s: it must ask a user, but standard input is no terminal",
				    exec->argv[0]);
	buf = malloc(ANSWER_MAX);
	r = buf ? run(config, interactive, buf, &len, err)
		: stow_err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = take_credentials(config, buf, len, err);
	if (buf)
		explicit_bzero(buf, len);
	return r < 0 ? stow_err_wrap(err, r, "%.200s", exec->argv[0]) : 0;
}
