/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A copied tree of a few files, for readers that open their files themselves. */

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/root.h"
#include "fuzz.h"

/* Made once for each process, and emptied by nobody: it is in memory. */
static inline const char *fuzz_folder(void)
{
	static char dir[64];

	if (!dir[0]) {
		snprintf(dir, sizeof(dir), "%s/numastow-fuzz-XXXXXX",
			 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
		if (!mkdtemp(dir))
			abort();
	}
	return dir;
}

static inline void fuzz_mkdir(const char *path)
{
	char name[256];

	snprintf(name, sizeof(name), "%s%s", fuzz_folder(), path);
	if (mkdir(name, 0755) < 0 && errno != EEXIST)
		abort();
}

static inline void fuzz_file(const char *path, const void *data, size_t size)
{
	char name[256];
	int fd;

	snprintf(name, sizeof(name), "%s%s", fuzz_folder(), path);
	fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd) < 0)
		abort();
}
