/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A transaction of etcd, built with few allocations. If all compares hold, all operations are
 * executed; otherwise the leader's key and the commit's key are read. */

#include "scheduler/store/etcd.h"

#define ETCD_LEADER "leader"
#define ETCD_COMMIT "commit"

/* A transaction, and the parts that it points to. */
struct etcd_txn {
	EtcdTxnRequest request;
	EtcdCompare compare[3], *compares[3];
	EtcdRequestOp read[2], *reads[2];
	EtcdRangeRequest range[2];
	EtcdRequestOp *op, **ops;
	EtcdPutRequest *put;
	EtcdDeleteRangeRequest *delete;
	char leader[320], commit[320];
};

/* Initialize a transaction with room for n + 2 operations. -ENOMEM. */
int etcd_txn_init(struct etcd_txn *txn, const char *prefix, size_t n, struct stow_err *err);
void etcd_txn_done(struct etcd_txn *txn);
/* Add a comparison for equality, at most three; the caller sets its value. Arguments are not
 * copied, here and below. */
EtcdCompare *etcd_txn_compare(struct etcd_txn *txn, const char *key,
			      EtcdCompare__CompareTarget target);
/* Add an operation that puts or deletes a key. */
void etcd_txn_put(struct etcd_txn *txn, const void *key, size_t key_len, const void *value,
		  size_t len, int64_t lease);
void etcd_txn_delete(struct etcd_txn *txn, const void *key, size_t key_len);
/* Return a key that was read because a compare failed: 0 the leader's, 1 the commit's. NULL:
 * there is none. */
const EtcdKeyValue *etcd_txn_read(const EtcdTxnResponse *in, size_t i);

/* Read PREFIXname, from any member, within `timeout`. The caller frees the response, which has one
 * key, or none. */
int etcd_read_key(struct etcd *etcd, const char *prefix, const char *name, uint64_t timeout,
		  EtcdRangeResponse **ret, struct stow_err *err);

/* Set bytes to a text, without a copy; compare them with one. */
void etcd_set_text(ProtobufCBinaryData *data, const char *text);
bool etcd_has_text(const ProtobufCBinaryData *data, const char *text);
