/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parts of `numastow doctor`. */

#include "cli/view/output.h"
#include "cli/view/table.h"
#include "doctor/doctor.h"
#include "doctor/program.h"

/* Print findings; those below `level`, and of nodes that were not asked for, are left out. Return 0
 * or a negative errno. */
int doctor_print(const struct stow_findings *findings, enum stow_finding_level level,
		 const struct cli_output *out, struct stow_err *err);
/* Print the table of rules. */
int doctor_print_rules(const struct cli_output *out, struct stow_err *err);

extern const struct cli_column doctor_columns[];

/* doctor --program: advise for a program, by PID or name. Return an exit code. */
int doctor_program(struct stow_root *root, const char *name, enum stow_program_kind kind,
		   const struct cli_output *out);
