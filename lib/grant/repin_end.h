/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The end of a repin (lib/grant/repin.h): done, or moved back. */

#include "base/err.h"
#include "grant/context.h"

/* Apply the record's own CPUs, and the sets of the containers that must leave them first. */
int stow_repin_apply_cpus(const struct stow_grant_context *context,
			  const struct stow_record *record, struct stow_err *err);

/* End the repin in the ledger: with `arrived` the target becomes the grant. */
int stow_repin_end(const struct stow_grant_context *context, struct stow_record *record,
		   bool arrived, const char *why, struct stow_err *err);

/* Settle the pools and apply the CPUs that only the old or only the new place has. */
int stow_repin_settle(const struct stow_grant_context *context, bool pages, struct stow_err *err);

/* Move a container back whose repin was killed. Any number of programs may call it at once; one of
 * them does the work. */
int stow_repin_recover(const struct stow_grant_context *context, const struct stow_record *record,
		       struct stow_err *err);
