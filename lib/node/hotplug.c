// SPDX-License-Identifier: Apache-2.0
#include "node/hotplug.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define MEMORY_DIR    "/sys/devices/system/memory"
#define WATCHDOG_STEP (STOW_SECOND / 10)
#define EJECT_STEP    (STOW_SECOND / 20)

#define INTERRUPT SIGRTMAX

static uint64_t deadline_in(uint64_t ns)
{
	return stow_saturating_add(stow_clock_monotonic(), ns);
}

/* --- one block ------------------------------------------------------------ */

static int read_state(struct stow_root *root, uint64_t id, char *buf, size_t size,
		      struct stow_err *err)
{
	int r = stow_root_read_buf(root, buf, size, err, MEMORY_DIR "/memory%" PRIu64 "/state", id);

	if (r != -ENOENT && r != -ENODEV)
		return r < 0 ? r : 0;
	if (stow_root_exists(root, MEMORY_DIR "/block_size_bytes") == 0)
		return stow_err_set(err, EOPNOTSUPP,
				    "this kernel has no memory hotplug (no " MEMORY_DIR ")");
	return stow_err_set(err, ENOENT, "there is no memory block %" PRIu64, id);
}

/* Explain the kernel's error about a block. */
static int explain(struct stow_root *root, uint64_t id, const char *value, int errnum,
		   struct stow_err *err)
{
	bool offline = strcmp(value, "offline") == 0;
	const char *way = offline ? "offline" : "online";
	char text[48];

	switch (errnum) {
	case EACCES:
	case EPERM:
		return stow_err_set(err, errnum,
				    "memory block %" PRIu64 ": only the machine's root may take "
				    "it %s",
				    id, way);
	case EROFS:
		return stow_err_set(err, errnum, "memory block %" PRIu64 ": /sys is read-only here",
				    id);
	case ENOENT:
	case ENODEV:
		return stow_err_set(err, ENOENT, "there is no memory block %" PRIu64, id);
	case ETIMEDOUT:
		return stow_err_set(err, errnum,
				    "memory block %" PRIu64
				    ": the kernel is taking other memory offline, and permits no "
				    "other hotplug meanwhile: not %s",
				    id, way);
	case EBUSY:
		if (!offline)
			break;
		return stow_err_set(err, EBUSY,
				    "memory block %" PRIu64 ": the kernel gave up: it has pages "
				    "that can't be moved",
				    id);
	case EINVAL:
		/* Since Linux 5.8 this file has the same value for all blocks: whether the kernel
		 * can remove memory. */
		if (offline &&
		    stow_root_read_buf(root, text, sizeof(text), NULL,
				       MEMORY_DIR "/memory%" PRIu64 "/removable", id) > 0 &&
		    strcmp(text, "0") == 0)
			return stow_err_set(err, EOPNOTSUPP,
					    "memory block %" PRIu64 ": this kernel can't take "
					    "memory offline",
					    id);
		if (offline)
			return stow_err_set(err, EINVAL,
					    "memory block %" PRIu64 ": the kernel never takes it "
					    "offline: it is in several zones, or has holes",
					    id);
		return stow_err_set(err, EINVAL,
				    "memory block %" PRIu64 ": the kernel does not take it %s "
				    "there (\"%s\")",
				    id, way, value);
	default:
		break;
	}
	return stow_err_sys(err, errnum, "memory block %" PRIu64 ": taking it %s", id, way);
}

/*
 * Read back after a write that returned `wrote`. Return 1 when the block is in `state` because of
 * this write, 0 when another program changed it, or the kernel's error.
 */
static int read_back(struct stow_root *root, uint64_t id, const char *value, const char *state,
		     int wrote, struct stow_err *err)
{
	char text[32];
	int r;

	r = read_state(root, id, text, sizeof(text), err);
	if (r < 0)
		return r;
	if (strcmp(text, state) == 0)
		return wrote < 0 ? 0 : 1;
	if (wrote < 0)
		return explain(root, id, value, -wrote, err);
	/* No kernel turns "online_movable" into "online" in a copied tree. */
	if (!root->live && strcmp(text, value) == 0)
		return 1;
	return stow_err_set(err, EBUSY,
			    "memory block %" PRIu64
			    ": it went %s, and another program took it %s again",
			    id, state, text);
}

/* --- the watchdog --------------------------------------------------------- */

/*
 * A write of "offline" returns by itself, or when its thread has a signal to handle. Any signal
 * would end it, and lose the progress. So the writing thread blocks signals until its time is over
 * or a stop is requested; then a second thread, the watchdog, sends it a signal every 100 ms until
 * the write has returned. The first signal may arrive just before the write begins. And where
 * another program is taking memory offline, the kernel restarts the write over and over without
 * looking at signals (lock_device_hotplug_sysfs()). So the watchdog also replaces the descriptor
 * with one that cannot be written.
 */
struct watchdog {
	pthread_t writer;
	int fd, dead;
	uint64_t deadline;
	bool (*stop)(void *ctx);
	void *ctx;
	pthread_mutex_t lock; /* protects the members below */
	pthread_cond_t cond;
	bool returned;
	bool late, stopped; /* why it interrupted; both false: it did not */
};

static void nothing(int sig)
{
}

static void wait_step(struct watchdog *watchdog, bool interrupting)
{
	uint64_t until = stow_clock_monotonic() + WATCHDOG_STEP;
	struct timespec t;

	if (!interrupting && watchdog->deadline < until)
		until = watchdog->deadline;
	t = stow_clock_timespec(until);
	pthread_cond_timedwait(&watchdog->cond, &watchdog->lock, &t);
}

static void *watchdog_main(void *arg)
{
	struct watchdog *watchdog = arg;
	bool late = false, stopped = false;

	pthread_mutex_lock(&watchdog->lock);
	for (;;) {
		if (!watchdog->returned)
			wait_step(watchdog, late || stopped);
		if (watchdog->returned)
			break;
		if (!late && !stopped) {
			pthread_mutex_unlock(&watchdog->lock);
			stopped = watchdog->stop && watchdog->stop(watchdog->ctx);
			late = !stopped && stow_clock_monotonic() >= watchdog->deadline;
			pthread_mutex_lock(&watchdog->lock);
			if (watchdog->returned || (!late && !stopped))
				continue;
			watchdog->late = late;
			watchdog->stopped = stopped;
			dup3(watchdog->dead, watchdog->fd, O_CLOEXEC);
		}
		pthread_kill(watchdog->writer, INTERRUPT);
	}
	pthread_mutex_unlock(&watchdog->lock);
	return NULL;
}

static int watchdog_start(struct watchdog *watchdog, pthread_t *ret_thread)
{
	int r;

	stow_clock_cond_init(&watchdog->cond);
	pthread_mutex_init(&watchdog->lock, NULL);
	r = pthread_create(ret_thread, NULL, watchdog_main, watchdog);
	if (r) {
		pthread_cond_destroy(&watchdog->cond);
		pthread_mutex_destroy(&watchdog->lock);
	}
	return -r;
}

static void watchdog_end(struct watchdog *watchdog, pthread_t thread)
{
	pthread_mutex_lock(&watchdog->lock);
	watchdog->returned = true;
	pthread_cond_signal(&watchdog->cond);
	pthread_mutex_unlock(&watchdog->lock);
	pthread_join(thread, NULL);
	pthread_cond_destroy(&watchdog->cond);
	pthread_mutex_destroy(&watchdog->lock);
}

/* Write `value` to `watchdog->fd` while the watchdog runs. Return 0, or the error of write(2);
 * watchdog->late and watchdog->stopped tell whether it was interrupted. */
static int write_watched(struct watchdog *watchdog, const char *value)
{
	struct sigaction action = { .sa_handler = nothing };
	sigset_t all, old, during;
	pthread_t thread;
	ssize_t n;
	int r;

	sigemptyset(&action.sa_mask);
	if (sigaction(INTERRUPT, &action, NULL) < 0) /* without SA_RESTART */
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	watchdog->writer = pthread_self();
	r = watchdog_start(watchdog, &thread); /* the watchdog gets no signals */
	if (r == 0) {
		during = old;
		sigdelset(&during, INTERRUPT);
		pthread_sigmask(SIG_SETMASK, &during, NULL);
		n = write(watchdog->fd, value, strlen(value));
		r = n < 0 ? -errno : n < (ssize_t)strlen(value) ? -EIO : 0;
		watchdog_end(watchdog, thread);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

/* Try once. Return 0 or -errno; *ret_end: -ETIMEDOUT or -ECANCELED when the watchdog interrupted
 * it. */
static int try_write(struct stow_root *root, uint64_t id, const char *value,
		     struct watchdog *watchdog, int *ret_end)
{
	int r;

	if (!root->live) {
		r = stow_root_write(root, value, NULL, MEMORY_DIR "/memory%" PRIu64 "/state", id);
		watchdog->stopped = watchdog->stop && watchdog->stop(watchdog->ctx);
		watchdog->late = stow_clock_monotonic() >= watchdog->deadline;
	} else {
		_cleanup_close_ int fd =
			stow_root_openat(root, O_WRONLY | O_TRUNC, 0, NULL,
					 MEMORY_DIR "/memory%" PRIu64 "/state", id);

		if (fd < 0)
			return fd;
		watchdog->fd = fd;
		watchdog->dead = root->fd;
		r = write_watched(watchdog, value);
		if (r == -EBADF)
			r = -EINTR;
	}
	*ret_end = watchdog->stopped ? -ECANCELED : watchdog->late ? -ETIMEDOUT : 0;
	return r;
}

int stow_memblock_online(struct stow_root *root, uint64_t id, enum stow_memblock_zone zone,
			 struct stow_err *err)
{
	const char *value = zone == STOW_ZONE_MOVABLE  ? "online_movable"
			    : zone == STOW_ZONE_KERNEL ? "online_kernel"
						       : "online";
	struct watchdog watchdog = { .deadline = deadline_in(STOW_ONLINE_TIMEOUT) };
	char text[32];
	int r, end;

	r = read_state(root, id, text, sizeof(text), err);
	if (r < 0)
		return r;
	if (strcmp(text, "online") == 0)
		return 0;
	do {
		end = 0;
		r = try_write(root, id, value, &watchdog, &end);
	} while (r == -EINTR && !end);
	if (r == -EINTR)
		r = -ETIMEDOUT;
	return read_back(root, id, value, "online", r, err);
}

int stow_memblock_offline(struct stow_root *root, uint64_t id, uint64_t timeout,
			  bool (*stop)(void *ctx), void *ctx, struct stow_err *err)
{
	struct watchdog watchdog = { .deadline = deadline_in(timeout), .stop = stop, .ctx = ctx };
	struct stow_err inner = { 0 };
	char text[32];
	int r, end;

	r = read_state(root, id, text, sizeof(text), err);
	if (r < 0)
		return r;
	if (strcmp(text, "offline") == 0)
		return 0;
	do {
		end = 0;
		r = try_write(root, id, "offline", &watchdog, &end);
		/* A signal of the caller's ended it: continue. */
	} while (r == -EINTR && !end);
	if (r != -EINTR)
		return read_back(root, id, "offline", "offline", r, err);
	r = read_back(root, id, "offline", "offline", r, &inner);
	if (r != -EINTR)
		return r < 0 ? stow_err_move(err, -inner.code, &inner) : r;
	if (end == -ECANCELED)
		return stow_err_set(err, ECANCELED, "memory block %" PRIu64 ": cancelled", id);
	return stow_err_set(
		err, ETIMEDOUT,
		"memory block %" PRIu64
		": the kernel had not finished after %.3g s: a page is pinned, or hard to move",
		id, (double)timeout / (double)STOW_SECOND);
}

/* --- devices -------------------------------------------------------------- */

/* List the blocks that the device has now, all of which must be offline. *ret_n 0: it has no block
 * any more. */
static int blocks_to_eject(struct stow_root *root, const struct stow_memdev *device,
			   uint64_t **ret_ids, size_t *ret_n, struct stow_err *err)
{
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };
	_cleanup_free_ uint64_t *ids = NULL;
	const struct stow_memdev *found;
	size_t n = 0;
	int r;

	r = stow_memblocks_read(root, STOW_MEMBLOCK_DEVICE, &list, err);
	if (r < 0)
		return r;
	found = stow_memdev_find(&list, device->alias);
	ids = calloc(found ? found->n_blocks : 1, sizeof(*ids));
	if (!ids)
		return stow_err_sys(err, ENOMEM, "%s", device->name);
	for (size_t i = 0; found && i < list.n_blocks; i++) {
		const struct stow_memblock *block = &list.blocks[i];

		if (block->device != found - list.devices)
			continue;
		if (block->state != STOW_MEMBLOCK_OFFLINE)
			return stow_err_set(err, EBUSY, "%s: memory block %" PRIu64 " is %s",
					    device->name, block->id,
					    stow_memblock_state_name(block->state));
		ids[n++] = block->id;
	}
	*ret_ids = STOW_TAKE_PTR(ids);
	*ret_n = n;
	return 0;
}

static bool any_there(struct stow_root *root, const uint64_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (stow_root_exists(root, MEMORY_DIR "/memory%" PRIu64 "/state", ids[i]) != 0)
			return true;
	return false;
}

static int request_removal(struct stow_root *root, const struct stow_memdev *device,
			   struct stow_err *err)
{
	struct stow_err inner = { 0 };
	int r;

	if (device->kind == STOW_MEMDEV_DAX)
		r = stow_root_write(root, device->alias, &inner,
				    "/sys/bus/dax/drivers/kmem/unbind");
	else
		r = stow_root_write(root, "1", &inner, "%s/eject", device->dir);
	if (r == -EACCES || r == -EPERM)
		return stow_err_set(err, -r, "%s: only the machine's root may eject it",
				    device->name);
	if (r == -ENOENT && device->kind == STOW_MEMDEV_DIMM)
		return stow_err_set(err, EOPNOTSUPP,
				    "%s: the firmware cannot eject it (no %s/eject)", device->name,
				    device->dir);
	return r < 0 ? stow_err_set(err, inner.code, "%s: %s", device->name, inner.msg) : 0;
}

int stow_memdev_eject(struct stow_root *root, const struct stow_memdev *device, uint64_t timeout,
		      struct stow_err *err)
{
	uint64_t deadline = deadline_in(timeout);
	_cleanup_free_ uint64_t *ids = NULL;
	size_t n = 0;
	int r;

	if (device->kind == STOW_MEMDEV_VIRTIO)
		return stow_err_set(err, EOPNOTSUPP,
				    "%s: only its hypervisor can shrink a virtio-mem device",
				    device->name);
	r = blocks_to_eject(root, device, &ids, &n, err);
	if (r == 0 && n)
		r = request_removal(root, device, err);
	if (r < 0)
		return r;
	/* ACPI's eject continues in a kernel worker. */
	while (any_there(root, ids, n)) {
		if (stow_clock_monotonic() >= deadline)
			return stow_err_set(err, ETIMEDOUT,
					    "%s: its memory is still there %.3g s after it was "
					    "ejected",
					    device->name, (double)timeout / (double)STOW_SECOND);
		stow_clock_sleep(EJECT_STEP);
	}
	return 0;
}
