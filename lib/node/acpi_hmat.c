// SPDX-License-Identifier: Apache-2.0
/* Parses HMAT: ACPI 6.5, section 5.2.28. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/array.h"
#include "node/acpi.h"
#include "node/acpi_internal.h"

enum {
	HMAT_FIXED = 40,
	HMAT_ATTACHED = 0, /* Memory Proximity Domain Attributes, table 5.148 */
	HMAT_VALUES = 1,   /* System Locality Latency and Bandwidth Information, table 5.149 */
	HMAT_CACHE = 2,	   /* Memory Side Cache Information, table 5.150 */
	ATTACHED_MIN = 40,
	VALUES_MIN = 32,
	CACHE_MIN = 32,
	NO_PATH = 0xffff,
};

static int take_attached(struct stow_hmat *hmat, const uint8_t *at, struct stow_err *err)
{
	struct stow_hmat_attached *new = STOW_APPEND(hmat->attached, hmat->n_attached);

	if (!new)
		return stow_err_sys(err, ENOMEM, "HMAT");
	*new = (struct stow_hmat_attached){
		.has_initiator = at[8] & 1,
		.initiator = stow_acpi_u32(at + 12),
		.memory = stow_acpi_u32(at + 16),
	};
	return 0;
}

/* Compute a value as the kernel does (hmat_normalize() in drivers/acpi/numa/hmat.c): of the first
 * revision, units are a tenth; later, latencies are in ps. 0: not provided, or not possible. */
static uint32_t value_of(unsigned int revision, enum stow_hmat_type type, uint64_t base,
			 uint16_t entry)
{
	uint64_t value;

	if (!entry || entry == NO_PATH || base > UINT_MAX / entry)
		return 0;
	value = base * entry;
	if (revision == 1)
		value = value < 10 ? 0 : (value + 9) / 10;
	else if (revision == 2 && type <= STOW_HMAT_WRITE_LATENCY)
		value = (value + 999) / 1000;
	return (uint32_t)value;
}

static int take_values(struct stow_hmat *hmat, const struct stow_acpi_bytes *b, const uint8_t *at,
		       uint32_t length, struct stow_err *err)
{
	uint64_t n_from = stow_acpi_u32(at + 12), n_to = stow_acpi_u32(at + 16);
	uint64_t base = stow_acpi_u64(at + 24);
	const uint8_t *from = at + VALUES_MIN, *to = from + 4 * n_from, *entries = to + 4 * n_to;
	uint64_t room = length - VALUES_MIN;

	/* Neither sum nor product exceeds 64 bits once each number is below the room. */
	if (n_from > room || n_to > room || 4 * (n_from + n_to) + 2 * n_from * n_to > room)
		return stow_err_set(err, EINVAL,
				    "HMAT: the matrix at byte %zu is too short for %llu x %llu",
				    b->next, (unsigned long long)n_from, (unsigned long long)n_to);
	if (at[9] >= STOW_HMAT_TYPES)
		return 0;
	for (uint64_t i = 0; i < n_from * n_to; i++) {
		uint32_t value = value_of(b->revision, (enum stow_hmat_type)at[9], base,
					  stow_acpi_u16(entries + 2 * i));
		struct stow_hmat_value *new;

		if (!value)
			continue;
		new = STOW_APPEND(hmat->values, hmat->n_values);
		if (!new)
			return stow_err_sys(err, ENOMEM, "HMAT");
		*new = (struct stow_hmat_value){
			.initiator = stow_acpi_u32(from + 4 * (i / n_to)),
			.target = stow_acpi_u32(to + 4 * (i % n_to)),
			.type = (enum stow_hmat_type)at[9],
			.hierarchy = at[8] & 0xf,
			.value = value,
		};
	}
	return 0;
}

static int take_cache(struct stow_hmat *hmat, const uint8_t *at, struct stow_err *err)
{
	struct stow_hmat_cache *new = STOW_APPEND(hmat->caches, hmat->n_caches);
	uint32_t attributes = stow_acpi_u32(at + 24);

	if (!new)
		return stow_err_sys(err, ENOMEM, "HMAT");
	*new = (struct stow_hmat_cache){
		.memory = stow_acpi_u32(at + 8),
		.size = stow_acpi_u64(at + 16),
		.levels = attributes & 0xf,
		.level = attributes >> 4 & 0xf,
		.associativity = attributes >> 8 & 0xf,
		.write_policy = attributes >> 12 & 0xf,
		.line_size = (uint16_t)(attributes >> 16),
	};
	return 0;
}

static int take(struct stow_hmat *hmat, const struct stow_acpi_bytes *b, const uint8_t *at,
		uint32_t length, struct stow_err *err)
{
	static const uint32_t least[] = { ATTACHED_MIN, VALUES_MIN, CACHE_MIN };
	uint16_t type = stow_acpi_u16(at);

	if (type > HMAT_CACHE)
		return 0;
	if (length < least[type])
		return stow_acpi_short(b, length, err);
	if (type == HMAT_ATTACHED)
		return take_attached(hmat, at, err);
	return type == HMAT_CACHE ? take_cache(hmat, at, err)
				  : take_values(hmat, b, at, length, err);
}

int stow_hmat_parse(const void *data, size_t len, struct stow_hmat *ret, struct stow_err *err)
{
	struct stow_hmat hmat = { 0 };
	struct stow_acpi_bytes b;
	int r = stow_acpi_header(data, len, "HMAT", HMAT_FIXED, &b, err);

	while (r == 0 && b.next < b.len) {
		const uint8_t *at = b.data + b.next;
		size_t left = b.len - b.next;
		uint32_t length = left < 8 ? 0 : stow_acpi_u32(at + 4);

		if (length < 8 || length > left)
			r = stow_acpi_short(&b, left < 8 ? left : length, err);
		else
			r = take(&hmat, &b, at, length, err);
		b.next += length;
	}
	if (r < 0)
		stow_hmat_done(&hmat);
	else
		*ret = hmat;
	return r;
}

void stow_hmat_done(struct stow_hmat *hmat)
{
	free(hmat->attached);
	free(hmat->values);
	free(hmat->caches);
	*hmat = (struct stow_hmat){ 0 };
}

const char *stow_hmat_type_name(enum stow_hmat_type type)
{
	static const char *const names[] = {
		"access latency",   "read latency",   "write latency",
		"access bandwidth", "read bandwidth", "write bandwidth"
	};

	return type < STOW_HMAT_TYPES ? names[type] : "unknown";
}
