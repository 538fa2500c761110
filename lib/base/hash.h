/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A hash table of structs that contain their own link, with a number as key that is itself a hash.
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

/* Add a link. The key may exist already: both are found then. Fails only with -ENOMEM. */
int stow_hash_add(struct stow_hash *hash, struct stow_link *link, uint64_t key);
void stow_hash_remove(struct stow_hash *hash, struct stow_link *link);
/* Find the first link with that key; stow_hash_next() returns the next one with the same key. */
struct stow_link *stow_hash_find(const struct stow_hash *hash, uint64_t key);
struct stow_link *stow_hash_next(const struct stow_link *link);
void stow_hash_done(struct stow_hash *hash); /* frees the table, not the structs in it */

/* Hash a string or bytes with FNV-1a. */
uint64_t stow_hash_string(const char *text);
uint64_t stow_hash_bytes(const void *bytes, size_t len);

/* Visit every link: STOW_HASH_FOR(link, hash). The body may remove and free the link. */
#define STOW_HASH_FOR(link, hash)                                          \
	for (size_t _b = 0; _b < (hash)->n_buckets; _b++)                  \
		for (struct stow_link *link = (hash)->buckets[_b], *_next; \
		     link && ((_next = link->next), 1); link = _next)

#define stow_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
