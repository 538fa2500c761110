/*
 * Take memory and touch every page of it, for the tests in virtual machines.
 *
 *   touch [--huge 2M|1G] [--file PATH] [--node N] [--holes] [--hold] MIB
 *
 * --huge   pages of that size, from the pool (MAP_HUGETLB)
 * --file   map this file instead of anonymous memory, and do not delete it: on hugetlbfs it keeps
 *          its pages
 * --node   bind the memory to this node
 * --holes  then free every other page, so that no large block is free there
 * --hold   then sleep until SIGTERM
 *
 * Prints "touched" when done. Exit codes: 0; 1 usage or file; 2 mmap failed ("mmap: ENOMEM" and so
 * on on stdout); 3 mbind failed. A SIGBUS (a hugetlb limit) ends it as it would any program.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MPOL_BIND  2
#define HUGE_SHIFT 26 /* MAP_HUGE_SHIFT */

static volatile sig_atomic_t ended;

static void end(int sig)
{
	(void)sig;
	ended = 1;
}

static int usage(void)
{
	fputs("usage: touch [--huge 2M|1G] [--file PATH] [--node N] [--holes] [--hold] MIB\n",
	      stderr);
	return 1;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "huge", required_argument, NULL, 'H' }, { "file", required_argument, NULL, 'f' },
		{ "node", required_argument, NULL, 'n' }, { "holes", no_argument, NULL, 'o' },
		{ "hold", no_argument, NULL, 'h' },	  { NULL, 0, NULL, 0 },
	};
	struct sigaction action = { .sa_handler = end };
	sigset_t blocked, before;
	const char *file = NULL;
	int flags = MAP_ANONYMOUS | MAP_PRIVATE;
	size_t step = 4096;
	long node = -1;
	int hold = 0, holes = 0, fd = -1, opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'H':
			if (strcmp(optarg, "2M") == 0) {
				flags |= MAP_HUGETLB | (21 << HUGE_SHIFT);
				step = 1UL << 21;
			} else if (strcmp(optarg, "1G") == 0) {
				flags |= MAP_HUGETLB | (30 << HUGE_SHIFT);
				step = 1UL << 30;
			} else {
				return usage();
			}
			break;
		case 'f':
			file = optarg;
			break;
		case 'n':
			node = atol(optarg);
			break;
		case 'o':
			holes = 1;
			break;
		case 'h':
			hold = 1;
			break;
		default:
			return usage();
		}
	}
	if (optind != argc - 1)
		return usage();
	size_t size = strtoul(argv[optind], NULL, 10) << 20;

	if (size == 0)
		return usage();
	if (file) {
		fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
			perror(file);
			return 1;
		}
		flags = MAP_SHARED;
	}

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);

	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (memory == MAP_FAILED) {
		printf("mmap: %s\n", strerrorname_np(errno));
		return 2;
	}
	if (node >= 0) {
		unsigned long mask[16] = { 0 };

		if (node >= 16 * 64)
			return usage();
		mask[node / 64] = 1UL << (node % 64);
		if (syscall(SYS_mbind, memory, size, MPOL_BIND, mask, 16 * 64 + 1, 0) < 0) {
			printf("mbind: %s\n", strerrorname_np(errno));
			return 3;
		}
	}
	if (holes)
		madvise(memory, size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < size; i += step)
		memory[i] = 1;
	for (size_t i = 0; holes && i < size; i += 2 * step)
		madvise(memory + i, step, MADV_DONTNEED);
	puts("touched");
	fflush(stdout);

	while (hold && !ended)
		sigsuspend(&before);
	return 0;
}
