// SPDX-License-Identifier: Apache-2.0
/* hold MIB HUGE_MIB [MORE_MIB]: touches that much memory and that much of 2 MiB hugepages, says
 * what it has got, and sleeps. MORE_MIB: then also tries to map that much more of hugepages. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif

static size_t mib(const char *text)
{
	return (size_t)strtoul(text, NULL, 10) << 20;
}

static void *get(size_t bytes, int flags)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1,
		    0);
}

static int touch(const char *what, size_t bytes, int flags)
{
	void *p = bytes ? get(bytes, flags) : NULL;

	if (p == MAP_FAILED) {
		printf("%s: %s\n", what, strerror(errno));
		return -1;
	}
	if (bytes)
		memset(p, 1, bytes);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	if (touch("memory", mib(argv[1]), 0) < 0 ||
	    touch("hugepages", mib(argv[2]), MAP_HUGETLB | MAP_HUGE_2MB) < 0)
		return 1;
	if (argc > 3)
		puts(get(mib(argv[3]), MAP_HUGETLB | MAP_HUGE_2MB) == MAP_FAILED ? "more: refused"
										 : "more: given");
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
