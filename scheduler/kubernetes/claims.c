/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/claims.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "kube/json.h"
#include "kube/make.h"
#include "rpc/log.h"
#include "scheduler/kubernetes/names.h"

#define API	    "/apis/resource.k8s.io/v1"
#define PODS_MAX    256		       /* of one claim, as in Kubernetes */
#define DEVICES_MAX 64		       /* of one claim that are looked at; 32 can be allocated */
#define FIRST	    (5 * STOW_SECOND)  /* the wait after one failure ... */
#define MOST	    (60 * STOW_SECOND) /* ... and after many */
#define LOOK_AGAIN  (30 * STOW_SECOND) /* whether pods have gone */
#define AT_ONCE	    10		       /* claims and pods between two looks at the watches */
#define REFUSED_MAX (SCHEDULER_CLAIMS_MAX / 8) /* refused claims of one namespace */

struct entry {
	struct scheduler_name claim;
	struct scheduler_claim_wish wish;
	/* Boot time, when this process saw it: the time in the condition is of another machine's
	 * clock. */
	uint64_t refused_since;
	uint64_t not_before; /* boot time: when to look at it */
	unsigned int failures;
	unsigned long events; /* that were received about it */
};

struct scheduler_claims {
	struct scheduler_work *work;
	struct stow_kube_follow follow;
	uint64_t deadline;     /* ns */
	struct entry *entries; /* SCHEDULER_CLAIMS_MAX */
	size_t n;
	bool left_out;	   /* there was no room for a claim ... */
	bool gone;	   /* ... and another one has left its place since */
	unsigned int done; /* claims and pods since the watches were looked at */
};

/* --- conditions ----------------------------------------------------------- */

static bool same_text(struct json_object *a, struct json_object *b, const char *key)
{
	return strcmp(stow_kube_text(a, key), stow_kube_text(b, key)) == 0;
}

/* Return whether a device of status.devices is one that the claim was allocated. */
static bool is_allocated(struct json_object *claim, struct json_object *device)
{
	struct json_object *results;
	size_t n;

	results = stow_kube_list_at(claim, "status.allocation.devices.results", &n);
	for (size_t i = 0; i < n && i < DEVICES_MAX; i++) {
		struct json_object *one = json_object_array_get_idx(results, i);

		if (same_text(one, device, "driver") && same_text(one, device, "pool") &&
		    same_text(one, device, "device") && same_text(one, device, "shareID"))
			return true;
	}
	return false;
}

static void read_condition(struct json_object *condition, struct scheduler_claim_wish *ret)
{
	const char *type = stow_kube_text(condition, "type");
	const char *status = stow_kube_text(condition, "status");
	bool evict = strcmp(type, SCHEDULER_DRIVER "/Evict") == 0 && strcmp(status, "True") == 0;
	bool refused =
		strcmp(type, SCHEDULER_DRIVER "/Prepared") == 0 && strcmp(status, "False") == 0;

	if (!evict && !refused)
		return;
	ret->evict |= evict;
	ret->refused |= refused;
	snprintf(ret->message, sizeof(ret->message), "%s", stow_kube_text(condition, "message"));
}

void scheduler_claims_read(struct json_object *claim, struct scheduler_claim_wish *ret)
{
	struct json_object *devices, *conditions;
	size_t n, m;

	*ret = (struct scheduler_claim_wish){ 0 };
	devices = stow_kube_list_at(claim, "status.devices", &n);
	for (size_t i = 0; i < n && i < DEVICES_MAX; i++) {
		struct json_object *device = json_object_array_get_idx(devices, i);

		if (strcmp(stow_kube_text(device, "driver"), SCHEDULER_DRIVER) != 0 ||
		    !is_allocated(claim, device))
			continue;
		conditions = stow_kube_list_at(device, "conditions", &m);
		for (size_t k = 0; k < m && k < DEVICES_MAX; k++)
			read_condition(json_object_array_get_idx(conditions, k), ret);
	}
}

/* --- remembering ---------------------------------------------------------- */

static struct entry *find(struct scheduler_claims *claims, const char *uid)
{
	for (size_t i = 0; i < claims->n; i++)
		if (strcmp(claims->entries[i].claim.uid, uid) == 0)
			return &claims->entries[i];
	return NULL;
}

static void forget(struct scheduler_claims *claims, struct entry *entry)
{
	*entry = claims->entries[--claims->n];
}

/* Note a wish, new or changed. */
static void update(struct scheduler_claims *claims, struct entry *entry,
		   const struct scheduler_claim_wish *wish)
{
	bool fresh = (wish->evict && !entry->wish.evict) || (wish->refused && !entry->wish.refused);

	if (wish->refused && !entry->wish.refused)
		entry->refused_since = stow_clock_boot();
	entry->wish = *wish;
	if (fresh) {
		entry->failures = 0;
		entry->not_before = wish->evict ? 0 : entry->refused_since + claims->deadline;
	}
}

/* Make room for a claim. Claims whose pods are to be evicted take the place of refused ones: a
 * drain waits for them, and any user can make many claims that are refused. */
static bool make_room(struct scheduler_claims *claims, const char *ns,
		      const struct scheduler_claim_wish *wish)
{
	struct entry *refused = NULL;
	size_t n = 0;

	for (size_t i = 0; i < claims->n; i++)
		if (!claims->entries[i].wish.evict) {
			refused = &claims->entries[i];
			n += strcmp(refused->claim.ns, ns) == 0;
		}
	if (claims->n < SCHEDULER_CLAIMS_MAX && (wish->evict || n < REFUSED_MAX))
		return true;
	claims->left_out = true;
	if (!wish->evict || !refused)
		return false;
	forget(claims, refused);
	return true;
}

static void on_claim(void *ctx, struct json_object *object, bool gone)
{
	struct scheduler_claims *claims = ctx;
	struct scheduler_claim_wish wish;
	struct scheduler_name name;
	struct entry *entry;

	if (!scheduler_name_read(object, &name))
		return;
	scheduler_claims_read(object, &wish);
	entry = find(claims, name.uid);
	if (gone || (!wish.evict && !wish.refused)) {
		if (entry) {
			forget(claims, entry);
			claims->gone = true;
		}
		return;
	}
	if (!entry && !make_room(claims, name.ns, &wish))
		return;
	if (!entry) {
		entry = &claims->entries[claims->n++];
		*entry = (struct entry){ .claim = name };
	}
	entry->events++;
	update(claims, entry, &wish);
}

/* --- pods ----------------------------------------------------------------- */

/* Return whether a pod uses a claim: by its own name, or by what was generated of a template. */
static bool uses(struct json_object *pod, const char *claim)
{
	static const char *const lists[] = { "spec.resourceClaims",
					     "status.resourceClaimStatuses" };

	for (size_t k = 0; k < STOW_ARRAY_SIZE(lists); k++) {
		struct json_object *list;
		size_t n;

		list = stow_kube_list_at(pod, lists[k], &n);
		for (size_t i = 0; i < n; i++)
			if (strcmp(stow_kube_text(json_object_array_get_idx(list, i),
						  "resourceClaimName"),
				   claim) == 0)
				return true;
	}
	return false;
}

static bool is_owned(struct json_object *pod)
{
	struct json_object *owners;
	size_t n;

	owners = stow_kube_list_at(pod, "metadata.ownerReferences", &n);
	for (size_t i = 0; i < n; i++)
		if (stow_kube_is_true(json_object_array_get_idx(owners, i), "controller"))
			return true;
	return false;
}

static int evict(struct scheduler_claims *claims, const struct scheduler_name *pod,
		 const struct entry *entry, struct stow_err *err)
{
	_cleanup_json_ struct json_object *object = json_object_new_object();
	struct json_object *metadata = stow_kube_object_at(object, "metadata"), *options;
	_cleanup_free_ char *path = NULL;
	char rest[SCHEDULER_NAME_MAX + 32], text[640];
	int r;

	options = stow_kube_object_at(object, "deleteOptions");
	snprintf(rest, sizeof(rest), "pods/%s/eviction", pod->name);
	path = scheduler_work_path("/api/v1", pod->ns, rest);
	if (!path || !stow_kube_put_text(object, "apiVersion", "policy/v1") ||
	    !stow_kube_put_text(object, "kind", "Eviction") ||
	    !stow_kube_put_text(metadata, "name", pod->name) ||
	    !stow_kube_put_text(metadata, "namespace", pod->ns) ||
	    !stow_kube_put_text(stow_kube_object_at(options, "preconditions"), "uid", pod->uid))
		return stow_err_set(err, ENOMEM, "out of memory");
	r = scheduler_work_leads(claims->work, err);
	if (r == 0)
		r = stow_kube_create(claims->work->kube, path, object, NULL, err);
	if (r == 0) {
		atomic_fetch_add(&claims->work->evictions, 1);
		snprintf(text, sizeof(text), "evicted, because its memory is drained: %.500s",
			 entry->wish.message);
		scheduler_work_event(claims->work, pod, "MemoryDrain", text);
	} else if (r == -EAGAIN) {
		atomic_fetch_add(&claims->work->evictions_blocked, 1);
		snprintf(text, sizeof(text),
			 "its memory is drained, but it cannot be evicted yet: %.400s",
			 err ? err->msg : "");
		scheduler_work_event(claims->work, pod, "EvictionBlocked", text);
	}
	/* Gone, or another pod of its name. */
	return r == -ENOENT || r == -EBUSY ? 0 : r;
}

/* Delete a pod that cannot start here, so that its controller makes another one. */
static int place_anew(struct scheduler_claims *claims, struct json_object *object,
		      const struct scheduler_name *pod, const struct entry *entry,
		      struct stow_err *err)
{
	_cleanup_free_ char *path = scheduler_work_path("/api/v1", pod->ns, "pods");
	char text[640];
	int r;

	if (!is_owned(object)) {
		snprintf(text, sizeof(text),
			 "its claim is refused on its machine, and it has no controller that "
			 "would replace it: delete it, and create it again: %.400s",
			 entry->wish.message);
		scheduler_work_event(claims->work, pod, "ClaimRefused", text);
		return 0;
	}
	if (!path)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = scheduler_work_leads(claims->work, err);
	if (r == 0)
		r = stow_kube_delete(claims->work->kube, path, pod->name, pod->uid, err);
	if (r == 0) {
		atomic_fetch_add(&claims->work->pods_deleted, 1);
		snprintf(text, sizeof(text),
			 "deleted, so that its controller replaces it: its claim is refused on its "
			 "machine: %.500s",
			 entry->wish.message);
		scheduler_work_event(claims->work, pod, "ClaimRefused", text);
	}
	return r == -ENOENT || r == -EBUSY ? 0 : r;
}

/* Handle one entry of status.reservedFor. */
static int handle_pod(struct scheduler_claims *claims, struct json_object *consumer,
		      const struct entry *entry, bool refused, struct stow_err *err)
{
	_cleanup_json_ struct json_object *object = NULL;
	const char *name = stow_kube_text(consumer, "name");
	_cleanup_free_ char *path = scheduler_work_path("/api/v1", entry->claim.ns, "pods");
	struct scheduler_name pod;
	int r;

	claims->done++;
	if (!path)
		return stow_err_set(err, ENOMEM, "out of memory");
	if (strcmp(stow_kube_text(consumer, "resource"), "pods") != 0 ||
	    stow_kube_text(consumer, "apiGroup")[0] || !scheduler_name_is_valid(name))
		return 0;
	r = stow_kube_get(claims->work->kube, path, name, &object, err);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	if (!scheduler_name_read(object, &pod) || strcmp(pod.name, name) != 0 ||
	    strcmp(pod.ns, entry->claim.ns) != 0 ||
	    strcmp(pod.uid, stow_kube_text(consumer, "uid")) != 0 ||
	    !uses(object, entry->claim.name) ||
	    stow_kube_text(object, "metadata.deletionTimestamp")[0])
		return 0;
	if (entry->wish.evict)
		return evict(claims, &pod, entry, err);
	/* A pod that is not bound yet is kube-scheduler's, which places it anew. */
	if (refused && stow_kube_text(object, "spec.nodeName")[0] &&
	    strcmp(stow_kube_text(object, "status.phase"), "Pending") == 0)
		return place_anew(claims, object, &pod, entry, err);
	return 0;
}

/* --- claims --------------------------------------------------------------- */

/* Read the claim again, and handle its pods. Return 0 when all of them are handled for now. */
static int handle(struct scheduler_claims *claims, struct entry *entry, struct stow_err *err)
{
	_cleanup_free_ char *path = scheduler_work_path(API, entry->claim.ns, "resourceclaims");
	_cleanup_json_ struct json_object *object = NULL;
	struct scheduler_claim_wish wish;
	struct json_object *list;
	struct stow_first first = { .err = err };
	bool refused;
	size_t n;
	int r = path ? stow_kube_get(claims->work->kube, path, entry->claim.name, &object, err)
		     : stow_err_set(err, ENOMEM, "out of memory");

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT || strcmp(stow_kube_text(object, "metadata.uid"), entry->claim.uid) != 0) {
		entry->wish = (struct scheduler_claim_wish){ 0 };
		return 0;
	}
	scheduler_claims_read(object, &wish);
	update(claims, entry, &wish);
	refused = wish.refused &&
		  stow_clock_elapsed(entry->refused_since, stow_clock_boot()) >= claims->deadline;
	if (!wish.evict && !refused)
		return 0;
	list = stow_kube_list_at(object, "status.reservedFor", &n);
	for (size_t i = 0; i < n && i < PODS_MAX; i++) {
		struct stow_err why = { 0 }; /* of each pod: evict() puts it into an event */

		r = handle_pod(claims, json_object_array_get_idx(list, i), entry, refused, &why);
		if (r < 0 && first.code == 0) {
			first.code = r;
			stow_err_move(err, r, &why);
		}
		/* An API server that does not answer would not answer for the other pods. */
		if (r == -ECANCELED || r == -EHOSTUNREACH || r == -ETIMEDOUT)
			break;
	}
	return first.code;
}

/* Set when to look again. */
static void plan(struct scheduler_claims *claims, struct entry *entry, int r)
{
	uint64_t now = stow_clock_boot(), until;

	if (r < 0) {
		entry->not_before = now + stow_kube_backoff(++entry->failures, FIRST, MOST);
		return;
	}
	entry->failures = 0;
	until = stow_saturating_add(entry->refused_since, claims->deadline);
	entry->not_before = !entry->wish.evict && until > now ? until : now + LOOK_AGAIN;
}

/* Handle a claim that is due. Events arrive during calls, and move entries: work on a copy. */
static void handle_due(struct scheduler_claims *claims, struct entry *entry)
{
	struct entry copy = *entry;
	unsigned long events = copy.events;
	struct stow_err err = { 0 };
	int r;

	claims->done++;
	r = handle(claims, &copy, &err);

	if (r < 0 && r != -EAGAIN && r != -ECANCELED) {
		atomic_fetch_add(&claims->work->failures, 1);
		if (copy.failures == 0)
			stow_log(STOW_LOG_WARNING, "a claim's pods could not be moved",
				 stow_text("namespace", copy.claim.ns),
				 stow_text("claim", copy.claim.name), stow_why(&err));
	}
	entry = find(claims, copy.claim.uid);
	if (!entry)
		return;
	if (r == 0 && !copy.wish.evict && !copy.wish.refused && entry->events == events) {
		forget(claims, entry);
		claims->gone = true;
		return;
	}
	plan(claims, entry, r);
}

/* Find the claim that is due first, so that each has its turn however many there are. */
static struct entry *find_first(struct scheduler_claims *claims)
{
	struct entry *first = claims->n ? claims->entries : NULL;

	for (size_t i = 1; i < claims->n; i++)
		if (claims->entries[i].not_before < first->not_before)
			first = &claims->entries[i];
	return first;
}

uint64_t scheduler_claims_look(struct scheduler_claims *claims)
{
	struct stow_err err = { 0 };
	struct entry *first;
	uint64_t wait, now;
	int64_t next;

	if (claims->left_out && claims->gone) {
		claims->left_out = claims->gone = false;
		stow_kube_follow_again(&claims->follow);
	}
	next = stow_kube_follow_look(&claims->follow, &err);
	if (next < 0)
		atomic_fetch_add(&claims->work->failures, 1);
	if (next < 0 && claims->follow.failures == 1)
		stow_log(STOW_LOG_WARNING, "claims cannot be followed", stow_why(&err));
	wait = next < 0 ? STOW_SECOND : (uint64_t)next;
	now = stow_clock_boot();
	claims->done = 0;
	while (claims->done < AT_ONCE && (first = find_first(claims)) != NULL) {
		if (first->not_before > now)
			return claims->done ? 0 : STOW_MIN(wait, first->not_before - now);
		if (scheduler_work_leads(claims->work, NULL) < 0)
			break;
		handle_due(claims, first);
	}
	return claims->done ? 0 : wait;
}

/* --- making and freeing --------------------------------------------------- */

int scheduler_claims_new(struct scheduler_work *work, uint64_t deadline,
			 struct scheduler_claims **ret, struct stow_err *err)
{
	struct scheduler_claims *claims = calloc(1, sizeof(*claims));

	if (claims)
		claims->entries = calloc(SCHEDULER_CLAIMS_MAX, sizeof(*claims->entries));
	if (!claims || !claims->entries) {
		free(claims);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	claims->work = work;
	claims->deadline = deadline;
	claims->follow = (struct stow_kube_follow){ .kube = work->kube,
						    .collection = API "/resourceclaims",
						    .seen = on_claim,
						    .ctx = claims };
	*ret = claims;
	return 0;
}

void scheduler_claims_reset(struct scheduler_claims *claims)
{
	stow_kube_follow_stop(&claims->follow);
	claims->follow.not_before = 0;
	claims->n = 0;
	claims->left_out = claims->gone = false;
}

void scheduler_claims_free(struct scheduler_claims *claims)
{
	if (!claims)
		return;
	stow_kube_follow_stop(&claims->follow);
	free(claims->entries);
	free(claims);
}
