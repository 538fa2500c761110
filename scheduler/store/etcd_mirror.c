// SPDX-License-Identifier: Apache-2.0
/*
 * A mirror of all keys with a prefix: read in pages at one revision, then followed by a watch.
 *
 * The caller's thread reads and follows; events of the watch arrive on the loop of etcd's client. A
 * watch that ends is opened again at the revision after the last one seen; if etcd has compacted
 * that revision, all keys are read again.
 */
#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "rpc/log.h"
#include "scheduler/store/etcd.h"

#define PAGE	    512		       /* keys per page; fewer when they are large */
#define READ_WITHIN (60 * STOW_SECOND) /* all of them */
#define LOOK_WITHIN (5 * STOW_SECOND)  /* a standby waits no longer for a page: it tries again */

struct etcd_mirror {
	struct etcd *etcd;
	char *prefix, *end; /* the first key after those with the prefix */
	size_t prefix_len;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	void *keys; /* tsearch(3) */
	uint64_t n_keys, reads;
	int64_t revision;	      /* of the keys; 0: nothing was read */
	struct stow_rpc_call *stream; /* NULL: not following */
	unsigned int member;	      /* to which the stream goes */
	bool ended, compacted;	      /* `compacted`: all keys must be read again */
	unsigned int open;	      /* streams whose end was not reported yet */
};

/* --- the keys ------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
	const struct etcd_key *x = a, *y = b;
	size_t len = STOW_MIN(x->key_len, y->key_len);
	int order = memcmp(x->key, y->key, len);

	return order ? order : (x->key_len > y->key_len) - (x->key_len < y->key_len);
}

static void key_free(void *arg)
{
	struct etcd_key *key = arg;

	free(key->key);
	free(key->value);
	free(key);
}

static void *copy_of(const ProtobufCBinaryData *data)
{
	void *copy = malloc(data->len + 1);

	if (copy && data->len)
		memcpy(copy, data->data, data->len);
	return copy;
}

static void drop(struct etcd_mirror *mirror, const EtcdKeyValue *kv)
{
	struct etcd_key probe = { .key = kv->key.data, .key_len = kv->key.len };
	struct etcd_key **found = tfind(&probe, &mirror->keys, by_key), *key;

	if (!found)
		return;
	key = *found;
	tdelete(key, &mirror->keys, by_key);
	key_free(key);
	mirror->n_keys--;
}

static int put(struct etcd_mirror *mirror, const EtcdKeyValue *kv)
{
	struct etcd_key *key = calloc(1, sizeof(*key));

	drop(mirror, kv);
	if (!key)
		return -ENOMEM;
	key->key = copy_of(&kv->key);
	key->value = copy_of(&kv->value);
	key->key_len = kv->key.len;
	key->value_len = kv->value.len;
	key->create_revision = kv->create_revision;
	key->lease = kv->lease;
	if (!key->key || !key->value || !tsearch(key, &mirror->keys, by_key)) {
		key_free(key);
		return -ENOMEM;
	}
	mirror->n_keys++;
	return 0;
}

static bool has_prefix(const struct etcd_mirror *mirror, const EtcdKeyValue *kv)
{
	return kv->key.len > mirror->prefix_len &&
	       memcmp(kv->key.data, mirror->prefix, mirror->prefix_len) == 0;
}

/* --- reading -------------------------------------------------------------- */

struct page {
	void *from;
	size_t from_len;
	int64_t limit, revision;
	bool more;
};

static int take_page(struct etcd_mirror *mirror, const EtcdRangeResponse *in, struct page *page,
		     struct stow_err *err)
{
	const EtcdKeyValue *last = in->n_kvs ? in->kvs[in->n_kvs - 1] : NULL;

	if (!in->header || in->header->revision <= 0 || (in->more && !last))
		return stow_err_set(err, EPROTO, "etcd: the answer is not a page of keys");
	if (!page->revision)
		page->revision = in->header->revision;
	for (size_t i = 0; i < in->n_kvs; i++) {
		if (!has_prefix(mirror, in->kvs[i]))
			return stow_err_set(err, EPROTO, "etcd: unexpected key");
		if (put(mirror, in->kvs[i]) < 0)
			return stow_err_set(err, ENOMEM, "out of memory");
	}
	page->more = in->more;
	if (!in->more)
		return 0;
	/* Keys must ascend; otherwise reading might never end. */
	if (by_key(&(struct etcd_key){ .key = last->key.data, .key_len = last->key.len },
		   &(struct etcd_key){ .key = page->from, .key_len = page->from_len }) < 0)
		return stow_err_set(err, EPROTO, "etcd: keys do not ascend");
	free(page->from);
	page->from = copy_of(&last->key);
	if (!page->from)
		return stow_err_set(err, ENOMEM, "out of memory");
	((char *)page->from)[last->key.len] = '\0'; /* the next possible key */
	page->from_len = last->key.len + 1;
	return 0;
}

static int read_page(struct etcd_mirror *mirror, struct page *page, uint64_t timeout,
		     struct stow_err *err)
{
	EtcdRangeRequest request = ETCD_RANGE_REQUEST__INIT;
	void *answer;
	int r;

	request.key.data = page->from;
	request.key.len = page->from_len;
	request.range_end.data = (uint8_t *)mirror->end;
	request.range_end.len = mirror->prefix_len;
	request.limit = page->limit;
	request.revision = page->revision;
	r = etcd_ask(mirror->etcd, &etcd_kv__descriptor, "Range", &request, timeout, &answer, err);
	if (r == -ENOSPC && page->limit > 1) {
		page->limit /= 2; /* the answer was too large */
		return 0;
	}
	if (r < 0)
		return r;
	r = take_page(mirror, answer, page, err);
	stow_rpc_message_free(answer);
	return r;
}

static void forget_all(struct etcd_mirror *mirror)
{
	tdestroy(mirror->keys, key_free);
	mirror->keys = NULL;
	mirror->n_keys = 0;
	mirror->revision = 0;
}

/* Read all keys, with the lock held, while not following; each page within `within`. */
static int read_all(struct etcd_mirror *mirror, int64_t revision, uint64_t within,
		    struct stow_err *err)
{
	struct page page = { .limit = PAGE, .revision = revision, .more = true };
	uint64_t until = stow_clock_boot() + READ_WITHIN;
	int r = 0;

	forget_all(mirror);
	page.from = strdup(mirror->prefix);
	page.from_len = mirror->prefix_len;
	if (!page.from)
		return stow_err_set(err, ENOMEM, "out of memory");
	while (page.more && r == 0) {
		uint64_t now = stow_clock_boot();

		if (now >= until)
			r = stow_err_set(err, ETIMEDOUT, "etcd: reading %llu keys took too long",
					 (unsigned long long)mirror->n_keys);
		else
			r = read_page(mirror, &page, STOW_MIN(until - now, within), err);
		/* The revision was compacted meanwhile: read at a newer one. */
		if (r == -ERANGE && page.revision) {
			forget_all(mirror);
			page.revision = 0;
			page.from_len = mirror->prefix_len;
			memcpy(page.from, mirror->prefix, mirror->prefix_len);
			r = 0;
		}
	}
	free(page.from);
	if (r < 0) {
		forget_all(mirror);
		return r;
	}
	mirror->revision = page.revision;
	mirror->reads++;
	return 0;
}

static int read_anew(struct etcd_mirror *mirror, int64_t revision, uint64_t within,
		     struct stow_err *err)
{
	int r;

	etcd_mirror_stop(mirror);
	pthread_mutex_lock(&mirror->lock);
	r = read_all(mirror, revision, within, err);
	pthread_mutex_unlock(&mirror->lock);
	return r;
}

int etcd_mirror_read(struct etcd_mirror *mirror, int64_t revision, struct stow_err *err)
{
	return read_anew(mirror, revision, READ_WITHIN, err);
}

/* --- following ------------------------------------------------------------ */

static int apply(struct etcd_mirror *mirror, const EtcdWatchResponse *in, struct stow_err *err)
{
	for (size_t i = 0; i < in->n_events; i++) {
		const EtcdKeyValue *kv = in->events[i]->kv;

		if (!kv || !has_prefix(mirror, kv))
			return stow_err_set(err, EPROTO, "etcd: unexpected event");
		if (in->events[i]->type == ETCD_EVENT__EVENT_TYPE__DELETE)
			drop(mirror, kv);
		else if (put(mirror, kv) < 0)
			return stow_err_set(err, ENOMEM, "out of memory");
	}
	/* Not the header's revision, which may be ahead of the events sent. A fragmented
	 * response has the rest of its revision in the next one; applying an event twice changes
	 * nothing. */
	if (in->n_events && !in->fragment)
		mirror->revision = in->events[in->n_events - 1]->kv->mod_revision;
	else if (!in->n_events && !in->created && in->header &&
		 in->header->revision > mirror->revision)
		mirror->revision = in->header->revision; /* no events up to it */
	return 0;
}

static int on_message(struct stow_rpc_call *call, void *ctx, const void *message,
		      struct stow_err *err)
{
	const EtcdWatchResponse *in = message;
	struct etcd_mirror *mirror = ctx;
	int r = 0;

	pthread_mutex_lock(&mirror->lock);
	if (call == mirror->stream && in->canceled) {
		mirror->compacted = in->compact_revision != 0;
		r = stow_err_set(err, ESTALE, "etcd has canceled the watch: %.256s",
				 in->compact_revision ? "what it follows is compacted"
						      : in->cancel_reason);
	} else if (call == mirror->stream) {
		r = apply(mirror, in, err);
		mirror->compacted |= r < 0; /* it was applied in part only */
		pthread_cond_broadcast(&mirror->changed);
	}
	pthread_mutex_unlock(&mirror->lock);
	return r;
}

static void on_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct etcd_mirror *mirror = ctx;

	pthread_mutex_lock(&mirror->lock);
	if (call == mirror->stream)
		mirror->ended = true;
	mirror->open--;
	pthread_cond_broadcast(&mirror->changed);
	pthread_mutex_unlock(&mirror->lock);
}

static const struct stow_rpc_stream_ops ops = { .message = on_message, .closed = on_closed };

static int watch(struct etcd_mirror *mirror, struct stow_err *err)
{
	EtcdWatchCreateRequest create = ETCD_WATCH_CREATE_REQUEST__INIT;
	EtcdWatchRequest request = ETCD_WATCH_REQUEST__INIT;
	struct stow_rpc_call *stream;
	int r;

	create.key.data = (uint8_t *)mirror->prefix;
	create.key.len = mirror->prefix_len;
	create.range_end.data = (uint8_t *)mirror->end;
	create.range_end.len = mirror->prefix_len;
	create.fragment = true;
	create.progress_notify = true;
	request.request_union_case = ETCD_WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
	request.create_request = &create;
	pthread_mutex_lock(&mirror->lock);
	create.start_revision = mirror->revision + 1;
	mirror->ended = mirror->compacted = false;
	mirror->open++;
	/* With the lock held, so that events wait until `stream` is set. */
	r = etcd_open(mirror->etcd, &etcd_watch__descriptor, "Watch", &ops, mirror, &stream,
		      &mirror->member, err);
	if (r == 0)
		mirror->stream = stream;
	else
		mirror->open--;
	pthread_mutex_unlock(&mirror->lock);
	if (r == 0)
		(void)stow_rpc_send(stream, &request); /* on failure the stream ends */
	return r;
}

void etcd_mirror_stop(struct etcd_mirror *mirror)
{
	struct stow_rpc_call *stream;
	struct stow_err over;

	pthread_mutex_lock(&mirror->lock);
	stream = STOW_TAKE_PTR(mirror->stream);
	pthread_mutex_unlock(&mirror->lock);
	if (stream) {
		stow_err_set(&over, ECANCELED, "enough");
		stow_rpc_close(stream, &over);
		stow_rpc_unref(stream);
	}
	pthread_mutex_lock(&mirror->lock);
	while (mirror->open)
		pthread_cond_wait(&mirror->changed, &mirror->lock);
	pthread_mutex_unlock(&mirror->lock);
}

int etcd_mirror_follow(struct etcd_mirror *mirror, struct stow_err *err)
{
	bool follows, anew;
	int r = 0;

	pthread_mutex_lock(&mirror->lock);
	follows = mirror->stream && !mirror->ended;
	anew = mirror->compacted || !mirror->revision;
	pthread_mutex_unlock(&mirror->lock);
	if (follows)
		return 0;
	if (mirror->stream && !anew)
		etcd_leave(mirror->etcd, mirror->member);
	etcd_mirror_stop(mirror);
	if (anew)
		r = read_anew(mirror, 0, LOOK_WITHIN, err);
	return r < 0 ? r : watch(mirror, err);
}

void etcd_mirror_outdated(struct etcd_mirror *mirror)
{
	stow_log(STOW_LOG_WARNING, "etcd's revision has decreased, as after the restoration of a "
				   "backup: all keys are read again");
	pthread_mutex_lock(&mirror->lock);
	mirror->ended = mirror->compacted = true;
	pthread_mutex_unlock(&mirror->lock);
}

bool etcd_mirror_reaches(struct etcd_mirror *mirror, int64_t revision, uint64_t timeout)
{
	struct timespec until = stow_clock_in(timeout);
	bool reached;

	pthread_mutex_lock(&mirror->lock);
	while (mirror->stream && !mirror->ended && mirror->revision < revision)
		if (pthread_cond_timedwait(&mirror->changed, &mirror->lock, &until) == ETIMEDOUT)
			break;
	reached = mirror->revision >= revision && !mirror->compacted;
	pthread_mutex_unlock(&mirror->lock);
	return reached;
}

/* --- keys ----------------------------------------------------------------- */

int etcd_mirror_new(struct etcd *etcd, const char *prefix, struct etcd_mirror **ret_mirror,
		    struct stow_err *err)
{
	struct etcd_mirror *mirror = calloc(1, sizeof(*mirror));

	if (!mirror)
		return stow_err_set(err, ENOMEM, "out of memory");
	pthread_mutex_init(&mirror->lock, NULL);
	stow_clock_cond_init(&mirror->changed);
	mirror->etcd = etcd;
	mirror->prefix = strdup(prefix);
	mirror->end = strdup(prefix);
	mirror->prefix_len = strlen(prefix);
	if (!mirror->prefix || !mirror->end) {
		etcd_mirror_free(mirror);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	mirror->end[mirror->prefix_len - 1]++;
	*ret_mirror = mirror;
	return 0;
}

void etcd_mirror_free(struct etcd_mirror *mirror)
{
	if (!mirror)
		return;
	etcd_mirror_stop(mirror);
	tdestroy(mirror->keys, key_free);
	pthread_cond_destroy(&mirror->changed);
	pthread_mutex_destroy(&mirror->lock);
	free(mirror->prefix);
	free(mirror->end);
	free(mirror);
}

const struct etcd_key *etcd_mirror_find(struct etcd_mirror *mirror, const char *name)
{
	size_t len = mirror->prefix_len + strlen(name);
	_cleanup_free_ char *key = malloc(len + 1);
	struct etcd_key probe = { .key = key, .key_len = len }, **found;

	if (!key)
		return NULL;
	memcpy(key, mirror->prefix, mirror->prefix_len);
	memcpy(key + mirror->prefix_len, name, strlen(name) + 1);
	found = tfind(&probe, &mirror->keys, by_key);
	return found ? *found : NULL;
}

struct walk {
	void (*each)(void *ctx, const struct etcd_key *key);
	void *ctx;
};

static void on_node(const void *node, VISIT which, void *arg)
{
	const struct walk *walk = arg;

	if (which == postorder || which == leaf)
		walk->each(walk->ctx, *(struct etcd_key *const *)node);
}

void etcd_mirror_each(struct etcd_mirror *mirror,
		      void (*each)(void *ctx, const struct etcd_key *key), void *ctx)
{
	struct walk walk = { each, ctx };

	twalk_r(mirror->keys, on_node, &walk);
}

int64_t etcd_mirror_revision(struct etcd_mirror *mirror)
{
	int64_t revision;

	pthread_mutex_lock(&mirror->lock);
	revision = mirror->revision;
	pthread_mutex_unlock(&mirror->lock);
	return revision;
}

void etcd_mirror_count(struct etcd_mirror *mirror, uint64_t *ret_keys, uint64_t *ret_reads)
{
	pthread_mutex_lock(&mirror->lock);
	*ret_keys = mirror->n_keys;
	*ret_reads = mirror->reads;
	pthread_mutex_unlock(&mirror->lock);
}
