/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A digest of numbers and text, to compare two things: FNV-1a of 128 bits (draft-eastlake-fnv), the
 * same on every machine. It protects against chance, not against attackers.
 */

#include <stdint.h>

#include "base/idset.h"

#define STOW_DIGEST_LEN 32 /* characters */

__extension__ typedef unsigned __int128 stow_u128;

struct stow_digest {
	stow_u128 hash;
};

/* Begin a digest. `name` says what is digested and by which rules. */
void stow_digest_begin(struct stow_digest *digest, const char *name);
void stow_digest_number(struct stow_digest *digest, uint64_t v);
/* A text or set is preceded by its length, so that different sequences of fields never give the
 * same bytes. */
void stow_digest_text(struct stow_digest *digest, const char *text);
void stow_digest_set(struct stow_digest *digest, const struct stow_idset *set);
/* Write lower-case hexadecimal digits and a terminating null byte. */
void stow_digest_end(const struct stow_digest *digest, char ret[static STOW_DIGEST_LEN + 1]);
