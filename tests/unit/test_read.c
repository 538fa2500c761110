// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read.h"

#define LARGE 200000 /* more than is read in place */

/* Make a descriptor, at its beginning, with `n` letters and a newline. */
static int letters(size_t n)
{
	_cleanup_free_ char *text = malloc(n + 1);
	int fd = memfd_create("letters", MFD_CLOEXEC);

	assert_non_null(text);
	memset(text, 'a', n);
	text[n] = '\n';
	assert_int_equal(write(fd, text, n + 1), n + 1);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

TEST(reads_up_to_the_bound)
{
	static const size_t sizes[] = { 0, 5, 65535, 65536, 65537, LARGE };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(sizes); i++) {
		_cleanup_close_ int fd = letters(sizes[i]);
		_cleanup_free_ char *text = NULL, *longer = NULL;
		struct stow_err err = { 0 };
		size_t len;

		assert_int_equal(stow_read_all(fd, sizes[i] + 1, "it", &text, &len, &err), 0);
		assert_int_equal(len, sizes[i] + 1);
		assert_int_equal(strlen(text), len);
		assert_int_equal(text[len - 1], '\n');
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_int_equal(stow_read_all(fd, sizes[i], "it", &longer, NULL, &err), -E2BIG);
		assert_null(longer);
		assert_non_null(strstr(err.msg, "it is longer than "));
	}
}

TEST(names_the_file)
{
	struct stow_err err = { 0 };
	char *text = NULL;

	assert_int_equal(stow_read_file("/nowhere/x", 10, &text, NULL, &err), -ENOENT);
	assert_string_equal(err.msg, "cannot read /nowhere/x: No such file or directory");
	assert_int_equal(stow_read_file("/", 10, &text, NULL, &err), -EISDIR);
	assert_string_equal(err.msg, "/: Is a directory");
	assert_null(text);
}

TEST(a_stamp_changes_with_its_files)
{
	_cleanup_close_ int fd = letters(5);
	_cleanup_free_ char *path = NULL;
	const char *paths[] = { NULL, "/nowhere/x", NULL };
	uint64_t none = stow_read_stamp(paths, 3), one, two;

	assert_true(asprintf(&path, "/proc/self/fd/%d", fd) > 0);
	paths[2] = path;
	one = stow_read_stamp(paths, 3);
	assert_true(one != none);
	assert_true(one == stow_read_stamp(paths, 3));
	assert_int_equal(write(fd, "more", 4), 4);
	assert_int_equal(ftruncate(fd, 4), 0);
	two = stow_read_stamp(paths, 3);
	assert_true(two != one && two != none);
	paths[1] = path; /* it has appeared */
	assert_true(stow_read_stamp(paths, 3) != two);
}

TEST(a_short_file_is_read_from_its_beginning)
{
	_cleanup_close_ int fd = letters(4);
	char buf[6], small[5];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(stow_read_short(fd, buf, sizeof(buf)), 4);
		assert_string_equal(buf, "aaaa");
		assert_int_equal(lseek(fd, 3, SEEK_SET), 3);
	}
	assert_int_equal(stow_read_short(fd, small, sizeof(small)), -E2BIG);
}
