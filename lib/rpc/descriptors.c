/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/descriptors.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/math.h"

#define DESCRIPTORS_MAX 65536
#define STARVED		(10 * STOW_MILLISECOND) /* between two tries without any descriptor */

typedef int (*accept4_fn)(int, struct sockaddr *, socklen_t *, int);
typedef int (*close_fn)(int);
typedef int (*shutdown_fn)(int, int);

/* Global to the process, as descriptors and the linker's names are. */
static _Atomic(void *) next_accept4, next_close, next_shutdown;
static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER;
static int spare = -1;

void *rpc_descriptors_next(_Atomic(void *) *at, const char *name)
{
	void *found = atomic_load_explicit(at, memory_order_acquire);

	if (!found) {
		found = dlsym(RTLD_NEXT, name);
		atomic_store_explicit(at, found, memory_order_release);
	}
	return found;
}

int rpc_descriptors_accept(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	return ((accept4_fn)rpc_descriptors_next(&next_accept4, "accept4"))(fd, address, len,
									    flags);
}

int rpc_descriptors_close(int fd)
{
	return ((close_fn)rpc_descriptors_next(&next_close, "close"))(fd);
}

int rpc_descriptors_shutdown(int fd, int how)
{
	return ((shutdown_fn)rpc_descriptors_next(&next_shutdown, "shutdown"))(fd, how);
}

void rpc_descriptors_hang_up(int fd)
{
	struct linger at_once = { .l_onoff = 1 };

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	rpc_descriptors_close(fd);
}

void rpc_descriptors_turn_away(int listener)
{
	int fd = -1;

	pthread_mutex_lock(&spare_lock);
	if (spare >= 0) {
		rpc_descriptors_close(spare);
		fd = rpc_descriptors_accept(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			rpc_descriptors_hang_up(fd);
	}
	spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pthread_mutex_unlock(&spare_lock);
	if (fd < 0)
		stow_clock_sleep(STARVED);
}

int rpc_descriptors_start(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	/* The usual soft limit of 1024 descriptors exists for select(2), which is not used here. */
	if (limit.rlim_cur < DESCRIPTORS_MAX) {
		rlim_t had = limit.rlim_cur;

		limit.rlim_cur = STOW_MIN(limit.rlim_max, (rlim_t)DESCRIPTORS_MAX);
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			limit.rlim_cur = had;
	}
	pthread_mutex_lock(&spare_lock);
	if (spare < 0)
		spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pthread_mutex_unlock(&spare_lock);
	return limit.rlim_cur < DESCRIPTORS_MAX ? (int)limit.rlim_cur : DESCRIPTORS_MAX;
}
