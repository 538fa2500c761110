// SPDX-License-Identifier: Apache-2.0
/*
 * Takes memory blocks offline, and ejects devices, as a daemon does: in one of several threads,
 * with all signals blocked.
 *
 *   mem-hotplug offline BLOCK TIMEOUT [STOP]    STOP: cancel it after that time
 *   mem-hotplug eject DEVICE TIMEOUT
 *
 * Prints "done", "already" or the error's name, and then how long it took, in ms, and the message.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "node/hotplug.h"
#include "node/memblock.h"

static bool over(void *ctx)
{
	return stow_clock_monotonic() >= *(uint64_t *)ctx;
}

/* The process's other thread. */
static void *idle(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static int eject(struct stow_root *root, const char *name, uint64_t timeout, struct stow_err *err)
{
	_cleanup_(stow_memblocks_done) struct stow_memblocks list = { 0 };
	const struct stow_memdev *device;
	int r = stow_memblocks_read(root, STOW_MEMBLOCK_DEVICE, &list, err);

	if (r < 0)
		return r;
	device = stow_memdev_find(&list, name);
	if (!device)
		return stow_err_set(err, ENODEV, "no device %s", name);
	r = stow_memdev_eject(root, device, timeout, err);
	return r < 0 ? r : 1;
}

static int run(int argc, char **argv, struct stow_err *err)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	uint64_t id, timeout, stop = 0;
	int r;

	r = stow_root_open("/", &root, err);
	if (r == 0)
		r = stow_parse_duration(argv[3], &timeout, err);
	if (r == 0 && strcmp(argv[1], "eject") == 0)
		return eject(root, argv[2], timeout, err);
	if (r == 0)
		r = stow_parse_u64(argv[2], UINT64_MAX, &id, err);
	if (r == 0 && argc == 5)
		r = stow_parse_duration(argv[4], &stop, err);
	if (r < 0)
		return r;
	stop += stow_clock_monotonic();
	return stow_memblock_offline(root, id, timeout, argc == 5 ? over : NULL, &stop, err);
}

int main(int argc, char **argv)
{
	struct stow_err err = { 0 };
	uint64_t began = stow_clock_monotonic();
	pthread_t threads[4];
	sigset_t all;
	int r;

	if (argc != 4 && argc != 5)
		return 2;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, idle, NULL);
	r = run(argc, argv, &err);
	printf("%s %" PRIu64 " %s\n",
	       r > 0	? "done"
	       : r == 0 ? "already"
			: strerrorname_np(-r),
	       (stow_clock_monotonic() - began) / 1000000, r < 0 ? err.msg : "");
	return r < 0;
}
