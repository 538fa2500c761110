// SPDX-License-Identifier: Apache-2.0
/* /proc/zoneinfo, and /proc/buddyinfo beside what was in it; the text has no end of its own. */
#include "fuzz.h"

#include "node/watermarks.h"

/* Whatever the zones have, the computations end, and the pressure has a word. */
static void account(const struct stow_zones *zones)
{
	struct stow_zone_knobs knobs = { .min_free_kbytes = 67584,
					 .scale_factor = 10,
					 .ratio = { 256, 256, 32, 0, 0 },
					 .n_ratio = 5,
					 .page_size = 4096,
					 .pmd_size = 2 << 20 };
	struct stow_zones_account sum;
	struct stow_err err = { 0 };

	FUZZ_CHECK(stow_zones_account(zones, &knobs, &sum, &err) == 0);
	FUZZ_CHECK(sum.n_different <= zones->n && sum.n_protection_different <= zones->n);
	stow_zones_account_done(&sum);
	for (size_t i = 0; i < zones->n; i++) {
		const struct stow_zone *zone = &zones->list[i];
		struct stow_zone_sums sums;

		FUZZ_CHECK(stow_zones_sum(zones, zone->node, &sums));
		(void)stow_zone_available(&sums);
		FUZZ_CHECK(strlen(zone->name) < STOW_ZONE_NAME);
		FUZZ_CHECK(zone->n_protection <= STOW_ZONES_MAX);
		FUZZ_CHECK(stow_pressure_word(stow_zones_pressure(zones, zone->node, false)));
		for (unsigned int order = 0; order <= zone->n_orders; order++)
			FUZZ_CHECK(stow_zone_unusable(zone, order) <= 1000);
		if (i == 64)
			break; /* pressure looks at all zones, for each of them */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stow_zones zones = { 0 };
	struct stow_err err = { 0 };
	int r = stow_zones_parse((const char *)data, size, true, &zones, &err);

	FUZZ_CHECK_ERR(r, &err);
	r = stow_zones_parse_blocks((const char *)data, size, &zones, &err);
	FUZZ_CHECK_ERR(r, &err);
	account(&zones);
	stow_zones_done(&zones);
	return 0;
}
