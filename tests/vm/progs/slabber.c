/*
 * Fill the kernel's slab caches, for the tests in virtual machines: pages that nobody can move.
 *
 *   slabber [--node N] FILES DIR
 *
 * Makes so many empty files in DIR (about 1 KiB of slab each on tmpfs), with memory of this node
 * only, prints "ready" and sleeps. SIGTERM: removes them.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MPOL_BIND 2

static volatile sig_atomic_t ended;

static void end(int sig)
{
	(void)sig;
	ended = 1;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = end };
	sigset_t blocked, before;
	unsigned long mask = 0, files;
	char path[64];
	int at = 1;

	if (argc > 2 && strcmp(argv[1], "--node") == 0) {
		mask = 1UL << strtoul(argv[2], NULL, 10);
		at = 3;
	}
	if (argc != at + 2 || chdir(argv[at + 1]) < 0) {
		fputs("usage: slabber [--node N] FILES DIR\n", stderr);
		return 1;
	}
	files = strtoul(argv[at], NULL, 10);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);

	if (mask && syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 64UL) < 0) {
		perror("set_mempolicy");
		return 2;
	}
	for (unsigned long i = 0; i < files; i++) {
		int fd;

		snprintf(path, sizeof(path), "slab-%lu", i);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0) {
			perror(path);
			return 2;
		}
		close(fd);
	}
	puts("ready");
	fflush(stdout);
	while (!ended)
		sigsuspend(&before);
	for (unsigned long i = 0; i < files; i++) {
		snprintf(path, sizeof(path), "slab-%lu", i);
		unlink(path);
	}
	return 0;
}
