/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/publish.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kubernetes/follow.h"
#include "agent/kubernetes/state.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "kube/json.h"
#include "kube/make.h"

#define SLICES	   "/apis/resource.k8s.io/v1/resourceslices"
#define STORED_MAX 1000
#define DROPPED	   (-ECHRNG) /* within this file: make the slices again, without what was dropped */

struct agent_publish {
	struct agent_follow follow;
	struct stow_root *root;
	bool lists;		     /* false also when the API server has refused them */
	bool taints;		     /* false: the API server has dropped them */
	bool wants_binding, binding; /* `binding`: false also when the API server has dropped it */
	struct agent_state state;

	struct json_object **stored; /* this machine's slices */
	size_t n_stored;
};

static const char *name_of(struct json_object *object)
{
	return stow_kube_text(object, "metadata.name");
}

/* --- what the API server has ---------------------------------------------- */

static void forget_stored(struct agent_publish *p)
{
	while (p->n_stored > 0)
		json_object_put(p->stored[--p->n_stored]);
	free(p->stored);
	p->stored = NULL;
}

static struct json_object **find_stored(const struct agent_publish *p, const char *name)
{
	for (size_t i = 0; i < p->n_stored; i++)
		if (strcmp(name_of(p->stored[i]), name) == 0)
			return &p->stored[i];
	return NULL;
}

static bool is_ours(const struct agent_publish *p, struct json_object *object)
{
	return strcmp(stow_kube_text(object, "spec.driver"), AGENT_DRIVER) == 0 &&
	       strcmp(stow_kube_text(object, "spec.nodeName"), p->follow.node) == 0;
}

/* Keep an object as it is stored now, instead of its former version. */
static int keep(struct agent_publish *p, struct json_object *object)
{
	struct json_object **at = find_stored(p, name_of(object));

	if (at) {
		json_object_put(*at);
		*at = json_object_get(object);
		return 0;
	}
	if (p->n_stored == STORED_MAX)
		return -E2BIG;
	at = STOW_APPEND(p->stored, p->n_stored);
	if (!at)
		return -ENOMEM;
	*at = json_object_get(object);
	return 0;
}

static void drop(struct agent_publish *p, const char *name)
{
	struct json_object **at = find_stored(p, name), *gone;

	if (!at)
		return;
	gone = *at;
	*at = p->stored[--p->n_stored];
	json_object_put(gone);
}

static int visit(void *ctx, struct json_object *object)
{
	struct agent_publish *p = ctx;

	return is_ours(p, object) && name_of(object)[0] ? keep(p, object) : -EBADMSG;
}

/* Handle an event: list again, unless this agent has made the change itself. */
static void on_event(void *ctx, enum stow_kube_event event, struct json_object *object)
{
	struct agent_publish *p = ctx;
	struct json_object **stored = find_stored(p, name_of(object));

	if (!is_ours(p, object))
		return;
	if (event == STOW_KUBE_DELETED
		    ? stored != NULL
		    : !stored || strcmp(stow_kube_text(*stored, "metadata.resourceVersion"),
					stow_kube_text(object, "metadata.resourceVersion")) != 0)
		p->follow.stale = true;
}

static void on_end(void *ctx, int r, const struct stow_err *why)
{
	struct agent_publish *p = ctx;

	agent_follow_ended(&p->follow, r, why);
}

static const struct stow_kube_watch_ops watch_ops = { .event = on_event, .ended = on_end };

/* List the slices anew, and watch them from there on. */
static int look(struct agent_publish *p, struct stow_err *err)
{
	_cleanup_free_ char *version = NULL;
	int r;

	forget_stored(p);
	r = agent_follow_list(&p->follow, visit, p, &version, err);
	if (r == -EBADMSG)
		return stow_err_wrap(err, r, "not this machine's slices");
	return r == 0 ? agent_follow_watch(&p->follow, version, &watch_ops, p, err) : r;
}

/* --- what it should have -------------------------------------------------- */

static int64_t generation_of(struct json_object *slice)
{
	return stow_kube_number(slice, "spec.pool.generation", 0);
}

/* Return whether the API server has exactly the wanted slices, all in one generation. */
static bool agrees(const struct agent_publish *p, struct json_object *wanted)
{
	size_t n = json_object_array_length(wanted);

	if (n != p->n_stored)
		return false;
	for (size_t i = 0; i < n; i++) {
		struct json_object *slice = json_object_array_get_idx(wanted, i);
		struct json_object **stored = find_stored(p, name_of(slice));

		if (!stored || agent_slice_compare(slice, *stored) != AGENT_SLICE_SAME ||
		    generation_of(*stored) != generation_of(p->stored[0]))
			return false;
	}
	return true;
}

static const char *find_since(void *ctx, uint32_t id)
{
	struct agent_publish *p = ctx;
	const char *since = "";

	for (size_t i = 0; i < p->n_stored && !since[0]; i++)
		since = agent_slice_since(p->stored[i], id);
	return since;
}

/* Choose a generation above all that were used, and remember it before it is used. */
static int next_generation(struct agent_publish *p, struct stow_err *err)
{
	int64_t last = p->state.generation;

	for (size_t i = 0; i < p->n_stored; i++)
		last = STOW_MAX(last, generation_of(p->stored[i]));
	p->state.generation = last < INT64_MAX - 1 ? last + 1 : 1;
	return agent_state_write(p->root, &p->state, err);
}

/* Check what a write has stored. */
static int check_stored(struct agent_publish *p, struct json_object *wanted,
			struct json_object *stored, struct stow_err *err)
{
	switch (agent_slice_compare(wanted, stored)) {
	case AGENT_SLICE_SAME:
		return 0;
	case AGENT_SLICE_NO_SHARING:
		return stow_err_set(err, EOPNOTSUPP,
				    "the API server drops allowMultipleAllocations or request "
				    "policies: turn on its feature gate DRAConsumableCapacity "
				    "(Kubernetes 1.35; on by default since 1.36)");
	case AGENT_SLICE_NO_TAINTS:
		p->taints = false;
		return DROPPED;
	case AGENT_SLICE_NO_BINDING:
		p->binding = false;
		return DROPPED;
	default:
		return stow_err_set(err, EBADMSG,
				    "%s: the API server has stored something else than was sent",
				    name_of(wanted));
	}
}

/* Try a slice without storing it, so that no pod gets devices of which the API server dropped a
 * part. */
static int try_first(struct agent_publish *p, struct json_object *wanted, struct stow_err *err)
{
	_cleanup_json_ struct json_object *answer = NULL;
	struct json_object *slice = json_object_array_get_idx(wanted, 0);
	int r;

	if (!slice || p->n_stored > 0)
		return 0;
	r = stow_kube_create(p->follow.kube, SLICES "?dryRun=All", slice, &answer, err);
	return r < 0 ? r : check_stored(p, slice, answer, err);
}

static int delete_slice(struct agent_publish *p, struct json_object *stored, struct stow_err *err)
{
	_cleanup_free_ char *name = strdup(name_of(stored));
	_cleanup_free_ char *uid = strdup(stow_kube_text(stored, "metadata.uid"));
	int r;

	if (!name || !uid)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = stow_kube_delete(p->follow.kube, SLICES, name, uid[0] ? uid : NULL, err);
	if (r < 0 && r != -ENOENT)
		return r;
	drop(p, name);
	return 0;
}

static int write_slice(struct agent_publish *p, struct json_object *slice, struct stow_err *err)
{
	_cleanup_json_ struct json_object *answer = NULL;
	struct json_object **stored = find_stored(p, name_of(slice));
	int r = 0;

	/* A pool's name cannot be changed. */
	if (stored && strcmp(stow_kube_text(*stored, "spec.pool.name"), p->follow.node) != 0) {
		r = delete_slice(p, *stored, err);
		stored = NULL;
	}
	if (r < 0)
		return r;
	/* A PUT has to name the version that it replaces. */
	if (stored && !stow_kube_put_text(stow_kube_at(slice, "metadata"), "resourceVersion",
					  stow_kube_text(*stored, "metadata.resourceVersion")))
		return stow_kube_no_memory(err);
	r = stored ? stow_kube_replace(p->follow.kube, SLICES, name_of(slice), slice, &answer, err)
		   : stow_kube_create(p->follow.kube, SLICES, slice, &answer, err);
	if (r < 0)
		return r;
	if (strcmp(name_of(answer), name_of(slice)) != 0)
		return stow_err_set(err, EBADMSG, "the API server answered with another slice");
	r = keep(p, answer);
	return r < 0 ? stow_err_set(err, -r, "out of memory") : check_stored(p, slice, answer, err);
}

static int delete_others(struct agent_publish *p, struct json_object *wanted, struct stow_err *err)
{
	size_t n = json_object_array_length(wanted);
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n_stored;) {
		bool found = false;

		for (size_t w = 0; w < n; w++)
			found |= strcmp(name_of(json_object_array_get_idx(wanted, w)),
					name_of(p->stored[i])) == 0;
		if (found)
			i++;
		else
			r = delete_slice(p, p->stored[i], err);
	}
	return r;
}

static int make_wanted(const struct agent_publish *p, const struct agent_slice_device *devices,
		       size_t n, struct json_object **ret, struct stow_err *err)
{
	struct agent_slice_settings settings = { .node = p->follow.node,
						 .node_uid = p->follow.uid,
						 .lists = p->lists,
						 .taints = p->taints,
						 .binding = p->binding,
						 .generation = p->state.generation };

	return agent_slice_make(&settings, devices, n, ret, err);
}

static int write_all(struct agent_publish *p, const struct agent_slice_device *devices, size_t n,
		     struct stow_err *err)
{
	_cleanup_json_ struct json_object *wanted = NULL;
	int r = next_generation(p, err);
	size_t count;

	if (r == 0)
		r = make_wanted(p, devices, n, &wanted, err);
	if (r == 0)
		r = try_first(p, wanted, err);
	count = r == 0 ? json_object_array_length(wanted) : 0;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = write_slice(p, json_object_array_get_idx(wanted, i), err);
	return r == 0 ? delete_others(p, wanted, err) : r;
}

static int delete_all(struct agent_publish *p, struct stow_err *err)
{
	int r = 0;

	while (r == 0 && p->n_stored > 0)
		r = delete_slice(p, p->stored[0], err);
	return r;
}

/* Write what differs. *ret_changed: whether anything was written. */
static int settle(struct agent_publish *p, const struct agent_slice_device *devices, size_t n,
		  bool *ret_changed, struct stow_err *err)
{
	int r;

	for (;;) {
		_cleanup_json_ struct json_object *wanted = NULL;

		r = make_wanted(p, devices, n, &wanted, err);
		if (r < 0 || agrees(p, wanted))
			return r;
		*ret_changed = true;
		r = write_all(p, devices, n, err);
		/* Try again, without what the API server refuses or drops. */
		if (r == -EINVAL && p->lists)
			p->lists = false;
		else if (r != DROPPED)
			return r;
	}
}

static void fill_done(const struct agent_publish *p, struct agent_publish_done *done)
{
	done->slices = p->n_stored;
	done->devices = 0;
	for (size_t i = 0; i < p->n_stored; i++) {
		size_t n;

		(void)stow_kube_list_at(p->stored[i], "spec.devices", &n);
		done->devices += n;
	}
	done->generation = p->n_stored ? generation_of(p->stored[0]) : 0;
	done->taints = p->taints;
	done->lists = p->lists;
	done->binding = p->binding;
}

int agent_publish_run(struct agent_publish *p, struct agent_slice_device *devices, size_t n,
		      struct agent_publish_done *ret, struct stow_err *err)
{
	struct stow_err ignored;
	bool fenced = false;
	int r = agent_follow_error(&p->follow, err);

	*ret = (struct agent_publish_done){ 0 };
	if (r < 0)
		return r;
	if (p->follow.stale)
		r = look(p, err);
	for (size_t i = 0; i < n; i++)
		fenced |= devices[i].fenced;
	if (!fenced)
		p->taints = true;
	if (r == 0 && agent_state_note(&p->state, devices, n, find_since, p, stow_clock_wall()))
		r = agent_state_write(p->root, &p->state, err);
	if (r == 0)
		r = settle(p, devices, n, &ret->changed, err);
	if (r == -EOPNOTSUPP && delete_all(p, &ignored) < 0)
		p->follow.stale = true;
	/* A failed write may have been stored all the same. */
	if (r < 0 && r != -EOPNOTSUPP)
		p->follow.stale = true;
	fill_done(p, ret);
	return r;
}

/* --- making and freeing --------------------------------------------------- */

int agent_publish_new(struct stow_kube *kube, struct stow_root *root, const char *node, bool lists,
		      struct agent_publish **ret, struct stow_err *err)
{
	struct agent_publish *p = calloc(1, sizeof(*p));

	if (!p)
		return stow_err_set(err, ENOMEM, "out of memory");
	p->follow.kube = kube;
	p->follow.collection = SLICES;
	p->root = root;
	p->lists = lists;
	p->taints = p->follow.stale = true;
	p->follow.node = strdup(node);
	if (asprintf(&p->follow.fields, "spec.driver=" AGENT_DRIVER ",spec.nodeName=%s", node) < 0)
		p->follow.fields = NULL;
	if (!p->follow.node || !p->follow.fields) {
		agent_publish_free(p);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	agent_state_read(root, &p->state);
	*ret = p;
	return 0;
}

void agent_publish_set_binding(struct agent_publish *p, bool binding)
{
	if (p->wants_binding != binding)
		p->binding = binding;
	p->wants_binding = binding;
}

void agent_publish_free(struct agent_publish *p)
{
	if (!p)
		return;
	forget_stored(p);
	agent_follow_done(&p->follow);
	free(p);
}
