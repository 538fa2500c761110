// SPDX-License-Identifier: Apache-2.0
/* Kubeconfigs as a user has them: several files, contexts, namespaces, and plugins that log in. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kube/config.h"
#include "kube/exec.h"

#define CLUSTER "clusters:\n- name: c\n  cluster: {server: 'https://api:6443'}\n"
#define V1	"client.authentication.k8s.io/v1"

static char folder[] = "/tmp/kube-exec.XXXXXX";

static int make_folder(void **state)
{
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

static const char *path_of(const char *name)
{
	static char path[4][64];
	static size_t next;
	char *buf = path[next++ % STOW_ARRAY_SIZE(path)];

	snprintf(buf, sizeof(*path), "%s/%s", folder, name);
	return buf;
}

static const char *write_file(const char *name, const char *text)
{
	const char *path = path_of(name);
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0700), 0);
	return path;
}

static struct stow_kube_config *loaded(const char *paths, const char *context)
{
	const struct stow_kube_source source = { paths, context, true };
	struct stow_kube_config *config;
	struct stow_err err = { 0 };

	if (stow_kube_config_load(&source, &config, &err) < 0)
		fail_msg("%s", err.msg);
	return config;
}

static void not_loaded(const char *paths, const char *context, int r, const char *why)
{
	const struct stow_kube_source source = { paths, context, true };
	struct stow_kube_config *config = NULL;
	struct stow_err err = { 0 };

	assert_int_equal(stow_kube_config_load(&source, &config, &err), r);
	if (!strstr(err.msg, why) || strchr(err.msg, '\n'))
		fail_msg("\"%s\" instead of \"%s\"", err.msg, why);
	assert_null(config);
}

TEST(files_are_joined)
{
	const char *a =
		write_file("a", "current-context: x\ncontexts:\n"
				"- name: x\n  context: {cluster: c, user: u, namespace: n}\n"
				"users: null\n");
	const char *b = write_file("b", CLUSTER "current-context: y\n"
						"users:\n- name: u\n  user: {tokenFile: t}\n"
						"contexts:\n- name: x\n  context: {cluster: gone}\n"
						"- name: y\n  context: {cluster: c}\n");
	_cleanup_free_ char *paths = NULL;
	struct stow_kube_config *config;

	assert_true(asprintf(&paths, "%s::%s:%s", a, path_of("missing"), b) > 0);
	config = loaded(paths, NULL);
	assert_string_equal(config->ns, "n");
	assert_string_equal(config->server, "https://api:6443");
	assert_string_equal(config->token_file, path_of("t"));
	stow_kube_config_free(config);
	config = loaded(paths, "y");
	assert_null(config->ns);
	assert_null(config->token_file);
	stow_kube_config_free(config);
	not_loaded(paths, "z", -EINVAL, "there is no context \"z\"");
	not_loaded(a, NULL, -EINVAL, "there is no cluster \"c\"");
	not_loaded(path_of("missing"), NULL, -ENOENT, "missing");
	not_loaded("", NULL, -EINVAL, "there is no current-context");
	not_loaded("1:2:3:4:5:6:7:8:9:0:1:2:3:4:5:6:7", NULL, -E2BIG, "more than 16");
}

/* --- plugins -------------------------------------------------------------- */

/* Write a kubeconfig whose user has a plugin; `exec`: its lines. */
static const char *with_plugin(const char *exec)
{
	_cleanup_free_ char *text = NULL;

	assert_true(asprintf(&text,
			     CLUSTER "current-context: x\ncontexts:\n"
				     "- name: x\n  context: {cluster: c, user: u}\n"
				     "users:\n- name: u\n  user:\n    exec:\n%s",
			     exec) > 0);
	return write_file("config", text);
}

#define EXEC(more) "      apiVersion: " V1 "\n      interactiveMode: Never\n" more
#define PLUGIN	   EXEC("      command: ./plugin\n")

static void fails(const char *script, int r, const char *why)
{
	struct stow_kube_config *config = loaded(with_plugin(PLUGIN), NULL);
	struct stow_err err = { 0 };

	write_file("plugin", script);
	assert_int_equal(stow_kube_exec_run(config, &err), r);
	if (!strstr(err.msg, why) || !strstr(err.msg, "/plugin: ") || strchr(err.msg, '\n'))
		fail_msg("\"%s\" instead of \"%s\"", err.msg, why);
	assert_null(config->token);
	stow_kube_config_free(config);
}

TEST(a_plugin_prints_a_token)
{
	struct stow_kube_config *config = loaded(
		with_plugin(EXEC("      command: ./plugin\n      args: [a, 'b c']\n"
				 "      env:\n      - {name: X, value: 'y=z'}\n"
				 "      - {name: HOME, value: elsewhere}\n"
				 "      provideClusterInfo: true\n      installHint: get it\n")),
		NULL);
	char *token;

	write_file("plugin",
		   "#!/bin/sh\n[ \"$*\" = 'a b c' ] && [ $# = 2 ] && [ \"$X\" = y=z ] || exit 3\n"
		   "[ $HOME = elsewhere ] && [ \"$PATH\" ] || exit 4\n"
		   "case $KUBERNETES_EXEC_INFO in *'\"interactive\":false'*'https:'*api:6443*) ;;\n"
		   "*) exit 5;; esac\nread x && exit 6\n"
		   "echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1
		   "\",\"status\":{\"token\":\"secret\"}}'\n");
	assert_int_equal(stow_kube_exec_run(config, NULL), 0);
	assert_int_equal(stow_kube_config_token(config, &token, NULL), 0);
	assert_string_equal(token, "secret");
	free(token);
	stow_kube_config_free(config);
}

TEST(a_plugin_prints_a_certificate)
{
	struct stow_kube_config *config = loaded(with_plugin(PLUGIN), NULL);

	write_file("plugin", "#!/bin/sh\necho '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1
			     "\",\"status\":{\"clientCertificateData\":\"C\","
			     "\"clientKeyData\":\"K\"}}'\n");
	assert_int_equal(stow_kube_exec_run(config, NULL), 0);
	assert_string_equal(config->certificate, "C");
	assert_string_equal(config->key, "K");
	stow_kube_config_free(config);
}

TEST(a_plugin_fails)
{
	fails("#!/bin/sh\nexit 7\n", -EACCES, "it failed (exit code 7)");
	fails("#!/bin/sh\nkill -9 $$\n", -EACCES, "it failed (signal 9)");
	fails("#!/bin/sh\necho hello\n", -EBADMSG, "not print a JSON object");
	fails("#!/bin/sh\necho '{}'\n", -EBADMSG, "not print an ExecCredential");
	fails("#!/bin/sh\necho '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1 "\"}'\n",
	      -EBADMSG, "no token and no certificate");
	fails("#!/bin/sh\necho '{\"kind\":\"ExecCredential\",\"apiVersion\":\"" V1
	      "\",\"status\":{\"clientKeyData\":\"K\",\"token\":\"t\"}}'\n",
	      -EBADMSG, "a certificate without a key, or a key without a certificate");
	fails("#!/bin/sh\nexec yes\n", -E2BIG, "printed more than");
	fails("#!/nowhere\n", -ENOENT, "it does not start");
}

TEST(a_plugin_is_described_wrongly)
{
	not_loaded(with_plugin("      command: x\n      apiVersion: y\n"), NULL, -EINVAL,
		   "apiVersion: \"y\" is not");
	not_loaded(with_plugin("      args: [x]\n"), NULL, -EINVAL, "no \"command\"");
	not_loaded(with_plugin(EXEC("      command: ''\n")), NULL, -EINVAL, "is not a program");
	not_loaded(with_plugin(EXEC("      command: x\n      env: [{name: 'a=b'}]\n")), NULL,
		   -EINVAL, "\"a=b\" is not the name of a variable");
	not_loaded(with_plugin("      command: x\n      apiVersion: " V1
			       "\n      interactiveMode: no\n"),
		   NULL, -EINVAL, "interactiveMode: \"no\" is not one of");
}

/* Only a program that asks for plugins has them run. */
TEST(an_agent_has_no_plugins)
{
	const struct stow_kube_source source = { with_plugin(PLUGIN), NULL, false };
	struct stow_kube_config *config = NULL;
	struct stow_err err;

	assert_int_equal(stow_kube_config_load(&source, &config, &err), -ENOTSUP);
	assert_non_null(strstr(err.msg, "\"u\" has exec, which is not supported"));
	assert_int_equal(stow_kube_config_read(source.paths, &config, &err), -ENOTSUP);
	assert_null(config);
}

int main(void)
{
	return unit_run(make_folder, remove_folder);
}
