// SPDX-License-Identifier: Apache-2.0
/* numastow online, offline: memory blocks, by number. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/idlist.h"
#include "base/log.h"
#include "base/parse.h"
#include "cli/blame.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "node/hotplug.h"
#include "node/memblock.h"

#define OFFLINE_TIMEOUT (10 * STOW_SECOND) /* for each block */

struct asked {
	const char *sysroot, *blocks;
	bool offline;
	enum stow_memblock_zone zone;
	uint64_t timeout;
};

struct tally {
	size_t done, already, failed;
};

/* Check that all blocks exist, before anything is changed. */
static int all_there(const struct stow_memblocks *list, const uint64_t *ids, size_t n,
		     struct stow_err *err)
{
	if (!list->n_blocks)
		return stow_err_set(err, EOPNOTSUPP,
				    "this kernel has no memory blocks (no memory hotplug)");
	if (!n)
		return stow_err_set(err, EINVAL, "no memory block is named");
	for (size_t i = 0; i < n; i++)
		if (!stow_memblocks_find(list, ids[i]))
			return stow_err_set(err, ENOENT,
					    "there is no memory block %" PRIu64
					    "; they are %" PRIu64 " to %" PRIu64,
					    ids[i], list->blocks[0].id,
					    list->blocks[list->n_blocks - 1].id);
	return 0;
}

/* Return whether the block is online already, but in another zone. */
static bool in_other_zone(const struct stow_memblock *block, enum stow_memblock_zone zone)
{
	bool movable = strcmp(block->zones, "Movable") == 0;

	return block->state == STOW_MEMBLOCK_ONLINE && block->zones[0] &&
	       (zone == STOW_ZONE_MOVABLE ? !movable : zone == STOW_ZONE_KERNEL && movable);
}

static int act(struct stow_root *root, const struct asked *asked, const struct stow_memblock *block,
	       struct stow_err *err)
{
	if (asked->offline)
		return stow_memblock_offline(root, block->id, asked->timeout, NULL, NULL, err);
	if (in_other_zone(block, asked->zone))
		return stow_err_set(err, EEXIST, "it is online in zone %s; take it offline first",
				    block->zones);
	return stow_memblock_online(root, block->id, asked->zone, err);
}

/* Return whether an error would be the same for every block. */
static bool fails_for_all(int r)
{
	return r == -EPERM || r == -EACCES || r == -EROFS || r == -EOPNOTSUPP;
}

/* Strip the block's number, with which the line begins already. */
static const char *without_block(const char *msg)
{
	const char *colon = strncmp(msg, "memory block ", 13) == 0 ? strstr(msg, ": ") : NULL;

	return colon ? colon + 2 : msg;
}

static int act_on_all(struct stow_root *root, const struct asked *asked,
		      const struct stow_memblocks *list, const uint64_t *ids, size_t n,
		      struct tally *tally, struct stow_err *err)
{
	_cleanup_close_ int kmsg = asked->offline ? cli_blame_open(root) : -EBADF;

	for (size_t i = 0; i < n; i++) {
		const struct stow_memblock *block = stow_memblocks_find(list, ids[i]);
		int r = act(root, asked, block, err);

		if (fails_for_all(r) && !tally->done && !tally->already && !tally->failed)
			return r;
		if (r >= 0) {
			printf("%" PRIu64 ": %s\n", ids[i], r ? "done" : "already");
			(*(r ? &tally->done : &tally->already))++;
			continue;
		}
		tally->failed++;
		printf("%" PRIu64 ": failed: %s\n", ids[i], without_block(err->msg));
		if (r == -ETIMEDOUT || r == -EBUSY)
			cli_blame(root, kmsg, list, ids[i]);
		fflush(stdout);
	}
	return 0;
}

static void audit(const struct stow_root *root, const struct asked *asked,
		  const struct tally *tally)
{
	const struct stow_log_field fields[] = {
		{ "NUMASTOW_ACTION", asked->offline ? "offline" : "online" },
	};
	char line[512];

	if (!root->live || !tally->done)
		return;
	snprintf(line, sizeof(line), "%zu of the memory blocks %.300s went %s", tally->done,
		 asked->blocks, asked->offline ? "offline" : "online");
	stow_log_audit(STOW_LOG_NOTICE, line, fields, STOW_ARRAY_SIZE(fields));
}

static int run(const struct asked *asked)
{
	_cleanup_(stow_memblocks_done_ptr) struct stow_memblocks list = { 0 };
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	_cleanup_free_ uint64_t *ids = NULL;
	struct stow_err err = { 0 };
	struct tally tally = { 0 };
	size_t n = 0;
	int r;

	r = stow_idlist_parse(asked->blocks, &ids, &n, &err);
	if (r == 0)
		r = stow_root_open(asked->sysroot, &root, &err);
	if (r == 0)
		r = stow_memblocks_read(root, STOW_MEMBLOCK_ZONES, &list, &err);
	if (r == 0)
		r = all_there(&list, ids, n, &err);
	if (r == 0 && root->live && geteuid() != 0)
		r = stow_err_set(&err, EPERM,
				 "only the machine's root may take memory online or offline");
	if (r == 0)
		r = act_on_all(root, asked, &list, ids, n, &tally, &err);
	if (r < 0)
		return cli_fail(&err);
	audit(root, asked, &tally);
	printf("%zu done, %zu already, %zu failed\n", tally.done, tally.already, tally.failed);
	if (!tally.failed)
		return CLI_OK;
	return tally.done + tally.already ? CLI_PARTIAL : CLI_FAILED;
}

static int parse_arguments(int argc, char **argv, const char *name, struct asked *asked)
{
	if (optind + 1 == argc) {
		asked->blocks = argv[optind];
		return run(asked);
	}
	if (optind == argc)
		fprintf(stderr, "numastow: %s: the list of blocks is missing, such as 48-55,60\n",
			name);
	else
		fprintf(stderr, "numastow: %s takes one list of blocks, like 48-55,60\n", name);
	return cli_bad_usage(name);
}

static int parse_zone(const char *word, void *value, struct stow_err *err)
{
	enum stow_memblock_zone *zone = value;

	if (strcmp(word, "movable") == 0)
		*zone = STOW_ZONE_MOVABLE;
	else if (strcmp(word, "kernel") == 0)
		*zone = STOW_ZONE_KERNEL;
	else
		return stow_err_set(err, EINVAL, "\"%.64s\" is neither movable nor kernel", word);
	return 0;
}

static int parse_timeout(const char *text, void *value, struct stow_err *err)
{
	return stow_parse_duration(text, value, err);
}

int cmd_online(int argc, char **argv)
{
	static const struct cli_usage usage = {
		"online",
		"[--zone movable|kernel] BLOCKS",
		"Bring memory blocks online",
		"  -z, --zone ZONE    movable: what is put there can leave again; kernel: for\n"
		"                     anything. The kernel's own choice when not given\n"
		"  -s, --sysroot DIR  write to DIR, a copy of a machine's /sys\n"
		"  -h, --help         print this text\n",
		INT_MAX,
		NULL
	};
	struct asked asked = { .sysroot = "/" };
	const struct cli_option options[] = {
		{ "zone", 'z', .take = parse_zone, .value = &asked.zone },
		{ "sysroot", 's', .text = &asked.sysroot },
		{ 0 },
	};
	int r = cli_options(&usage, options, argc, argv);

	return r >= 0 ? r : parse_arguments(argc, argv, "online", &asked);
}

int cmd_offline(int argc, char **argv)
{
	static const struct cli_usage usage = {
		"offline",
		"[--timeout TIME] BLOCKS",
		"Take memory blocks offline, one after the other. The kernel moves what is in them",
		"  -t, --timeout TIME  give up on a block after this time (10s)\n"
		"  -s, --sysroot DIR   write to DIR, a copy of a machine's /sys\n"
		"  -h, --help          print this text\n",
		INT_MAX,
		NULL
	};
	struct asked asked = { .sysroot = "/", .offline = true, .timeout = OFFLINE_TIMEOUT };
	const struct cli_option options[] = {
		{ "timeout", 't', .take = parse_timeout, .value = &asked.timeout },
		{ "sysroot", 's', .text = &asked.sysroot },
		{ 0 },
	};
	int r = cli_options(&usage, options, argc, argv);

	return r >= 0 ? r : parse_arguments(argc, argv, "offline", &asked);
}
