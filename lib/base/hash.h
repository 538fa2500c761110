/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A hash table of things that carry their own link, keyed by a number that is itself a hash.
 * Finding and removing cannot fail. */

#include <stddef.h>
#include <stdint.h>

struct stow_link {
	struct stow_link *next;
	uint64_t key;
};

struct stow_hash {
	struct stow_link **buckets;
	size_t n_buckets; /* a power of two, or 0 */
	size_t n;
};

/* -ENOMEM. The key may be there already: both are found then. */
int stow_hash_add(struct stow_hash *hash, struct stow_link *link, uint64_t key);
void stow_hash_remove(struct stow_hash *hash, struct stow_link *link);
/* The first with that key; the next one of the same key with stow_hash_next(). */
struct stow_link *stow_hash_find(const struct stow_hash *hash, uint64_t key);
struct stow_link *stow_hash_next(const struct stow_link *link);
void stow_hash_done(struct stow_hash *hash); /* the table, not what is in it */

/* FNV-1a, of a string or of bytes. */
uint64_t stow_hash_string(const char *text);
uint64_t stow_hash_bytes(const void *bytes, size_t len);

/* Every link: STOW_HASH_FOR(link, hash). The link may be removed, and freed, within. */
#define STOW_HASH_FOR(link, hash)                                          \
	for (size_t _b = 0; _b < (hash)->n_buckets; _b++)                  \
		for (struct stow_link *link = (hash)->buckets[_b], *_next; \
		     link && ((_next = link->next), 1); link = _next)

#define stow_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
