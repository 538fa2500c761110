// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "tree.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "node/device.h"
#include "node/topology.h"

#define PORT "/sys/devices/pci0000:3a/0000:3a:00.0"
#define NIC  PORT "/0000:3b:00.0"
#define NVME "/sys/devices/pci0000:5d/0000:5e:00.0"
#define VIO  "/sys/devices/pci0000:00/0000:00:02.0"

static void add_pci(struct tree *tree, const char *dir, const char *class, int node)
{
	char path[256], target[256];

	snprintf(path, sizeof(path), "%s/class", dir);
	tree_write(tree, path, "%s\n", class);
	snprintf(path, sizeof(path), "%s/numa_node", dir);
	tree_write(tree, path, "%d\n", node);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices%s", strrchr(dir, '/'));
	snprintf(target, sizeof(target), "../../..%s", dir + strlen("/sys"));
	tree_link(tree, path, target);
}

static struct tree *machine(void)
{
	struct tree *tree = tree_new();

	add_pci(tree, PORT, "0x060400", 1);
	add_pci(tree, NIC, "0x020000", 1);
	tree_mkdir(tree, NIC "/net/eth0");
	tree_link(tree, NIC "/net/eth0/device", "../../../0000:3b:00.0");
	tree_link(tree, "/sys/class/net/eth0",
		  "../../devices/pci0000:3a/0000:3a:00.0/"
		  "0000:3b:00.0/net/eth0");
	/* a bridge has no device */
	tree_mkdir(tree, "/sys/devices/virtual/net/br0");
	tree_link(tree, "/sys/class/net/br0", "../../devices/virtual/net/br0");
	/* a disk of an NVMe subsystem, whose controller is the PCI function */
	add_pci(tree, NVME, "0x010802", 3);
	tree_mkdir(tree, NVME "/nvme/nvme0/nvme7c0n1");
	tree_link(tree, NVME "/nvme/nvme0/device", "../../../0000:5e:00.0");
	tree_link(tree, "/sys/class/block/nvme7c0n1",
		  "../../devices/pci0000:5d/0000:5e:00.0/nvme/nvme0/nvme7c0n1");
	tree_mkdir(tree, "/sys/devices/virtual/nvme-subsystem/nvme-subsys7/nvme7n1/nvme7n1p2");
	tree_link(tree, "/sys/devices/virtual/nvme-subsystem/nvme-subsys7/nvme7n1/device",
		  "../../nvme-subsys7");
	tree_link(tree, "/sys/devices/virtual/nvme-subsystem/nvme-subsys7/nvme0",
		  "../../../pci0000:5d/0000:5e:00.0/nvme/nvme0");
	tree_link(tree, "/sys/class/block/nvme7n1",
		  "../../devices/virtual/nvme-subsystem/nvme-subsys7/nvme7n1");
	tree_link(tree, "/sys/class/block/nvme7n1p2",
		  "../../devices/virtual/nvme-subsystem/nvme-subsys7/nvme7n1/nvme7n1p2");
	/* a virtio disk and its partition: the node is two or more folders up, and unknown */
	add_pci(tree, VIO, "0x010000", -1);
	tree_write(tree, VIO "/virtio1/block/vda/vda1/partition", "1\n");
	tree_link(tree, "/sys/class/block/vda",
		  "../../devices/pci0000:00/0000:00:02.0/virtio1/block/vda");
	tree_link(tree, "/sys/class/block/vda1",
		  "../../devices/pci0000:00/0000:00:02.0/virtio1/block/vda/vda1");
	return tree;
}

static void assert_node(struct tree *tree, const char *name, int expected)
{
	struct stow_err err = { 0 };
	int node = 77;

	if (stow_device_node(tree->root, name, &node, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(node, expected);
}

TEST(finds_the_node_of_a_device)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();

	assert_node(tree, "0000:3b:00.0", 1);
	assert_node(tree, "3b:00.0", 1);
	assert_node(tree, "3B:00.0", 1);
	assert_node(tree, "eth0", 1);
	assert_node(tree, "br0", -1);
	assert_node(tree, "nvme7n1", 3);
	assert_node(tree, "nvme7n1p2", 3);
	assert_node(tree, "vda", -1);
	tree_write(tree, VIO "/numa_node", "0\n");
	assert_node(tree, "vda", 0);
	assert_node(tree, "vda1", 0);
}

TEST(goes_up_to_a_parent_that_knows)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();

	tree_write(tree, NIC "/numa_node", "-1\n");
	assert_node(tree, "eth0", 1);
	tree_remove(tree, NIC "/numa_node");
	assert_node(tree, "0000:3b:00.0", 1);
}

static int count_node_files(void *ctx, const char *path, const char *value)
{
	size_t len = strlen(path), end = strlen("/numa_node");

	*(int *)ctx += len > end && strcmp(path + len - end, "/numa_node") == 0;
	return 0;
}

/* A device without a node, as on most small machines, costs a file for each folder above it. */
TEST(goes_no_further_than_the_device_tree)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_devices_done) struct stow_devices list = { 0 };
	int n = 0, node = 77;
	const struct stow_root_ops ops = { .ctx = &n, .before = count_node_files };

	add_pci(tree, VIO, "0x010000", -1);
	add_pci(tree, NIC, "0x020000", -1);
	tree->root->ops = &ops;
	assert_int_equal(stow_devices_read(tree->root, &list, NULL), 0);
	assert_int_equal(list.n_devices, 2);
	assert_int_equal(list.devices[0].node, -1);
	/* 0000:00:02.0 and pci0000:00; 0000:3b:00.0, 0000:3a:00.0 and pci0000:3a. */
	assert_int_equal(n, 5);
	n = 0;
	assert_int_equal(stow_device_node(tree->root, "3b:00.0", &node, NULL), 0);
	assert_int_equal(node, -1);
	assert_int_equal(n, 3);
	tree->root->ops = NULL;
}

TEST(what_is_there_and_cannot_be_read_is_an_error)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();
	_cleanup_(stow_devices_done) struct stow_devices list = { 0 };
	struct stow_err err = { 0 };
	int node;

	tree_write(tree, NIC "/numa_node", "garbage\n");
	assert_int_equal(stow_device_node(tree->root, "eth0", &node, &err), -EINVAL);
	assert_string_equal(
		err.msg, "/sys/class/net/eth0/../../numa_node: \"garbage\" is not a whole number");
	assert_int_equal(stow_devices_read(tree->root, &list, &err), -EINVAL);
	assert_string_equal(err.msg, "/sys/bus/pci/devices/0000:3b:00.0/numa_node: \"garbage\" is "
				     "not a whole number");
	tree_remove(tree, NIC "/numa_node");
	tree_remove(tree, NIC "/class");
	tree_mkdir(tree, NIC "/class");
	assert_int_equal(stow_devices_read(tree->root, &list, &err), -EISDIR);
	assert_non_null(strstr(err.msg, "0000:3b:00.0/class"));
	assert_int_equal(list.n_devices, 0);
}

TEST(lists_what_one_wants_to_be_near_to)
{
	static const struct {
		const char *class;
		const char *kind; /* NULL: not listed */
	} classes[] = {
		{ "0x010802", "storage" },
		{ "0x020000", "network" },
		{ "0x020700", "network" },
		{ "0x030200", "display" },
		{ "0x0b4000", "accelerator" }, /* QuickAssist */
		{ "0x0c0600", "network" },     /* InfiniBand */
		{ "0x120000", "accelerator" },
		{ "0x0b1000", NULL },
		{ "0x0c0330", NULL },
		{ "0x060400", NULL },
		{ "0x0b40", NULL },
		{ "0b4000xx", NULL },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(classes); i++) {
		_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
		_cleanup_(stow_devices_done) struct stow_devices list = { 0 };

		add_pci(tree, NIC, classes[i].class, 1);
		assert_int_equal(stow_devices_read(tree->root, &list, NULL), 0);
		assert_int_equal(list.n_devices, classes[i].kind != NULL);
		if (classes[i].kind)
			assert_string_equal(stow_device_kind_name(list.devices[0].kind),
					    classes[i].kind);
	}
}

TEST(old_kernels_have_folders_for_classes)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();

	tree_link(tree, "/sys/class/net/eth9/device",
		  "../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0");
	assert_node(tree, "eth9", 1);
	tree_mkdir(tree, "/sys/block/sdz");
	assert_node(tree, "sdz", -1);
}

TEST(refuses_what_is_no_device)
{
	static const char *const bad[] = { "",	 ".",		"..",	 "../eth0", "a/b",
					   "/x", "eth0/device", "eth 0", "eth0\n",  "\xff" };
	_cleanup_(tree_free_ptr) struct tree *tree = machine();
	char longest[300];
	struct stow_err err;
	int node = 77;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++)
		assert_int_equal(stow_device_node(tree->root, bad[i], &node, &err), -EINVAL);
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(stow_device_node(tree->root, longest, &node, &err), -EINVAL);
	assert_int_equal(stow_device_node(tree->root, "eth1", &node, &err), -ENODEV);
	assert_non_null(strstr(err.msg, "eth1"));
	assert_int_equal(stow_device_node(tree->root, "0000:3c:00.0", &node, &err), -ENODEV);
	assert_int_equal(stow_device_node(tree->root, "0000:3b:00.0x", &node, &err), -ENODEV);
	assert_int_equal(node, 77);
}

TEST(lists_devices_with_their_names)
{
	_cleanup_(tree_free_ptr) struct tree *tree = machine();
	_cleanup_(stow_devices_done) struct stow_devices list = { 0 };

	assert_int_equal(stow_devices_read(tree->root, &list, NULL), 0);
	assert_int_equal(list.n_devices, 3); /* not the bridge */
	assert_string_equal(list.devices[0].address, "0000:00:02.0");
	assert_int_equal(list.devices[0].node, -1);
	assert_int_equal(list.devices[0].n_names, 1); /* not the partition */
	assert_string_equal(list.devices[0].names[0], "vda");
	assert_string_equal(list.devices[1].address, "0000:3b:00.0");
	assert_int_equal(list.devices[1].kind, STOW_DEVICE_NETWORK);
	assert_int_equal(list.devices[1].node, 1);
	assert_string_equal(list.devices[1].names[0], "eth0");
	assert_int_equal(list.devices[2].node, 3);
	assert_string_equal(list.devices[2].names[0], "nvme7n1");
	assert_string_equal(stow_device_kind_name(list.devices[2].kind), "storage");
}

TEST(no_pci_is_no_devices)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	struct stow_devices list = { NULL, 42 };

	assert_int_equal(stow_devices_read(tree->root, &list, NULL), 0);
	assert_int_equal(list.n_devices, 0);
	stow_devices_done(&list);
}
