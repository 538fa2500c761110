// SPDX-License-Identifier: Apache-2.0
#include "scheduler/store/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"

#define LOOK_US	    200000
#define LOOKS_LOCK  10	/* tries: a lock ends with its scheduler */
#define LOOKS_LEASE 350 /* for over a minute: until a dead leader's lease has expired */
#define SHORT_LIVED (300 * STOW_SECOND) /* answers that may expire before the comparison */
#define UNDER_WAY   4096

/* What was read of a store: the number of rows, and a checksum that is independent of their
 * order. */
struct reading {
	struct stow_store *to; /* where to write each row; NULL: only count */
	bool marked;	       /* `to` is marked as incomplete */
	size_t rows;
	uint64_t sum;	/* of all rows */
	uint64_t until; /* wall time: answers that expire before it are not counted */
	uint64_t epoch; /* of the store, after it was read */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t under_way;
	struct stow_err err; /* the first failed write */
};

static uint64_t mix(uint64_t sum, const void *bytes, size_t len)
{
	return (sum ^ stow_hash_bytes(bytes ? bytes : "", bytes ? len : 0)) *
	       UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t mix_text(uint64_t sum, const char *text)
{
	return mix(sum, text ? text : "", text ? strlen(text) : 0);
}

static uint64_t mix_number(uint64_t sum, uint64_t number)
{
	return mix(sum, &number, sizeof(number));
}

/* --- writing -------------------------------------------------------------- */

static void on_done(void *ctx, const struct stow_err *err)
{
	struct reading *in = ctx;

	pthread_mutex_lock(&in->lock);
	if (err && !in->err.code)
		in->err = *err;
	in->under_way--;
	pthread_cond_signal(&in->changed);
	pthread_mutex_unlock(&in->lock);
}

static void wait_until(struct reading *in, size_t most)
{
	pthread_mutex_lock(&in->lock);
	while (in->under_way > most)
		pthread_cond_wait(&in->changed, &in->lock);
	pthread_mutex_unlock(&in->lock);
}

/* Mark the store as incomplete or complete. */
static int mark(struct stow_store *store, bool copying, struct stow_err *err)
{
	struct reading in = { .lock = PTHREAD_MUTEX_INITIALIZER,
			      .changed = PTHREAD_COND_INITIALIZER,
			      .under_way = 1 };
	struct stow_writes *writes = stow_writes_new();

	if (stow_writes_copying(writes, copying) < 0) {
		stow_writes_free(writes);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	stow_store_commit(store, writes, on_done, &in);
	wait_until(&in, 0);
	return in.err.code ? stow_err_move(err, -in.err.code, &in.err) : 0;
}

/* Commit a list, taking ownership. `r`: the result of filling it. */
static int pass_on(struct reading *in, struct stow_writes *writes, int r, struct stow_err *err)
{
	if (r < 0)
		r = stow_err_set(err, -r, "out of memory");
	if (r == 0 && !in->marked)
		r = mark(in->to, true, err);
	if (r == 0) {
		in->marked = true;
		wait_until(in, UNDER_WAY);
		pthread_mutex_lock(&in->lock);
		if (in->err.code)
			r = stow_err_move(err, -in->err.code, &in->err);
		else
			in->under_way++;
		pthread_mutex_unlock(&in->lock);
	}
	if (r < 0) {
		stow_writes_free(writes);
		return r;
	}
	stow_store_commit(in->to, writes, on_done, in);
	return 0;
}

static void add(struct reading *in, uint64_t sum)
{
	in->rows++;
	in->sum += sum;
}

/* --- rows ----------------------------------------------------------------- */

static int on_reservation(void *ctx, uint64_t id, const void *message, size_t len,
			  const char *request_id, struct stow_err *err)
{
	struct reading *in = ctx;
	struct stow_writes *writes;

	add(in, mix_text(mix(mix_number(1, id), message, len), request_id));
	if (!in->to)
		return 0;
	writes = stow_writes_new();
	return pass_on(in, writes, stow_writes_reservation(writes, id, message, len, request_id),
		       err);
}

static int on_fence(void *ctx, const char *machine, const struct stow_idset *numa,
		    struct stow_err *err)
{
	struct reading *in = ctx;
	char text[STOW_IDSET_MAX];
	struct stow_writes *writes;

	add(in, mix_text(mix_text(2, machine), stow_idset_format(numa, text, sizeof(text))));
	if (!in->to)
		return 0;
	writes = stow_writes_new();
	return pass_on(in, writes, stow_writes_fence(writes, machine, numa), err);
}

static int on_answer(void *ctx, const char *request_id, uint64_t digest, uint64_t expires,
		     const void *response, size_t len, struct stow_err *err)
{
	struct reading *in = ctx;
	struct stow_writes *writes;

	if (expires >= in->until)
		add(in, mix(mix_number(mix_number(mix_text(3, request_id), digest), expires),
			    response, len));
	if (!in->to)
		return 0;
	writes = stow_writes_new();
	return pass_on(in, writes,
		       stow_writes_answer(writes, request_id, digest, expires,
					  stow_clock_elapsed(stow_clock_wall(), expires),
					  response ? response : "", len),
		       err);
}

static int on_drain(void *ctx, uint64_t id, uint64_t flags, const void *message, size_t len,
		    const char *request_id, struct stow_err *err)
{
	struct reading *in = ctx;
	struct stow_writes *writes;

	add(in, mix_text(mix(mix_number(mix_number(4, id), flags), message, len), request_id));
	if (!in->to)
		return 0;
	writes = stow_writes_new();
	return pass_on(in, writes, stow_writes_drain(writes, id, flags, message, len, request_id),
		       err);
}

static int on_webhook(void *ctx, const struct stow_store_webhook *webhook, struct stow_err *err)
{
	uint64_t sum = mix_number(mix_number(5, webhook->seq), webhook->drain);
	struct reading *in = ctx;
	struct stow_writes *writes;
	int r;

	sum = mix_text(mix_text(mix(sum, webhook->body, webhook->len), webhook->event),
		       webhook->url);
	add(in, mix_number(mix_number(mix_number(sum, webhook->created), webhook->next),
			   webhook->attempts));
	if (!in->to)
		return 0;
	writes = stow_writes_new();
	r = stow_writes_webhook(writes, webhook);
	if (r == 0)
		r = stow_writes_webhook_later(writes, webhook->seq, webhook->next,
					      webhook->attempts);
	return pass_on(in, writes, r, err);
}

/* --- stores --------------------------------------------------------------- */

static const char *name_of(const struct stow_store_options *options)
{
	return options->where ? options->where : options->dir;
}

/* Open a store, become its leader, and read it. `copying`: also when it is incomplete. */
static int read_store(const struct stow_store_options *options, struct reading *in, bool copying,
		      struct stow_store **ret_store, struct stow_err *err)
{
	const struct stow_store_load load = { .reservation = on_reservation,
					      .fence = on_fence,
					      .answer = on_answer,
					      .drain = on_drain,
					      .webhook = on_webhook,
					      .ctx = in,
					      .copying = copying };
	int r = stow_store_new(options, ret_store, err), looks = 0;

	if (r == 0)
		looks = stow_store_has_lease(*ret_store) ? LOOKS_LEASE : LOOKS_LOCK;
	for (int i = 0; r == 0 && i < looks; i++) {
		r = stow_store_lead(*ret_store, err);
		if (r == 0)
			usleep(LOOK_US);
		else if (r == 1)
			return stow_store_load(*ret_store, &load, err);
	}
	return r < 0 ? r
		     : stow_err_set(err, EBUSY,
				    "%.256s: a scheduler is active there; stop all of them first",
				    name_of(options));
}

static int copy(const struct stow_store_options *from, struct reading *in, struct stow_err *err)
{
	struct stow_store *store = NULL;
	int r = read_store(from, in, false, &store, err);

	wait_until(in, 0);
	if (r == 0 && in->err.code) {
		*err = in->err;
		r = -err->code;
	}
	if (r == 0 && in->rows == 0)
		r = stow_err_set(err, ENODATA, "%.256s: the store is empty", name_of(from));
	in->epoch = r == 0 ? stow_store_epoch(store) : 0;
	stow_store_close(store);
	return r;
}

int scheduler_copy_store(const struct stow_store_options *from, const struct stow_store_options *to,
			 size_t *ret_rows, struct stow_err *err)
{
	struct reading before = { .lock = PTHREAD_MUTEX_INITIALIZER },
		       in = { .lock = PTHREAD_MUTEX_INITIALIZER,
			      .changed = PTHREAD_COND_INITIALIZER },
		       after = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct stow_store *store = NULL;
	struct stow_err local = { 0 };
	int r;

	err = err ? err : &local;
	in.until = after.until = stow_clock_wall() + SHORT_LIVED;
	r = read_store(to, &before, true, &store, err);
	if (r == 0 && before.rows)
		r = stow_err_set(err, EEXIST,
				 "%.256s: has %zu rows already; expected an empty store",
				 name_of(to), before.rows);
	in.to = store;
	if (r == 0)
		r = copy(from, &in, err);
	stow_store_close(store);
	store = NULL;
	if (r == 0)
		r = read_store(to, &after, true, &store, err);
	/* Agents reject a lower epoch than they have seen. */
	if (r == 0 && stow_store_epoch(store) <= in.epoch)
		r = stow_err_set(err, ERANGE,
				 "%.256s: its epoch, %" PRIu64
				 ", is later than this machine's clock; correct the clock",
				 name_of(from), in.epoch);
	if (r == 0 && (in.rows != after.rows || in.sum != after.sum))
		r = stow_err_set(err, EUCLEAN,
				 "%.256s: what is there now is not what was copied: %zu rows, not "
				 "%zu, or other ones",
				 name_of(to), after.rows, in.rows);
	if (r == 0)
		r = mark(store, false, err);
	stow_store_close(store);
	*ret_rows = in.rows;
	return r;
}
