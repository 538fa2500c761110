/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the firmware says about NUMA: the ACPI tables SRAT, SLIT and HMAT (ACPI 6.5, sections
 * 5.2.16, 5.2.17 and 5.2.28).
 *
 * The tables speak of proximity domains, which are numbers of the firmware's own: the kernel numbers
 * its nodes by itself (drivers/acpi/numa/srat.c). node/firmware.h finds the node of a domain.
 *
 * The parsers are pure functions over bytes, so that they can be fuzzed. They trust no length: what
 * reaches beyond the table is -EINVAL. Structures of unknown types are skipped, because each
 * release of the specification adds some.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

#define STOW_SLIT_MAX 1024 /* localities; Linux is built for 1024 nodes at most */

/* The processors' numbers in SRAT: which of the kernel's numbers they are compared with. */
enum stow_srat_cpu_kind {
	STOW_SRAT_APIC, /* local APIC or x2APIC: x86's APIC id */
	STOW_SRAT_UID,	/* arm64's GICC, RISC-V's RINTC: ACPI's processor UID */
};

struct stow_srat_cpu {
	uint32_t domain;
	uint32_t id;
	enum stow_srat_cpu_kind kind;
	bool enabled;
};

struct stow_srat_memory {
	uint32_t domain;
	uint64_t start, size; /* physical, bytes; start + size does not exceed 2^64 */
	bool enabled, hotplug, nonvolatile;
};

/* A generic initiator: a device that accesses memory, such as an accelerator, or (port) a root port
 * of CXL. */
struct stow_srat_device {
	uint32_t domain;
	char name[40]; /* "0000:3b:00.0", or ACPI's "ACPI0016:1" */
	bool enabled, port;
};

struct stow_srat {
	struct stow_srat_cpu *cpus;
	size_t n_cpus;
	struct stow_srat_memory *memory;
	size_t n_memory;
	struct stow_srat_device *devices;
	size_t n_devices;
};

struct stow_slit {
	size_t n;	   /* localities: domains 0 .. n - 1 */
	uint8_t *distance; /* n * n, row = from; 255: no path */
};

/* HMAT: the memory of a domain is attached to the initiator's. */
struct stow_hmat_attached {
	uint32_t memory, initiator;
	bool has_initiator;
};

enum stow_hmat_type {
	STOW_HMAT_ACCESS_LATENCY, /* reads and writes alike */
	STOW_HMAT_READ_LATENCY,
	STOW_HMAT_WRITE_LATENCY,
	STOW_HMAT_ACCESS_BANDWIDTH,
	STOW_HMAT_READ_BANDWIDTH,
	STOW_HMAT_WRITE_BANDWIDTH,
	STOW_HMAT_TYPES,
};

/* One value of a matrix of HMAT. */
struct stow_hmat_value {
	uint32_t initiator, target; /* domains */
	enum stow_hmat_type type;
	uint8_t hierarchy; /* 0: memory; 1 to 3: memory-side caches */
	uint32_t value;	   /* ns or MB/s, as the kernel computes them */
};

struct stow_hmat_cache {
	uint32_t memory; /* domain */
	uint64_t size;	 /* bytes */
	uint8_t levels, level, associativity, write_policy;
	uint16_t line_size;
};

struct stow_hmat {
	struct stow_hmat_attached *attached;
	size_t n_attached;
	struct stow_hmat_value *values; /* without those that the firmware does not provide */
	size_t n_values;
	struct stow_hmat_cache *caches;
	size_t n_caches;
};

/* Parse a table of `len` bytes; free with the function beside. -EINVAL: it is not that table, or it
 * is cut, or a structure in it has an impossible length. */
int stow_srat_parse(const void *data, size_t len, struct stow_srat *ret, struct stow_err *err);
void stow_srat_done(struct stow_srat *srat);
int stow_slit_parse(const void *data, size_t len, struct stow_slit *ret, struct stow_err *err);
void stow_slit_done(struct stow_slit *slit);
int stow_hmat_parse(const void *data, size_t len, struct stow_hmat *ret, struct stow_err *err);
void stow_hmat_done(struct stow_hmat *hmat);

/* Return whether the bytes of a table that was parsed add up to 0, as its checksum demands. */
bool stow_acpi_checksum(const void *data, size_t len);

/* What became of reading a table. */
enum stow_acpi_state {
	STOW_ACPI_ABSENT,
	STOW_ACPI_HIDDEN, /* only root can read it */
	STOW_ACPI_BROKEN, /* `why` names what is wrong */
	STOW_ACPI_READ,
};

struct stow_acpi_table {
	enum stow_acpi_state state;
	unsigned int revision;
	uint64_t length; /* bytes */
	char oem[18];	 /* the OEM's and the table's name: "BOCHS BXPC" */
	bool bad_checksum;
	struct stow_err why;
};

struct stow_acpi {
	bool present; /* the machine has ACPI tables */
	struct stow_acpi_table srat_table, slit_table, hmat_table;
	struct stow_srat srat;
	struct stow_slit slit;
	struct stow_hmat hmat;
};

/* Read the three tables in /sys/firmware/acpi/tables. A table that is not there, or cannot be
 * parsed, is empty, and its state says so. Free with stow_acpi_done(). -ENOMEM. */
int stow_acpi_read(struct stow_root *root, struct stow_acpi *ret, struct stow_err *err);
void stow_acpi_done(struct stow_acpi *acpi);

/* Return "absent", "hidden", "broken" or "read". */
const char *stow_acpi_state_name(enum stow_acpi_state state);
/* Return "access latency", "read latency", and so on. */
const char *stow_hmat_type_name(enum stow_hmat_type type);
