/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which memory policy suits a program, by the kind of its accesses.
 *
 * Of a running process, the kernel shows its size, its threads and where its memory is, and with
 * NUMA balancing on, how many hinting faults were on pages that one thread used, and on pages that
 * several used (numa_faults in /proc/PID/sched). No file shows whether shared data is written, and
 * whether latency or bandwidth counts: then the kind is unknown, and the caller must name it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "node/topology.h"

enum stow_program_kind {
	STOW_PROGRAM_UNKNOWN,
	STOW_PROGRAM_LATENCY,
	STOW_PROGRAM_CAPACITY,
	STOW_PROGRAM_SHARED_READ_ONLY,
	STOW_PROGRAM_SHARED_READ_WRITE,
	STOW_PROGRAM_PER_THREAD,
	STOW_PROGRAM_KINDS,
};

/* Return "latency", "capacity", "shared-read-only", "shared-read-write", "per-thread" or
 * "unknown". */
const char *stow_program_kind_name(enum stow_program_kind kind);
/* Find a kind by its name. -EINVAL: the message lists the valid ones. */
int stow_program_kind_parse(const char *text, enum stow_program_kind *ret, struct stow_err *err);

struct stow_program {
	pid_t pid; /* 0: it does not run */
	char name[64];
	size_t n_running; /* processes of that name; the largest is described */
	unsigned int threads;
	uint64_t memory; /* bytes that are resident */
	struct stow_idset cpus, mems;
	bool placed;		     /* `used` is known */
	uint64_t *used;		     /* bytes on each node, by the topology's index */
	bool sampled;		     /* the two below are known */
	uint64_t by_one;	     /* hinting faults on pages that one thread uses */
	uint64_t by_several;	     /* ... and on pages of several */
	enum stow_program_kind kind; /* as far as it can be known */
	char why[256];		     /* the numbers from which `kind` follows */
};

struct stow_program_advice {
	enum stow_program_kind kind;
	const char *policy;	 /* "bind", "interleave", "local"; NULL: unknown */
	struct stow_idset nodes; /* empty: all */
	char reason[256];
	char command[512];
	char warning[512]; /* "": none */
};

/* Describe a process, or the largest one of a name; a name that does not run has pid 0. -ESRCH:
 * there is no such PID. Free with stow_program_done(). */
int stow_program_read(struct stow_root *root, const struct stow_topology *topology,
		      const char *name, struct stow_program *ret, struct stow_err *err);
void stow_program_done(struct stow_program *program);

/* Advise by `kind`, or with STOW_PROGRAM_UNKNOWN by what is known of the program. */
void stow_program_advise(const struct stow_topology *topology, const struct stow_program *program,
			 enum stow_program_kind kind, struct stow_program_advice *ret);
