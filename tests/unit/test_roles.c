// SPDX-License-Identifier: Apache-2.0
/* Which certificate may do what, and settings that must not be. */
#include "unit.h"

#include <numastow/v1/scheduler.pb-c.h>

#include "base/cleanup.h"
#include "scheduler/config.h"
#include "scheduler/service/roles.h"

static const char *const methods[] = { "Explain",	   "ListNodes",	 "WatchNodes",
				       "ListReservations", "ListDrains", "Place",
				       "Release",	   "Fence",	 "Unfence",
				       "DrainMemory",	   "CancelDrain" };
#define N_METHODS (STOW_ARRAY_SIZE(methods))
/* The first that each role may not: read, place, drain. */
static const size_t ends[] = { 5, 7, 11 };

/* How many of the methods the peer may call; they must be the first ones. */
static size_t peer_may(const struct stow_rpc_peer *peer, char *const *roles)
{
	size_t n = 0;

	for (size_t i = 0; i < N_METHODS; i++) {
		struct stow_err err = { 0 };
		int r = scheduler_may(peer, methods[i], roles, &err);

		if (r == 0) {
			assert_int_equal(n, i);
			n++;
			continue;
		}
		assert_int_equal(r, -EACCES);
		assert_non_null(strstr(err.msg, methods[i]));
		assert_non_null(strstr(err.msg, i < 5	? "role read"
						: i < 7 ? "role place"
							: "role drain"));
	}
	return n;
}

static size_t may(const char *name, const char *uri, char *const *roles)
{
	const char *const uris[] = { uri, NULL };
	struct stow_rpc_peer peer = { .tls = true, .uris = uri ? uris : NULL };

	strcpy(peer.name, name);
	return peer_may(&peer, roles);
}

static bool is_agent(const char *name, const char *uri, char *const *roles)
{
	const char *const uris[] = { uri, NULL };
	struct stow_rpc_peer peer = { .tls = true, .uris = uris };

	strcpy(peer.name, name);
	return scheduler_is_agent(&peer, roles);
}

static bool reports(const char *name, const char *uri, const char *node, char *const *roles)
{
	const char *const uris[] = { uri, NULL };
	struct stow_rpc_peer peer = { .tls = true, .uris = uris };
	int r;

	strcpy(peer.name, name);
	r = scheduler_may_report(&peer, node, roles, NULL);
	assert_true(r == 0 || r == -EACCES);
	return r == 0;
}

TEST(a_role_in_the_certificate)
{
	assert_int_equal(may("x", "numastow:role/read", NULL), ends[0]);
	assert_int_equal(may("x", "numastow:role/place", NULL), ends[1]);
	assert_int_equal(may("x", "numastow:role/drain", NULL), ends[2]);
	assert_int_equal(may("x", "numastow:role/", NULL), 0);
	assert_int_equal(may("x", "numastow:role/drainer", NULL), 0);
	assert_int_equal(may("x", "numastow:agent/web-3", NULL), 0);
	assert_int_equal(may("x", NULL, NULL), 0);
	assert_int_equal(may("numastow:role/drain", NULL, NULL), 0); /* a name is no role */
}

TEST(a_role_in_the_settings)
{
	char *roles[] = { (char *)"ops=read", (char *)"web-3.example=agent/web-3",
			  (char *)"ops=drain", (char *)"a=b=place", NULL };
	const char *const dns[] = { "ops", NULL };
	const struct stow_rpc_peer by_dns = { .tls = true, .name = "x", .dns = dns };

	assert_int_equal(may("ops", NULL, roles), ends[2]);
	assert_int_equal(may("OPS", NULL, roles), 0);
	assert_int_equal(may("x", "ops", roles), 0); /* a URI is no DNS name */
	assert_int_equal(peer_may(&by_dns, roles), ends[2]);
	assert_int_equal(may("a=b", NULL, roles), ends[1]);
	assert_int_equal(may("a", NULL, roles), 0);
	assert_int_equal(may("web-3.example", NULL, roles), 0);
	/* What the certificate says and what the settings say: the higher one. */
	assert_int_equal(may("a=b", "numastow:role/drain", roles), ends[2]);
	assert_true(reports("web-3.example", "x", "web-3", roles));
	assert_false(reports("web-3.example", "x", "web-33", roles));
	assert_false(reports("ops", "x", "web-3", roles));
	assert_true(is_agent("web-3.example", "x", roles));
	assert_true(is_agent("x", "numastow:agent/db", NULL));
	assert_false(is_agent("ops", "numastow:role/drain", roles));
	assert_false(is_agent("numastow:agent/db", "x", roles));
}

/* A CA may let its customers choose their common name, and checks of DNS names only that they are
 * theirs: neither stands for a URI. */
TEST(only_a_uri_is_a_uri)
{
	static const char *const names[] = { "numastow:role/drain", "numastow:agent/web-3",
					     "spiffe://x/ops" };
	char *roles[] = { (char *)"spiffe://x/ops=drain", (char *)"spiffe://x/ops=agent/web-3",
			  NULL };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(names); i++) {
		const char *const list[] = { names[i], NULL };
		struct stow_rpc_peer peer = { .tls = true, .dns = list };

		strcpy(peer.name, names[i]);
		assert_int_equal(peer_may(&peer, roles), 0);
		assert_int_equal(scheduler_may_report(&peer, "web-3", roles, NULL), -EACCES);
	}
	assert_int_equal(may("x", "spiffe://x/ops", roles), ends[2]);
	assert_true(reports("x", "spiffe://x/ops", "web-3", roles));
}

TEST(an_agent_reports_for_its_node_only)
{
	struct stow_rpc_peer plain = { .tls = false };
	struct stow_rpc_peer peer = { .tls = true };

	assert_true(reports("x", "numastow:agent/web-3", "web-3", NULL));
	assert_false(reports("x", "numastow:agent/web-3", "web-4", NULL));
	assert_false(reports("x", "numastow:agent/web-3", "web", NULL));
	assert_false(reports("x", "numastow:agent/web-3", "", NULL));
	assert_false(reports("x", "numastow:role/drain", "web-3", NULL));
	assert_false(reports("web-3", "x", "web-3", NULL));
	/* Report itself is open: as whom is known with the first message. */
	assert_int_equal(scheduler_may(&peer, "Report", NULL, NULL), 0);
	/* Without TLS every client may call every method. */
	assert_int_equal(scheduler_may(&plain, "Fence", NULL, NULL), 0);
	assert_int_equal(scheduler_may_report(&plain, "web-3", NULL, NULL), 0);
}

/* A method that is added must be given a role here, or every client may call it. */
TEST(every_method_has_its_role)
{
	const ProtobufCServiceDescriptor *service = &pb_scheduler__descriptor;

	assert_int_equal(service->n_methods, N_METHODS + 1);
	for (unsigned int i = 0; i < service->n_methods; i++) {
		struct stow_rpc_peer peer = { .tls = true };

		assert_int_equal(scheduler_may(&peer, service->methods[i].name, NULL, NULL),
				 strcmp(service->methods[i].name, "Report") == 0 ? 0 : -EACCES);
	}
}

TEST(entries_are_checked)
{
	static const char *const good[] = { "a=read", "a=b=place", "ops.example=drain",
					    "w=agent/web-3" };
	static const char *const bad[] = { "",	      "a",	 "=read",  "a=",      "a=agent/",
					   "a=agent", "a=write", "a=Read", "a=drain " };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(good); i++)
		assert_int_equal(scheduler_role_check(good[i], NULL), 0);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		struct stow_err err;

		assert_int_equal(scheduler_role_check(bad[i], &err), -EINVAL);
		assert_non_null(strstr(err.msg, "agent/NODE, read, place or drain"));
	}
}

/* --- settings ----------------------------------------------------------------------------------- */

/* What is wrong with these flags; "" for nothing. */
static const char *settings(const char *a, const char *b, const char *c,
			    struct scheduler_config *ret)
{
	char *argv[] = { (char *)"x", (char *)(uintptr_t)a, (char *)(uintptr_t)b,
			 (char *)(uintptr_t)c, NULL };
	static const char *const own[] = { NULL };
	static struct stow_err err;
	const char *path = NULL;
	bool given[1] = { false };
	int argc = 1, r;

	while (argv[argc])
		argc++;
	err.msg[0] = '\0';
	scheduler_config_defaults(ret);
	r = stow_settings_flags(scheduler_settings, ret, argc, argv, own, given, &path, &err);
	if (r == 0)
		r = scheduler_config_finish(ret, &err);
	assert_true((r == 0) == (err.msg[0] == '\0'));
	return err.msg;
}

TEST(settings_that_must_not_be)
{
	static const struct {
		const char *flags[3], *why;
	} cases[] = {
		{ { "--listen=0.0.0.0:1" }, "listen: 0.0.0.0:1 is not loopback" },
		{ { "--listen=nonsense" }, "listen" },
		{ { "--ca=/ca" }, "certificate: missing" },
		{ { "--key=/key" }, "ca: missing" },
		{ { "--ca=/ca", "--certificate=/c" }, "key: missing" },
		{ { "--metrics=x" }, "metrics" },
		{ { "--log-level=loud" }, "log-level" },
		{ { "--role=a=write" }, "role: \"a=write\"" },
		{ { "--strategy=tigth" }, "strategy" },
		{ { "--stale-after=1ms" }, "stale-after" },
		{ { "--threads=0" }, "threads" },
		{ { "--forget-after=10s" },
		  "forget-after: 10000 ms is not longer than stale-after" },
		{ { "--forget-after=1h", "--stale-after=1h" }, "forget-after" },
		{ { "--forget-after=9000h" }, "forget-after" },
	};
	struct scheduler_config config;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		const char *why =
			settings(cases[i].flags[0], cases[i].flags[1], cases[i].flags[2], &config);

		if (!strstr(why, cases[i].why))
			fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].flags[0], why,
				 cases[i].why);
		assert_null(strchr(why, '\n'));
		scheduler_config_done(&config);
	}
}

TEST(settings_that_may_be)
{
	struct scheduler_config config;

	assert_string_equal(settings(NULL, NULL, NULL, &config), "");
	assert_true(config.forget_after == 24 * 3600 * UINT64_C(1000000000));
	scheduler_config_done(&config);
	assert_string_equal(settings("--forget-after=0s", NULL, NULL, &config), "");
	assert_true(config.forget_after == 0);
	scheduler_config_done(&config);
	assert_string_equal(settings("--stale-after=500ms", "--forget-after=501ms", NULL, &config),
			    "");
	scheduler_config_done(&config);
	assert_string_equal(settings("--listen=0.0.0.0:1", "--insecure", "--metrics=", &config),
			    "");
	scheduler_config_done(&config);
	assert_string_equal(settings("--role=a=read,b=agent/web-3", NULL, NULL, &config), "");
	assert_string_equal(config.roles[1], "b=agent/web-3");
	scheduler_config_done(&config);
}
