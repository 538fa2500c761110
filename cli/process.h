/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Processes that are named on the command line. */

#include <stdbool.h>

#include "base/err.h"
#include "base/idset.h"
#include "cgroup/allowed.h"
#include "cgroup/pidref.h"
#include "cli/context.h"

struct cli_process {
	struct stow_pidref ref;
	struct stow_allowed allowed;
	char name[32]; /* /proc/PID/comm, printable */
};

/* Return whether a text is a process's number, rather than a container's id. */
bool cli_is_pid(const char *text);

/* Read a process. -ESRCH: there is no such process. */
int cli_process_read(struct stow_root *root, pid_t pid, struct cli_process *ret,
		     struct stow_err *err);
/* Read the process with the number in a text. -EINVAL: it is not a number. */
int cli_process_parse(struct stow_root *root, const char *text, struct cli_process *ret,
		      struct stow_err *err);

/* Call `visit` for each process whose program has this name (NULL: any). Return the sum of what it
 * returned, or its first failure; -ESRCH, a process that has ended meanwhile, is none. */
typedef int (*cli_visit_process)(void *ctx, pid_t pid, struct stow_err *err);
int cli_each_process(struct stow_root *root, const char *name, cli_visit_process visit, void *ctx,
		     struct stow_err *err);
/* Do the same for a word of the command line that is neither a PID nor a container. -ENOENT: no
 * process was counted. */
int cli_each_named(struct stow_root *root, const char *name, cli_visit_process visit, void *ctx,
		   struct stow_err *err);

/* Report that there is no such process, or that /proc has none at all. Return -errno. */
int cli_no_process(struct stow_root *root, pid_t pid, struct stow_err *err);

/* Find the container of the ledger that a process is in, by the path of its cgroup. Return 1 with
 * the container's id, 0 when it is in none. */
int cli_process_container(struct cli_context *context, const struct cli_process *process,
			  char *ret_id, size_t size, struct stow_err *err);

/* Read the nodes that have memory. */
void cli_nodes_with_memory(struct stow_root *root, struct stow_idset *ret);

/* Return whether the kernel's NUMA balancing is on. */
bool cli_balancing(struct stow_root *root);

/* Parse the value of `option`: a list of nodes or CPUs (`what`: "node" or "CPU") as in
 * base/numalist.h, of those that are present. */
int cli_parse_ids(const char *option, const char *text, const char *what,
		  const struct stow_idset *present, struct stow_idset *ret, struct stow_err *err);
