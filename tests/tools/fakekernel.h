/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Simulates the kernel in a copied tree, as far as the hook uses it: effective CPU sets and nodes
 * follow the written ones, a hugepage pool grows by the available memory only. The writes of
 * several programs take effect one after the other, as in a kernel.
 *
 * Every access counts as a step, before it is made and, for a write, after it was made. SQLite's
 * own reads and writes of the ledger count, too. At a chosen step the program can be killed, or the
 * access can fail.
 */

#include <stdbool.h>
#include <stdio.h>

#include "base/root.h"

struct fakekernel {
	char dir[4096]; /* the tree */
	int lock;	/* the tree's folder, locked while a file of the kernel is in use */
	bool locked;
	unsigned long step;
	unsigned long kill_at, fail_at; /* 0: never */
	FILE *trace;			/* where to list the steps, or NULL */
	unsigned long long pool_before; /* nr_hugepages, while it is being written */
	struct stow_root_ops ops;
};

/* Intercept the root's accesses, and with kill_at, fail_at or a trace also SQLite's. At most one
 * per process. */
int fakekernel_begin(struct fakekernel *kernel, struct stow_root *root, struct stow_err *err);
void fakekernel_end(struct fakekernel *kernel, struct stow_root *root);
