// SPDX-License-Identifier: Apache-2.0
#include "base/idlist.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"

struct numbers {
	uint64_t *ids;
	size_t n, capacity;
};

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

/* Read a decimal number up to `max` at *p and move *p behind it. */
static int scan_id(const char **p, uint64_t max, uint64_t *ret_id)
{
	uint64_t v = 0;

	*ret_id = 0;
	if (**p < '0' || **p > '9')
		return -EINVAL;
	for (; **p >= '0' && **p <= '9'; (*p)++) {
		uint64_t digit = (uint64_t)(**p - '0');

		if (digit > max || v > (max - digit) / 10)
			return -ERANGE;
		v = v * 10 + digit;
	}
	*ret_id = v;
	return 0;
}

struct range {
	uint64_t lo, hi, step;
};

/* Read "N", "N-M" or "N-M:STEP" at *p and move *p behind it. */
static int scan_range(const char **p, uint64_t max, struct range *ret)
{
	int r = scan_id(p, max, &ret->lo);

	ret->hi = ret->lo;
	ret->step = 1;
	if (r < 0 || **p != '-')
		return r;
	(*p)++;
	r = scan_id(p, max, &ret->hi);
	if (r == 0 && **p == ':') {
		(*p)++;
		r = scan_id(p, UINT64_MAX, &ret->step);
	}
	return r == 0 && (ret->hi < ret->lo || !ret->step) ? -EINVAL : r;
}

/* Call `add` for the parts of a range: itself, or with a step each number of it. */
static int add_range(const struct range *range, int (*add)(void *ctx, uint64_t lo, uint64_t hi),
		     void *ctx)
{
	int r = 0;

	if (range->step == 1)
		return add(ctx, range->lo, range->hi);
	for (uint64_t id = range->lo; r == 0; id += range->step) {
		r = add(ctx, id, id);
		if (range->hi - id < range->step)
			break;
	}
	return r;
}

int stow_idlist_scan(const char *text, uint64_t max,
		     int (*add)(void *ctx, uint64_t lo, uint64_t hi), void *ctx)
{
	const char *p = text;
	int r = 0;

	while (blank(*p))
		p++;
	while (*p && r == 0) {
		struct range range = { 0 };

		r = scan_range(&p, max, &range);
		if (r == 0)
			r = add_range(&range, add, ctx);
		if (r < 0 || *p != ',')
			break;
		p++;
		if (!*p)
			r = -EINVAL;
	}
	while (blank(*p))
		p++;
	return r == 0 && *p ? -EINVAL : r;
}

static int append(void *ctx, uint64_t lo, uint64_t hi)
{
	struct numbers *list = ctx;

	/* Before adding 1, which would overflow to 0 for the whole range of 64 bits. */
	if (hi - lo >= STOW_IDLIST_MAX - list->n)
		return -E2BIG;
	if (hi - lo >= list->capacity - list->n) {
		size_t capacity = (list->n + (size_t)(hi - lo) + 1) * 2;
		uint64_t *grown = reallocarray(list->ids, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		list->ids = grown;
		list->capacity = capacity;
	}
	for (uint64_t i = 0; i <= hi - lo; i++)
		list->ids[list->n++] = lo + i;
	return 0;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void stow_idlist_sort(uint64_t *ids, size_t n)
{
	if (n)
		qsort(ids, n, sizeof(*ids), ascending);
}

bool stow_idlist_has(const uint64_t *ids, size_t n, uint64_t id)
{
	return n && bsearch(&id, ids, n, sizeof(*ids), ascending);
}

static void sort_unique(struct numbers *list)
{
	size_t n = 0;

	stow_idlist_sort(list->ids, list->n);
	for (size_t i = 0; i < list->n; i++)
		if (!n || list->ids[i] != list->ids[n - 1])
			list->ids[n++] = list->ids[i];
	list->n = n;
}

int stow_idlist_parse(const char *text, uint64_t **ret_ids, size_t *ret_n, struct stow_err *err)
{
	struct numbers list = { .ids = malloc(sizeof(*list.ids)), .capacity = 1 };
	int r = list.ids ? stow_idlist_scan(text, UINT64_MAX, append, &list) : -ENOMEM;
	_cleanup_free_ uint64_t *ids = list.ids;

	if (r == -ENOMEM)
		return stow_err_sys(err, ENOMEM, "\"%.64s\"", text);
	if (r == -E2BIG)
		return stow_err_set(err, ERANGE, "\"%.64s\": more than %zu numbers", text,
				    STOW_IDLIST_MAX);
	if (r == -ERANGE)
		return stow_err_set(err, ERANGE, "\"%.64s\": numbers must be below 2^64", text);
	if (r < 0)
		return stow_err_set(err, EINVAL, "\"%.64s\" is not a list like 48-55,60", text);
	sort_unique(&list);
	*ret_ids = STOW_TAKE_PTR(ids);
	*ret_n = list.n;
	return 0;
}

char *stow_idlist_format(const uint64_t *ids, size_t n)
{
	/* At most twenty digits and a separator for each number. */
	size_t size = n * 21 + 1, len = 0;
	char *buf = malloc(size), *cut;

	if (!buf)
		return NULL;
	buf[0] = '\0';
	for (size_t i = 0, last; i < n; i = last + 1) {
		for (last = i; last + 1 < n && ids[last + 1] == ids[last] + 1;)
			last++;
		len += (size_t)snprintf(buf + len, size - len, "%s%" PRIu64, len ? "," : "",
					ids[i]);
		if (last > i)
			len += (size_t)snprintf(buf + len, size - len, "-%" PRIu64, ids[last]);
	}
	cut = realloc(buf, len + 1);
	return cut ? cut : buf;
}
