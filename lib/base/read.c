// SPDX-License-Identifier: Apache-2.0
#include "base/read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/math.h"

#define FIRST_SIZE 65536 /* of the first buffer: most files fit */

int stow_read_most(int fd, size_t most, const char *name, char **ret_text, size_t *ret_len,
		   struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t size = STOW_MIN(most, (size_t)FIRST_SIZE) + 2, len = 0;

	for (;;) {
		char *grown = realloc(text, size);
		ssize_t n;

		if (!grown)
			return stow_err_sys(err, ENOMEM, "%s", name);
		text = grown;
		if (len == most)
			break;
		n = read(fd, text + len, STOW_MIN(size - len - 1, most - len));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return stow_err_sys(err, errno, "%s", name);
		if (n == 0)
			break;
		len += (size_t)n;
		if (len + 1 == size)
			size *= 2;
	}
	text[len] = '\0';
	*ret_text = STOW_TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

int stow_read_all(int fd, size_t max, const char *name, char **ret_text, size_t *ret_len,
		  struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = stow_read_most(fd, max + 1, name, &text, &len, err);

	if (r < 0)
		return r;
	if (len > max)
		return stow_err_set(err, E2BIG, "%s is longer than %zu bytes", name, max);
	*ret_text = STOW_TAKE_PTR(text);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int stow_read_file(const char *path, size_t max, char **ret_text, size_t *ret_len,
		   struct stow_err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return stow_err_sys(err, errno, "cannot read %s", path);
	return stow_read_all(fd, max, path, ret_text, ret_len, err);
}

int stow_read_short(int fd, char *buf, size_t size)
{
	ssize_t n;

	do
		n = pread(fd, buf, size, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((size_t)n == size)
		return -E2BIG;
	if (n && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return (int)n;
}

uint64_t stow_read_stamp(const char *const *paths, size_t n)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	for (size_t i = 0; i < n; i++) {
		struct stat st;

		if (!paths[i])
			continue;
		if (stat(paths[i], &st) < 0)
			st = (struct stat){ .st_size = -1 };
		for (const uint64_t *
			     v = (const uint64_t[]){ st.st_dev, st.st_ino, (uint64_t)st.st_size,
						     (uint64_t)st.st_mtim.tv_sec,
						     (uint64_t)st.st_mtim.tv_nsec },
			    *end = v + 5;
		     v < end; v++)
			sum = (sum ^ *v) * UINT64_C(0x100000001b3);
	}
	return sum;
}

int stow_write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return 0;
}
