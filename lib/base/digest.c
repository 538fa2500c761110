// SPDX-License-Identifier: Apache-2.0
#include "base/digest.h"

#include <string.h>

/* The parameters, each as two halves. */
#define FNV_BASIS ((stow_u128)UINT64_C(0x6c62272e07bb0142) << 64 | UINT64_C(0x62b821756295c58d))
#define FNV_PRIME ((stow_u128)UINT64_C(0x0000000001000000) << 64 | UINT64_C(0x000000000000013b))

static void add_byte(struct stow_digest *digest, unsigned char byte)
{
	digest->hash = (digest->hash ^ byte) * FNV_PRIME;
}

/* Least significant byte first, on every machine. */
void stow_digest_number(struct stow_digest *digest, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		add_byte(digest, (unsigned char)(v >> (8 * i)));
}

void stow_digest_text(struct stow_digest *digest, const char *text)
{
	size_t len = strlen(text);

	stow_digest_number(digest, len);
	for (size_t i = 0; i < len; i++)
		add_byte(digest, (unsigned char)text[i]);
}

void stow_digest_set(struct stow_digest *digest, const struct stow_idset *set)
{
	stow_digest_number(digest, stow_idset_count(set));
	STOW_IDSET_FOR(id, set)
		stow_digest_number(digest, (uint64_t)id);
}

void stow_digest_begin(struct stow_digest *digest, const char *name)
{
	digest->hash = FNV_BASIS;
	stow_digest_text(digest, name);
}

void stow_digest_end(const struct stow_digest *digest, char ret[static STOW_DIGEST_LEN + 1])
{
	for (int i = 0; i < STOW_DIGEST_LEN; i++)
		ret[i] = "0123456789abcdef"[(unsigned int)(digest->hash >>
							   (4 * (STOW_DIGEST_LEN - 1 - i))) &
					    15];
	ret[STOW_DIGEST_LEN] = '\0';
}
