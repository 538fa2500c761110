/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Threads that may run outside of their container's cpuset. The kernel gives the workers of an
 * io_uring (io_uring/io-wq.c) the CPUs that the cpuset had when the process first used io_uring.
 * When the set has become smaller since, each new worker still has those CPUs, until a set is
 * written again (seen on Linux 6.1 and 6.12). On kernels before 6.12 and their stable series
 * without that fix, a worker has all CPUs of its NUMA node.
 */

#include <stddef.h>

#include "base/err.h"
#include "grant/apply.h"
#include "grant/context.h"

/*
 * Give such threads of all containers the CPUs of their cpuset; where no CPUs are exclusive, only
 * those of containers with a grant. Return how many there were. A thread that cannot be changed,
 * and threads that cannot be listed, are a problem of their container in `problems`. Continue after
 * a failure and return the first.
 * Takes no lock: what is set is that the cpuset decides, whatever it is by then. Does nothing on a
 * copied tree.
 */
int stow_threads_confine(const struct stow_grant_context *context,
			 struct stow_apply_result *problems, struct stow_err *err);
