/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Parts of `numastow drain` that run in the command itself. */

#include <stdbool.h>
#include <stdint.h>

/* Print what is in a memory block, and what may keep it online (--explain BLOCK). `sysroot`: of the
 * machine whose files are below it; NULL: of this one. Return the exit code. */
int drain_explain(const char *sysroot, uint64_t block, bool json);
