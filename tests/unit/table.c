// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "table.h"

void table_bytes(struct table *t, const void *data, size_t len)
{
	assert_in_range(t->len + len, 0, sizeof(t->data));
	memcpy(t->data + t->len, data, len);
	t->len += len;
}

static void zeros(struct table *t, size_t n)
{
	static const uint8_t none[64];

	table_bytes(t, none, n);
}

static void put_u8(struct table *t, uint8_t v)
{
	table_bytes(t, &v, 1);
}

void table_u16(struct table *t, uint16_t v)
{
	put_u8(t, (uint8_t)v);
	put_u8(t, (uint8_t)(v >> 8));
}

void table_u32(struct table *t, uint32_t v)
{
	table_u16(t, (uint16_t)v);
	table_u16(t, (uint16_t)(v >> 16));
}

void table_u64(struct table *t, uint64_t v)
{
	table_u32(t, (uint32_t)v);
	table_u32(t, (uint32_t)(v >> 32));
}

void table_begin(struct table *t, const char *signature, uint8_t revision, size_t fixed)
{
	t->len = 0;
	table_bytes(t, signature, 4);
	table_u32(t, 0);
	put_u8(t, revision);
	put_u8(t, 0);
	table_bytes(t, "STOW  TEST    \1\0\0\0TEST\1\0\0", 26);
	zeros(t, fixed);
}

void table_end(struct table *t)
{
	uint8_t sum = 0;

	for (int i = 0; i < 4; i++)
		t->data[4 + i] = (uint8_t)(t->len >> (8 * i));
	t->data[9] = 0;
	for (size_t i = 0; i < t->len; i++)
		sum = (uint8_t)(sum + t->data[i]);
	t->data[9] = (uint8_t)-sum;
}

void table_apic(struct table *t, uint32_t domain, uint8_t id, bool enabled)
{
	put_u8(t, 0);
	put_u8(t, 16);
	put_u8(t, (uint8_t)domain);
	put_u8(t, id);
	table_u32(t, enabled);
	put_u8(t, 0);
	put_u8(t, (uint8_t)(domain >> 8));
	put_u8(t, (uint8_t)(domain >> 16));
	put_u8(t, (uint8_t)(domain >> 24));
	table_u32(t, 0);
}

void table_x2apic(struct table *t, uint32_t domain, uint32_t id, bool enabled)
{
	put_u8(t, 2);
	put_u8(t, 24);
	table_u16(t, 0);
	table_u32(t, domain);
	table_u32(t, id);
	table_u32(t, enabled);
	table_u64(t, 0);
}

void table_gicc(struct table *t, uint32_t domain, uint32_t uid, bool enabled)
{
	put_u8(t, 3);
	put_u8(t, 18);
	table_u32(t, domain);
	table_u32(t, uid);
	table_u32(t, enabled);
	table_u32(t, 0);
}

void table_memory(struct table *t, uint32_t domain, uint64_t start, uint64_t size, uint32_t flags)
{
	put_u8(t, 1);
	put_u8(t, 40);
	table_u32(t, domain);
	table_u16(t, 0);
	table_u64(t, start);
	table_u64(t, size);
	table_u32(t, 0);
	table_u32(t, flags);
	table_u64(t, 0);
}

void table_pci_initiator(struct table *t, uint32_t domain, uint16_t segment, uint8_t bus,
			 uint8_t devfn, bool enabled)
{
	put_u8(t, 5);
	put_u8(t, 32);
	put_u8(t, 0);
	put_u8(t, 1);
	table_u32(t, domain);
	table_u16(t, segment);
	put_u8(t, bus);
	put_u8(t, devfn);
	zeros(t, 12);
	table_u32(t, enabled);
	table_u32(t, 0);
}

void table_acpi_initiator(struct table *t, uint32_t domain, const char *hid, uint32_t uid,
			  bool enabled)
{
	put_u8(t, 5);
	put_u8(t, 32);
	put_u8(t, 0);
	put_u8(t, 0);
	table_u32(t, domain);
	table_bytes(t, hid, 8);
	table_u32(t, uid);
	table_u32(t, 0);
	table_u32(t, enabled);
	table_u32(t, 0);
}

void table_attached(struct table *t, uint32_t memory, uint32_t initiator, bool valid)
{
	table_u32(t, 0);
	table_u32(t, 40);
	table_u32(t, valid);
	table_u32(t, initiator);
	table_u32(t, memory);
	zeros(t, 20);
}

void table_side_cache(struct table *t, uint32_t memory, uint64_t size, uint32_t attributes)
{
	table_u32(t, 2);
	table_u32(t, 32);
	table_u32(t, memory);
	table_u32(t, 0);
	table_u64(t, size);
	table_u32(t, attributes);
	table_u32(t, 0);
}

void table_matrix(struct table *t, uint8_t flags, uint8_t type, uint64_t base, uint32_t n_from,
		  uint32_t n_to, const uint32_t *from, const uint32_t *to, const uint16_t *values)
{
	size_t n = (size_t)n_from * n_to;

	table_u32(t, 1);
	table_u32(t, values ? (uint32_t)(32 + 4 * (n_from + n_to) + 2 * n) : 32);
	put_u8(t, flags);
	put_u8(t, type);
	table_u16(t, 0);
	table_u32(t, n_from);
	table_u32(t, n_to);
	table_u32(t, 0);
	table_u64(t, base);
	for (uint32_t i = 0; values && i < n_from; i++)
		table_u32(t, from[i]);
	for (uint32_t i = 0; values && i < n_to; i++)
		table_u32(t, to[i]);
	for (size_t i = 0; values && i < n; i++)
		table_u16(t, values[i]);
}
