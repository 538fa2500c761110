/*
 * Be a busy machine, for the tests in virtual machines: allocate, free, write files, fork, without
 * end, and check every content.
 *
 *   load [--mib MIB] [--seed N] DIR
 *
 * Those that share DIR need seeds of their own, which name their files.
 * Never holds more than MIB (64) of memory and of files each. SIGUSR1 prints "rounds N good"; a
 * content that is wrong ends it with "BAD ..." and exit code 3. Ends on SIGTERM, with its files
 * removed.
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
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	 4096
#define PIECES	 8
#define CHUNK	 65536
#define PER_PAGE (PAGE / sizeof(uint64_t))

struct piece {
	uint64_t *memory;
	size_t size;
	uint64_t seed;
};

static struct piece pieces[PIECES];
static volatile sig_atomic_t ended, asked;
static uint64_t state;

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		asked = 1;
	else
		ended = 1;
}

static uint64_t mix(uint64_t at)
{
	at += UINT64_C(0x9e3779b97f4a7c15);
	at = (at ^ (at >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	return at ^ (at >> 27);
}

static uint64_t next(void)
{
	state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return state >> 16;
}

static void bad(const char *what)
{
	printf("BAD %s (%s)\n", what, strerror(errno));
	fflush(stdout);
	_exit(3);
}

/* One word of a page is enough to tell a page that got lost from one that did not. */
static void check(const struct piece *piece, const char *what)
{
	for (size_t i = 0; i < piece->size / 8; i += PER_PAGE)
		if (piece->memory[i] != mix(piece->seed ^ i))
			bad(what);
}

static void write_pages(struct piece *piece)
{
	piece->seed = next();
	for (size_t i = 0; i < piece->size / 8; i += PER_PAGE)
		piece->memory[i] = mix(piece->seed ^ i);
}

static void renew(struct piece *piece, size_t most)
{
	if (piece->memory) {
		check(piece, "memory");
		munmap(piece->memory, piece->size);
	}
	piece->size = (1 + next() % (most / PAGE)) * PAGE;
	piece->memory =
		mmap(NULL, piece->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (piece->memory == MAP_FAILED)
		bad("mmap");
	write_pages(piece);
}

/* A child changes what is its parent's, page by page, and sees its own. */
static void fork_one(struct piece *piece)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		bad("fork");
	if (pid == 0) {
		write_pages(piece);
		check(piece, "a child's memory");
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			bad("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		bad("a child");
	check(piece, "memory after a fork");
}

static void file_one(const char *path, size_t most)
{
	size_t size = (1 + next() % (most / CHUNK)) * CHUNK;
	static uint64_t chunk[CHUNK / 8], again[CHUNK / 8];
	uint64_t seed = next();
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		bad(path);
	for (int pass = 0; pass < 2; pass++) {
		for (size_t at = 0; at < size; at += CHUNK) {
			for (size_t i = 0; i < CHUNK / 8; i++)
				chunk[i] = mix(seed ^ (at + i));
			if (pass == 0 && pwrite(fd, chunk, CHUNK, (off_t)at) != CHUNK)
				bad("write");
			if (pass == 1 && (pread(fd, again, CHUNK, (off_t)at) != CHUNK ||
					  memcmp(chunk, again, CHUNK) != 0))
				bad("a file");
		}
	}
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
		{ "mib", required_argument, NULL, 'm' },
		{ "seed", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	size_t most = 64 << 20;
	unsigned long rounds = 0;
	char path[PIECES][4096];
	int opt;

	while ((opt = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (opt == 'm')
			most = strtoul(optarg, NULL, 10) << 20;
		else if (opt == 's')
			state = strtoul(optarg, NULL, 10);
		else
			return 1;
	}
	if (optind != argc - 1 || most < 1 << 20) {
		fputs("usage: load [--mib MIB] [--seed N] DIR\n", stderr);
		return 1;
	}
	/* By the seed, not by the process: in containers everybody is process 1. */
	for (int i = 0; i < PIECES; i++)
		snprintf(path[i], sizeof(path[i]), "%s/load-%llu-%d", argv[optind],
			 (unsigned long long)state, i);
	state = mix(state);
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	puts("ready");
	fflush(stdout);
	for (; !ended; rounds++) {
		struct piece *piece = &pieces[next() % PIECES];

		renew(piece, most / PIECES);
		if (next() % 4 == 0)
			fork_one(piece);
		file_one(path[next() % PIECES], most / PIECES);
		if (next() % 4 == 0)
			unlink(path[next() % PIECES]);
		if (asked) {
			asked = 0;
			for (int i = 0; i < PIECES; i++)
				if (pieces[i].memory)
					check(&pieces[i], "memory");
			printf("rounds %lu good\n", rounds);
			fflush(stdout);
		}
	}
	for (int i = 0; i < PIECES; i++)
		unlink(path[i]);
	printf("rounds %lu good\n", rounds);
	return 0;
}
