// SPDX-License-Identifier: Apache-2.0
/* Parses SRAT, SLIT and HMAT. Numbers are little-endian at any alignment. */
#include "node/acpi.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "node/acpi_internal.h"

/* --- the header, ACPI 6.5, table 5.4 -------------------------------------- */

int stow_acpi_header(const void *data, size_t len, const char *name, size_t fixed,
		     struct stow_acpi_bytes *ret, struct stow_err *err)
{
	const uint8_t *at = data;
	uint32_t length;

	if (len < STOW_ACPI_HEADER)
		return stow_err_set(err, EINVAL, "%s: %zu bytes are no ACPI table", name, len);
	if (memcmp(at, name, 4) != 0)
		return stow_err_set(err, EINVAL, "%s: the table's signature is \"%.4s\"", name,
				    (const char *)data);
	length = stow_acpi_u32(at + 4);
	if (length < fixed || length > len)
		return stow_err_set(err, EINVAL,
				    "%s: its length is %" PRIu32 ", which must be %zu to %zu", name,
				    length, fixed, len);
	*ret = (struct stow_acpi_bytes){ at, length, fixed, at[8], name };
	return 0;
}

bool stow_acpi_checksum(const void *data, size_t len)
{
	const uint8_t *at = data;
	uint8_t sum = 0;

	if (len >= STOW_ACPI_HEADER && stow_acpi_u32(at + 4) < len)
		len = stow_acpi_u32(at + 4);
	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + at[i]);
	return sum == 0;
}

int stow_acpi_short(const struct stow_acpi_bytes *b, size_t length, struct stow_err *err)
{
	return stow_err_set(err, EINVAL,
			    "%s: the structure at byte %zu has an impossible length of %zu",
			    b->name, b->next, length);
}

/* --- SRAT, ACPI 6.5, section 5.2.16 --------------------------------------- */

enum {
	SRAT_FIXED = 48,
	SRAT_LOCAL_APIC = 0,
	SRAT_MEMORY = 1,
	SRAT_X2APIC = 2,
	SRAT_GICC = 3,
	SRAT_GENERIC_INITIATOR = 5,
	SRAT_GENERIC_PORT = 6,
	SRAT_RINTC = 7, /* ACPI 6.6 */
};

/* Of the first revision, the upper bytes of a domain are reserved. */
static uint32_t domain_of(const struct stow_acpi_bytes *b, uint32_t domain)
{
	return b->revision < 2 ? domain & 0xff : domain;
}

static int add_cpu(struct stow_srat *srat, struct stow_srat_cpu cpu, struct stow_err *err)
{
	struct stow_srat_cpu *new = STOW_APPEND(srat->cpus, srat->n_cpus);

	if (!new)
		return stow_err_sys(err, ENOMEM, "SRAT");
	*new = cpu;
	return 0;
}

static int add_memory(struct stow_srat *srat, const struct stow_acpi_bytes *b, const uint8_t *at,
		      struct stow_err *err)
{
	struct stow_srat_memory *new, m = {
		.domain = domain_of(b, stow_acpi_u32(at + 2)),
		.start = stow_acpi_u64(at + 8),
		.size = stow_acpi_u64(at + 16),
		.enabled = at[28] & 1,
		.hotplug = at[28] & 2,
		.nonvolatile = at[28] & 4,
	};

	if (m.size && m.start > UINT64_MAX - (m.size - 1))
		return stow_err_set(err, EINVAL,
				    "SRAT: the memory at byte %zu, 0x%" PRIx64
				    " bytes at 0x%" PRIx64 ", exceeds 64 bits",
				    b->next, m.size, m.start);
	new = STOW_APPEND(srat->memory, srat->n_memory);
	if (!new)
		return stow_err_sys(err, ENOMEM, "SRAT");
	*new = m;
	return 0;
}

/* The handle of a device: table 5.65 and 5.66. */
static int add_device(struct stow_srat *srat, const uint8_t *at, struct stow_err *err)
{
	struct stow_srat_device *new = STOW_APPEND(srat->devices, srat->n_devices);

	if (!new)
		return stow_err_sys(err, ENOMEM, "SRAT");
	new->domain = stow_acpi_u32(at + 4);
	new->enabled = at[24] & 1;
	new->port = at[0] == SRAT_GENERIC_PORT;
	if (at[3] == 1)
		snprintf(new->name, sizeof(new->name), "%04x:%02x:%02x.%d", stow_acpi_u16(at + 8),
			 at[10], at[11] >> 3, at[11] & 7);
	else
		snprintf(new->name, sizeof(new->name), "%.8s:%" PRIu32, (const char *)at + 8,
			 stow_acpi_u32(at + 16));
	stow_text_ascii(new->name);
	return 0;
}

static int take_srat(struct stow_srat *srat, const struct stow_acpi_bytes *b, const uint8_t *at,
		     struct stow_err *err)
{
	static const uint8_t least[] = {
		[SRAT_LOCAL_APIC] = 16,
		[SRAT_MEMORY] = 40,
		[SRAT_X2APIC] = 24,
		[SRAT_GICC] = 18,
		[SRAT_GENERIC_INITIATOR] = 32,
		[SRAT_GENERIC_PORT] = 32,
		[SRAT_RINTC] = 20,
	};
	uint32_t domain;

	if (at[0] >= sizeof(least) || !least[at[0]])
		return 0;
	if (at[1] < least[at[0]])
		return stow_acpi_short(b, at[1], err);
	switch (at[0]) {
	case SRAT_LOCAL_APIC:
		domain = at[2] | (uint32_t)at[9] << 8 | (uint32_t)at[10] << 16 |
			 (uint32_t)at[11] << 24;
		return add_cpu(srat,
			       (struct stow_srat_cpu){ domain_of(b, domain), at[3], STOW_SRAT_APIC,
						       at[4] & 1 },
			       err);
	case SRAT_X2APIC:
		return add_cpu(srat,
			       (struct stow_srat_cpu){ domain_of(b, stow_acpi_u32(at + 4)),
						       stow_acpi_u32(at + 8), STOW_SRAT_APIC,
						       at[12] & 1 },
			       err);
	case SRAT_GICC:
		return add_cpu(srat,
			       (struct stow_srat_cpu){ stow_acpi_u32(at + 2), stow_acpi_u32(at + 6),
						       STOW_SRAT_UID, at[10] & 1 },
			       err);
	case SRAT_RINTC:
		return add_cpu(srat,
			       (struct stow_srat_cpu){ stow_acpi_u32(at + 4), stow_acpi_u32(at + 8),
						       STOW_SRAT_UID, at[12] & 1 },
			       err);
	case SRAT_MEMORY:
		return add_memory(srat, b, at, err);
	default:
		return add_device(srat, at, err);
	}
}

int stow_srat_parse(const void *data, size_t len, struct stow_srat *ret, struct stow_err *err)
{
	struct stow_srat srat = { 0 };
	struct stow_acpi_bytes b;
	int r = stow_acpi_header(data, len, "SRAT", SRAT_FIXED, &b, err);

	while (r == 0 && b.next < b.len) {
		const uint8_t *at = b.data + b.next;
		size_t left = b.len - b.next;

		if (left < 2 || at[1] < 2 || at[1] > left)
			r = stow_acpi_short(&b, left < 2 ? left : at[1], err);
		else
			r = take_srat(&srat, &b, at, err);
		if (r == 0)
			b.next += at[1];
	}
	if (r < 0)
		stow_srat_done(&srat);
	else
		*ret = srat;
	return r;
}

void stow_srat_done(struct stow_srat *srat)
{
	free(srat->cpus);
	free(srat->memory);
	free(srat->devices);
	*srat = (struct stow_srat){ 0 };
}

/* --- SLIT, ACPI 6.5, section 5.2.17 --------------------------------------- */

enum { SLIT_FIXED = 44 };

int stow_slit_parse(const void *data, size_t len, struct stow_slit *ret, struct stow_err *err)
{
	struct stow_acpi_bytes b;
	struct stow_slit slit;
	uint64_t n;
	int r = stow_acpi_header(data, len, "SLIT", SLIT_FIXED, &b, err);

	if (r < 0)
		return r;
	n = stow_acpi_u64(b.data + STOW_ACPI_HEADER);
	if (n > STOW_SLIT_MAX || n * n > b.len - SLIT_FIXED)
		return stow_err_set(err, EINVAL,
				    "SLIT: %zu bytes are too short for %" PRIu64
				    " localities, which must be at most %d",
				    b.len, n, STOW_SLIT_MAX);
	slit.n = (size_t)n;
	slit.distance = malloc(slit.n * slit.n + 1);
	if (!slit.distance)
		return stow_err_sys(err, ENOMEM, "SLIT");
	memcpy(slit.distance, b.data + SLIT_FIXED, slit.n * slit.n);
	*ret = slit;
	return 0;
}

void stow_slit_done(struct stow_slit *slit)
{
	free(slit->distance);
	*slit = (struct stow_slit){ 0 };
}
