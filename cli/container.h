/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Finding a container by what people call it: its id or a prefix of it, Podman's name, Kubernetes'
 * names. Without root, by its id only. */

#include "base/err.h"
#include "base/root.h"
#include "cgroup/cgroup.h"
#include "grant/discover.h"
#include "ledger/ledger.h"

struct cli_container {
	char *id;
	char *name; /* "web", "NAMESPACE/POD/CONTAINER"; NULL: not known. Harmless for terminals */
	struct stow_cgroup *cgroup;
};

/* Find the container, and open its cgroup. -ENOENT: there is none; -ENOTUNIQ: there are several;
 * -ESRCH: its cgroup is gone. */
int cli_container_find(struct stow_root *root, const char *text, struct cli_container *ret,
		       struct stow_err *err);
/* Find only its id, which the caller frees: also of a container that Podman has and that does not
 * run. -ENOENT, -ENOTUNIQ as above. */
int cli_container_id(struct stow_root *root, const char *text, char **ret, struct stow_err *err);
void cli_container_done(struct cli_container *container);

/* Return what a container is called: its name, or its id, in `buf` if that is shortened. */
const char *cli_container_label(const struct cli_container *container, char *buf, size_t size);

/* List the containers of these records, and those among the discovered ones that have processes;
 * open their cgroups. What has no process is left out, and counted in ret_ended. The caller frees
 * the list and what is in it. -ENOMEM. */
int cli_container_list(struct stow_root *root, struct stow_record *const *records, size_t n_records,
		       const struct stow_discovery *found, struct cli_container **ret,
		       size_t *ret_n, size_t *ret_ended, struct stow_err *err);
