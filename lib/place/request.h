/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a container asks for: the annotations "numastow.io/KEY" and "numastow.io/KEY.CONTAINER",
 * which strangers wrote. Every value is checked; an error names the key, the value and the nearest
 * valid one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/idset.h"
#include "model/amounts.h"
#include "model/choices.h"

#define STOW_ANNOTATION_PREFIX "numastow.io/"
#define STOW_CPUS_MAX	       STOW_IDSET_MAX
#define STOW_PAGE_MIN	       4096 /* bytes: the smallest page that Linux has; less is no amount */
#define STOW_NAME_MAX	       253  /* a DNS subdomain name, as Kubernetes names pods */

/* The word used in annotations and output. */
const char *stow_cpu_mode_name(enum stow_cpu_mode v);
const char *stow_policy_name(enum stow_policy v);
const char *stow_memory_policy_name(enum stow_memory_policy v);
extern const char *const stow_policies[]; /* NULL-terminated */

struct stow_request {
	uint32_t cpus;	 /* hardware threads; 0: no number asked, any of the nodes' shared CPUs */
	uint64_t memory; /* bytes; 0: nothing is set aside */
	struct stow_page_request pages[STOW_POOLS_MAX]; /* by ascending size, no zero counts */
	size_t n_pages;
	enum stow_cpu_mode cpu_mode;
	enum stow_policy policy;
	enum stow_scope scope;
	enum stow_memory_policy memory_policy;
	enum stow_drain drain;
	enum stow_on_failure on_failure;
	bool nodes_auto;	 /* nodes=auto, the default */
	struct stow_idset nodes; /* else only these */
	char near[64];		 /* "" for none */
	char reservation[320];	 /* "" for none, else in the form of lib/place/reservation.h */
	bool has_cpus, has_memory, has_pages, has_policy; /* which the annotations gave */
};

struct stow_annotation {
	const char *key; /* with the prefix; other keys are skipped */
	const char *value;
};

/* What the runtime's own configuration already limits, to complete a request. Zero: no limit. */
struct stow_limits {
	uint32_t cpus;	 /* CPU quota over period, rounded up */
	uint64_t memory; /* bytes */
	/* Hugepage limits. A size with count 0 is a limit of none, as kubelet sets for the sizes
	 * that a pod did not ask for; a size that is missing has no limit. */
	struct stow_page_request pages[STOW_POOLS_MAX];
	size_t n_pages;
};

/*
 * Reads the annotations that apply to `container` (its name within the pod; NULL or "" when it has
 * none, then a KEY.CONTAINER is -EINVAL). KEY.CONTAINER wins over KEY. A KEY.CONTAINER for another
 * container is checked all the same: a typing error must not wait for that container to start.
 * Returns 1 when the container asks for anything, 0 when no key applies to it; -EINVAL or -ERANGE
 * with one line that names key, value and what would be valid.
 * The result has the defaults of docs/annotations.md in it. `allowed_keys` (NULL-terminated, may be
 * NULL for all) are the administrator's; another key is -EPERM.
 */
int stow_request_parse(const struct stow_annotation *annotations, size_t n, const char *container,
		       const char *const *allowed_keys, enum stow_policy default_policy,
		       struct stow_request *ret, struct stow_err *err);

/* What came as numbers, not as annotations: that CPUs, memory and hugepages are amounts that there
 * can be, memory no less than a page, page sizes ascending. -EINVAL names the field: "cpus",
 * "memory" or "hugepages". */
int stow_request_check_amounts(const struct stow_request *request, struct stow_err *err);

/* Whether `key` (without prefix) is one that can be allowed: a key of the table, or "hugepages" for
 * every page size. -EINVAL with the nearest one. */
int stow_request_check_key(const char *key, struct stow_err *err);

/* Fills cpus, memory and hugepages that the annotations do not give from the container's own
 * limits. With `cap` (Kubernetes: strangers set annotations, the API server checked the limits) an
 * annotation above a limit that exists is -EPERM. -EINVAL: CPUs of its own and no number of them
 * from either; hugepages that are no whole number of pages. */
int stow_request_complete(struct stow_request *request, const struct stow_limits *limits, bool cap,
			  struct stow_err *err);

/* The container names that appear as KEY.CONTAINER, each once, at most `max` (for scope=pod).
 * Pointers into the annotations, not terminated at their end: they are the rest of the key. */
size_t stow_request_members(const struct stow_annotation *annotations, size_t n,
			    const char **ret_names, size_t max);

/* One line: "4 exclusive CPUs, 8Gi memory, 64Mi in 2Mi hugepages, single-numa-node". */
const char *stow_request_format(const struct stow_request *request, char *buf, size_t size);

/*
 * A digest of what is asked for, as lower-case hexadecimal digits: two requests are the same
 * exactly when theirs are equal. Into it go the exact numbers and choices that decide what is
 * given: CPUs, cpu-mode, memory, hugepages, policy, scope, nodes, memory-policy, near; in a fixed
 * order and form, so that it is the same on every machine and does not change with the wording of
 * any text. Not in it: what only matters later (drain, on-failure), the reservation, and which of
 * the numbers came from annotations and which from limits: take it of a completed request.
 *
 * It tells requests apart, and is no proof against whoever looks for two that collide: who finds
 * them gets what one of his own two requests was given.
 */
void stow_request_digest(const struct stow_request *request, char ret[static STOW_DIGEST_LEN + 1]);
