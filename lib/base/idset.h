/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Sets of CPU or node numbers, in the kernel's list format ("0-3,8,10-11"; see "cpulists" in
 * Documentation/admin-guide/cputopology and cpuset(7), FORMATS).
 *
 * A set is a plain value of 1 KiB that covers every number that a kernel can be built for
 * (CONFIG_NR_CPUS goes up to 8192, MAX_NUMNODES to 1024): it is copied by assignment, needs no
 * destructor, and an operation on it cannot run out of memory.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define STOW_IDSET_MAX 8192 /* numbers 0 .. STOW_IDSET_MAX - 1 */

struct stow_idset {
	uint64_t bits[STOW_IDSET_MAX / 64];
};

/* Parse list format; surrounding blanks and the empty string (the empty set) are accepted. -EINVAL:
 * not a list. -ERANGE: a number is STOW_IDSET_MAX or above. */
int stow_idset_parse(const char *text, struct stow_idset *ret_set, struct stow_err *err);

/* Format into `buf`, always terminated; return `buf`. A list that does not fit is truncated after a
 * whole range and ends in "...": for messages, never for a kernel file. */
const char *stow_idset_format(const struct stow_idset *set, char *buf, size_t size);

/* Format in list format of any length. The caller frees the text; NULL: out of memory. */
char *stow_idset_to_list(const struct stow_idset *set);

/* Convert to an array of bytes, bit 0 of byte 0 first, as systemd's properties have it. Return the
 * number of bytes up to the last member's. */
size_t stow_idset_to_bytes(const struct stow_idset *set, uint8_t ret[static STOW_IDSET_MAX / 8]);
/* Convert such an array back. Numbers out of range are ignored. */
void stow_idset_from_bytes(const uint8_t *bytes, size_t n, struct stow_idset *ret);

size_t stow_idset_count(const struct stow_idset *set);
bool stow_idset_empty(const struct stow_idset *set);
bool stow_idset_equal(const struct stow_idset *a, const struct stow_idset *b);
bool stow_idset_subset(const struct stow_idset *inner, const struct stow_idset *outer);
bool stow_idset_intersects(const struct stow_idset *a, const struct stow_idset *b);

/* Return the first member at or above `from`, or -1. Loop with STOW_IDSET_FOR(id, set). */
int stow_idset_next(const struct stow_idset *set, int from);

/* Return the n-th member, from 0, or -1. */
int stow_idset_nth(const struct stow_idset *set, uint64_t n);

#define STOW_IDSET_FOR(id, set) \
	for (int id = stow_idset_next(set, 0); id >= 0; id = stow_idset_next(set, id + 1))

/* dst |= src, dst &= src, dst &= ~src */
void stow_idset_or(struct stow_idset *dst, const struct stow_idset *src);
void stow_idset_and(struct stow_idset *dst, const struct stow_idset *src);
void stow_idset_minus(struct stow_idset *dst, const struct stow_idset *src);

static inline bool stow_idset_has(const struct stow_idset *set, int id)
{
	return id >= 0 && id < STOW_IDSET_MAX && (set->bits[id / 64] >> (id % 64) & 1);
}

/* Numbers out of range are ignored: the kernel has none. */
static inline void stow_idset_add(struct stow_idset *set, int id)
{
	if (id >= 0 && id < STOW_IDSET_MAX)
		set->bits[id / 64] |= UINT64_C(1) << (id % 64);
}

static inline void stow_idset_del(struct stow_idset *set, int id)
{
	if (id >= 0 && id < STOW_IDSET_MAX)
		set->bits[id / 64] &= ~(UINT64_C(1) << (id % 64));
}
