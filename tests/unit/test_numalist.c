// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/numalist.h"

static int find(void *ctx, const char *name, int *ret_id, struct stow_err *err)
{
	if (strcmp(name, "netdev:lost") == 0)
		return stow_err_set(err, ENODEV, "there is no network device \"lost\"");
	if (strcmp(name, "netdev:eth0") != 0)
		return 0;
	*ret_id = 5;
	return 1;
}

/* A process that may use nodes 0, 1, 4 and 5 of 0 to 5; node 3 may be named, too. */
static struct stow_idset allowed, accepted, present;
static const struct stow_numalist nodes = {
	.what = "node",
	.allowed = &allowed,
	.accepted = &accepted,
	.present = &present,
	.hint = "use --all",
	.find = find,
};
static const struct stow_numalist cpus = { .what = "CPU" };

static int setup(void **state)
{
	stow_idset_parse("0-1,4-5", &allowed, NULL);
	stow_idset_parse("3", &accepted, NULL);
	stow_idset_parse("0-5", &present, NULL);
	return 0;
}

static void assert_parsed(const struct stow_numalist *list, const char *in, const char *out)
{
	struct stow_err err = { 0 };
	struct stow_idset set;
	char buf[256];

	if (stow_numalist_parse(in, list, &set, &err) < 0)
		fail_msg("%s: %s", in, err.msg);
	assert_string_equal(stow_idset_format(&set, buf, sizeof(buf)), out);
}

static void assert_refused(const struct stow_numalist *list, const char *in, int code,
			   const char *words)
{
	struct stow_idset set = { .bits = { 42 } };
	struct stow_err err = { 0 };

	assert_int_equal(stow_numalist_parse(in, list, &set, &err), code);
	assert_int_equal(set.bits[0], 42);
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" does not have \"%s\"", err.msg, words);
}

TEST(reads_what_numactl_reads)
{
	assert_parsed(&nodes, "", "");
	assert_parsed(&nodes, "0", "0");
	assert_parsed(&nodes, "5,0", "0,5");
	assert_parsed(&nodes, "0-1,4", "0-1,4");
	assert_parsed(&nodes, "0x4", "4");
	assert_parsed(&nodes, "04", "4");
	assert_parsed(&nodes, "all", "0-1,4-5");
	assert_parsed(&nodes, "0,all", "0-1,4-5");
	assert_parsed(&nodes, "1-4", "1,3-4"); /* 2 may not be used */
	assert_parsed(&nodes, "3", "3");
	assert_parsed(&nodes, "netdev:eth0", "5");
	assert_parsed(&nodes, "0,netdev:eth0", "0,5");
}

TEST(inverts_and_counts)
{
	assert_parsed(&nodes, "!0", "1-5");
	assert_parsed(&nodes, "!all", "2-3");
	assert_parsed(&nodes, "+2", "4");
	assert_parsed(&nodes, "+1-2", "1,3-4");
	assert_parsed(&nodes, "+0,3", "0,5"); /* + is for the whole list */
	assert_parsed(&nodes, "!+2-3", "0-3");
	assert_parsed(&nodes, "+all", "0-1,4-5");
}

TEST(takes_every_nth)
{
	assert_parsed(&nodes, "0-4:2", "0,4");
	assert_parsed(&nodes, "1-5:2", "1,3,5");
	assert_parsed(&nodes, "0-5:100", "0");
	assert_parsed(&cpus, "0-31:2,1", "0-2,4,6,8,10,12,14,16,18,20,22,24,26,28,30");
	assert_parsed(&cpus, "0-10:3", "0,3,6,9");
}

TEST(any_number_where_nothing_is_known)
{
	assert_parsed(&cpus, "010,8191", "10,8191");
	/* taskset takes them, and the kernel has none of them. */
	assert_parsed(&cpus, "8190-99999", "8190-8191");
	assert_parsed(&cpus, "99999999999999999999", "");
	assert_refused(&cpus, "", -EINVAL, "ends too early");
	assert_refused(&cpus, "all", -EINVAL, "a number is missing");
	assert_refused(&cpus, "+1", -EINVAL, "CPUs");
	assert_refused(&cpus, "!1", -EINVAL, "!1");
	assert_refused(&cpus, "0x1", -EINVAL, "may follow a number");
}

TEST(refuses_with_the_reason)
{
	assert_refused(&nodes, "2", -ERANGE,
		       "node 2 is not one of those that may be used "
		       "(0-1,3-5); use --all");
	assert_refused(&nodes, "0-2", -ERANGE, "node 2");
	assert_refused(&nodes, "99999999999999999999", -ERANGE, "may be used (0-1,3-5)");
	assert_refused(&nodes, "+4", -ERANGE, "no node +4: 4 may be used (0-1,4-5)");
	assert_refused(&nodes, "1-0", -EINVAL, "lower number");
	assert_refused(&nodes, "0-1:0", -EINVAL, "must not be 0");
	assert_refused(&nodes, "0:2", -EINVAL, "may follow a number");
	assert_refused(&nodes, "0,", -EINVAL, "too early");
	assert_refused(&nodes, ",0", -EINVAL, "missing");
	assert_refused(&nodes, "0--1", -EINVAL, "missing");
	assert_refused(&nodes, "!", -EINVAL, "too early");
	assert_refused(&nodes, "+!0", -EINVAL, "missing");
	assert_refused(&nodes, "!!0", -EINVAL, "missing");
	assert_refused(&nodes, " 0", -EINVAL, "missing");
	assert_refused(&nodes, "-1", -EINVAL, "missing");
	assert_refused(&nodes, "08", -EINVAL, "may follow a number");
	assert_refused(&nodes, "all,0", -EINVAL, "unknown word");
	assert_refused(&nodes, "some", -EINVAL, "unknown word");
	assert_refused(&nodes, "netdev:lost", -ENODEV, "no network device");
}

TEST(reads_masks)
{
	static const char *const good[][2] = {
		{ "0", "" },
		{ "f", "0-3" },
		{ "0x0F", "0-3" },
		{ "32", "1,4-5" },
		{ "00000001,00000000", "32" },
		{ "1,0", "4" }, /* commas separate nothing for taskset */
		{ "8000000000000000", "63" },
	};
	static const char *const bad[] = { "", "0x", "g", "0xg", "1,", ",1", "1,,1", "-1", "1 " };
	struct stow_err err = { 0 };
	struct stow_idset set;
	char buf[256];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(good); i++) {
		assert_int_equal(stow_numalist_parse_mask(good[i][0], &set, NULL), 0);
		assert_string_equal(stow_idset_format(&set, buf, sizeof(buf)), good[i][1]);
	}
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		assert_int_equal(stow_numalist_parse_mask(bad[i], &set, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "is not a mask"));
	}
}

TEST(writes_as_taskset_does)
{
	static const char *const cases[][3] = {
		{ "", "0", "" },
		{ "0-1", "3", "0,1" },
		{ "0-2,5", "27", "0-2,5" },
		{ "4,64", "10000000000000010", "4,64" },
		{ "0,1,3,4,6-9", "3db", "0,1,3,4,6-9" },
	};
	struct stow_idset set;
	char *text;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		assert_int_equal(stow_idset_parse(cases[i][0], &set, NULL), 0);
		text = stow_numalist_format_mask(&set);
		assert_string_equal(text, cases[i][1]);
		free(text);
		text = stow_numalist_format(&set);
		assert_string_equal(text, cases[i][2]);
		free(text);
	}
}

int main(void)
{
	return unit_run(setup, NULL);
}
