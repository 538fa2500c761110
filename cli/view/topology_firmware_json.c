// SPDX-License-Identifier: Apache-2.0
/* numastow topology --firmware --json. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/view/topology_views.h"

static void put_u64(struct json_writer *w, json_object *o, const char *key, uint64_t value)
{
	json_put(w, o, key, json_object_new_uint64(value));
}

static void put_bool(struct json_writer *w, json_object *o, const char *key, bool value)
{
	json_put(w, o, key, json_object_new_boolean(value));
}

/* Addresses are in hexadecimal, as lsmem's and the kernel's are. */
static void put_address(struct json_writer *w, json_object *o, const char *key, uint64_t address)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, address);
	json_put(w, o, key, json_object_new_string(text));
}

static void append_table(struct json_writer *w, json_object *array, const char *name,
			 const struct stow_acpi_table *table)
{
	json_object *o = json_object_new_object();

	json_put(w, o, "name", json_object_new_string(name));
	json_put(w, o, "state", json_object_new_string(stow_acpi_state_name(table->state)));
	if (table->state == STOW_ACPI_READ) {
		put_u64(w, o, "revision", table->revision);
		put_u64(w, o, "length", table->length);
		json_put(w, o, "oem", json_object_new_string(table->oem));
		put_bool(w, o, "checksum", !table->bad_checksum);
	}
	json_append(w, array, o);
}

static json_object *domains_json(struct json_writer *w, const struct stow_firmware *f)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < f->n_domains; i++) {
		const struct stow_firmware_domain *d = &f->domains[i];
		json_object *o = json_object_new_object();

		put_u64(w, o, "domain", d->domain);
		json_put_node(w, o, d->node);
		json_put_text(w, o, "found_by", d->by ? stow_domain_source_name(d->by) : NULL);
		json_put_set(w, o, "cpus", &d->cpus);
		put_u64(w, o, "entries", d->n_cpus);
		put_u64(w, o, "memory", d->memory);
		put_u64(w, o, "hotplug", d->hotplug_memory);
		put_u64(w, o, "initiators", d->n_devices);
		json_append(w, array, o);
	}
	return array;
}

static json_object *cpus_json(struct json_writer *w, const struct stow_firmware *f)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < f->n_cpus; i++) {
		const struct stow_firmware_cpu *cpu = &f->cpus[i];
		json_object *o = json_object_new_object();

		put_u64(w, o, "id", cpu->id);
		put_u64(w, o, "domain", cpu->domain);
		put_bool(w, o, "enabled", cpu->enabled);
		json_put_number(w, o, "cpu", cpu->cpu);
		json_append(w, array, o);
	}
	return array;
}

static json_object *memory_json(struct json_writer *w, const struct stow_firmware *f)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < f->n_memory; i++) {
		const struct stow_firmware_memory *m = &f->memory[i];
		json_object *o = json_object_new_object();

		put_address(w, o, "start", m->start);
		put_u64(w, o, "size", m->size);
		put_u64(w, o, "domain", m->domain);
		json_put_node(w, o, m->node);
		put_bool(w, o, "enabled", m->enabled);
		put_bool(w, o, "hotplug", m->hotplug);
		put_bool(w, o, "nonvolatile", m->nonvolatile);
		json_append(w, array, o);
	}
	return array;
}

static json_object *initiators_json(struct json_writer *w, const struct stow_firmware *f)
{
	const struct stow_srat *srat = &f->acpi.srat;
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < srat->n_devices; i++) {
		const struct stow_firmware_domain *d =
			stow_firmware_domain(f, srat->devices[i].domain);
		json_object *o = json_object_new_object();

		json_put(w, o, "device", json_object_new_string(srat->devices[i].name));
		put_u64(w, o, "domain", srat->devices[i].domain);
		json_put_node(w, o, d ? d->node : -1);
		put_bool(w, o, "enabled", srat->devices[i].enabled);
		put_bool(w, o, "port", srat->devices[i].port);
		json_append(w, array, o);
	}
	return array;
}

static json_object *map_json(struct json_writer *w, const struct stow_firmware *f)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < f->n_regions; i++) {
		const struct stow_firmware_region *region = &f->regions[i];
		json_object *o = json_object_new_object();

		put_address(w, o, "start", region->map.start);
		put_address(w, o, "end", region->map.end);
		json_put(w, o, "type", json_object_new_string(region->map.type));
		json_put_set(w, o, "domains", &region->domains);
		json_put_set(w, o, "mems", &region->nodes);
		json_append(w, array, o);
	}
	return array;
}

/* SLIT and distance-map alike: from, to, distance. */
static json_object *distances_json(struct json_writer *w, const struct stow_firmware *f)
{
	const struct stow_slit *slit = &f->acpi.slit;
	size_t n = slit->n * slit->n;
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < n + f->tree.n_distances; i++) {
		const struct stow_dt_distance *d = i < n ? NULL : &f->tree.distances[i - n];
		json_object *o = json_object_new_object();

		put_u64(w, o, "from", d ? d->from : i / slit->n);
		put_u64(w, o, "to", d ? d->to : i % slit->n);
		put_u64(w, o, "distance", d ? d->distance : slit->distance[i]);
		json_append(w, array, o);
	}
	return array;
}

static json_object *values_json(struct json_writer *w, const struct stow_firmware *f)
{
	const struct stow_hmat *hmat = &f->acpi.hmat;
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < hmat->n_values; i++) {
		const struct stow_hmat_value *v = &hmat->values[i];
		json_object *o = json_object_new_object();

		put_u64(w, o, "from", v->initiator);
		put_u64(w, o, "to", v->target);
		json_put(w, o, "what", json_object_new_string(stow_hmat_type_name(v->type)));
		put_u64(w, o, "hierarchy", v->hierarchy);
		put_u64(w, o, "value", v->value);
		json_append(w, array, o);
	}
	return array;
}

static json_object *caches_json(struct json_writer *w, const struct stow_firmware *f)
{
	const struct stow_hmat *hmat = &f->acpi.hmat;
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < hmat->n_caches; i++) {
		json_object *o = json_object_new_object();

		put_u64(w, o, "domain", hmat->caches[i].memory);
		put_u64(w, o, "size", hmat->caches[i].size);
		put_u64(w, o, "level", hmat->caches[i].level);
		put_u64(w, o, "levels", hmat->caches[i].levels);
		put_u64(w, o, "line_size", hmat->caches[i].line_size);
		json_append(w, array, o);
	}
	return array;
}

int topology_print_firmware_json(const struct stow_firmware *f, struct stow_err *err)
{
	static const char *const sources[] = { NULL, "acpi", "devicetree" };
	struct json_writer w = { .ok = true };
	json_object *o = cli_output_object(&w), *tables = json_object_new_array(),
		    *findings = json_object_new_array();
	int r;

	append_table(&w, tables, "SRAT", &f->acpi.srat_table);
	append_table(&w, tables, "SLIT", &f->acpi.slit_table);
	append_table(&w, tables, "HMAT", &f->acpi.hmat_table);
	for (size_t i = 0; i < f->n_findings && i < STOW_FINDINGS_MAX; i++)
		json_append(&w, findings, json_object_new_string(f->findings[i]));
	json_put_text(&w, o, "source", f->source ? sources[f->source] : NULL);
	json_put(&w, o, "tables", tables);
	json_put(&w, o, "domains", domains_json(&w, f));
	json_put(&w, o, "cpus", cpus_json(&w, f));
	json_put(&w, o, "memory", memory_json(&w, f));
	json_put(&w, o, "initiators", initiators_json(&w, f));
	json_put(&w, o, "memory_map", map_json(&w, f));
	json_put(&w, o, "distances", distances_json(&w, f));
	json_put(&w, o, "hmat", values_json(&w, f));
	json_put(&w, o, "memory_side_caches", caches_json(&w, f));
	json_put(&w, o, "findings", findings);
	put_u64(&w, o, "n_findings", f->n_findings);
	put_bool(&w, o, "compared", f->compared);
	r = json_print(&w, o);
	return r < 0 ? stow_err_sys(err, -r, "printing the firmware's tables") : 0;
}
