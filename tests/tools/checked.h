/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Data for tests/tools/check-cpus.c: what the ledger has for each container, and a walk over all
 * threads of all containers. Apart from the ledger it uses nothing that numastow has computed.
 */

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "ledger/ledger.h"

#define NODES "/sys/devices/system/node"

struct container {
	char label[STOW_RECORD_LABEL_MAX];
	int64_t key; /* of its record; 0: unmanaged */
	bool active; /* its hook has succeeded, or it is unmanaged */
	bool exclusive;
	bool moving;		 /* by a repin */
	struct stow_idset own;	 /* its exclusive CPUs that are in effect */
	struct stow_idset may;	 /* CPUs that it may use when none is exclusive; empty: those of the
				    cgroup above */
	struct stow_idset nodes; /* empty: any */
	struct stow_pidref init;
	int version; /* of the cpuset hierarchy */
	uint64_t inode;
	char *dirs[2];	  /* of cpuset, and of memory if that is a separate hierarchy */
	size_t mount_len; /* length of the mount point in dirs[0] */
	bool seen_init;
	struct past *past;
};

/* What earlier samples of a container have shown. After CPU hotplug a container may have other
 * CPUs until the kernel's worker, or the next run of the applier, has corrected them. */
struct past {
	uint64_t inode;
	bool right;	/* in the last sample */
	uint64_t last;	/* when one of its CPUs last came online, until then */
	uint64_t since; /* seconds: since when it is not right */
};
#define SETTLE 120 /* seconds that this may take on a busy machine */

struct snapshot {
	struct container *containers;
	size_t n;
	struct stow_idset exclusive; /* of all active containers */
	struct stow_idset online;
};

struct checker {
	struct stow_root *root;
	struct stow_ledger *ledger; /* NULL: there is none yet */
	struct snapshot now;
	bool watching;
	struct stow_idset has_memory, isolated;
	unsigned long found;	 /* violations */
	FILE *out;		 /* for the violations' lines */
	struct past past[1024];	 /* hashed by inode; a collision replaces the older one */
	unsigned long unsettled; /* samples after hotplug that were not checked */
};

/* Print the error, and exit with code 2. */
void checked_fatal(const struct stow_err *err) __attribute__((noreturn));
/* Count a violation, and print its line. */
void checked_violation(struct checker *ch, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Read the ledger and the entries of unmanaged containers into `now`. */
void checked_look(struct checker *ch);
void checked_forget(struct snapshot *s);

typedef void checked_visit_fn(struct checker *ch, struct container *c, pid_t pid, pid_t tid);
/* Call `visit` for each thread of each active container. */
void checked_visit(struct checker *ch, checked_visit_fn *visit);
/* Return whether the container's cgroup exists and is the recorded one. */
bool checked_is_there(struct checker *ch, const struct container *c);

/* Read the effective CPUs of a cgroup, on either version. */
bool checked_effective(struct checker *ch, const char *dir, struct stow_idset *ret);
/* Return when the first and the last of these CPUs came online, as inode numbers: sysfs creates
 * a CPU's topology directory each time that the CPU comes online, with an inode that is higher
 * than all before. */
void checked_comings(const struct stow_idset *cpus, uint64_t *ret_first, uint64_t *ret_last);
/* Note that the container is right with its present CPUs. */
void checked_settle(struct container *c);
/* Return the exclusive CPUs of other containers. */
void checked_others(const struct checker *ch, const struct container *c, struct stow_idset *ret);
/* Return the label of a container that owns one of these CPUs, or "shared". */
const char *checked_whose(const struct checker *ch, const struct stow_idset *cpus);
