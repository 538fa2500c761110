// SPDX-License-Identifier: Apache-2.0
/* Which memory blocks numastow online and offline are about: a list, a range of addresses, or so
 * many that their memory has a size (as chmem(8) takes them). */
#include "cli/online.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/idlist.h"
#include "base/parse.h"
#include "pages/leave.h"

void online_choice_done(struct online_choice *choice)
{
	free(choice->ids);
	*choice = (struct online_choice){ 0 };
}

/* Check that all blocks exist, before anything is changed. */
static int check_there(const struct stow_memblocks *list, const struct online_choice *choice,
		       struct stow_err *err)
{
	for (size_t i = 0; i < choice->n; i++)
		if (!stow_memblocks_find(list, choice->ids[i]))
			return stow_memblocks_missing(list, choice->ids[i], ENOENT, err);
	return 0;
}

/* --- addresses ------------------------------------------------------------ */

/* Parse "0x40000000-0x7fffffff"; the last address is included. */
static bool parse_range(const char *text, uint64_t *ret_start, uint64_t *ret_last)
{
	if (strncmp(text, "0x", 2) != 0)
		return false;
	text += 2;
	if (!stow_scan_hex(&text, ret_start) || strncmp(text, "-0x", 3) != 0)
		return false;
	text += 3;
	return stow_scan_hex(&text, ret_last) && !*text && *ret_start <= *ret_last;
}

static int choose_range(const struct stow_memblocks *list, const char *text,
			struct online_choice *ret, struct stow_err *err)
{
	uint64_t size = list->block_size, start, last, first_id, last_id;
	char block[32];

	if (!parse_range(text, &start, &last))
		return stow_err_set(err, EINVAL,
				    "\"%.64s\" is not a range of addresses such as "
				    "0x40000000-0x7fffffff",
				    text);
	first_id = start / size;
	last_id = last / size;
	if (start % size || last % size != size - 1)
		return stow_err_set(err, EINVAL,
				    "\"%.64s\": not in whole memory blocks of %s; 0x%" PRIx64
				    "-0x%" PRIx64 " is",
				    text, stow_format_size(size, block, sizeof(block)),
				    first_id * size, last_id * size + (size - 1));
	if (last_id - first_id >= list->blocks[list->n_blocks - 1].id + 1)
		return stow_memblocks_missing(list, last_id, ENOENT, err);
	ret->ids = calloc(last_id - first_id + 1, sizeof(*ret->ids));
	if (!ret->ids)
		return stow_err_sys(err, ENOMEM, "memory blocks");
	while (first_id + ret->n <= last_id) {
		ret->ids[ret->n] = first_id + ret->n;
		ret->n++;
	}
	return check_there(list, ret, err);
}

/* --- sizes ---------------------------------------------------------------- */

/* Parse a size as chmem(8) has it: K, M, G, T are powers of 1024, as memory blocks are; all other
 * quantities are those of other options. */
static int parse_size(const char *text, uint64_t *ret, struct stow_err *err)
{
	char binary[64], why[STOW_WHY_MAX];
	size_t len = strlen(text);
	bool brief = len && strchr("KMGTPE", text[len - 1]);
	int r;

	snprintf(binary, sizeof(binary), "%.60s%s", text, brief ? "i" : "");
	r = stow_parse_quantity_why(binary, ret, why);
	if (r == 0 && *ret)
		return 0;
	if (r == 0)
		return stow_err_set(err, EINVAL, "\"%.64s\": expected at least one memory block",
				    text);
	return stow_err_set(err, -r,
			    "\"%.64s\" is not a list of memory blocks such as 48-55,60, a range "
			    "of addresses such as 0x40000000-0x7fffffff, or a size such as 4G",
			    text);
}

/* Return whether the zone that was asked for is one of those where an offline block can come
 * online. */
static bool zone_fits(const struct stow_memblock *block, enum stow_memblock_zone zone)
{
	return zone != STOW_ZONE_MOVABLE || !block->zones[0] || strstr(block->zones, "Movable");
}

/* Return in which round a block is taken for a size: 0 or 1; -1: in none. */
static int round_of(const struct stow_memblocks *list, const struct online_asked *asked,
		    const struct stow_memblock *block)
{
	struct stow_leave_verdict leave;

	if (!stow_idset_empty(&asked->nodes) &&
	    (block->node < 0 || !stow_idset_has(&asked->nodes, block->node)))
		return -1;
	if (!asked->offline)
		return block->state == STOW_MEMBLOCK_OFFLINE && zone_fits(block, asked->zone) ? 0
											      : -1;
	if (block->state != STOW_MEMBLOCK_ONLINE)
		return -1;
	leave = stow_leave_check(list, block, NULL);
	return leave.can == STOW_LEAVE_YES ? 0 : leave.can == STOW_LEAVE_UNKNOWN ? 1 : -1;
}

static int too_few(const struct stow_memblocks *list, const struct online_asked *asked, size_t n,
		   struct stow_err *err)
{
	char amount[32], size[40], nodes[160] = "", node_list[128];

	if (!stow_idset_empty(&asked->nodes))
		snprintf(nodes, sizeof(nodes), " of NUMA node %s",
			 stow_idset_format(&asked->nodes, node_list, sizeof(node_list)));
	stow_format_size(n * list->block_size, amount, sizeof(amount));
	snprintf(size, sizeof(size), "%s%s", n ? amount : "no", n ? " of" : "");
	if (!asked->offline)
		return stow_err_set(err, ENOSPC, "\"%.64s\": %s memory%s is offline%s", asked->what,
				    size, nodes,
				    asked->zone == STOW_ZONE_MOVABLE
					    ? " and can come online in zone Movable"
					    : "");
	return stow_err_set(err, ENOSPC,
			    "\"%.64s\": %s memory%s is online and may be able to go offline; "
			    "`numastow blocks` says why the rest cannot",
			    asked->what, size, nodes);
}

/* Take blocks from the lowest to come online, and from the highest to go offline, as chmem(8)
 * does; first those that are sure to be able to. */
static int choose_size(const struct stow_memblocks *list, const struct online_asked *asked,
		       struct online_choice *ret, struct stow_err *err)
{
	uint64_t size = list->block_size;
	char block[32];
	int r = parse_size(asked->what, &ret->size, err);

	if (r < 0)
		return r;
	if (ret->size % size)
		return stow_err_set(
			err, EINVAL,
			"\"%.64s\": memory blocks have %s here: expected a multiple of it",
			asked->what, stow_format_size(size, block, sizeof(block)));
	ret->ids = calloc(list->n_blocks + 1, sizeof(*ret->ids));
	if (!ret->ids)
		return stow_err_sys(err, ENOMEM, "memory blocks");
	for (int round = 0; round <= 1; round++)
		for (size_t i = 0; i < list->n_blocks; i++) {
			size_t at = asked->offline ? list->n_blocks - 1 - i : i;

			if (round_of(list, asked, &list->blocks[at]) == round)
				ret->ids[ret->n++] = list->blocks[at].id;
		}
	ret->wanted = ret->size / size;
	return ret->wanted > ret->n ? too_few(list, asked, ret->n, err) : 0;
}

/* --- all ------------------------------------------------------------------ */

static int choose_list(const struct stow_memblocks *list, const char *text,
		       struct online_choice *ret, struct stow_err *err)
{
	int r = stow_idlist_parse(text, &ret->ids, &ret->n, err);

	return r < 0 ? r : check_there(list, ret, err);
}

int online_choose(const struct stow_memblocks *list, const struct online_asked *asked,
		  struct online_choice *ret, struct stow_err *err)
{
	bool range = strncmp(asked->what, "0x", 2) == 0;
	bool digits = strspn(asked->what, "0123456789,-:") == strlen(asked->what);
	int r;

	*ret = (struct online_choice){ 0 };
	if (!list->n_blocks)
		return stow_err_set(err, EOPNOTSUPP,
				    "/sys/devices/system/memory has no memory blocks: no memory "
				    "hotplug, or no sysfs");
	if (!stow_idset_empty(&asked->nodes) && (range || digits))
		return stow_err_set(err, EINVAL, "--node is for a size, and \"%.64s\" is none",
				    asked->what);
	if (digits)
		r = choose_list(list, asked->what, ret, err);
	else if (range)
		r = choose_range(list, asked->what, ret, err);
	else
		r = choose_size(list, asked, ret, err);
	if (r < 0)
		online_choice_done(ret);
	else if (!ret->size)
		ret->wanted = ret->n;
	return r;
}
