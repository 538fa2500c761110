// SPDX-License-Identifier: Apache-2.0
#include "base/numalist.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "base/text.h"

#define NUMBER_MAX INT_MAX

/* What is being parsed. */
struct scan {
	const struct stow_numalist *list;
	const char *text; /* the whole */
	const char *p;	  /* the rest */
	bool inverse, relative;
};

static int no_list(const struct scan *s, struct stow_err *err, const char *why)
{
	char quoted[68];

	return stow_err_set(err, EINVAL, "\"%s\" is not a list of %ss like %s: %s",
			    stow_text_quote(s->text, quoted, sizeof(quoted)), s->list->what,
			    s->list->allowed ? "0,2-3, 0-6:2, all, +0 or !1" : "0,2-3 or 0-6:2",
			    why);
}

static int digit_of(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : 16;
}

/* Read a number. A number that is too large for every set is read as some such number. */
static int scan_number(struct scan *s, long *ret, struct stow_err *err)
{
	const char *p = s->p;
	int base = 10;
	long v = 0;

	if (s->list->allowed && p[0] == '0' && (p[1] == 'x' || p[1] == 'X') &&
	    digit_of(p[2]) < 16) {
		base = 16;
		p += 2;
	} else if (s->list->allowed && p[0] == '0') {
		base = 8;
	}
	if (digit_of(*p) >= base)
		return no_list(s, err, *p ? "a number is missing" : "it ends too early");
	for (; digit_of(*p) < base; p++)
		v = v > NUMBER_MAX / 16 - 1 ? NUMBER_MAX / 16 : v * base + digit_of(*p);
	s->p = p;
	*ret = v;
	return 0;
}

static bool may_be_named(const struct stow_numalist *list, long id)
{
	return id < STOW_IDSET_MAX && (stow_idset_has(list->allowed, (int)id) ||
				       (list->accepted && stow_idset_has(list->accepted, (int)id)));
}

/* Read one end of a range, and check that it may be named. */
static int scan_end(struct scan *s, long *ret, struct stow_err *err)
{
	const struct stow_numalist *list = s->list;
	struct stow_idset all;
	char allowed[128];
	const char *number = s->p;
	int r = scan_number(s, ret, err), len = (int)(s->p - number);

	if (r < 0 || !list->allowed)
		return r;
	if (s->relative)
		*ret = stow_idset_nth(list->allowed, (uint64_t)*ret);
	if (*ret >= 0 && may_be_named(list, *ret))
		return 0;
	all = *list->allowed;
	if (!s->relative && list->accepted)
		stow_idset_or(&all, list->accepted);
	stow_idset_format(&all, allowed, sizeof(allowed));
	if (s->relative)
		return stow_err_set(err, ERANGE,
				    "there is no %s +%.*s: %zu may be used (%s), from +0 on",
				    list->what, len, number, stow_idset_count(&all), allowed);
	return stow_err_set(err, ERANGE, "%s %.*s is not one of those that may be used (%s)%s%s",
			    list->what, len, number, allowed, list->hint ? "; " : "",
			    list->hint ? list->hint : "");
}

/* Read "N", "N-M" or "N-M:STEP". */
static int scan_range(struct scan *s, struct stow_idset *set, struct stow_err *err)
{
	long from, to, step = 1;
	int r = scan_end(s, &from, err);

	to = from;
	if (r == 0 && *s->p == '-') {
		s->p++;
		r = scan_end(s, &to, err);
		if (r == 0 && *s->p == ':') {
			s->p++;
			r = scan_number(s, &step, err);
			if (r == 0 && step == 0)
				r = no_list(s, err, "the step after \":\" must not be 0");
		}
	}
	if (r < 0)
		return r;
	if (to < from)
		return no_list(s, err, "a range begins with its lower number");
	for (long id = from; id <= to && id < STOW_IDSET_MAX; id += step)
		if (!s->list->allowed || may_be_named(s->list, id))
			stow_idset_add(set, (int)id);
	return 0;
}

/* Read "all" or a name, which are the rest of the text. Return 1, or 0 when it is neither. */
static int scan_word(struct scan *s, struct stow_idset *set, struct stow_err *err)
{
	int id = -1, r;

	if (!s->list->allowed || !isalpha((unsigned char)*s->p))
		return 0;
	if (strcmp(s->p, "all") == 0) {
		*set = *s->list->allowed;
		return 1;
	}
	r = s->list->find ? s->list->find(s->list->ctx, s->p, &id, err) : 0;
	if (r == 0)
		return no_list(s, err, "it has an unknown word");
	if (r > 0)
		stow_idset_add(set, id);
	return r;
}

static void invert(const struct stow_numalist *list, struct stow_idset *set)
{
	struct stow_idset rest = *list->present;

	stow_idset_minus(&rest, set);
	*set = rest;
}

int stow_numalist_parse(const char *text, const struct stow_numalist *list, struct stow_idset *ret,
			struct stow_err *err)
{
	struct scan s = { .list = list, .text = text, .p = text };
	struct stow_idset set = { 0 };
	int r = 0;

	if (list->allowed && !*text) {
		*ret = set;
		return 0;
	}
	if (list->allowed && *s.p == '!') {
		s.inverse = true;
		s.p++;
	}
	if (list->allowed && *s.p == '+') {
		s.relative = true;
		s.p++;
	}
	for (;;) {
		r = scan_word(&s, &set, err);
		if (r != 0)
			break;
		r = scan_range(&s, &set, err);
		if (r < 0 || *s.p != ',')
			break;
		s.p++;
	}
	if (r < 0)
		return r;
	if (r == 0 && *s.p)
		return no_list(&s, err, "only \"-\" or \",\" may follow a number");
	if (s.inverse)
		invert(list, &set);
	*ret = set;
	return 0;
}

int stow_numalist_parse_mask(const char *text, struct stow_idset *ret, struct stow_err *err)
{
	const char *digits = strncmp(text, "0x", 2) == 0 ? text + 2 : text;
	struct stow_idset set = { 0 };
	char quoted[68];
	int id = 0;

	for (size_t i = strlen(digits); i-- > 0;) {
		int digit = digit_of(digits[i]);

		/* A comma is between two digits. */
		if (digits[i] == ',' && i > 0 && digits[i - 1] != ',' && digits[i + 1])
			continue;
		if (digit > 15)
			id = -1;
		if (id < 0)
			break;
		for (int bit = 0; bit < 4; bit++)
			if (digit >> bit & 1)
				stow_idset_add(&set, id + bit);
		if (id < STOW_IDSET_MAX)
			id += 4;
	}
	if (id <= 0)
		return stow_err_set(err, EINVAL,
				    "\"%s\" is not a mask of hexadecimal digits like f or 0x0f",
				    stow_text_quote(text, quoted, sizeof(quoted)));
	*ret = set;
	return 0;
}

char *stow_numalist_format_mask(const struct stow_idset *set)
{
	char *text = malloc(STOW_IDSET_MAX / 4 + 2), *end = text;

	if (!text)
		return NULL;
	for (int i = STOW_IDSET_MAX / 4 - 1; i >= 0; i--) {
		unsigned int digit = set->bits[i / 16] >> (i % 16 * 4) & 15;

		if (digit || end > text || i == 0)
			*end++ = "0123456789abcdef"[digit];
	}
	*end = '\0';
	return text;
}

char *stow_numalist_format(const struct stow_idset *set)
{
	size_t size = stow_idset_count(set) * 6 + 1;
	char *text = malloc(size);
	int last;

	if (!text)
		return NULL;
	text[0] = '\0';
	for (int id = stow_idset_next(set, 0); id >= 0; id = stow_idset_next(set, last + 1)) {
		for (last = id; stow_idset_has(set, last + 1);)
			last++;
		stow_append(text, size, "%s%d", text[0] ? "," : "", id);
		if (last > id)
			stow_append(text, size, "%c%d", last == id + 1 ? ',' : '-', last);
	}
	return text;
}
