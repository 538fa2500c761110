/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The kernel's threads kswapd and kcompactd, of each node with memory. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"

struct stow_node_daemon {
	int node;
	bool compacts; /* kcompactd, otherwise kswapd */
	pid_t pid;
	char state;	 /* as ps(1) shows it: 'S' sleeps, 'R' runs */
	uint64_t cpu_ns; /* processor time since boot */
};

/* Find the threads among the kernel's own, by their names. No more threads are looked at when both
 * of each of `nodes` are found; empty: the nodes are not known. -ENOENT: they cannot be seen
 * (another PID namespace, a copied tree without them). The caller frees the list. */
int stow_node_daemons(struct stow_root *root, const struct stow_idset *nodes,
		      struct stow_node_daemon **ret, size_t *ret_n, struct stow_err *err);

/* Parse /proc/PID/stat: the state, and the processor time in ticks. False: it is not such a
 * text. The name in it may contain anything. */
bool stow_process_stat_parse(const char *text, char *ret_state, uint64_t *ret_ticks);
