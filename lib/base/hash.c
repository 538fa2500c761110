// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 64

/* Keys may be small or random numbers: the multiplication mixes the lower bits into the upper half
 * (Fibonacci hashing). */
static struct stow_link **bucket(const struct stow_hash *hash, uint64_t key)
{
	uint64_t mixed = key * UINT64_C(0x9e3779b97f4a7c15);

	return &hash->buckets[(mixed >> 32) & (hash->n_buckets - 1)];
}

static int grow(struct stow_hash *hash)
{
	size_t n = hash->n_buckets ? hash->n_buckets * 2 : BUCKETS_MIN;
	struct stow_hash more = { .buckets = calloc(n, sizeof(*more.buckets)), .n_buckets = n };

	if (!more.buckets)
		return -ENOMEM;
	STOW_HASH_FOR(link, hash)
	{
		struct stow_link **to = bucket(&more, link->key);

		link->next = *to;
		*to = link;
	}
	free(hash->buckets);
	hash->buckets = more.buckets;
	hash->n_buckets = n;
	return 0;
}

int stow_hash_add(struct stow_hash *hash, struct stow_link *link, uint64_t key)
{
	struct stow_link **to;

	if (hash->n >= hash->n_buckets && grow(hash) < 0)
		return -ENOMEM;
	link->key = key;
	to = bucket(hash, key);
	link->next = *to;
	*to = link;
	hash->n++;
	return 0;
}

void stow_hash_remove(struct stow_hash *hash, struct stow_link *link)
{
	struct stow_link **at = bucket(hash, link->key);

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	hash->n--;
}

static struct stow_link *first_with(struct stow_link *link, uint64_t key)
{
	while (link && link->key != key)
		link = link->next;
	return link;
}

struct stow_link *stow_hash_find(const struct stow_hash *hash, uint64_t key)
{
	return hash->n ? first_with(*bucket(hash, key), key) : NULL;
}

struct stow_link *stow_hash_next(const struct stow_link *link)
{
	return first_with(link->next, link->key);
}

void stow_hash_done(struct stow_hash *hash)
{
	free(hash->buckets);
	*hash = (struct stow_hash){ 0 };
}

uint64_t stow_hash_bytes(const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return h;
}

uint64_t stow_hash_string(const char *text)
{
	return stow_hash_bytes(text, strlen(text));
}
