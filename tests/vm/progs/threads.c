/*
 * Create threads all the time, until SIGTERM, for the tests in virtual machines.
 *
 *   threads N     N threads, each of which creates one short-lived thread after the other
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define N_MAX 64

static void *short_one(void *unused)
{
	usleep(1000);
	return unused;
}

static void *long_one(void *unused)
{
	pthread_t thread;

	for (;;)
		if (pthread_create(&thread, NULL, short_one, NULL) == 0)
			pthread_join(thread, NULL);
	return unused;
}

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 4;
	pthread_t thread;

	if (n < 1 || n > N_MAX)
		return 2;
	for (long i = 0; i < n; i++)
		if (pthread_create(&thread, NULL, long_one, NULL) != 0)
			return 1;
	puts("started");
	fflush(stdout);
	pause();
	return 0;
}
