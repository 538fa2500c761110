/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * numastow-run: a program as a stowed container. `numastow` executes it for `numastow run`. It is
 * linked with libcgroup, which no other program needs.
 *
 *	main.c		options, what they ask for
 *	request.c	options to annotations to a request
 *	one.c		one instance: placed (root), or affinity and policy only
 *	each.c		an instance for each NUMA node
 *	scope.c		a transient scope of systemd
 *	libsystemd.c	the library for it, loaded only then
 *	group.c		a group in each hierarchy, by libcgroup
 *	kernel.c	affinity and memory policy of the process
 *	program.c	the user, the environment, execvp(3)
 */

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "cli/asked.h"
#include "grant/context.h"
#include "grant/program.h"
#include "place/request.h"

/* Exit codes, as env(1), nohup(1) and container engines have them. */
enum {
	RUN_FAILED = 125,	  /* numastow's own failure */
	RUN_NOT_EXECUTABLE = 126, /* the program is there, and cannot be executed */
	RUN_NOT_FOUND = 127,	  /* there is no such program */
};

/* The kernel's memory policies (set_mempolicy(2)). */
enum run_policy {
	RUN_BIND,
	RUN_PREFERRED,
	RUN_PREFERRED_MANY,
	RUN_INTERLEAVE,
	RUN_WEIGHTED_INTERLEAVE,
	RUN_LOCAL,
};

struct run_options {
	const char *cpus, *cpu_mode, *nodes, *memory, *hugepages, *near, *drain;
	const char *name, *user, *slice;
	const char *placement; /* --policy: single-numa-node ... */
	struct {
		bool given;
		enum run_policy value;
	} policy;		/* --policy: bind ... */
	struct cli_asked asked; /* --annotation, then what the other options ask for */
	bool exclusive, each_node, quiet;
	char **command;
};

/* What is changed while numastow works, and put back before the program is executed. */
struct run_before {
	struct sigaction child, pipe;
	mode_t umask;
};

struct run {
	const struct run_options *options;
	struct stow_root *root;
	struct stow_config *config;
	struct stow_grant_context context;
	char name[STOW_PROGRAM_NAME_MAX + 1];
	struct stow_request request;
	uint64_t page_size; /* of --hugepages; 0: none */
	struct stow_placed placed;
	struct run_before before;
};

/* --- request.c --- */

/* Parse --policy, a word of either kind. */
int run_take_policy(const char *text, void *value, struct stow_err *err);
/* Parse --annotation KEY=VALUE. */
int run_take_annotation(const char *text, void *value, struct stow_err *err);
/* Add what the other options ask for to the annotations. With --each-node without --nodes, nodes
 * are not among them. */
int run_ask(struct run_options *options, struct stow_root *root, struct stow_err *err);
/* If an error begins with an annotation that an option stands for, have it begin with the option,
 * as it was typed. Return `r`. */
int run_name_option(const struct run_options *options, int r, struct stow_err *err);
/* Make the request from the annotations; `node` >= 0: on this NUMA node. */
int run_request(struct run *run, int node, struct stow_err *err);

/* --- one.c --- */

/* Read the machine, and what the caller may do. Free with run_close(). */
int run_open(struct run *run, const struct run_options *options, struct stow_err *err);
void run_close(struct run *run);

/* Give the calling process its place: with a grant, or without root its affinity and policy alone.
 * `node` >= 0: on this NUMA node. */
int run_place(struct run *run, int node, struct stow_err *err);
/* Take back what run_place() has granted, if anything. The process is root. */
void run_take_back(struct run *run, const char *text);
/* Execute the program, after run_place(). Return only when that failed, with the exit code, after
 * the message was printed and the grant was taken back. */
int run_program(struct run *run);

/* --- each.c --- */

/* Run an instance on each NUMA node, all of them or none, and return the exit code: of the first
 * instance that failed, 128 + N for one that signal N ended, or 0. */
int run_each(const struct run_options *options);

/* --- scope.c, group.c --- */

/* Move the calling process into a scope of its own, which is made with these sets; an empty one
 * stands for all that the machine has. */
int run_join_scope(struct run *run, const struct stow_made_sets *sets, struct stow_err *err);
/* Move the calling process into a group of its own in each hierarchy. */
int run_join_group(struct run *run, struct stow_err *err);

/* --- kernel.c --- */

/* Read a list of NUMA nodes, "has_cpu" or "has_memory"; node 0 where the kernel has no NUMA. */
int run_read_nodes(struct stow_root *root, const char *list, struct stow_idset *ret,
		   struct stow_err *err);
/* Let the process run on all CPUs that its cgroup has, now and later: with a grant, the cgroup
 * alone decides. */
int run_affinity_all(struct stow_err *err);
/* Restrict the process to these CPUs, and read back. */
int run_affinity(const struct stow_idset *cpus, struct stow_err *err);
/* Set the memory policy of the process. `nodes`: of the plan. */
int run_set_policy(enum run_policy policy, const struct stow_idset *nodes, struct stow_err *err);
/* Set the kernel's default policy, whatever the caller's was. */
int run_reset_policy(struct stow_err *err);

/* --- program.c --- */

/* Begin to work: signals and umask as numastow needs them. */
void run_prepare(struct run_before *before);
/* Check that the program exists and can be executed. 0, RUN_NOT_FOUND or RUN_NOT_EXECUTABLE, with
 * the message printed. */
int run_find(const char *program);
/* Find the user. -EINVAL: there is none of that name. */
int run_check_user(const char *user, struct stow_err *err);
/* Become the user, and set the environment. The saved user id stays 0 until the program is
 * executed, so that a failure can be undone. */
int run_become(const char *user, struct stow_err *err);
/* Let glibc's malloc(3) take hugepages of that size. */
int run_set_tunables(struct stow_root *root, uint64_t page_size, struct stow_err *err);
/* Put signals and umask back, and execute the program. Return the exit code after a failure, with
 * the message printed. */
int run_execute(const struct run_before *before, char **command);
