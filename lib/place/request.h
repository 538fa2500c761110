/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container's request: the annotations "numastow.io/KEY" and "numastow.io/KEY.CONTAINER", which
 * are untrusted. Every value is checked; an error names the key, the value and the nearest valid
 * one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/idset.h"
#include "model/amounts.h"
#include "model/choices.h"

#define STOW_CPUS_MAX STOW_IDSET_MAX
#define STOW_PAGE_MIN 4096 /* bytes, Linux's smallest page; less is not an amount of memory */

/* Return the word used in annotations and output. */
const char *stow_cpu_mode_name(enum stow_cpu_mode v);
const char *stow_policy_name(enum stow_policy v);
const char *stow_memory_policy_name(enum stow_memory_policy v);
/* The words, NULL-terminated. */
extern const char *const stow_policies[], *const stow_cpu_modes[], *const stow_memory_policies[],
									   *const stow_drains[];

struct stow_request {
	uint32_t cpus;	 /* hardware threads; 0: no number, any of the nodes' shared CPUs */
	uint64_t memory; /* bytes; 0: none is reserved */
	struct stow_page_request pages[STOW_POOLS_MAX]; /* by ascending size, no zero counts */
	size_t n_pages;
	enum stow_cpu_mode cpu_mode;
	enum stow_policy policy;
	enum stow_scope scope;
	enum stow_memory_policy memory_policy;
	enum stow_drain drain;
	enum stow_on_failure on_failure;
	bool memory_only;	   /* its CPUs come with other parts of a claim: NUMA nodes without
				      CPUs will do */
	bool nodes_auto;	   /* nodes=auto, the default */
	struct stow_idset nodes;   /* otherwise only these */
	char near[64];		   /* "" for none */
	char reservation[320];	   /* "" for none, or in the form of lib/place/reservation.h */
	bool has_cpus, has_memory; /* set by annotations */
};

struct stow_annotation {
	const char *key; /* with the prefix; other keys are skipped */
	const char *value;
};

/* What the runtime's own configuration limits, to complete a request. Zero: no limit. */
struct stow_limits {
	uint32_t cpus;	 /* CPU quota over period, rounded up */
	uint64_t memory; /* bytes */
	/* Hugepage limits. A size with count 0 is limited to none, as kubelet does for sizes that a
	 * pod did not ask for; a missing size has no limit. */
	struct stow_page_request pages[STOW_POOLS_MAX];
	size_t n_pages;
};

/*
 * Read the annotations that apply to `container` (its name within the pod; NULL or "" when it has
 * none, which makes a KEY.CONTAINER -EINVAL). KEY.CONTAINER takes precedence over KEY. A
 * KEY.CONTAINER for another container is checked as well, because a typing error must not wait for
 * that container to start. Return 1 when the container has a request, 0 when no key applies to it;
 * -EINVAL or -ERANGE with one line that names the key, the value and what would be valid.
 *
 * The result includes the defaults of docs/annotations.md. `allowed_keys` (NULL-terminated; NULL:
 * all keys) are the administrator's; another key is -EPERM.
 */
int stow_request_parse(const struct stow_annotation *annotations, size_t n, const char *container,
		       const char *const *allowed_keys, enum stow_policy default_policy,
		       struct stow_request *ret, struct stow_err *err);

/* Check amounts that came as numbers, not as annotations: CPUs, memory and hugepages must be
 * possible amounts, memory at least a page, page sizes ascending. -EINVAL names the field: "cpus",
 * "memory" or "hugepages". */
int stow_request_check_amounts(const struct stow_request *request, struct stow_err *err);

/* Check whether `key` (without prefix) can be in allowed-keys: a known key, or "hugepages" for
 * every page size. -EINVAL with the nearest one. */
int stow_request_check_key(const char *key, struct stow_err *err);

/* Fill in cpus, memory and hugepages that the annotations do not set, from the container's own
 * limits. With `cap` (Kubernetes: annotations are untrusted, and the API server has checked the
 * limits) an annotation above an existing limit is -EPERM. -EINVAL: exclusive CPUs without a number
 * from either; hugepages that are not a whole number of pages. */
int stow_request_complete(struct stow_request *request, const struct stow_limits *limits, bool cap,
			  struct stow_err *err);

/* List the container names that appear as KEY.CONTAINER, each once, at most `max` (for scope=pod).
 * Each pointer is to the rest of its key in the annotations. */
size_t stow_request_members(const struct stow_annotation *annotations, size_t n,
			    const char **ret_names, size_t max);

/* Format one line: "4 exclusive CPUs, 8Gi memory, 64Mi in 2Mi hugepages, single-numa-node". */
const char *stow_request_format(const struct stow_request *request, char *buf, size_t size);

/*
 * Compute a digest of the request, as lower-case hexadecimal digits: two requests are the same
 * exactly when their digests are equal. It covers the exact numbers and choices that decide the
 * placement: CPUs, cpu-mode, memory, hugepages, policy, scope, nodes, memory-policy, near; in a
 * fixed order and form, so that it is equal on every machine and does not depend on the wording of
 * any text. It does not cover what only matters later (drain, on-failure), the reservation, and
 * which numbers came from annotations and which from limits: use it on a completed request.
 *
 * It does not protect against deliberate collisions: an attacker who finds one gets what one of his
 * own two requests was given.
 */
void stow_request_digest(const struct stow_request *request, char ret[static STOW_DIGEST_LEN + 1]);
