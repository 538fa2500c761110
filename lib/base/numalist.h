/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Lists of nodes and CPUs as people write them for numactl(8), taskset(1) and migratepages(8):
 *
 *	0,2,4-7		numbers and ranges
 *	0-31:2		every second number of a range (as taskset has it)
 *	all		whatever is allowed
 *	+0-1		relative to what is allowed: its first and its second number
 *	!1  !+1		everything that is present, except
 *	netdev:eth0	a name, which a function of the caller's turns into a number
 *
 * The kernel's own lists are base/idset.h.
 */

#include <stddef.h>

#include "base/err.h"
#include "base/idset.h"

struct stow_numalist {
	const char *what; /* "node" or "CPU": for messages */
	/* What "all" stands for, what "+" counts in, and what may be named. NULL: any number may be
	 * named, in decimal, and there are no "all", "+", "!" and names, as in a list for taskset. */
	const struct stow_idset *allowed;
	const struct stow_idset *accepted; /* may be named, too; NULL: nothing */
	const struct stow_idset *present;  /* what "!" inverts in */
	const char *hint; /* appended to the error about a number that may not be named; or NULL */
	/* Find the number of a name, such as "netdev:eth0". Return 1, 0 when it is no such name, or
	 * a negative errno. NULL: there are no names. */
	int (*find)(void *ctx, const char *name, int *ret_id, struct stow_err *err);
	void *ctx;
};

/* Parse such a list. With `allowed`, the empty text is the empty set, and numbers may be written as
 * in C, 0x10 or 010. Numbers inside a range that may not be named are left out; both ends of a
 * range must be numbers that may be named. Without `allowed`, numbers from STOW_IDSET_MAX on are
 * left out. -EINVAL: not a list; -ERANGE: a number that may not be named. */
int stow_numalist_parse(const char *text, const struct stow_numalist *list, struct stow_idset *ret,
			struct stow_err *err);

/* Parse a mask, hexadecimal digits with or without 0x, in groups with commas or without, as
 * taskset and the kernel's files have it. Bits from STOW_IDSET_MAX on are ignored. -EINVAL: not a
 * mask. */
int stow_numalist_parse_mask(const char *text, struct stow_idset *ret, struct stow_err *err);

/* Format a set as taskset does: a mask without leading zeros, or a list, where two neighbours are
 * "0,1" and three are "0-2". The caller frees the text; NULL: out of memory. */
char *stow_numalist_format_mask(const struct stow_idset *set);
char *stow_numalist_format(const struct stow_idset *set);
