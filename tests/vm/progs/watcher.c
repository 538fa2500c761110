/*
 * Report on which CPUs this process may run, from its first instruction on, for the tests in
 * virtual machines.
 *
 *   watcher LOG [CGROUP...]	enter the cgroups first (their cgroup.procs); never end
 *   watcher --now		print the clock
 *
 * Each set is a line in LOG, written when another one follows, and on SIGTERM:
 *
 *   FIRST-BEGIN FIRST-END LAST-BEGIN LAST-END MASK
 *
 * with the clock (CLOCK_MONOTONIC, ns) before and after the first and the last time that it was
 * seen, and the set as a hexadecimal mask.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t ends;

static void on_term(int signal)
{
	(void)signal;
	ends = 1;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t allowed(void)
{
	uint64_t mask = 0;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		exit(2);
	for (int cpu = 0; cpu < 64; cpu++)
		mask |= (uint64_t) !!CPU_ISSET(cpu, &set) << cpu;
	return mask;
}

static void enter(const char *procs)
{
	int fd = open(procs, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1) {
		perror(procs);
		exit(2);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	/* Looking each ms all the time, a dozen of these programs would take a processor under
	 * emulation. */
	const struct timespec soon = { .tv_nsec = 1000000 }, later = { .tv_nsec = 20000000 };
	unsigned int looks = 0;
	uint64_t first_begin = 0, first_end = 0, last_begin = 0, last_end = 0, mask = 0;
	FILE *log;

	if (argc == 2 && strcmp(argv[1], "--now") == 0)
		return printf("%llu\n", (unsigned long long)now()) < 0;
	log = argc > 1 ? fopen(argv[1], "w") : NULL;
	if (!log)
		return 2;
	signal(SIGTERM, on_term);
	for (int i = 2; i < argc; i++)
		enter(argv[i]);
	for (;;) {
		uint64_t begin = now(), set = allowed(), end = now();

		if ((ends || set != mask) && mask) {
			fprintf(log, "%llu %llu %llu %llu %llx\n", (unsigned long long)first_begin,
				(unsigned long long)first_end, (unsigned long long)last_begin,
				(unsigned long long)last_end, (unsigned long long)mask);
			fflush(log);
		}
		if (ends)
			return 0;
		if (set != mask) {
			first_begin = begin;
			first_end = end;
		}
		last_begin = begin;
		last_end = end;
		mask = set;
		nanosleep(looks++ < 50 ? &soon : &later, NULL);
	}
}
