/*
 * Hold memory of every kind with a known content and use it all the time, for the tests in virtual
 * machines: what a program sees of its pages leaving.
 *
 *   holder [--anon MIB] [--cache PATH:MIB] [--shared PATH:MIB] [--huge PAGES] [--busy]
 *
 * --anon    anonymous memory
 * --cache   a file that is written, and read again and again, but not mapped: page cache
 * --shared  a file, of tmpfs for instance, that is mapped
 * --huge    so many pages of the pool of 2 MiB
 * --busy    never rest; else it leaves most of a processor to others, which under emulation are few
 *
 * Fills all from a generator, prints "ready", then reads and writes pages in a random order for
 * ever. SIGUSR1: checks the whole content and prints "sum good, longest pause N us", the pause
 * between two pages since the last such line; or "sum BAD of KIND at OFFSET". Ends on SIGTERM.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE	 4096
#define PER_PAGE (PAGE / sizeof(uint64_t))
#define HUGE	 (UINT64_C(2) << 20)
#define CHUNK	 65536
#define PARTS	 8

/* Something that is held. Either memory or, for page cache, a file that is read. */
struct part {
	const char *kind;
	uint64_t seed;
	size_t size;
	volatile uint64_t *memory;
	int fd;
};

static struct part parts[PARTS];
static size_t n_parts;
static volatile sig_atomic_t ended, asked;
static int busy;

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

static uint64_t mix(uint64_t at)
{
	at += UINT64_C(0x9e3779b97f4a7c15);
	at = (at ^ (at >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	return at ^ (at >> 27);
}

/* What belongs at a place: every word of every part differs. */
static uint64_t word(const struct part *part, uint64_t at)
{
	return mix(at ^ (part->seed << 48));
}

static void die(const char *what)
{
	fprintf(stderr, "holder: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* One more part. The argument is "PATH:SIZE" for a file, else "SIZE", in units. */
static void add(const char *kind, char *arg, size_t unit)
{
	struct part *part = &parts[n_parts];
	char *colon = strrchr(arg, ':');
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;

	if (n_parts == PARTS)
		exit(1);
	*part = (struct part){ .kind = kind, .seed = n_parts + 1, .fd = -1 };
	n_parts++;
	part->size = strtoul(colon ? colon + 1 : arg, NULL, 10) * unit;
	if (!part->size)
		exit(1);
	if (colon) {
		*colon = '\0';
		part->fd = open(arg, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (part->fd < 0 || ftruncate(part->fd, (off_t)part->size) < 0)
			die(arg);
		flags = MAP_SHARED;
	}
	if (strcmp(kind, "huge") == 0)
		flags |= MAP_HUGETLB | 21 << 26; /* MAP_HUGE_SHIFT */
	if (strcmp(kind, "cache") == 0)
		return;
	part->memory = mmap(NULL, part->size, PROT_READ | PROT_WRITE, flags, part->fd, 0);
	if (part->memory == MAP_FAILED)
		die(kind);
}

static void fill(struct part *part)
{
	uint64_t chunk[CHUNK / 8];

	if (part->memory) {
		for (size_t i = 0; i < part->size / 8; i++)
			part->memory[i] = word(part, i);
		return;
	}
	for (size_t at = 0; at < part->size; at += CHUNK) {
		for (size_t i = 0; i < CHUNK / 8; i++)
			chunk[i] = word(part, at / 8 + i);
		if (pwrite(part->fd, chunk, CHUNK, (off_t)at) != CHUNK)
			die("write");
	}
	/* Clean pages, as most of a page cache are. */
	if (fdatasync(part->fd) < 0)
		die("fdatasync");
}

/* Where the content is not what it was, or the part's size. */
static size_t differs(const struct part *part)
{
	uint64_t chunk[CHUNK / 8];

	if (part->memory) {
		for (size_t i = 0; i < part->size / 8; i++)
			if (part->memory[i] != word(part, i))
				return i * 8;
		return part->size;
	}
	for (size_t at = 0; at < part->size; at += CHUNK) {
		if (pread(part->fd, chunk, CHUNK, (off_t)at) != CHUNK)
			return at;
		for (size_t i = 0; i < CHUNK / 8; i++)
			if (chunk[i] != word(part, at / 8 + i))
				return at + i * 8;
	}
	return part->size;
}

/* Read a word and, in memory, write the same. Exit when it is wrong. */
static void use(struct part *part, uint64_t random)
{
	uint64_t at = (random >> 16) % (part->size / PAGE) * PER_PAGE + (random >> 8) % PER_PAGE;
	uint64_t got;

	if (part->memory) {
		got = part->memory[at];
		part->memory[at] = got;
	} else if (pread(part->fd, &got, 8, (off_t)at * 8) != 8) {
		die("read");
	}
	if (got != word(part, at)) {
		printf("sum BAD of %s at %zu\n", part->kind, (size_t)at * 8);
		exit(3);
	}
}

static void answer(uint64_t longest)
{
	for (size_t i = 0; i < n_parts; i++) {
		size_t at = differs(&parts[i]);

		if (at < parts[i].size) {
			printf("sum BAD of %s at %zu\n", parts[i].kind, at);
			fflush(stdout);
			return;
		}
	}
	printf("sum good, longest pause %llu us\n", (unsigned long long)(longest / 1000));
	fflush(stdout);
}

static void options(int argc, char **argv)
{
	static const struct option names[] = {
		{ "anon", required_argument, NULL, 'a' },
		{ "cache", required_argument, NULL, 'c' },
		{ "shared", required_argument, NULL, 's' },
		{ "huge", required_argument, NULL, 'h' },
		{ "busy", no_argument, NULL, 'b' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (opt) {
		case 'a':
			add("anon", optarg, 1 << 20);
			break;
		case 'c':
			add("cache", optarg, 1 << 20);
			break;
		case 's':
			add("shared", optarg, 1 << 20);
			break;
		case 'h':
			add("huge", optarg, HUGE);
			break;
		case 'b':
			busy = 1;
			break;
		default:
			exit(1);
		}
	}
	if (!n_parts || optind != argc) {
		fputs("usage: holder [--anon MIB] [--cache PATH:MIB] [--shared PATH:MIB] [--huge "
		      "PAGES]\n",
		      stderr);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	uint64_t longest = 0, last, random = 1, uses = 0;

	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	options(argc, argv);
	for (size_t i = 0; i < n_parts; i++)
		fill(&parts[i]);
	puts("ready");
	fflush(stdout);
	for (last = now(); !ended; uses++) {
		uint64_t t;

		if (!busy && uses % 64 == 0)
			usleep(1000);

		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		use(&parts[(random >> 40) % n_parts], random);
		t = now();
		if (t - last > longest)
			longest = t - last;
		last = t;
		if (asked) {
			asked = 0;
			answer(longest);
			longest = 0;
			last = now();
		}
	}
	return 0;
}
