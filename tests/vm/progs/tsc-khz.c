/*
 * Print the rate of this machine's time stamp counter in kHz, for the kernel of an emulated guest,
 * which has the same counter: what a guest measures by itself while its machine is busy may be
 * wrong by any factor, and its clock with it.
 *
 * Exit codes: 0; 1 there is no such counter here.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#ifdef __x86_64__
#include <x86intrin.h>

static int64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* The counter and the clock at one moment: of many tries, the one that took the shortest. */
static void both(uint64_t *ret_tsc, int64_t *ret_ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 1000; i++) {
		uint64_t before = __rdtsc(), after;
		int64_t ns = clock_ns();

		after = __rdtsc();
		if (after - before >= best)
			continue;
		best = after - before;
		*ret_tsc = before + best / 2;
		*ret_ns = ns;
	}
}

int main(void)
{
	struct timespec wait = { .tv_nsec = 200000000 };
	uint64_t tsc[2] = { 0 };
	int64_t ns[2] = { 0 };

	both(&tsc[0], &ns[0]);
	nanosleep(&wait, NULL);
	both(&tsc[1], &ns[1]);
	if (tsc[1] <= tsc[0] || ns[1] <= ns[0])
		return 1;
	printf("%.0f\n", (double)(tsc[1] - tsc[0]) * 1e6 / (double)(ns[1] - ns[0]));
	return 0;
}
#else
int main(void)
{
	return 1;
}
#endif
