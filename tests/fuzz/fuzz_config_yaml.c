// SPDX-License-Identifier: Apache-2.0
/* The administrator's config.yaml. */
#include "fuzz.h"

#include "place/config.h"

/* What was taken is within its bounds. */
static void check_bounds(const struct stow_config *config)
{
	FUZZ_CHECK(config->lease_seconds >= 1 && config->lease_seconds <= 86400);
	FUZZ_CHECK(!config->allowed_keys || config->allowed_keys[0]);
	for (char *const *p = config->runtimes; p && *p; p++)
		FUZZ_CHECK(**p == '/');
	for (size_t i = 0; i < config->n_reserved; i++) {
		const struct stow_config_node *node = &config->reserved[i];

		FUZZ_CHECK(node->id >= -1 && node->id < STOW_IDSET_MAX);
		FUZZ_CHECK(node->cpus == 0 || stow_idset_empty(&node->cpu_set));
		FUZZ_CHECK(node->memory == 0 || node->memory >= STOW_PAGE_MIN);
	}
	for (size_t i = 0; i < config->n_namespaces; i++)
		FUZZ_CHECK(config->namespaces[i].name && config->namespaces[i].name[0] &&
			   strlen(config->namespaces[i].name) <= STOW_NAME_MAX);
}

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
		check_bounds(config);
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
