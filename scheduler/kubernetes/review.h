/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Answer an AdmissionReview (admission.k8s.io/v1) of a pod that is being created: with the patch
 * that gives it its claim, or with a refusal. A pure function of bytes, which are not trusted. */

#include <stddef.h>

#include "base/err.h"

enum scheduler_reviewed {
	SCHEDULER_REVIEW_PATCHED,
	SCHEDULER_REVIEW_UNCHANGED, /* nothing to do: no annotations, or it has its claim */
	SCHEDULER_REVIEW_REFUSED,
	SCHEDULER_REVIEW_INVALID, /* no AdmissionReview */
	SCHEDULER_REVIEWS
};

/* Return what the answer is. *ret_text is the AdmissionReview to answer with, for the caller to
 * free; or NULL for SCHEDULER_REVIEW_INVALID, where `err` says why. -ENOMEM. */
int scheduler_review(const char *body, size_t len, char **ret_text, struct stow_err *err);
