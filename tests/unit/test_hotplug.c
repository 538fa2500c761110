// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "tree.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "node/hotplug.h"
#include "node/memblock.h"

#define MEMORY "/sys/devices/system/memory"
#define ACPI   "/sys/devices/LNXSYSTM:00/PNP0C80:00"
#define SECOND STOW_SECOND

/* A simulated kernel: how it answers when a block's state is written. */
struct kernel {
	struct tree *t;
	struct stow_root_ops ops;
	int answer;	     /* -errno, or 0: it obeys */
	int times;	     /* how often it answers so, then it obeys; -1: always */
	const char *instead; /* what another program has set the state to by then; NULL: nothing */
	bool ejects;
	int writes;
	char last[32];
};

static bool is_state(const char *path)
{
	return strncmp(path, MEMORY "/memory", strlen(MEMORY "/memory")) == 0 &&
	       strcmp(path + strlen(path) - strlen("/state"), "/state") == 0;
}

static int before(void *ctx, const char *path, const char *value)
{
	struct kernel *k = ctx;

	if (!value)
		return 0;
	k->writes++;
	snprintf(k->last, sizeof(k->last), "%s", value);
	if (!is_state(path) || !k->times)
		return 0;
	if (k->times > 0)
		k->times--;
	if (k->instead)
		tree_write(k->t, path, "%s\n", k->instead);
	return k->answer;
}

static void wrote(void *ctx, struct stow_root *root, const char *path, const char *value)
{
	struct kernel *k = ctx;

	if (is_state(path))
		tree_write(k->t, path, "%s\n",
			   k->instead			  ? k->instead
			   : strncmp(value, "on", 2) == 0 ? "online"
							  : "offline");
	else if (k->ejects && (strcmp(path, ACPI "/eject") == 0 ||
			       strcmp(path, "/sys/bus/dax/drivers/kmem/unbind") == 0))
		for (int id = 48; id < 50; id++) {
			char dir[64];

			snprintf(dir, sizeof(dir), MEMORY "/memory%d", id);
			tree_remove(k->t, dir);
		}
}

static void set_state(struct kernel *k, int id, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), MEMORY "/memory%d/state", id);
	tree_write(k->t, path, "%s\n", text);
}

static void state_is(struct kernel *k, int id, const char *text)
{
	_cleanup_free_ char *is = NULL;
	char path[64];

	snprintf(path, sizeof(path), MEMORY "/memory%d/state", id);
	is = tree_read(k->t, path);
	is[strcspn(is, "\n")] = '\0';
	assert_string_equal(is, text);
}

/* Blocks 48 and 49 of a DIMM, offline and online. */
static struct kernel *kernel_new(void)
{
	struct kernel *k = calloc(1, sizeof(*k));

	assert_non_null(k);
	k->t = tree_new();
	tree_write(k->t, MEMORY "/block_size_bytes", "8000000\n");
	set_state(k, 48, "offline");
	set_state(k, 49, "online");
	tree_link(k->t, MEMORY "/memory48/firmware_node", "../../../LNXSYSTM:00/PNP0C80:00");
	tree_link(k->t, MEMORY "/memory49/firmware_node", "../../../LNXSYSTM:00/PNP0C80:00");
	tree_write(k->t, ACPI "/uid", "0x00\n");
	tree_write(k->t, ACPI "/eject", "\n");
	k->ops = (struct stow_root_ops){ .ctx = k, .before = before, .wrote = wrote };
	k->t->root->ops = &k->ops;
	return k;
}

static void kernel_free_ptr(struct kernel **k)
{
	tree_free((*k)->t);
	free(*k);
}

#define KERNEL(k) _cleanup_(kernel_free_ptr) struct kernel *k = kernel_new()

static int offline(struct kernel *k, uint64_t id, struct stow_err *err)
{
	return stow_memblock_offline(k->t->root, id, SECOND / 50, NULL, NULL, err);
}

TEST(a_change_differs_from_a_state_that_was_there)
{
	KERNEL(k);

	assert_int_equal(stow_memblock_online(k->t->root, 48, STOW_ZONE_MOVABLE, NULL), 1);
	assert_string_equal(k->last, "online_movable");
	state_is(k, 48, "online");
	assert_int_equal(k->writes, 1);
	assert_int_equal(stow_memblock_online(k->t->root, 48, STOW_ZONE_KERNEL, NULL), 0);
	assert_int_equal(k->writes, 1);
	assert_int_equal(offline(k, 48, NULL), 1);
	assert_string_equal(k->last, "offline");
	assert_int_equal(offline(k, 48, NULL), 0);
	assert_int_equal(k->writes, 2);
	assert_int_equal(stow_memblock_online(k->t->root, 48, STOW_ZONE_KERNEL, NULL), 1);
	assert_string_equal(k->last, "online_kernel");
	assert_int_equal(offline(k, 48, NULL), 1);
	assert_int_equal(stow_memblock_online(k->t->root, 48, STOW_ZONE_DEFAULT, NULL), 1);
	assert_string_equal(k->last, "online");
}

/* A write that fails because another program was faster is no failure. */
TEST(another_program_may_be_faster)
{
	KERNEL(k);

	k->answer = -EINVAL;
	k->times = -1;
	k->instead = "online";
	assert_int_equal(stow_memblock_online(k->t->root, 48, STOW_ZONE_MOVABLE, NULL), 0);
	k->instead = "offline";
	assert_int_equal(offline(k, 49, NULL), 0);
	k->answer = -EINTR;
	set_state(k, 49, "online");
	assert_int_equal(offline(k, 49, NULL), 0);
}

/* A write succeeds, and another program undoes it. */
TEST(another_program_may_undo_the_write)
{
	struct stow_err err = { 0 };
	KERNEL(k);

	k->instead = "online";
	assert_int_equal(offline(k, 49, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "memory block 49"));
	assert_non_null(strstr(err.msg, "another program"));
	k->instead = "offline";
	assert_int_equal(stow_memblock_online(k->t->root, 48, STOW_ZONE_DEFAULT, &err), -EBUSY);
}

TEST(errors_of_the_kernel_are_explained)
{
	static const struct {
		int answer, code;
		const char *says;
	} cases[] = {
		{ -EBUSY, EBUSY, "can't be moved" },
		{ -EINVAL, EINVAL, "several zones, or has holes" },
		{ -EACCES, EACCES, "only the machine's root" },
		{ -EPERM, EPERM, "only the machine's root" },
		{ -EROFS, EROFS, "read-only" },
		{ -ENODEV, ENOENT, "there is no memory block 49" },
		{ -EIO, EIO, "Input/output error" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		struct stow_err err = { 0 };
		KERNEL(k);

		k->answer = cases[i].answer;
		k->times = -1;
		assert_int_equal(offline(k, 49, &err), -cases[i].code);
		assert_int_equal(err.code, cases[i].code);
		assert_non_null(strstr(err.msg, "memory block 49"));
		assert_non_null(strstr(err.msg, cases[i].says));
		state_is(k, 49, "online");
	}
}

TEST(online_fails_in_words_too)
{
	struct stow_err err = { 0 };
	KERNEL(k);

	k->times = -1;
	k->answer = -EINVAL;
	assert_int_equal(stow_memblock_online(k->t->root, 48, STOW_ZONE_KERNEL, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "\"online_kernel\""));
	k->answer = -EBUSY;
	assert_int_equal(stow_memblock_online(k->t->root, 48, STOW_ZONE_DEFAULT, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "memory block 48"));
	k->answer = -ENOMEM;
	assert_int_equal(stow_memblock_online(k->t->root, 48, STOW_ZONE_DEFAULT, &err), -ENOMEM);
	state_is(k, 48, "offline");
}

TEST(a_kernel_without_hotplug_is_named)
{
	_cleanup_(tree_free_ptr) struct tree *empty = tree_new();
	struct stow_err err = { 0 };
	KERNEL(k);

	assert_int_equal(stow_memblock_online(empty->root, 1, STOW_ZONE_DEFAULT, &err),
			 -EOPNOTSUPP);
	assert_int_equal(stow_memblock_offline(empty->root, 1, SECOND, NULL, NULL, &err),
			 -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "no memory hotplug"));
	assert_int_equal(offline(k, 50, &err), -ENOENT);
	assert_string_equal(err.msg, "there is no memory block 50");
	k->answer = -EINVAL;
	k->times = -1;
	tree_write(k->t, MEMORY "/memory49/removable", "1\n");
	assert_int_equal(offline(k, 49, &err), -EINVAL);
	tree_write(k->t, MEMORY "/memory49/removable", "0\n");
	assert_int_equal(offline(k, 49, &err), -EOPNOTSUPP);
}

static bool asked(void *ctx)
{
	int *left = ctx;

	return --*left < 0;
}

/* A signal of another program does not end the attempt; the deadline and the caller's request do. */
TEST(interrupted_only_when_it_is_time)
{
	struct stow_err err = { 0 };
	int left = 3;
	KERNEL(k);

	k->answer = -EINTR;
	k->times = 2;
	assert_int_equal(stow_memblock_offline(k->t->root, 49, 3600 * SECOND, NULL, NULL, &err), 1);
	assert_int_equal(k->writes, 3);
	set_state(k, 49, "online");
	k->times = -1;
	assert_int_equal(offline(k, 49, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "0.02 s"));
	state_is(k, 49, "online");
	assert_int_equal(stow_memblock_offline(k->t->root, 49, UINT64_MAX, asked, &left, &err),
			 -ECANCELED);
	assert_string_equal(err.msg, "memory block 49: cancelled");
}

/*
 * A kernel that never ends a write: the state is a pipe that is full when "offline" is written. The
 * tree counts as the live machine, because only there a signal ends the write.
 */
struct stuck {
	struct kernel *k;
	struct stow_root_ops ops;
	int pipe, opens;
};

static int swap_state(void *ctx, const char *path, const char *value)
{
	struct stuck *stuck = ctx;
	char host[512], fill[4096] = { 0 };

	/* The first and the third time it is opened, to read it, it is a file; the second time, to
	 * write it, a pipe. */
	snprintf(host, sizeof(host), "%s%s", stuck->k->t->dir, path);
	assert_int_equal(unlink(host), 0);
	if (stuck->opens++ != 1) {
		set_state(stuck->k, 49, "online");
		return 0;
	}
	assert_int_equal(mkfifo(host, 0600), 0);
	stuck->pipe = open(host, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	assert_true(stuck->pipe >= 0);
	while (write(stuck->pipe, fill, sizeof(fill)) > 0)
		continue;
	return 0;
}

static struct kernel *stuck_kernel(struct stuck *stuck)
{
	struct kernel *k = kernel_new();

	*stuck = (struct stuck){ .k = k, .pipe = -EBADF };
	stuck->ops = (struct stow_root_ops){ .ctx = stuck, .before = swap_state };
	k->t->root->ops = &stuck->ops;
	k->t->root->live = true;
	return k;
}

static void stuck_end(struct stuck *stuck)
{
	sigset_t all, now;

	assert_int_equal(stuck->opens, 3); /* read, written once, read back */
	close(stuck->pipe);
	stuck->k->t->root->live = false;
	/* The thread's signals are as they were: blocked. */
	sigfillset(&all);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
	assert_int_equal(sigismember(&now, SIGRTMAX), 1);
	assert_int_equal(sigismember(&now, SIGTERM), 1);
	assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &all, NULL), 0);
}

static void block_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
}

TEST(a_write_that_hangs_ends_in_time)
{
	struct stow_err err = { 0 };
	struct stuck stuck;
	_cleanup_(kernel_free_ptr) struct kernel *k = stuck_kernel(&stuck);

	block_signals();
	assert_int_equal(offline(k, 49, &err), -ETIMEDOUT);
	stuck_end(&stuck);
}

TEST(a_write_that_hangs_ends_when_asked_to)
{
	struct stow_err err = { 0 };
	struct stuck stuck;
	_cleanup_(kernel_free_ptr) struct kernel *k = stuck_kernel(&stuck);
	int left = 2;

	block_signals();
	assert_int_equal(stow_memblock_offline(k->t->root, 49, 3600 * SECOND, asked, &left, &err),
			 -ECANCELED);
	stuck_end(&stuck);
}

/* Copied trees without a simulated kernel: the file has what was written. */
TEST(copied_trees_are_written)
{
	KERNEL(k);

	k->t->root->ops = NULL;
	assert_int_equal(stow_memblock_online(k->t->root, 48, STOW_ZONE_MOVABLE, NULL), 1);
	state_is(k, 48, "online_movable");
	assert_int_equal(offline(k, 48, NULL), 1);
	state_is(k, 48, "offline");
}

static int eject(struct kernel *k, const struct stow_memdev *device, struct stow_err *err)
{
	return stow_memdev_eject(k->t->root, device, SECOND / 50, err);
}

static struct stow_memblocks devices(struct kernel *k)
{
	struct stow_memblocks list = { 0 };

	assert_int_equal(stow_memblocks_read(k->t->root, STOW_MEMBLOCK_DEVICE, &list, NULL), 0);
	assert_int_equal(list.n_devices, 1);
	return list;
}

TEST(a_dimm_goes_when_all_of_it_is_offline)
{
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };
	struct stow_err err = { 0 };
	KERNEL(k);

	list = devices(k);
	assert_int_equal(eject(k, list.devices, &err), -EBUSY);
	assert_string_equal(err.msg, "dimm0: memory block 49 is online");
	set_state(k, 49, "going-offline");
	assert_int_equal(eject(k, list.devices, &err), -EBUSY);
	assert_int_equal(k->writes, 0);
	set_state(k, 49, "offline");
	assert_int_equal(eject(k, list.devices, &err), -ETIMEDOUT);
	assert_int_equal(k->writes, 1);
	assert_string_equal(k->last, "1");
	k->ejects = true;
	assert_int_equal(eject(k, list.devices, &err), 0);
	assert_int_equal(k->writes, 2);
	/* It is gone: nothing to do. */
	assert_int_equal(eject(k, list.devices, &err), 0);
	assert_int_equal(k->writes, 2);
}

TEST(a_dimm_that_firmware_keeps)
{
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };
	struct stow_err err = { 0 };
	KERNEL(k);

	set_state(k, 49, "offline");
	tree_remove(k->t, ACPI "/eject");
	list = devices(k);
	assert_int_equal(eject(k, list.devices, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "dimm0: the firmware"));
}

/* Unbound with a block online, its memory would stay until the next boot. */
TEST(a_dax_device_is_unbound_offline)
{
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };
	struct stow_err err = { 0 };
	KERNEL(k);

	tree_remove(k->t, MEMORY "/memory48/firmware_node");
	tree_remove(k->t, MEMORY "/memory49/firmware_node");
	tree_write(k->t, "/sys/bus/dax/devices/dax0.0/resource", "0x180000000\n");
	tree_write(k->t, "/sys/bus/dax/devices/dax0.0/size", "%u\n", 2 << 27);
	tree_link(k->t, "/sys/bus/dax/devices/dax0.0/driver", "../../drivers/kmem");
	tree_write(k->t, "/sys/bus/dax/drivers/kmem/unbind", "\n");
	list = devices(k);
	assert_int_equal(eject(k, list.devices, &err), -EBUSY);
	assert_int_equal(k->writes, 0);
	set_state(k, 49, "offline");
	k->ejects = true;
	assert_int_equal(eject(k, list.devices, &err), 0);
	assert_int_equal(k->writes, 1);
	assert_string_equal(k->last, "dax0.0");
}

TEST(virtio_memory_is_the_hypervisors)
{
	struct stow_memdev device = { .kind = STOW_MEMDEV_VIRTIO, .name = "virtio1" };
	struct stow_err err = { 0 };
	KERNEL(k);

	assert_int_equal(eject(k, &device, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "virtio1: only its hypervisor"));
	assert_int_equal(k->writes, 0);
}
