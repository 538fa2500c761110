/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the ledger says of each container, and a walk over all threads of all containers: what
 * tests/tools/check-cpus.c compares. Nothing that numastow has computed is used but the ledger.
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
	bool active; /* its hook has said yes, or it is unmanaged */
	bool exclusive;
	bool moving;	       /* by a repin */
	struct stow_idset own; /* CPUs that belong to it alone, and which it has already */
	struct stow_idset may; /* what it may use when nothing is exclusive; empty: what is above */
	struct stow_idset nodes; /* empty: any */
	struct stow_pidref init;
	int version; /* of the cpuset hierarchy */
	uint64_t inode;
	char *dirs[2];	  /* of cpuset, and of memory where that is another hierarchy */
	size_t mount_len; /* of the first: where the hierarchy is mounted */
	bool seen_init;
	struct past *past;
};

/* What the samples of one container have shown so far. CPU hotplug gives a container other CPUs
 * until the kernel's worker, or the next run, has followed. */
struct past {
	uint64_t inode;
	bool right;	/* in the last sample */
	uint64_t last;	/* of its CPUs' comings until then */
	uint64_t since; /* seconds: from when on it was not */
};
#define SETTLE 120 /* seconds for all of that on a busy machine */

struct snapshot {
	struct container *containers;
	size_t n;
	struct stow_idset exclusive; /* of all that are active */
	struct stow_idset online;
};

struct checker {
	struct stow_root *root;
	struct stow_ledger *ledger; /* NULL: there is none yet */
	struct snapshot now;
	bool watching;
	struct stow_idset has_memory, isolated;
	unsigned long found;	 /* violations */
	FILE *out;		 /* for their lines */
	struct past past[1024];	 /* by inode; of two in one place, the last */
	unsigned long unsettled; /* samples after hotplug that were not judged */
};

/* Prints the error and exits with code 2. */
void checked_fatal(const struct stow_err *err) __attribute__((noreturn));
/* Counts a violation and prints its line. */
void checked_violation(struct checker *ch, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Reads the ledger and the entries of unmanaged containers into `now`. */
void checked_look(struct checker *ch);
void checked_forget(struct snapshot *s);

typedef void checked_visit_fn(struct checker *ch, struct container *c, pid_t pid, pid_t tid);
/* Calls `visit` for each thread of each active container. */
void checked_visit(struct checker *ch, checked_visit_fn *visit);
/* Returns whether the container's cgroup is there and is the recorded one. */
bool checked_is_there(struct checker *ch, const struct container *c);

/* Reads the effective CPUs of a cgroup, on either version. */
bool checked_effective(struct checker *ch, const char *dir, struct stow_idset *ret);
/* Returns when the first and the last of these CPUs came: sysfs makes a CPU's topology directory
 * anew each time that it comes online, with an inode that is higher than all before. */
void checked_comings(const struct stow_idset *cpus, uint64_t *ret_first, uint64_t *ret_last);
/* Notes that the container is right with its CPUs as they are. */
void checked_settle(struct container *c);
/* Returns the exclusive CPUs of other containers. */
void checked_others(const struct checker *ch, const struct container *c, struct stow_idset *ret);
/* Returns the label of a container that owns one of these CPUs, or "shared". */
const char *checked_whose(const struct checker *ch, const struct stow_idset *cpus);
