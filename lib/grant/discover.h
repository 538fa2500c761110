/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Discovery of containers that no hook has seen, by the names that container runtimes give to
 * cgroups.
 *
 *	Podman		machine.slice/libpod-ID.scope, /libpod_parent/libpod-ID,
 *			UNIT/libpod-payload-ID; in a pod below machine-libpod_pod_POD.slice or
 *			/libpod_parent/POD
 *	Docker		system.slice/docker-ID.scope, /docker/ID
 *	nerdctl		system.slice/nerdctl-ID.scope, /default/ID
 *	Kubernetes	.../kubepods-podUID.slice/cri-containerd-ID.scope or crio-ID.scope,
 *			/kubepods/.../podUID/ID or crio-ID
 *
 * ID is 64 hexadecimal digits. The outermost cgroup of such a name is a container. Cgroups below it
 * are skipped, because a container may give its own cgroups any name. Cgroups below user.slice are
 * skipped for the same reason: users name them.
 */

#include "base/err.h"
#include "base/root.h"
#include "grant/unmanaged.h"

#define STOW_DISCOVER_DEPTH   24    /* levels below the mount */
#define STOW_DISCOVER_CGROUPS 65536 /* cgroups that are visited */
#define STOW_DISCOVER_PATH    2048  /* bytes; cgroups with a longer path are left out */
#define STOW_DISCOVER_ID      64

struct stow_discovered {
	char id[STOW_DISCOVER_ID + 1];
	char *path; /* of the cgroup in the cpuset hierarchy */
	uint64_t inode;
};

struct stow_discovery {
	struct stow_discovered *list;
	size_t n;
	bool cut; /* true: there are more cgroups than STOW_DISCOVER_CGROUPS */
};

void stow_discovery_done(struct stow_discovery *discovery);

/* List all containers, including those without processes. `is_none` (may be NULL) returns true for
 * a cgroup that has a container's name but only holds containers below it. -ENOENT: there is no
 * cpuset hierarchy. */
int stow_discover(struct stow_root *root, bool (*is_none)(void *ctx, const char *path), void *ctx,
		  struct stow_discovery *ret, struct stow_err *err);

/*
 * Read what an entry needs: the identity of the cgroup in all hierarchies, and the CPUs that the
 * container was given. On cgroup v1, where a set is never empty, these are none when the set equals
 * that of the cgroup above. Return 1, or 0 when the container has no processes, is gone, or is
 * still created by its runtime (stow_process_is_created()). A hierarchy without the cpuset
 * controller gets version 0.
 *
 * crun keeps a container under systemd in SCOPE/container: that is the container's cgroup when the
 * scope has no other cgroup and no process, as crun leaves it.
 */
int stow_discover_read(struct stow_root *root, const struct stow_discovered *container,
		       struct stow_unmanaged *ret, struct stow_err *err);

/* Return whether `path` is the cgroup that crun makes for the container: "container" below its
 * scope. */
bool stow_discover_is_inner(const struct stow_discovered *container, const char *path);
/* Return whether the scope has the cgroup "container", no other cgroup, and no process. */
bool stow_discover_has_inner(struct stow_root *root, const struct stow_discovered *container);

/* Return the ID in a cgroup's name ("libpod-ID.scope"), or NULL. `above`: the name of the parent
 * cgroup. */
const char *stow_discover_id(const char *name, const char *above);
/* Find the container that a cgroup is, or is in, by its path. Return whether there is one. */
bool stow_discover_in(const char *path, char ret_id[static STOW_DISCOVER_ID + 1]);
