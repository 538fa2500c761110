/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The store's rows as keys of etcd, and what is to be done with them in one transaction.
 *
 *	PREFIXr/ID	a reservation		PREFIXw/SEQ	what a webhook is to be told
 *	PREFIXf/NODE	a fence			PREFIXbundle	a list that is too long for one
 *	PREFIXa/REQUEST	an answer				transaction
 *	PREFIXd/ID	a drain
 *
 * ID and SEQ are 16 hexadecimal digits. Values are numastow.v1.StoreRow.
 */

#include "numastow/v1/store.pb-c.h"
#include "scheduler/store/engine.h"
#include "scheduler/store/etcd.h"

/* One key that is put, or deleted. */
struct etcd_op {
	char *key;
	size_t key_len;
	uint8_t *value; /* NULL: deleted */
	size_t value_len;
	int64_t lease;
	uint64_t seq;	 /* of a webhook's row */
	PbStoreRow *row; /* of a webhook that is put */
};

/* A key is there once: etcd refuses a second time in one transaction. */
struct etcd_ops {
	struct etcd_op *ops;
	size_t n, room, bytes;
};

/* Webhooks that are stored, for what changes them by more than their key. */
struct etcd_hook {
	struct etcd_hook *next;
	uint64_t seq;
	PbStoreRow *row;
};

void etcd_ops_done(struct etcd_ops *ops);
/* Adds what a list of writes does to what is there already: `before` (may be NULL) is done before
 * it, `hooks` were. `answer_lease` gives an answer's lease. -ENOMEM. */
int etcd_ops_add(struct etcd_ops *ops, const char *prefix, const struct stow_writes *writes,
		 const struct etcd_ops *before, const struct etcd_hook *hooks,
		 int64_t (*answer_lease)(void *ctx, uint64_t expires), void *ctx,
		 struct stow_err *err);
/* One more key; takes `value` over, also when it fails. */
int etcd_ops_put(struct etcd_ops *ops, const char *prefix, const char *name, void *value,
		 size_t len, int64_t lease, struct stow_err *err);
/* Does `more` after `ops`, and leaves it empty. */
int etcd_ops_merge(struct etcd_ops *ops, struct etcd_ops *more, struct stow_err *err);
/* The hooks as they are once these are done. */
void etcd_hooks_apply(struct etcd_hook **hooks, struct etcd_ops *ops);
void etcd_hooks_free(struct etcd_hook **hooks);

/* All of them as one value, and back. */
int etcd_ops_pack(const struct etcd_ops *ops, void **ret_value, size_t *ret_len,
		  struct stow_err *err);
int etcd_ops_unpack(struct etcd_ops *ops, const char *prefix, const void *value, size_t len,
		    struct stow_err *err);

/* Hands a key to whom it belongs, and a webhook's to `hooks` as well. Keys that are no rows are
 * skipped; `wall`: answers that ran out before are, too. -EUCLEAN: it is no row of ours. */
int etcd_row_load(const char *prefix, const struct etcd_key *key, uint64_t wall,
		  const struct stow_store_load *load, struct etcd_hook **hooks,
		  struct stow_err *err);
