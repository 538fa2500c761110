/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Programs that know more: their answers, within a time. */

#include <stddef.h>

/* Run a program, found by its path or in PATH, without standard input, and keep the beginning of
 * its output and errors (`err` may be NULL) in the buffers, terminated. Return its exit code; -1:
 * it cannot be started, was killed by a signal, or took longer than 20 s. */
int cli_ask(const char *const *argv, char *out, size_t out_size, char *err, size_t err_size);

/* Return a message without the name of the program of ours that begins it, as in
 * "numastow-agent: ...". */
const char *cli_without_program(const char *message);

/* Find a program of numastow: beside the running one, in STOW_LIBEXECDIR, or in the sbin of the
 * same prefix, whether it is there or not. Return `buf`. */
const char *cli_program_path(const char *name, char *buf, size_t size);
