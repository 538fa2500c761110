/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/quantity.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/math.h"

#define DIGITS_MAX 18 /* of the number: they fit into 64 bits, and more have no use */

/* A suffix multiplies the number by 10^ten * 2^two. */
static const struct suffix {
	const char *text;
	int ten, two;
} suffixes[] = {
	{ "", 0, 0 },	 { "n", -9, 0 },  { "u", -6, 0 },  { "m", -3, 0 },
	{ "k", 3, 0 },	 { "M", 6, 0 },	  { "G", 9, 0 },   { "T", 12, 0 },
	{ "P", 15, 0 },	 { "E", 18, 0 },  { "Ki", 0, 10 }, { "Mi", 0, 20 },
	{ "Gi", 0, 30 }, { "Ti", 0, 40 }, { "Pi", 0, 50 }, { "Ei", 0, 60 },
};

static int read_suffix(const char *text, int *ret_ten, int *ret_two)
{
	int sign = 1, exponent = 0;

	*ret_ten = *ret_two = 0;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(suffixes); i++)
		if (strcmp(text, suffixes[i].text) == 0) {
			*ret_ten = suffixes[i].ten;
			*ret_two = suffixes[i].two;
			return 0;
		}
	if (*text != 'e' && *text != 'E')
		return -EINVAL;
	text++;
	if (*text == '+' || *text == '-')
		sign = *text++ == '-' ? -1 : 1;
	if (!*text || strlen(text) > 2 || strspn(text, "0123456789") != strlen(text))
		return -EINVAL;
	for (; *text; text++)
		exponent = 10 * exponent + (*text - '0');
	*ret_ten = sign * exponent;
	return 0;
}

/* Return number * 10^ten * 2^two, rounded up. */
static int scale(uint64_t number, int ten, int two, uint64_t *ret)
{
	stow_u128 value = number;

	for (; two > 0; two--)
		if (__builtin_mul_overflow(value, 2, &value))
			return -ERANGE;
	for (; ten > 0 && value; ten--)
		if (__builtin_mul_overflow(value, 10, &value))
			return -ERANGE;
	for (; ten < 0 && value > 1; ten++)
		value = value / 10 + (value % 10 > 0);
	if (value > INT64_MAX)
		return -ERANGE;
	*ret = (uint64_t)value;
	return 0;
}

int scheduler_quantity(const char *text, uint64_t *ret_milli)
{
	uint64_t number = 0;
	int digits = 0, fraction = 0, ten, two, r;
	bool dot = false, any = false;

	text += *text == '+';
	for (; (*text >= '0' && *text <= '9') || (*text == '.' && !dot); text++) {
		if (*text == '.') {
			dot = true;
			continue;
		}
		if (number && ++digits >= DIGITS_MAX)
			return -ERANGE;
		number = 10 * number + (uint64_t)(*text - '0');
		fraction += dot;
		any = true;
	}
	if (!any)
		return -EINVAL;
	r = fraction > DIGITS_MAX ? -ERANGE : read_suffix(text, &ten, &two);
	return r < 0 ? r : scale(number, ten - fraction + 3, two, ret_milli);
}

/* Divide by a unit as long as no remainder is left, at most 6 times; return how often. */
static size_t divide(uint64_t *number, uint64_t unit)
{
	size_t n = 0;

	for (; *number && *number % unit == 0 && n < 6; n++)
		*number /= unit;
	return n;
}

const char *scheduler_quantity_bytes(uint64_t bytes, char buf[static SCHEDULER_QUANTITY_LEN])
{
	static const char *const binary[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
	static const char *const decimal[] = { "", "k", "M", "G", "T", "P", "E" };
	uint64_t a = bytes, b = bytes;
	size_t of_a = divide(&a, 1024), of_b = divide(&b, 1000);

	/* Both are canonical: 512M is 500000Ki. */
	if (a <= b)
		snprintf(buf, SCHEDULER_QUANTITY_LEN, "%" PRIu64 "%s", a, binary[of_a]);
	else
		snprintf(buf, SCHEDULER_QUANTITY_LEN, "%" PRIu64 "%s", b, decimal[of_b]);
	return buf;
}

const char *scheduler_quantity_milli(uint64_t milli, char buf[static SCHEDULER_QUANTITY_LEN])
{
	bool whole = milli % 1000 == 0;

	snprintf(buf, SCHEDULER_QUANTITY_LEN, "%" PRIu64 "%s", whole ? milli / 1000 : milli,
		 whole ? "" : "m");
	return buf;
}
