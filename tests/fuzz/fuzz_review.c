// SPDX-License-Identifier: Apache-2.0
/* An AdmissionReview, as no API server should send it. */
#include "fuzz.h"

#include <json-c/json.h>

#include "kube/json.h"
#include "scheduler/kubernetes/claims.h"
#include "scheduler/kubernetes/quantity.h"
#include "scheduler/kubernetes/review.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), *answer = NULL;
	struct json_object *object = NULL;
	struct stow_err err = { 0 };
	uint64_t milli;
	int r = scheduler_review(text, strlen(text), &answer, &err);

	FUZZ_CHECK(r >= 0 && r < SCHEDULER_REVIEWS);
	FUZZ_CHECK(!answer == (r == SCHEDULER_REVIEW_INVALID));
	FUZZ_CHECK(answer || err.msg[0]);
	FUZZ_CHECK(!answer || stow_kube_parse(answer, strlen(answer), &object, NULL) == 0);
	FUZZ_CHECK(!answer || stow_kube_text(object, "response.uid")[0]);
	FUZZ_CHECK(!answer || stow_kube_is_true(object, "response.allowed") ==
				      (r != SCHEDULER_REVIEW_REFUSED));
	json_object_put(object);
	free(answer);
	object = NULL;
	if (stow_kube_parse(text, strlen(text), &object, NULL) == 0) {
		struct scheduler_claim_wish wish;
		struct scheduler_name name;

		scheduler_claims_read(object, &wish);
		FUZZ_CHECK(!scheduler_name_read(object, &name) ||
			   scheduler_name_is_valid(name.name));
	}
	json_object_put(object);
	FUZZ_CHECK(scheduler_quantity(text, &milli) < 0 || milli <= INT64_MAX);
	free(text);
	return 0;
}
