/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Scope-bound clean-up. A destructor runs when the variable leaves its scope; STOW_TAKE_PTR() and
 * STOW_TAKE_FD() pass ownership out. Every destructor preserves errno and accepts NULL (or a
 * negative file descriptor), so that half-built objects can be freed.
 */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

static inline void stow_free_ptr(void *p)
{
	int saved = errno;

	free(*(void **)p);
	errno = saved;
}

static inline void stow_close_ptr(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -EBADF;
	errno = saved;
}

static inline void stow_closedir_ptr(DIR **d)
{
	int saved = errno;

	if (*d)
		closedir(*d);
	errno = saved;
}

static inline void stow_fclose_ptr(FILE **f)
{
	int saved = errno;

	if (*f)
		fclose(*f);
	errno = saved;
}

/* Define FUNCTION_ptr(), the destructor of variables that point to what FUNCTION frees. A structure
 * that is a variable itself needs none: `_cleanup_(stow_zones_done)`. */
#define STOW_DEFINE_CLEANUP(function, type)               \
	static inline void function##_ptr(type **pointer) \
	{                                                 \
		int saved = errno;                        \
                                                          \
		if (*pointer)                             \
			function(*pointer);               \
		errno = saved;                            \
	}                                                 \
	type

#define _cleanup_free_	   _cleanup_(stow_free_ptr)
#define _cleanup_close_	   _cleanup_(stow_close_ptr)
#define _cleanup_closedir_ _cleanup_(stow_closedir_ptr)
#define _cleanup_fclose_   _cleanup_(stow_fclose_ptr)

#define STOW_TAKE_PTR(p)            \
	({                          \
		typeof(p) _p = (p); \
		(p) = NULL;         \
		_p;                 \
	})

#define STOW_TAKE_FD(fd)        \
	({                      \
		int _fd = (fd); \
		(fd) = -EBADF;  \
		_fd;            \
	})

#define STOW_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
