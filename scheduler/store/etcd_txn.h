/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A transaction of etcd, put together without many small allocations: if all compares hold, all
 * operations are done; else the leader's key and the commit's are read. */

#include "scheduler/store/etcd.h"

#define ETCD_LEADER "leader"
#define ETCD_COMMIT "commit"

/* A transaction's parts, which it points to. */
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

/* With room for n operations and two more. -ENOMEM. */
int etcd_txn_init(struct etcd_txn *txn, const char *prefix, size_t n, struct stow_err *err);
void etcd_txn_done(struct etcd_txn *txn);
/* A comparison for equality, whose value is still to be set; three at most. Nothing that is passed
 * is copied, here and below. */
EtcdCompare *etcd_txn_compare(struct etcd_txn *txn, const char *key,
			      EtcdCompare__CompareTarget target);
void etcd_txn_put(struct etcd_txn *txn, const void *key, size_t key_len, const void *value,
		  size_t len, int64_t lease);
void etcd_txn_delete(struct etcd_txn *txn, const void *key, size_t key_len);
/* The i-th key that was read since a compare did not hold: 0 the leader's, 1 the commit's; NULL:
 * there is none. */
const EtcdKeyValue *etcd_txn_read(const EtcdTxnResponse *in, size_t i);

void etcd_set_text(ProtobufCBinaryData *data, const char *text);
bool etcd_has_text(const ProtobufCBinaryData *data, const char *text);
