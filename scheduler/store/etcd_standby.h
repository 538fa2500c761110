/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How far a standby is behind, and who stands by. A standby writes that to PREFIXstandby/NAME every
 * few seconds, with a lease: the key goes when the standby does. It is no part of the store.
 */

#include "scheduler/store/etcd.h"
#include "scheduler/store/store.h"

struct etcd_standby;

/* Neither is copied. NULL: out of memory. */
struct etcd_standby *etcd_standby_new(struct etcd *etcd, const char *prefix, const char *name);
void etcd_standby_free(struct etcd_standby *standby);
/* Compares what is followed with the last transaction, at most once a second, and writes the key
 * when it is time. What etcd does not answer is tried again. */
void etcd_standby_look(struct etcd_standby *standby, struct etcd_mirror *mirror);
/* For how long a transaction has been there that is not followed yet, ns. Any thread. */
uint64_t etcd_standby_lag(struct etcd_standby *standby);
/* All that stand by, this one excepted. */
int etcd_standby_list(struct etcd_standby *standby, struct stow_store_standbys *ret,
		      struct stow_err *err);
