/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * PCI devices of interest for placement, and the NUMA node of a device by name.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

enum stow_device_kind {
	STOW_DEVICE_STORAGE,	 /* PCI class 0x01 */
	STOW_DEVICE_NETWORK,	 /* 0x02, and InfiniBand: 0x0c06 */
	STOW_DEVICE_DISPLAY,	 /* 0x03: most GPUs */
	STOW_DEVICE_ACCELERATOR, /* 0x12, and co-processors, such as for encryption: 0x0b40 */
};

struct stow_device {
	char address[32]; /* "0000:3b:00.0" */
	enum stow_device_kind kind;
	int node;     /* -1: the platform does not tell */
	char **names; /* network interfaces and disks, sorted */
	size_t n_names;
};

struct stow_devices {
	struct stow_device *devices; /* by ascending address */
	size_t n_devices;
};

/* Read the PCI devices of these kinds; none on a machine without PCI. A file that exists and cannot
 * be read is an error. Free with stow_devices_done(). */
int stow_devices_read(struct stow_root *root, struct stow_devices *ret, struct stow_err *err);
void stow_devices_done(struct stow_devices *list);

/* Return "storage", "network", "display" or "accelerator". */
const char *stow_device_kind_name(enum stow_device_kind kind);

/*
 * Find the node of a device, for `near`: a PCI address ("0000:3b:00.0"; the domain is optional), a
 * network interface ("eth0") or a block device ("nvme0n1"). A virtual function or a virtio device
 * has its node at a parent, so the device tree is walked up. *ret_node is -1 when the platform does
 * not tell. -ENODEV: no such device. -EINVAL: not a device name, or a file that should have the
 * node's number has none.
 */
int stow_device_node(struct stow_root *root, const char *name, int *ret_node, struct stow_err *err);
