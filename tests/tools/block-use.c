// SPDX-License-Identifier: Apache-2.0
/*
 * Prints what is in memory blocks, and what keeps a block online, as lines for tests.
 *
 *	block-use BLOCK...		"block ID KIND PAGES ...", "pool ID BYTES PAGES USED",
 *					"owner ID PATH CONTAINER KIND PAGES ..."; omits kinds
 *					without pages
 *	block-use --suspects BLOCK	suspects: stow_culprits_suspect()
 *	block-use --stuck PFN...	owners of page frames (hexadecimal): stow_culprits_prove()
 *	block-use --offline BLOCK S	try for S seconds, and print culprits from the kernel's log
 *	block-use --holds PID		stow_process_holds()
 *
 * --sysroot DIR, before all of these: use a copied tree.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cgroup/paths.h"
#include "node/memblock.h"
#include "pages/culprit.h"
#include "pages/holds.h"
#include "pages/kind.h"
#include "pages/kmsg.h"
#include "pages/owners.h"

static int complain(const struct stow_err *err)
{
	fprintf(stderr, "block-use: %s\n", err->msg);
	return 1;
}

static void print_kinds(const uint64_t pages[STOW_PAGE_KINDS])
{
	for (int kind = 0; kind < STOW_PAGE_KINDS; kind++)
		if (pages[kind])
			printf(" %s %" PRIu64, stow_page_kind_name((enum stow_page_kind)kind),
			       pages[kind]);
	putchar('\n');
}

static int print_block(struct stow_root *root, const struct stow_block_use *use,
		       struct stow_err *err)
{
	_cleanup_free_ uint64_t *inodes = calloc(use->n_owners + 1, sizeof(*inodes));
	_cleanup_free_ char **paths = calloc(use->n_owners + 1, sizeof(*paths));
	char id[256];

	if (!inodes || !paths)
		return stow_err_set(err, ENOMEM, "out of memory");
	printf("block %" PRIu64 " mapped %" PRIu64 " unevictable %" PRIu64, use->id, use->mapped,
	       use->unevictable);
	print_kinds(use->pages);
	for (size_t i = 0; i < use->n_pools; i++)
		printf("pool %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", use->id,
		       use->pools[i].size, use->pools[i].pages, use->pools[i].used);
	for (size_t i = 0; i < use->n_owners; i++)
		inodes[i] = use->owners[i].inode;
	if (stow_cgroup_paths(root, inodes, use->n_owners, paths, err) < 0)
		return -err->code;
	for (size_t i = 0; i < use->n_owners; i++) {
		if (paths[i])
			stow_cgroup_container(paths[i], id, sizeof(id));
		else
			id[0] = '\0';
		printf("owner %" PRIu64 " %s %s", use->id, paths[i] ? paths[i] : "-",
		       id[0] ? id : "-");
		print_kinds(use->owners[i].pages);
		free(paths[i]);
	}
	return 0;
}

static void print_culprits(const struct stow_culprits *culprits)
{
	char line[1024];

	for (size_t i = 0; i < culprits->n; i++) {
		const struct stow_culprit *c = &culprits->list[i];

		printf("culprit pfn=%" PRIx64 " pages=%" PRIu64 " kind=%s proven=%d cgroup=%s "
		       "container=%s pid=%d program=%s file=%s\n",
		       c->pfn, c->pages, stow_page_kind_name(c->kind), c->proven, c->cgroup,
		       c->container, (int)c->pid, c->program, c->file);
		printf("says %s\n", stow_culprit_format(c, line, sizeof(line)));
		printf("advice %s\n", c->advice);
	}
}

static int use(struct stow_root *root, char **argv, bool suspects, struct stow_err *err)
{
	_cleanup_(stow_memblocks_done) struct stow_memblocks blocks = { 0 };
	int r = stow_memblocks_read(root, 0, &blocks, err);

	for (; r == 0 && *argv; argv++) {
		_cleanup_(stow_use_done) struct stow_use one = { 0 };
		_cleanup_(stow_culprits_done) struct stow_culprits culprits = { 0 };
		uint64_t id;

		r = stow_parse_u64(*argv, UINT64_MAX, &id, err);
		if (r == 0)
			r = stow_use_read(root, &blocks, &id, 1, &one, err);
		if (r == 0 && !suspects)
			r = print_block(root, &one.blocks[0], err);
		if (r == 0 && suspects)
			r = stow_culprits_suspect(root, &one.blocks[0], &culprits, err);
		print_culprits(&culprits);
	}
	return r;
}

static int prove(struct stow_root *root, const uint64_t *pfns, size_t n, struct stow_err *err)
{
	_cleanup_(stow_culprits_done) struct stow_culprits culprits = { 0 };
	int r = stow_culprits_prove(root, pfns, n, &culprits, err);

	if (r == 0)
		print_culprits(&culprits);
	return r;
}

static int stuck(struct stow_root *root, char **argv, struct stow_err *err)
{
	uint64_t pfns[64];
	size_t n = 0;

	for (; *argv && n < 64; argv++)
		pfns[n++] = strtoull(*argv, NULL, 16);
	return prove(root, pfns, n, err);
}

/* Do what "timeout -s INT S sh -c 'echo offline >state'" does in a shell. Prints "offline" and
 * the result. */
static int try_offline(uint64_t id, unsigned int seconds)
{
	char path[96];
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%" PRIu64 "/state", id);
	pid = fork();
	if (pid == 0) {
		int fd = open(path, O_WRONLY | O_CLOEXEC);

		signal(SIGALRM, SIG_DFL);
		alarm(seconds);
		_exit(fd >= 0 && write(fd, "offline", 7) == 7 ? 0 : errno);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFSIGNALED(status) ? -ETIMEDOUT : -WEXITSTATUS(status);
}

static int offline(struct stow_root *root, char **argv, struct stow_err *err)
{
	_cleanup_(stow_memblocks_done) struct stow_memblocks blocks = { 0 };
	_cleanup_free_ uint64_t *pfns = NULL;
	_cleanup_close_ int fd = -EBADF;
	uint64_t id, seconds, pages;
	size_t n = 0;
	int r;

	if (!argv[0] || !argv[1] || stow_parse_u64(argv[0], 1 << 24, &id, err) < 0 ||
	    stow_parse_u64(argv[1], 1000, &seconds, err) < 0)
		return stow_err_set(err, EINVAL, "--offline BLOCK SECONDS");
	r = stow_memblocks_read(root, 0, &blocks, err);
	if (r < 0)
		return r;
	fd = stow_kmsg_open(root, err);
	if (fd < 0)
		return fd;
	r = try_offline(id, (unsigned int)seconds);
	printf("offline %s\n", r ? strerror(-r) : "done");
	pages = blocks.block_size / (uint64_t)sysconf(_SC_PAGESIZE);
	r = stow_kmsg_stuck(fd, id * pages, (id + 1) * pages, &pfns, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		printf("stuck %" PRIx64 "\n", pfns[i]);
	return n ? prove(root, pfns, n, err) : 0;
}

int main(int argc, char **argv)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	struct stow_err err = { 0 };
	const char *sysroot = "/";
	char buf[128];
	int r;

	argv++;
	if (*argv && strcmp(*argv, "--sysroot") == 0 && argv[1]) {
		sysroot = argv[1];
		argv += 2;
	}
	if (!*argv) {
		fputs("usage: block-use [--sysroot DIR] [--suspects|--stuck|--offline|--holds] "
		      "ARG...\n",
		      stderr);
		return 2;
	}
	if (stow_root_open(sysroot, &root, &err) < 0)
		return complain(&err);
	if (strcmp(*argv, "--stuck") == 0) {
		r = stuck(root, argv + 1, &err);
	} else if (strcmp(*argv, "--offline") == 0) {
		r = offline(root, argv + 1, &err);
	} else if (strcmp(*argv, "--holds") == 0 && argv[1]) {
		puts(stow_process_holds(root, (pid_t)strtol(argv[1], NULL, 10), buf, sizeof(buf)));
		r = 0;
	} else if (strcmp(*argv, "--suspects") == 0) {
		r = use(root, argv + 1, true, &err);
	} else {
		r = use(root, argv, false, &err);
	}
	return r < 0 ? complain(&err) : 0;
}
