/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * CDI files (Container Device Interface) tell a runtime which hooks to run for a container with a
 * claim. Each claim has a file, with a device for each of its shares. Files are made from the
 * ledger alone, so they can be written again at any time.
 *
 * The runtime runs these hooks as root, so the folder must belong to root and must not be a
 * symbolic link.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/root.h"
#include "ledger/ledger.h"

#define AGENT_CDI_KIND	 "numastow.io/claim"
#define AGENT_CDI_PREFIX "numastow.io-claim_" /* of the files' names: VENDOR-CLASS_ */

/* Return the name of a share's device as kubelet passes it on: "numastow.io/claim=UID-SHARE". */
#define AGENT_CDI_DEVICE_MAX 128
const char *agent_cdi_device(const char *uid, const char *share,
			     char buf[static AGENT_CDI_DEVICE_MAX]);

/* Make the file's text, for the caller to free. `shares` are all shares of one claim; `hook` is the
 * path of numastow-hook on the machine. The environment variables in the text are for people; no
 * program of numastow reads them. Return NULL when out of memory. */
char *agent_cdi_text(const struct stow_record *const *shares, size_t n, const char *hook);

/* Open the folder; make it if it is missing. Return a descriptor. -EPERM: it belongs to another
 * user, or other users may write there; -ELOOP or -ENOTDIR: it is a link, or no folder. */
int agent_cdi_open(struct stow_root *root, const char *path, struct stow_err *err);

/* Write a claim's file, atomically, unless it is there already. Return whether it was written. */
int agent_cdi_write(int folder, const char *uid, const char *text, struct stow_err *err);
/* Remove a claim's file; a missing one is success. */
int agent_cdi_remove(int folder, const char *uid, struct stow_err *err);

/* Remove our files of claims for which `keep` returns false, and files that an interrupted write
 * has left. Return how many were removed. */
int agent_cdi_tidy(int folder, bool (*keep)(void *ctx, const char *uid), void *ctx,
		   struct stow_err *err);
