// SPDX-License-Identifier: Apache-2.0
/* main() of the unit tests: runs what TEST() and its kin in a file have defined. */
#include "unit.h"

#include "base/array.h"

static struct unit_test {
	int number;
	struct CMUnitTest test;
} * added;
static size_t n_added;

void unit_add(int number, const char *name, CMUnitTestFunction test, CMFixtureFunction set_up,
	      CMFixtureFunction tear_down)
{
	struct unit_test *new = STOW_APPEND(added, n_added);

	if (!new)
		abort();
	new->number = number;
	new->test = (struct CMUnitTest){ name, test, set_up, tear_down, NULL };
}

static int by_number(const void *a, const void *b)
{
	const struct unit_test *x = a, *y = b;

	return x->number - y->number;
}

int unit_run(CMFixtureFunction set_up, CMFixtureFunction tear_down)
{
	struct CMUnitTest *tests = calloc(n_added, sizeof(*tests));
	int failed;

	if (!tests)
		abort();
	qsort(added, n_added, sizeof(*added), by_number);
	for (size_t i = 0; i < n_added; i++)
		tests[i] = added[i].test;
	failed = _cmocka_run_group_tests(program_invocation_short_name, tests, n_added, set_up,
					 tear_down);
	free(tests);
	free(added);
	return failed;
}

/* A file of tests may have its own. */
__attribute__((weak)) int main(void)
{
	return unit_run(NULL, NULL);
}
