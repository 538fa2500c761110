// SPDX-License-Identifier: Apache-2.0
/* Agent, scheduler and Kubernetes: they are asked, not only looked for. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/helper.h"
#include "base/math.h"
#include "base/parse.h"
#include "cli/ask.h"
#include "cli/view/fetch.h"
#include "cli/view/status.h"

#define ANSWER_MAX   (1U << 20) /* bytes of a daemon's answer */
#define STALE_AFTER  600	/* s since the last success */
#define METRICS_HERE "127.0.0.1:7201"

/* Return whether systemd starts a unit at boot. */
static bool is_wanted(struct stow_root *root, const char *unit)
{
	char target[512];

	return stow_root_readlink(root, target, sizeof(target), NULL,
				  "/etc/systemd/system/multi-user.target.wants/%s", unit) > 0;
}

/* Read a plain value of a top-level key; false: the file does not have it. Quotes are dropped. */
static bool value_of(struct stow_root *root, const char *path, const char *key, char *buf,
		     size_t size)
{
	_cleanup_free_ char *text = NULL;
	size_t len = strlen(key);

	if (stow_root_read(root, 1 << 20, &text, NULL, NULL, "%s", path) < 0)
		return false;
	for (const char *line = text; *line;) {
		size_t end = strcspn(line, "\n");

		if (strncmp(line, key, len) == 0 && line[len] == ':') {
			const char *value = line + len + 1 + strspn(line + len + 1, " \t\"'");
			size_t rest = strcspn(value, "\n#\"'");

			while (rest && (value[rest - 1] == ' ' || value[rest - 1] == '\t'))
				rest--;
			snprintf(buf, size, "%.*s", (int)STOW_MIN(rest, size - 1), value);
			return true;
		}
		line += end + (line[end] == '\n');
	}
	return false;
}

static const char *first_line(char *text)
{
	text[strcspn(text, "\n")] = '\0';
	return strncmp(text, "numastow: ", 10) == 0 ? text + 10 : text;
}

/* Ask a daemon through numastow-fleet. Return its exit code, or -1. */
static int ask(const char *what, char *out, char *err)
{
	char path[4096];
	const char *argv[] = { stow_helper_path("numastow-fleet", path, sizeof(path)),
			       what,
			       "--json",
			       "--timeout",
			       "5s",
			       NULL };

	return cli_ask(argv, out, ANSWER_MAX, err, STATUS_TEXT);
}

static const char *string_in(json_object *o, const char *key)
{
	json_object *value;

	return o && json_object_object_get_ex(o, key, &value) &&
			       json_object_is_type(value, json_type_string)
		       ? json_object_get_string(value)
		       : NULL;
}

/* --- the agent ------------------------------------------------------------------------ */

static void agent_answers(struct status *status, const char *text)
{
	json_object *report = json_tokener_parse(text);
	const char *version = string_in(report, "version");

	if (version && strcmp(version, STOW_VERSION) != 0)
		status_set(status, STATUS_AGENT, STATUS_BAD, "systemctl restart numastow-agent",
			   "answers, and is version %.64s, not " STOW_VERSION, version);
	else
		status_set(status, STATUS_AGENT, STATUS_GOOD, NULL, "answers");
	json_object_put(report);
}

static void look_at_agent(struct status *status, char *out, char *err)
{
	bool wanted = is_wanted(status->root, "numastow-agent.service");
	char path[128] = "/run/numastow/agent.sock";
	int there, code;

	(void)value_of(status->root, "/etc/numastow/agent.yaml", "socket", path, sizeof(path));
	there = *path == '/' ? stow_root_exists(status->root, "%s", path) : 0;
	if (!status->root->live) {
		status_set(status, STATUS_AGENT, STATUS_UNKNOWN, NULL,
			   wanted ? "starts at boot" : "does not start at boot");
		return;
	}
	if (there <= 0) {
		status_set(status, STATUS_AGENT, wanted ? STATUS_BAD : STATUS_OFF,
			   wanted ? "systemctl start numastow-agent" : NULL,
			   wanted ? "starts at boot, and does not run: there is no %s"
				  : "does not run: there is no %s",
			   path);
		return;
	}
	code = ask("node", out, err);
	if (code == 0)
		agent_answers(status, out);
	else if (geteuid() != 0 && strstr(err, "ermission"))
		status_set(status, STATUS_AGENT, STATUS_UNKNOWN, NULL, "%s", first_line(err));
	else
		status_set(status, STATUS_AGENT, STATUS_BAD,
			   "systemctl restart numastow-agent; journalctl -u numastow-agent",
			   "does not answer: %s", *err ? first_line(err) : "numastow-fleet failed");
}

/* --- the scheduler ------------------------------------------------------------------------ */

static void look_at_scheduler(struct status *status, char *out, char *err)
{
	char address[256] = "";
	bool client = value_of(status->root, "/etc/numastow/client.yaml", "scheduler", address,
			       sizeof(address));
	bool reports = value_of(status->root, "/etc/numastow/agent.yaml", "scheduler", address,
				sizeof(address));
	bool here = is_wanted(status->root, "numastow-scheduler.service");

	if (!client && !reports && !here) {
		status_set(status, STATUS_SCHEDULER, STATUS_OFF, NULL, "none is configured");
		return;
	}
	if (!status->root->live) {
		status_set(status, STATUS_SCHEDULER, STATUS_UNKNOWN, NULL,
			   here ? "starts at boot" : "is configured");
		return;
	}
	if (!client && !here) {
		status_set(status, STATUS_SCHEDULER, STATUS_UNKNOWN, NULL,
			   "the agent reports to one; this command needs client.yaml to ask it");
		return;
	}
	if (ask("nodes", out, err) == 0)
		status_set(status, STATUS_SCHEDULER, STATUS_GOOD, NULL, "answers");
	else
		status_set(status, STATUS_SCHEDULER, STATUS_BAD,
			   here ? "systemctl restart numastow-scheduler" : "numastow nodes",
			   "does not answer: %s", *err ? first_line(err) : "numastow-fleet failed");
}

/* --- Kubernetes ---------------------------------------------------------------------------- */

/* Find the value of a metric without labels; false: it has none that is a whole number. */
static bool metric(const char *text, const char *name, uint64_t *ret)
{
	size_t len = strlen(name);

	for (const char *line = text; line && *line;) {
		char number[32];

		if (strncmp(line, name, len) == 0 && line[len] == ' ') {
			snprintf(number, sizeof(number), "%.*s",
				 (int)STOW_MIN(strspn(line + len + 1, "0123456789"), (size_t)20),
				 line + len + 1);
			return stow_parse_u64(number, INT64_MAX, ret, NULL) == 0;
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return false;
}

static bool is_on(struct stow_root *root, const char *key)
{
	char value[16] = "";

	return value_of(root, "/etc/numastow/agent.yaml", key, value, sizeof(value)) &&
	       (strcmp(value, "true") == 0 || strcmp(value, "yes") == 0 ||
		strcmp(value, "on") == 0);
}

static void look_at_kubernetes(struct status *status, char *out)
{
	bool claims = is_on(status->root, "kubernetes");
	const char *name = claims ? "numastow_agent_kubernetes_last_success_seconds"
				  : "numastow_agent_topology_last_success_seconds";
	char address[128] = METRICS_HERE;
	uint64_t last, now = stow_clock_wall() / STOW_SECOND;
	struct stow_err err = { 0 };

	if (!claims && !is_on(status->root, "node-resource-topology")) {
		status_set(status, STATUS_KUBERNETES, STATUS_OFF, NULL, "off in agent.yaml");
		return;
	}
	if (!status->root->live) {
		status_set(status, STATUS_KUBERNETES, STATUS_UNKNOWN, NULL, "on in agent.yaml");
		return;
	}
	(void)value_of(status->root, "/etc/numastow/agent.yaml", "metrics", address,
		       sizeof(address));
	if (!*address) {
		status_set(status, STATUS_KUBERNETES, STATUS_UNKNOWN, NULL,
			   "on in agent.yaml, whose metrics are off");
		return;
	}
	if (cli_fetch(address, "/metrics", out, ANSWER_MAX, &err) < 0)
		status_set(status, STATUS_KUBERNETES, STATUS_BAD, "systemctl status numastow-agent",
			   "on in agent.yaml; the agent's metrics cannot be read: %s", err.msg);
	else if (!metric(out, name, &last) || last == 0)
		status_set(status, STATUS_KUBERNETES, STATUS_BAD, "journalctl -u numastow-agent",
			   "nothing was published yet");
	else if (now > last && now - last > STALE_AFTER)
		status_set(status, STATUS_KUBERNETES, STATUS_BAD, "journalctl -u numastow-agent",
			   "the last success was %" PRIu64 " s ago", now - last);
	else
		status_set(status, STATUS_KUBERNETES, STATUS_GOOD, NULL,
			   "what is published is up to date");
}

void status_daemons(struct status *status)
{
	_cleanup_free_ char *out = malloc(ANSWER_MAX);
	char err[STATUS_TEXT];

	if (!out) {
		for (int i = STATUS_AGENT; i <= STATUS_KUBERNETES; i++)
			status_set(status, i, STATUS_UNKNOWN, NULL, "out of memory");
		return;
	}
	look_at_agent(status, out, err);
	look_at_scheduler(status, out, err);
	look_at_kubernetes(status, out);
}
