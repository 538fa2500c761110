/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Prepare claims: read a claim's allocation from the API server, take it in the ledger, and write a
 * CDI file for the runtime. Every step can be repeated: kubelet calls again after a failure, and
 * that call also completes what an agent that was killed had begun.
 *
 * Every function may be called from several threads at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/policy.h"
#include "base/err.h"
#include "base/root.h"
#include "grant/claim.h"

/* Where claims are read from. */
struct agent_claim_source {
	/* Get a ResourceClaim within `timeout` ns, as the API server has sent it. Any thread,
	 * several at once. The caller frees *ret, which ends with a NUL. -ENOENT: there is none. */
	int (*get)(void *ctx, const char *ns, const char *name, uint64_t timeout, char **ret,
		   size_t *ret_len, struct stow_err *err);
	void *ctx;
};

struct agent_prepare_parts {
	struct stow_root *root;
	struct agent_policy *policy;
	struct agent_claim_source source;
	const char *pool; /* this machine's name in Kubernetes; texts are copied */
	const char *cdi;  /* the folder of CDI files */
	const char *hook; /* numastow-hook's path, for the runtime */
};

struct agent_prepare;

int agent_prepare_new(const struct agent_prepare_parts *parts, struct agent_prepare **ret,
		      struct stow_err *err);
void agent_prepare_free(struct agent_prepare *prepare);
/* Return the pool's name. */
const char *agent_prepare_pool(const struct agent_prepare *prepare);

/* A claim as kubelet names it; not trusted. */
struct agent_claim_name {
	const char *uid, *ns, *name;
};

struct agent_prepared {
	bool refused; /* after a failure: the claim was read, and it cannot be had here */
	size_t n;
	struct agent_prepared_share {
		char id[40];
		char request[STOW_CLAIM_PART_MAX + 1]; /* without the subrequest */
		int node;
	} shares[STOW_CLAIM_SHARES_MAX];
};

/* Prepare a claim. `timeout` (ns) is for the API server's answer, and for waiting for other threads;
 * when it has passed, nothing is taken any more. Errors are one line that names the claim. */
int agent_prepare(struct agent_prepare *prepare, const struct agent_claim_name *of,
		  uint64_t timeout, struct agent_prepared *ret, struct stow_err *err);

/* The same, before the claim's pod is bound: whether the pod may have exclusive CPUs is not known
 * before it has a cgroup, so that it is checked by agent_prepare() later. A claim that is reserved
 * for no pod (any more) is not `refused`. */
int agent_prepare_before_binding(struct agent_prepare *prepare, const struct agent_claim_name *of,
				 uint64_t timeout, struct agent_prepared *ret,
				 struct stow_err *err);

/* Undo agent_prepare(), without the API server; one that is under way fails (-ECANCELED). An
 * unknown claim is success. -EBUSY: one of its containers is running, and nothing has changed. */
int agent_unprepare(struct agent_prepare *prepare, const struct agent_claim_name *of,
		    struct stow_err *err);

/* The same, but only if the ledger has this share of the claim: it may have others by now. -ENOENT:
 * it does not have it. */
int agent_unprepare_share(struct agent_prepare *prepare, const struct agent_claim_name *of,
			  const char *share, struct stow_err *err);

/* Write the CDI files of all claims in the ledger, and remove those of other claims. */
int agent_prepare_restore(struct agent_prepare *prepare, struct stow_err *err);
