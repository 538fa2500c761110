/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What people call containers. A container of Kubernetes has names in its annotations, and so in
 * its record. Podman passes no name on: it is in the lists of Podman's storage, "containers.json",
 * and "volatile-containers.json" for what `podman run --rm` starts. Only root can read these.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/root.h"
#include "ledger/ledger.h"

struct stow_name {
	char *id, *name; /* the name is harmless for terminals */
	bool granted;	 /* it is in the ledger */
};

struct stow_names {
	struct stow_name *list; /* by ascending id */
	size_t n;
};

/* Read the names of containers: Kubernetes' from the ledger, as "NAMESPACE/POD/NAME" as far as
 * these are known, and Podman's. A ledger or list that the caller may not read, or that is damaged,
 * has no names. Return 0 or -ENOMEM. Free with stow_names_done(). */
int stow_names_read(struct stow_root *root, struct stow_names *ret, struct stow_err *err);
/* Read Podman's only. */
int stow_names_read_podman(struct stow_root *root, struct stow_names *ret, struct stow_err *err);
void stow_names_done(struct stow_names *names);

/* Return the name of a container; NULL: it has none. */
const char *stow_names_find(const struct stow_names *names, const char *id);

/* Cut an id of 64 hexadecimal digits to 12, as Podman does. Return `buf`. */
const char *stow_short_id(const char *id, char *buf, size_t size);
