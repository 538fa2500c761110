/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Numbers and sizes from text that strangers wrote: the whole string counts, overflow is an error,
 * nothing is guessed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A decimal number without sign. -EINVAL: not a number; -ERANGE: over `max`. */
int stow_parse_u64(const char *text, uint64_t max, uint64_t *ret, struct stow_err *err);

/* Reads hexadecimal digits, without 0x, at *p and moves *p behind them; false, with *p somewhere
 * among them, when there are none or they are more than 64 bits. */
bool stow_scan_hex(const char **p, uint64_t *ret);

/*
 * A Kubernetes resource quantity in bytes ("8Gi", "512M", "1.5Gi", "1e9", "4096"): see
 * apimachinery's resource.Quantity. Unlike there, a fraction of a byte is an error: whoever writes
 * "512m" does not mean half a byte. -EINVAL: not a quantity, negative, or no whole number of bytes,
 * with what was probably meant; -ERANGE: over INT64_MAX bytes.
 */
int stow_parse_quantity(const char *text, uint64_t *ret_bytes, struct stow_err *err);

/* The same for messages of another form: `why` gets what stands behind the text in one, for example
 * "is not a quantity like 512Mi, 8Gi or 1073741824; did you mean \"1Gi\"?". Nothing but a
 * suggestion of harmless characters is taken over from the text. */
#define STOW_WHY_MAX 192

int stow_parse_quantity_why(const char *text, uint64_t *ret_bytes, char why[static STOW_WHY_MAX]);

/* What an amount of memory was probably meant to be: "512Mi" for "512m" and "512", "1Gi" for "1g"
 * and "1GB". False: nothing comes to mind. */
bool stow_quantity_meant(const char *text, char *buf, size_t size);

/* The size in a hugepage key or file name: "2Mi", "1Gi", "64Ki" (Kubernetes), "2MB", "1GB", "64KB"
 * (OCI and hugetlb cgroup files), in bytes; a power of two. -EINVAL otherwise. */
int stow_parse_pagesize(const char *text, uint64_t *ret_bytes, struct stow_err *err);

/* A time, "500ms", "1s", "5m", "2h", in ns. -EINVAL: none; -ERANGE: more than 64 bits of them. */
int stow_parse_duration(const char *text, uint64_t *ret_ns, struct stow_err *err);

/* "2Mi", "1.5Gi": exact where it can be, else with one decimal; bytes below 1 Ki as they are.
 * Returns `buf`. */
const char *stow_format_size(uint64_t bytes, char *buf, size_t size);

/* The same with a word where a number alone would say nothing: "1 byte of", "512 bytes of", else
 * "2Mi"; to stand before "memory". Returns `buf`. */
const char *stow_format_amount(uint64_t bytes, char *buf, size_t size);

/* The OCI and cgroup spelling of a page size: "2MB", "1GB", "64KB". Returns `buf`. */
const char *stow_format_pagesize(uint64_t bytes, char *buf, size_t size);

/* The index of `text` in the NULL-terminated `words`. -EINVAL: it is none of them, and `why` gets
 * what stands behind the text in a message: "is not one of a, b; did you mean \"a\"?". */
int stow_parse_word_why(const char *text, const char *const *words, char why[static STOW_WHY_MAX]);

/* For "did you mean": the index of the word nearest to `word` (edit distance, in lower case) in the
 * NULL-terminated `candidates`, or -1 when nothing is near. */
int stow_nearest(const char *word, const char *const *candidates);
