// SPDX-License-Identifier: Apache-2.0
/* Containers that use a device of another node. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cgroup/procs.h"
#include "doctor/internal.h"

#define PROCESSES   64	 /* of a container that are looked at */
#define DESCRIPTORS 1024 /* of a process */

/* Find the node of /dev/nvidiaN by the minor number in
 * /proc/driver/nvidia/gpus/ADDRESS/information, of NVIDIA's proprietary driver. */
static int nvidia_node(struct stow_root *root, const char *name, int *ret)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;
	char wanted[64];

	if (strncmp(name, "nvidia", 6) != 0 || !name[6] || name[6 + strspn(name + 6, "0123456789")])
		return -ENODEV;
	dir = stow_root_opendir(root, NULL, "/proc/driver/nvidia/gpus");
	snprintf(wanted, sizeof(wanted), "Device Minor: \t %.16s\n", name + 6);
	while (dir && (entry = readdir(dir))) {
		_cleanup_free_ char *text = NULL;

		if (stow_root_read(root, 65536, &text, NULL, NULL,
				   "/proc/driver/nvidia/gpus/%s/information", entry->d_name) == 0 &&
		    strstr(text, wanted))
			return stow_device_node(root, entry->d_name, ret, NULL);
	}
	return -ENODEV;
}

/* Find the node of /dev/vfio/GROUP, which is that of the first device in the IOMMU group. */
static int vfio_node(struct stow_root *root, const char *group, int *ret)
{
	_cleanup_closedir_ DIR *dir =
		stow_root_opendir(root, NULL, "/sys/kernel/iommu_groups/%s/devices", group);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			return stow_device_node(root, entry->d_name, ret, NULL);
	return -ENODEV;
}

/* Find the node of a device by its path in /dev. -ENODEV: not a device with a node. */
static int node_of(struct stow_root *root, const char *path, int *ret)
{
	static const char *const classes[] = { "drm", "infiniband_verbs", "accel", "nvme" };
	const char *name = strrchr(path, '/') + 1;
	char text[32];
	uint64_t node;

	if (strncmp(path, "/dev/vfio/", 10) == 0)
		return vfio_node(root, name, ret);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(classes); i++) {
		if (stow_root_read_buf(root, text, sizeof(text), NULL,
				       "/sys/class/%s/%s/device/numa_node", classes[i], name) < 0 ||
		    stow_parse_u64(text, STOW_IDSET_MAX, &node, NULL) < 0)
			continue;
		*ret = (int)node;
		return 0;
	}
	if (nvidia_node(root, name, ret) == 0)
		return 0;
	return stow_device_node(root, name, ret, NULL);
}

/* Report the devices of other nodes that a process has open, for each node the first. */
static int examine_process(struct doctor *d, const struct doctor_container *c, pid_t pid,
			   struct stow_idset *reported)
{
	_cleanup_closedir_ DIR *dir = stow_root_opendir(d->root, NULL, "/proc/%d/fd", (int)pid);
	struct dirent *entry;
	int seen = 0, r = 0;

	while (r == 0 && dir && seen < DESCRIPTORS && (entry = readdir(dir))) {
		char path[256], name[DOCTOR_NAMED], cpus[DOCTOR_LISTED], command[128];
		const struct stow_node *node;
		int id;

		if (entry->d_name[0] == '.')
			continue;
		seen++;
		if (stow_root_readlink(d->root, path, sizeof(path), NULL, "/proc/%d/fd/%s",
				       (int)pid, entry->d_name) < 0 ||
		    strncmp(path, "/dev/", 5) != 0 || strncmp(path, "/dev/pts/", 9) == 0 ||
		    node_of(d->root, path, &id) < 0 || id < 0 || stow_idset_has(reported, id))
			continue;
		node = stow_topology_node(d->topology, id);
		if (!node || stow_idset_empty(&node->cpus) ||
		    stow_idset_intersects(&node->cpus, &c->set.cpus_effective))
			continue;
		stow_idset_add(reported, id);
		if (c->granted)
			snprintf(command, sizeof(command), "numastow repin --to %d %.*s", id,
				 doctor_id_len(c), c->id);
		else
			snprintf(command, sizeof(command),
				 "start it again with the annotation numastow.io/near: "
				 "numastow-annotations(7)");
		r = doctor_report(d, STOW_FINDING_ADVICE, id, doctor_name(c, name), command,
				  "PID %d has %s open, a device of node %d; its CPUs %s are all "
				  "on other nodes",
				  (int)pid, path, id,
				  stow_idset_format(&c->set.cpus_effective, cpus, sizeof(cpus)));
	}
	return r;
}

int doctor_rule_far_device(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err);

	if (r == 0)
		r = doctor_containers(d, err);
	for (size_t i = 0; r == 0 && d->n_nodes > 1 && i < d->n_containers; i++) {
		const struct doctor_container *c = &d->containers[i];
		_cleanup_free_ pid_t *pids = NULL;
		struct stow_idset reported = { 0 }; /* each node once */
		size_t n = 0;

		if (!c->known || stow_idset_empty(&c->set.cpus_effective) ||
		    stow_cgroup_pids(c->cgroup, &pids, &n, NULL) < 0)
			continue;
		for (size_t k = 0; r == 0 && k < n && k < PROCESSES; k++)
			r = examine_process(d, c, pids[k], &reported);
	}
	return r;
}
