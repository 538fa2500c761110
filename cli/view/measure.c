// SPDX-License-Identifier: Apache-2.0
#include "cli/view/measure.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "base/parse.h"
#include "node/mempolicy.h"

#define HUGE_PAGE ((size_t)2 << 20)

/* --- the buffer --------------------------------------------------------------------------------- */

/* Check that every page is on the node. */
static int check_node(const struct measure_memory *m, int node, struct stow_err *err)
{
	enum { AT_ONCE = 512 };
	size_t page = m->huge ? HUGE_PAGE : (size_t)sysconf(_SC_PAGESIZE), left = m->size / page;
	char *at = m->memory;
	void *pages[AT_ONCE];
	int nodes[AT_ONCE];

	while (left) {
		size_t n = left < AT_ONCE ? left : AT_ONCE;

		for (size_t i = 0; i < n; i++, at += page)
			pages[i] = at;
		if (syscall(SYS_move_pages, 0, n, pages, NULL, nodes, 0) < 0)
			return stow_err_sys(err, errno, "move_pages");
		for (size_t i = 0; i < n; i++)
			if (nodes[i] != node)
				return stow_err_set(err, EXDEV,
						    "node %d: pages are on node %d instead", node,
						    nodes[i]);
		left -= n;
	}
	return 0;
}

/* Return how many bytes of a mapping are in transparent hugepages: a line of its smaps. */
static uint64_t huge_bytes(const char *smaps, const void *memory)
{
	uint64_t bytes = 0;
	char begin[32];
	const char *at;

	snprintf(begin, sizeof(begin), "%lx-", (unsigned long)memory);
	at = strstr(smaps, begin);
	if (at)
		(void)stow_parse_kib(at, "AnonHugePages", &bytes);
	return bytes;
}

static int check_pages(struct stow_root *root, struct measure_memory *m, bool huge,
		       struct stow_err *err)
{
	_cleanup_free_ char *smaps = NULL;
	uint64_t bytes;
	int r = stow_root_read(root, STOW_ROOT_READ_MAX, &smaps, NULL, err, "/proc/self/smaps");

	if (r < 0)
		return r;
	bytes = huge_bytes(smaps, m->memory);
	if (huge && bytes < m->size)
		return stow_err_set(err, ENOTSUP,
				    "the kernel gave 2 MiB pages for %d %% of the memory only",
				    (int)(100 * bytes / m->size));
	if (!huge && bytes)
		return stow_err_set(err, ENOTSUP, "the kernel gave 2 MiB pages");
	m->huge = huge;
	return 0;
}

int measure_map(struct stow_root *root, int node, size_t size, bool huge,
		struct measure_memory *ret, struct stow_err *err)
{
	_cleanup_(measure_unmap) struct measure_memory m = { 0 };
	struct stow_idset nodes = { 0 };
	size_t offset;
	char *memory;
	int r;

	size = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	/* Aligned, with a page without access behind it: a mapping beside it is never merged. */
	memory = mmap(NULL, size + 2 * HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return stow_err_sys(err, errno, "%zu bytes of memory", size);
	offset = (HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE) % HUGE_PAGE;
	if (offset)
		munmap(memory, offset);
	munmap(memory + offset + size + HUGE_PAGE, HUGE_PAGE - offset);
	m = (struct measure_memory){ memory + offset, size, false };
	if (mprotect(m.memory, size, PROT_READ | PROT_WRITE) < 0)
		return stow_err_sys(err, errno, "%zu bytes of memory", size);
	(void)madvise(m.memory, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	stow_idset_add(&nodes, node);
	r = stow_mbind(m.memory, size, MPOL_BIND, &nodes, 0);
	if (r < 0)
		return stow_err_sys(err, -r, "mbind to node %d", node);
	memset(m.memory, 1, size);
	r = check_pages(root, &m, huge, err);
	if (r == 0)
		r = check_node(&m, node, err);
	if (r < 0)
		return r;
	*ret = m;
	m = (struct measure_memory){ 0 };
	return 0;
}

void measure_unmap(struct measure_memory *memory)
{
	if (memory->memory)
		munmap(memory->memory, memory->size + HUGE_PAGE);
	*memory = (struct measure_memory){ 0 };
}

/* --- results ------------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void measure_reduce(double *values, size_t n, bool most, struct measure_result *ret)
{
	qsort(values, n, sizeof(*values), compare);
	*ret = (struct measure_result){ 0 };
	if (!n)
		return;
	ret->known = true;
	ret->best = values[most ? n - 1 : 0];
	ret->median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
	ret->spread = most ? ret->best > ret->median * 1.1 : ret->median > ret->best * 1.1;
}

static int pin(int cpu, cpu_set_t *before, struct stow_err *err)
{
	cpu_set_t one;

	if (cpu >= CPU_SETSIZE)
		return stow_err_set(err, ENOTSUP, "CPU %d: CPUs below %d can be measured from", cpu,
				    CPU_SETSIZE);
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	if (before && sched_getaffinity(0, sizeof(*before), before) < 0)
		return stow_err_sys(err, errno, "sched_getaffinity");
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		return stow_err_sys(err, errno, "CPU %d", cpu);
	return 0;
}

/* --- latency ------------------------------------------------------------------------------------ */

void measure_cycle(uint32_t *next, uint32_t n, uint64_t seed)
{
	for (uint32_t i = 0; i < n; i++)
		next[i] = i;
	for (uint32_t i = n; i-- > 1;) {
		uint32_t j, taken;

		/* xorshift64* (Marsaglia). */
		seed ^= seed >> 12;
		seed ^= seed << 25;
		seed ^= seed >> 27;
		j = (uint32_t)(((seed * UINT64_C(2685821657736338717)) >> 32) * i >> 32);
		taken = next[i];
		next[i] = next[j];
		next[j] = taken;
	}
}

/* Link the buffer's cache lines to the cycle: each begins with the address of the next. */
static int link_lines(const struct measure_memory *m, size_t line, struct stow_err *err)
{
	uint32_t n = (uint32_t)STOW_MIN(m->size / line, (size_t)UINT32_MAX);
	_cleanup_free_ uint32_t *next = malloc((size_t)n * sizeof(*next));
	char *memory = m->memory;

	if (!next)
		return stow_err_sys(err, ENOMEM, "the order of %u cache lines", n);
	measure_cycle(next, n, stow_clock_monotonic() | 1);
	for (uint32_t i = 0; i < n; i++)
		*(void **)(void *)(memory + i * line) = memory + next[i] * line;
	return 0;
}

/* Return ns per load. */
static double chase(void **at, uint64_t time)
{
	enum { LOADS = 8192 };
	uint64_t began = stow_clock_monotonic(), took, loads = 0;

	do {
		for (int i = 0; i < LOADS; i++)
			at = *(void **volatile *)at;
		loads += LOADS;
		took = stow_clock_monotonic() - began;
	} while (took < time);
	return (double)took / (double)loads;
}

int measure_latency(const struct measure_options *options, const struct measure_memory *memory,
		    int cpu, struct measure_result *ret, struct stow_err *err)
{
	double values[MEASURE_RUNS_MAX];
	cpu_set_t before;
	int r = link_lines(memory, options->line, err);

	if (r == 0)
		r = pin(cpu, &before, err);
	if (r < 0)
		return r;
	(void)chase(memory->memory, options->time);
	for (unsigned int i = 0; i < options->runs; i++)
		values[i] = chase(memory->memory, options->time);
	(void)sched_setaffinity(0, sizeof(before), &before);
	measure_reduce(values, options->runs, false, ret);
	return 0;
}

/* --- bandwidth ---------------------------------------------------------------------------------- */

/* The threads begin together, at a moment that is set when all are there. */
struct crowd {
	const struct measure_options *options;
	bool stores;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t begin; /* ns of the monotonic clock; 0: not yet */
	bool stop;	/* a thread is missing */
	int failed;	/* an errno */
};

struct worker {
	struct crowd *crowd;
	int cpu;
	char *memory;
	size_t size;
	double rates[MEASURE_RUNS_MAX + 1]; /* bytes per ns; the first warms up */
	pthread_t thread;
};

#define STEP ((size_t)128) /* bytes of one turn of the loops below */

/* Read the memory once; return a sum, so that the loads are not left out. */
static uint64_t load_all(const char *memory, size_t size)
{
	typedef uint64_t wide __attribute__((vector_size(32)));
	wide a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };

	for (size_t i = 0; i + STEP <= size; i += STEP) {
		const wide *at = (const void *)(memory + i);

		a += at[0];
		b += at[1];
		c += at[2];
		d += at[3];
	}
	a += b + c + d;
	return a[0] + a[1] + a[2] + a[3];
}

#ifdef __SSE2__
/* Read two thirds of the memory, and write one third past the caches. */
static uint64_t load_and_store(char *memory, size_t size)
{
	size_t third = size / 3 / STEP * STEP;
	__m128i sum = _mm_setzero_si128();

	for (size_t i = 0; i < third; i += sizeof(sum)) {
		__m128i x = _mm_load_si128((const __m128i *)(const void *)(memory + i));
		__m128i y = _mm_load_si128((const __m128i *)(const void *)(memory + third + i));

		sum = _mm_add_epi64(x, y);
		_mm_stream_si128((__m128i *)(void *)(memory + 2 * third + i), sum);
	}
	_mm_sfence();
	return (uint64_t)_mm_cvtsi128_si32(sum);
}
#else
static uint64_t load_and_store(char *memory, size_t size)
{
	size_t third = size / 3 / STEP * STEP / sizeof(uint64_t);
	uint64_t *x = (void *)memory, *y = x + third, *z = y + third;

	for (size_t i = 0; i < third; i++)
		z[i] = x[i] + y[i];
	return z[0];
}
#endif

/* Access the memory again and again until `end`. Return the rate in bytes per ns. */
static double run_until(struct worker *w, uint64_t end)
{
	uint64_t began = stow_clock_monotonic(), now, bytes = 0, sum = 0;

	do {
		if (w->crowd->stores) {
			sum += load_and_store(w->memory, w->size);
			bytes += w->size / 3 / STEP * STEP * 3;
		} else {
			sum += load_all(w->memory, w->size);
			bytes += w->size / STEP * STEP;
		}
		now = stow_clock_monotonic();
	} while (now < end);
	__asm__ volatile("" : : "r"(sum));
	return (double)bytes / (double)(now - began);
}

/* Wait until all threads are there. Return when to begin, or 0: do not begin. */
static uint64_t await_begin(struct crowd *crowd, int r)
{
	uint64_t begin;

	pthread_mutex_lock(&crowd->lock);
	if (r < 0)
		crowd->failed = -r;
	while (!crowd->begin && !crowd->stop)
		pthread_cond_wait(&crowd->changed, &crowd->lock);
	begin = crowd->stop ? 0 : crowd->begin;
	pthread_mutex_unlock(&crowd->lock);
	return begin;
}

static void *work(void *data)
{
	struct worker *w = data;
	const struct measure_options *options = w->crowd->options;
	uint64_t begin = await_begin(w->crowd, pin(w->cpu, NULL, NULL));

	for (unsigned int i = 0; begin && i <= options->runs; i++)
		w->rates[i] = run_until(w, begin + (i + 1) * options->time);
	return NULL;
}

static void sum_up(const struct worker *workers, unsigned int n, unsigned int runs,
		   struct measure_result *ret)
{
	double values[MEASURE_RUNS_MAX] = { 0 };

	for (unsigned int i = 0; i < runs; i++)
		for (unsigned int k = 0; k < n; k++)
			/* Bytes per ns are 10^3 MB/s. */
			values[i] += 1000 * workers[k].rates[i + 1];
	measure_reduce(values, runs, true, ret);
}

static int run_crowd(struct crowd *crowd, struct worker *workers, unsigned int n,
		     struct stow_err *err)
{
	unsigned int started = 0;
	int r = 0;

	while (r == 0 && started < n) {
		r = pthread_create(&workers[started].thread, NULL, work, &workers[started]);
		started += r == 0;
	}
	pthread_mutex_lock(&crowd->lock);
	crowd->stop = r != 0;
	crowd->begin = stow_clock_monotonic();
	pthread_cond_broadcast(&crowd->changed);
	pthread_mutex_unlock(&crowd->lock);
	for (unsigned int i = 0; i < started; i++)
		pthread_join(workers[i].thread, NULL);
	if (r == 0)
		r = crowd->failed;
	return r ? stow_err_sys(err, r, "one thread on each core") : 0;
}

int measure_bandwidth(const struct measure_options *options, const struct measure_memory *memory,
		      const struct stow_idset *cpus, bool stores, struct measure_result *ret,
		      struct stow_err *err)
{
	unsigned int n = (unsigned int)stow_idset_count(cpus), at = 0;
	_cleanup_free_ struct worker *workers = calloc(n, sizeof(*workers));
	struct crowd crowd = { .options = options,
			       .stores = stores,
			       .lock = PTHREAD_MUTEX_INITIALIZER,
			       .changed = PTHREAD_COND_INITIALIZER };
	size_t part = memory->size / STOW_MAX(n, 1U) / 4096 * 4096;
	int r;

	if (!n || part < 3 * STEP)
		return stow_err_set(err, EINVAL, "a buffer of %zu bytes for %u CPUs", memory->size,
				    n);
	if (!workers)
		return stow_err_sys(err, ENOMEM, "bandwidth");
	for (int cpu = stow_idset_next(cpus, 0); cpu >= 0; cpu = stow_idset_next(cpus, cpu + 1)) {
		char *own = (char *)memory->memory + at * part;

		workers[at++] = (struct worker){ &crowd, cpu, own, part, { 0 }, 0 };
	}
	r = run_crowd(&crowd, workers, n, err);
	if (r == 0)
		sum_up(workers, n, options->runs, ret);
	return r;
}
