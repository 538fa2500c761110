// SPDX-License-Identifier: Apache-2.0
/* Finding a domain and the values of a pair of nodes, and recording what was found. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "node/firmware_internal.h"

const char *stow_domain_source_name(enum stow_domain_source by)
{
	static const char *const names[] = { NULL, "memory", "cpu", "device" };

	return names[by];
}

void stow_firmware_note(struct stow_comparison *c, const char *fmt, ...)
{
	struct stow_firmware *f = c->f;
	va_list args;
	char **new;

	if (f->n_findings >= STOW_FINDINGS_MAX) {
		f->n_findings++;
		return;
	}
	new = STOW_APPEND(f->findings, f->n_findings);
	if (!new) {
		c->oom = true;
		return;
	}
	va_start(args, fmt);
	if (vasprintf(new, fmt, args) < 0) {
		*new = NULL;
		f->n_findings--;
		c->oom = true;
	}
	va_end(args);
}

struct stow_firmware_domain *stow_firmware_domain(const struct stow_firmware *f, uint64_t domain)
{
	size_t lo = 0, hi = f->n_domains;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (f->domains[mid].domain == domain)
			return &f->domains[mid];
		if (f->domains[mid].domain < domain)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* Return whether the value is about loads by node `from` from the memory of node `to`. */
static bool is_of(const struct stow_firmware *f, const struct stow_hmat_value *v, int from, int to)
{
	const struct stow_firmware_domain *initiator = stow_firmware_domain(f, v->initiator);
	const struct stow_firmware_domain *target = stow_firmware_domain(f, v->target);

	return !v->hierarchy && initiator && target && initiator->node == from &&
	       target->node == to;
}

/* Return the table's value of that type, else the one for reads and writes alike; 0: none. */
static uint64_t table_value(const struct stow_firmware *f, int from, int to,
			    enum stow_hmat_type type, enum stow_hmat_type alike)
{
	uint64_t value = 0;

	for (size_t i = 0; i < f->acpi.hmat.n_values; i++) {
		const struct stow_hmat_value *v = &f->acpi.hmat.values[i];

		if ((v->type != type && v->type != alike) || !is_of(f, v, from, to))
			continue;
		if (v->type == type)
			return v->value;
		value = v->value;
	}
	return value;
}

struct stow_firmware_reads stow_firmware_reads(const struct stow_firmware *f,
					       const struct stow_firmware_kernel *kernel,
					       size_t from, size_t to)
{
	int a = kernel->topology->nodes[from].id, b = kernel->topology->nodes[to].id;
	struct stow_firmware_reads ret = { 0 };

	/* The class of CPUs first: the nearest initiator of all may be a device. */
	for (int class = STOW_ACCESS_CLASSES - 1; class >= 0; class --) {
		const struct stow_access *access = &kernel->locality->nodes[to].access[class];

		if (!access->known || !stow_idset_has(&access->initiators, a))
			continue;
		ret.latency = ret.latency ? ret.latency : access->read_latency;
		ret.bandwidth = ret.bandwidth ? ret.bandwidth : access->read_bandwidth;
	}
	if (!ret.latency)
		ret.latency =
			table_value(f, a, b, STOW_HMAT_READ_LATENCY, STOW_HMAT_ACCESS_LATENCY);
	if (!ret.bandwidth)
		ret.bandwidth =
			table_value(f, a, b, STOW_HMAT_READ_BANDWIDTH, STOW_HMAT_ACCESS_BANDWIDTH);
	return ret;
}
