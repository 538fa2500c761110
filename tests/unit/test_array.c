// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/array.h"
#include "base/cleanup.h"

struct element {
	size_t number;
	char *text;
};

TEST(a_list_keeps_what_it_has_and_gains_a_zeroed_element)
{
	_cleanup_free_ struct element *list = NULL;
	size_t n = 0;

	for (size_t i = 0; i < 1000; i++) {
		struct element *added = STOW_APPEND(list, n);

		assert_non_null(added);
		assert_ptr_equal(added, &list[i]);
		assert_int_equal(n, i + 1);
		assert_int_equal(added->number, 0);
		assert_null(added->text);
		added->number = i + 1;
		added->text = (char *)state;
	}
	for (size_t i = 0; i < n; i++)
		assert_int_equal(list[i].number, i + 1);
}

/* The list may be exactly as long as its elements, whatever their number is, and may get shorter. */
TEST(a_list_of_another_allocation_grows_too)
{
	for (size_t length = 1; length < 40; length++) {
		_cleanup_free_ uint64_t *list = calloc(length, sizeof(*list));
		size_t n = length;

		assert_non_null(list);
		list[n - 1] = 7;
		*STOW_APPEND(list, n) = 8;
		assert_true(list[length - 1] == 7 && list[length] == 8);
		n = length / 2;
		*STOW_APPEND(list, n) = 9;
		assert_true(list[length / 2] == 9);
	}
}
