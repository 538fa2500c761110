// SPDX-License-Identifier: Apache-2.0
/* numastow online, offline: memory blocks, by number, address or size. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"
#include "cli/blame.h"
#include "cli/cli.h"
#include "cli/online.h"
#include "cli/options.h"
#include "pages/kmsg.h"

#define OFFLINE_TIMEOUT (10 * STOW_SECOND) /* for each block */

/* Return whether the block is online already, but in another zone. */
static bool in_other_zone(const struct stow_memblock *block, enum stow_memblock_zone zone)
{
	bool movable = strcmp(block->zones, "Movable") == 0;

	return block->state == STOW_MEMBLOCK_ONLINE && block->zones[0] &&
	       (zone == STOW_ZONE_MOVABLE ? !movable : zone == STOW_ZONE_KERNEL && movable);
}

/* Return 1 when done, 0 when it was so already. */
static int act(struct stow_root *root, const struct online_asked *asked,
	       const struct stow_memblock *block, struct stow_err *err)
{
	enum stow_memblock_state other =
		asked->offline ? STOW_MEMBLOCK_ONLINE : STOW_MEMBLOCK_OFFLINE;

	if (!asked->offline && in_other_zone(block, asked->zone))
		return stow_err_set(err, EEXIST, "it is online in zone %s; take it offline first",
				    block->zones);
	if (asked->dry_run)
		return block->state == other;
	return asked->offline
		       ? stow_memblock_offline(root, block->id, asked->timeout, NULL, NULL, err)
		       : stow_memblock_online(root, block->id, asked->zone, err);
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

static void blame(struct stow_root *root, int kmsg, const struct stow_memblocks *list,
		  struct online_result *result)
{
	struct stow_err err;

	result->blamed = true;
	if (cli_blame(root, kmsg, list, result->block->id, &result->culprits, &err) < 0)
		snprintf(result->unknown, sizeof(result->unknown), "%.250s", err.msg);
}

/* Keep the result of one block. */
static void keep(struct online_results *results, struct online_result *result,
		 const struct online_asked *asked, int r, const struct stow_err *err)
{
	if (r < 0)
		result->state = ONLINE_FAILED;
	else if (r == 0)
		result->state = ONLINE_ALREADY;
	else
		result->state = asked->dry_run ? ONLINE_PLANNED : ONLINE_DONE;
	if (r < 0)
		snprintf(result->reason, sizeof(result->reason), "%s", without_block(err->msg));
	results->count[result->state]++;
	results->n++;
}

/* Act on one block after the other, until as many as wanted are as asked. */
static int act_on_all(struct stow_root *root, const struct online_asked *asked,
		      const struct stow_memblocks *list, const struct online_choice *choice,
		      struct online_results *results, struct stow_err *err)
{
	_cleanup_close_ int kmsg =
		asked->offline && !asked->dry_run ? stow_kmsg_open(root, NULL) : -EBADF;

	results->list = calloc(choice->n + 1, sizeof(*results->list));
	if (!results->list)
		return stow_err_sys(err, ENOMEM, "memory blocks");
	for (size_t i = 0; i < choice->n; i++) {
		struct online_result *result = &results->list[results->n];
		int r;

		if (results->n - results->count[ONLINE_FAILED] == choice->wanted)
			break;
		result->block = stow_memblocks_find(list, choice->ids[i]);
		r = act(root, asked, result->block, err);
		if (fails_for_all(r) && !results->n)
			return r;
		keep(results, result, asked, r, err);
		if (r == -ETIMEDOUT || r == -EBUSY)
			blame(root, kmsg, list, result);
		online_print(asked, result);
	}
	return 0;
}

static void audit(const struct stow_root *root, const struct online_asked *asked,
		  const struct online_results *results)
{
	const struct stow_log_field fields[] = {
		{ "NUMASTOW_ACTION", asked->offline ? "offline" : "online" },
	};
	char line[512];

	if (!root->live || !results->count[ONLINE_DONE])
		return;
	snprintf(line, sizeof(line), "%zu memory blocks of %.300s went %s",
		 results->count[ONLINE_DONE], asked->what, asked->offline ? "offline" : "online");
	stow_log_audit(line, fields, STOW_ARRAY_SIZE(fields));
}

/* Print the end. Return the exit code. */
static int finish(const struct online_asked *asked, const struct stow_memblocks *list,
		  const struct online_choice *choice, const struct online_results *results)
{
	size_t good = results->n - results->count[ONLINE_FAILED];
	char some[32], all[32];

	online_print_sum(asked, list, results);
	if (asked->json && online_print_json(asked, list, choice, results) < 0) {
		fputs("numastow: out of memory\n", stderr);
		return CLI_FAILED;
	}
	if (good >= choice->wanted)
		return CLI_OK;
	if (choice->size)
		fprintf(stderr, "numastow: %s of %s went %s\n",
			stow_format_size(good * list->block_size, some, sizeof(some)),
			stow_format_size(choice->size, all, sizeof(all)),
			asked->offline ? "offline" : "online");
	return good ? CLI_PARTIAL : CLI_FAILED;
}

static int run(const struct online_asked *asked)
{
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };
	_cleanup_(online_results_done) struct online_results results = { 0 };
	_cleanup_(online_choice_done) struct online_choice choice = { 0 };
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	struct stow_err err = { 0 };
	int r;

	r = stow_root_open(asked->sysroot, &root, &err);
	if (r == 0)
		r = stow_memblocks_read(root, STOW_MEMBLOCK_ZONES | STOW_MEMBLOCK_DEVICE, &list,
					&err);
	if (r < 0)
		return cli_fail(&err);
	r = online_choose(&list, asked, &choice, &err);
	if (r == -EINVAL || r == -ERANGE)
		return cli_wrong_usage(asked->offline ? "offline" : "online", "%s", err.msg);
	if (r < 0) {
		(void)cli_fail(&err);
		return r == -ENOSPC ? CLI_NOT_FIT : CLI_FAILED;
	}
	if (root->live && geteuid() != 0 && !asked->dry_run)
		r = stow_err_set(&err, EPERM,
				 "only the machine's root may take memory online or offline");
	if (r == 0)
		r = act_on_all(root, asked, &list, &choice, &results, &err);
	if (r < 0)
		return cli_fail(&err);
	audit(root, asked, &results);
	return finish(asked, &list, &choice, &results);
}

static int act_on(const char *what, const char *name, struct online_asked *asked)
{
	if (!what)
		return cli_wrong_usage(name, "which memory is missing: blocks such as 48-55,60, "
					     "addresses such as 0x40000000-0x7fffffff, or a size "
					     "such as 4G");
	asked->what = what;
	return run(asked);
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

#define COMMON_OPTIONS(a)                                                                   \
	{ "dry-run", .flag = &(a)->dry_run },                                               \
		{ "node", 'N', .take = cli_take_nodes, .value = &(a)->nodes },              \
		{ "json", 'J', .flag = &(a)->json }, { "quiet", 'q', .flag = &(a)->quiet }, \
		{ "sysroot", 's', .text = &(a)->sysroot },                                  \
	{                                                                                   \
		0                                                                           \
	}

#define COMMON_HELP                                                               \
	"  -N, --node LIST    with SIZE: of these NUMA nodes only\n"              \
	"      --dry-run      print which blocks these are, and change nothing\n" \
	"  -J, --json         print JSON\n"                                       \
	"  -q, --quiet        print errors only\n"                                \
	"  -s, --sysroot DIR  write to DIR, a copy of a machine's /sys\n"         \
	"  -h, --help         print this text\n"

int cmd_online(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "online",
		.arguments = "[OPTION...] BLOCKS | ADDRESSES | SIZE",
		.summary = "Bring memory online: blocks (48-55,60), addresses "
			   "(0x40000000-0x7fffffff), or so "
			   "much of what is offline (4G), from the lowest block",
		.options = "  -z, --zone ZONE    movable: what is put there can leave again; "
			   "kernel: for\n"
			   "                     anything. The kernel's own choice when not "
			   "given\n" COMMON_HELP,
		.words = 1,
	};
	struct online_asked asked = { .sysroot = "/" };
	const struct cli_option options[] = {
		{ "zone", 'z', .take = parse_zone, .value = &asked.zone }, COMMON_OPTIONS(&asked)
	};
	int r = cli_options(&usage, options, argc, argv);

	return r >= 0 ? r : act_on(argv[optind], "online", &asked);
}

int cmd_offline(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "offline",
		.arguments = "[OPTION...] BLOCKS | ADDRESSES | SIZE",
		.summary = "Take memory offline, one block after the other: blocks (48-55,60), "
			   "addresses "
			   "(0x40000000-0x7fffffff), or so much of what can go offline (4G), from "
			   "the highest "
			   "block. "
			   "The kernel moves what is in them",
		.options = "  -t, --timeout TIME give up on a block after this time "
			   "(10s)\n" COMMON_HELP,
		.words = 1,
	};
	struct online_asked asked = { .sysroot = "/", .offline = true, .timeout = OFFLINE_TIMEOUT };
	const struct cli_option options[] = { { "timeout", 't', .take = cli_take_time,
						.value = &asked.timeout },
					      COMMON_OPTIONS(&asked) };
	int r = cli_options(&usage, options, argc, argv);

	return r >= 0 ? r : act_on(argv[optind], "offline", &asked);
}
