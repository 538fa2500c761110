/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Parsing numbers and sizes from untrusted text: the whole string counts, overflow is an error,
 * nothing is guessed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Parse a decimal number without sign. -EINVAL: not a number; -ERANGE: over `max`. */
int stow_parse_u64(const char *text, uint64_t max, uint64_t *ret, struct stow_err *err);

/* Read hexadecimal digits, without 0x, at *p and move *p behind them. False, with *p somewhere
 * among them, when there are none or they exceed 64 bits. */
bool stow_scan_hex(const char **p, uint64_t *ret);

/*
 * Parse a Kubernetes resource quantity in bytes ("8Gi", "512M", "1.5Gi", "1e9", "4096"); see
 * apimachinery's resource.Quantity. Unlike there, a fraction of a byte is an error: "512m" cannot
 * be meant as half a byte. -EINVAL: not a quantity, negative, or not a whole number of bytes, with
 * what was probably meant; -ERANGE: over INT64_MAX bytes.
 */
int stow_parse_quantity(const char *text, uint64_t *ret_bytes, struct stow_err *err);

/* Do the same for messages of another form: `why` gets the part of the message behind the text, for
 * example "is not a quantity like 512Mi, 8Gi or 1073741824; did you mean \"1Gi\"?". It quotes
 * nothing of the text except a suggestion of harmless characters. */
#define STOW_WHY_MAX 192

int stow_parse_quantity_why(const char *text, uint64_t *ret_bytes, char why[static STOW_WHY_MAX]);

/* Suggest what an amount of memory was probably meant to be: "512Mi" for "512m" and "512", "1Gi"
 * for "1g" and "1GB". False: no suggestion. */
bool stow_quantity_meant(const char *text, char *buf, size_t size);

/* Parse the size in a hugepage key or file name: "2Mi", "1Gi", "64Ki" (Kubernetes), "2MB", "1GB",
 * "64KB" (OCI and hugetlb cgroup files), in bytes; a power of two. -EINVAL otherwise. */
int stow_parse_pagesize(const char *text, uint64_t *ret_bytes, struct stow_err *err);

/* Parse a time, "500ms", "1s", "5m", "2h", in ns. -EINVAL: not a time; -ERANGE: over 64 bits. */
int stow_parse_duration(const char *text, uint64_t *ret_ns, struct stow_err *err);

/* Find the line "KEY: 64 kB" of a file like /proc/PID/status. False: there is no such line, or no
 * number in it. */
bool stow_parse_kib(const char *text, const char *key, uint64_t *ret_bytes);

/* Format as "2Mi", "1.5Gi": exact where possible, otherwise with one decimal; bytes below 1 Ki as
 * they are. Return `buf`. */
const char *stow_format_size(uint64_t bytes, char *buf, size_t size);

/* Format an amount for use before "memory": "1 byte of", "512 bytes of", or "2Mi". Return `buf`. */
const char *stow_format_amount(uint64_t bytes, char *buf, size_t size);

/* Format a page size as OCI and cgroup files do: "2MB", "1GB", "64KB". Return `buf`. */
const char *stow_format_pagesize(uint64_t bytes, char *buf, size_t size);

/* Append to `buf` as snprintf() does; truncate what does not fit. */
void stow_append(char *buf, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Return the index of `text` in the NULL-terminated `words`. -EINVAL: it is not one of them, and
 * `why` gets the part of a message behind the text: "is not one of a, b; did you mean \"a\"?". */
int stow_parse_word_why(const char *text, const char *const *words, char why[static STOW_WHY_MAX]);

/* For "did you mean": return the index of the word nearest to `word` (edit distance, in lower case)
 * in the NULL-terminated `candidates`, or -1 when none is near. */
int stow_nearest(const char *word, const char *const *candidates);
