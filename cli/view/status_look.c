// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/helper.h"
#include "base/math.h"
#include "base/text.h"
#include "cli/ask.h"
#include "cli/context.h"
#include "cli/view/config_check.h"
#include "cli/view/status.h"
#include "place/config.h"

#define EVENTS 1000 /* of the history that are searched for refusals */

const char *status_state_name(enum status_state state)
{
	static const char *const names[] = { "ok", "off", "unknown", "problem" };

	return names[state];
}

void status_set(struct status *status, int part, enum status_state state, const char *command,
		const char *format, ...)
{
	struct status_part *p = &status->parts[part];
	va_list args;

	p->state = state;
	va_start(args, format);
	vsnprintf(p->text, sizeof(p->text), format, args);
	va_end(args);
	stow_text_clean(p->text, sizeof(p->text) - 1);
	snprintf(p->command, sizeof(p->command), "%s", command ? command : "");
}

/* --- hooks ------------------------------------------------------------------- */

static bool is_installed(struct status *status, const char *program, const char *folder)
{
	static const char *const where[] = { "/usr/bin", "/usr/local/bin", "/usr/sbin", "/bin" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(where); i++)
		if (stow_root_exists(status->root, "%s/%s", where[i], program) > 0)
			return true;
	return folder && stow_root_exists(status->root, "%s", folder) > 0;
}

/* Join lines by "; ", within `size` bytes. */
static void join_lines(char *text, size_t size)
{
	size_t len = strlen(text);

	while (len && text[len - 1] == '\n')
		text[--len] = '\0';
	for (char *p = text; (p = strchr(p, '\n'));) {
		*p++ = ';';
		if (len + 1 < size) {
			memmove(p + 1, p, strlen(p) + 1);
			*p++ = ' ';
			len++;
		}
	}
}

/* Ask numastow-setup, which knows each runtime's configuration. `record`: a file that exists once a
 * runtime was set up; NULL: it always should be. */
static void look_at_runtime(struct status *status, int part, const char *runtime,
			    const char *folder, const char *record)
{
	char path[4096], out[STATUS_TEXT], err[STATUS_TEXT], command[64];
	const char *argv[] = { stow_helper_path("numastow-setup", path, sizeof(path)),
			       runtime,
			       "--check",
			       "--sysroot",
			       status->sysroot,
			       NULL };
	bool meant = !record || stow_root_exists(status->root, "%s", record) > 0;
	int code;

	if (!is_installed(status, runtime, folder)) {
		status_set(status, part, STATUS_OFF, NULL, "not installed");
		return;
	}
	code = cli_ask(argv, out, sizeof(out), err, sizeof(err));
	join_lines(out, sizeof(out));
	join_lines(err, sizeof(err));
	if (record)
		snprintf(command, sizeof(command), "numastow setup %s --write", runtime);
	else
		snprintf(command, sizeof(command), "make install, or mend its containers.conf");
	if (code == 0)
		status_set(status, part, STATUS_GOOD, NULL, "runs the hook");
	else if (code == 1 && *out)
		status_set(status, part, meant ? STATUS_BAD : STATUS_OFF, command,
			   meant ? "does not run the hook: %s" : "is not set up: %s", out);
	else if (code == 1 && !meant)
		status_set(status, part, STATUS_OFF, command, "is not set up: %s",
			   cli_without_program(err));
	else if (access(path, X_OK) < 0)
		status_set(status, part, STATUS_UNKNOWN, command,
			   "cannot be checked: numastow-setup is not installed");
	else
		status_set(status, part, code < 0 ? STATUS_UNKNOWN : STATUS_BAD, command,
			   "cannot be checked: %s",
			   *err ? cli_without_program(err) : "numastow-setup did not answer");
}

static void look_at_hooks(struct status *status)
{
	look_at_runtime(status, STATUS_PODMAN, "podman", NULL, NULL);
	look_at_runtime(status, STATUS_CONTAINERD, "containerd", NULL,
			"/etc/containerd/numastow-setup.json");
	look_at_runtime(status, STATUS_CRIO, "crio", "/etc/crio", "/etc/crio/numastow-setup.json");
}

/* --- configuration --------------------------------------------------------------- */

static int look_at_config(struct status *status)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *config = NULL;
	struct stow_err err = { 0 };
	int r = stow_config_read_anyway(status->root, &config, &err);

	if (r < 0)
		return r;
	status->mode = config->mode == STOW_MODE_OBSERVE ? "observe" : "enforce";
	if (r > 0)
		status_set(status, STATUS_CONFIG, STATUS_BAD, "mend the line that is named",
			   "%s; no container with a request is placed", err.msg);
	else if (stow_root_exists(status->root, "%s", STOW_CONFIG_PATH) > 0)
		status_set(status, STATUS_CONFIG, STATUS_GOOD, NULL, "valid");
	else
		status_set(status, STATUS_CONFIG, STATUS_OFF, NULL, "none: the defaults apply");
	return 0;
}

/* Have the program check a file that it reads itself. */
static void look_at_file(struct status *status, int part, const struct config_file *file)
{
	char path[4200], text[STATUS_TEXT];
	int r, there = stow_root_exists(status->root, "/etc/numastow/%s", file->name);

	if (there <= 0) {
		status_set(status, part, there < 0 ? STATUS_UNKNOWN : STATUS_OFF, NULL,
			   there < 0 ? "cannot be read" : "none: the defaults apply");
		return;
	}
	config_path(file, status->sysroot, path, sizeof(path));
	r = config_check_found(file, path, text, sizeof(text));
	join_lines(text, sizeof(text));
	if (r == 0)
		status_set(status, part, STATUS_GOOD, NULL, "valid");
	else if (r == -EACCES)
		status_set(status, part, STATUS_UNKNOWN, NULL, "only root can check it");
	else if (r < 0)
		status_set(status, part, STATUS_UNKNOWN, NULL, "%s", text);
	else
		status_set(status, part, STATUS_BAD, "mend the line that is named", "%s", text);
}

/* --- nodes, grants, history ---------------------------------------------------------- */

static int count_records(struct status *status, struct stow_ledger *ledger)
{
	struct stow_record **records = NULL;
	size_t n = 0;
	int r = stow_ledger_records(ledger, NULL, &records, &n, NULL);

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (records[i]->state == STOW_STATE_LEASE)
			status->n_leases++;
		else
			status->n_containers++;
	}
	stow_records_free(records, n);
	return r;
}

static void look_at_ledger(struct status *status)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct stow_err err = { 0 };
	int r;

	if (cli_ledger_hidden(status->root)) {
		status_set(status, STATUS_LEDGER, STATUS_UNKNOWN, "numastow node",
			   "only root can read the ledger");
		return;
	}
	r = stow_ledger_open(status->root, false, &ledger, &err);
	status->ledger_known = r == 0 || r == -ENOENT;
	if (r == -ENOENT) {
		status_set(status, STATUS_LEDGER, STATUS_OFF, NULL, "nothing was placed yet");
		return;
	}
	if (r == 0)
		r = stow_ledger_usage(ledger, &status->usage, &err);
	if (r == 0)
		r = count_records(status, ledger);
	if (r < 0) {
		status->ledger_known = false;
		status_set(status, STATUS_LEDGER, STATUS_BAD, "numastow gc --rebuild", "%s",
			   err.msg);
		return;
	}
	status_set(status, STATUS_LEDGER, STATUS_GOOD, NULL, "%zu container%s, %zu lease%s",
		   status->n_containers, status->n_containers == 1 ? "" : "s", status->n_leases,
		   status->n_leases == 1 ? "" : "s");
	if (stow_ledger_events(ledger, NULL, EVENTS, &status->events, &status->n_events, NULL) < 0)
		status->n_events = 0;
}

/* Without a runtime that runs it, the hook places nothing. */
static void look_at_mode(struct status *status)
{
	for (int i = STATUS_PODMAN; i <= STATUS_CRIO; i++)
		if (status->parts[i].state == STATUS_GOOD ||
		    status->parts[i].state == STATUS_UNKNOWN)
			return;
	status->mode = "disabled";
}

int status_look(struct status *status, struct stow_err *err)
{
	static const struct {
		const char *name, *label;
	} names[STATUS_PARTS] = {
		[STATUS_PODMAN] = { "podman", "Podman" },
		[STATUS_CONTAINERD] = { "containerd", "containerd" },
		[STATUS_CRIO] = { "crio", "CRI-O" },
		[STATUS_CONFIG] = { "config.yaml", "config.yaml" },
		[STATUS_AGENT_YAML] = { "agent.yaml", "agent.yaml" },
		[STATUS_SCHEDULER_YAML] = { "scheduler.yaml", "scheduler.yaml" },
		[STATUS_CLIENT_YAML] = { "client.yaml", "client.yaml" },
		[STATUS_LEDGER] = { "ledger", "ledger" },
		[STATUS_AGENT] = { "agent", "agent" },
		[STATUS_SCHEDULER] = { "scheduler", "scheduler" },
		[STATUS_KUBERNETES] = { "kubernetes", "Kubernetes" },
	};

	for (int i = 0; i < STATUS_PARTS; i++) {
		status->parts[i].name = names[i].name;
		status->parts[i].label = names[i].label;
	}
	look_at_hooks(status);
	if (look_at_config(status) == -ENOMEM ||
	    stow_topology_read(status->root, STOW_TOPOLOGY_ALL, &status->topology, NULL) == -ENOMEM)
		return stow_err_sys(err, ENOMEM, "reading the status");
	look_at_mode(status);
	look_at_file(status, STATUS_AGENT_YAML, &config_files[CONFIG_AGENT]);
	look_at_file(status, STATUS_SCHEDULER_YAML, &config_files[CONFIG_SCHEDULER]);
	look_at_file(status, STATUS_CLIENT_YAML, &config_files[CONFIG_CLIENT]);
	look_at_ledger(status);
	return 0;
}

void status_done(struct status *status)
{
	stow_events_free(status->events, status->n_events);
	stow_usage_free(status->usage);
	stow_topology_free(status->topology);
}
