// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>

#include "api.h"
#include "base/clock.h"
#include "kube/json.h"
#include "kube/kube.h"

#define MOST	512
#define CLIENTS 16
#define MOMENT	(10 * STOW_MILLISECOND) /* a wait ends sooner, because the clock is turned */
#define BEGIN	(1000 * STOW_SECOND)	/* of the boot-time clock */

/* A path in parts: of "/api/v1/namespaces/x/pods" these are "/api/v1/pods" and "x". */
struct path {
	char base[160], ns[64];
};

struct object {
	struct path in;
	char name[128];
	char *text; /* not shared: json-c's counters are not atomic */
};

struct event {
	enum stow_kube_event kind;
	struct object object;
};

struct stow_kube_watch {
	struct stow_kube_watch *next;
	struct stow_kube *kube;
	struct path of;
	char labels[128];
	const struct stow_kube_watch_ops *ops;
	void *ctx;
	size_t seen; /* events */
	char version[32];
};

struct stow_kube {
	struct stow_kube_watch *watches;
	bool stopped, woken, cut;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct object objects[MOST];
	struct event events[MOST];
	size_t n_objects, n_events, made;
	struct {
		char method[8];
		struct path of;
		int errnum;
		size_t calls;
	} calls[64];
	size_t n_calls;
	struct stow_kube *clients[CLIENTS];
	size_t n_clients;
} api = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
static atomic_uint_least64_t ahead;

/* --- the clock ------------------------------------------------------------ */

/* Weak: tests/unit/whole.c has another. */
__attribute__((weak)) int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	uint64_t now = BEGIN + atomic_load(&ahead);

	if (id != CLOCK_BOOTTIME)
		return (int)syscall(SYS_clock_gettime, id, ret);
	ret->tv_sec = (time_t)(now / STOW_SECOND);
	ret->tv_nsec = (long)(now % STOW_SECOND);
	return 0;
}

void api_turn(uint64_t ns)
{
	atomic_fetch_add(&ahead, ns);
}

/* --- objects -------------------------------------------------------------- */

static struct path path_of(const char *collection)
{
	static const char mark[] = "/namespaces/";
	const char *at = strstr(collection, mark), *ns, *rest;
	struct path ret = { "", "" };

	if (!at) {
		snprintf(ret.base, sizeof(ret.base), "%s", collection);
		return ret;
	}
	ns = at + strlen(mark);
	rest = strchr(ns, '/');
	assert_non_null(rest);
	snprintf(ret.ns, sizeof(ret.ns), "%.*s", (int)(rest - ns), ns);
	snprintf(ret.base, sizeof(ret.base), "%.*s%s", (int)(at - collection), collection, rest);
	return ret;
}

static bool is_in(const struct object *object, const struct path *of)
{
	return strcmp(object->in.base, of->base) == 0 &&
	       (!of->ns[0] || strcmp(object->in.ns, of->ns) == 0);
}

static struct object *find(const struct path *in, const char *name)
{
	for (size_t i = 0; i < api.n_objects; i++)
		if (is_in(&api.objects[i], in) && strcmp(api.objects[i].name, name) == 0)
			return &api.objects[i];
	return NULL;
}

static void emit(enum stow_kube_event kind, const struct object *object)
{
	struct event *event = &api.events[api.n_events++];

	assert_true(api.n_events < MOST);
	event->kind = kind;
	event->object = *object;
	event->object.text = strdup(object->text);
	pthread_cond_broadcast(&api.changed);
}

static void add_text(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value));
}

/* Store an object, with the lock. */
static struct object *store(const struct path *in, const char *name, struct json_object *object)
{
	struct object *at = find(in, name);
	struct json_object *metadata = stow_kube_at(object, "metadata");
	bool fresh = !at;
	char text[32];

	if (!metadata) {
		metadata = json_object_new_object();
		json_object_object_add(object, "metadata", metadata);
	}
	if (fresh) {
		assert_true(api.n_objects < MOST);
		at = &api.objects[api.n_objects++];
		*at = (struct object){ .in = *in };
		snprintf(at->name, sizeof(at->name), "%s", name);
	}
	add_text(metadata, "name", name);
	add_text(metadata, "namespace", in->ns);
	if (!stow_kube_text(metadata, "uid")[0]) {
		snprintf(text, sizeof(text), "uid-%zu", ++api.made);
		add_text(metadata, "uid", text);
	}
	snprintf(text, sizeof(text), "%zu", api.n_events + 1);
	add_text(metadata, "resourceVersion", text);
	free(at->text);
	at->text = strdup(json_object_to_json_string(object));
	emit(fresh ? STOW_KUBE_ADDED : STOW_KUBE_MODIFIED, at);
	return at;
}

static void drop(struct object *at)
{
	emit(STOW_KUBE_DELETED, at);
	free(at->text);
	*at = api.objects[--api.n_objects];
}

void api_reset(void)
{
	pthread_mutex_lock(&api.lock);
	while (api.n_objects > 0)
		free(api.objects[--api.n_objects].text);
	while (api.n_events > 0)
		free(api.events[--api.n_events].object.text);
	api.made = api.n_calls = api.n_clients = 0;
	pthread_mutex_unlock(&api.lock);
	atomic_store(&ahead, 0);
}

void api_set(const char *collection, const char *name, struct json_object *object)
{
	struct path in = path_of(collection);

	pthread_mutex_lock(&api.lock);
	store(&in, name, object);
	pthread_mutex_unlock(&api.lock);
	json_object_put(object);
}

void api_remove(const char *collection, const char *name)
{
	struct path in = path_of(collection);
	struct object *at;

	pthread_mutex_lock(&api.lock);
	at = find(&in, name);
	assert_non_null(at);
	drop(at);
	pthread_mutex_unlock(&api.lock);
}

struct json_object *api_get(const char *collection, const char *name)
{
	struct path in = path_of(collection);
	struct json_object *ret = NULL;
	struct object *at;

	pthread_mutex_lock(&api.lock);
	at = find(&in, name);
	if (at)
		ret = json_tokener_parse(at->text);
	pthread_mutex_unlock(&api.lock);
	return ret;
}

bool api_has(const char *collection, const char *name)
{
	struct path in = path_of(collection);

	return LOCKED(&api.lock, find(&in, name) != NULL);
}

size_t api_count(const char *collection)
{
	struct path in = path_of(collection);
	size_t n = 0;

	pthread_mutex_lock(&api.lock);
	for (size_t i = 0; i < api.n_objects; i++)
		n += is_in(&api.objects[i], &in);
	pthread_mutex_unlock(&api.lock);
	return n;
}

size_t api_count_with(const char *collection, const char *key, const char *value)
{
	struct path in = path_of(collection);
	size_t n = 0;

	pthread_mutex_lock(&api.lock);
	for (size_t i = 0; i < api.n_objects; i++) {
		struct json_object *object = json_tokener_parse(api.objects[i].text);

		n += is_in(&api.objects[i], &in) && strcmp(stow_kube_text(object, key), value) == 0;
		json_object_put(object);
	}
	pthread_mutex_unlock(&api.lock);
	return n;
}

/* --- faults and counts ---------------------------------------------------- */

/* Find the entry of such calls, with the lock. */
static size_t entry_of(const char *method, const struct path *of)
{
	size_t i = 0;

	while (i < api.n_calls && (strcmp(api.calls[i].method, method) != 0 ||
				   strcmp(api.calls[i].of.base, of->base) != 0 ||
				   strcmp(api.calls[i].of.ns, of->ns) != 0))
		i++;
	assert_true(i < sizeof(api.calls) / sizeof(api.calls[0]));
	if (i == api.n_calls) {
		snprintf(api.calls[i].method, sizeof(api.calls[i].method), "%s", method);
		api.calls[i].of = *of;
		api.calls[i].errnum = 0;
		api.calls[i].calls = 0;
		api.n_calls++;
	}
	return i;
}

void api_fail(const char *method, const char *collection, int errnum)
{
	struct path of = path_of(collection);

	pthread_mutex_lock(&api.lock);
	api.calls[entry_of(method, &of)].errnum = errnum;
	pthread_mutex_unlock(&api.lock);
}

size_t api_calls(const char *method, const char *collection)
{
	struct path of = path_of(collection);

	return LOCKED(&api.lock, api.calls[entry_of(method, &of)].calls);
}

void api_cut(size_t client, bool cut)
{
	pthread_mutex_lock(&api.lock);
	assert_true(client < api.n_clients);
	api.clients[client]->cut = cut;
	pthread_mutex_unlock(&api.lock);
}

/* --- clients and watches -------------------------------------------------- */

int __wrap_stow_kube_new(const struct stow_kube_options *options, struct stow_kube **ret,
			 struct stow_err *err);
void __wrap_stow_kube_free(struct stow_kube *kube);
void __wrap_stow_kube_set_times(struct stow_kube *kube, uint64_t timeout, uint64_t patience);
void __wrap_stow_kube_stop(struct stow_kube *kube);
void __wrap_stow_kube_wake(struct stow_kube *kube);
int __wrap_stow_kube_wait(struct stow_kube *kube, uint64_t ns);
int __wrap_stow_kube_watch(struct stow_kube *kube, const char *collection,
			   const struct stow_kube_select *select, const char *version,
			   const struct stow_kube_watch_ops *ops, void *ctx,
			   struct stow_kube_watch **ret, struct stow_err *err);
const char *__wrap_stow_kube_watch_version(const struct stow_kube_watch *watch);
void __wrap_stow_kube_watch_free(struct stow_kube_watch *watch);

int __wrap_stow_kube_new(const struct stow_kube_options *options, struct stow_kube **ret,
			 struct stow_err *err)
{
	(void)options, (void)err;
	*ret = calloc(1, sizeof(**ret));
	assert_non_null(*ret);
	pthread_mutex_lock(&api.lock);
	assert_true(api.n_clients < CLIENTS);
	api.clients[api.n_clients++] = *ret;
	pthread_mutex_unlock(&api.lock);
	return 0;
}

void __wrap_stow_kube_free(struct stow_kube *kube)
{
	while (kube && kube->watches)
		__wrap_stow_kube_watch_free(kube->watches);
	free(kube);
}

void __wrap_stow_kube_set_times(struct stow_kube *kube, uint64_t timeout, uint64_t patience)
{
	(void)kube, (void)timeout, (void)patience;
}

void __wrap_stow_kube_stop(struct stow_kube *kube)
{
	pthread_mutex_lock(&api.lock);
	kube->stopped = true;
	pthread_cond_broadcast(&api.changed);
	pthread_mutex_unlock(&api.lock);
}

void __wrap_stow_kube_wake(struct stow_kube *kube)
{
	pthread_mutex_lock(&api.lock);
	kube->woken = true;
	pthread_cond_broadcast(&api.changed);
	pthread_mutex_unlock(&api.lock);
}

static bool has_labels(const char *labels, struct json_object *object)
{
	const char *value = strchr(labels, '=');
	struct json_object *at = stow_kube_at(object, "metadata.labels"), *found;
	char key[128];

	if (!labels[0])
		return true;
	snprintf(key, sizeof(key), "%.*s", (int)strcspn(labels, "="), labels);
	return at && json_object_object_get_ex(at, key, &found) &&
	       (!value || strcmp(json_object_get_string(found), value + 1) == 0);
}

/* Return the next event of a watch, with the lock; NULL: there is none yet. */
static struct json_object *next_event(struct stow_kube_watch *watch, enum stow_kube_event *ret)
{
	while (!watch->kube->cut && watch->seen < api.n_events) {
		struct event *event = &api.events[watch->seen++];
		struct json_object *object;

		if (!is_in(&event->object, &watch->of))
			continue;
		object = json_tokener_parse(event->object.text);
		*ret = event->kind;
		if (has_labels(watch->labels, object))
			return object;
		json_object_put(object);
	}
	return NULL;
}

/* Tell the client's watches what has happened. Return whether there was something. */
static bool progress(struct stow_kube *kube)
{
	bool any = false;

	for (struct stow_kube_watch *watch = kube->watches; watch; watch = watch->next) {
		enum stow_kube_event kind;
		struct json_object *object;

		while ((object = LOCKED(&api.lock, next_event(watch, &kind)))) {
			watch->ops->event(watch->ctx, kind, object);
			json_object_put(object);
			any = true;
		}
	}
	return any;
}

int __wrap_stow_kube_wait(struct stow_kube *kube, uint64_t ns)
{
	bool any = progress(kube);
	struct timespec at;
	int r;

	pthread_mutex_lock(&api.lock);
	if (!any && !kube->stopped && !kube->woken && ns > 0) {
		(void)syscall(SYS_clock_gettime, CLOCK_REALTIME, &at);
		at.tv_nsec += (long)(ns < MOMENT ? ns : MOMENT);
		at.tv_sec += at.tv_nsec / 1000000000;
		at.tv_nsec %= 1000000000;
		(void)pthread_cond_timedwait(&api.changed, &api.lock, &at);
	}
	r = kube->stopped ? -ECANCELED : kube->woken || any;
	kube->woken = false;
	pthread_mutex_unlock(&api.lock);
	return r;
}

int __wrap_stow_kube_watch(struct stow_kube *kube, const char *collection,
			   const struct stow_kube_select *select, const char *version,
			   const struct stow_kube_watch_ops *ops, void *ctx,
			   struct stow_kube_watch **ret, struct stow_err *err)
{
	struct stow_kube_watch *watch = calloc(1, sizeof(*watch));

	(void)err;
	assert_non_null(watch);
	*watch = (struct stow_kube_watch){ .next = kube->watches,
					   .kube = kube,
					   .of = path_of(collection),
					   .ops = ops,
					   .ctx = ctx,
					   .seen = strtoul(version, NULL, 10) };
	if (select && select->labels)
		snprintf(watch->labels, sizeof(watch->labels), "%s", select->labels);
	kube->watches = *ret = watch;
	return 0;
}

const char *__wrap_stow_kube_watch_version(const struct stow_kube_watch *watch)
{
	return watch->version;
}

void __wrap_stow_kube_watch_free(struct stow_kube_watch *watch)
{
	struct stow_kube_watch **at;

	if (!watch)
		return;
	for (at = &watch->kube->watches; *at != watch; at = &(*at)->next)
		;
	*at = watch->next;
	free(watch);
}

/* --- calls ---------------------------------------------------------------- */

int __wrap_stow_kube_get(struct stow_kube *kube, const char *collection, const char *name,
			 struct json_object **ret, struct stow_err *err);
int __wrap_stow_kube_create(struct stow_kube *kube, const char *collection,
			    struct json_object *object, struct json_object **ret,
			    struct stow_err *err);
int __wrap_stow_kube_replace(struct stow_kube *kube, const char *collection, const char *name,
			     struct json_object *object, struct json_object **ret,
			     struct stow_err *err);
int __wrap_stow_kube_delete(struct stow_kube *kube, const char *collection, const char *name,
			    const char *uid, struct stow_err *err);
int __wrap_stow_kube_list(struct stow_kube *kube, const char *collection,
			  const struct stow_kube_select *select,
			  int (*visit)(void *ctx, struct json_object *object), void *ctx,
			  char **ret_version, struct stow_err *err);

/* Begin a call: events of watches arrive, then it is counted, and may fail. With the lock, if it
 * returns 0. */
static int begin(struct stow_kube *kube, const char *method, const char *collection,
		 struct path *ret, struct stow_err *err)
{
	int errnum;
	size_t i;

	(void)progress(kube);
	*ret = path_of(collection);
	pthread_mutex_lock(&api.lock);
	i = entry_of(method, ret);
	api.calls[i].calls++;
	errnum = kube->stopped ? ECANCELED : kube->cut ? EHOSTUNREACH : api.calls[i].errnum;
	if (!errnum)
		return 0;
	pthread_mutex_unlock(&api.lock);
	return stow_err_set(err, errnum, "%s %s fails", method, collection);
}

static int end(int r, const char *method, const char *name, struct stow_err *err)
{
	pthread_mutex_unlock(&api.lock);
	return r ? stow_err_sys(err, r, "%s %s", method, name) : 0;
}

static void answer(const struct object *at, struct json_object **ret)
{
	if (ret)
		*ret = json_tokener_parse(at->text);
}

static char *uid_of(const struct object *at)
{
	struct json_object *object = json_tokener_parse(at->text);
	char *uid = strdup(stow_kube_text(object, "metadata.uid"));

	json_object_put(object);
	return uid;
}

int __wrap_stow_kube_get(struct stow_kube *kube, const char *collection, const char *name,
			 struct json_object **ret, struct stow_err *err)
{
	struct path in;
	struct object *at;
	int r = begin(kube, "GET", collection, &in, err);

	if (r < 0)
		return r;
	at = find(&in, name);
	if (at)
		answer(at, ret);
	return end(at ? 0 : ENOENT, "GET", name, err);
}

/* Evict a pod, of whose path the collection is a part: ".../pods/NAME/eviction". */
static int evict(const struct path *in, struct json_object *eviction)
{
	const char *wanted = stow_kube_text(eviction, "deleteOptions.preconditions.uid");
	const char *name = stow_kube_text(eviction, "metadata.name");
	struct path pods = { "/api/v1/pods", "" };
	struct object *at;
	char *uid;
	int r;

	snprintf(pods.ns, sizeof(pods.ns), "%s", in->ns);
	at = find(&pods, name);
	if (!at)
		return ENOENT;
	uid = uid_of(at);
	r = strcmp(uid, wanted) == 0 ? 0 : EBUSY;
	free(uid);
	if (r == 0)
		drop(at);
	return r;
}

int __wrap_stow_kube_create(struct stow_kube *kube, const char *collection,
			    struct json_object *object, struct json_object **ret,
			    struct stow_err *err)
{
	const char *name = stow_kube_text(object, "metadata.name");
	struct path in;
	int r = begin(kube, "POST", collection, &in, err);

	if (r < 0)
		return r;
	if (strstr(collection, "/eviction"))
		return end(evict(&in, object), "POST", name, err);
	if (find(&in, name))
		return end(EEXIST, "POST", name, err);
	object = json_tokener_parse(json_object_to_json_string(object));
	answer(store(&in, name, object), ret);
	json_object_put(object);
	return end(0, "POST", "", err);
}

int __wrap_stow_kube_replace(struct stow_kube *kube, const char *collection, const char *name,
			     struct json_object *object, struct json_object **ret,
			     struct stow_err *err)
{
	const char *wanted = stow_kube_text(object, "metadata.resourceVersion");
	struct json_object *stored;
	struct object *at;
	struct path in;
	int r = begin(kube, "PUT", collection, &in, err);

	if (r < 0)
		return r;
	at = find(&in, name);
	if (!at)
		return end(ENOENT, "PUT", name, err);
	stored = json_tokener_parse(at->text);
	r = wanted[0] && strcmp(wanted, stow_kube_text(stored, "metadata.resourceVersion")) != 0
		    ? EBUSY
		    : 0;
	json_object_put(stored);
	if (r)
		return end(r, "PUT", name, err);
	object = json_tokener_parse(json_object_to_json_string(object));
	answer(store(&in, name, object), ret);
	json_object_put(object);
	return end(0, "PUT", name, err);
}

int __wrap_stow_kube_delete(struct stow_kube *kube, const char *collection, const char *name,
			    const char *uid, struct stow_err *err)
{
	struct object *at;
	struct path in;
	int r = begin(kube, "DELETE", collection, &in, err);
	char *stored;

	if (r < 0)
		return r;
	at = find(&in, name);
	if (!at)
		return end(ENOENT, "DELETE", name, err);
	stored = uid_of(at);
	r = uid && strcmp(uid, stored) != 0 ? EBUSY : 0;
	free(stored);
	if (r == 0)
		drop(at);
	return end(r, "DELETE", name, err);
}

int __wrap_stow_kube_list(struct stow_kube *kube, const char *collection,
			  const struct stow_kube_select *select,
			  int (*visit)(void *ctx, struct json_object *object), void *ctx,
			  char **ret_version, struct stow_err *err)
{
	struct json_object *found[MOST];
	size_t n = 0, events;
	struct path of;
	int r = begin(kube, "LIST", collection, &of, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < api.n_objects; i++) {
		if (!is_in(&api.objects[i], &of))
			continue;
		found[n] = json_tokener_parse(api.objects[i].text);
		if (has_labels(select && select->labels ? select->labels : "", found[n]))
			n++;
		else
			json_object_put(found[n]);
	}
	events = api.n_events;
	pthread_mutex_unlock(&api.lock);
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = visit(ctx, found[i]);
		json_object_put(found[i]);
	}
	if (r < 0)
		return stow_err_set(err, -r, "the list was ended");
	assert_true(asprintf(ret_version, "%zu", events) > 0);
	return 0;
}
