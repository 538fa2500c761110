// SPDX-License-Identifier: Apache-2.0
/* agent.yaml and scheduler.yaml: the same text as either. */
#include "fuzz.h"

#include "agent/config.h"
#include "scheduler/config.h"

/* Check that all values that were accepted are within their bounds. */
static void check_bounds(const struct stow_setting *settings, const void *base)
{
	for (; settings->name; settings++) {
		const void *at = (const char *)base + settings->offset;
		uint64_t number;
		int word;

		switch (settings->type) {
		case STOW_SETTING_NUMBER:
		case STOW_SETTING_DURATION:
		case STOW_SETTING_SIZE:
			memcpy(&number, at, sizeof(number));
			FUZZ_CHECK(number >= settings->min);
			FUZZ_CHECK(!settings->max || number <= settings->max);
			break;
		case STOW_SETTING_WORD:
			memcpy(&word, at, sizeof(word));
			for (int i = 0; i <= word; i++)
				FUZZ_CHECK(settings->words[i]);
			break;
		default:
			break;
		}
	}
}

static void as_agent(const uint8_t *data, size_t size)
{
	struct agent_config config;
	struct stow_err err = { 0 };
	int r;

	agent_config_defaults(&config);
	r = stow_settings_parse(agent_settings, &config, (const char *)data, size, "agent.yaml",
				&err);
	FUZZ_CHECK_ERR(r, &err);
	check_bounds(agent_settings, &config);
	if (r == 0) {
		if (!config.node)
			config.node = strdup("web-3"); /* the host name is none of the input's */
		r = agent_config_finish(&config, &err);
		FUZZ_CHECK_ERR(r, &err);
	}
	agent_config_done(&config);
}

static void as_scheduler(const uint8_t *data, size_t size)
{
	struct scheduler_config config;
	struct stow_err err = { 0 };
	int r;

	scheduler_config_defaults(&config);
	r = stow_settings_parse(scheduler_settings, &config, (const char *)data, size,
				"scheduler.yaml", &err);
	FUZZ_CHECK_ERR(r, &err);
	check_bounds(scheduler_settings, &config);
	if (r == 0) {
		r = scheduler_config_finish(&config, &err);
		FUZZ_CHECK_ERR(r, &err);
	}
	scheduler_config_done(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	as_agent(data, size);
	as_scheduler(data, size);
	return 0;
}
