// SPDX-License-Identifier: Apache-2.0
#include "scheduler/store/etcd_standby.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "base/text.h"
#include "scheduler/store/etcd_txn.h"

#define WITHIN	      STOW_SECOND
#define LOOK_EVERY    STOW_SECOND
#define PUBLISH_EVERY (5 * STOW_SECOND)
#define TTL_S	      15
#define STANDBY	      "standby/"

struct etcd_standby {
	struct etcd *etcd;
	const char *prefix, *name;
	uint64_t looked, published; /* when the lag was last measured, and published */
	int64_t missing;	    /* the oldest revision that the mirror lacks; 0: none */
	uint64_t missing_since;	    /* when that was noticed */
	_Atomic uint64_t lag;
};

struct etcd_standby *etcd_standby_new(struct etcd *etcd, const char *prefix, const char *name)
{
	struct etcd_standby *standby = calloc(1, sizeof(*standby));

	if (!standby)
		return NULL;
	standby->etcd = etcd;
	standby->prefix = prefix;
	standby->name = name;
	return standby;
}

void etcd_standby_free(struct etcd_standby *standby)
{
	free(standby);
}

uint64_t etcd_standby_lag(struct etcd_standby *standby)
{
	return atomic_load(&standby->lag);
}

/* --- lag ------------------------------------------------------------------ */

/* Read the revision of the last transaction, from PREFIXcommit, which each transaction writes.
 * The revisions of other keys in etcd do not count. */
static int last_revision(struct etcd_standby *standby, int64_t *ret)
{
	EtcdRangeResponse *in;
	int r = etcd_read_key(standby->etcd, standby->prefix, ETCD_COMMIT, WITHIN, &in, NULL);

	if (r < 0)
		return r;
	*ret = in->n_kvs ? in->kvs[0]->mod_revision : 0;
	stow_rpc_message_free(in);
	return 0;
}

static void measure(struct etcd_standby *standby, struct etcd_mirror *mirror, uint64_t now)
{
	int64_t last, has;

	if (last_revision(standby, &last) == 0 && !standby->missing) {
		standby->missing = last;
		standby->missing_since = now;
	}
	has = etcd_mirror_revision(mirror);
	if (has >= standby->missing)
		standby->missing = 0;
	atomic_store(&standby->lag, standby->missing ? now - standby->missing_since : 0);
}

/* --- standbys ------------------------------------------------------------- */

/* Put this standby's name and lag into etcd, with a lease. */
static int publish(struct etcd_standby *standby)
{
	EtcdLeaseGrantRequest grant = ETCD_LEASE_GRANT_REQUEST__INIT;
	EtcdPutRequest put = ETCD_PUT_REQUEST__INIT;
	EtcdLeaseGrantResponse *lease;
	char key[600], value[32];
	void *answer;
	int r;

	grant.ttl = TTL_S;
	r = etcd_call(standby->etcd, &etcd_lease__descriptor, "LeaseGrant", &grant, WITHIN, &answer,
		      NULL);
	if (r < 0)
		return r;
	lease = answer;
	put.lease = lease->id;
	stow_rpc_message_free(lease);
	snprintf(key, sizeof(key), "%s" STANDBY "%.255s", standby->prefix, standby->name);
	snprintf(value, sizeof(value), "%" PRIu64, atomic_load(&standby->lag) / 1000000);
	etcd_set_text(&put.key, key);
	etcd_set_text(&put.value, value);
	r = etcd_call(standby->etcd, &etcd_kv__descriptor, "Put", &put, WITHIN, &answer, NULL);
	if (r == 0)
		stow_rpc_message_free(answer);
	return r;
}

void etcd_standby_look(struct etcd_standby *standby, struct etcd_mirror *mirror)
{
	uint64_t now = stow_clock_boot();

	if (standby->looked && now < standby->looked + LOOK_EVERY)
		return;
	standby->looked = now;
	measure(standby, mirror, now);
	if ((!standby->published || now >= standby->published + PUBLISH_EVERY) &&
	    publish(standby) == 0)
		standby->published = now;
}

static void take(struct stow_store_standbys *ret, const EtcdKeyValue *kv, size_t skip,
		 const char *own)
{
	struct stow_store_standby *one = &ret->list[ret->n];
	char value[24];
	uint64_t ms;

	snprintf(value, sizeof(value), "%.*s", (int)(kv->value.len < 20 ? kv->value.len : 20),
		 kv->value.len ? (const char *)kv->value.data : "");
	if (kv->key.len <= skip || kv->key.len - skip >= sizeof(one->name) ||
	    stow_parse_u64(value, UINT64_MAX / 1000000, &ms, NULL) < 0)
		return;
	snprintf(one->name, sizeof(one->name), "%.*s", (int)(kv->key.len - skip),
		 (const char *)kv->key.data + skip);
	stow_text_ascii(one->name);
	one->lag = ms * STOW_MILLISECOND;
	ret->n += strcmp(one->name, own) != 0;
}

int etcd_standby_list(struct etcd_standby *standby, struct stow_store_standbys *ret,
		      struct stow_err *err)
{
	EtcdRangeRequest request = ETCD_RANGE_REQUEST__INIT;
	EtcdRangeResponse *in;
	char from[320], to[320];
	void *answer;
	int r;

	ret->n = 0;
	snprintf(from, sizeof(from), "%s" STANDBY, standby->prefix);
	snprintf(to, sizeof(to), "%s" STANDBY, standby->prefix);
	to[strlen(to) - 1]++;
	etcd_set_text(&request.key, from);
	etcd_set_text(&request.range_end, to);
	request.limit = STOW_STANDBYS_MAX;
	r = etcd_call(standby->etcd, &etcd_kv__descriptor, "Range", &request, WITHIN, &answer, err);
	if (r < 0)
		return r;
	in = answer;
	for (size_t i = 0; i < in->n_kvs && ret->n < STOW_STANDBYS_MAX; i++)
		take(ret, in->kvs[i], strlen(from), standby->name);
	stow_rpc_message_free(in);
	return 0;
}
