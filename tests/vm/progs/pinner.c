/*
 * Hold one page in its place: vmsplice'd into a pipe that nobody reads, and locked (mlock), which
 * can be seen before anything is tried. What a memory block with such a page does when it is to go
 * offline, for the tests in virtual machines.
 *
 *   pinner [MIB]
 *
 * Touches MIB (1) of memory, pins a page in the middle, and prints "ready PID". Ends on SIGTERM, or
 * lets go on SIGUSR1 ("released") and goes on.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096

static volatile sig_atomic_t ended, asked;

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		asked = 1;
	else
		ended = 1;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	size_t size = (argc == 2 ? strtoul(argv[1], NULL, 10) : 1) << 20;
	sigset_t blocked, before;
	struct iovec page = { .iov_len = PAGE };
	int pipes[2];
	char *memory;

	if (!size || argc > 2) {
		fputs("usage: pinner [MIB]\n", stderr);
		return 1;
	}
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGUSR1, &action, NULL);

	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	/* A page of a huge page would be split first. One of its own is the plain case. */
	madvise(memory, size, MADV_NOHUGEPAGE);
	memset(memory, 0x5a, size);
	page.iov_base = memory + size / 2 / PAGE * PAGE;
	if (mlock(page.iov_base, PAGE) < 0) {
		perror("mlock");
		return 2;
	}
	if (pipe2(pipes, O_CLOEXEC) < 0 || vmsplice(pipes[1], &page, 1, 0) != PAGE) {
		perror("vmsplice");
		return 2;
	}
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	while (!ended) {
		if (asked) {
			char content[PAGE];

			asked = 0;
			if (read(pipes[0], content, sizeof(content)) != PAGE)
				return 3;
			puts("released");
			fflush(stdout);
		}
		sigsuspend(&before);
	}
	return 0;
}
