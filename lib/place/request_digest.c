// SPDX-License-Identifier: Apache-2.0
/* Whether two requests are the same: by a digest of their numbers, never by text about them. */
#include <stdio.h>
#include <string.h>

#include "place/request.h"

__extension__ typedef unsigned __int128 u128;

/* FNV-1a of 128 bits (draft-eastlake-fnv): the parameters as two halves each. */
#define FNV_BASIS ((u128)UINT64_C(0x6c62272e07bb0142) << 64 | UINT64_C(0x62b821756295c58d))
#define FNV_PRIME ((u128)UINT64_C(0x0000000001000000) << 64 | UINT64_C(0x000000000000013b))

static void add_byte(u128 *hash, unsigned char byte)
{
	*hash = (*hash ^ byte) * FNV_PRIME;
}

/* Least significant byte first, on every machine. */
static void add_number(u128 *hash, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		add_byte(hash, (unsigned char)(v >> (8 * i)));
}

/* What has a length of its own comes behind it, so that no two sequences of fields run together. */
static void add_text(u128 *hash, const char *text)
{
	size_t len = strlen(text);

	add_number(hash, len);
	for (size_t i = 0; i < len; i++)
		add_byte(hash, (unsigned char)text[i]);
}

static void add_nodes(u128 *hash, const struct stow_request *request)
{
	add_number(hash, request->nodes_auto);
	if (request->nodes_auto)
		return;
	add_number(hash, stow_idset_count(&request->nodes));
	STOW_IDSET_FOR(node, &request->nodes)
		add_number(hash, (uint64_t)node);
}

void stow_request_digest(const struct stow_request *request, char ret[static STOW_DIGEST_LEN + 1])
{
	u128 hash = FNV_BASIS;

	add_text(&hash, "numastow request 1");
	add_number(&hash, request->cpus);
	add_text(&hash, stow_cpu_mode_name(request->cpu_mode));
	add_number(&hash, request->memory);
	add_number(&hash, request->n_pages);
	for (size_t i = 0; i < request->n_pages; i++) {
		add_number(&hash, request->pages[i].size);
		add_number(&hash, request->pages[i].count);
	}
	add_text(&hash, stow_policy_name(request->policy));
	add_number(&hash, request->scope == STOW_SCOPE_POD);
	add_nodes(&hash, request);
	add_text(&hash, stow_memory_policy_name(request->memory_policy));
	add_text(&hash, request->near);
	for (int i = 0; i < STOW_DIGEST_LEN; i++)
		ret[i] =
			"0123456789abcdef"[(unsigned int)(hash >> (4 * (STOW_DIGEST_LEN - 1 - i))) &
					   15];
	ret[STOW_DIGEST_LEN] = '\0';
}
