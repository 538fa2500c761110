/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Names of machines, and ids of reservations and drains, as they are written. */

#include <stdint.h>

#include "base/err.h"

/* A machine's name: lower-case letters, digits, '-' and '.', at most 253 of them. */
int stow_machine_name_check(const char *name, struct stow_err *err);

/* A reservation's id, or a drain's: 16 lower-case hexadecimal digits; never 0. */
int stow_id_parse(const char *text, uint64_t *ret, struct stow_err *err);
const char *stow_id_format(uint64_t id, char buf[17]);
