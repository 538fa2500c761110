/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The engine that keeps the store in etcd, between its two files: etcd_engine.c leads and reads,
 * etcd_write.c writes.
 *
 * One scheduler leads: it made the key PREFIXleader, which hangs on its lease. The revision that
 * made the key is the leader's mark.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "scheduler/store/etcd.h"
#include "scheduler/store/etcd_rows.h"

#define ETCD_ATTEMPT (2 * STOW_SECOND) /* one try of one call */
#define ETCD_BUNDLE  "bundle"
#define ETCD_BUCKETS 4

/* Answers of one minute go with one lease. */
struct etcd_bucket {
	uint64_t minute;
	int64_t lease;
};

struct etcd_engine {
	struct etcd *etcd;
	struct etcd_mirror *mirror;
	struct etcd_standby *standby;
	int64_t others; /* the revision that made another one's key; 0: none was seen */
	char *prefix, *name;
	uint64_t ttl;
	struct etcd_lease *lease;
	int64_t revision; /* that made PREFIXleader; 0: not the leader */
	char last[33];	  /* of PREFIXcommit */
	struct etcd_hook *hooks;
	struct etcd_ops unfinished; /* of a bundle that is stored */
	struct etcd_bucket buckets[ETCD_BUCKETS];
	unsigned int next_bucket;
	atomic_bool giving_up;

	pthread_mutex_t lock;
	struct stow_err lost; /* code 0: it leads */
};

/* Whether this scheduler is known to lead no more. Any thread. */
bool etcd_engine_lost(void *engine, struct stow_err *why);

/* An id that no transaction had before. */
void etcd_new_id(char id[33]);
/* One transaction. 0: durable. Negative: not written, unless this scheduler leads no more. */
int etcd_execute(struct etcd_engine *e, const struct etcd_op *ops, size_t n, struct stow_err *err);
/* What a stored bundle says is to be done; takes it from `ops`. */
int etcd_begin_finish(struct etcd_engine *e, struct etcd_ops *ops, struct stow_err *err);
/* Does it, key by key; the last transaction deletes the bundle. */
int etcd_finish(struct etcd_engine *e, struct stow_err *err);
/* The engine's `write` (engine.h). */
void etcd_write_batch(void *engine, struct stow_writes *batch, struct stow_engine_count *count);
