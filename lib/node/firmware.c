// SPDX-License-Identifier: Apache-2.0
/* Collects what the tables say in one form, whichever they are. */
#include "node/firmware.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/math.h"
#include "node/firmware_internal.h"

/* --- domains ----------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Make the list of all domains that have something. */
static int list_domains(struct stow_comparison *c)
{
	struct stow_firmware *f = c->f;
	const struct stow_srat *srat = &f->acpi.srat;
	size_t n = 0, most = f->n_cpus + f->n_memory + srat->n_devices;
	_cleanup_free_ uint32_t *numbers = calloc(most + 1, sizeof(*numbers));

	if (!numbers)
		return -ENOMEM;
	for (size_t i = 0; i < f->n_cpus; i++)
		if (f->cpus[i].enabled)
			numbers[n++] = f->cpus[i].domain;
	for (size_t i = 0; i < f->n_memory; i++)
		if (f->memory[i].enabled)
			numbers[n++] = f->memory[i].domain;
	for (size_t i = 0; i < srat->n_devices; i++)
		if (srat->devices[i].enabled && !srat->devices[i].port)
			numbers[n++] = srat->devices[i].domain;
	if (n)
		qsort(numbers, n, sizeof(*numbers), by_number);
	for (size_t i = 0; i < n; i++) {
		struct stow_firmware_domain *new;

		if (i && numbers[i] == numbers[i - 1])
			continue;
		if (f->n_domains == STOW_DOMAINS_MAX) {
			stow_firmware_note(
				c, "there are more than %d domains; the others are left out",
				STOW_DOMAINS_MAX);
			break;
		}
		new = STOW_APPEND(f->domains, f->n_domains);
		if (!new)
			return -ENOMEM;
		new->domain = numbers[i];
		new->node = -1;
	}
	return 0;
}

static void sum_domains(struct stow_firmware *f)
{
	for (size_t i = 0; i < f->n_cpus; i++) {
		struct stow_firmware_domain *d = stow_firmware_domain(f, f->cpus[i].domain);

		if (d && f->cpus[i].enabled)
			d->n_cpus++;
	}
	for (size_t i = 0; i < f->n_memory; i++) {
		const struct stow_firmware_memory *m = &f->memory[i];
		struct stow_firmware_domain *d = stow_firmware_domain(f, m->domain);

		uint64_t *sum = d ? m->hotplug ? &d->hotplug_memory : &d->memory : NULL;

		if (sum && m->enabled)
			*sum = stow_saturating_add(*sum, m->size);
	}
	for (size_t i = 0; i < f->acpi.srat.n_devices; i++) {
		const struct stow_srat_device *device = &f->acpi.srat.devices[i];
		struct stow_firmware_domain *d = stow_firmware_domain(f, device->domain);

		if (d && device->enabled && !device->port)
			d->n_devices++;
	}
}

/* --- one form for both sources ------------------------------------------------ */

static int by_start(const void *a, const void *b)
{
	const struct stow_firmware_memory *x = a, *y = b;

	return x->start != y->start ? (x->start > y->start) - (x->start < y->start)
				    : (x->domain > y->domain) - (x->domain < y->domain);
}

static int take_acpi(struct stow_firmware *f)
{
	const struct stow_srat *srat = &f->acpi.srat;

	f->cpus = calloc(srat->n_cpus + 1, sizeof(*f->cpus));
	f->memory = calloc(srat->n_memory + 1, sizeof(*f->memory));
	if (!f->cpus || !f->memory)
		return -ENOMEM;
	for (size_t i = 0; i < srat->n_cpus; i++)
		f->cpus[f->n_cpus++] =
			(struct stow_firmware_cpu){ srat->cpus[i].domain, srat->cpus[i].id, -1,
						    srat->cpus[i].enabled };
	for (size_t i = 0; i < srat->n_memory; i++) {
		const struct stow_srat_memory *m = &srat->memory[i];

		/* Firmware pads the table with empty entries. */
		if (m->size && f->n_memory < STOW_RANGES_MAX)
			f->memory[f->n_memory++] = (struct stow_firmware_memory){
				m->domain,  m->start,	    m->size, m->enabled,
				m->hotplug, m->nonvolatile, -1,	     0
			};
	}
	return 0;
}

static int take_tree(struct stow_firmware *f)
{
	const struct stow_devicetree *tree = &f->tree;

	f->cpus = calloc(tree->n_cpus + 1, sizeof(*f->cpus));
	f->memory = calloc(tree->n_memory + 1, sizeof(*f->memory));
	if (!f->cpus || !f->memory)
		return -ENOMEM;
	for (size_t i = 0; i < tree->n_cpus; i++)
		f->cpus[f->n_cpus++] =
			(struct stow_firmware_cpu){ tree->cpus[i].domain, (uint32_t)i, -1, true };
	for (size_t i = 0; i < tree->n_memory && i < STOW_RANGES_MAX; i++)
		f->memory[f->n_memory++] = (struct stow_firmware_memory){ tree->memory[i].domain,
									  tree->memory[i].start,
									  tree->memory[i].size,
									  true,
									  false,
									  false,
									  -1,
									  0 };
	return 0;
}

static int take_map(struct stow_comparison *c, struct stow_err *err)
{
	_cleanup_(stow_memmap_done) struct stow_memmap map = { 0 };
	struct stow_firmware *f = c->f;
	struct stow_err inner;
	int r = stow_memmap_read(c->root, &map, &inner);

	if (r == -ENOMEM)
		return stow_err_move(err, r, &inner);
	f->map_hidden = r < 0;
	if (map.n_broken)
		stow_firmware_note(c, "/sys/firmware/memmap: %zu entries are not readable",
				   map.n_broken);
	f->regions = calloc(map.n_regions + 1, sizeof(*f->regions));
	if (!f->regions)
		return stow_err_sys(err, ENOMEM, "reading the memory map");
	for (size_t i = 0; i < map.n_regions; i++)
		f->regions[f->n_regions++].map = map.regions[i];
	return 0;
}

static int gather(struct stow_comparison *c, struct stow_err *err)
{
	struct stow_firmware *f = c->f;
	int r = stow_acpi_read(c->root, &f->acpi, err);

	if (r == 0 && !f->acpi.present)
		r = stow_devicetree_read(c->root, &f->tree, err);
	if (r < 0)
		return r;
	f->source = f->acpi.present   ? STOW_FIRMWARE_ACPI
		    : f->tree.present ? STOW_FIRMWARE_DEVICETREE
				      : STOW_FIRMWARE_NONE;
	r = f->source == STOW_FIRMWARE_DEVICETREE ? take_tree(f) : take_acpi(f);
	if (r == 0)
		r = list_domains(c);
	if (r < 0)
		return stow_err_sys(err, -r, "reading the firmware's tables");
	if (f->n_memory == STOW_RANGES_MAX)
		stow_firmware_note(
			c, "there are more than %d ranges of memory; the others are left out",
			STOW_RANGES_MAX - 1);
	if (f->n_memory)
		qsort(f->memory, f->n_memory, sizeof(*f->memory), by_start);
	sum_domains(f);
	return take_map(c, err);
}

int stow_firmware_read(struct stow_root *root, const struct stow_firmware_kernel *kernel,
		       struct stow_firmware *ret, struct stow_err *err)
{
	struct stow_firmware f = { 0 };
	struct stow_comparison c = { .root = root, .kernel = kernel, .f = &f };
	int r = gather(&c, err);

	if (r == 0)
		r = stow_firmware_match(&c, err);
	if (r == 0)
		stow_firmware_check(&c);
	if (r == 0 && c.oom)
		r = stow_err_sys(err, ENOMEM, "comparing the firmware's tables");
	free(c.domain_of_node);
	if (r < 0)
		stow_firmware_done(&f);
	else
		*ret = f;
	return r;
}

void stow_firmware_done(struct stow_firmware *f)
{
	stow_acpi_done(&f->acpi);
	stow_devicetree_done(&f->tree);
	for (size_t i = 0; i < f->n_findings && i < STOW_FINDINGS_MAX; i++)
		free(f->findings[i]);
	free(f->findings);
	free(f->domains);
	free(f->cpus);
	free(f->memory);
	free(f->regions);
	*f = (struct stow_firmware){ 0 };
}
