// SPDX-License-Identifier: Apache-2.0
/* Which nodes migrate_pages(2) maps to which; tests/vm/migrate.sh compares with the kernel. */
#include "unit.h"

#include <stdio.h>

#include "pages/pairs.h"

static void assert_pairs(const char *from, const char *to, const char *wanted)
{
	struct stow_page_pair pairs[16];
	struct stow_idset a, b;
	char text[256] = "";
	size_t n;

	assert_int_equal(stow_idset_parse(from, &a, NULL), 0);
	assert_int_equal(stow_idset_parse(to, &b, NULL), 0);
	n = stow_pages_pairs(&a, &b, pairs, 16);
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(text);

		snprintf(text + len, sizeof(text) - len, "%s%d>%d", i ? " " : "", pairs[i].from,
			 pairs[i].to);
	}
	assert_string_equal(text, wanted);
}

TEST(the_nth_goes_to_the_nth)
{
	assert_pairs("0", "1", "0>1");
	assert_pairs("0,2", "1,3", "0>1 2>3");
	assert_pairs("2-5", "7,9,12-13", "2>7 3>9 4>12 5>13");
	/* It begins again where there are fewer. */
	assert_pairs("0-3", "8-9", "0>8 1>9 2>8 3>9");
	assert_pairs("0", "2-3", "0>2");
}

TEST(no_page_moves_twice)
{
	assert_pairs("0-2", "1-3", "2>3 1>2 0>1");
	assert_pairs("1-3", "0-2", "1>0 2>1 3>2");
}

TEST(what_is_in_both_stays)
{
	assert_pairs("0-3", "3", "2>3 1>3 0>3");
	assert_pairs("0-2", "1,3", "2>1 0>1");
	assert_pairs("0-1", "0-1", "");
	assert_pairs("0", "0", "");
	/* Equal sizes shift also what is in both. */
	assert_pairs("0,1", "1,2", "1>2 0>1");
}

TEST(odd_sets)
{
	assert_pairs("", "1", "");
	assert_pairs("0", "", "");
	assert_pairs("0-99", "100",
		     "0>100 1>100 2>100 3>100 4>100 5>100 6>100 7>100 8>100 9>100 "
		     "10>100 11>100 12>100 13>100 14>100 15>100");
}
