/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Text forms of machine names, and of ids of reservations and drains. */

#include <stdint.h>

#include "base/err.h"

/* Check a machine's name: lower-case letters, digits, '-' and '.', at most 253 bytes. */
int stow_machine_name_check(const char *name, struct stow_err *err);

/* Parse or format the id of a reservation or drain: 16 lower-case hexadecimal digits; never 0. */
int stow_id_parse(const char *text, uint64_t *ret, struct stow_err *err);
const char *stow_id_format(uint64_t id, char buf[17]);
