/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by the subcommands that use the ledger. */

#include <stdbool.h>

#include "base/err.h"
#include "grant/grant.h"

struct cli_context {
	struct stow_root *root;
	struct stow_config *config;
	struct stow_ledger *ledger; /* NULL: the machine has none yet */
	struct stow_grant_context grant;
};

/* Open the root, the administrator's configuration and the ledger. A machine where nothing was
 * placed has no ledger; this is not an error. `create`: create a missing ledger. -EACCES: only
 * root can read the ledger. */
int cli_context_open(struct cli_context *context, const char *sysroot, bool create,
		     struct stow_err *err);
/* The same for subcommands that only read or undo: if the configuration is broken, print one
 * line to standard error, and use the defaults. */
int cli_context_open_anyway(struct cli_context *context, const char *sysroot, bool create,
			    struct stow_err *err);
/* Do that, to change grants. -EXDEV: this program is in other namespaces than the machine's. */
int cli_context_open_change(struct cli_context *context, bool create, struct stow_err *err);
/* Return whether there is a ledger that the caller may not read. */
bool cli_ledger_hidden(struct stow_root *root);
/* Open the ledger for a subcommand that shows the rest without it: a machine where nothing was
 * placed has none, and only root can read it. Where it cannot be read, print one line to standard
 * error that begins with `lacking`, as in "grants are not shown". Return NULL without a ledger;
 * otherwise it is the caller's. */
struct stow_ledger *cli_ledger_look(struct stow_root *root, const char *lacking);
/* Leave a cpuset that lacks NUMA nodes with memory, for a subcommand that has the kernel allocate
 * on all of them: stow_own_mems_widen(). A failure is a warning. */
void cli_widen_mems(struct stow_root *root);
void cli_context_done(struct cli_context *context);

/* Find the records of a container by its id, its name (Podman's, Kubernetes') or an unambiguous
 * prefix of the id; NULL: of the one that got its grant last. -ENOENT: there is none; -ENOTUNIQ:
 * there are several. */
int cli_find_records(struct cli_context *context, const char *name, struct stow_record ***ret,
		     size_t *ret_n, struct stow_err *err);

/* Check that a command with --last is not given a container, too: `word`, or NULL. Return -1, or
 * print what is wrong, and return the exit code. */
int cli_last_alone(const char *name, const char *word);
/* Do so for a list of words, and replace it by the id of the container that got its grant last; the
 * caller frees the id. */
int cli_last_word(const char *name, const char *sysroot, char ***words, int *n, char **ret);

/* Write a line to the journal: an operator changed something. */
void cli_audit(const struct cli_context *context, const char *action, const char *container,
	       const char *text);
