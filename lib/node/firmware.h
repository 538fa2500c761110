/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the firmware says about NUMA, beside what the kernel made of it.
 *
 * Sources: SRAT, SLIT and HMAT, or a device tree where there is no ACPI; and the memory map. The
 * tables number proximity domains, the kernel numbers nodes, and no file has the relation. It is
 * found by what both know: memory by its address (memory blocks), CPUs by their APIC id
 * (/proc/cpuinfo), by ACPI's processor UID (cpuN/firmware_node/uid) or by the link cpuN/of_node,
 * devices by their PCI address. What cannot be found in this way is unknown (-1).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"
#include "node/acpi.h"
#include "node/devicetree.h"
#include "node/locality.h"
#include "node/memblock.h"
#include "node/memmap.h"
#include "node/topology.h"

#define STOW_DOMAINS_MAX  4096 /* domains beyond this number are left out, with a finding */
#define STOW_RANGES_MAX	  8192 /* ranges of memory, likewise; Linux takes 2048 */
#define STOW_FINDINGS_MAX 64

enum stow_firmware_source {
	STOW_FIRMWARE_NONE,
	STOW_FIRMWARE_ACPI,
	STOW_FIRMWARE_DEVICETREE,
};

/* How the node of a domain was found. */
enum stow_domain_source {
	STOW_DOMAIN_BY_NOTHING,
	STOW_DOMAIN_BY_MEMORY,
	STOW_DOMAIN_BY_CPU,
	STOW_DOMAIN_BY_DEVICE,
};

struct stow_firmware_domain {
	uint32_t domain;
	int node; /* -1: unknown */
	enum stow_domain_source by;
	struct stow_idset cpus;		 /* the kernel's CPUs that are in the domain */
	size_t n_cpus;			 /* enabled entries of CPUs in the table */
	uint64_t memory, hotplug_memory; /* bytes: present at boot; room for more */
	size_t n_devices;
};

/* A CPU of the table. */
struct stow_firmware_cpu {
	uint32_t domain;
	uint32_t id; /* APIC id, or processor UID; of a device tree, an index */
	int cpu;     /* the kernel's number; -1: unknown, as of a CPU that is offline */
	bool enabled;
};

/* A range of memory of the table. */
struct stow_firmware_memory {
	uint32_t domain;
	uint64_t start, size;
	bool enabled, hotplug, nonvolatile;
	int node;	    /* by its memory blocks, or else its domain's; -1: unknown */
	size_t n_elsewhere; /* memory blocks in it that are on other nodes than the domain's */
};

/* An entry of the memory map, with the nodes of its memory blocks (RAM only), and the domains of
 * the table's ranges that it meets, as far as they are below STOW_IDSET_MAX. */
struct stow_firmware_region {
	struct stow_memmap_region map;
	struct stow_idset nodes, domains;
};

struct stow_firmware {
	enum stow_firmware_source source;
	struct stow_acpi acpi;
	struct stow_devicetree tree;
	struct stow_firmware_domain *domains; /* by ascending number */
	size_t n_domains;
	struct stow_firmware_cpu *cpus;
	size_t n_cpus;
	struct stow_firmware_memory *memory; /* by ascending start */
	size_t n_memory;
	struct stow_firmware_region *regions; /* by ascending start */
	size_t n_regions;
	bool map_hidden; /* the caller may not read the memory map */

	char **findings;   /* one line each: where the kernel disagrees, or a table is wrong */
	size_t n_findings; /* all of them; the first STOW_FINDINGS_MAX are kept */
	bool compared;	   /* false: nothing could be compared, which does not mean agreement */
};

/* What the kernel says. */
struct stow_firmware_kernel {
	const struct stow_topology *topology; /* with STOW_TOPOLOGY_CPUS */
	const struct stow_memblocks *blocks;
	const struct stow_locality *locality;
};

/* Read the firmware's tables and compare them. A table that is missing, hidden or broken is not an
 * error; its state says so. Free with stow_firmware_done(). -ENOMEM. */
int stow_firmware_read(struct stow_root *root, const struct stow_firmware_kernel *kernel,
		       struct stow_firmware *ret, struct stow_err *err);
void stow_firmware_done(struct stow_firmware *firmware);

/* Return the domain with that number, or NULL. */
struct stow_firmware_domain *stow_firmware_domain(const struct stow_firmware *firmware,
						  uint64_t domain);

/* What HMAT has of loads from the memory of one node by the CPUs of another. 0: unknown. */
struct stow_firmware_reads {
	uint64_t latency;   /* ns */
	uint64_t bandwidth; /* MB/s */
};

/* Return what is known of loads by node `from` from node `to`: as the kernel shows it, where `from`
 * is one of the nearest initiators of `to`, else as the table has it. Both are indices in the
 * kernel's topology. */
struct stow_firmware_reads stow_firmware_reads(const struct stow_firmware *firmware,
					       const struct stow_firmware_kernel *kernel,
					       size_t from, size_t to);

/* Return "memory", "cpu", "device" or NULL. */
const char *stow_domain_source_name(enum stow_domain_source by);
