/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Parts of `numastow drain` that run in the command itself. */

#include <stdbool.h>

/* Print what is in a memory block, and what may keep it online (--explain BLOCK). */
int drain_explain(const char *block, bool json);
