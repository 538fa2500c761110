/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Finding containers by where container runtimes keep them, for those that no hook has told of.
 *
 *	Podman		machine.slice/libpod-ID.scope, /libpod_parent/libpod-ID,
 *			UNIT/libpod-payload-ID; in a pod below machine-libpod_pod_POD.slice or
 *			/libpod_parent/POD
 *	Docker		system.slice/docker-ID.scope, /docker/ID
 *	nerdctl		system.slice/nerdctl-ID.scope, /default/ID
 *	Kubernetes	.../kubepods-podUID.slice/cri-containerd-ID.scope or crio-ID.scope,
 *			/kubepods/.../podUID/ID or crio-ID
 *
 * ID is 64 hexadecimal digits. The outermost cgroup of such a name is a container, and what is
 *below it is not looked at: a container may name the cgroups in it as it likes. Nothing below
 *user.slice is looked at either: those are users' own, and so are the names there.
 */

#include "base/err.h"
#include "base/root.h"
#include "grant/unmanaged.h"

#define STOW_DISCOVER_DEPTH   24    /* levels below the mount */
#define STOW_DISCOVER_CGROUPS 65536 /* cgroups that are looked into */
#define STOW_DISCOVER_PATH    2048  /* bytes of a path; cgroups with longer ones are left out */
#define STOW_DISCOVER_ID      64

struct stow_discovered {
	char id[STOW_DISCOVER_ID + 1];
	char *path; /* of the cgroup in the cpuset hierarchy */
	uint64_t inode;
};

struct stow_discovery {
	struct stow_discovered *list;
	size_t n;
	bool cut; /* there were more cgroups than are looked into */
};

void stow_discovery_done(struct stow_discovery *discovery);

/* All containers, those without processes too. `is_none` (may be NULL) says of a cgroup that has a
 * container's name that it is none, but has containers below it. -ENOENT: no cpuset hierarchy. */
int stow_discover(struct stow_root *root, bool (*is_none)(void *ctx, const char *path), void *ctx,
		  struct stow_discovery *ret, struct stow_err *err);

/*
 * Reads what an entry has: the cgroup's identity, in all hierarchies, and the CPUs that it was given
 * (on cgroup v1, where a set is never empty, none when they are those of the cgroup above). 1, or 0
 * when it has no processes or is gone. A cgroup without the cpuset controller is one of version 0.
 *
 * crun keeps a container under systemd in SCOPE/container: that is its cgroup where the scope has
 * nothing else, as crun leaves it.
 */
int stow_discover_read(struct stow_root *root, const struct stow_discovered *container,
		       struct stow_unmanaged *ret, struct stow_err *err);

/* Whether `path` is the container's own cgroup as crun makes it: "container" below its scope. */
bool stow_discover_is_inner(const struct stow_discovered *container, const char *path);
/* Whether the scope has "container" and no other cgroup, and no process itself. */
bool stow_discover_has_inner(struct stow_root *root, const struct stow_discovered *container);

/* The ID in a cgroup's name ("libpod-ID.scope"), or NULL; `above`: the name of the cgroup above. */
const char *stow_discover_id(const char *name, const char *above);
