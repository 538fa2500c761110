/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Write ACPI tables: begin, structures, end (which sets length and checksum). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table {
	uint8_t data[16384];
	size_t len;
};

/* `fixed`: zero bytes between the header and the first structure. */
void table_begin(struct table *t, const char *signature, uint8_t revision, size_t fixed);
void table_end(struct table *t);

void table_bytes(struct table *t, const void *data, size_t len);
void table_u16(struct table *t, uint16_t v);
void table_u32(struct table *t, uint32_t v);
void table_u64(struct table *t, uint64_t v);

/* SRAT. Flags of memory: 1 enabled, 2 hotplug, 4 nonvolatile. */
void table_apic(struct table *t, uint32_t domain, uint8_t id, bool enabled);
void table_x2apic(struct table *t, uint32_t domain, uint32_t id, bool enabled);
void table_gicc(struct table *t, uint32_t domain, uint32_t uid, bool enabled);
void table_memory(struct table *t, uint32_t domain, uint64_t start, uint64_t size, uint32_t flags);
void table_pci_initiator(struct table *t, uint32_t domain, uint16_t segment, uint8_t bus,
			 uint8_t devfn, bool enabled);
void table_acpi_initiator(struct table *t, uint32_t domain, const char *hid, uint32_t uid,
			  bool enabled);

/* HMAT. */
void table_attached(struct table *t, uint32_t memory, uint32_t initiator, bool valid);
void table_side_cache(struct table *t, uint32_t memory, uint64_t size, uint32_t attributes);
/* Without `values`, only the fixed part. */
void table_matrix(struct table *t, uint8_t flags, uint8_t type, uint64_t base, uint32_t n_from,
		  uint32_t n_to, const uint32_t *from, const uint32_t *to, const uint16_t *values);
