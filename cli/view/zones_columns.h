/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "cli/view/table.h"

/* The columns of `numastow zones`, for its --help. */
extern const struct cli_column zones_columns[];
