/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Declarations shared by the parsers of ACPI tables. */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define STOW_ACPI_HEADER 36 /* bytes that all tables begin with */

/* A table that is being parsed. */
struct stow_acpi_bytes {
	const uint8_t *data;
	size_t len;  /* as the header says; not more than there is */
	size_t next; /* the structure that is parsed */
	unsigned int revision;
	const char *name; /* the signature */
};

static inline uint16_t stow_acpi_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t stow_acpi_u32(const uint8_t *at)
{
	return stow_acpi_u16(at) | (uint32_t)stow_acpi_u16(at + 2) << 16;
}

static inline uint64_t stow_acpi_u64(const uint8_t *at)
{
	return stow_acpi_u32(at) | (uint64_t)stow_acpi_u32(at + 4) << 32;
}

/* Check a table's header; its structures begin after `fixed` bytes. -EINVAL. */
int stow_acpi_header(const void *data, size_t len, const char *name, size_t fixed,
		     struct stow_acpi_bytes *ret, struct stow_err *err);

/* Return -EINVAL: the structure at `next` cannot be that long. */
int stow_acpi_short(const struct stow_acpi_bytes *b, size_t length, struct stow_err *err);
