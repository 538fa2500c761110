// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "place/changes.h"
#include "place/config.h"
#include "tree.h"

static struct stow_config *parse(const char *text)
{
	struct stow_config *config = NULL;
	struct stow_err err = { 0 };
	int r = stow_config_parse(text, strlen(text), "f", &config, &err);

	if (r < 0)
		print_error("%s\n", err.msg);
	assert_int_equal(r, 0);
	assert_non_null(config);
	return config;
}

static void assert_refused(const char *text, const char *message)
{
	struct stow_config *config = NULL;
	struct stow_err err = { 0 };
	int r = stow_config_parse(text, strlen(text), "f", &config, &err);

	assert_int_equal(r, -EINVAL);
	assert_int_equal(err.code, EINVAL);
	assert_null(config);
	assert_string_equal(err.msg, message);
}

TEST(nothing_is_the_defaults)
{
	static const char *const empty[] = { "", "# only a comment\n", "\n\n" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(empty); i++) {
		_cleanup_(stow_config_free_ptr) struct stow_config *c = parse(empty[i]);

		assert_int_equal(c->mode, STOW_MODE_ENFORCE);
		assert_int_equal(c->default_policy, STOW_POLICY_SINGLE_NUMA_NODE);
		assert_int_equal(c->lease_seconds, 300);
		assert_int_equal(c->n_reserved, 0);
		assert_int_equal(c->n_namespaces, 0);
		assert_null(c->allowed_keys);
		assert_null(c->runtimes);
		assert_false(c->full_cores);
		assert_true(c->adopt);
		assert_false(c->partitions);
	}
}

TEST(reads_every_key)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *c =
		parse("mode: observe\n"
		      "default-policy: best-effort\n"
		      "reserved:\n"
		      "  - node: 0\n"
		      "    cpus: 0-1,64\n"
		      "    memory: 1Gi\n"
		      "  - node: \"*\"\n"
		      "    count: 2\n"
		      "caps:\n"
		      "  cpus: 16\n"
		      "  memory: 64Gi\n"
		      "  hugepages: 8Gi\n"
		      "namespaces:\n"
		      "  - name: team-a\n"
		      "    cpus: 32\n"
		      "    exclusive-cpus: true\n"
		      "  - name: \"*\"\n"
		      "    memory: 4Gi\n"
		      "allowed-keys: [cpus, hugepages, hugepages-1Gi]\n"
		      "runtimes: [/opt/crun, /usr/bin/runc]\n"
		      "lease-seconds: 60\n"
		      "full-cores: yes\n"
		      "adopt: no\n"
		      "partitions: on\n");

	assert_true(c->full_cores);
	assert_false(c->adopt);
	assert_true(c->partitions);
	assert_int_equal(c->mode, STOW_MODE_OBSERVE);
	assert_int_equal(c->default_policy, STOW_POLICY_BEST_EFFORT);
	assert_int_equal(c->n_reserved, 2);
	assert_int_equal(c->reserved[0].id, 0);
	assert_true(stow_idset_has(&c->reserved[0].cpu_set, 64));
	assert_int_equal(c->reserved[0].memory, UINT64_C(1) << 30);
	assert_int_equal(c->reserved[1].id, -1);
	assert_int_equal(c->reserved[1].cpus, 2);
	assert_int_equal(c->request.cpus, 16);
	assert_int_equal(c->request.hugepages, UINT64_C(8) << 30);
	assert_int_equal(c->n_namespaces, 2);
	assert_string_equal(c->namespaces[0].name, "team-a");
	assert_true(c->namespaces[0].exclusive);
	assert_false(c->namespaces[1].exclusive);
	assert_int_equal(c->namespaces[1].total.memory, UINT64_C(4) << 30);
	assert_string_equal(c->allowed_keys[2], "hugepages-1Gi");
	assert_null(c->allowed_keys[3]);
	assert_string_equal(c->runtimes[1], "/usr/bin/runc");
	assert_int_equal(c->lease_seconds, 60);
}

TEST(an_error_names_line_key_and_value)
{
	assert_refused("mode: enforce\nmoed: observe\n",
		       "f:2: unknown key \"moed\"; did you mean \"mode\"?");
	assert_refused("\nmode: observed\n", "f:2: mode: \"observed\" is not one of enforce, "
					     "observe; did you mean \"observe\"?");
	assert_refused("default-policy: singel-numa-node\n",
		       "f:1: default-policy: \"singel-numa-node\" is not one of single-numa-node, "
		       "restricted, best-effort, spread; did you mean \"single-numa-node\"?");
	assert_refused("reserved:\n  - node: 0\n    memory: 1GB\n",
		       "f:3: reserved.memory: \"1GB\" is not a quantity like 512Mi, 8Gi or "
		       "1073741824; did you mean \"1Gi\"?");
	assert_refused("mode: enforce\nfull-cores: maybe\n",
		       "f:2: full-cores: \"maybe\" is neither true nor false");
	assert_refused("full-core: yes\n",
		       "f:1: unknown key \"full-core\"; did you mean \"full-cores\"?");
	assert_refused("caps:\n  memory: 512m\n",
		       "f:2: caps.memory: \"512m\" is not a whole number of bytes; did you mean "
		       "\"512Mi\"?");
	assert_refused("namespaces:\n  - name: a\n    hugepages: 512\n",
		       "f:3: namespaces.hugepages: \"512\" is less than a page of memory; did you "
		       "mean \"512Mi\"?");
	assert_refused("reserved:\n  - node: zero\n",
		       "f:2: reserved.node: \"zero\" is neither a node's number nor \"*\"");
	assert_refused("reserved:\n  - node: 0\n    cpus: 3-1\n",
		       "f:3: reserved.cpus: \"3-1\" is not a list like 0-3,8");
	assert_refused("reserved:\n  - node: 0\n    cpus: 0\n    count: 1\n",
		       "f:4: reserved.count: cpus already has the CPUs; set one of them");
	assert_refused("reserved:\n  - node: 1\n  - node: 1\n",
		       "f:3: reserved.node: node 1 has an entry already");
	assert_refused("namespaces:\n  - name: a\n  - name: a\n",
		       "f:3: namespaces.name: \"a\" has an entry already");
	assert_refused("namespaces:\n  - cpus: 3\n", "f:2: namespaces: this entry has no \"name\"");
	assert_refused("allowed-keys:\n  - cpus\n  - memroy\n",
		       "f:3: allowed-keys: \"memroy\" is not a key; did you mean \"memory\"?");
	assert_refused("runtimes:\n  - crun\n",
		       "f:2: runtimes: \"crun\" is not an absolute path like /usr/bin/crun");
	assert_refused("lease-seconds: 0\n", "f:1: lease-seconds: 0 is not between 1 and 86400");
	assert_refused("caps:\n  cpus: 4\n  memory: -1\n", "f:3: caps.memory: \"-1\" is negative");
}

TEST(is_strict_about_shape)
{
	static const char *const bad[] = {
		"mode: enforce\nmode: observe\n",
		"caps: 3\n",
		"caps: {cpus: -1}\n",
		"caps: {cpus: 4294967296}\n",
		"caps: {cpus: many}\n",
		"reserved: {node: 0}\n",
		"reserved:\n",
		"namespaces: []\n",
		"namespaces: [{name: a, exclusive-cpus: maybe}]\n",
		"- mode\n",
		"just text\n",
		"mode: [enforce]\n",
		"reserved: [&a {node: 0}, *a]\n",
		"mode: enforce\n---\nmode: observe\n",
		"mode: 'enforce\n",
		"mode: \"enfo\\0rce\"\n",
		"\tmode: enforce\n",
		"mode: \x01\n",
		"? {a: b}\n: c\n",
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		struct stow_config *config = NULL;
		struct stow_err err = { 0 };

		if (stow_config_parse(bad[i], strlen(bad[i]), "f", &config, &err) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
		assert_memory_equal(err.msg, "f:", 2);
		assert_null(strchr(err.msg, '\n'));
		assert_null(config);
	}
}

TEST(a_key_given_twice_is_an_error_on_its_second_line)
{
	assert_refused("mode: enforce\n# text\nmode: observe\n", "f:3: \"mode\" is given twice");
}

TEST(the_sample_is_the_defaults_and_valid)
{
	_cleanup_free_ char *text = calloc(1, 1 << 16);
	_cleanup_(stow_config_free_ptr) struct stow_config *c = NULL;
	_cleanup_fclose_ FILE *f = fopen("deploy/config.yaml", "r");
	size_t len, out = 0;

	if (!f)
		skip(); /* not run from the top of the tree */
	len = fread(text, 1, (1 << 16) - 1, f);
	c = parse(text);
	assert_int_equal(c->mode, STOW_MODE_ENFORCE);
	assert_int_equal(c->n_reserved, 0);
	assert_int_equal(c->n_namespaces, 0);
	assert_int_equal(c->lease_seconds, 300);
	stow_config_free(c);
	/* Enable all settings: these are lines "#key" and "#  more"; "# Text" is text. */
	for (size_t i = 0; i < len; i++) {
		bool start = i == 0 || text[i - 1] == '\n';

		if (!(start && text[i] == '#' && text[i + 1] != '\n' &&
		      (text[i + 1] != ' ' || text[i + 2] == ' ')))
			text[out++] = text[i];
	}
	text[out] = '\0';
	c = parse(text);
	assert_false(c->full_cores || !c->adopt || c->partitions);
	assert_true(c->n_reserved > 0);
	assert_true(c->n_namespaces > 0);
	assert_non_null(c->allowed_keys);
	assert_non_null(c->runtimes);
	assert_true(c->request.cpus > 0);
}

/* --- caps -------------------------------------------------------------------------------------- */

TEST(caps_apply_to_one_request)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *c =
		parse("caps: {cpus: 8, memory: 4Gi, hugepages: 64Mi}\n");
	struct stow_request req = { .cpus = 8, .memory = UINT64_C(4) << 30, .n_pages = 1 };
	struct stow_err err;

	req.pages[0] = (struct stow_page_request){ UINT64_C(2) << 20, 32 };
	assert_int_equal(stow_config_check(c, NULL, NULL, &req, &err), 0);
	req.cpus = 9;
	assert_int_equal(stow_config_check(c, NULL, NULL, &req, &err), -EPERM);
	assert_string_equal(err.msg, "numastow.io/cpus: \"9\" is above the cap of 8 (caps: cpus in "
				     "/etc/numastow/config.yaml)");
	req.cpus = 1;
	req.pages[0].count = 33;
	assert_int_equal(stow_config_check(c, NULL, NULL, &req, &err), -EPERM);
	req.pages[0].count = UINT64_MAX / 2;
	assert_int_equal(stow_config_check(c, NULL, NULL, &req, &err), -EPERM);
}

TEST(caps_apply_to_a_namespace_together)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *c =
		parse("namespaces: [{name: a, cpus: 10}, {name: '*', cpus: 2}]\n");
	struct stow_caps used = { .cpus = 6 };
	struct stow_request req = { .cpus = 4 };
	struct stow_err err;

	assert_int_equal(stow_config_check(c, "a", &used, &req, &err), 0);
	req.cpus = 5;
	assert_int_equal(stow_config_check(c, "a", &used, &req, &err), -EPERM);
	assert_string_equal(err.msg,
			    "numastow.io/cpus: \"5\" and the 6 that namespace \"a\" has already "
			    "are above its cap of 10 (namespaces: cpus in "
			    "/etc/numastow/config.yaml)");
	assert_int_equal(stow_config_check(c, "b", NULL, &req, &err), -EPERM);
	assert_int_equal(stow_config_check(c, NULL, NULL, &req, &err), -EPERM);
	/* A request without CPUs is not refused for what others of the namespace have. */
	used.cpus = 100;
	req.cpus = 0;
	assert_int_equal(stow_config_check(c, "a", &used, &req, &err), 0);
}

TEST(a_container_without_a_namespace_is_under_the_star)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *c =
		parse("namespaces: [{name: a}, {name: '*', cpus: 2, exclusive-cpus: yes}]\n");
	struct stow_request req = { .cpus = 3 };
	struct stow_caps used = { .cpus = 1 };
	struct stow_err err;

	assert_int_equal(stow_config_check(c, NULL, NULL, &req, &err), -EPERM);
	assert_string_equal(err.msg, "numastow.io/cpus: \"3\" is above the cap of 2 for containers "
				     "without a namespace (namespaces: cpus of \"*\" in "
				     "/etc/numastow/config.yaml)");
	req.cpus = 2;
	assert_int_equal(stow_config_check(c, NULL, NULL, &req, &err), 0);
	assert_int_equal(stow_config_check(c, NULL, &used, &req, &err), -EPERM);
	req.cpu_mode = STOW_CPU_ISOLATED;
	assert_int_equal(stow_config_check(c, NULL, NULL, &req, &err), 0);
	assert_int_equal(stow_config_check(c, "a", NULL, &req, &err), -EPERM);
	assert_string_equal(err.msg,
			    "numastow.io/cpu-mode: \"isolated\" is not allowed for namespace \"a\" "
			    "(namespaces: exclusive-cpus in /etc/numastow/config.yaml); "
			    "\"shared\" is");
	stow_config_free(c);
	c = parse("namespaces: [{name: a, exclusive-cpus: yes}]\n");
	assert_int_equal(stow_config_check(c, NULL, NULL, &req, &err), -EPERM);
	assert_non_null(strstr(err.msg, "not allowed for containers without a namespace (name"));
}

TEST(members_count_within_the_limits)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *c = parse("");
	struct stow_limits limits = { .cpus = 4, .memory = UINT64_C(1) << 30, .n_pages = 2 };
	struct stow_request whole = { .cpus = 1, .memory = UINT64_C(256) << 20 };
	struct stow_request member = { .cpus = 15 };
	struct stow_err err = { 0 };

	limits.pages[0] = (struct stow_page_request){ UINT64_C(2) << 20, 16 };
	limits.pages[1] = (struct stow_page_request){ UINT64_C(1) << 30, 0 };
	assert_int_equal(stow_config_check_member(c, "ns", NULL, &limits, "ghost", &member, &whole,
						  &err),
			 -EPERM);
	assert_string_equal(err.msg, "numastow.io/cpus.ghost: \"15\" and 1 of the pod's other "
				     "containers are above the limit of 4; scope=pod counts all of "
				     "them within it");
	assert_int_equal(whole.cpus, 1);
	/* One after the other fills it. */
	member = (struct stow_request){ .cpus = 2, .memory = UINT64_C(512) << 20, .n_pages = 1 };
	member.pages[0] = (struct stow_page_request){ UINT64_C(2) << 20, 10 };
	assert_int_equal(
		stow_config_check_member(c, "ns", NULL, &limits, "db", &member, &whole, &err), 0);
	assert_int_equal(whole.cpus, 3);
	assert_int_equal(whole.memory, UINT64_C(768) << 20);
	assert_int_equal(whole.pages[0].count, 10);
	member.cpus = 1;
	assert_int_equal(stow_config_check_member(c, "ns", NULL, &limits, "side", &member, &whole,
						  &err),
			 -EPERM);
	assert_non_null(strstr(err.msg, "numastow.io/memory.side: \"512Mi\" and 768Mi of"));
	member.memory = 0;
	assert_int_equal(stow_config_check_member(c, "ns", NULL, &limits, "side", &member, &whole,
						  &err),
			 -EPERM);
	assert_non_null(strstr(err.msg, "numastow.io/hugepages-2Mi.side: \"20Mi\" and 20Mi of"));
	member.pages[0] = (struct stow_page_request){ UINT64_C(1) << 30, 1 };
	assert_int_equal(stow_config_check_member(c, "ns", NULL, &limits, "side", &member, &whole,
						  &err),
			 -EPERM);
	assert_non_null(strstr(err.msg, "numastow.io/hugepages-1Gi.side: \"1Gi\" and 0 of"));
	/* Where nothing limits, all counts. */
	assert_int_equal(stow_config_check_member(c, "ns", NULL, &(struct stow_limits){ 0 }, "side",
						  &member, &whole, &err),
			 0);
	assert_int_equal(whole.n_pages, 2);
	assert_int_equal(whole.pages[1].size, UINT64_C(1) << 30);
}

TEST(members_count_within_the_caps)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *c =
		parse("caps: {cpus: 4}\nnamespaces: [{name: a, cpus: 10, exclusive-cpus: yes}]\n");
	struct stow_limits none = { 0 };
	struct stow_request whole = { .cpus = 3 }, member = { .cpus = 5 };
	struct stow_caps used = { .cpus = 4 };
	struct stow_err err = { 0 };

	assert_int_equal(stow_config_check_member(c, "a", &used, &none, "db", &member, &whole,
						  &err),
			 -EPERM);
	assert_string_equal(err.msg, "numastow.io/cpus.db: \"5\" is above the cap of 4 (caps: cpus "
				     "in /etc/numastow/config.yaml)");
	member.cpus = 4;
	assert_int_equal(stow_config_check_member(c, "a", &used, &none, "db", &member, &whole,
						  &err),
			 -EPERM);
	assert_string_equal(err.msg,
			    "numastow.io/cpus.db: \"4\" and the 7 that namespace \"a\" has "
			    "already are above its cap of 10 (namespaces: cpus in "
			    "/etc/numastow/config.yaml)");
	member.cpus = 3;
	assert_int_equal(
		stow_config_check_member(c, "a", &used, &none, "db", &member, &whole, &err), 0);
	member.cpus = 1;
	assert_int_equal(stow_config_check_member(c, "a", &used, &none, "x", &member, &whole, &err),
			 -EPERM);
	member.cpu_mode = STOW_CPU_EXCLUSIVE;
	assert_int_equal(stow_config_check_member(c, "b", NULL, &none, "x", &member, &whole, &err),
			 -EPERM);
	/* Numbers that overflow are above every cap. */
	whole.cpus = UINT32_MAX;
	assert_int_equal(stow_config_check_member(c, "a", &used, &none, "x", &member, &whole, &err),
			 -EPERM);
}

TEST(exclusive_cpus_are_for_all_unless_namespaces_are_named)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *any = parse("mode: enforce\n");
	_cleanup_(stow_config_free_ptr) struct stow_config *named =
		parse("namespaces: [{name: a, exclusive-cpus: yes}, {name: b}]\n");
	struct stow_request req = { .cpus = 1, .cpu_mode = STOW_CPU_EXCLUSIVE };
	struct stow_err err;

	assert_int_equal(stow_config_check(any, "x", NULL, &req, &err), 0);
	assert_int_equal(stow_config_check(named, "a", NULL, &req, &err), 0);
	assert_int_equal(stow_config_check(named, "b", NULL, &req, &err), -EPERM);
	assert_int_equal(stow_config_check(named, "x\x1b[2J", NULL, &req, &err), -EPERM);
	assert_null(strchr(err.msg, 0x1b));
	assert_int_equal(stow_config_check(named, NULL, NULL, &req, &err), -EPERM);
}

static int cannot_be_read(void *ctx, const char *path, const char *value)
{
	return strcmp(path, STOW_DISABLED_PATH) == 0 ? -EIO : 0;
}

TEST(whether_anything_may_be_changed)
{
	static const struct stow_root_ops unreadable = { .before = cannot_be_read };
	struct tree *t = tree_new();
	struct stow_err err = { 0 };

	assert_int_equal(stow_changes(t->root, STOW_MODE_ENFORCE), STOW_CHANGES_MADE);
	assert_int_equal(stow_may_change(t->root, STOW_MODE_ENFORCE, &err), 0);
	assert_int_equal(err.code, 0);
	assert_int_equal(stow_changes(t->root, STOW_MODE_OBSERVE), STOW_CHANGES_OBSERVED);
	assert_int_equal(stow_may_change(t->root, STOW_MODE_OBSERVE, &err), -EACCES);
	assert_non_null(strstr(err.msg, "mode: observe"));
	/* What cannot be looked at may be there. */
	t->root->ops = &unreadable;
	assert_int_equal(stow_changes(t->root, STOW_MODE_ENFORCE), STOW_CHANGES_UNKNOWN);
	assert_int_equal(stow_may_change(t->root, STOW_MODE_ENFORCE, &err), -EACCES);
	assert_non_null(strstr(err.msg, STOW_DISABLED_PATH " cannot be looked at"));
	t->root->ops = NULL;
	/* A link is there, wherever it points. */
	tree_link(t, STOW_DISABLED_PATH, "disabled");
	assert_int_equal(stow_changes(t->root, STOW_MODE_ENFORCE), STOW_CHANGES_DISABLED);
	tree_remove(t, STOW_DISABLED_PATH);
	tree_link(t, STOW_DISABLED_PATH, "/nowhere");
	assert_int_equal(stow_changes(t->root, STOW_MODE_ENFORCE), STOW_CHANGES_DISABLED);
	tree_remove(t, STOW_DISABLED_PATH);
	/* The switch is above the mode. */
	tree_write(t, STOW_DISABLED_PATH, "%s", "");
	for (int mode = STOW_MODE_ENFORCE; mode <= STOW_MODE_OBSERVE; mode++) {
		assert_int_equal(stow_changes(t->root, (enum stow_mode)mode),
				 STOW_CHANGES_DISABLED);
		assert_int_equal(stow_may_change(t->root, (enum stow_mode)mode, &err), -EACCES);
		assert_non_null(strstr(err.msg, STOW_DISABLED_PATH));
	}
	tree_free(t);
}

/* What only shows or undoes goes on with the defaults when the file is wrong or cannot be read. */
TEST(a_broken_file_is_the_defaults_to_show_and_undo)
{
	static const char broken[] = "mode: obsrve\n";
	struct tree *t = tree_new();

	tree_write(t, STOW_CONFIG_PATH, "lease-seconds: 7\n");
	for (int i = 0; i < 3; i++) {
		_cleanup_(stow_config_free_ptr) struct stow_config *config = NULL;
		struct stow_err err = { 0 };

		if (i == 1)
			tree_write(t, STOW_CONFIG_PATH, "%s", broken);
		if (i == 2) {
			tree_remove(t, STOW_CONFIG_PATH);
			tree_mkdir(t, STOW_CONFIG_PATH);
		}
		assert_int_equal(stow_config_read_anyway(t->root, &config, &err), i > 0);
		assert_non_null(config);
		assert_int_equal(config->lease_seconds, i ? 300 : 7);
		assert_int_equal(config->mode, STOW_MODE_ENFORCE);
		assert_true(!i || strstr(err.msg, STOW_CONFIG_PATH));
	}
	tree_free(t);
}
