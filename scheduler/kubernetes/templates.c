/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/templates.h"

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
#include "scheduler/kubernetes/pod.h"

#define API	"/apis/resource.k8s.io/v1"
#define REST	"resourceclaimtemplates"
#define FIRST	STOW_SECOND /* the wait after one failure ... */
#define MOST	(60 * STOW_SECOND)
#define IDLE	(600 * STOW_SECOND)
#define AT_ONCE 10 /* calls between two looks at the watches */

/* A template that there is. */
struct known {
	struct scheduler_name of;
	uint64_t round;	       /* of the last list that had it */
	uint64_t unused_since; /* boot time; 0: a pod uses it, or it was not looked at yet */
	uint64_t look_at;
};

/* A template that a pod waits for. */
struct waiting {
	struct scheduler_name pod; /* one of the pods */
	char name[64];
	struct json_object *spec; /* NULL: it cannot be made, for the reason: */
	char why[512];
	uint64_t not_before;
	unsigned int failures;
};

struct scheduler_templates {
	struct scheduler_work *work;
	struct stow_kube_follow pods, follow; /* follow: the templates */
	uint64_t unused;
	struct known **known; /* sorted by namespace and name */
	size_t n_known, room_known;
	uint64_t round;
	struct waiting waiting[SCHEDULER_WAITING_MAX];
	size_t n_waiting;
	bool left_out; /* there was no room for one that waits ... */
	bool gone;     /* ... and another one has left its place since */
	bool ready;    /* the templates were listed */
};

/* --- templates that there are --------------------------------------------- */

static int compare(const struct known *known, const char *ns, const char *name)
{
	int r = strcmp(known->of.ns, ns);

	return r ? r : strcmp(known->of.name, name);
}

/* Return where a template is, or where it belongs. */
static size_t place_of(const struct scheduler_templates *t, const char *ns, const char *name)
{
	size_t low = 0, high = t->n_known;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare(t->known[middle], ns, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct known *find_known(const struct scheduler_templates *t, const char *ns,
				const char *name)
{
	size_t at = place_of(t, ns, name);

	return at < t->n_known && compare(t->known[at], ns, name) == 0 ? t->known[at] : NULL;
}

static void remove_known(struct scheduler_templates *t, size_t at)
{
	free(t->known[at]);
	t->n_known--;
	memmove(&t->known[at], &t->known[at + 1], (t->n_known - at) * sizeof(t->known[0]));
}

static struct known *add_known(struct scheduler_templates *t, const struct scheduler_name *of)
{
	size_t at = place_of(t, of->ns, of->name);
	struct known *made;

	if (t->n_known == SCHEDULER_TEMPLATES_MAX)
		return NULL;
	if (t->n_known == t->room_known) {
		size_t room = t->room_known ? 2 * t->room_known : 64;
		struct known **grown = realloc(t->known, room * sizeof(struct known *));

		if (!grown)
			return NULL;
		t->known = grown;
		t->room_known = room;
	}
	made = calloc(1, sizeof(*made));
	if (!made)
		return NULL;
	made->of = *of;
	memmove(&t->known[at + 1], &t->known[at], (t->n_known - at) * sizeof(t->known[0]));
	t->known[at] = made;
	t->n_known++;
	return made;
}

static void on_template(void *ctx, struct json_object *object, bool gone)
{
	struct scheduler_templates *t = ctx;
	struct scheduler_name name;
	struct known *known;

	if (!scheduler_name_read(object, &name) || !scheduler_claim_is_named(name.name))
		return;
	known = find_known(t, name.ns, name.name);
	if (gone) {
		if (known)
			remove_known(t, place_of(t, name.ns, name.name));
		/* A pod may wait for it. */
		stow_kube_follow_again(&t->pods);
		return;
	}
	if (known && strcmp(known->of.uid, name.uid) != 0) {
		remove_known(t, place_of(t, name.ns, name.name));
		known = NULL;
	}
	if (!known)
		known = add_known(t, &name);
	if (!known)
		return;
	known->round = t->round;
	if (!known->look_at)
		known->look_at = stow_clock_boot() + STOW_MIN(t->unused, IDLE);
}

static void begin_templates(void *ctx)
{
	struct scheduler_templates *t = ctx;

	t->round++;
}

static void listed_templates(void *ctx)
{
	struct scheduler_templates *t = ctx;

	for (size_t i = t->n_known; i-- > 0;)
		if (t->known[i]->round != t->round) {
			remove_known(t, i);
			stow_kube_follow_again(&t->pods);
		}
	t->ready = true;
}

/* --- pods that wait ------------------------------------------------------- */

/* Find what a template is made of. A pod whose annotations are for another one is no hindrance. */
static struct waiting *find_waiting(struct scheduler_templates *t, const char *ns, const char *name)
{
	for (size_t i = 0; i < t->n_waiting; i++)
		if (t->waiting[i].spec && strcmp(t->waiting[i].pod.ns, ns) == 0 &&
		    strcmp(t->waiting[i].name, name) == 0)
			return &t->waiting[i];
	return NULL;
}

/* Move one out of the list. */
static struct waiting take_waiting(struct scheduler_templates *t, size_t at)
{
	struct waiting taken = t->waiting[at];

	t->waiting[at] = t->waiting[--t->n_waiting];
	return taken;
}

/* Return whether there is no room for one more of a namespace. One namespace has a part of the list
 * only: what is forbidden there, by a quota, waits for as long as its pods do. */
static bool is_full(const struct scheduler_templates *t, const char *ns)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_waiting; i++)
		n += strcmp(t->waiting[i].pod.ns, ns) == 0;
	return t->n_waiting == SCHEDULER_WAITING_MAX || n >= SCHEDULER_WAITING_OF_ONE;
}

/* Take it over into the list, or free it. */
static void put_waiting(struct scheduler_templates *t, struct waiting *waiting)
{
	struct waiting *there =
		waiting->spec ? find_waiting(t, waiting->pod.ns, waiting->name) : NULL;

	if (there) {
		there->failures = STOW_MAX(there->failures, waiting->failures);
		there->not_before = STOW_MAX(there->not_before, waiting->not_before);
	} else if (!is_full(t, waiting->pod.ns)) {
		t->waiting[t->n_waiting++] = *waiting;
		return;
	} else {
		t->left_out = true;
	}
	json_object_put(waiting->spec);
}

/* Return the name of the template with which the pod still waits for its claim; NULL: none. */
static const char *waits_for(struct json_object *pod)
{
	const char *phase = stow_kube_text(pod, "status.phase"), *name = NULL;
	struct json_object *list;
	size_t n;

	if ((phase[0] && strcmp(phase, "Pending") != 0) ||
	    stow_kube_text(pod, "metadata.deletionTimestamp")[0])
		return NULL;
	list = stow_kube_list_at(pod, "status.resourceClaimStatuses", &n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(stow_kube_text(json_object_array_get_idx(list, i), "name"),
			   SCHEDULER_CLAIM) == 0)
			return NULL;
	list = stow_kube_list_at(pod, "spec.resourceClaims", &n);
	for (size_t i = 0; i < n && !name; i++) {
		struct json_object *one = json_object_array_get_idx(list, i);

		if (strcmp(stow_kube_text(one, "name"), SCHEDULER_CLAIM) == 0)
			name = stow_kube_text(one, "resourceClaimTemplateName");
	}
	return name && scheduler_claim_is_named(name) ? name : NULL;
}

static void on_pod(void *ctx, struct json_object *object, bool gone)
{
	_cleanup_(scheduler_pod_done) struct scheduler_pod read = { 0 };
	struct scheduler_templates *t = ctx;
	struct waiting waiting = { 0 };
	struct stow_err err = { 0 };
	const char *name = gone ? NULL : waits_for(object);
	int r;

	if (!name || !scheduler_name_read(object, &waiting.pod) ||
	    find_known(t, waiting.pod.ns, name) || find_waiting(t, waiting.pod.ns, name))
		return;
	snprintf(waiting.name, sizeof(waiting.name), "%s", name);
	r = scheduler_pod_read(object, &read, &err);
	if (r > 0 && strcmp(read.template_name, name) == 0)
		waiting.spec = json_object_get(read.claim.spec);
	else
		snprintf(waiting.why, sizeof(waiting.why),
			 "the template %s of its claim cannot be made: its annotations %s", name,
			 r > 0	  ? "are for another one"
			 : r == 0 ? "ask for nothing"
				  : err.msg);
	put_waiting(t, &waiting);
}

/* --- making --------------------------------------------------------------- */

static struct json_object *make_template(const struct waiting *waiting)
{
	struct json_object *object = json_object_new_object();
	struct json_object *metadata = stow_kube_object_at(object, "metadata");

	if (stow_kube_put_text(object, "apiVersion", "resource.k8s.io/v1") &&
	    stow_kube_put_text(object, "kind", "ResourceClaimTemplate") &&
	    stow_kube_put_text(metadata, "name", waiting->name) &&
	    stow_kube_put_text(stow_kube_object_at(metadata, "labels"), SCHEDULER_MANAGED,
			       SCHEDULER_MANAGER) &&
	    stow_kube_put(object, "spec", json_object_get(waiting->spec)))
		return object;
	json_object_put(object);
	return NULL;
}

/* There is one of that name that is not known yet, or is not ours. */
static int check_stored(struct scheduler_templates *t, const struct waiting *waiting,
			const char *path, struct stow_err *err)
{
	_cleanup_json_ struct json_object *stored = NULL;
	int r = stow_kube_get(t->work->kube, path, waiting->name, &stored, err);

	if (r < 0)
		return r;
	if (scheduler_claim_same(waiting->spec, stow_kube_at(stored, "spec")))
		return 0;
	return stow_err_set(err, EEXIST,
			    "the template %s of its claim has another content than its name says; "
			    "delete it, so that it is made anew",
			    waiting->name);
}

static int make(struct scheduler_templates *t, const struct waiting *waiting, struct stow_err *err)
{
	_cleanup_free_ char *path = scheduler_work_path(API, waiting->pod.ns, REST);
	_cleanup_json_ struct json_object *object = NULL, *stored = NULL;
	int r;

	object = make_template(waiting);
	if (!path || !object)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = scheduler_work_leads(t->work, err);
	if (r == 0)
		r = stow_kube_create(t->work->kube, path, object, &stored, err);
	if (r == 0) {
		atomic_fetch_add(&t->work->templates_made, 1);
		stow_log(STOW_LOG_INFO, "a claim's template was made",
			 stow_text("namespace", waiting->pod.ns),
			 stow_text("template", waiting->name));
		/* The watch may be behind: another pod of it may come before. */
		on_template(t, stored, false);
	}
	return r == -EEXIST ? check_stored(t, waiting, path, err) : r;
}

/* Return whether a failure is to be told to the pod's author: waiting does not end it. */
static bool is_for_author(int r)
{
	return r == -EPERM || r == -EINVAL || r == -EEXIST || r == -E2BIG;
}

/* Return whether a pod still waits; after a failure, which may last. */
static bool still_waits(struct scheduler_templates *t, const struct waiting *waiting)
{
	_cleanup_free_ char *path = scheduler_work_path("/api/v1", waiting->pod.ns, "pods");
	_cleanup_json_ struct json_object *pod = NULL;
	const char *name;
	int r = path ? stow_kube_get(t->work->kube, path, waiting->pod.name, &pod, NULL) : 0;

	if (r == -ENOENT)
		return false;
	if (r < 0 || !pod)
		return true;
	name = waits_for(pod);
	return name && strcmp(name, waiting->name) == 0 &&
	       strcmp(stow_kube_text(pod, "metadata.uid"), waiting->pod.uid) == 0;
}

static void handle_waiting(struct scheduler_templates *t, size_t at)
{
	struct waiting waiting = take_waiting(t, at);
	struct stow_err err = { 0 };
	int r;

	if (!waiting.spec) {
		scheduler_work_event(t->work, &waiting.pod, "NoClaimTemplate", waiting.why);
		return;
	}
	if (waiting.failures && !still_waits(t, &waiting)) {
		t->left_out = t->gone = true; /* perhaps another pod waits for it */
		json_object_put(waiting.spec);
		return;
	}
	r = make(t, &waiting, &err);
	/* The namespace is gone, or there is the template now. */
	if (r == 0 || r == -ENOENT || r == -ECANCELED) {
		t->gone = true;
		json_object_put(waiting.spec);
		return;
	}
	atomic_fetch_add(&t->work->failures, 1);
	if (is_for_author(r))
		scheduler_work_event(t->work, &waiting.pod, "NoClaimTemplate", err.msg);
	else if (waiting.failures == 0)
		stow_log(STOW_LOG_WARNING, "a claim's template could not be made",
			 stow_text("namespace", waiting.pod.ns),
			 stow_text("template", waiting.name), stow_why(&err));
	waiting.not_before = stow_clock_boot() + stow_kube_backoff(++waiting.failures, FIRST, MOST);
	put_waiting(t, &waiting);
}

/* --- deleting ------------------------------------------------------------- */

static int on_user(void *ctx, struct json_object *pod)
{
	const char *phase = stow_kube_text(pod, "status.phase");
	bool *used = ctx;

	*used = strcmp(phase, "Succeeded") != 0 && strcmp(phase, "Failed") != 0;
	return *used ? -ECANCELED : 0;
}

/* Return 1 when a pod uses a template, 0 when none does. */
static int is_used(struct scheduler_templates *t, const struct scheduler_name *of,
		   struct stow_err *err)
{
	_cleanup_free_ char *path = scheduler_work_path("/api/v1", of->ns, "pods");
	_cleanup_free_ char *version = NULL;
	char labels[96];
	struct stow_kube_select select = { .labels = labels, .page = SCHEDULER_PODS_PAGE };
	bool used = false;
	int r;

	if (!path)
		return stow_err_set(err, ENOMEM, "out of memory");
	snprintf(labels, sizeof(labels), SCHEDULER_LABEL "=%s",
		 of->name + strlen(SCHEDULER_TEMPLATE));
	r = stow_kube_list(t->work->kube, path, &select, on_user, &used, &version, err);
	return used ? 1 : r;
}

static int delete_template(struct scheduler_templates *t, const struct scheduler_name *of,
			   struct stow_err *err)
{
	_cleanup_free_ char *path = scheduler_work_path(API, of->ns, REST);
	int r = path ? scheduler_work_leads(t->work, err)
		     : stow_err_set(err, ENOMEM, "out of memory");

	if (r == 0)
		r = stow_kube_delete(t->work->kube, path, of->name, of->uid, err);
	if (r == 0) {
		atomic_fetch_add(&t->work->templates_deleted, 1);
		stow_log(STOW_LOG_INFO, "a claim's template was deleted: no pod uses it",
			 stow_text("namespace", of->ns), stow_text("template", of->name));
	}
	return r == -ENOENT || r == -EBUSY ? 0 : r;
}

/* Look whether a template is used. Events arrive during calls, and move what is known. */
static void handle_known(struct scheduler_templates *t, const struct known *at)
{
	struct known copy = *at, *known;
	uint64_t now = stow_clock_boot();
	struct stow_err err = { 0 };
	int r = is_used(t, &copy.of, &err);

	if (r > 0)
		copy.unused_since = 0;
	else if (r == 0 && !copy.unused_since)
		copy.unused_since = now;
	else if (r == 0 && stow_clock_elapsed(copy.unused_since, now) >= t->unused)
		r = delete_template(t, &copy.of, &err);
	if (r < 0 && r != -ECANCELED)
		atomic_fetch_add(&t->work->failures, 1);
	known = find_known(t, copy.of.ns, copy.of.name);
	if (!known)
		return;
	known->unused_since = copy.unused_since;
	known->look_at = now + STOW_MIN(t->unused, IDLE);
}

/* --- looking -------------------------------------------------------------- */

static uint64_t look_at(struct scheduler_templates *t, struct stow_kube_follow *follow,
			const char *what)
{
	struct stow_err err = { 0 };
	int64_t next = stow_kube_follow_look(follow, &err);

	if (next >= 0)
		return (uint64_t)next;
	atomic_fetch_add(&t->work->failures, 1);
	if (follow->failures == 1)
		stow_log(STOW_LOG_WARNING, what, stow_why(&err));
	return STOW_SECOND;
}

uint64_t scheduler_templates_look(struct scheduler_templates *t)
{
	uint64_t wait = look_at(t, &t->follow, "templates of claims cannot be followed"), now;
	int done = 0;

	if (!t->ready) /* otherwise each pod's template would be tried to be made */
		return wait;
	if (t->left_out && t->gone) {
		t->left_out = t->gone = false;
		stow_kube_follow_again(&t->pods);
	}
	wait = STOW_MIN(wait, look_at(t, &t->pods, "pods cannot be followed"));
	now = stow_clock_boot();
	for (size_t i = 0; i < t->n_waiting && done < AT_ONCE; i++)
		if (t->waiting[i].not_before > now) {
			wait = STOW_MIN(wait, t->waiting[i].not_before - now);
		} else if (scheduler_work_leads(t->work, NULL) == 0) {
			handle_waiting(t, i--);
			done++;
		}
	for (size_t i = 0; i < t->n_known && done < AT_ONCE; i++)
		if (t->known[i]->look_at > now) {
			wait = STOW_MIN(wait, t->known[i]->look_at - now);
		} else if (scheduler_work_leads(t->work, NULL) == 0) {
			handle_known(t, t->known[i]);
			done++;
		}
	return done ? 0 : wait;
}

/* --- making and freeing --------------------------------------------------- */

int scheduler_templates_new(struct scheduler_work *work, uint64_t unused,
			    struct scheduler_templates **ret, struct stow_err *err)
{
	struct scheduler_templates *t = calloc(1, sizeof(*t));

	if (!t)
		return stow_err_set(err, ENOMEM, "out of memory");
	t->work = work;
	t->unused = unused;
	t->follow = (struct stow_kube_follow){
		.kube = work->kube,
		.collection = API "/" REST,
		.select.labels = SCHEDULER_MANAGED "=" SCHEDULER_MANAGER,
		.seen = on_template,
		.begin = begin_templates,
		.listed = listed_templates,
		.ctx = t,
	};
	t->pods = (struct stow_kube_follow){
		.kube = work->kube,
		.collection = "/api/v1/pods",
		.select = { .labels = SCHEDULER_LABEL, .page = SCHEDULER_PODS_PAGE },
		.seen = on_pod,
		.ctx = t,
	};
	*ret = t;
	return 0;
}

void scheduler_templates_reset(struct scheduler_templates *t)
{
	stow_kube_follow_stop(&t->pods);
	stow_kube_follow_stop(&t->follow);
	t->pods.not_before = t->follow.not_before = 0;
	for (size_t i = 0; i < t->n_waiting; i++)
		json_object_put(t->waiting[i].spec);
	for (size_t i = 0; i < t->n_known; i++)
		free(t->known[i]);
	t->n_waiting = t->n_known = 0;
	t->left_out = t->gone = t->ready = false;
}

void scheduler_templates_free(struct scheduler_templates *t)
{
	if (!t)
		return;
	scheduler_templates_reset(t);
	free(t->known);
	free(t);
}
