/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Lists of numbers in the kernel's list format ("48-55,60"), for numbers beyond an idset: those of
 * memory blocks, of which there are 8192 in a TiB. People may write every second number of a range,
 * or every n-th, with a step, as for taskset(1): "0-30:2" (also for stow_idset_parse()). The kernel
 * writes no steps, and none is written for it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define STOW_IDLIST_MAX ((size_t)1 << 20) /* numbers in one list */

/* Call `add` for each range of a text in list format, until it fails, and for each number of a
 * range with a step; surrounding blanks and the empty string are accepted. -EINVAL: not a list.
 * -ERANGE: a number is over `max`. */
int stow_idlist_scan(const char *text, uint64_t max,
		     int (*add)(void *ctx, uint64_t lo, uint64_t hi), void *ctx);

/* Parse list format into ascending numbers, each once; surrounding blanks and the empty string (no
 * numbers) are accepted. The caller frees *ret_ids, which is not NULL. -EINVAL: not a list.
 * -ERANGE: a number does not fit 64 bits, or there are more than STOW_IDLIST_MAX of them. */
int stow_idlist_parse(const char *text, uint64_t **ret_ids, size_t *ret_n, struct stow_err *err);

/* Sort numbers, ascending. `ids` may be NULL when there are none. */
void stow_idlist_sort(uint64_t *ids, size_t n);

/* Return whether `id` is among `n` ascending numbers. */
bool stow_idlist_has(const uint64_t *ids, size_t n, uint64_t id);

/* `n` ascending numbers in list format, to be freed by the caller; NULL when memory has run out. */
char *stow_idlist_format(const uint64_t *ids, size_t n);
