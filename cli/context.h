/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the subcommands that look into the ledger share. */

#include <stdbool.h>

#include "base/err.h"
#include "grant/grant.h"

struct cli_context {
	struct stow_root *root;
	struct stow_config *config;
	struct stow_ledger *ledger; /* NULL when the machine has none yet */
	struct stow_grant_context grant;
};

/* Opens the root, the administrator's configuration and the ledger. A machine where nothing was
 * ever placed has no ledger: that is no error, unless `create` asks for one. -EACCES: the ledger is
 * root's. */
int cli_context_open(struct cli_context *context, const char *sysroot, bool create,
		     struct stow_err *err);
/* The same for what only looks or undoes: a configuration that is broken is said in one line on
 * standard error, and the defaults taken. */
int cli_context_open_anyway(struct cli_context *context, const char *sysroot, bool create,
			    struct stow_err *err);
/* Whether there is a ledger that the caller may not read: it is root's. */
bool cli_ledger_hidden(struct stow_root *root);
void cli_context_done(struct cli_context *context);

/* The records whose id is `id`, or begins with it when that is one container only (as podman and
 * docker take ids). -ENOENT when there is none, -ENOTUNIQ when there are several. */
int cli_find_records(struct cli_context *context, const char *id, struct stow_record ***ret,
		     size_t *ret_n, struct stow_err *err);

/* One line in the journal: an operator changed something. */
void cli_audit(const struct cli_context *context, const char *action, const char *container,
	       const char *text);

struct json_object;
/* Adds a list-format string of the set under `key`. */
void cli_json_idset(struct json_object *object, const char *key, const struct stow_idset *set);
