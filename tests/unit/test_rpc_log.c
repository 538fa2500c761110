// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/address.h"
#include "rpc/log.h"

/* What `stow_log()` in `body` writes to standard error. */
static char heard[4096];

#define HEAR(...)                                                           \
	do {                                                                \
		int p[2], old = dup(STDERR_FILENO);                         \
		ssize_t n;                                                  \
                                                                            \
		assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);      \
		assert_int_equal(dup2(p[1], STDERR_FILENO), STDERR_FILENO); \
		__VA_ARGS__;                                                \
		dup2(old, STDERR_FILENO);                                   \
		n = read(p[0], heard, sizeof(heard) - 1);                   \
		heard[n < 0 ? 0 : n] = '\0';                                \
		close(p[0]);                                                \
		close(p[1]);                                                \
		close(old);                                                 \
	} while (0)

TEST(text_has_time_level_message_and_fields)
{
	stow_log_configure(STOW_LOG_INFO, STOW_LOG_TEXT);
	HEAR(stow_log(STOW_LOG_WARNING, "an agent is gone", stow_text("node", "web-3"),
		      stow_number("seconds", 15), stow_text("why", "it said \"no\"\n")));
	assert_true(strlen(heard) > 24);
	assert_int_equal(heard[10], 'T');
	assert_int_equal(heard[23], 'Z');
	assert_string_equal(heard + 24, " warning: an agent is gone: node=web-3 seconds=15 "
					"why=\"it said \\\"no\\\"\\u000a\"\n");
	HEAR(stow_log(STOW_LOG_INFO, "ready"));
	assert_string_equal(heard + 24, " info: ready\n");
}

TEST(any_text_gives_valid_json)
{
	stow_log_configure(STOW_LOG_INFO, STOW_LOG_JSON);
	HEAR(stow_log(STOW_LOG_ERR, "refused",
		      stow_text("name", "a\x80\"\\\x01\xc3\xa9\xed\xa0\x80"),
		      stow_number("n", UINT64_MAX), stow_text("none", NULL)));
	assert_non_null(strstr(heard, "\"level\":\"error\",\"message\":\"refused\","
				      "\"name\":\"a\\ufffd\\\"\\\\\\u0001\xc3\xa9"
				      "\\ufffd\\ufffd\\ufffd\","
				      "\"n\":18446744073709551615,\"none\":\"\"}\n"));
	stow_log_configure(STOW_LOG_INFO, STOW_LOG_TEXT);
}

TEST(lower_levels_are_not_logged)
{
	stow_log_configure(STOW_LOG_WARNING, STOW_LOG_TEXT);
	HEAR(stow_log(STOW_LOG_INFO, "ready"));
	assert_string_equal(heard, "");
	assert_false(stow_log_enabled(STOW_LOG_NOTICE));
	assert_true(stow_log_enabled(STOW_LOG_WARNING));
	stow_log_configure(STOW_LOG_INFO, STOW_LOG_TEXT);
}

TEST(words_for_level_and_format)
{
	static const struct stow_setting settings[] = { STOW_LOG_SETTINGS(0, sizeof(int)), { 0 } };
	int values[2];
	struct stow_err err;

	assert_int_equal(stow_setting_set(&settings[0], values, "debug", &err), 0);
	assert_int_equal(STOW_LOG_ERR + values[0], STOW_LOG_DEBUG);
	assert_int_equal(stow_setting_set(&settings[0], values, "error", &err), 0);
	assert_int_equal(STOW_LOG_ERR + values[0], STOW_LOG_ERR);
	assert_string_equal(stow_log_levels[STOW_LOG_LEVEL_DEFAULT], "info");
	assert_int_equal(stow_setting_set(&settings[1], values, "json", &err), 0);
	assert_int_equal(values[1], STOW_LOG_JSON);
	assert_int_equal(stow_setting_set(&settings[0], values, "warn", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "\"warn\" is not one of error, warning"));
	assert_int_equal(stow_setting_set(&settings[1], values, "jason", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "did you mean \"json\"?"));
}

TEST(addresses)
{
	static const char *const wrong[] = { "",
					     "localhost:7200",
					     "127.0.0.1",
					     ":7200",
					     "127.0.0.1:x",
					     "127.0.0.1:65536",
					     "::1:7200",
					     "[::1]",
					     "[]:1",
					     "[127.0.0.1]:1",
					     "[::1:1" };
	struct sockaddr_storage a;
	struct stow_err err;
	char self[32];
	socklen_t len;

	assert_int_equal(stow_address_of_self("0.0.0.0:0", 7, self, sizeof(self), &err), 0);
	assert_string_equal(self, "127.0.0.1:7");
	assert_int_equal(stow_address_of_self("[::]:0", 7, self, sizeof(self), &err), 0);
	assert_string_equal(self, "[::1]:7");
	assert_int_equal(stow_address_of_self("192.0.2.1:1", 7, self, sizeof(self), &err), 0);
	assert_string_equal(self, "192.0.2.1:7");
	assert_int_equal(stow_address_of_self("here:1", 7, self, sizeof(self), &err), -EINVAL);
	assert_int_equal(stow_address_parse("127.0.0.1:7200", &a, &len, &err), 0);
	assert_true(stow_address_is_loopback(&a));
	assert_int_equal(stow_address_port(&a), 7200);
	assert_int_equal(stow_address_parse("127.255.0.9:0", &a, &len, &err), 0);
	assert_true(stow_address_is_loopback(&a));
	assert_int_equal(stow_address_parse("[::1]:1", &a, &len, &err), 0);
	assert_true(stow_address_is_loopback(&a));
	assert_int_equal(stow_address_parse("[::]:65535", &a, &len, &err), 0);
	assert_false(stow_address_is_loopback(&a));
	assert_int_equal(stow_address_port(&a), 65535);
	assert_int_equal(stow_address_parse("0.0.0.0:7200", &a, &len, &err), 0);
	assert_false(stow_address_is_loopback(&a));
	for (size_t i = 0; i < STOW_ARRAY_SIZE(wrong); i++)
		assert_int_equal(stow_address_parse(wrong[i], &a, &len, &err), -EINVAL);
}

/* Whatever the time that passes meanwhile. */
TEST(lines_are_limited_and_none_is_uncounted)
{
	struct stow_log_limit limit = { 0 };
	uint64_t began = stow_clock_monotonic(), lines = 0, counted = 0;

	assert_int_equal(stow_log_may(&limit), 1);
	for (int i = 1; i < 1000; i++) {
		uint64_t times = stow_log_may(&limit);

		lines += times > 0;
		counted += times;
	}
	assert_int_equal(counted + limit.suppressed, 999);
	assert_in_range(lines, STOW_LOG_BURST - 1,
			STOW_LOG_BURST *
				(2 + (stow_clock_monotonic() - began) / STOW_LOG_INTERVAL));
	limit.begun -= STOW_LOG_INTERVAL; /* time passes */
	counted = limit.suppressed;
	assert_int_equal(stow_log_may(&limit), 1 + counted);
	assert_int_equal(limit.suppressed, 0);
}
