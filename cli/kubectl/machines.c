// SPDX-License-Identifier: Apache-2.0
#include "cli/kubectl/machines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/math.h"
#include "base/text.h"
#include "cli/kubectl/kubectl.h"
#include "kube/json.h"

/* A ResourceSlice of a machine's pool. */
struct slice {
	char *machine;
	int64_t generation;
	int64_t count; /* slices of the pool's generation in all */
};

/* What was read so far. */
struct reading {
	struct kubectl_machines *to;
	struct slice *slices;
	size_t n_slices;
	struct stow_err err;
};

/* --- reading slices ------------------------------------------------------- */

/* Copy a text of the API server, without control characters, into a field of fixed size. */
static void copy(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from);
	stow_text_clean(to, size - 1);
}

static int64_t attribute(struct json_object *device, const char *name)
{
	struct json_object *value;

	if (!json_object_object_get_ex(stow_kube_at(device, "attributes"), name, &value))
		return -1;
	return stow_kube_number(value, "int", -1);
}

void kubectl_taint_read(struct json_object *object, struct kubectl_taint *ret)
{
	copy(ret->key, sizeof(ret->key), stow_kube_text(object, "key"));
	copy(ret->value, sizeof(ret->value), stow_kube_text(object, "value"));
	copy(ret->effect, sizeof(ret->effect), stow_kube_text(object, "effect"));
}

static void read_taints(struct json_object *object, struct kubectl_device *device)
{
	size_t n;
	struct json_object *taints = stow_kube_list_at(object, "taints", &n);

	for (size_t i = 0; i < n && device->n_taints < KUBECTL_TAINTS_MAX; i++)
		kubectl_taint_read(json_object_array_get_idx(taints, i),
				   &device->taints[device->n_taints++]);
}

static int read_device(struct reading *reading, struct json_object *object, const char *machine,
		       int64_t generation)
{
	struct kubectl_machines *to = reading->to;
	struct kubectl_device *device;

	if (to->n_devices == KUBECTL_DEVICES_MAX)
		return stow_err_set(&reading->err, E2BIG, "there are more than %d NUMA nodes",
				    KUBECTL_DEVICES_MAX);
	device = STOW_APPEND(to->devices, to->n_devices);
	if (!device)
		return stow_err_set(&reading->err, ENOMEM, "out of memory");
	*device = (struct kubectl_device){
		.machine = kubectl_clean(machine),
		.name = kubectl_clean(stow_kube_text(object, "name")),
		.generation = generation,
		.node = attribute(object, "resource.kubernetes.io/numaNode"),
		.socket = attribute(object, "socket"),
		.cpu_count = attribute(object, "cpuCount"),
		.tier = attribute(object, "memoryTier"),
	};
	copy(device->kind, sizeof(device->kind), stow_kube_text(object, "attributes.kind.string"));
	kubectl_amounts_read_capacity(stow_kube_at(object, "capacity"), &device->capacity);
	read_taints(object, device);
	return device->machine && device->name
		       ? 0
		       : stow_err_set(&reading->err, ENOMEM, "out of memory");
}

static int on_slice(void *ctx, struct json_object *object)
{
	struct reading *reading = ctx;
	const char *machine = stow_kube_text(object, "spec.pool.name");
	int64_t generation = stow_kube_number(object, "spec.pool.generation", 0);
	struct json_object *devices;
	struct slice *slice;
	size_t n;
	int r = 0;

	if (strcmp(stow_kube_text(object, "spec.driver"), KUBECTL_DRIVER) != 0)
		return 0;
	slice = STOW_APPEND(reading->slices, reading->n_slices);
	if (!slice)
		return stow_err_set(&reading->err, ENOMEM, "out of memory");
	slice->machine = kubectl_clean(machine);
	slice->generation = generation;
	slice->count = stow_kube_number(object, "spec.pool.resourceSliceCount", 0);
	if (!slice->machine)
		return stow_err_set(&reading->err, ENOMEM, "out of memory");
	devices = stow_kube_list_at(object, "spec.devices", &n);
	for (size_t i = 0; i < n && r == 0; i++)
		r = read_device(reading, json_object_array_get_idx(devices, i), machine,
				generation);
	return r;
}

/* --- grouping by machine -------------------------------------------------- */

static int by_slice(const void *a, const void *b)
{
	const struct slice *x = a, *y = b;
	int r = strcmp(x->machine, y->machine);

	/* The highest generation comes first: it is the one that counts. */
	return r ? r : (x->generation < y->generation) - (x->generation > y->generation);
}

static int by_device(const void *a, const void *b)
{
	const struct kubectl_device *x = a, *y = b;
	int r = strcmp(x->machine, y->machine);

	if (r == 0)
		r = (x->generation < y->generation) - (x->generation > y->generation);
	if (r == 0)
		r = (x->node > y->node) - (x->node < y->node);
	return r ? r : strcmp(x->name, y->name);
}

static void device_done(struct kubectl_device *device)
{
	free(device->machine);
	free(device->name);
}

/* Add the machine of slices[i], with its devices from *k on; move *k behind all of them, and return
 * the index behind its slices. */
static size_t add_machine(struct reading *reading, size_t i, size_t *k)
{
	struct kubectl_machines *to = reading->to;
	const struct slice *first = &reading->slices[i];
	struct kubectl_machine *machine = &to->list[to->n++];
	int64_t seen = 0;

	for (; i < reading->n_slices && strcmp(reading->slices[i].machine, first->machine) == 0;
	     i++)
		seen += reading->slices[i].generation == first->generation;
	machine->complete = seen == first->count;
	machine->devices = &to->devices[*k];
	machine->name = to->devices[*k].machine;
	for (; *k < to->n_devices && strcmp(to->devices[*k].machine, first->machine) == 0; ++*k)
		machine->n_devices += to->devices[*k].generation == first->generation;
	return i;
}

/* Group the devices by machine. Devices of older generations are sorted behind the others of their
 * machine, and are not counted in n_devices. */
static int group(struct reading *reading, struct stow_err *err)
{
	struct kubectl_machines *to = reading->to;
	size_t i = 0, k = 0;

	if (reading->n_slices)
		qsort(reading->slices, reading->n_slices, sizeof(*reading->slices), by_slice);
	if (to->n_devices)
		qsort(to->devices, to->n_devices, sizeof(*to->devices), by_device);
	to->list = calloc(reading->n_slices + 1, sizeof(*to->list));
	if (!to->list)
		return stow_err_set(err, ENOMEM, "out of memory");
	while (i < reading->n_slices) {
		/* A slice may have no device. */
		if (k < to->n_devices &&
		    strcmp(to->devices[k].machine, reading->slices[i].machine) == 0)
			i = add_machine(reading, i, &k);
		else
			i++;
	}
	return 0;
}

/* --- claims --------------------------------------------------------------- */

static int by_name(const void *key, const void *entry)
{
	return strcmp(key, ((const struct kubectl_machine *)entry)->name);
}

const struct kubectl_machine *kubectl_machines_find(const struct kubectl_machines *machines,
						    const char *name)
{
	return machines->n ? bsearch(name, machines->list, machines->n, sizeof(*machines->list),
				     by_name)
			   : NULL;
}

/* Add what a claim has of a device to what is used of it. */
static void add_use(const struct kubectl_machine *machine, struct json_object *result)
{
	const char *name = stow_kube_text(result, "device");
	struct kubectl_amounts amounts;

	if (kubectl_amounts_read(stow_kube_at(result, "consumedCapacity"), &amounts, NULL) < 0)
		return;
	for (size_t i = 0; i < machine->n_devices; i++) {
		struct kubectl_device *device = &machine->devices[i];

		if (strcmp(device->name, name) != 0)
			continue;
		device->claims++;
		for (size_t c = 0; c < device->capacity.n; c++) {
			const struct kubectl_amount *a =
				kubectl_amounts_find(&amounts, device->capacity.list[c].name);

			device->used[c] = stow_saturating_add(device->used[c], a ? a->value : 0);
		}
	}
}

static int on_claim(void *ctx, struct json_object *object)
{
	struct kubectl_machines *machines = ctx;
	size_t n;
	struct json_object *results =
		stow_kube_list_at(object, "status.allocation.devices.results", &n);

	for (size_t i = 0; i < n; i++) {
		struct json_object *result = json_object_array_get_idx(results, i);
		const struct kubectl_machine *machine;

		/* An allocation with adminAccess takes nothing from others. */
		if (strcmp(stow_kube_text(result, "driver"), KUBECTL_DRIVER) != 0 ||
		    stow_kube_is_true(result, "adminAccess"))
			continue;
		machine = kubectl_machines_find(machines, stow_kube_text(result, "pool"));
		if (machine)
			add_use(machine, result);
	}
	return 0;
}

int kubectl_machines_read(struct stow_kube *kube, struct kubectl_machines *ret,
			  struct stow_err *err)
{
	static const struct stow_kube_select ours = { .fields = "spec.driver=" KUBECTL_DRIVER };
	_cleanup_free_ char *slices_at = NULL, *claims_at = NULL;
	struct reading reading = { .to = ret };
	int r;

	*ret = (struct kubectl_machines){ 0 };
	r = stow_kube_list(kube, KUBECTL_API "/resourceslices", &ours, on_slice, &reading,
			   &slices_at, err);
	if (r < 0 && reading.err.code)
		stow_err_move(err, r, &reading.err);
	if (r == 0)
		r = group(&reading, err);
	for (size_t i = 0; i < reading.n_slices; i++)
		free(reading.slices[i].machine);
	free(reading.slices);
	if (r == 0 && stow_kube_list(kube, KUBECTL_API "/resourceclaims", NULL, on_claim, ret,
				     &claims_at, &ret->unknown) == 0)
		ret->unknown.code = 0;
	if (r < 0)
		kubectl_machines_done(ret);
	return r;
}

void kubectl_machines_done(struct kubectl_machines *machines)
{
	for (size_t i = 0; i < machines->n_devices; i++)
		device_done(&machines->devices[i]);
	free(machines->devices);
	free(machines->list);
	*machines = (struct kubectl_machines){ 0 };
}

uint64_t kubectl_left(const struct kubectl_device *device, size_t i)
{
	return stow_saturating_sub(device->capacity.list[i].value, device->used[i]);
}
