/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The engine for etcd, shared by its files: etcd_engine.c (leading and reading) and etcd_write.c
 * (writing).
 *
 * The leader is the scheduler that created the key PREFIXleader, with its lease. The key's create
 * revision identifies the leader.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "scheduler/store/etcd.h"
#include "scheduler/store/etcd_rows.h"

#define ETCD_ATTEMPT (2 * STOW_SECOND) /* timeout of one try */
#define ETCD_BUNDLE  "bundle"	       /* key of a list that exceeds one transaction */
#define ETCD_BUCKETS 4

/* One lease for all answers that expire in the same minute, by the boot clock. */
struct etcd_bucket {
	uint64_t minute;
	int64_t lease;
};

struct etcd_engine {
	struct etcd *etcd;
	struct etcd_mirror *mirror;
	struct etcd_standby *standby;
	int64_t others; /* create revision of another leader's key; 0: none was seen */
	char *prefix, *name;
	uint64_t ttl; /* of the lease, ns: store-lease */
	struct etcd_lease *lease;
	int64_t revision; /* create revision of PREFIXleader; 0: not the leader */
	char last[33];	  /* the value of PREFIXcommit: id of the last transaction */
	struct etcd_hook *hooks;
	struct etcd_ops unfinished; /* operations of a stored bundle */
	struct etcd_bucket buckets[ETCD_BUCKETS];
	unsigned int next_bucket;
	atomic_bool giving_up;

	pthread_mutex_t lock; /* of `lost` */
	struct stow_err lost; /* code 0: the lead is not lost */
};

/* Return whether this scheduler has lost the lead for good. Any thread. */
bool etcd_engine_lost(void *engine, struct stow_err *why);

/* Execute one transaction. 0: durable. Negative: not written, or, if this scheduler has lost the
 * lead, possibly written. */
int etcd_execute(struct etcd_engine *e, const struct etcd_op *ops, size_t n, struct stow_err *err);
/* Take the operations of a stored bundle from `ops`. */
int etcd_begin_finish(struct etcd_engine *e, struct etcd_ops *ops, struct stow_err *err);
/* Carry out the operations of the bundle; the last transaction deletes the bundle. */
int etcd_finish(struct etcd_engine *e, struct stow_err *err);
/* The engine's `write` (engine.h). */
void etcd_write_batch(void *engine, struct stow_writes *batch, struct stow_engine_count *count);
