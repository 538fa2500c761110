// SPDX-License-Identifier: Apache-2.0
/*
 * Writing to etcd. Every transaction compares the create revision of the leader's key, so that a
 * paused former leader cannot write. It also compares PREFIXcommit, which each transaction replaces
 * by its own id, so that a transaction whose answer was lost can be sent again: it takes effect
 * only once.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "rpc/log.h"
#include "scheduler/store/etcd_engine.h"
#include "scheduler/store/etcd_txn.h"

#define WAIT_MOST    (8 * STOW_SECOND) /* for etcd, after the end of the lease */
#define PAUSE_US     100000	       /* before a transaction is sent again */
#define OPS_MERGED   64		       /* of several lists; up to 16 cost as much as one */
#define OPS_MOST     120	       /* of one transaction; etcd accepts 128 */
#define BYTES_MERGED (1U << 19)
#define BYTES_MOST   (1400U << 10) /* etcd accepts 1.5 MiB */
#define MINUTE	     (60 * STOW_SECOND)
#define ANSWER_MOST  (48 * 60 * MINUTE)

static void lose(struct etcd_engine *e, const struct stow_err *why)
{
	pthread_mutex_lock(&e->lock);
	if (!e->lost.code)
		e->lost = *why;
	pthread_mutex_unlock(&e->lock);
}

bool etcd_engine_lost(void *engine, struct stow_err *why)
{
	struct etcd_engine *e = engine;
	bool lost;

	pthread_mutex_lock(&e->lock);
	if (!e->lost.code && e->lease && etcd_lease_gone(e->lease))
		stow_err_set(&e->lost, ESTALE, "etcd has ended this scheduler's lease");
	lost = e->lost.code;
	if (lost && why)
		*why = e->lost;
	pthread_mutex_unlock(&e->lock);
	return lost;
}

/* --- transactions --------------------------------------------------------- */

/* A compare failed. Return 0 when the transaction had taken effect before; otherwise this
 * scheduler has lost the lead. */
static int settle_refusal(struct etcd_engine *e, const EtcdTxnResponse *in, const char *id,
			  bool doubt, struct stow_err *err)
{
	const EtcdKeyValue *leader = etcd_txn_read(in, 0), *commit = etcd_txn_read(in, 1);
	const char *end = doubt ? "; it is not known whether the last write took effect" : "";

	if (leader && leader->create_revision == e->revision && commit &&
	    etcd_has_text(&commit->value, id))
		return 0;
	if (!leader)
		stow_err_set(
			err, ESTALE,
			"etcd refused a write: this scheduler's lease has ended (it was made at "
			"revision %" PRId64 ")%s",
			e->revision, end);
	else if (leader->create_revision != e->revision)
		stow_err_set(err, ESTALE,
			     "etcd refused a write: %.*s leads since revision %" PRId64
			     ", this scheduler did since %" PRId64 "%s",
			     (int)(leader->value.len < 128 ? leader->value.len : 128),
			     leader->value.len ? (const char *)leader->value.data : "",
			     leader->create_revision, e->revision, end);
	else
		stow_err_set(err, ESTALE,
			     "etcd refused a write: another program has written %s" ETCD_COMMIT,
			     e->prefix);
	lose(e, err);
	return -ESTALE;
}

/* Return whether an error implies that nothing was written. After other errors this is not
 * known. */
static bool has_not_written(int r)
{
	switch (-r) {
	case EINVAL:
	case ENOSPC:
	case ENOMEM:
	case ENOENT:
	case EACCES:
	case EKEYREJECTED:
	case EOPNOTSUPP:
		return true;
	default:
		return false;
	}
}

/* Replace etcd's code, which callers would take for the scheduler's own: no room in the fleet, or a
 * role that they lack. */
static int refuse(struct stow_err *err)
{
	struct stow_err why = *err;

	return stow_err_set(err, EIO, "the store does not accept writes: %.900s", why.msg);
}

/* Return whether the lease could not be renewed for so long that another scheduler probably
 * leads, or will. Then this process should exit and become a standby, which answers at once. */
static bool has_lost_lease(struct etcd_engine *e, struct stow_err *err)
{
	if (stow_clock_boot() < etcd_lease_until(e->lease) + WAIT_MOST)
		return false;
	stow_err_set(err, ESTALE,
		     "etcd has not answered since this scheduler's lease expired; it gives up the "
		     "lead; it is not known whether the last write took effect");
	lose(e, err);
	return true;
}

/* Return 1 when a transaction has taken effect, 0 when it has not so far, or -errno. */
static int has_taken_effect(struct etcd_engine *e, const char *id)
{
	EtcdRangeResponse *in = NULL;
	int r = etcd_read_key(e->etcd, e->prefix, ETCD_COMMIT, ETCD_ATTEMPT, &in, NULL);

	if (r < 0)
		return r;
	r = in->n_kvs && etcd_has_text(&in->kvs[0]->value, id);
	stow_rpc_message_free(in);
	return r;
}

/* etcd refuses a transaction that was sent once. Return 0 when it has taken effect all the same:
 * one with which the database exceeds its quota does, and the answer is "no space". Otherwise -EIO,
 * or -EAGAIN when that cannot be found out. */
static int settle_first(struct etcd_engine *e, int refusal, const char *id, struct stow_err *err)
{
	int has = refusal == -ENOSPC ? has_taken_effect(e, id) : 0;

	if (refusal == -ENOENT) /* the lease of answers: the next one is made anew */
		memset(e->buckets, 0, sizeof(e->buckets));
	if (has == 0)
		return refuse(err);
	return has > 0 ? 0 : -EAGAIN;
}

static int log_done(bool doubt)
{
	if (doubt)
		stow_log(STOW_LOG_NOTICE, "etcd has answered: the write took effect once");
	return 0;
}

/* etcd refuses a transaction that is in doubt: its former copy may have taken effect, or still do
 * so. Return 0 when it has, and -EAGAIN to wait. When etcd has refused for WAIT_MOST, give up the
 * lead: while this scheduler keeps its lease alive nobody else can write either. */
static int settle_doubt(struct etcd_engine *e, const char *id, uint64_t *since,
			struct stow_err *err)
{
	struct stow_err why = *err;

	if (has_taken_effect(e, id) > 0)
		return log_done(true);
	*since = *since ? *since : stow_clock_boot();
	if (stow_clock_boot() < *since + WAIT_MOST)
		return -EAGAIN;
	stow_err_set(err, ESTALE,
		     "it is not known whether the last write took effect, and etcd refuses it now; "
		     "this scheduler gives up the lead: %.800s",
		     why.msg);
	lose(e, err);
	return -ESTALE;
}

/* Send a transaction until etcd answers, possibly for a long time: nothing else is written
 * before. */
static int send_until(struct etcd_engine *e, const struct etcd_txn *txn, const char *id,
		      struct stow_err *err)
{
	uint64_t refused = 0; /* since when, while in doubt */
	bool doubt = false;

	for (;;) {
		void *answer = NULL;
		int r;

		/* The first try is always sent: etcd knows who leads. */
		if (doubt && (etcd_engine_lost(e, err) || has_lost_lease(e, err)))
			return -err->code;
		if (atomic_load(&e->giving_up))
			return stow_err_set(err, ETIMEDOUT,
					    "etcd has not answered; whether it was written is not "
					    "known");
		r = etcd_call(e->etcd, &etcd_kv__descriptor, "Txn", &txn->request, ETCD_ATTEMPT,
			      &answer, err);
		if (r == 0) {
			EtcdTxnResponse *in = answer;

			r = in->succeeded ? 0 : settle_refusal(e, in, id, doubt, err);
			stow_rpc_message_free(in);
			return r < 0 ? r : log_done(doubt);
		}
		if (has_not_written(r)) {
			r = doubt ? settle_doubt(e, id, &refused, err)
				  : settle_first(e, r, id, err);
			if (r != -EAGAIN)
				return r;
		}
		if (!doubt)
			stow_log(STOW_LOG_WARNING,
				 "the result of a write is not known; it is sent again",
				 stow_text("error", err->msg));
		doubt = true;
		usleep(PAUSE_US);
	}
}

/* Execute one transaction (etcd_engine.h). */
int etcd_execute(struct etcd_engine *e, const struct etcd_op *ops, size_t n, struct stow_err *err)
{
	EtcdCompare *c;
	struct etcd_txn txn;
	char id[33];
	int r;

	r = etcd_txn_init(&txn, e->prefix, n, err);
	if (r < 0)
		return r;
	stow_random_id(id);
	c = etcd_txn_compare(&txn, txn.leader, ETCD_COMPARE__COMPARE_TARGET__CREATE);
	c->target_union_case = ETCD_COMPARE__TARGET_UNION_CREATE_REVISION;
	c->create_revision = e->revision;
	c = etcd_txn_compare(&txn, txn.leader, ETCD_COMPARE__COMPARE_TARGET__LEASE);
	c->target_union_case = ETCD_COMPARE__TARGET_UNION_LEASE;
	c->lease = etcd_lease_id(e->lease);
	c = etcd_txn_compare(&txn, txn.commit, ETCD_COMPARE__COMPARE_TARGET__VALUE);
	c->target_union_case = ETCD_COMPARE__TARGET_UNION_VALUE;
	etcd_set_text(&c->value, e->last);
	for (size_t i = 0; i < n; i++) {
		if (ops[i].value)
			etcd_txn_put(&txn, ops[i].key, ops[i].key_len, ops[i].value,
				     ops[i].value_len, ops[i].lease);
		else
			etcd_txn_delete(&txn, ops[i].key, ops[i].key_len);
	}
	etcd_txn_put(&txn, txn.commit, strlen(txn.commit), id, strlen(id), 0);
	r = send_until(e, &txn, id, err);
	if (r == 0)
		memcpy(e->last, id, sizeof(id));
	etcd_txn_done(&txn);
	return r;
}

/* --- bundles -------------------------------------------------------------- */

/* Carry out the operations of a stored bundle; the last transaction deletes the bundle. */
int etcd_finish(struct etcd_engine *e, struct stow_err *err)
{
	struct etcd_ops *left = &e->unfinished;

	while (left->n) {
		size_t n = left->n < OPS_MERGED ? left->n : OPS_MERGED;
		struct etcd_ops part = { .ops = &left->ops[left->n - n], .n = n };
		int r = etcd_execute(e, part.ops, n, err);

		if (r < 0)
			return r;
		etcd_hooks_apply(&e->hooks, &part);
		for (size_t i = 0; i < n; i++) {
			struct etcd_ops one = { .ops = &left->ops[--left->n], .n = 1 };

			free(one.ops->key);
			free(one.ops->value);
			stow_rpc_message_free(one.ops->row);
		}
	}
	etcd_ops_done(left);
	return 0;
}

/* Operations are carried out from the end of the list: the deletion of the bundle is the first
 * entry, so it comes last. */
int etcd_begin_finish(struct etcd_engine *e, struct etcd_ops *ops, struct stow_err *err)
{
	int r = etcd_ops_put(&e->unfinished, e->prefix, ETCD_BUNDLE, NULL, 0, err);

	return r < 0 ? r : etcd_ops_merge(&e->unfinished, ops, err);
}

/* Write operations that exceed one transaction, as a bundle. 0: all of it is durable, though not
 * yet under the rows' keys. */
static int execute_long(struct etcd_engine *e, struct etcd_ops *ops, struct stow_err *err)
{
	struct etcd_ops bundle = { 0 };
	struct stow_err later;
	size_t len = 0;
	void *value;
	int r;

	r = etcd_ops_pack(ops, &value, &len, err);
	if (r == 0)
		r = etcd_ops_put(&bundle, e->prefix, ETCD_BUNDLE, value, len, err);
	if (r == 0 && len > BYTES_MOST)
		r = stow_err_set(
			err, E2BIG,
			"the store: %zu bytes that must be written at once; etcd accepts %u", len,
			BYTES_MOST);
	if (r == 0)
		r = etcd_begin_finish(e, ops, err);
	if (r == 0)
		r = etcd_execute(e, bundle.ops, bundle.n, err);
	etcd_ops_done(&bundle);
	if (r < 0)
		etcd_ops_done(&e->unfinished);
	else
		(void)etcd_finish(e, &later); /* otherwise finished before the next write */
	return r;
}

/* --- writing -------------------------------------------------------------- */

/* Return the lease for an answer with so much time left; 0: none, the answer is forgotten soon
 * after it is read again. */
static int64_t answer_lease(void *ctx, uint64_t left)
{
	struct etcd_engine *e = ctx;
	uint64_t now = stow_clock_boot(), minute = stow_saturating_add(now, left) / MINUTE + 1;
	EtcdLeaseGrantRequest request = ETCD_LEASE_GRANT_REQUEST__INIT;
	EtcdLeaseGrantResponse *response;
	struct etcd_bucket *bucket;
	void *answer;

	for (int i = 0; i < ETCD_BUCKETS; i++)
		if (e->buckets[i].lease && e->buckets[i].minute == minute)
			return e->buckets[i].lease;
	if (left > ANSWER_MOST)
		return 0;
	request.ttl = (int64_t)((minute * MINUTE - now) / STOW_SECOND) + 60;
	if (etcd_ask(e->etcd, &etcd_lease__descriptor, "LeaseGrant", &request, ETCD_ATTEMPT,
		     &answer, NULL) < 0)
		return 0;
	response = answer;
	bucket = &e->buckets[e->next_bucket++ % ETCD_BUCKETS];
	*bucket = (struct etcd_bucket){ minute, response->id };
	stow_rpc_message_free(response);
	return bucket->lease;
}

static int build(struct etcd_engine *e, const struct stow_writes *writes,
		 const struct etcd_ops *before, struct etcd_ops *ops, struct stow_err *err)
{
	int r = etcd_ops_add(ops, e->prefix, writes, before, e->hooks, answer_lease, e, err);

	if (r < 0)
		etcd_ops_done(ops);
	return r;
}

/* Write one list in a transaction of its own. */
static void write_alone(struct etcd_engine *e, struct stow_writes *writes,
			struct stow_engine_count *count)
{
	struct etcd_ops ops = { 0 };
	struct stow_err err = { 0 };
	size_t n;
	int r;

	r = build(e, writes, NULL, &ops, &err);
	n = ops.n;
	if (r == 0 && (ops.n > OPS_MOST || ops.bytes > BYTES_MOST))
		r = execute_long(e, &ops, &err);
	else if (r == 0)
		r = etcd_execute(e, ops.ops, ops.n, &err);
	writes->err = r < 0 ? err : (struct stow_err){ 0 };
	if (r == 0) {
		etcd_hooks_apply(&e->hooks, &ops);
		count->commits++;
		count->writes += n;
	}
	etcd_ops_done(&ops);
}

/* Write the lists from `first` up to `end` in one transaction; if etcd refuses it, one by one. */
static void write_merged(struct etcd_engine *e, struct etcd_ops *ops, struct stow_writes *first,
			 const struct stow_writes *end, struct stow_engine_count *count)
{
	struct stow_err err = { 0 };
	int r;

	if (first == end)
		return;
	r = etcd_execute(e, ops->ops, ops->n, &err);
	if (r == 0) {
		count->commits++;
		count->writes += ops->n;
		etcd_hooks_apply(&e->hooks, ops);
	}
	etcd_ops_done(ops);
	for (struct stow_writes *w = first; r < 0 && w != end; w = w->next) {
		if (etcd_engine_lost(e, NULL) || atomic_load(&e->giving_up))
			w->err = err;
		else if (!w->err.code)
			write_alone(e, w, count);
	}
}

static bool fits(const struct etcd_ops *a, const struct etcd_ops *b)
{
	return a->n + b->n <= OPS_MERGED && a->bytes + b->bytes <= BYTES_MERGED;
}

void etcd_write_batch(void *engine, struct stow_writes *batch, struct stow_engine_count *count)
{
	struct stow_writes *first = batch, *w = batch;
	struct etcd_ops merged = { 0 };
	struct etcd_engine *e = engine;
	struct stow_err err;

	if (etcd_finish(e, &err) < 0) {
		for (; w; w = w->next)
			w->err = err;
		return;
	}
	while (w) {
		struct etcd_ops one = { 0 };
		bool bad = build(e, w, &merged, &one, &w->err) < 0;

		if (!bad && fits(&merged, &one) && etcd_ops_merge(&merged, &one, &err) == 0) {
			w->err = (struct stow_err){ 0 };
			w = w->next;
			continue;
		}
		etcd_ops_done(&one);
		write_merged(e, &merged, first, w, count);
		/* Written alone, or as the first of the next transaction. */
		if (bad || first == w) {
			if (!bad)
				write_alone(e, w, count);
			w = w->next;
		}
		first = w;
	}
	write_merged(e, &merged, first, NULL, count);
}
