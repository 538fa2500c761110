/*
 * Hold memory with a known content and use it all the time, for the tests in virtual machines: what
 * a program sees of its pages being moved.
 *
 *   churn MIB
 *
 * Fills the memory from a generator, prints "ready", then reads and writes its pages in a random
 * order for ever. SIGUSR1: checks the whole content and prints "sum good|BAD, longest pause N us",
 * the pause between two pages since the last such line. Ends on SIGTERM.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE	 4096
#define PER_PAGE (PAGE / sizeof(uint64_t))

static volatile sig_atomic_t ended, asked;

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		asked = 1;
	else
		ended = 1;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* What belongs at a place: every word differs. */
static uint64_t word(uint64_t at)
{
	at += UINT64_C(0x9e3779b97f4a7c15);
	at = (at ^ (at >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	return at ^ (at >> 27);
}

static int whole(const uint64_t *memory, size_t words)
{
	for (size_t i = 0; i < words; i++)
		if (memory[i] != word(i))
			return 0;
	return 1;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	size_t size = argc == 2 ? strtoul(argv[1], NULL, 10) << 20 : 0, pages = size / PAGE;
	uint64_t longest = 0, last, state = 1;
	volatile uint64_t *memory;

	if (!size) {
		fputs("usage: churn MIB\n", stderr);
		return 1;
	}
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	for (size_t i = 0; i < size / sizeof(*memory); i++)
		memory[i] = word(i);
	puts("ready");
	fflush(stdout);
	for (last = now(); !ended;) {
		uint64_t at, t;

		state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
		at = (state >> 16) % pages * PER_PAGE + (state >> 8) % PER_PAGE;
		memory[at] = memory[at]; /* a read, and a write of the same */
		t = now();
		if (t - last > longest)
			longest = t - last;
		last = t;
		if (asked) {
			asked = 0;
			printf("sum %s, longest pause %llu us\n",
			       whole((const uint64_t *)memory, size / sizeof(*memory)) ? "good"
										       : "BAD",
			       (unsigned long long)(longest / 1000));
			fflush(stdout);
			longest = 0;
			last = now();
		}
	}
	return 0;
}
