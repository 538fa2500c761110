// SPDX-License-Identifier: Apache-2.0
#include "cli/view/config_check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read.h"
#include "base/yaml.h"
#include "cli/ask.h"
#include "place/config.h"

const struct config_file config_files[CONFIG_FILES] = {
	[CONFIG_HOOK] = { "config.yaml", NULL, NULL },
	[CONFIG_AGENT] = { "agent.yaml", "numastow-agent", "--check-config" },
	[CONFIG_SCHEDULER] = { "scheduler.yaml", "numastow-scheduler", "--check-config" },
	[CONFIG_CLIENT] = { "client.yaml", "numastow-fleet", "check-config" },
};

const char *config_path(const struct config_file *file, const char *sysroot, char *buf, size_t size)
{
	snprintf(buf, size, "%s/etc/numastow/%s", strcmp(sysroot, "/") == 0 ? "" : sysroot,
		 file->name);
	return buf;
}

/* The library reads config.yaml, in this program as in the hook. */
static int check_here(const char *path, char *text, size_t size)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *config = NULL;
	_cleanup_free_ char *content = NULL;
	struct stow_err err = { 0 };
	size_t len = 0;
	int r = stow_read_file(path, STOW_YAML_MAX, &content, &len, &err);

	if (r == 0)
		r = stow_config_parse(content, len, path, &config, &err);
	snprintf(text, size, "%s", r < 0 ? err.msg : "");
	return r == -EACCES || r == -ENOMEM ? r : r < 0;
}

/* Remove the program's name, and the last end of a line. */
static void strip(char *text)
{
	const char *message = cli_without_program(text);
	size_t len = strlen(message);

	memmove(text, message, len + 1);
	while (len && text[len - 1] == '\n')
		text[--len] = '\0';
}

int config_check(const struct config_file *file, const char *path, char *text, size_t size)
{
	char program[4096], out[256];
	const char *argv[] = { program, file->check, "--config", path, NULL };
	int code;

	if (!file->program)
		return check_here(path, text, size);
	if (access(cli_program_path(file->program, program, sizeof(program)), X_OK) < 0) {
		snprintf(text, size, "%s is not installed here", file->program);
		return -ENOENT;
	}
	code = cli_ask(argv, out, sizeof(out), text, size);
	strip(text);
	if (code == 0)
		return 0;
	if (code < 0)
		snprintf(text, size, "%s did not answer", file->program);
	else if (!*text)
		snprintf(text, size, "invalid");
	return code < 0 ? -ETIMEDOUT : strstr(text, "Permission denied") ? -EACCES : 1;
}

int config_check_found(const struct config_file *file, const char *path, char *text, size_t size)
{
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISFIFO(st.st_mode))
		return config_check(file, path, text, size);
	snprintf(text, size, "%s is not a regular file", path);
	return 1;
}
