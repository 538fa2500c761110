// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "base/err.h"

TEST(stays_one_line)
{
	struct stow_err err = { 0 };

	assert_int_equal(stow_err_set(&err, EINVAL, "\"%s\" is no size", "2\nMB\033[2J\177"),
			 -EINVAL);
	assert_string_equal(err.msg, "\"2?MB?[2J?\" is no size");
	assert_int_equal(stow_err_wrap(&err, -EINVAL, "a\tb"), -EINVAL);
	assert_string_equal(err.msg, "a?b: \"2?MB?[2J?\" is no size");
	assert_int_equal(stow_err_sys(&err, ENOENT, "/x\r\n"), -ENOENT);
	assert_string_equal(err.msg, "/x??: No such file or directory");
	assert_int_equal(err.code, ENOENT);
}

TEST(keeps_letters_of_every_alphabet)
{
	struct stow_err err = { 0 };

	stow_err_set(&err, EINVAL, "%s", "\xc3\xa4\xe2\x82\xac");
	assert_string_equal(err.msg, "\xc3\xa4\xe2\x82\xac");
}

TEST(the_text_is_optional)
{
	assert_int_equal(stow_err_set(NULL, EIO, "x"), -EIO);
	assert_int_equal(stow_err_sys(NULL, EIO, "x"), -EIO);
	assert_int_equal(stow_err_wrap(NULL, -EIO, "x"), -EIO);
}

TEST(keeps_the_first_failure)
{
	struct stow_err err = { 0 };
	struct stow_first first = { .err = &err };

	assert_int_equal(stow_first_note(&first, 0), 0);
	assert_int_equal(stow_first_note(&first, 3), 3);
	assert_int_equal(first.code, 0);
	assert_int_equal(stow_first_note(&first, stow_err_set(first.err, ENOENT, "one")), -ENOENT);
	assert_int_equal(stow_first_note(&first, stow_err_set(first.err, EIO, "two")), -EIO);
	assert_int_equal(stow_first_note(&first, 0), 0);
	assert_int_equal(first.code, -ENOENT);
	assert_int_equal(err.code, ENOENT);
	assert_string_equal(err.msg, "one");
}
