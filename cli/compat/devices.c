// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/compat/compat.h"
#include "cli/compat/route.h"
#include "node/device.h"

/* Read the node of a device that exists. */
static int node_of(struct stow_root *root, const char *device, const char *asked, int *ret_node,
		   struct stow_err *err)
{
	int r = stow_device_node(root, device, ret_node, err);

	if (r < 0)
		return stow_err_wrap(err, r, "%.128s", asked);
	if (*ret_node < 0)
		return stow_err_set(err, ENODEV,
				    "%.128s: the firmware does not tell the kernel which node this "
				    "device is on (its numa_node is -1)",
				    asked);
	return 1;
}

/* Find the node of a device of a class, by the kernel's name. */
static int find_in_class(struct stow_root *root, const char *class, const char *name,
			 const char *asked, int *ret_node, struct stow_err *err)
{
	if (!*name || strchr(name, '/') || *name == '.')
		return stow_err_set(err, EINVAL,
				    "%.128s: \"%.64s\" is not the kernel's name of a device; for a "
				    "path use file:PATH",
				    asked, name);
	if (stow_root_exists(root, "/sys/class/%s/%s", class, name) != 1)
		return stow_err_set(err, ENODEV, "%.128s: there is no /sys/class/%s/%.64s", asked,
				    class, name);
	return node_of(root, name, asked, ret_node, err);
}

/* Find the node of a PCI device: [segment:]bus:device[.function], hexadecimal. */
static int find_pci(struct stow_root *root, const char *text, const char *asked, int *ret_node,
		    struct stow_err *err)
{
	uint64_t part[3] = { 0 }, function = 0;
	char address[32];
	const char *p = text;
	size_t n = 0;
	bool good;

	do {
		good = n < STOW_ARRAY_SIZE(part) && stow_scan_hex(&p, &part[n]);
		n++;
	} while (good && *p == ':' && *p++);
	if (good && *p == '.') {
		p++;
		good = stow_scan_hex(&p, &function);
	}
	if (!good || *p || n < 2 || part[n - 1] > 31 || part[n - 2] > 255 || function > 7)
		return stow_err_set(err, EINVAL,
				    "%.128s: not a PCI address like 0000:3b:00.0, 3b:00.0 or 3b:00",
				    asked);
	snprintf(address, sizeof(address), "%04llx:%02x:%02x.%x",
		 (unsigned long long)(n == 3 ? part[0] : 0), (unsigned int)part[n - 2],
		 (unsigned int)part[n - 1], (unsigned int)function);
	return node_of(root, address, asked, ret_node, err);
}

/* Find the PCI function in a device's path, for character devices, which are in no class that
 * matters here. */
static int find_by_path(struct stow_root *root, const char *link, const char *asked, int *ret_node,
			struct stow_err *err)
{
	char address[NAME_MAX + 1];
	int r = 0;

	for (const char *p = link; p && r <= 0; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL) {
		size_t len = strcspn(p, "/");

		if (len < 7 || len > 16 || p[len - 2] != '.' || !memchr(p, ':', len))
			continue;
		memcpy(address, p, len);
		address[len] = '\0';
		if (stow_root_exists(root, "/sys/bus/pci/devices/%s", address) == 1)
			r = node_of(root, address, asked, ret_node, NULL);
	}
	return r > 0 ? r
		     : stow_err_set(err, ENODEV, "%.128s: the kernel does not know its node",
				    asked);
}

/* Find the node of the disk that a file is on, or, for a device's file, of the device. */
static int find_file(struct stow_root *root, const char *path, const char *asked, int *ret_node,
		     struct stow_err *err)
{
	char link[PATH_MAX];
	const char *name;
	struct stat st;
	bool character;
	dev_t device;

	if (stat(path, &st) < 0)
		return stow_err_sys(err, errno, "%.128s", asked);
	character = S_ISCHR(st.st_mode);
	device = S_ISBLK(st.st_mode) || character ? st.st_rdev : st.st_dev;
	if (stow_root_readlink(root, link, sizeof(link), NULL, "/sys/dev/%s/%u:%u",
			       character ? "char" : "block", major(device), minor(device)) < 0)
		return stow_err_set(err, ENODEV,
				    "%.128s: its file system is not on a single disk (device "
				    "%u:%u)",
				    asked, major(device), minor(device));
	if (character)
		return find_by_path(root, link, asked, ret_node, err);
	name = strrchr(link, '/');
	return node_of(root, name ? name + 1 : link, asked, ret_node, err);
}

static int find_ip(struct stow_root *root, const char *host, const char *asked, int *ret_node,
		   struct stow_err *err)
{
	char name[COMPAT_INTERFACE_SIZE];
	int r = compat_route_interface(host, name, err);

	return r < 0 ? stow_err_wrap(err, r, "%.128s", asked)
		     : find_in_class(root, "net", name, asked, ret_node, err);
}

int compat_find_node(void *ctx, const char *name, int *ret_node, struct stow_err *err)
{
	const struct compat_task *task = ctx;
	const char *rest = strchr(name, ':');
	size_t len = rest ? (size_t)(rest++ - name) : 0;

	if (len == 6 && strncmp(name, "netdev", len) == 0)
		return find_in_class(task->root, "net", rest, name, ret_node, err);
	if (len == 5 && strncmp(name, "block", len) == 0)
		return find_in_class(task->root, "block", rest, name, ret_node, err);
	if (len == 3 && strncmp(name, "pci", len) == 0)
		return find_pci(task->root, rest, name, ret_node, err);
	if (len == 4 && strncmp(name, "file", len) == 0)
		return find_file(task->root, rest, name, ret_node, err);
	if (len == 2 && strncmp(name, "ip", len) == 0)
		return find_ip(task->root, rest, name, ret_node, err);
	return 0;
}
