// SPDX-License-Identifier: Apache-2.0
/* A ResourceClaim, as no API server should send it. */
#include "fuzz.h"

#include <json-c/json.h>

#include "agent/kubernetes/allocation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct agent_allocation_of of = { .uid = "11111111-2222-4333-8444-555555555555",
						.ns = "team",
						.name = "db",
						.pool = "machine" };
	char *text = fuzz_text(data, size);
	struct json_object *object = json_tokener_parse(text);
	struct agent_allocation a;
	struct stow_err err = { 0 };
	int r = agent_allocation_read(object, &of, &a, &err);

	FUZZ_CHECK_ERR(r, &err);
	for (size_t i = 0; r == 0 && i < a.claim.n; i++) {
		const struct stow_claim_share *share = &a.claim.shares[i];

		FUZZ_CHECK(share->node >= 0 && share->node < STOW_IDSET_MAX);
		FUZZ_CHECK(stow_claim_check_uid(share->id, "", NULL) == 0);
		FUZZ_CHECK(share->n_pages <= STOW_POOLS_MAX);
		for (size_t p = 0; p < share->n_pages; p++) {
			FUZZ_CHECK(share->pages[p].count > 0);
			FUZZ_CHECK(p == 0 || share->pages[p - 1].size < share->pages[p].size);
		}
	}
	FUZZ_CHECK(r < 0 || (a.claim.n > 0 && a.claim.n <= STOW_CLAIM_SHARES_MAX));
	(void)agent_allocation_check_name(text, "name", NULL);
	json_object_put(object);
	free(text);
	return 0;
}
