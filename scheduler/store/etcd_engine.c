// SPDX-License-Identifier: Apache-2.0
/*
 * The store in etcd.
 *
 * One scheduler leads: it made the key PREFIXleader, which hangs on its lease. The revision that
 * made the key is the leader's mark. Every transaction compares it, so that one that was paused
 * cannot write; and PREFIXcommit, which each transaction replaces by an id of its own, so that one
 * whose answer got lost can be sent again: it is done once, whichever of them arrives.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "rpc/say.h"
#include "scheduler/store/engine.h"
#include "scheduler/store/etcd.h"
#include "scheduler/store/etcd_rows.h"
#include "scheduler/store/etcd_txn.h"

#define ATTEMPT	     (2 * ETCD_SECOND)
#define READ_WITHIN  (60 * ETCD_SECOND)
#define CATCH_UP     ETCD_SECOND
#define HOPE	     (8 * ETCD_SECOND)
#define PAUSE_US     100000 /* before a transaction is sent again */
#define OPS_MERGED   64	    /* of several callers; up to 16 cost what one costs */
#define OPS_MOST     120    /* of one; etcd takes 128 */
#define BYTES_MERGED (1U << 19)
#define BYTES_MOST   (1400U << 10) /* etcd takes 1.5 MiB */
#define MINUTE	     (60 * ETCD_SECOND)
#define ANSWER_MOST  (48 * 60 * MINUTE)
#define BUCKETS	     4

#define ABOUT  "about" /* "VERSION EPOCH", the epoch that revisions are added to */
#define BUNDLE "bundle"

enum { ABOUT_VERSION = 1 };

/* Answers of one minute go with one lease. */
struct bucket {
	uint64_t minute;
	int64_t lease;
};

struct engine {
	struct etcd *etcd;
	struct etcd_mirror *mirror;
	char *prefix, *name;
	uint64_t ttl;
	struct etcd_lease *lease;
	int64_t revision; /* that made PREFIXleader; 0: not the leader */
	char last[33];	  /* of PREFIXcommit */
	struct etcd_hook *hooks;
	struct etcd_ops unfinished; /* of a bundle that is stored */
	struct bucket buckets[BUCKETS];
	unsigned int next_bucket;
	atomic_bool giving_up;

	pthread_mutex_t lock;
	struct stow_err lost; /* code 0: it leads */
};

static void lose(struct engine *e, const struct stow_err *why)
{
	pthread_mutex_lock(&e->lock);
	if (!e->lost.code)
		e->lost = *why;
	pthread_mutex_unlock(&e->lock);
}

static bool is_lost(struct engine *e, struct stow_err *why)
{
	bool lost;

	pthread_mutex_lock(&e->lock);
	lost = e->lost.code;
	if (!lost && e->lease && etcd_lease_gone(e->lease))
		lost = stow_err_set(&e->lost, ESTALE, "etcd has ended this scheduler's lease") < 0;
	if (lost && why)
		*why = e->lost;
	pthread_mutex_unlock(&e->lock);
	return lost;
}

/* --- transactions ------------------------------------------------------------------------------- */

static void new_id(char id[33])
{
	uint64_t random[2] = { 0 };

	while (getrandom(random, sizeof(random), 0) != sizeof(random))
		;
	snprintf(id, 33, "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
}

/* etcd has not done it. 0: because it had, before; else this scheduler is no leader any more. */
static int judge(struct engine *e, const EtcdTxnResponse *in, const char *id, bool doubt,
		 struct stow_err *err)
{
	const EtcdKeyValue *leader = etcd_txn_read(in, 0), *commit = etcd_txn_read(in, 1);
	const char *end = doubt ? "; whether the last write was done is not known" : "";

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
			     "etcd refused a write: somebody else has written %s" ETCD_COMMIT,
			     e->prefix);
	lose(e, err);
	return -ESTALE;
}

/* Whether an error says that nothing was written. All others leave it open. */
static bool says_no(int r)
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

/* The lease could not be renewed for so long that another one is likely to lead, or will: this
 * process had better begin anew, as a standby that answers at once. */
static bool is_hopeless(struct engine *e, struct stow_err *err)
{
	if (stow_clock_boot() < etcd_lease_until(e->lease) + HOPE)
		return false;
	stow_err_set(
		err, ESTALE,
		"etcd has not answered since this scheduler's lease ran out; it gives the lead "
		"up; whether the last write was done is not known");
	lose(e, err);
	return true;
}

/* Sends it until etcd has answered, which may be long after: nothing else is written before. */
static int send_until(struct engine *e, const struct etcd_txn *txn, const char *id,
		      struct stow_err *err)
{
	bool doubt = false;

	for (;;) {
		void *answer = NULL;
		int r;

		/* The first time etcd is asked in any case: it knows. */
		if (doubt && (is_lost(e, err) || is_hopeless(e, err)))
			return -err->code;
		if (atomic_load(&e->giving_up))
			return stow_err_set(err, ETIMEDOUT,
					    "etcd has not answered; whether it was written is not "
					    "known");
		r = etcd_call(e->etcd, &etcd_kv__descriptor, "Txn", &txn->request, ATTEMPT, &answer,
			      err);
		if (r == 0) {
			EtcdTxnResponse *in = answer;

			r = in->succeeded ? 0 : judge(e, in, id, doubt, err);
			stow_rpc_message_free(in);
			if (r == 0 && doubt)
				stow_say(STOW_LOG_NOTICE, "etcd has answered: it is written once");
			return r;
		}
		if (says_no(r) && !doubt)
			return r;
		if (!doubt)
			stow_say(STOW_LOG_WARNING, "a write is in doubt and is sent again",
				 stow_text("error", err->msg));
		doubt = true;
		usleep(PAUSE_US);
	}
}

/* 0: durable. Negative: not written, unless this scheduler leads no more. */
static int execute(struct engine *e, const struct etcd_op *ops, size_t n, struct stow_err *err)
{
	EtcdCompare *c;
	struct etcd_txn txn;
	char id[33];
	int r;

	r = etcd_txn_init(&txn, e->prefix, n, err);
	if (r < 0)
		return r;
	new_id(id);
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

/* --- what is too long for one transaction ------------------------------------------------------- */

/* What a stored bundle says, key by key; the last one deletes it. */
static int finish(struct engine *e, struct stow_err *err)
{
	struct etcd_ops *left = &e->unfinished;

	while (left->n) {
		size_t n = left->n < OPS_MERGED ? left->n : OPS_MERGED;
		struct etcd_ops part = { .ops = &left->ops[left->n - n], .n = n };
		int r = execute(e, part.ops, n, err);

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

/* Done from the end: the deletion of the bundle comes first in the list, and so last. */
static int begin_finish(struct engine *e, struct etcd_ops *ops, struct stow_err *err)
{
	int r = etcd_ops_put(&e->unfinished, e->prefix, BUNDLE, NULL, 0, 0, err);

	return r < 0 ? r : etcd_ops_merge(&e->unfinished, ops, err);
}

/* 0: durable, all of it, though not yet key by key. */
static int execute_long(struct engine *e, struct etcd_ops *ops, struct stow_err *err)
{
	struct etcd_ops bundle = { 0 };
	struct stow_err later;
	size_t len = 0;
	void *value;
	int r;

	r = etcd_ops_pack(ops, &value, &len, err);
	if (r == 0)
		r = etcd_ops_put(&bundle, e->prefix, BUNDLE, value, len, 0, err);
	if (r == 0 && len > BYTES_MOST)
		r = stow_err_set(err, E2BIG,
				 "the store: %zu bytes that must be written at once; etcd takes %u",
				 len, BYTES_MOST);
	if (r == 0)
		r = begin_finish(e, ops, err);
	if (r == 0)
		r = execute(e, bundle.ops, bundle.n, err);
	etcd_ops_done(&bundle);
	if (r < 0)
		etcd_ops_done(&e->unfinished);
	else
		(void)finish(e, &later); /* or before the next write */
	return r;
}

/* --- writing ------------------------------------------------------------------------------------ */

/* The lease that an answer goes with; 0: it stays, until it is read again. */
static int64_t answer_lease(void *ctx, uint64_t expires)
{
	struct engine *e = ctx;
	uint64_t now = stow_store_wall_ms() * 1000000, minute = expires / MINUTE + 1;
	EtcdLeaseGrantRequest request = ETCD_LEASE_GRANT_REQUEST__INIT;
	EtcdLeaseGrantResponse *response;
	struct bucket *bucket;
	void *answer;
	uint64_t left;

	for (int i = 0; i < BUCKETS; i++)
		if (e->buckets[i].lease && e->buckets[i].minute == minute)
			return e->buckets[i].lease;
	if (expires > now + ANSWER_MOST)
		return 0;
	left = minute * MINUTE > now ? minute * MINUTE - now : 0;
	request.ttl = (int64_t)(left / ETCD_SECOND) + 60;
	if (etcd_ask(e->etcd, &etcd_lease__descriptor, "LeaseGrant", &request, ATTEMPT, &answer,
		     NULL) < 0)
		return 0;
	response = answer;
	bucket = &e->buckets[e->next_bucket++ % BUCKETS];
	*bucket = (struct bucket){ minute, response->id };
	stow_rpc_message_free(response);
	return bucket->lease;
}

static int build(struct engine *e, const struct stow_writes *writes, const struct etcd_ops *before,
		 struct etcd_ops *ops, struct stow_err *err)
{
	int r = etcd_ops_add(ops, e->prefix, writes, before, e->hooks, answer_lease, e, err);

	if (r < 0)
		etcd_ops_done(ops);
	return r;
}

/* One caller's list by itself. */
static void write_alone(struct engine *e, struct stow_writes *writes,
			struct stow_engine_count *count)
{
	struct etcd_ops ops = { 0 };
	size_t n;
	int r;

	writes->err = (struct stow_err){ 0 };
	r = build(e, writes, NULL, &ops, &writes->err);
	n = ops.n;
	if (r == 0 && (ops.n > OPS_MOST || ops.bytes > BYTES_MOST))
		r = execute_long(e, &ops, &writes->err);
	else if (r == 0)
		r = execute(e, ops.ops, ops.n, &writes->err);
	if (r == 0) {
		etcd_hooks_apply(&e->hooks, &ops);
		count->commits++;
		count->writes += n;
	}
	etcd_ops_done(&ops);
}

/* The lists from `first` up to `end` in one transaction; when etcd refuses that, one by one. */
static void write_merged(struct engine *e, struct etcd_ops *ops, struct stow_writes *first,
			 const struct stow_writes *end, struct stow_engine_count *count)
{
	struct stow_err err = { 0 };
	int r;

	if (first == end)
		return;
	r = execute(e, ops->ops, ops->n, &err);
	if (r == 0) {
		count->commits++;
		count->writes += ops->n;
		etcd_hooks_apply(&e->hooks, ops);
	}
	etcd_ops_done(ops);
	for (struct stow_writes *w = first; r < 0 && w != end; w = w->next) {
		if (is_lost(e, NULL) || first->next == end || atomic_load(&e->giving_up))
			w->err = err;
		else if (!w->err.code)
			write_alone(e, w, count);
	}
}

static bool fits(const struct etcd_ops *a, const struct etcd_ops *b)
{
	return a->n + b->n <= OPS_MERGED && a->bytes + b->bytes <= BYTES_MERGED;
}

static void write_batch(void *engine, struct stow_writes *batch, struct stow_engine_count *count)
{
	struct stow_writes *first = batch, *w = batch;
	struct etcd_ops merged = { 0 };
	struct engine *e = engine;
	struct stow_err err;

	if (finish(e, &err) < 0) {
		for (; w; w = w->next)
			w->err = err;
		return;
	}
	while (w) {
		struct etcd_ops one = { 0 };
		bool bad = build(e, w, &merged, &one, &w->err) < 0;

		if (!bad && fits(&merged, &one) && etcd_ops_merge(&merged, &one, &w->err) == 0) {
			w = w->next;
			continue;
		}
		etcd_ops_done(&one);
		write_merged(e, &merged, first, w, count);
		/* Alone, or as the first of the next. */
		if (bad || first == w) {
			if (!bad)
				write_alone(e, w, count);
			w = w->next;
		}
		first = w;
	}
	write_merged(e, &merged, first, NULL, count);
}

/* --- leading ------------------------------------------------------------------------------------ */

static int read_leader(struct engine *e, EtcdRangeResponse **ret, struct stow_err *err)
{
	EtcdRangeRequest request = ETCD_RANGE_REQUEST__INIT;
	char key[320];
	void *answer;
	int r;

	snprintf(key, sizeof(key), "%s" ETCD_LEADER, e->prefix);
	etcd_set_text(&request.key, key);
	r = etcd_ask(e->etcd, &etcd_kv__descriptor, "Range", &request, ATTEMPT, &answer, err);
	if (r == 0)
		*ret = answer;
	return r;
}

static int won(struct engine *e, int64_t revision, struct stow_err *err)
{
	int r = etcd_lease_keep(e->lease, err);

	if (r == 0)
		e->revision = revision;
	return r < 0 ? r : 1;
}

/* Makes the leader's key, unless there is one. */
static int campaign(struct engine *e, struct stow_err *err)
{
	EtcdTxnResponse *in;
	struct etcd_txn txn;
	EtcdCompare *c;
	void *answer;
	int r;

	r = etcd_txn_init(&txn, e->prefix, 2, err);
	if (r < 0)
		return r;
	new_id(e->last);
	c = etcd_txn_compare(&txn, txn.leader, ETCD_COMPARE__COMPARE_TARGET__CREATE);
	c->target_union_case = ETCD_COMPARE__TARGET_UNION_CREATE_REVISION;
	c->create_revision = 0;
	etcd_txn_put(&txn, txn.leader, strlen(txn.leader), e->name, strlen(e->name),
		     etcd_lease_id(e->lease));
	etcd_txn_put(&txn, txn.commit, strlen(txn.commit), e->last, strlen(e->last), 0);
	r = etcd_call(e->etcd, &etcd_kv__descriptor, "Txn", &txn.request, ATTEMPT, &answer, err);
	etcd_txn_done(&txn);
	if (r < 0)
		return r; /* if it was done all the same, the next look finds it */
	in = answer;
	r = in->succeeded && in->header ? won(e, in->header->revision, err) : 0;
	stow_rpc_message_free(in);
	return r;
}

static int lead(void *engine, struct stow_err *err)
{
	struct engine *e = engine;
	EtcdRangeResponse *in;
	int r;

	r = etcd_mirror_follow(e->mirror, READ_WITHIN, err);
	if (r == 0)
		r = read_leader(e, &in, err);
	if (r < 0)
		return r;
	r = in->n_kvs > 0;
	if (r && e->lease && in->kvs[0]->lease == etcd_lease_id(e->lease) &&
	    stow_clock_boot() < etcd_lease_until(e->lease)) {
		r = won(e, in->kvs[0]->create_revision, err);
		stow_rpc_message_free(in);
		return r;
	}
	stow_rpc_message_free(in);
	if (e->lease && (r || stow_clock_boot() >= etcd_lease_until(e->lease))) {
		etcd_lease_free(e->lease, true);
		e->lease = NULL;
	}
	if (r)
		return 0;
	if (!e->lease)
		r = etcd_lease_grant(e->etcd, e->ttl, &e->lease, err);
	return r < 0 ? r : campaign(e, err);
}

static bool leads(void *engine, struct stow_err *why)
{
	struct engine *e = engine;
	uint64_t until, now;

	if (is_lost(e, why))
		return false;
	until = e->lease ? etcd_lease_until(e->lease) : 0;
	now = stow_clock_boot();
	if (now < until)
		return true;
	stow_err_set(
		why, ENOTCONN,
		"etcd has not renewed this scheduler's lease in time: it does not know whether "
		"it is still the leader");
	return false;
}

static bool lost(void *engine, struct stow_err *why)
{
	return is_lost(engine, why);
}

static void give_up(void *engine)
{
	struct engine *e = engine;

	atomic_store(&e->giving_up, true);
}

/* --- reading ------------------------------------------------------------------------------------ */

struct loading {
	struct engine *engine;
	const struct stow_store_load *load;
	uint64_t wall;
	struct stow_err *err;
	int r;
};

static void load_key(void *ctx, const struct etcd_key *key)
{
	struct loading *l = ctx;

	if (l->r == 0)
		l->r = etcd_row_load(l->engine->prefix, key, l->wall, l->load, &l->engine->hooks,
				     l->err);
}

/* The store's version, and the number that a leader's revision is added to for its epoch. */
static int parse_about(struct engine *e, const struct etcd_key *about, uint64_t *ret_base,
		       struct stow_err *err)
{
	char text[64], *base;
	uint64_t version;

	snprintf(text, sizeof(text), "%.*s", (int)(about->value_len < 60 ? about->value_len : 60),
		 (const char *)about->value);
	base = strchr(text, ' ');
	if (base)
		*base++ = '\0';
	if (!base || stow_parse_u64(text, UINT32_MAX, &version, NULL) < 0 ||
	    stow_parse_u64(base, INT64_MAX / 2, ret_base, NULL) < 0)
		return stow_err_set(err, EUCLEAN, "the store: key %s" ABOUT " is damaged",
				    e->prefix);
	if (version > ABOUT_VERSION)
		return stow_err_set(err, EPROTO,
				    "the store: %s is of version %" PRIu64
				    ", from another numastow; this one reads up to %d",
				    e->prefix, version, ABOUT_VERSION);
	return 0;
}

/* Later than the one before, since the revision is and the number never goes back; and than that of
 * a store that was moved away, since it is not before the clock's time. */
static int next_epoch(struct engine *e, uint64_t *ret_epoch, struct stow_err *err)
{
	const struct etcd_key *about = etcd_mirror_find(e->mirror, ABOUT);
	uint64_t wall = stow_store_wall_ms(), revision = (uint64_t)e->revision, base = 0;
	struct etcd_ops ops = { 0 };
	char text[64];
	int r = about ? parse_about(e, about, &base, err) : 0;

	if (r < 0)
		return r;
	if (base + revision < wall)
		base = wall - revision;
	snprintf(text, sizeof(text), "%d %" PRIu64, ABOUT_VERSION, base);
	r = etcd_ops_put(&ops, e->prefix, ABOUT, strdup(text), strlen(text), 0, err);
	if (r == 0)
		r = execute(e, ops.ops, ops.n, err);
	etcd_ops_done(&ops);
	*ret_epoch = base + revision;
	return r;
}

/* The keys as they were when this scheduler became the leader: nobody else has written since. */
static int read_keys(struct engine *e, struct stow_err *err)
{
	const struct etcd_key *bundle;
	int r = 0;

	if (!etcd_mirror_reaches(e->mirror, e->revision, CATCH_UP))
		r = etcd_mirror_read(e->mirror, e->revision, READ_WITHIN, err);
	etcd_mirror_stop(e->mirror);
	bundle = r == 0 ? etcd_mirror_find(e->mirror, BUNDLE) : NULL;
	if (bundle) {
		struct etcd_ops ops = { 0 };

		r = etcd_ops_unpack(&ops, e->prefix, bundle->value, bundle->value_len, err);
		if (r == 0)
			r = begin_finish(e, &ops, err);
		etcd_ops_done(&ops);
		if (r == 0)
			r = finish(e, err);
		if (r == 0)
			r = etcd_mirror_read(e->mirror, 0, READ_WITHIN, err);
	}
	return r;
}

static int load(void *engine, const struct stow_store_load *load, uint64_t *ret_epoch,
		struct stow_err *err)
{
	struct engine *e = engine;
	struct loading l = { e, load, stow_store_wall_ms() * 1000000, err, 0 };

	l.r = read_keys(e, err);
	if (l.r == 0)
		l.r = next_epoch(e, ret_epoch, err);
	if (l.r == 0)
		etcd_mirror_each(e->mirror, load_key, &l);
	etcd_mirror_free(e->mirror);
	e->mirror = NULL;
	return l.r;
}

/* --- making ------------------------------------------------------------------------------------- */

static int check(const char *urls, const struct stow_store_options *options, struct stow_err *err)
{
	const struct stow_rpc_tls tls = { options->certificate, options->key, options->ca };
	int files = !!options->ca + !!options->certificate + !!options->key, r;
	size_t len = options->prefix ? strlen(options->prefix) : 0;
	bool secure = false;

	r = etcd_urls_check(urls, &secure, err);
	if (r < 0)
		return r;
	if (len < 2 || len > 200 || options->prefix[len - 1] != '/')
		return stow_err_set(
			err, EINVAL,
			"store-prefix: \"%.64s\"; want 2 to 200 characters, the last of "
			"them /",
			len ? options->prefix : "");
	if (!secure && files)
		return stow_err_set(
			err, EINVAL,
			"http:// has no use for store-ca, store-certificate, store-key");
	if (secure && files != 3)
		return stow_err_set(err, EINVAL,
				    "%s: missing; https:// wants store-ca, store-certificate and "
				    "store-key",
				    !options->ca	    ? "store-ca"
				    : !options->certificate ? "store-certificate"
							    : "store-key");
	return secure ? stow_rpc_tls_check(&tls, err) : 0;
}

static void etcd_engine_free(void *engine)
{
	struct engine *e = engine;

	etcd_mirror_free(e->mirror);
	etcd_lease_free(e->lease, true);
	etcd_free(e->etcd);
	etcd_hooks_free(&e->hooks);
	etcd_ops_done(&e->unfinished);
	pthread_mutex_destroy(&e->lock);
	free(e->prefix);
	free(e->name);
	free(e);
}

static char *name_of(const char *name)
{
	char host[128] = "?", *text = NULL;

	if (name)
		return strdup(name);
	(void)gethostname(host, sizeof(host) - 1);
	return asprintf(&text, "%s, process %d", host, (int)getpid()) < 0 ? NULL : text;
}

static int make(const char *urls, const struct stow_store_options *options, void **ret_engine,
		struct stow_err *err)
{
	const struct stow_rpc_tls tls = { options->certificate, options->key, options->ca };
	struct engine *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return stow_err_set(err, ENOMEM, "out of memory");
	pthread_mutex_init(&e->lock, NULL);
	e->prefix = strdup(options->prefix);
	e->name = name_of(options->name);
	e->ttl = options->lease;
	r = e->prefix && e->name ? 0 : stow_err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = etcd_new(urls, &tls, &e->etcd, err);
	if (r == 0)
		r = etcd_mirror_new(e->etcd, e->prefix, &e->mirror, err);
	if (r < 0) {
		etcd_engine_free(e);
		return r;
	}
	*ret_engine = e;
	return 0;
}

const struct stow_engine_ops stow_engine_etcd = {
	.check = check,
	.make = make,
	.lead = lead,
	.leads = leads,
	.lost = lost,
	.give_up = give_up,
	.load = load,
	.write = write_batch,
	.free = etcd_engine_free,
};
