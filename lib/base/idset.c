// SPDX-License-Identifier: Apache-2.0
#include "base/idset.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/idlist.h"

#define WORDS (STOW_IDSET_MAX / 64)

static int add_range(void *ctx, uint64_t lo, uint64_t hi)
{
	for (uint64_t id = lo; id <= hi; id++)
		stow_idset_add(ctx, (int)id);
	return 0;
}

int stow_idset_parse(const char *text, struct stow_idset *ret_set, struct stow_err *err)
{
	struct stow_idset set = { 0 };
	int r = stow_idlist_scan(text, STOW_IDSET_MAX - 1, add_range, &set);

	if (r == -ERANGE)
		return stow_err_set(err, ERANGE, "\"%.64s\": numbers must be below %d", text,
				    STOW_IDSET_MAX);
	if (r < 0)
		return stow_err_set(err, EINVAL, "\"%.64s\" is not a list like 0-3,8", text);
	*ret_set = set;
	return 0;
}

/* Find the range that starts at or above `from`; false when there is none. */
static bool next_range(const struct stow_idset *set, int from, int *lo, int *hi)
{
	*lo = stow_idset_next(set, from);
	if (*lo < 0)
		return false;
	*hi = *lo;
	while (stow_idset_has(set, *hi + 1))
		(*hi)++;
	return true;
}

/* Append ranges while they fit with `reserve` bytes to spare. Return the number of bytes written,
 * or -E2BIG when something was left out. */
static int format_ranges(const struct stow_idset *set, char *buf, size_t size, size_t *ret_len)
{
	size_t len = 0;
	int lo, hi;

	buf[0] = '\0';
	for (int from = 0; next_range(set, from, &lo, &hi); from = hi + 1) {
		char item[32];
		int n;

		n = lo == hi ? snprintf(item, sizeof(item), "%s%d", len ? "," : "", lo)
			     : snprintf(item, sizeof(item), "%s%d-%d", len ? "," : "", lo, hi);
		if (len + (size_t)n >= size) {
			*ret_len = len;
			return -E2BIG;
		}
		memcpy(buf + len, item, (size_t)n + 1);
		len += (size_t)n;
	}
	*ret_len = len;
	return 0;
}

const char *stow_idset_format(const struct stow_idset *set, char *buf, size_t size)
{
	size_t len;

	if (size < 4) {
		if (size)
			buf[0] = '\0';
		return buf;
	}
	if (format_ranges(set, buf, size - 3, &len) < 0)
		memcpy(buf + len, "...", 4);
	return buf;
}

char *stow_idset_to_list(const struct stow_idset *set)
{
	/* The longest list is every second number, at most five bytes each. */
	size_t size = stow_idset_count(set) * 6 + 1, len;
	char *buf = malloc(size);

	if (buf)
		(void)format_ranges(set, buf, size, &len);
	return buf;
}

size_t stow_idset_to_bytes(const struct stow_idset *set, uint8_t ret[static STOW_IDSET_MAX / 8])
{
	size_t n = 0;

	memset(ret, 0, STOW_IDSET_MAX / 8);
	STOW_IDSET_FOR(id, set) {
		ret[id / 8] |= (uint8_t)(1U << (id % 8));
		n = (size_t)id / 8 + 1;
	}
	return n;
}

void stow_idset_from_bytes(const uint8_t *bytes, size_t n, struct stow_idset *ret)
{
	*ret = (struct stow_idset){ 0 };
	for (size_t id = 0; id < n * 8 && id < STOW_IDSET_MAX; id++)
		if (bytes[id / 8] & (1U << (id % 8)))
			stow_idset_add(ret, (int)id);
}

size_t stow_idset_count(const struct stow_idset *set)
{
	size_t n = 0;

	for (int i = 0; i < WORDS; i++)
		n += (size_t)__builtin_popcountll(set->bits[i]);
	return n;
}

bool stow_idset_empty(const struct stow_idset *set)
{
	static const struct stow_idset none;

	return stow_idset_equal(set, &none);
}

bool stow_idset_equal(const struct stow_idset *a, const struct stow_idset *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* The next two look at all words, several at once: a branch after each takes twice as long. */
bool stow_idset_subset(const struct stow_idset *inner, const struct stow_idset *outer)
{
	uint64_t outside = 0;

	for (int i = 0; i < WORDS; i++)
		outside |= inner->bits[i] & ~outer->bits[i];
	return !outside;
}

bool stow_idset_intersects(const struct stow_idset *a, const struct stow_idset *b)
{
	uint64_t both = 0;

	for (int i = 0; i < WORDS; i++)
		both |= a->bits[i] & b->bits[i];
	return both;
}

int stow_idset_next(const struct stow_idset *set, int from)
{
	uint64_t word;
	int w;

	if (from < 0)
		from = 0;
	if (from >= STOW_IDSET_MAX)
		return -1;
	w = from / 64;
	word = set->bits[w] & (~UINT64_C(0) << (from % 64));
	while (!word) {
		if (++w == WORDS)
			return -1;
		word = set->bits[w];
	}
	return w * 64 + __builtin_ctzll(word);
}

int stow_idset_nth(const struct stow_idset *set, uint64_t n)
{
	STOW_IDSET_FOR(id, set)
		if (n-- == 0)
			return id;
	return -1;
}

void stow_idset_or(struct stow_idset *dst, const struct stow_idset *src)
{
	for (int i = 0; i < WORDS; i++)
		dst->bits[i] |= src->bits[i];
}

void stow_idset_and(struct stow_idset *dst, const struct stow_idset *src)
{
	for (int i = 0; i < WORDS; i++)
		dst->bits[i] &= src->bits[i];
}

void stow_idset_minus(struct stow_idset *dst, const struct stow_idset *src)
{
	for (int i = 0; i < WORDS; i++)
		dst->bits[i] &= ~src->bits[i];
}
