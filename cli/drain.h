/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Parts of `numastow drain` in the command itself. */

#include <stdbool.h>

/* --explain BLOCK: who is in that block and who may not leave. */
int drain_explain(const char *block, bool json);
