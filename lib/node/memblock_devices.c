// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"
#include "node/memblock.h"
#include "node/memblock_internal.h"

#define MEMORY_DIR "/sys/devices/system/memory"
#define DAX_DIR	   "/sys/bus/dax/devices"

/* The kernel's ids for memory that ACPI can add and remove (ACPI, 5.12 Memory Devices). */
#define ACPI_MEMORY "PNP0C80:"

const char *stow_memdev_kind_name(enum stow_memdev_kind kind)
{
	static const char *const names[] = {
		[STOW_MEMDEV_DIMM] = "dimm",
		[STOW_MEMDEV_DAX] = "dax",
		[STOW_MEMDEV_VIRTIO] = "virtio-mem",
	};

	return (size_t)kind < STOW_ARRAY_SIZE(names) ? names[kind] : "unknown";
}

const struct stow_memdev *stow_memdev_find(const struct stow_memblocks *list, const char *name)
{
	for (size_t i = 0; i < list->n_devices; i++)
		if (strcmp(list->devices[i].name, name) == 0)
			return &list->devices[i];
	for (size_t i = 0; i < list->n_devices; i++)
		if (strcmp(list->devices[i].alias, name) == 0)
			return &list->devices[i];
	return NULL;
}

/* Return the index of the device with that alias, which is added to the list if it is new; or
 * -ENOMEM. */
static int device_by_alias(struct stow_memblocks *list, enum stow_memdev_kind kind,
			   const char *alias, struct stow_err *err)
{
	struct stow_memdev *added;

	for (size_t i = list->n_devices; i > 0; i--)
		if (list->devices[i - 1].kind == kind &&
		    strcmp(list->devices[i - 1].alias, alias) == 0)
			return (int)i - 1;
	added = STOW_APPEND(list->devices, list->n_devices);
	if (!added)
		return stow_err_sys(err, ENOMEM, "%s", alias);
	added->kind = kind;
	snprintf(added->alias, sizeof(added->alias), "%s", alias);
	snprintf(added->name, sizeof(added->name), "%s", alias);
	return (int)list->n_devices - 1;
}

/* Assign the blocks that overlap [start, end) to the device, unless they have another one. */
static void assign_range(struct stow_memblocks *list, int device, uint64_t start, uint64_t end)
{
	size_t lo = 0, hi = list->n_blocks;

	if (start >= end)
		return;
	while (lo < hi) {
		size_t middle = lo + (hi - lo) / 2;

		if (list->blocks[middle].id < start / list->block_size)
			lo = middle + 1;
		else
			hi = middle;
	}
	for (; lo < list->n_blocks && list->blocks[lo].id <= (end - 1) / list->block_size; lo++)
		if (list->blocks[lo].device < 0)
			list->blocks[lo].device = device;
}

/* --- ACPI ----------------------------------------------------------------- */

/* Resolve a block's link firmware_node, as "../../../LNXSYSTM:00/PNP0C80:00". */
static bool acpi_dir(const char *link, char *buf, size_t size)
{
	/* The block's number does not matter: the first "../" leaves its folder. */
	static const char from[] = MEMORY_DIR "/memory";
	size_t len = sizeof(from) - 1;
	int n;

	for (; strncmp(link, "../", 3) == 0; link += 3) {
		while (len && from[--len] != '/')
			continue;
		if (!len)
			return false;
	}
	n = snprintf(buf, size, "%.*s/%s", (int)len, from, link);
	return n > 0 && (size_t)n < size && !strstr(buf, "/../");
}

/* Add the DIMMs that blocks belong to, and assign the blocks to them. */
static int find_dimms(struct stow_root *root, struct stow_memblocks *list, struct stow_err *err)
{
	char link[256], dir[sizeof(list->devices->dir)];

	for (size_t i = 0; i < list->n_blocks; i++) {
		struct stow_memblock *block = &list->blocks[i];
		const char *alias;
		int device;

		if (stow_root_readlink(root, link, sizeof(link), NULL,
				       MEMORY_DIR "/memory%llu/firmware_node",
				       (unsigned long long)block->id) < 0 ||
		    !acpi_dir(link, dir, sizeof(dir)))
			continue;
		alias = strrchr(dir, '/') + 1;
		if (strncmp(alias, ACPI_MEMORY, strlen(ACPI_MEMORY)) != 0)
			continue;
		device = device_by_alias(list, STOW_MEMDEV_DIMM, alias, err);
		if (device < 0)
			return device;
		snprintf(list->devices[device].dir, sizeof(dir), "%s", dir);
		block->device = device;
	}
	return 0;
}

/* Read the firmware's _UID of a DIMM: a number, or a text as QEMU's "0x00". */
static bool read_uid(struct stow_root *root, const char *dir, uint64_t *ret)
{
	char text[32];
	const char *p = text;

	if (stow_root_read_buf(root, text, sizeof(text), NULL, "%s/uid", dir) < 0)
		return false;
	if (strncmp(text, "0x", 2) != 0)
		return stow_parse_u64(text, UINT64_MAX, ret, NULL) == 0;
	p += 2;
	return stow_scan_hex(&p, ret) && !*p;
}

/* Parse the instance of an alias such as "PNP0C80:0a". */
static uint64_t instance(const char *alias)
{
	const char *p = alias + strlen(ACPI_MEMORY);
	uint64_t number = 0;

	return stow_scan_hex(&p, &number) ? number : 0;
}

/* Name DIMMs by _UID if each has its own; otherwise all by the kernel's instance numbers. */
static void name_dimms(struct stow_root *root, struct stow_memblocks *list)
{
	bool by_uid = true;
	uint64_t uid;

	for (size_t i = 0; i < list->n_devices; i++) {
		struct stow_memdev *device = &list->devices[i];

		if (stow_root_read_buf(root, device->path, sizeof(device->path), NULL, "%s/path",
				       device->dir) < 0)
			device->path[0] = '\0';
		stow_text_ascii(device->path);
		if (!read_uid(root, device->dir, &uid))
			by_uid = false;
		else
			snprintf(device->name, sizeof(device->name), "dimm%llu",
				 (unsigned long long)uid);
		for (size_t k = 0; k < i; k++)
			by_uid = by_uid && strcmp(list->devices[k].name, device->name) != 0;
	}
	for (size_t i = 0; !by_uid && i < list->n_devices; i++)
		snprintf(list->devices[i].name, sizeof(list->devices[i].name), "dimm%llu",
			 (unsigned long long)instance(list->devices[i].alias));
}

/* --- dax ------------------------------------------------------------------ */

static bool read_hex(struct stow_root *root, uint64_t *ret, const char *name, const char *what)
{
	char text[32];
	const char *p = text;

	if (stow_root_read_buf(root, text, sizeof(text), NULL, DAX_DIR "/%s/%s", name, what) < 0)
		return false;
	if (strncmp(p, "0x", 2) == 0)
		p += 2;
	return stow_scan_hex(&p, ret) && !*p;
}

/* Assign the blocks that lie entirely within the range to the device; kmem adds only these
 * (drivers/dax/kmem.c). */
static void assign_whole(struct stow_memblocks *list, int device, uint64_t start, uint64_t end)
{
	uint64_t size = list->block_size;

	if (start > UINT64_MAX - size)
		return;
	assign_range(list, device, (start + size - 1) / size * size, end / size * size);
}

/* Assign its blocks to a dax device. A device that was made of free space between others has
 * several ranges, each with a folder. */
static void assign_dax(struct stow_root *root, struct stow_memblocks *list, int device,
		       const char *name)
{
	struct stow_idset mappings = { 0 };
	uint64_t start, end, size;
	bool taken = false;
	char path[320];

	snprintf(path, sizeof(path), DAX_DIR "/%s", name);
	(void)stow_root_list_ids(root, path, "mapping", &mappings, NULL);
	STOW_IDSET_FOR(id, &mappings) {
		snprintf(path, sizeof(path), "mapping%d/start", id);
		if (!read_hex(root, &start, name, path))
			continue;
		snprintf(path, sizeof(path), "mapping%d/end", id);
		if (!read_hex(root, &end, name, path) || end == UINT64_MAX)
			continue;
		assign_whole(list, device, start, end + 1);
		taken = true;
	}
	if (!taken && read_hex(root, &start, name, "resource") &&
	    stow_root_read_u64(root, &size, NULL, DAX_DIR "/%s/size", name) == 0 &&
	    size <= UINT64_MAX - start)
		assign_whole(list, device, start, start + size);
}

/* Add the dax devices that are used as system memory, and assign their blocks to them. */
static int find_dax(struct stow_root *root, struct stow_memblocks *list, struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = stow_root_opendir(root, NULL, DAX_DIR);
	struct dirent *e;
	char link[256];
	int device;

	while (d && (e = readdir(d))) {
		const char *driver;

		if (e->d_name[0] == '.' || strlen(e->d_name) >= sizeof(list->devices->name) ||
		    stow_root_readlink(root, link, sizeof(link), NULL, DAX_DIR "/%s/driver",
				       e->d_name) < 0)
			continue;
		driver = strrchr(link, '/');
		if (strcmp(driver ? driver + 1 : link, "kmem") != 0)
			continue;
		device = device_by_alias(list, STOW_MEMDEV_DAX, e->d_name, err);
		if (device < 0)
			return device;
		snprintf(list->devices[device].dir, sizeof(list->devices->dir), DAX_DIR "/%.63s",
			 e->d_name);
		assign_dax(root, list, device, e->d_name);
	}
	return 0;
}

/* --- virtio-mem ----------------------------------------------------------- */

#define IOMEM_DEPTH 16

/* One line of /proc/iomem: " 140000000-147ffffff : System RAM (virtio_mem)", indented by two for
 * each enclosing resource. */
struct resource {
	size_t depth;
	uint64_t start, end; /* the last byte */
	const char *name;
	size_t len;
};

static bool scan_resource(const char *line, const char *eol, struct resource *ret)
{
	const char *p = line;

	while (*p == ' ')
		p++;
	ret->depth = (size_t)(p - line) / 2;
	if (!stow_scan_hex(&p, &ret->start) || *p++ != '-' || !stow_scan_hex(&p, &ret->end) ||
	    strncmp(p, " : ", 3) != 0 || p + 3 > eol || ret->end < ret->start ||
	    ret->end == UINT64_MAX || ret->depth >= IOMEM_DEPTH)
		return false;
	ret->name = p + 3;
	ret->len = (size_t)(eol - ret->name);
	return true;
}

/* Add the virtio-mem devices, and assign the blocks to them that they have plugged: /proc/iomem has
 * these ranges below the device's own. */
static int find_virtio(struct stow_root *root, struct stow_memblocks *list, struct stow_err *err)
{
	static const char memory[] = "System RAM (virtio_mem)";
	char parents[IOMEM_DEPTH][sizeof(list->devices->name)] = { 0 };
	_cleanup_free_ char *text = NULL;
	struct resource r;
	int device;

	if (stow_root_read(root, STOW_ROOT_READ_MAX, &text, NULL, NULL, "/proc/iomem") < 0)
		return 0;
	for (const char *line = text, *eol; *line; line = *eol ? eol + 1 : eol) {
		eol = strchrnul(line, '\n');
		if (!scan_resource(line, eol, &r))
			continue;
		snprintf(parents[r.depth], sizeof(parents[0]), "%.*s", (int)r.len, r.name);
		/* All addresses are zero unless the reader is root. */
		if (!r.depth || !r.end || r.len != sizeof(memory) - 1 ||
		    memcmp(r.name, memory, r.len) != 0)
			continue;
		device = device_by_alias(list, STOW_MEMDEV_VIRTIO, parents[r.depth - 1], err);
		if (device < 0)
			return device;
		snprintf(list->devices[device].dir, sizeof(list->devices->dir),
			 "/sys/bus/virtio/devices/%s", list->devices[device].alias);
		assign_range(list, device, r.start, r.end + 1);
	}
	return 0;
}

/* --- all of them ---------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct stow_memdev *x = *(const struct stow_memdev *const *)a;
	const struct stow_memdev *y = *(const struct stow_memdev *const *)b;
	int order = strverscmp(x->name, y->name);

	return order ? order : (x->kind > y->kind) - (x->kind < y->kind);
}

/* Compute the devices' addresses and sizes from those of their blocks. */
static void measure(struct stow_memblocks *list)
{
	for (size_t i = 0; i < list->n_blocks; i++) {
		const struct stow_memblock *block = &list->blocks[i];
		struct stow_memdev *device =
			block->device < 0 ? NULL : &list->devices[block->device];

		if (!device)
			continue;
		if (!device->n_blocks++)
			device->start = block->id * list->block_size;
		device->size = (block->id + 1) * list->block_size - device->start;
	}
}

/* Sort devices by name; drop devices without blocks. */
static int sort_devices(struct stow_memblocks *list, struct stow_err *err)
{
	_cleanup_free_ const struct stow_memdev **order = NULL;
	_cleanup_free_ struct stow_memdev *sorted = NULL;
	_cleanup_free_ int *moved = NULL;
	size_t n = 0;

	if (!list->n_devices)
		return 0;
	order = calloc(list->n_devices, sizeof(struct stow_memdev *));
	sorted = calloc(list->n_devices, sizeof(*sorted));
	moved = calloc(list->n_devices, sizeof(*moved));
	if (!order || !sorted || !moved)
		return stow_err_sys(err, ENOMEM, MEMORY_DIR);
	for (size_t i = 0; i < list->n_devices; i++)
		if (list->devices[i].n_blocks)
			order[n++] = &list->devices[i];
	qsort(order, n, sizeof(struct stow_memdev *), by_name);
	for (size_t i = 0; i < n; i++) {
		sorted[i] = *order[i];
		moved[order[i] - list->devices] = (int)i;
	}
	for (size_t i = 0; i < list->n_blocks; i++)
		if (list->blocks[i].device >= 0)
			list->blocks[i].device = moved[list->blocks[i].device];
	free(list->devices);
	list->devices = STOW_TAKE_PTR(sorted);
	list->n_devices = n;
	return 0;
}

int stow_memdevs_assign(struct stow_root *root, struct stow_memblocks *list, struct stow_err *err)
{
	int r;

	if (!list->n_blocks)
		return 0;
	r = find_dimms(root, list, err);
	if (r == 0) {
		name_dimms(root, list);
		r = find_dax(root, list, err);
	}
	if (r == 0)
		r = find_virtio(root, list, err);
	if (r < 0)
		return r;
	measure(list);
	return sort_devices(list, err);
}
