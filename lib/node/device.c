// SPDX-License-Identifier: Apache-2.0
#include "node/device.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "base/text.h"

#define PCI_DIR	  "/sys/bus/pci/devices"
#define NET_DIR	  "/sys/class/net"
#define BLOCK_DIR "/sys/class/block"

/* How far above a device its node may be found: a disk behind a SAS expander is twelve levels
 * deep. */
#define PARENTS_MAX 16

static size_t hex_digits(const char *p)
{
	size_t n = 0;

	while (isxdigit((unsigned char)p[n]))
		n++;
	return n;
}

/* Return whether `name` (of `len` bytes) is "bb:dd.f" or "dddd:bb:dd.f", as the kernel writes it.
 * Virtual PCI domains (vmd) have five digits, Hyper-V's up to eight. */
static bool is_pci_address(const char *name, size_t len, bool *ret_domain)
{
	const char *end = name + len;
	size_t n = hex_digits(name);

	*ret_domain = n >= 4 && n <= 8 && name[n] == ':';
	if (*ret_domain) {
		name += n + 1;
		n = hex_digits(name);
	}
	if (n != 2 || name[2] != ':' || hex_digits(name + 3) != 2 || name[5] != '.')
		return false;
	return name[6] >= '0' && name[6] <= '7' && name + 7 == end;
}

/* Return whether a file does not exist, or went with its device while it was read. */
static bool is_missing(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ENODEV;
}

/* Read a file that holds a node number. *ret_node is -1 when it is missing or holds -1. */
static int read_node(struct stow_root *root, const char *path, int *ret_node, struct stow_err *err)
{
	struct stow_err inner = { 0 };
	char text[32];
	uint64_t node;
	int r;

	*ret_node = -1;
	r = stow_root_read_buf(root, text, sizeof(text), &inner, "%s/numa_node", path);
	if (is_missing(r) || (r >= 0 && strcmp(text, "-1") == 0))
		return 0;
	if (r >= 0) {
		r = stow_parse_u64(text, STOW_IDSET_MAX - 1, &node, &inner);
		if (r < 0)
			(void)stow_err_wrap(&inner, r, "%s/numa_node", path);
	}
	if (r < 0)
		return stow_err_move(err, r, &inner);
	*ret_node = (int)node;
	return 0;
}

/* Return how many folders there are from the device's own, which `device` is a link to, up to the
 * one below /sys/devices. The text of a link that goes over other links does not tell. */
static int count_levels(struct stow_root *root, const char *device)
{
	static const char top[] = "/devices/";
	char link[PATH_MAX];
	const char *p;
	int n = 1;

	if (stow_root_readlink(root, link, sizeof(link), NULL, "%s", device) < 0)
		return PARENTS_MAX;
	p = strstr(link, top);
	if (!p)
		return PARENTS_MAX;
	for (p += strlen(top); (p = strchr(p, '/')); p++)
		n++;
	return STOW_MIN(n, PARENTS_MAX);
}

/* Find the first node that the device's folder, or one above it, names; -1 for none. ".." goes up
 * from the target of a link, not from the link itself. */
static int walk_up(struct stow_root *root, const char *device, int *ret_node, struct stow_err *err)
{
	char path[PATH_MAX];
	size_t len = (size_t)snprintf(path, sizeof(path), "%s", device);
	int levels = PARENTS_MAX;

	*ret_node = -1;
	for (int i = 0; i < levels && len + 4 < sizeof(path); i++) {
		int r = read_node(root, path, ret_node, err);

		if (r < 0 || *ret_node >= 0)
			return r;
		if (i == 0)
			levels = count_levels(root, device);
		memcpy(path + len, "/..", 4);
		len += 3;
	}
	return 0;
}

/*
 * With native multipath, an NVMe disk belongs to a subsystem, which has no node; its controllers,
 * linked from there, have. A disk with several controllers may be near several nodes: use the first
 * one that is known.
 */
static int nvme_subsystem_node(struct stow_root *root, const char *disk, int *ret_node,
			       struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = NULL;
	char path[PATH_MAX];
	struct dirent *e;

	*ret_node = -1;
	d = stow_root_opendir(root, NULL, BLOCK_DIR "/%s/device", disk);
	while (d && (e = readdir(d))) {
		int node, r;

		if (strncmp(e->d_name, "nvme", 4) != 0 || !isdigit((unsigned char)e->d_name[4]))
			continue;
		snprintf(path, sizeof(path), BLOCK_DIR "/%s/device/%s/device", disk, e->d_name);
		r = walk_up(root, path, &node, err);
		if (r < 0)
			return r;
		if (node >= 0 && (*ret_node < 0 || node < *ret_node))
			*ret_node = node;
	}
	return 0;
}

static int block_node(struct stow_root *root, const char *name, int *ret_node, struct stow_err *err)
{
	char disk[NAME_MAX + 1], path[PATH_MAX];
	size_t n;
	int r;

	snprintf(path, sizeof(path), BLOCK_DIR "/%s", name);
	r = walk_up(root, path, ret_node, err);
	if (r < 0 || *ret_node >= 0 || strncmp(name, "nvme", 4) != 0)
		return r;
	/* nvme0n1p2 is on the disk nvme0n1 */
	snprintf(disk, sizeof(disk), "%s", name);
	n = 4 + strspn(disk + 4, "0123456789");
	if (disk[n] == 'n')
		disk[n + 1 + strspn(disk + n + 1, "0123456789")] = '\0';
	return nvme_subsystem_node(root, disk, ret_node, err);
}

/* Return whether the name is one path component that cannot lead upwards. */
static bool is_name(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if (name[i] == '/' || !isgraph((unsigned char)name[i]))
			return false;
	return len > 0 && len <= NAME_MAX && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

int stow_device_node(struct stow_root *root, const char *name, int *ret_node, struct stow_err *err)
{
	size_t len = strlen(name);
	char path[PATH_MAX];
	bool domain;
	int r;

	if (!is_name(name))
		return stow_err_set(err, EINVAL,
				    "\"%.64s\" is not a PCI address, network interface or disk",
				    name);
	if (is_pci_address(name, len, &domain)) {
		size_t n = (size_t)snprintf(path, sizeof(path), PCI_DIR "/%s%s",
					    domain ? "" : "0000:", name);

		/* sysfs has lower-case letters only */
		for (size_t i = strlen(PCI_DIR); i < n; i++)
			path[i] = (char)tolower((unsigned char)path[i]);
		if (stow_root_exists(root, "%s", path) == 1)
			return walk_up(root, path, ret_node, err);
	}
	snprintf(path, sizeof(path), NET_DIR "/%s", name);
	if (stow_root_exists(root, "%s", path) == 1) {
		/* Older kernels have a folder here, with a link `device`; newer ones a link. */
		r = walk_up(root, path, ret_node, err);
		if (r < 0 || *ret_node >= 0)
			return r;
		snprintf(path, sizeof(path), NET_DIR "/%s/device", name);
		return walk_up(root, path, ret_node, err);
	}
	if (stow_root_exists(root, BLOCK_DIR "/%s", name) == 1)
		return block_node(root, name, ret_node, err);
	snprintf(path, sizeof(path), "/sys/block/%s", name);
	if (stow_root_exists(root, "%s", path) == 1)
		return walk_up(root, path, ret_node, err);
	return stow_err_set(err, ENODEV, "there is no device \"%.64s\" on this machine", name);
}

/* --- the list ------------------------------------------------------------- */

const char *stow_device_kind_name(enum stow_device_kind kind)
{
	static const char *const names[] = {
		[STOW_DEVICE_STORAGE] = "storage",
		[STOW_DEVICE_NETWORK] = "network",
		[STOW_DEVICE_DISPLAY] = "display",
		[STOW_DEVICE_ACCELERATOR] = "accelerator",
	};

	return names[kind];
}

/* Read "0x010802" from `class`: class, subclass, programming interface. Return 1 with the kind, 0
 * when it is not one of these kinds, or -errno. */
static int read_kind(struct stow_root *root, const char *address, enum stow_device_kind *ret,
		     struct stow_err *err)
{
	static const struct {
		char class[5]; /* with or without the subclass */
		enum stow_device_kind kind;
	} kinds[] = {
		{ "01", STOW_DEVICE_STORAGE },	 { "02", STOW_DEVICE_NETWORK },
		{ "03", STOW_DEVICE_DISPLAY },	 { "0b40", STOW_DEVICE_ACCELERATOR },
		{ "0c06", STOW_DEVICE_NETWORK }, { "12", STOW_DEVICE_ACCELERATOR },
	};
	char text[32];
	int r = stow_root_read_buf(root, text, sizeof(text), err, PCI_DIR "/%s/class", address);

	if (r < 0)
		return is_missing(r) ? 0 : r;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(kinds); i++)
		if (r == 8 && strncmp(text, "0x", 2) == 0 &&
		    strncmp(text + 2, kinds[i].class, strlen(kinds[i].class)) == 0) {
			*ret = kinds[i].kind;
			return 1;
		}
	return 0;
}

static int by_address(const void *a, const void *b)
{
	return strcmp(((const struct stow_device *)a)->address,
		      ((const struct stow_device *)b)->address);
}

static int add_device(struct stow_devices *list, size_t *capacity, const struct stow_device *device)
{
	if (list->n_devices == *capacity) {
		size_t more = *capacity ? *capacity * 2 : 16;
		void *grown = realloc(list->devices, more * sizeof(*device));

		if (!grown)
			return -ENOMEM;
		list->devices = grown;
		*capacity = more;
	}
	list->devices[list->n_devices++] = *device;
	return 0;
}

static int list_pci(struct stow_root *root, struct stow_devices *list, struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = NULL;
	size_t capacity = 0;
	struct dirent *e;
	char path[NAME_MAX + 64];

	d = stow_root_opendir(root, err, PCI_DIR);
	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		struct stow_device device = { 0 };
		bool domain;
		int r;

		if (strlen(e->d_name) >= sizeof(device.address) ||
		    !is_pci_address(e->d_name, strlen(e->d_name), &domain))
			continue;
		r = read_kind(root, e->d_name, &device.kind, err);
		if (r == 0)
			continue;
		snprintf(device.address, sizeof(device.address), "%s", e->d_name);
		snprintf(path, sizeof(path), PCI_DIR "/%s", e->d_name);
		if (r > 0)
			r = walk_up(root, path, &device.node, err);
		if (r < 0)
			return r;
		if (add_device(list, &capacity, &device) < 0)
			return stow_err_sys(err, ENOMEM, PCI_DIR);
	}
	if (list->n_devices)
		qsort(list->devices, list->n_devices, sizeof(*list->devices), by_address);
	return 0;
}

/* Find the last PCI function in a link's text, as in
 * "../../devices/pci0000:00/0000:00:01.1/0000:02:00.0/net/eth0". */
static struct stow_device *device_in_path(struct stow_devices *list, const char *path)
{
	struct stow_device key = { 0 };
	bool domain;

	for (const char *p = path; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL) {
		size_t len = strcspn(p, "/");

		if (len >= sizeof(key.address) || !is_pci_address(p, len, &domain))
			continue;
		memcpy(key.address, p, len);
		key.address[len] = '\0';
	}
	if (!key.address[0] || !list->n_devices)
		return NULL;
	return bsearch(&key, list->devices, list->n_devices, sizeof(key), by_address);
}

static int by_name(const void *a, const void *b)
{
	return strverscmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_name(struct stow_device *device, const char *name)
{
	char **grown = realloc(device->names, (device->n_names + 1) * sizeof(*grown));
	char *copy = strdup(name);
	char *c;

	if (grown)
		device->names = grown;
	if (!grown || !copy) {
		free(copy);
		return -ENOMEM;
	}
	/* An interface may be named by almost any bytes. */
	stow_text_clean(copy, strlen(copy));
	/* nvme0c1n1 is the path through controller 1 to the disk nvme0n1. */
	c = strncmp(copy, "nvme", 4) == 0 ? strchr(copy, 'c') : NULL;
	if (c) {
		char *n = c + 1 + strspn(c + 1, "0123456789");

		if (*n == 'n')
			memmove(c, n, strlen(n) + 1);
	}
	device->names[device->n_names++] = copy;
	return 0;
}

/* Find the devices of the interfaces or disks in a class's folder, by their links: these are far
 * fewer files than below all PCI devices. */
static int add_names(struct stow_root *root, struct stow_devices *list, const char *class_dir,
		     struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = stow_root_opendir(root, NULL, "%s", class_dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		struct stow_device *device;
		char link[PATH_MAX];

		if (e->d_name[0] == '.')
			continue;
		if (stow_root_readlink(root, link, sizeof(link), NULL, "%s/%s", class_dir,
				       e->d_name) < 0 &&
		    stow_root_readlink(root, link, sizeof(link), NULL, "%s/%s/device", class_dir,
				       e->d_name) < 0)
			continue;
		device = device_in_path(list, link);
		if (!device || stow_root_exists(root, "%s/%s/partition", class_dir, e->d_name) == 1)
			continue;
		if (add_name(device, e->d_name) < 0)
			return stow_err_sys(err, ENOMEM, "%s", class_dir);
	}
	return 0;
}

int stow_devices_read(struct stow_root *root, struct stow_devices *ret, struct stow_err *err)
{
	_cleanup_(stow_devices_done) struct stow_devices list = { 0 };
	struct stow_err first = { 0 };
	int r;

	r = list_pci(root, &list, &first);
	if (r < 0 && r != -ENOENT)
		return stow_err_move(err, -first.code, &first);
	if (r == 0)
		r = add_names(root, &list, NET_DIR, err);
	if (r == 0)
		r = add_names(root, &list,
			      stow_root_exists(root, BLOCK_DIR) == 1 ? BLOCK_DIR : "/sys/block",
			      err);
	if (r < 0 && r != -ENOENT)
		return r;
	for (size_t i = 0; i < list.n_devices; i++)
		if (list.devices[i].n_names)
			qsort(list.devices[i].names, list.devices[i].n_names, sizeof(char *),
			      by_name);
	*ret = list;
	list = (struct stow_devices){ 0 };
	return 0;
}

void stow_devices_done(struct stow_devices *list)
{
	for (size_t i = 0; i < list->n_devices; i++) {
		for (size_t n = 0; n < list->devices[i].n_names; n++)
			free(list->devices[i].names[n]);
		free(list->devices[i].names);
	}
	free(list->devices);
	*list = (struct stow_devices){ 0 };
}
