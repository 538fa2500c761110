// SPDX-License-Identifier: Apache-2.0
/* A bundle's config.json: as precreate's input, and for its limits. */
#include "fuzz.h"

#include "oci-hook/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hook_container c = { 0 };
	struct stow_limits limits = { 0 };
	struct stow_err err = { 0 };
	char *text = fuzz_text(data, size);
	int r = hook_parse_config(text, size, &c, &err);

	FUZZ_CHECK_ERR(r, &err);
	if (r == 0) {
		FUZZ_CHECK(!c.annotated || (c.id && c.id[0] && !strchr(c.id, '/')));
		r = hook_config_limits(c.json, &limits, &err);
		FUZZ_CHECK_ERR(r, &err);
		FUZZ_CHECK(limits.cpus <= STOW_CPUS_MAX && limits.n_pages <= STOW_POOLS_MAX);
		(void)hook_config_memory_policy(c.json);
	}
	hook_container_done(&c);
	free(text);
	return 0;
}
