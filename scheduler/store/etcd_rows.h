/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The store's rows as keys of etcd, and operations on them in one transaction.
 *
 *	PREFIXr/ID	a reservation		PREFIXw/SEQ	a webhook event
 *	PREFIXf/NODE	a fence			PREFIXbundle	a list that is too long for one
 *	PREFIXa/REQUEST	an answer				transaction
 *	PREFIXd/ID	a drain			PREFIXcopying	a copy to the store has not ended
 *
 * ID and SEQ are 16 hexadecimal digits. Values are numastow.v1.StoreRow.
 */

#include "numastow/v1/store.pb-c.h"
#include "scheduler/store/engine.h"
#include "scheduler/store/etcd.h"

#define ETCD_COPYING "copying"

/* A put or delete of a key. */
struct etcd_op {
	char *key;
	size_t key_len;
	uint8_t *value; /* NULL: deleted */
	size_t value_len;
	int64_t lease;
	uint64_t seq;	 /* of a webhook's row */
	PbStoreRow *row; /* of a webhook's put */
};

/* A list of operations. Each key occurs once, because etcd rejects duplicate keys in a
 * transaction. */
struct etcd_ops {
	struct etcd_op *ops;
	size_t n, room, bytes;
};

/* A stored webhook, for writes that change webhooks other than by key. */
struct etcd_hook {
	struct etcd_hook *next;
	uint64_t seq;
	PbStoreRow *row;
};

void etcd_ops_done(struct etcd_ops *ops);
/* Add the operations for a list of writes. `hooks` are the stored webhooks; `before` (may be
 * NULL) will be executed first. `answer_lease` is called with `ctx` and how long the answer is
 * kept, and returns its lease. -ENOMEM. */
int etcd_ops_add(struct etcd_ops *ops, const char *prefix, const struct stow_writes *writes,
		 const struct etcd_ops *before, const struct etcd_hook *hooks,
		 int64_t (*answer_lease)(void *ctx, uint64_t left), void *ctx,
		 struct stow_err *err);
/* Add the put of a key. Takes ownership of `value`, also on failure. */
int etcd_ops_put(struct etcd_ops *ops, const char *prefix, const char *name, void *value,
		 size_t len, struct stow_err *err);
/* Append `more` to `ops`, and leave it empty. */
int etcd_ops_merge(struct etcd_ops *ops, struct etcd_ops *more, struct stow_err *err);
/* Update the hooks for executed operations. */
void etcd_hooks_apply(struct etcd_hook **hooks, struct etcd_ops *ops);
void etcd_hooks_free(struct etcd_hook **hooks);

/* Pack all operations into one value; unpack them. */
int etcd_ops_pack(const struct etcd_ops *ops, void **ret_value, size_t *ret_len,
		  struct stow_err *err);
int etcd_ops_unpack(struct etcd_ops *ops, const char *prefix, const void *value, size_t len,
		    struct stow_err *err);

/* Pass a key's row to `load`, and a webhook also to `hooks`. Skips keys that are not rows.
 * -EUCLEAN: the row is damaged. */
int etcd_row_load(const char *prefix, const struct etcd_key *key,
		  const struct stow_store_load *load, struct etcd_hook **hooks,
		  struct stow_err *err);
