// SPDX-License-Identifier: Apache-2.0
#include "base/parse.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"

int stow_parse_u64(const char *text, uint64_t max, uint64_t *ret, struct stow_err *err)
{
	uint64_t v = 0;

	if (!*text)
		return stow_err_set(err, EINVAL, "a whole number is missing");
	for (const char *p = text; *p; p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (*p < '0' || *p > '9')
			return stow_err_set(err, EINVAL, "\"%.64s\" is not a whole number", text);
		if (v > (UINT64_MAX - digit) / 10)
			return stow_err_set(err, ERANGE, "\"%.64s\" is over %" PRIu64, text, max);
		v = v * 10 + digit;
	}
	if (v > max)
		return stow_err_set(err, ERANGE, "\"%.64s\" is over %" PRIu64, text, max);
	*ret = v;
	return 0;
}

bool stow_scan_hex(const char **p, uint64_t *ret)
{
	const char *first = *p;
	uint64_t v = 0;

	for (; isxdigit((unsigned char)**p); (*p)++) {
		if (v >> 60)
			return false;
		v = v << 4 | (uint64_t)(**p <= '9' ? **p - '0' : (**p | 0x20) - 'a' + 10);
	}
	*ret = v;
	return *p > first;
}

/* Find the factor that a quantity's suffix stands for: num / den. */
static bool quantity_factor(const char *suffix, uint64_t *num, uint64_t *den)
{
	static const struct {
		const char *suffix;
		uint64_t num, den;
	} table[] = {
		{ "", 1, 1 },
		{ "m", 1, 1000 },
		{ "k", UINT64_C(1000), 1 },
		{ "M", UINT64_C(1000000), 1 },
		{ "G", UINT64_C(1000000000), 1 },
		{ "T", UINT64_C(1000000000000), 1 },
		{ "P", UINT64_C(1000000000000000), 1 },
		{ "E", UINT64_C(1000000000000000000), 1 },
		{ "Ki", UINT64_C(1) << 10, 1 },
		{ "Mi", UINT64_C(1) << 20, 1 },
		{ "Gi", UINT64_C(1) << 30, 1 },
		{ "Ti", UINT64_C(1) << 40, 1 },
		{ "Pi", UINT64_C(1) << 50, 1 },
		{ "Ei", UINT64_C(1) << 60, 1 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(table); i++)
		if (strcmp(suffix, table[i].suffix) == 0) {
			*num = table[i].num;
			*den = table[i].den;
			return true;
		}
	return false;
}

/* Find the factor that an exponent ("e3", "E-2") stands for: num / den. False: `p` is no exponent. */
static bool quantity_exponent(const char *p, uint64_t *num, uint64_t *den)
{
	bool negative;
	int e = 0;

	if ((*p != 'e' && *p != 'E') || !p[1])
		return false;
	p++;
	negative = *p == '-';
	if (*p == '-' || *p == '+')
		p++;
	if (!*p)
		return false;
	for (; *p; p++) {
		if (*p < '0' || *p > '9')
			return false;
		e = e * 10 + (*p - '0');
		if (e > 18)
			return false;
	}
	*num = *den = 1;
	while (e-- > 0)
		*(negative ? den : num) *= 10;
	return true;
}

/* Whether a text is a quantity, or what is wrong with it. */
enum quantity { QUANTITY, NO_QUANTITY, NEGATIVE, FRACTION, TOO_FINE, TOO_LARGE };

static enum quantity read_quantity(const char *text, uint64_t *ret_bytes)
{
	__extension__ typedef unsigned __int128 u128;
	u128 mantissa = 0, value;
	uint64_t scale = 1, num, den;
	bool digits = false, point = false;
	const char *p = text;

	if (*p == '-')
		return NEGATIVE;
	if (*p == '+')
		p++;
	for (; (*p >= '0' && *p <= '9') || (*p == '.' && !point); p++) {
		if (*p == '.') {
			point = true;
			continue;
		}
		digits = true;
		/* 18 digits before and 18 behind the point exceed any machine. */
		if (mantissa > UINT64_C(1000000000000000000))
			return TOO_LARGE;
		if (scale >= UINT64_C(1000000000000000000))
			return TOO_FINE;
		mantissa = mantissa * 10 + (u128)(unsigned char)(*p - '0');
		if (point)
			scale *= 10;
	}
	if (!digits || (!quantity_factor(p, &num, &den) && !quantity_exponent(p, &num, &den)))
		return NO_QUANTITY;
	/* At most 10^20 times 10^18, and 10^18 times 10^18: both products are exact. */
	value = mantissa * num;
	if (value % ((u128)den * scale))
		return FRACTION;
	value /= (u128)den * scale;
	if (value > INT64_MAX)
		return TOO_LARGE;
	*ret_bytes = (uint64_t)value;
	return QUANTITY;
}

bool stow_quantity_meant(const char *text, char *buf, size_t size)
{
	size_t digits = strspn(text, "0123456789."), rest = strlen(text + digits);
	const char *p = text + digits;
	char unit = (char)toupper((unsigned char)*p), meant[24];
	uint64_t bytes;

	/* More than 18 digits exceed any machine, and make a long message. */
	if (digits > 18)
		return false;
	if (!rest) /* "512", "1.5": a unit was forgotten */
		unit = strchr(text, '.') ? 'G' : 'M';
	/* "512m", "1g" (Podman's, Docker's), "8GB", "8GiB", "8gi" */
	else if (!strchr("KMGTP", unit) ||
		 (rest > 1 && strcasecmp(p + 1, "b") != 0 && strcasecmp(p + 1, "i") != 0 &&
		  strcasecmp(p + 1, "ib") != 0))
		return false;
	snprintf(meant, sizeof(meant), "%.*s%ci", (int)digits, text, unit);
	if (read_quantity(meant, &bytes) != QUANTITY || strcmp(meant, text) == 0)
		return false;
	return (size_t)snprintf(buf, size, "%s", meant) < size;
}

int stow_parse_quantity_why(const char *text, uint64_t *ret_bytes, char why[static STOW_WHY_MAX])
{
	static const char *const faults[] = {
		[NO_QUANTITY] = "is not a quantity like 512Mi, 8Gi or 1073741824",
		[NEGATIVE] = "is negative",
		[FRACTION] = "is not a whole number of bytes",
		[TOO_FINE] = "has too many digits after the point",
		[TOO_LARGE] = "is more than the largest quantity, 8Ei",
	};
	enum quantity q = read_quantity(text, ret_bytes);
	char meant[32];

	if (q == QUANTITY)
		return 0;
	if (stow_quantity_meant(text, meant, sizeof(meant)))
		snprintf(why, STOW_WHY_MAX, "%s; did you mean \"%s\"?", faults[q], meant);
	else
		snprintf(why, STOW_WHY_MAX, "%s", faults[q]);
	return q == TOO_FINE || q == TOO_LARGE ? -ERANGE : -EINVAL;
}

int stow_parse_quantity(const char *text, uint64_t *ret_bytes, struct stow_err *err)
{
	char why[STOW_WHY_MAX];
	int r = stow_parse_quantity_why(text, ret_bytes, why);

	return r < 0 ? stow_err_set(err, -r, "\"%.64s\" %s", text, why) : 0;
}

int stow_parse_pagesize(const char *text, uint64_t *ret_bytes, struct stow_err *err)
{
	uint64_t v = 0, unit = 0;
	const char *p = text;

	while (*p >= '0' && *p <= '9' && v < 1 << 20)
		v = v * 10 + (uint64_t)(*p++ - '0');
	if (*p && (strcmp(p + 1, "i") == 0 || strcmp(p + 1, "B") == 0))
		unit = *p == 'K'   ? UINT64_C(1) << 10
		       : *p == 'M' ? UINT64_C(1) << 20
		       : *p == 'G' ? UINT64_C(1) << 30
				   : 0;
	if (p == text || !unit || !v || (v & (v - 1)))
		return stow_err_set(err, EINVAL, "\"%.64s\" is not a page size like 2Mi or 1Gi",
				    text);
	*ret_bytes = v * unit;
	return 0;
}

int stow_parse_duration(const char *text, uint64_t *ret_ns, struct stow_err *err)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = { { "ms", 1000000 },
		      { "s", UINT64_C(1000000000) },
		      { "m", UINT64_C(60000000000) },
		      { "h", UINT64_C(3600000000000) } };
	size_t digits = strspn(text, "0123456789");
	char number[24];
	uint64_t n;

	for (size_t i = 0; digits && digits < sizeof(number) && i < STOW_ARRAY_SIZE(units); i++) {
		if (strcmp(text + digits, units[i].unit) != 0)
			continue;
		snprintf(number, sizeof(number), "%.*s", (int)digits, text);
		if (stow_parse_u64(number, UINT64_MAX / units[i].ns, &n, NULL) < 0)
			return stow_err_set(err, ERANGE, "\"%.64s\" is too long a time", text);
		*ret_ns = n * units[i].ns;
		return 0;
	}
	return stow_err_set(err, EINVAL, "\"%.64s\" is not a time such as 500ms, 1s, 5m or 2h",
			    text);
}

bool stow_parse_kib(const char *text, const char *key, uint64_t *ret_bytes)
{
	char value[64];
	uint64_t kib;

	if (!stow_text_field(text, key, value, sizeof(value)))
		return false;
	value[strcspn(value, " ")] = '\0';
	if (stow_parse_u64(value, UINT64_MAX >> 10, &kib, NULL) < 0)
		return false;
	*ret_bytes = kib << 10;
	return true;
}

static const char *format_unit(uint64_t bytes, const char *const units[5], char *buf, size_t size)
{
	int u = 0;

	while (u < 4 && bytes >= UINT64_C(1) << (10 * (u + 1)))
		u++;
	if (bytes % (UINT64_C(1) << (10 * u)) == 0)
		snprintf(buf, size, "%" PRIu64 "%s", bytes >> (10 * u), units[u]);
	else
		snprintf(buf, size, "%.1f%s", (double)bytes / (double)(UINT64_C(1) << (10 * u)),
			 units[u]);
	return buf;
}

void stow_append(char *buf, size_t size, const char *fmt, ...)
{
	size_t len = strnlen(buf, size);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + len, size - len, fmt, ap);
	va_end(ap);
}

const char *stow_format_size(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[5] = { "", "Ki", "Mi", "Gi", "Ti" };

	return format_unit(bytes, units, buf, size);
}

const char *stow_format_amount(uint64_t bytes, char *buf, size_t size)
{
	if (bytes && bytes < 1024)
		snprintf(buf, size, "%" PRIu64 " byte%s of", bytes, bytes == 1 ? "" : "s");
	else
		stow_format_size(bytes, buf, size);
	return buf;
}

const char *stow_format_pagesize(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[5] = { "B", "KB", "MB", "GB" };

	/* The kernel has no larger unit, mem_fmt() in mm/hugetlb_cgroup.c. */
	if (bytes >> 40) {
		snprintf(buf, size, "%" PRIu64 "GB", bytes >> 30);
		return buf;
	}
	return format_unit(bytes, units, buf, size);
}

/* Return Levenshtein's distance of two short words, with the letters of the first in lower case.
 * Words over 63 bytes are far from everything. */
static unsigned int edit_distance(const char *a, const char *b)
{
	unsigned int row[64];
	size_t la = strlen(a), lb = strlen(b);

	if (la >= STOW_ARRAY_SIZE(row) || lb >= STOW_ARRAY_SIZE(row))
		return 64;
	for (size_t j = 0; j <= lb; j++)
		row[j] = (unsigned int)j;
	for (size_t i = 1; i <= la; i++) {
		char c = (char)tolower((unsigned char)a[i - 1]);
		unsigned int diagonal = row[0];

		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned int best = diagonal + (c != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

int stow_parse_word_why(const char *text, const char *const *words, char why[static STOW_WHY_MAX])
{
	int len = snprintf(why, STOW_WHY_MAX, "is not one of "), near;

	for (int i = 0; words[i]; i++) {
		if (strcmp(text, words[i]) == 0)
			return i;
		if (len < STOW_WHY_MAX)
			len += snprintf(why + len, (size_t)(STOW_WHY_MAX - len), "%s%s",
					i ? ", " : "", words[i]);
	}
	near = stow_nearest(text, words);
	if (near >= 0 && len < STOW_WHY_MAX)
		snprintf(why + len, (size_t)(STOW_WHY_MAX - len), "; did you mean \"%s\"?",
			 words[near]);
	return -EINVAL;
}

int stow_nearest(const char *word, const char *const *candidates)
{
	unsigned int best = 64;
	int found = -1;

	for (int i = 0; candidates[i]; i++) {
		unsigned int d = edit_distance(word, candidates[i]);

		if (d < best) {
			best = d;
			found = i;
		}
	}
	/* More than half of the word differs: this is not a typing error. */
	return found >= 0 && best <= strlen(candidates[found]) / 2 ? found : -1;
}
