// SPDX-License-Identifier: Apache-2.0
/* agent.yaml: what depends on several settings, and defaults. */
#include "unit.h"

#include <ctype.h>
#include <unistd.h>

#include "agent/config.h"
#include "base/cleanup.h"

static int finish(const char *yaml, struct agent_config *config, struct stow_err *err)
{
	int r;

	agent_config_defaults(config);
	r = stow_settings_parse(agent_settings, config, yaml, strlen(yaml), "agent.yaml", err);
	return r < 0 ? r : agent_config_finish(config, err);
}

static void refused(const char *yaml, const char *why)
{
	struct agent_config config;
	struct stow_err err = { 0 };

	assert_int_equal(finish(yaml, &config, &err), -EINVAL);
	assert_string_equal(err.msg, why);
	agent_config_done(&config);
}

TEST(defaults_are_within_their_own_bounds)
{
	struct agent_config config;

	agent_config_defaults(&config);
	for (const struct stow_setting *s = agent_settings; s->name; s++) {
		uint64_t value;

		if (s->type != STOW_SETTING_NUMBER && s->type != STOW_SETTING_DURATION &&
		    s->type != STOW_SETTING_SIZE)
			continue;
		memcpy(&value, (const char *)&config + s->offset, sizeof(value));
		assert_true(value >= s->min);
		assert_true(!s->max || value <= s->max);
	}
	assert_null(config.schedulers);
	assert_int_equal(config.mode, AGENT_ENFORCE);
	agent_config_done(&config);
}

TEST(without_a_name_the_hosts_is_used)
{
	struct agent_config config;
	struct stow_err err = { 0 };
	char name[256] = "";

	assert_int_equal(gethostname(name, sizeof(name) - 1), 0);
	for (char *p = name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	agent_config_defaults(&config);
	if (agent_config_finish(&config, &err) == 0)
		assert_string_equal(config.node, name);
	else /* the host's name cannot be a node's: the error names it */
		assert_non_null(strstr(err.msg, "node: \""));
	agent_config_done(&config);
}

TEST(a_name_can_be_part_of_an_annotation)
{
	static const char *const good[] = { "a", "web-3", "3.example.com", "x--y" };
	static const char *const bad[] = { "Web", "a_b", "-a", "a-", ".a", "a.", "a b", "a@b", "" };
	struct agent_config config;
	struct stow_err err;
	char yaml[512], name[300], why[512];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(good); i++) {
		snprintf(yaml, sizeof(yaml), "node: \"%s\"\n", good[i]);
		assert_int_equal(finish(yaml, &config, &err), 0);
		assert_string_equal(config.node, good[i]);
		agent_config_done(&config);
	}
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		snprintf(yaml, sizeof(yaml), "node: \"%s\"\n", bad[i]);
		snprintf(why, sizeof(why),
			 "node: \"%s\" is not a name of lower-case letters, digits, \"-\" and "
			 "\".\"",
			 bad[i]);
		refused(yaml, why);
	}
	memset(name, 'a', 254);
	name[254] = '\0';
	snprintf(yaml, sizeof(yaml), "node: %s\n", name);
	assert_int_equal(finish(yaml, &config, &err), -EINVAL);
	agent_config_done(&config);
	snprintf(yaml, sizeof(yaml), "node: %s\n", name + 1);
	assert_int_equal(finish(yaml, &config, &err), 0);
	agent_config_done(&config);
}

TEST(certificates_come_together)
{
	struct agent_config config;
	struct stow_err err;

#define TOGETHER ": missing; ca, certificate and key belong together"
	refused("node: a\nca: x\n", "certificate" TOGETHER);
	refused("node: a\nca: x\ncertificate: x\n", "key" TOGETHER);
	refused("node: a\nkey: x\n", "ca" TOGETHER);
	assert_int_equal(finish("node: a\nca: x\ncertificate: x\nkey: x\n", &config, &err), 0);
	agent_config_done(&config);
}

TEST(addresses_and_levels_are_checked)
{
	struct agent_config config;
	struct stow_err err = { 0 };

	assert_int_equal(finish("node: a\nmetrics: nowhere\n", &config, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "metrics: "));
	assert_non_null(strstr(err.msg, "nowhere"));
	agent_config_done(&config);
	assert_int_equal(finish("node: a\nmetrics: \"\"\n", &config, &err), 0);
	agent_config_done(&config);
	assert_int_equal(finish("node: a\nlog-level: warn\n", &config, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "log-level: "));
	assert_non_null(strstr(err.msg, "warning"));
	agent_config_done(&config);
	refused("mode: off\n", "agent.yaml:1: mode: \"off\" is not one of enforce, observe");
	refused("max-fenced: 101\n", "agent.yaml:1: max-fenced: 101 is not between 0 and 100");
	refused("max-drain: 101\n", "agent.yaml:1: max-drain: 101 is not between 0 and 100");
	refused("drain-timeout: 0s\n",
		"agent.yaml:1: drain-timeout: 0s is not between 1s and 86400s");
	refused("poll-interval: 99ms\n",
		"agent.yaml:1: poll-interval: 99ms is not between 100ms and 60s");
	refused("shceduler: a\n",
		"agent.yaml:1: unknown key \"shceduler\"; did you mean \"scheduler\"?");
}
