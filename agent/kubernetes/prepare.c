/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/prepare.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/kubernetes/allocation.h"
#include "agent/kubernetes/cdi.h"
#include "agent/kubernetes/duplicate_keys.h"
#include "agent/kubernetes/exclusive.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/json.h"

/* A claim that is read from the API server, or waits for others to change. */
struct reading {
	const char *uid;
	bool dropped; /* kubelet has unprepared it meanwhile */
	struct reading *next;
};

struct agent_prepare {
	struct agent_prepare_parts parts;
	char *pool, *cdi, *hook;
	/* `changing` is set while a claim's records and its file change, so that no file is written
	 * after the claim was unprepared; never while waiting for the API server. Not a mutex,
	 * because the wait has a limit by the monotonic clock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool changing;
	struct reading *readings;
};

/* Begin to change claims, when no other thread does, but not after `deadline` (monotonic). */
static int begin_change(struct agent_prepare *prepare, uint64_t deadline, struct stow_err *err)
{
	const struct timespec at = { .tv_sec = (time_t)(deadline / STOW_SECOND),
				     .tv_nsec = (long)(deadline % STOW_SECOND) };
	int r = 0;

	pthread_mutex_lock(&prepare->lock);
	while (prepare->changing && r == 0)
		r = deadline == UINT64_MAX
			    ? pthread_cond_wait(&prepare->changed, &prepare->lock)
			    : pthread_cond_timedwait(&prepare->changed, &prepare->lock, &at);
	r = prepare->changing
		    ? stow_err_set(err, ETIMEDOUT, "the ledger is locked by another program")
		    : 0;
	if (r == 0)
		prepare->changing = true;
	pthread_mutex_unlock(&prepare->lock);
	return r;
}

static void begin_reading(struct agent_prepare *prepare, struct reading *reading)
{
	pthread_mutex_lock(&prepare->lock);
	reading->next = prepare->readings;
	prepare->readings = reading;
	pthread_mutex_unlock(&prepare->lock);
}

/* Return whether kubelet has unprepared the claim meanwhile. */
static bool end_reading(struct agent_prepare *prepare, struct reading *reading)
{
	struct reading **at = &prepare->readings;

	pthread_mutex_lock(&prepare->lock);
	while (*at != reading)
		at = &(*at)->next;
	*at = reading->next;
	pthread_mutex_unlock(&prepare->lock);
	return reading->dropped;
}

static void end_change(struct agent_prepare *prepare)
{
	pthread_mutex_lock(&prepare->lock);
	prepare->changing = false;
	pthread_cond_signal(&prepare->changed);
	pthread_mutex_unlock(&prepare->lock);
}

/* Open the ledger, for the calling thread. */
static int open_ledger(struct agent_prepare *prepare, struct stow_grant_context *ret,
		       struct stow_ledger **ret_ledger, struct stow_err *err)
{
	int r;

	*ret = agent_policy_context(prepare->parts.policy);
	r = stow_ledger_open(ret->root, false, ret_ledger, err);
	ret->ledger = *ret_ledger;
	return r;
}

/* --- CDI files of the claims in the ledger -------------------------------- */

/* Write the file of one claim of the list. */
static int write_file(struct agent_prepare *prepare, int folder, const struct stow_claim_list *list,
		      const char *uid, struct stow_err *err)
{
	const struct stow_record *shares[STOW_CLAIM_SHARES_MAX];
	_cleanup_free_ char *text = NULL;
	size_t n = 0;

	for (size_t i = 0; i < list->n && n < STOW_CLAIM_SHARES_MAX; i++)
		if (strcmp(list->list[i].share->claim->uid, uid) == 0)
			shares[n++] = list->list[i].share;
	if (n == 0)
		return stow_err_set(err, ENOENT, "claim %s is not in the ledger", uid);
	text = agent_cdi_text(shares, n, prepare->hook);
	if (!text)
		return stow_err_set(err, ENOMEM, "out of memory");
	return agent_cdi_write(folder, uid, text, err);
}

static bool in_list(void *ctx, const char *uid)
{
	const struct stow_claim_list *list = ctx;

	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->list[i].share->claim->uid, uid) == 0)
			return true;
	return false;
}

static int restore(struct agent_prepare *prepare, const struct stow_grant_context *context,
		   struct stow_err *err)
{
	struct stow_first first = { .err = err };
	_cleanup_close_ int folder = -EBADF;
	struct stow_claim_list list;
	int r;

	folder = agent_cdi_open(prepare->parts.root, prepare->cdi, err);
	if (folder < 0)
		return folder;
	r = stow_claim_list(context, NULL, &list, err);
	if (r < 0)
		return r;
	/* A claim with several shares comes several times; only the first can change its file. */
	for (size_t i = 0; i < list.n; i++)
		stow_first_note(&first, write_file(prepare, folder, &list,
						   list.list[i].share->claim->uid, first.err));
	stow_first_note(&first, agent_cdi_tidy(folder, in_list, &list, first.err));
	stow_claim_list_done(&list);
	return first.code;
}

int agent_prepare_restore(struct agent_prepare *prepare, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct stow_grant_context context;
	int r;

	(void)begin_change(prepare, UINT64_MAX, NULL);
	r = open_ledger(prepare, &context, &ledger, err);
	if (r == 0)
		r = restore(prepare, &context, err);
	end_change(prepare);
	return r;
}

/* --- prepare -------------------------------------------------------------- */

/* Return whether the claim itself cannot be had here: the next attempt fails as well. */
static bool is_refusal(int r)
{
	return r == -ENOSPC || r == -EAGAIN || r == -EPERM || r == -EINVAL || r == -EOPNOTSUPP ||
	       r == -ERANGE || r == -EEXIST;
}

static int check_name(const struct agent_claim_name *of, struct stow_err *err)
{
	int r = stow_claim_check_uid(of->uid, "the claim's UID", err);

	if (r == 0)
		r = agent_allocation_check_name(of->ns, "the claim's namespace", err);
	return r == 0 ? agent_allocation_check_name(of->name, "the claim's name", err) : r;
}

/* While no other thread changes claims: take the claim, then write its file. After the deadline
 * kubelet has been told of a failure, and may have unprepared the claim. A lock, a folder or a full
 * disk is no refusal. */
static int take(struct agent_prepare *prepare, const struct stow_claim *claim, uint64_t deadline,
		bool *ret_refused, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_close_ int folder = -EBADF;
	struct stow_grant_context context;
	struct stow_claim_list list;
	int r;

	/* Open the folder first: without it nothing is taken. */
	folder = agent_cdi_open(prepare->parts.root, prepare->cdi, err);
	if (folder < 0)
		return stow_err_wrap(err, folder, "claim %s/%s", claim->ns, claim->name);
	r = open_ledger(prepare, &context, &ledger, err);
	if (r == 0 && stow_clock_monotonic() >= deadline)
		return stow_err_set(err, ETIMEDOUT,
				    "claim %s/%s: the ledger was locked by another program",
				    claim->ns, claim->name);
	if (r == 0) {
		r = stow_claim_take(&context, claim, err);
		*ret_refused = is_refusal(r);
	}
	if (r >= 0)
		r = stow_claim_list(&context, claim->uid, &list, err);
	if (r < 0)
		return r;
	r = write_file(prepare, folder, &list, claim->uid, err);
	stow_claim_list_done(&list);
	return r < 0 ? stow_err_wrap(err, r, "claim %s/%s", claim->ns, claim->name) : 0;
}

/* Take the claim when no other thread changes claims; `reading` ends with that. */
static int change(struct agent_prepare *prepare, const struct stow_claim *claim, uint64_t deadline,
		  struct reading *reading, bool *ret_refused, struct stow_err *err)
{
	int r = begin_change(prepare, deadline, err);
	bool dropped = end_reading(prepare, reading);

	if (r < 0)
		return stow_err_wrap(err, r, "claim %s/%s", claim->ns, claim->name);
	if (dropped)
		r = stow_err_set(err, ECANCELED, "claim %s/%s: unprepared meanwhile", claim->ns,
				 claim->name);
	else
		r = take(prepare, claim, deadline, ret_refused, err);
	end_change(prepare);
	return r;
}

static void fill(const struct stow_claim *claim, struct agent_prepared *ret)
{
	ret->n = claim->n;
	for (size_t i = 0; i < claim->n; i++) {
		struct agent_prepared_share *share = &ret->shares[i];

		snprintf(share->id, sizeof(share->id), "%s", claim->shares[i].id);
		snprintf(share->request, sizeof(share->request), "%.*s",
			 (int)strcspn(claim->shares[i].part, "/"), claim->shares[i].part);
		share->node = claim->shares[i].node;
	}
}

/* Read the claim's allocation. The texts of *ret belong to *ret_object, for the caller to free. */
static int read_claim(struct agent_prepare *prepare, const struct agent_claim_name *of,
		      uint64_t timeout, struct json_object **ret_object,
		      struct agent_allocation *ret, struct stow_err *err)
{
	const struct agent_allocation_of wanted = {
		.uid = of->uid, .ns = of->ns, .name = of->name, .pool = prepare->pool
	};
	const struct agent_claim_source *source = &prepare->parts.source;
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	r = source->get(source->ctx, of->ns, of->name, timeout, &text, &len, err);
	if (r == 0)
		r = stow_kube_parse(text, len, ret_object, err);
	if (r < 0)
		return stow_err_wrap(err, r, "claim %s/%s cannot be read", of->ns, of->name);
	r = agent_allocation_read(*ret_object, &wanted, ret, err);
	if (r < 0)
		return r;
	r = agent_duplicate_keys_check(text, *ret_object, err);
	return r < 0 ? stow_err_wrap(err, r, "claim %s/%s", of->ns, of->name) : 0;
}

static int prepare_claim(struct agent_prepare *prepare, const struct agent_claim_name *of,
			 bool bound, uint64_t timeout, struct agent_prepared *ret,
			 struct stow_err *err)
{
	struct reading reading = { .uid = of->uid };
	uint64_t deadline = stow_clock_monotonic() + timeout;
	struct json_object *object = NULL;
	struct agent_allocation allocation;
	int r;

	ret->refused = false;
	begin_reading(prepare, &reading);
	r = check_name(of, err);
	if (r == 0)
		r = agent_policy_check_changes(prepare->parts.policy, err);
	if (r == 0)
		r = read_claim(prepare, of, timeout, &object, &allocation, err);
	if (r == 0)
		r = agent_exclusive_check(prepare->parts.root, bound ? object : NULL,
					  &allocation.claim, err);
	ret->refused = object && is_refusal(r) && (bound || r != -EAGAIN);
	if (r == 0)
		r = change(prepare, &allocation.claim, deadline, &reading, &ret->refused, err);
	else
		(void)end_reading(prepare, &reading);
	if (r == 0)
		fill(&allocation.claim, ret);
	json_object_put(object);
	return r;
}

int agent_prepare(struct agent_prepare *prepare, const struct agent_claim_name *of,
		  uint64_t timeout, struct agent_prepared *ret, struct stow_err *err)
{
	return prepare_claim(prepare, of, true, timeout, ret, err);
}

int agent_prepare_before_binding(struct agent_prepare *prepare, const struct agent_claim_name *of,
				 uint64_t timeout, struct agent_prepared *ret, struct stow_err *err)
{
	return prepare_claim(prepare, of, false, timeout, ret, err);
}

/* --- unprepare ------------------------------------------------------------ */

/* Return 1 when the ledger has this share of the claim. */
static int has_share(const struct stow_grant_context *context, const char *uid, const char *share,
		     struct stow_err *err)
{
	struct stow_claim_list list;
	int r = stow_claim_list(context, uid, &list, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < list.n; i++)
		r |= strcmp(list.list[i].share->claim->share, share) == 0;
	stow_claim_list_done(&list);
	return r;
}

/* While no other thread changes claims: drop the claim, then remove its file, even if the ledger
 * has no such claim. An agent may have been killed between the two. `share`: only if the ledger has
 * it; NULL: in any case. */
static int drop(struct agent_prepare *prepare, const char *uid, const char *share,
		struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_close_ int folder = -EBADF;
	struct stow_grant_context context;
	int r;

	r = open_ledger(prepare, &context, &ledger, err);
	if (r == 0 && share) {
		r = has_share(&context, uid, share, err);
		if (r == 0)
			r = stow_err_set(err, ENOENT, "the ledger has no such share");
	}
	if (r >= 0)
		r = stow_claim_drop(&context, uid, err);
	if (r < 0)
		return r;
	folder = agent_cdi_open(prepare->parts.root, prepare->cdi, err);
	return folder < 0 ? folder : agent_cdi_remove(folder, uid, err);
}

int agent_unprepare(struct agent_prepare *prepare, const struct agent_claim_name *of,
		    struct stow_err *err)
{
	return agent_unprepare_share(prepare, of, NULL, err);
}

int agent_unprepare_share(struct agent_prepare *prepare, const struct agent_claim_name *of,
			  const char *share, struct stow_err *err)
{
	int r;

	/* No claim with such a UID was ever prepared; a refusal would keep its pod from ending. */
	if (stow_claim_check_uid(of->uid, "", NULL) < 0)
		return 0;
	(void)begin_change(prepare, UINT64_MAX, NULL);
	r = drop(prepare, of->uid, share, err);
	pthread_mutex_lock(&prepare->lock);
	for (struct reading *at = prepare->readings; at && r >= 0; at = at->next)
		at->dropped |= strcmp(at->uid, of->uid) == 0;
	pthread_mutex_unlock(&prepare->lock);
	end_change(prepare);
	return r;
}

/* --- making and freeing --------------------------------------------------- */

int agent_prepare_new(const struct agent_prepare_parts *parts, struct agent_prepare **ret,
		      struct stow_err *err)
{
	struct agent_prepare *prepare = calloc(1, sizeof(*prepare));

	if (!prepare)
		return stow_err_set(err, ENOMEM, "out of memory");
	prepare->parts = *parts;
	prepare->pool = strdup(parts->pool);
	prepare->cdi = strdup(parts->cdi);
	prepare->hook = strdup(parts->hook);
	pthread_mutex_init(&prepare->lock, NULL);
	stow_clock_cond_init(&prepare->changed);
	if (!prepare->pool || !prepare->cdi || !prepare->hook) {
		agent_prepare_free(prepare);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	*ret = prepare;
	return 0;
}

void agent_prepare_free(struct agent_prepare *prepare)
{
	if (!prepare)
		return;
	pthread_cond_destroy(&prepare->changed);
	pthread_mutex_destroy(&prepare->lock);
	free(prepare->pool);
	free(prepare->cdi);
	free(prepare->hook);
	free(prepare);
}

const char *agent_prepare_pool(const struct agent_prepare *prepare)
{
	return prepare->pool;
}
