/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* `numastow status`: what was found (status_look.c, status_daemons.c), and its output. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/root.h"
#include "cli/view/output.h"
#include "ledger/ledger.h"
#include "node/topology.h"

enum status_state {
	STATUS_GOOD,
	STATUS_OFF,	/* not installed, not configured: nothing is wrong */
	STATUS_UNKNOWN, /* only root can tell, or a copied tree cannot */
	STATUS_BAD,
};

/* Return "ok", "off", "unknown" or "problem". */
const char *status_state_name(enum status_state state);

#define STATUS_PARTS 11 /* of status->parts */
#define STATUS_TEXT  1024

/* One line of the screen. */
struct status_part {
	const char *name;	 /* "podman", "agent.yaml" */
	const char *label;	 /* for text */
	enum status_state state; /* of this part alone */
	char text[STATUS_TEXT];	 /* what is so */
	char command[256];	 /* what to do about it; "": nothing */
};

enum {
	STATUS_PODMAN,
	STATUS_CONTAINERD,
	STATUS_CRIO,
	STATUS_CONFIG,
	STATUS_AGENT_YAML,
	STATUS_SCHEDULER_YAML,
	STATUS_CLIENT_YAML,
	STATUS_LEDGER,
	STATUS_AGENT,
	STATUS_SCHEDULER,
	STATUS_KUBERNETES,
};

struct status {
	struct stow_root *root;
	const char *sysroot;
	const char *mode; /* "enforce", "observe"; "disabled": no runtime runs the hook */
	struct status_part parts[STATUS_PARTS];
	struct stow_topology *topology; /* NULL: unreadable */
	struct stow_usage *usage;	/* NULL: no ledger, or only root can read it */
	bool ledger_known;		/* false: only root can read it */
	size_t n_containers, n_leases;
	struct stow_event *events; /* the newest ones, the oldest of them first */
	size_t n_events;
};

/* Set a part's state, text and command (may be NULL). */
__attribute__((format(printf, 5, 6))) void status_set(struct status *status, int part,
						      enum status_state state, const char *command,
						      const char *format, ...);

/* Look at the machine; what fails is in its part. Only -ENOMEM is an error. */
int status_look(struct status *status, struct stow_err *err);
/* Look at the daemons and Kubernetes. */
void status_daemons(struct status *status);
void status_done(struct status *status);

/* Print all. 0 or a negative errno. */
int status_print(const struct status *status, const struct cli_output *out);
