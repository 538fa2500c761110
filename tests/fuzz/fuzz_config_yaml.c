// SPDX-License-Identifier: Apache-2.0
/* The administrator's config.yaml. */
#include "fuzz.h"

#include "place/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stow_request request = { .cpus = 4, .memory = 1 << 20 };
	struct stow_request whole = request;
	struct stow_limits limits = { .cpus = 16 };
	struct stow_config *config = NULL;
	struct stow_caps used = { .cpus = 1 };
	struct stow_err err = { 0 };
	int r = stow_config_parse((const char *)data, size, "config.yaml", &config, &err);

	FUZZ_CHECK_ERR(r, &err);
	if (r == 0) {
		FUZZ_CHECK(config);
		r = stow_config_check(config, "shop", &used, &request, &err);
		FUZZ_CHECK_ERR(r, &err);
		request.cpu_mode = STOW_CPU_EXCLUSIVE;
		(void)stow_config_check(config, NULL, NULL, &request, NULL);
		err = (struct stow_err){ 0 };
		r = stow_config_check_member(config, "shop", &used, &limits, "db", &request, &whole,
					     &err);
		FUZZ_CHECK_ERR(r, &err);
		FUZZ_CHECK(whole.cpus == (r == 0 ? 8U : 4U));
	}
	stow_config_free(config);
	return 0;
}
