/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "cli/view/table.h"

/* The columns of `numastow stat`, for its --help: of nodes, processes, and containers. */
extern const struct cli_column stat_node_columns[];
extern const struct cli_column stat_process_columns[];
extern const struct cli_column stat_container_columns[];
