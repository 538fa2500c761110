// SPDX-License-Identifier: Apache-2.0
/* Checks of input: texts of messages, addresses of schedulers, URLs for the log. */
#include "unit.h"

#include <numastow/v1/scheduler.pb-c.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "rpc/address.h"
#include "rpc/texts.h"
#include "scheduler/drain/event.h"

TEST(a_request_with_bad_texts_is_refused)
{
	static char name[STOW_TEXT_NAME + 2];
	PbPlaceRequest place = PB_PLACE_REQUEST__INIT;
	PbPodRequest pod = PB_POD_REQUEST__INIT, *pods[] = { &pod };
	struct stow_err err;

	place.pods = pods;
	place.n_pods = 1;
	pod.name = (char *)"gr\xc3\xbc\xc3\x9f-1";
	assert_int_equal(stow_texts_check(&place.base, &err), 0);
	memset(name, 'x', sizeof(name) - 1);
	pod.name = name;
	assert_int_equal(stow_texts_check(&place.base, &err), -EINVAL);
	assert_string_equal(err.msg, "name: 254 bytes; at most 253");
	name[STOW_TEXT_NAME] = '\0';
	assert_int_equal(stow_texts_check(&place.base, &err), 0);
	pod.name = (char *)"a\xff";
	assert_int_equal(stow_texts_check(&place.base, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "byte 1 is 0xff"));
	pod.name = (char *)"a\x1b[2J";
	assert_int_equal(stow_texts_check(&place.base, &err), -EINVAL);
}

TEST(a_report_is_made_fit)
{
	char id[] = "a\xff\x07z", *reason = malloc(5000);
	PbContainer container = PB_CONTAINER__INIT, *list[] = { &container };
	PbNodeReport report = PB_NODE_REPORT__INIT;

	memset(reason, 'r', 4999);
	reason[4999] = '\0';
	container.id = id;
	container.reason = reason;
	report.containers = list;
	report.n_containers = 1;
	stow_texts_clean(&report.base, STOW_TEXT_LIST);
	assert_string_equal(id, "a??z");
	assert_int_equal(strlen(reason), STOW_TEXT_LINE);
	assert_int_equal(stow_texts_check(&report.base, NULL), 0);
	free(reason);
}

TEST(a_message_is_one_line)
{
	PbFenceRequest fence = PB_FENCE_REQUEST__INIT;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	fence.node = (char *)"web-3";
	fence.numa_nodes = (char *)"0-1";
	fence.revoke = 1;
	stow_texts_describe(&fence.base, out);
	fclose(out);
	assert_string_equal(text, "node=web-3 numa_nodes=0-1 revoke=1");
	free(text);
}

TEST(addresses_may_lack_a_port)
{
	static const struct {
		const char *given, *becomes; /* NULL: refused */
	} cases[] = {
		{ "localhost", "localhost:7200" },
		{ "localhost:1", "localhost:1" },
		{ "[::1]", "[::1]:7200" },
		{ "[::1]:65535", "[::1]:65535" },
		{ "10.0.0.7", "10.0.0.7:7200" },
		{ "unix:/run/x", "unix:/run/x" },
		{ "localhost:0", NULL },
		{ "localhost:65536", NULL },
		{ "localhost:", NULL },
		{ "localhost:http", NULL },
		{ ":7200", NULL },
		{ "", NULL },
		{ "::1", NULL },
		{ "[::1", NULL },
		{ "a b:1", NULL },
		{ "http://a:1", NULL },
	};
	char text[300];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		int r = stow_target_complete(cases[i].given, 7200, text, sizeof(text), NULL);

		if (r != (cases[i].becomes ? 0 : -EINVAL))
			fail_msg("\"%s\": %d", cases[i].given, r);
		if (cases[i].becomes)
			assert_string_equal(text, cases[i].becomes);
	}
}

TEST(urls_are_shown_without_secrets)
{
	char text[256];

	scheduler_event_url_show("https://hook.example/a/b?token=secret#x", text, sizeof(text));
	assert_string_equal(text, "https://hook.example/a/b?...");
	scheduler_event_url_show("https://me:secret@hook.example:8443/a", text, sizeof(text));
	assert_string_equal(text, "https://hook.example:8443/a");
	scheduler_event_url_show("http://127.0.0.1/a", text, sizeof(text));
	assert_string_equal(text, "http://127.0.0.1/a");
}
