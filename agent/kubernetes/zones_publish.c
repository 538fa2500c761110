/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/zones_publish.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kubernetes/follow.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "kube/json.h"

#define OBJECTS "/apis/topology.node.k8s.io/v1alpha2/noderesourcetopologies"

struct agent_zones_publish {
	struct agent_follow follow;

	struct json_object *stored; /* NULL: there is none */
	bool gone;
	unsigned int events; /* so many were received */
};

static bool is_ours(const struct agent_zones_publish *p, struct json_object *object)
{
	return strcmp(stow_kube_text(object, "metadata.name"), p->follow.node) == 0;
}

static void keep(struct agent_zones_publish *p, struct json_object *object)
{
	json_object_put(p->stored);
	p->stored = json_object_get(object);
}

/* --- what the API server has ---------------------------------------------- */

static int visit(void *ctx, struct json_object *object)
{
	struct agent_zones_publish *p = ctx;

	if (!is_ours(p, object))
		return -EBADMSG;
	keep(p, object);
	return 0;
}

/* Keep the object of an event. Once it was deleted, its owner may be another one. */
static void on_event(void *ctx, enum stow_kube_event event, struct json_object *object)
{
	struct agent_zones_publish *p = ctx;

	if (!is_ours(p, object))
		return;
	p->events++;
	if (event == STOW_KUBE_DELETED) {
		p->gone = p->gone || p->stored;
		p->follow.stale = p->follow.stale || p->stored;
	} else {
		keep(p, object);
	}
}

static void on_end(void *ctx, int r, const struct stow_err *why)
{
	struct agent_zones_publish *p = ctx;

	agent_follow_ended(&p->follow, r, why);
}

static const struct stow_kube_watch_ops watch_ops = { .event = on_event, .ended = on_end };

/* List the object anew, and watch it from there on. */
static int look(struct agent_zones_publish *p, struct stow_err *err)
{
	_cleanup_free_ char *version = NULL;
	int r;

	keep(p, NULL);
	p->gone = false;
	r = agent_follow_list(&p->follow, visit, p, &version, err);
	if (r == -ENOENT)
		return stow_err_set(err, ENXIO,
				    "the API server does not know "
				    "topology.node.k8s.io/v1alpha2: install the "
				    "CustomResourceDefinition "
				    "noderesourcetopologies.topology.node.k8s.io");
	if (r == -EBADMSG)
		return stow_err_wrap(err, r, "not this machine's object");
	return r == 0 ? agent_follow_watch(&p->follow, version, &watch_ops, p, err) : r;
}

/* --- what it should have -------------------------------------------------- */

static int withdraw(struct agent_zones_publish *p, bool *ret_changed, struct stow_err *err)
{
	_cleanup_free_ char *uid = NULL;
	int r;

	if (!p->stored || !agent_zones_are_of(p->stored, AGENT_ZONES_MANAGER))
		return 0;
	uid = strdup(stow_kube_text(p->stored, "metadata.uid"));
	if (!uid)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = stow_kube_delete(p->follow.kube, OBJECTS, p->follow.node, uid[0] ? uid : NULL, err);
	if (r < 0 && r != -ENOENT)
		return r;
	keep(p, NULL);
	*ret_changed = true;
	return 0;
}

static int settle(struct agent_zones_publish *p, const struct agent_slice_device *devices, size_t n,
		  enum stow_policy policy, bool *ret_changed, struct stow_err *err)
{
	_cleanup_json_ struct json_object *wanted = NULL, *answer = NULL;
	struct agent_zones_settings settings = { .node = p->follow.node,
						 .node_uid = p->follow.uid,
						 .policy = policy };
	unsigned int events = p->events;
	int r = agent_zones_make(&settings, devices, n, &wanted, err);

	if (r < 0 || (p->stored && agent_zones_agree(wanted, p->stored)))
		return r;
	r = stow_kube_apply(p->follow.kube, OBJECTS, p->follow.node, AGENT_ZONES_MANAGER, wanted,
			    &answer, err);
	if (r < 0)
		return r;
	if (!is_ours(p, answer) || !agent_zones_agree(wanted, answer))
		return stow_err_set(err, EBADMSG,
				    "the API server has stored something else than was sent");
	/* An event that was received before the answer may be newer. */
	if (p->events != events && strcmp(stow_kube_text(p->stored, "metadata.resourceVersion"),
					  stow_kube_text(answer, "metadata.resourceVersion")) != 0)
		p->follow.stale = true;
	else
		keep(p, answer);
	*ret_changed = true;
	return 0;
}

int agent_zones_publish_run(struct agent_zones_publish *p, const struct agent_slice_device *devices,
			    size_t n, enum stow_policy policy, bool *ret_changed,
			    struct stow_err *err)
{
	int r = agent_follow_error(&p->follow, err);

	*ret_changed = false;
	if (r < 0)
		return r;
	if (p->follow.stale)
		r = look(p, err);
	if (r == 0)
		r = n > 0 ? settle(p, devices, n, policy, ret_changed, err)
			  : withdraw(p, ret_changed, err);
	/* Nothing to delete where there can be nothing. */
	if (r == -ENXIO && n == 0)
		return 0;
	/* A failed write may have been stored all the same. */
	if (r < 0)
		p->follow.stale = true;
	return r;
}

bool agent_zones_publish_is_gone(const struct agent_zones_publish *p)
{
	return p->gone;
}

/* --- making and freeing --------------------------------------------------- */

int agent_zones_publish_new(struct stow_kube *kube, const char *node,
			    struct agent_zones_publish **ret, struct stow_err *err)
{
	struct agent_zones_publish *p = calloc(1, sizeof(*p));

	if (!p)
		return stow_err_set(err, ENOMEM, "out of memory");
	p->follow.kube = kube;
	p->follow.collection = OBJECTS;
	p->follow.stale = true;
	p->follow.node = strdup(node);
	if (asprintf(&p->follow.fields, "metadata.name=%s", node) < 0)
		p->follow.fields = NULL;
	if (!p->follow.node || !p->follow.fields) {
		agent_zones_publish_free(p);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	*ret = p;
	return 0;
}

void agent_zones_publish_free(struct agent_zones_publish *p)
{
	if (!p)
		return;
	json_object_put(p->stored);
	agent_follow_done(&p->follow);
	free(p);
}
