/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Standbys, and how far they are behind. A standby writes its lag to PREFIXstandby/NAME every few
 * seconds, with a lease, so that etcd deletes the key when the standby has ended. The key is not
 * part of the store.
 */

#include "scheduler/store/etcd.h"
#include "scheduler/store/types.h"

struct etcd_standby;

/* Nothing is copied. NULL: out of memory. */
struct etcd_standby *etcd_standby_new(struct etcd *etcd, const char *prefix, const char *name);
void etcd_standby_free(struct etcd_standby *standby);
/* Compare the mirror with the last transaction, at most once a second, and write the key when it
 * is due. Failures are retried. */
void etcd_standby_look(struct etcd_standby *standby, struct etcd_mirror *mirror);
/* Return how long the oldest transaction that the mirror has not seen yet exists, in ns. Any
 * thread. */
uint64_t etcd_standby_lag(struct etcd_standby *standby);
/* List all standbys except this one. */
int etcd_standby_list(struct etcd_standby *standby, struct stow_store_standbys *ret,
		      struct stow_err *err);
