// SPDX-License-Identifier: Apache-2.0
#include "scheduler/store/etcd_txn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set_bytes(ProtobufCBinaryData *data, const void *bytes, size_t len)
{
	data->data = (uint8_t *)(uintptr_t)bytes;
	data->len = len;
}

void etcd_set_text(ProtobufCBinaryData *data, const char *text)
{
	set_bytes(data, text, strlen(text));
}

void etcd_txn_done(struct etcd_txn *txn)
{
	free(txn->op);
	free(txn->ops);
	free(txn->put);
	free(txn->delete);
}

int etcd_txn_init(struct etcd_txn *txn, const char *prefix, size_t n, struct stow_err *err)
{
	memset(txn, 0, sizeof(*txn));
	snprintf(txn->leader, sizeof(txn->leader), "%s" ETCD_LEADER, prefix);
	snprintf(txn->commit, sizeof(txn->commit), "%s" ETCD_COMMIT, prefix);
	etcd_txn_request__init(&txn->request);
	txn->op = calloc(n + 2, sizeof(*txn->op));
	txn->ops = calloc(n + 2, sizeof(*txn->ops));
	txn->put = calloc(n + 2, sizeof(*txn->put));
	txn->delete = calloc(n + 2, sizeof(*txn->delete));
	if (!txn->op || !txn->ops || !txn->put || !txn->delete) {
		etcd_txn_done(txn);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	for (int i = 0; i < 2; i++) {
		etcd_request_op__init(&txn->read[i]);
		etcd_range_request__init(&txn->range[i]);
		etcd_set_text(&txn->range[i].key, i ? txn->commit : txn->leader);
		txn->read[i].request_case = ETCD_REQUEST_OP__REQUEST_REQUEST_RANGE;
		txn->read[i].request_range = &txn->range[i];
		txn->reads[i] = &txn->read[i];
	}
	for (int i = 0; i < 3; i++) {
		etcd_compare__init(&txn->compare[i]);
		txn->compares[i] = &txn->compare[i];
	}
	txn->request.failure = txn->reads;
	txn->request.n_failure = 2;
	txn->request.compare = txn->compares;
	txn->request.success = txn->ops;
	return 0;
}

EtcdCompare *etcd_txn_compare(struct etcd_txn *txn, const char *key,
			      EtcdCompare__CompareTarget target)
{
	EtcdCompare *c = &txn->compare[txn->request.n_compare++];

	etcd_set_text(&c->key, key);
	c->target = target;
	return c;
}

void etcd_txn_put(struct etcd_txn *txn, const void *key, size_t key_len, const void *value,
		  size_t len, int64_t lease)
{
	size_t at = txn->request.n_success++;

	etcd_request_op__init(&txn->op[at]);
	etcd_put_request__init(&txn->put[at]);
	set_bytes(&txn->put[at].key, key, key_len);
	set_bytes(&txn->put[at].value, value, len);
	txn->put[at].lease = lease;
	txn->op[at].request_case = ETCD_REQUEST_OP__REQUEST_REQUEST_PUT;
	txn->op[at].request_put = &txn->put[at];
	txn->ops[at] = &txn->op[at];
}

void etcd_txn_delete(struct etcd_txn *txn, const void *key, size_t key_len)
{
	size_t at = txn->request.n_success++;

	etcd_request_op__init(&txn->op[at]);
	etcd_delete_range_request__init(&txn->delete[at]);
	set_bytes(&txn->delete[at].key, key, key_len);
	txn->op[at].request_case = ETCD_REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
	txn->op[at].request_delete_range = &txn->delete[at];
	txn->ops[at] = &txn->op[at];
}

const EtcdKeyValue *etcd_txn_read(const EtcdTxnResponse *in, size_t i)
{
	const EtcdRangeResponse *range;

	if (i >= in->n_responses ||
	    in->responses[i]->response_case != ETCD_RESPONSE_OP__RESPONSE_RESPONSE_RANGE)
		return NULL;
	range = in->responses[i]->response_range;
	return range && range->n_kvs == 1 ? range->kvs[0] : NULL;
}

int etcd_read_key(struct etcd *etcd, const char *prefix, const char *name, uint64_t timeout,
		  EtcdRangeResponse **ret, struct stow_err *err)
{
	EtcdRangeRequest request = ETCD_RANGE_REQUEST__INIT;
	char key[320];
	void *answer;
	int r;

	snprintf(key, sizeof(key), "%s%s", prefix, name);
	etcd_set_text(&request.key, key);
	r = etcd_ask(etcd, &etcd_kv__descriptor, "Range", &request, timeout, &answer, err);
	if (r == 0)
		*ret = answer;
	return r;
}

bool etcd_has_text(const ProtobufCBinaryData *data, const char *text)
{
	return data->len == strlen(text) && memcmp(data->data, text, data->len) == 0;
}
