/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/binding.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kubernetes/access.h"
#include "agent/kubernetes/allocation.h"
#include "agent/kubernetes/conditions.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hash.h"
#include "kube/follow.h"
#include "kube/json.h"
#include "rpc/log.h"
#include "rpc/metrics.h"

#define CLAIMS	   "/apis/resource.k8s.io/v1/resourceclaims"
#define WITHIN	   (5 * STOW_SECOND)  /* for preparing a claim */
#define FIRST	   STOW_SECOND	      /* the wait after one failure ... */
#define MOST	   (60 * STOW_SECOND) /* ... and after many */
#define AGAIN	   (30 * STOW_SECOND) /* until a refused claim is tried again */
#define PROOF	   (5 * STOW_SECOND)  /* a watch that has lasted that long is allowed */
#define IDLE	   (60 * STOW_SECOND)
#define CLAIMS_MAX 4096

/* A claim with devices of this machine. */
struct entry {
	char *uid, *ns, *name;
	bool listed; /* seen since the list began */
	bool due;    /* a pod waits for it */
	uint64_t at; /* boot time of the next attempt */
	unsigned int failures;
	uint64_t logged; /* hash of the failure that was logged last; 0: none */
};

struct agent_binding {
	struct agent_binding_parts parts;
	struct stow_kube *kube;
	struct stow_kube_follow follow;
	pthread_t thread;
	bool started;

	/* For the thread only. */
	struct entry *entries; /* CLAIMS_MAX */
	size_t n;
	bool left_out; /* there was no room for one; was logged */
	bool works;
	int why; /* the failure that was logged; 0: none */

	atomic_uint_least64_t prepared, refused, failures;
};

/* --- claims of this machine ----------------------------------------------- */

static struct entry *find(struct agent_binding *b, const char *uid)
{
	for (size_t i = 0; i < b->n; i++)
		if (strcmp(b->entries[i].uid, uid) == 0)
			return &b->entries[i];
	return NULL;
}

static void entry_done(struct entry *e)
{
	free(e->uid);
	free(e->ns);
	free(e->name);
	*e = (struct entry){ 0 };
}

static struct entry *add(struct agent_binding *b, struct json_object *object)
{
	struct agent_claim_name of = { stow_kube_text(object, "metadata.uid"),
				       stow_kube_text(object, "metadata.namespace"),
				       stow_kube_text(object, "metadata.name") };
	struct entry *e;
	size_t n = 0;

	if (stow_claim_check_uid(of.uid, "", NULL) < 0 ||
	    agent_allocation_check_name(of.ns, "", NULL) < 0 ||
	    agent_allocation_check_name(of.name, "", NULL) < 0)
		return NULL;
	for (size_t i = 0; i < b->n; i++)
		n += strcmp(b->entries[i].ns, of.ns) == 0;
	if (b->n == CLAIMS_MAX || n >= STOW_CLAIM_NS_MAX) {
		if (!b->left_out)
			stow_log(STOW_LOG_WARNING,
				 "too many claims: some are not prepared before their pods are "
				 "bound",
				 stow_text("namespace", of.ns));
		b->left_out = true;
		return NULL;
	}
	e = &b->entries[b->n];
	*e = (struct entry){ .uid = strdup(of.uid), .ns = strdup(of.ns), .name = strdup(of.name) };
	if (!e->uid || !e->ns || !e->name) {
		entry_done(e);
		return NULL;
	}
	b->n++;
	return e;
}

/* The claim has no devices of this machine any more: its lease may be dropped. */
static void leave(struct agent_binding *b, struct entry *e)
{
	const struct agent_claim_name of = { e->uid, e->ns, e->name };

	agent_upkeep_look(b->parts.upkeep, &of);
	entry_done(e);
	*e = b->entries[--b->n];
	b->left_out = false;
}

/* --- the watch ------------------------------------------------------------ */

static void seen(void *ctx, struct json_object *object, bool gone)
{
	struct agent_binding *b = ctx;
	enum agent_conditions_state state =
		agent_conditions_read(object, agent_prepare_pool(b->parts.prepare));
	struct entry *e = find(b, stow_kube_text(object, "metadata.uid"));

	if (gone || state == AGENT_CLAIM_ELSEWHERE) {
		if (e)
			leave(b, e);
		return;
	}
	if (!e)
		e = add(b, object);
	if (!e)
		return;
	e->listed = true;
	/* A refusal is tried again later, not because it was noted. */
	if (!e->due || state != AGENT_CLAIM_REFUSED)
		e->at = 0;
	e->due = state != AGENT_CLAIM_HERE;
}

static void begin(void *ctx)
{
	struct agent_binding *b = ctx;

	for (size_t i = 0; i < b->n; i++)
		b->entries[i].listed = false;
}

static void listed(void *ctx)
{
	struct agent_binding *b = ctx;

	for (size_t i = b->n; i > 0; i--)
		if (!b->entries[i - 1].listed)
			leave(b, &b->entries[i - 1]);
}

/* --- preparing ------------------------------------------------------------ */

/* Log each failure of a claim once. */
static void log_failure(struct entry *e, const struct stow_err *err)
{
	uint64_t hash = stow_hash_string(err->msg);

	if (e->logged != hash)
		stow_log(STOW_LOG_WARNING, "a claim cannot be prepared before its pod is bound",
			 stow_text("uid", e->uid), stow_text("namespace", e->ns),
			 stow_text("name", e->name), stow_why(err));
	e->logged = hash;
}

static void prepare(struct agent_binding *b, struct entry *e)
{
	const struct agent_claim_name of = { e->uid, e->ns, e->name };
	struct agent_prepared prepared = { 0 };
	struct stow_err err = { 0 };
	int r = agent_prepare_before_binding(b->parts.prepare, &of, WITHIN, &prepared, &err);

	if (r == 0) {
		atomic_fetch_add(&b->prepared, 1);
		e->due = false;
		e->failures = 0;
		e->logged = 0;
		agent_upkeep_note(b->parts.upkeep, &of, NULL);
		stow_log(STOW_LOG_INFO, "prepared a claim before its pod is bound",
			 stow_text("uid", of.uid), stow_text("namespace", of.ns),
			 stow_text("name", of.name));
	} else if (prepared.refused && r != -EEXIST) {
		atomic_fetch_add(&b->refused, 1);
		e->at = stow_clock_boot() + AGAIN;
		agent_upkeep_note(b->parts.upkeep, &of, err.msg);
		log_failure(e, &err);
	} else {
		/* -EEXIST: the lease of an earlier allocation, which is dropped first. */
		atomic_fetch_add(&b->failures, 1);
		e->at = stow_clock_boot() + stow_kube_backoff(++e->failures, FIRST, MOST);
		log_failure(e, &err);
	}
	agent_upkeep_look(b->parts.upkeep, &of);
}

/* Prepare one of the claims that are due. Return the ns until one is. */
static uint64_t prepare_next(struct agent_binding *b)
{
	uint64_t now = stow_clock_boot(), next = IDLE;
	struct entry *first = NULL;

	for (size_t i = 0; i < b->n; i++) {
		struct entry *e = &b->entries[i];

		if (e->due && (!first || e->at < first->at))
			first = e;
	}
	if (first && first->at <= now) {
		prepare(b, first);
		return 0; /* look at the watch between two claims */
	}
	if (first)
		next = STOW_MIN(next, first->at - now);
	return next;
}

/* --- the thread ----------------------------------------------------------- */

static void set_works(struct agent_binding *b, bool works)
{
	if (b->works != works)
		b->parts.works(b->parts.ctx, works);
	b->works = works;
}

/* Note how the watch is. Log each change, not each attempt. */
static void conclude(struct agent_binding *b, int64_t r, const struct stow_err *err)
{
	if (r < 0) {
		atomic_fetch_add(&b->failures, 1);
		if (r == -EPERM || r == -EACCES)
			set_works(b, false);
		if (b->why != agent_access_kind((int)r))
			stow_log(STOW_LOG_WARNING, "claims cannot be watched", stow_why(err),
				 stow_text("consequence",
					   b->works ? "their pods wait"
						    : "they are prepared after their pods are "
						      "bound"));
		b->why = agent_access_kind((int)r);
		return;
	}
	if (!b->follow.watch || b->follow.ended ||
	    stow_clock_elapsed(b->follow.began, stow_clock_boot()) < PROOF)
		return;
	if (b->why)
		stow_log(STOW_LOG_NOTICE, "claims are watched again");
	b->why = 0;
	set_works(b, true);
}

static void *work(void *ctx)
{
	struct agent_binding *b = ctx;
	uint64_t wait = 0;

	while (stow_kube_wait(b->kube, wait) >= 0) {
		struct stow_err err = { 0 };
		int64_t next = stow_kube_follow_look(&b->follow, &err);

		if (next == -ECANCELED)
			continue; /* stow_kube_wait() says so, too */
		conclude(b, next, &err);
		wait = prepare_next(b);
		wait = STOW_MIN(wait, next < 0 ? FIRST : (uint64_t)next);
		if (b->why || !b->works)
			wait = STOW_MIN(wait, PROOF);
	}
	return NULL;
}

/* --- making and freeing --------------------------------------------------- */

int agent_binding_new(const struct agent_binding_parts *parts, struct agent_binding **ret,
		      struct stow_err *err)
{
	struct agent_binding *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return stow_err_set(err, ENOMEM, "out of memory");
	b->parts = *parts;
	b->parts.config = NULL;
	b->works = true; /* until the API server forbids it */
	b->entries = calloc(CLAIMS_MAX, sizeof(*b->entries));
	r = b->entries ? 0 : stow_err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = agent_access_client(parts->root, parts->config->kubeconfig, AGENT_LISTS_MAX,
					&b->kube, err);
	b->follow = (struct stow_kube_follow){ .kube = b->kube,
					       .collection = CLAIMS,
					       .seen = seen,
					       .begin = begin,
					       .listed = listed,
					       .ctx = b };
	if (r == 0) {
		r = pthread_create(&b->thread, NULL, work, b);
		b->started = r == 0;
		r = r ? stow_err_sys(err, r, "binding-conditions: cannot start a thread") : 0;
	}
	if (r < 0) {
		agent_binding_free(b);
		return r;
	}
	*ret = b;
	return 0;
}

void agent_binding_free(struct agent_binding *b)
{
	if (!b)
		return;
	if (b->started) {
		stow_kube_stop(b->kube);
		pthread_join(b->thread, NULL);
	}
	stow_kube_follow_stop(&b->follow);
	stow_kube_free(b->kube);
	for (size_t i = 0; i < b->n; i++)
		entry_done(&b->entries[i]);
	free(b->entries);
	free(b);
}

void agent_binding_render(struct agent_binding *b, FILE *out)
{
	const struct {
		const char *name, *help;
		uint64_t value;
	} counters[] = {
		{ "numastow_agent_claims_prepared_before_binding_total",
		  "Claims that were prepared before their pods were bound.",
		  b ? atomic_load(&b->prepared) : 0 },
		{ "numastow_agent_claims_refused_before_binding_total",
		  "How often a claim was refused before its pod was bound.",
		  b ? atomic_load(&b->refused) : 0 },
		{ "numastow_agent_binding_failures_total",
		  "Failures to watch claims, or to prepare one before its pod was bound.",
		  b ? atomic_load(&b->failures) : 0 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(counters); i++) {
		stow_metric_head(out, counters[i].name, "counter", counters[i].help);
		stow_metric(out, counters[i].name, (double)counters[i].value, NULL);
	}
}
