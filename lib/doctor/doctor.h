/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Findings about a machine: settings, counters, containers and firmware that cost NUMA locality.
 *
 * A rule is an entry of one table. Its function reads the machine, and reports each finding with
 * the numbers that it has read. A problem is harm that was measured; advice is about a setting that
 * was changed, or that does not suit the hardware; the rest is information. What a distribution
 * sets is never a finding by itself. Counters count since the boot, or within an interval that the
 * caller asks for; a copied tree has only the former.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"
#include "ledger/ledger.h"

enum stow_finding_level {
	STOW_FINDING_PROBLEM,
	STOW_FINDING_ADVICE,
	STOW_FINDING_INFORMATION,
	STOW_FINDING_LEVELS,
};

/* Return "problem", "advice" or "information". */
const char *stow_finding_level_name(enum stow_finding_level level);

struct doctor;

struct stow_rule {
	const char *id;
	enum stow_finding_level level; /* the gravest that it reports */
	const char *kernels;	       /* those that it holds for */
	const char *title;	       /* what is found, for the list of rules */
	const char *consequence;
	const char *command;  /* what mends it; a finding may have a more exact one */
	const char *document; /* where it is explained */
	/* Report what is found. A negative errno: the rule could not be applied. */
	int (*find)(struct doctor *d, struct stow_err *err);
};

/* Return the table; `ret_n` rules. */
const struct stow_rule *stow_rules(size_t *ret_n);

struct stow_finding {
	const struct stow_rule *rule;
	enum stow_finding_level level;
	int node;	/* the NUMA node that it is about; -1: the machine */
	char *subject;	/* a container, process, device or setting; "": the machine */
	char *evidence; /* the numbers that were read */
	char *command;	/* what mends it */
	size_t order;	/* in which it was found */
};

/* A rule that could not be applied. */
struct stow_unexamined {
	const struct stow_rule *rule;
	char *reason;
};

struct stow_findings {
	struct stow_finding *list; /* problems first, then by the table's order */
	size_t n;
	struct stow_unexamined *unexamined;
	size_t n_unexamined;
	double seconds; /* that the counters cover; 0: unknown */
	bool since_boot;
};

struct stow_doctor_options {
	uint64_t interval; /* ns to count; 0: since the boot */
	/* The versions of the runtimes, as they print them; NULL: dpkg's of the tree. */
	const char *runc, *crun;
};

/* Apply all rules; `ledger` may be NULL. What a rule cannot read is in `unexamined`; only -ENOMEM,
 * and -EINVAL for an interval on a copied tree, are errors. */
int stow_doctor_examine(struct stow_root *root, struct stow_ledger *ledger,
			const struct stow_doctor_options *options, struct stow_findings *ret,
			struct stow_err *err);
/* Return how many findings have that level. */
size_t stow_findings_count(const struct stow_findings *findings, enum stow_finding_level level);
void stow_findings_done(struct stow_findings *findings);
