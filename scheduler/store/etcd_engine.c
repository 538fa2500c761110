// SPDX-License-Identifier: Apache-2.0
/* The engine for etcd: leading, reading, and the engine's interface. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "base/random.h"
#include "rpc/log.h"
#include "scheduler/store/etcd_engine.h"
#include "scheduler/store/etcd_standby.h"
#include "scheduler/store/etcd_txn.h"

#define CATCH_UP STOW_SECOND

#define ABOUT "about" /* "VERSION EPOCH", the epoch to which revisions are added */

enum { ABOUT_VERSION = 1 };

/* --- leading -------------------------------------------------------------- */

static int won(struct etcd_engine *e, int64_t revision, struct stow_err *err)
{
	int r = etcd_lease_keep(e->lease, err);

	if (r == 0)
		e->revision = revision;
	return r < 0 ? r : 1;
}

/* Create the leader's key, unless it exists. */
static int campaign(struct etcd_engine *e, struct stow_err *err)
{
	EtcdTxnResponse *in;
	struct etcd_txn txn;
	EtcdCompare *c;
	void *answer;
	int r;

	r = etcd_txn_init(&txn, e->prefix, 2, err);
	if (r < 0)
		return r;
	c = etcd_txn_compare(&txn, txn.leader, ETCD_COMPARE__COMPARE_TARGET__CREATE);
	c->target_union_case = ETCD_COMPARE__TARGET_UNION_CREATE_REVISION;
	c->create_revision = 0;
	etcd_txn_put(&txn, txn.leader, strlen(txn.leader), e->name, strlen(e->name),
		     etcd_lease_id(e->lease));
	etcd_txn_put(&txn, txn.commit, strlen(txn.commit), e->last, strlen(e->last), 0);
	r = etcd_call(e->etcd, &etcd_kv__descriptor, "Txn", &txn.request, ETCD_ATTEMPT, &answer,
		      err);
	etcd_txn_done(&txn);
	if (r < 0)
		return r; /* if it took effect, the next look finds the key */
	in = answer;
	r = in->succeeded && in->header ? won(e, in->header->revision, err) : 0;
	stow_rpc_message_free(in);
	return r;
}

static void note_leader(struct etcd_engine *e, const EtcdKeyValue *leader)
{
	char name[256];

	if (leader->create_revision == e->others)
		return;
	e->others = leader->create_revision;
	snprintf(name, sizeof(name), "%.*s",
		 (int)(leader->value.len < 255 ? leader->value.len : 255),
		 leader->value.len ? (const char *)leader->value.data : "");
	stow_log(STOW_LOG_INFO, "another leader elected", stow_text("leader", name),
		 stow_number("revision", (uint64_t)leader->create_revision));
}

static int look_and_campaign(struct etcd_engine *e, struct stow_err *err)
{
	EtcdRangeResponse *in = NULL;
	int64_t before;
	int r;

	r = etcd_mirror_follow(e->mirror, err);
	before = etcd_mirror_revision(e->mirror);
	if (r == 0)
		r = etcd_read_key(e->etcd, e->prefix, ETCD_LEADER, ETCD_ATTEMPT, &in, err);
	if (r < 0)
		return r;
	if (in->header->revision < before)
		etcd_mirror_outdated(e->mirror);
	r = in->n_kvs > 0;
	if (r && e->lease && in->kvs[0]->lease == etcd_lease_id(e->lease) &&
	    stow_clock_boot() < etcd_lease_until(e->lease)) {
		r = won(e, in->kvs[0]->create_revision, err);
		stow_rpc_message_free(in);
		return r;
	}
	if (r)
		note_leader(e, in->kvs[0]);
	stow_rpc_message_free(in);
	if (e->lease && (r || stow_clock_boot() >= etcd_lease_until(e->lease))) {
		etcd_lease_free(e->lease);
		e->lease = NULL;
	}
	if (r) {
		etcd_standby_look(e->standby, e->mirror);
		return 0;
	}
	if (!e->lease) {
		r = etcd_lease_grant(e->etcd, e->ttl, &e->lease, err);
		/* Once for each lease: an earlier attempt, whose answer did not come, may still
		 * succeed. */
		stow_random_id(e->last);
	}
	return r < 0 ? r : campaign(e, err);
}

/* A standby survives every error of etcd, and tries again: rights are given and certificates
 * replaced while schedulers run. */
static int lead(void *engine, struct stow_err *err)
{
	struct etcd_engine *e = engine;
	struct stow_err why = { 0 };
	char failed[900];
	int r = look_and_campaign(e, &why);

	if (r >= 0)
		return r;
	if (etcd_failed(e->etcd, failed, sizeof(failed)) > 1)
		return stow_err_set(err, ENOTCONN, "etcd, %s", failed);
	return stow_err_move(err, -ENOTCONN, &why);
}

static bool leads(void *engine, struct stow_err *why)
{
	struct etcd_engine *e = engine;
	char reason[900] = "";
	uint64_t until, now;

	if (etcd_engine_lost(e, why))
		return false;
	until = e->lease ? etcd_lease_until(e->lease) : 0;
	now = stow_clock_boot();
	if (now < until)
		return true;
	if (!etcd_failed(e->etcd, reason, sizeof(reason)) && e->lease)
		etcd_lease_why(e->lease, reason, sizeof(reason));
	stow_err_set(why, ENOTCONN,
		     "etcd has not renewed this scheduler's lease in time: it is not known whether "
		     "this scheduler is still the leader%s%s",
		     reason[0] ? "; " : "", reason);
	return false;
}

static void failed(void *engine, char *ret, size_t size)
{
	struct etcd_engine *e = engine;

	(void)etcd_failed(e->etcd, ret, size);
}

static int standbys(void *engine, struct stow_store_standbys *ret, struct stow_err *err)
{
	struct etcd_engine *e = engine;

	return etcd_standby_list(e->standby, ret, err);
}

static uint64_t lag(void *engine)
{
	struct etcd_engine *e = engine;

	return etcd_standby_lag(e->standby);
}

static void give_up(void *engine)
{
	struct etcd_engine *e = engine;

	atomic_store(&e->giving_up, true);
}

/* --- reading -------------------------------------------------------------- */

struct loading {
	struct etcd_engine *engine;
	const struct stow_store_load *load;
	struct stow_err *err;
	int r;
};

static void load_key(void *ctx, const struct etcd_key *key)
{
	struct loading *l = ctx;

	if (l->r == 0)
		l->r = etcd_row_load(l->engine->prefix, key, l->load, &l->engine->hooks, l->err);
}

/* Parse the store's version, and the number to which a leader's revision is added for its epoch. */
static int parse_about(struct etcd_engine *e, const struct etcd_key *about, uint64_t *ret_base,
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

/* Compute an epoch that is higher than the last one, because the revision is higher and the base
 * never decreases; and higher than that of a store that was moved away, because it is at least
 * the clock's time. */
static int next_epoch(struct etcd_engine *e, uint64_t *ret_epoch, struct stow_err *err)
{
	const struct etcd_key *about = etcd_mirror_find(e->mirror, ABOUT);
	uint64_t wall = stow_clock_wall() / STOW_STORE_TICK, revision = (uint64_t)e->revision,
		 base = 0;
	struct etcd_ops ops = { 0 };
	char text[64];
	int r = about ? parse_about(e, about, &base, err) : 0;

	if (r < 0)
		return r;
	if (base + revision < wall)
		base = wall - revision;
	snprintf(text, sizeof(text), "%d %" PRIu64, ABOUT_VERSION, base);
	r = etcd_ops_put(&ops, e->prefix, ABOUT, strdup(text), strlen(text), err);
	if (r == 0)
		r = etcd_execute(e, ops.ops, ops.n, err);
	etcd_ops_done(&ops);
	*ret_epoch = base + revision;
	return r;
}

/* Read the keys of the revision at which this scheduler became the leader: no other one has
 * written since. */
static int read_keys(struct etcd_engine *e, struct stow_err *err)
{
	const struct etcd_key *bundle;
	int r = 0;

	if (!etcd_mirror_reaches(e->mirror, e->revision, CATCH_UP))
		r = etcd_mirror_read(e->mirror, e->revision, err);
	etcd_mirror_stop(e->mirror);
	bundle = r == 0 ? etcd_mirror_find(e->mirror, ETCD_BUNDLE) : NULL;
	if (bundle) {
		struct etcd_ops ops = { 0 };

		r = etcd_ops_unpack(&ops, e->prefix, bundle->value, bundle->value_len, err);
		if (r == 0)
			r = etcd_begin_finish(e, &ops, err);
		etcd_ops_done(&ops);
		if (r == 0)
			r = etcd_finish(e, err);
		if (r == 0)
			r = etcd_mirror_read(e->mirror, 0, err);
	}
	return r;
}

static int load(void *engine, const struct stow_store_load *load, uint64_t *ret_epoch,
		struct stow_err *err)
{
	struct etcd_engine *e = engine;
	struct loading l = { e, load, err, 0 };

	l.r = read_keys(e, err);
	if (l.r == 0 && etcd_mirror_find(e->mirror, ETCD_COPYING))
		l.r = stow_store_refuse_copying(load, err);
	if (l.r == 0)
		l.r = next_epoch(e, ret_epoch, err);
	if (l.r == 0)
		etcd_mirror_each(e->mirror, load_key, &l);
	etcd_mirror_free(e->mirror);
	e->mirror = NULL;
	return l.r;
}

/* --- creating ------------------------------------------------------------- */

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
			"store-prefix: \"%.64s\"; expected 2 to 200 characters, the last of "
			"them /",
			len ? options->prefix : "");
	if (!secure && files)
		return stow_err_set(err, EINVAL,
				    "http:// does not use store-ca, store-certificate, store-key");
	if (secure && files != 3)
		return stow_err_set(
			err, EINVAL,
			"%s: missing; https:// requires store-ca, store-certificate and "
			"store-key",
			!options->ca		? "store-ca"
			: !options->certificate ? "store-certificate"
						: "store-key");
	return secure ? stow_rpc_tls_check(&tls, err) : 0;
}

static void etcd_engine_free(void *engine)
{
	struct etcd_engine *e = engine;

	etcd_mirror_free(e->mirror);
	etcd_lease_free(e->lease);
	etcd_standby_free(e->standby);
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
	struct etcd_engine *e = calloc(1, sizeof(*e));
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
	if (r == 0) {
		e->standby = etcd_standby_new(e->etcd, e->prefix, e->name);
		r = e->standby ? 0 : stow_err_set(err, ENOMEM, "out of memory");
	}
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
	.lost = etcd_engine_lost,
	.failed = failed,
	.give_up = give_up,
	.standbys = standbys,
	.lag = lag,
	.load = load,
	.write = etcd_write_batch,
	.free = etcd_engine_free,
};
