// SPDX-License-Identifier: Apache-2.0
/*
 * Measures how long programs take from start to end, as the median of many runs.
 *
 *	times RUNS < JOBS
 *
 * A job is a line of fields, separated by tabs: a name, the file for standard input, the file for
 * standard output, a command to run before (not timed; may be empty), the program, its arguments.
 * The jobs run in turn, so that other load on the machine affects all of them. Prints one line for
 * each job: name, median, minimum and 90th percentile in ns, the median of the processor time in
 * ns, peak memory in KiB, failed runs.
 *
 * The kernel counts the parent's memory at the start of a program as the program's own peak (exec
 * keeps the high-water mark), so this parent stays small.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/clock.h"

#define JOBS 32
#define ARGS 32

struct job {
	char *name, *in, *out, *before;
	char *argv[ARGS];
	uint64_t *ns, *cpu;
	long peak;
	int failed;
};

static uint64_t of_timeval(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * 1000000000 + (uint64_t)tv->tv_usec * 1000;
}

static void run_before(const char *command)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)command, NULL };
	int status;
	pid_t pid;

	if (!command[0])
		return;
	if (posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) < 0 || status != 0) {
		fprintf(stderr, "times: failed: %s\n", command);
		exit(1);
	}
}

static void run_once(struct job *job, int i)
{
	posix_spawn_file_actions_t actions;
	struct rusage usage;
	uint64_t start;
	int status;
	pid_t pid;

	run_before(job->before);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, job->in, O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, job->out, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	start = stow_clock_monotonic();
	errno = posix_spawn(&pid, job->argv[0], &actions, NULL, job->argv, environ);
	if (errno) {
		perror(job->argv[0]);
		exit(1);
	}
	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			exit(1);
	job->ns[i] = stow_clock_monotonic() - start;
	job->cpu[i] = of_timeval(&usage.ru_utime) + of_timeval(&usage.ru_stime);
	posix_spawn_file_actions_destroy(&actions);
	if (status != 0)
		job->failed++;
	if (usage.ru_maxrss > job->peak)
		job->peak = usage.ru_maxrss;
}

/* Not base/idlist.h: this program links nothing, to stay small. */
static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int read_jobs(struct job *jobs, int runs)
{
	char *line = NULL;
	size_t size = 0;
	int n = 0;

	while (n < JOBS && getline(&line, &size, stdin) > 0) {
		struct job *job = &jobs[n++];
		char *rest = strdup(line);

		if (!rest)
			exit(1);
		rest[strcspn(rest, "\n")] = '\0';
		job->name = strsep(&rest, "\t");
		job->in = strsep(&rest, "\t");
		job->out = strsep(&rest, "\t");
		job->before = strsep(&rest, "\t");
		for (int a = 0; rest && a < ARGS - 1; a++)
			job->argv[a] = strsep(&rest, "\t");
		job->ns = calloc((size_t)runs, sizeof(*job->ns));
		job->cpu = calloc((size_t)runs, sizeof(*job->cpu));
		if (!job->argv[0] || !job->ns || !job->cpu) {
			fprintf(stderr, "times: not a job: %s", line);
			exit(2);
		}
	}
	free(line);
	return n;
}

int main(int argc, char **argv)
{
	int runs = argc == 2 ? (int)strtol(argv[1], NULL, 10) : 0;
	struct job jobs[JOBS] = { 0 };
	int n;

	if (runs < 1) {
		fputs("usage: times RUNS < JOBS\n", stderr);
		return 2;
	}
	n = read_jobs(jobs, runs);
	for (int i = 0; i < runs; i++)
		for (int j = 0; j < n; j++)
			run_once(&jobs[j], i);
	for (int j = 0; j < n; j++) {
		qsort(jobs[j].ns, (size_t)runs, sizeof(*jobs[j].ns), by_size);
		qsort(jobs[j].cpu, (size_t)runs, sizeof(*jobs[j].cpu), by_size);
		printf("%s\t%llu\t%llu\t%llu\t%llu\t%ld\t%d\n", jobs[j].name,
		       (unsigned long long)jobs[j].ns[runs / 2], (unsigned long long)jobs[j].ns[0],
		       (unsigned long long)jobs[j].ns[runs * 9 / 10],
		       (unsigned long long)jobs[j].cpu[runs / 2], jobs[j].peak, jobs[j].failed);
	}
	return 0;
}
