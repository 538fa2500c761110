/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What people call containers. A container of Kubernetes has names in its annotations, and so in
 * its record. Podman passes no name on: it is in the lists of Podman's storage, "containers.json",
 * and "volatile-containers.json" for what `podman run --rm` starts. Only root can read these.
 */

#include <stddef.h>

#include "base/err.h"
#include "base/root.h"
#include "ledger/ledger.h"

struct stow_name {
	char *id, *name; /* the name is harmless for terminals */
};

struct stow_names {
	struct stow_name *list; /* by ascending id */
	size_t n;
};

/* Read Podman's names. There are none without Podman, without the right to read its lists, and in
 * a list that is not JSON. -ENOMEM. Free with stow_names_done(). */
int stow_names_read(struct stow_root *root, struct stow_names *ret, struct stow_err *err);
void stow_names_done(struct stow_names *names);

/* Return Podman's name of a container; NULL: it has none. */
const char *stow_names_find(const struct stow_names *names, const char *id);

/* Return the name of a record's container: Kubernetes' as "NAMESPACE/POD/NAME", in `buf`, as far as
 * these are known, or Podman's; NULL: it has neither. */
const char *stow_names_of(const struct stow_names *names, const struct stow_record *record,
			  char *buf, size_t size);
