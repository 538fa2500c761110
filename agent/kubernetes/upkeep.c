/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/upkeep.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kubernetes/allocation.h"
#include "agent/kubernetes/gone.h"
#include "agent/kubernetes/names.h"
#include "agent/kubernetes/wanted.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "kube/json.h"
#include "rpc/log.h"
#include "rpc/metrics.h"

#define CLAIMS	    "/apis/resource.k8s.io/v1/namespaces/%s/resourceclaims"
#define CLAIM	    "ResourceClaim"
#define ROUND	    (600 * STOW_SECOND)	     /* each claim is looked at in any case */
#define TIMES	    (20 * STOW_SECOND)	     /* for the attempts of one call */
#define LAST	    (4 * STOW_SECOND)	     /* for those at the end */
#define HOLD	    (500 * STOW_MILLISECOND) /* between two steps */
#define MOST	    (60 * STOW_SECOND)	     /* after failures */
#define AT_ONCE	    20			     /* claims of one step */
#define TRIES	    4			     /* when another client changes the claim */
#define NOTES_MAX   256
#define KNOWN_MAX   4096
#define REFUSED_MAX 128 /* of one namespace: any user can have many claims that are refused */
#define FAILED_MAX  3	/* claims of one step: then the API server is at fault, not the claims */

struct note {
	char *uid, *ns, *name;
	char *refusal; /* NULL: it was prepared */
	bool look;     /* neither: look at it, whatever is known of it */
};

/* A claim of the ledger, or one that was refused. */
struct known {
	char *uid, *ns, *name;
	char *refusal;
	uint64_t refused; /* since when; wall time */
	uint64_t asked;	  /* when kubelet asked last; boot time */
	uint64_t digest;  /* of what was written; 0: nothing */
	uint64_t looked;  /* boot time of the last look */
	bool evicts;	  /* an Evict condition was written */
};

struct agent_upkeep {
	struct agent_upkeep_parts parts;
	char *kubelet;
	pthread_t thread;
	bool started;

	/* For the thread only. */
	struct known *known; /* KNOWN_MAX */
	size_t n;
	size_t next;		/* where the next step begins, so that no claim waits for ever */
	struct stow_kube *kube; /* of this step */
	struct agent_gone gone;
	unsigned int failures_in_a_row;
	int why; /* the failure that was logged; 0: none */

	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t wake;
	bool changed, stop;
	struct note notes[NOTES_MAX];
	size_t n_notes;
	struct stow_kube *running; /* = kube */

	atomic_uint_least64_t written, failures, dropped;
};

/* --- claims that are known ------------------------------------------------ */

static void note_done(struct note *note)
{
	free(note->uid);
	free(note->ns);
	free(note->name);
	free(note->refusal);
	*note = (struct note){ 0 };
}

static void known_done(struct known *k)
{
	free(k->uid);
	free(k->ns);
	free(k->name);
	free(k->refusal);
}

static struct known *find(struct agent_upkeep *u, const char *uid)
{
	for (size_t i = 0; i < u->n; i++)
		if (strcmp(u->known[i].uid, uid) == 0)
			return &u->known[i];
	return NULL;
}

static struct known *find_or_add(struct agent_upkeep *u, const char *uid, const char *ns,
				 const char *name)
{
	struct known *k = find(u, uid);

	if (k)
		return k;
	if (u->n == KNOWN_MAX)
		return NULL;
	k = &u->known[u->n++];
	*k = (struct known){ 0 };
	k->uid = strdup(uid);
	k->ns = strdup(ns);
	k->name = strdup(name);
	if (k->uid && k->ns && k->name)
		return k;
	known_done(k);
	u->n--;
	return NULL;
}

/* Return whether one more refused claim of a namespace may become known. */
static bool may_refuse(const struct agent_upkeep *u, const char *ns)
{
	size_t n = 0;

	for (size_t i = 0; i < u->n; i++)
		n += u->known[i].refusal && strcmp(u->known[i].ns, ns) == 0;
	return n < REFUSED_MAX;
}

/* Take over what calls of kubelet have noted. */
static void take_notes(struct agent_upkeep *u)
{
	struct note notes[NOTES_MAX];
	size_t n;

	pthread_mutex_lock(&u->lock);
	n = u->n_notes;
	memcpy(notes, u->notes, n * sizeof(*notes));
	u->n_notes = 0;
	pthread_mutex_unlock(&u->lock);
	for (size_t i = 0; i < n; i++) {
		struct known *k = find(u, notes[i].uid);

		/* Those of the ledger become known by themselves. */
		if (!k && notes[i].refusal && may_refuse(u, notes[i].ns))
			k = find_or_add(u, notes[i].uid, notes[i].ns, notes[i].name);
		if (k && notes[i].look) {
			k->digest = 0;
		} else if (k) {
			if (notes[i].refusal && !k->refusal)
				k->refused = stow_clock_wall();
			k->asked = stow_clock_boot();
			free(k->refusal);
			k->refusal = STOW_TAKE_PTR(notes[i].refusal);
		}
		note_done(&notes[i]);
	}
}

/* Forget claims that need no conditions any more. kubelet asks for a refused claim again every few
 * minutes, as long as there is a pod. */
static void forget(struct agent_upkeep *u, const struct agent_wanted *wanted)
{
	for (size_t i = 0; i < u->n;) {
		struct known *k = &u->known[i];
		bool keep = k->evicts;

		if (k->refusal && stow_clock_elapsed(k->asked, stow_clock_boot()) > ROUND) {
			free(k->refusal);
			k->refusal = NULL;
		}
		keep |= k->refusal != NULL;
		for (size_t w = 0; w < wanted->n && !keep; w++)
			keep = strcmp(wanted->list[w].uid, k->uid) == 0;
		if (keep) {
			i++;
			continue;
		}
		known_done(k);
		*k = u->known[--u->n];
	}
}

/* --- one claim ------------------------------------------------------------ */

/* Get a claim. -ENOENT: there is none, or another one of that name. */
static int get(struct agent_upkeep *u, const struct known *k, struct json_object **ret,
	       struct stow_err *err)
{
	_cleanup_json_ struct json_object *object = NULL;
	char collection[512];
	const char *uid;
	int r;

	snprintf(collection, sizeof(collection), CLAIMS, k->ns);
	r = stow_kube_get(u->kube, collection, k->name, &object, err);
	if (r < 0)
		return r;
	uid = stow_kube_text(object, "metadata.uid");
	if (strcmp(stow_kube_text(object, "kind"), CLAIM) != 0 ||
	    strcmp(stow_kube_text(object, "metadata.namespace"), k->ns) != 0 ||
	    strcmp(stow_kube_text(object, "metadata.name"), k->name) != 0 ||
	    stow_claim_check_uid(uid, "", NULL) < 0)
		return stow_err_set(err, EBADMSG, "claim %s/%s: the answer is not that claim",
				    k->ns, k->name);
	if (strcmp(uid, k->uid) != 0)
		return stow_err_set(err, ENOENT, "claim %s/%s is another one", k->ns, k->name);
	*ret = STOW_TAKE_PTR(object);
	return 0;
}

/* Write the conditions. Return 0 also when there is nothing to write. -EBUSY: another client has
 * changed the claim. -ENOENT: it is gone, or the ledger's shares of it are. */
static int write_once(struct agent_upkeep *u, const struct known *k,
		      const struct agent_conditions *wanted, struct stow_err *err)
{
	_cleanup_json_ struct json_object *object = NULL;
	char collection[512];
	int r = get(u, k, &object, err);

	if (r < 0)
		return r;
	if (wanted->n > 0 && !agent_conditions_has(object, wanted->pool, wanted->shares[0].id))
		return stow_err_set(err, ENOENT, "claim %s/%s is no longer allocated here", k->ns,
				    k->name);
	r = agent_conditions_merge(object, wanted, stow_clock_wall(), err);
	if (r == -EINVAL) /* it is not allocated (any more) */
		return 0;
	if (r <= 0)
		return r;
	/* The API server has its own; without them the request is half as long. */
	json_object_object_del(stow_kube_at(object, "metadata"), "managedFields");
	snprintf(collection, sizeof(collection), CLAIMS, k->ns);
	r = stow_kube_replace_status(u->kube, collection, k->name, object, err);
	if (r == 0)
		atomic_fetch_add(&u->written, 1);
	return r;
}

/* Log a refusal of the API server that concerns one claim, or a missing right. */
static void log_refused(struct agent_upkeep *u, const struct known *k, const struct stow_err *err)
{
	atomic_fetch_add(&u->failures, 1);
	stow_log(STOW_LOG_WARNING, "the conditions of a claim cannot be written",
		 stow_text("uid", k->uid), stow_text("namespace", k->ns),
		 stow_text("name", k->name), stow_why(err));
}

/* Drop the lease of a claim that the API server does not have. */
static int drop(struct agent_upkeep *u, const struct known *k,
		const struct agent_wanted_claim *claim, struct stow_err *err)
{
	const struct agent_claim_name of = { k->uid, k->ns, k->name };
	int r = agent_gone_drop(&u->gone, &of, claim->shares[0].id, err);

	if (r > 0)
		atomic_fetch_add(&u->dropped, 1);
	return r < 0 ? r : 0;
}

/* Look at a claim. A failure is one of the API server. */
static int look(struct agent_upkeep *u, struct known *k, const struct agent_wanted_claim *claim,
		uint64_t digest, struct stow_err *err)
{
	const struct agent_conditions wanted = { .uid = k->uid,
						 .pool = agent_prepare_pool(u->parts.prepare),
						 .shares = claim ? claim->shares : NULL,
						 .n = claim ? claim->n : 0,
						 .refusal = k->refusal,
						 .refused = k->refused };
	int r = -EBUSY;

	/* Set before: the write may succeed, and its answer be lost. */
	k->evicts |= claim && claim->evict;
	for (int i = 0; i < TRIES && r == -EBUSY; i++)
		r = write_once(u, k, &wanted, err);
	if (r == -ENOENT) {
		k->evicts = false;
		free(k->refusal);
		k->refusal = NULL;
		r = claim ? drop(u, k, claim, err) : 0;
	} else if (r == -EINVAL || r == -EPERM || r == -E2BIG) {
		log_refused(u, k, err);
		r = 0;
	} else if (r == 0) {
		k->evicts = claim && claim->evict;
	}
	if (r < 0)
		return r;
	k->digest = digest;
	k->looked = stow_clock_boot();
	return 0;
}

/* --- steps ---------------------------------------------------------------- */

static const struct agent_wanted_claim *wanted_of(const struct agent_wanted *wanted,
						  const char *uid)
{
	for (size_t i = 0; i < wanted->n; i++)
		if (strcmp(wanted->list[i].uid, uid) == 0)
			return &wanted->list[i];
	return NULL;
}

static bool is_stopping(struct agent_upkeep *u)
{
	bool stop;

	pthread_mutex_lock(&u->lock);
	stop = u->stop;
	pthread_mutex_unlock(&u->lock);
	return stop;
}

/* Return whether the API server did not answer, so that the other claims would not fare better. */
static bool is_away(int r)
{
	return r == -ECANCELED || r == -EHOSTUNREACH || r == -ETIMEDOUT || r == -EACCES;
}

/* Look at the claims that are due, some of them. At the end (`last`) only conditions of drains are
 * removed. *ret_more: there are more. A claim whose answer is wrong does not keep the others from
 * their conditions. */
static int look_at_all(struct agent_upkeep *u, const struct agent_wanted *wanted, bool last,
		       bool *ret_more, struct stow_err *err)
{
	size_t done = 0, failed = 0, first = u->next;
	int code = 0;

	for (size_t i = 0; i < u->n; i++) {
		struct known *k = &u->known[(first + i) % u->n];
		const struct agent_wanted_claim *claim = wanted_of(wanted, k->uid);
		uint64_t digest = agent_wanted_digest(claim, k->refusal);
		struct stow_err why = { 0 };
		int r;

		if (last ? !k->evicts
			 : digest == k->digest &&
				    stow_clock_elapsed(k->looked, stow_clock_boot()) < ROUND)
			continue;
		if (!last && (done++ == AT_ONCE || is_stopping(u))) {
			*ret_more = true;
			break;
		}
		u->next = (first + i + 1) % u->n;
		r = look(u, k, claim, digest, &why);
		if (r < 0 && code == 0)
			code = stow_err_move(err, r, &why);
		failed += r < 0;
		if (is_away(r) || failed == FAILED_MAX)
			break;
	}
	return code;
}

/* Take a client for a step. While it runs, agent_upkeep_free() may stop it. */
static int take_client(struct agent_upkeep *u, uint64_t times, struct stow_err *err)
{
	int r = agent_clients_take(u->parts.clients, times, &u->kube, err);

	pthread_mutex_lock(&u->lock);
	u->running = r == 0 ? u->kube : NULL;
	pthread_mutex_unlock(&u->lock);
	return r;
}

static void give_client(struct agent_upkeep *u)
{
	pthread_mutex_lock(&u->lock);
	u->running = NULL;
	pthread_mutex_unlock(&u->lock);
	if (stow_kube_wait(u->kube, 0) < 0) /* it was stopped */
		stow_kube_free(u->kube);
	else
		agent_clients_give(u->parts.clients, u->kube);
	u->kube = NULL;
}

static int step(struct agent_upkeep *u, bool last, bool *ret_more, struct stow_err *err)
{
	struct agent_wanted wanted;
	int r;

	take_notes(u);
	r = agent_wanted_read(u->parts.policy, u->parts.publisher, u->parts.drains, &wanted, err);
	if (r < 0)
		return r;
	forget(u, &wanted);
	for (size_t i = 0; i < wanted.n; i++)
		(void)find_or_add(u, wanted.list[i].uid, wanted.list[i].ns, wanted.list[i].name);
	if (u->n > 0)
		r = take_client(u, last ? LAST : TIMES, err);
	u->gone = (struct agent_gone){ .root = u->parts.root,
				       .kubelet = u->kubelet,
				       .prepare = u->parts.prepare,
				       .kube = u->kube,
				       .cluster = -1 };
	if (u->n > 0 && r == 0) {
		r = look_at_all(u, &wanted, last, ret_more, err);
		give_client(u);
	}
	agent_wanted_done(&wanted);
	return r;
}

/* Note a step's result, and return how long to wait at least. */
static uint64_t conclude(struct agent_upkeep *u, int r, const struct stow_err *err)
{
	if (r == -ECANCELED)
		return 0;
	if (r < 0) {
		atomic_fetch_add(&u->failures, 1);
		if (u->why != r)
			stow_log(STOW_LOG_WARNING, "the conditions of claims may be out of date",
				 stow_why(err));
		u->why = r;
		return stow_kube_backoff(++u->failures_in_a_row, STOW_SECOND, MOST);
	}
	if (u->why)
		stow_log(STOW_LOG_NOTICE, "the conditions of claims are up to date again");
	u->why = 0;
	u->failures_in_a_row = 0;
	return HOLD;
}

/* Wait for `least`, then until something has changed, for at most `most`. Return false to stop. */
static bool wait(struct agent_upkeep *u, uint64_t least, uint64_t most)
{
	uint64_t now = stow_clock_monotonic(), first = now + least, until = now + most;
	bool stop;

	pthread_mutex_lock(&u->lock);
	while (!u->stop && now < until && (!u->changed || now < first)) {
		uint64_t due = now < first ? first : until;
		const struct timespec at = { .tv_sec = (time_t)(due / STOW_SECOND),
					     .tv_nsec = (long)(due % STOW_SECOND) };

		(void)pthread_cond_timedwait(&u->wake, &u->lock, &at);
		now = stow_clock_monotonic();
	}
	u->changed = false;
	stop = u->stop;
	pthread_mutex_unlock(&u->lock);
	return !stop;
}

static void *run(void *arg)
{
	struct agent_upkeep *u = arg;
	struct stow_err err;
	uint64_t least;
	bool more;

	do {
		err = (struct stow_err){ 0 };
		more = false;
		least = conclude(u, step(u, false, &more, &err), &err);
	} while (wait(u, least, more ? least : STOW_MAX(least, MOST)));
	(void)step(u, true, &more, &err);
	return NULL;
}

/* Called with the publisher's or the drains' lock held. */
static void on_change(void *ctx)
{
	struct agent_upkeep *u = ctx;

	pthread_mutex_lock(&u->lock);
	u->changed = true;
	pthread_cond_signal(&u->wake);
	pthread_mutex_unlock(&u->lock);
}

/* Give the thread a note about a claim, which has a copy of the refusal. */
static void give_note(struct agent_upkeep *u, const struct agent_claim_name *of, struct note note)
{
	bool complete;

	note.uid = strdup(of->uid);
	note.ns = strdup(of->ns);
	note.name = strdup(of->name);
	complete = note.uid && note.ns && note.name;
	pthread_mutex_lock(&u->lock);
	if (complete && u->n_notes < NOTES_MAX) {
		u->notes[u->n_notes++] = note;
		note = (struct note){ 0 };
		u->changed = true;
		pthread_cond_signal(&u->wake);
	}
	pthread_mutex_unlock(&u->lock);
	note_done(&note);
}

static bool is_named(const struct agent_claim_name *of)
{
	return stow_claim_check_uid(of->uid, "", NULL) == 0 &&
	       agent_allocation_check_name(of->ns, "", NULL) == 0 &&
	       agent_allocation_check_name(of->name, "", NULL) == 0;
}

void agent_upkeep_note(struct agent_upkeep *u, const struct agent_claim_name *of,
		       const char *refusal)
{
	struct note note = { .refusal = refusal ? strdup(refusal) : NULL };

	if (is_named(of) && (!refusal || note.refusal))
		give_note(u, of, note);
	else
		note_done(&note);
}

void agent_upkeep_look(struct agent_upkeep *u, const struct agent_claim_name *of)
{
	if (is_named(of))
		give_note(u, of, (struct note){ .look = true });
}

/* --- making and freeing --------------------------------------------------- */

int agent_upkeep_new(const struct agent_upkeep_parts *parts, struct agent_upkeep **ret,
		     struct stow_err *err)
{
	struct agent_upkeep *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return stow_err_set(err, ENOMEM, "out of memory");
	u->parts = *parts;
	u->kubelet = strdup(parts->kubelet);
	pthread_mutex_init(&u->lock, NULL);
	stow_clock_cond_init(&u->wake);
	u->known = calloc(KNOWN_MAX, sizeof(*u->known));
	r = u->kubelet && u->known ? pthread_create(&u->thread, NULL, run, u) : ENOMEM;
	u->started = r == 0;
	if (r) {
		agent_upkeep_free(u);
		return stow_err_sys(err, r, "cannot start a thread");
	}
	agent_publisher_follow(parts->publisher, on_change, u);
	agent_drain_follow(parts->drains, on_change, u);
	*ret = u;
	return 0;
}

void agent_upkeep_free(struct agent_upkeep *u)
{
	if (!u)
		return;
	if (u->started) {
		agent_publisher_unfollow(u->parts.publisher, u);
		agent_drain_follow(u->parts.drains, NULL, NULL);
		pthread_mutex_lock(&u->lock);
		u->stop = true;
		if (u->running)
			stow_kube_stop(u->running);
		pthread_cond_signal(&u->wake);
		pthread_mutex_unlock(&u->lock);
		pthread_join(u->thread, NULL);
	}
	for (size_t i = 0; i < u->n; i++)
		known_done(&u->known[i]);
	free(u->known);
	for (size_t i = 0; i < u->n_notes; i++)
		note_done(&u->notes[i]);
	pthread_cond_destroy(&u->wake);
	pthread_mutex_destroy(&u->lock);
	free(u->kubelet);
	free(u);
}

void agent_upkeep_render(struct agent_upkeep *u, FILE *out)
{
	const struct {
		const char *name, *help;
		uint64_t value;
	} counters[] = {
		{ "numastow_agent_claim_conditions_total",
		  "How often the conditions of a claim were written.",
		  u ? atomic_load(&u->written) : 0 },
		{ "numastow_agent_claim_conditions_failures_total",
		  "Failures to read claims, or to write their conditions.",
		  u ? atomic_load(&u->failures) : 0 },
		{ "numastow_agent_claims_dropped_total",
		  "Claims that were dropped because they were gone, without being unprepared.",
		  u ? atomic_load(&u->dropped) : 0 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(counters); i++) {
		stow_metric_head(out, counters[i].name, "counter", counters[i].help);
		stow_metric(out, counters[i].name, (double)counters[i].value, NULL);
	}
}
