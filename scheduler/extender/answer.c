/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/extender/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "kube/json.h"
#include "kube/make.h"
#include "scheduler/extender/requests.h"
#include "scheduler/kubernetes/body.h"
#include "scheduler/search/search.h"

#define AT_ONCE	  16 /* machines, before other threads may take the fleet's lock */
#define SCORE_MAX 10 /* MaxExtenderPriority */

/* The answer about one machine. */
struct verdict {
	const char *name; /* belongs to the request */
	bool fits;
	bool never;	/* removing pods from the machine does not help */
	uint64_t order; /* of those that fit; smaller is better */
	char *why;	/* why not */
};

struct question {
	const struct extender_options *options;
	struct json_object *args;
	struct extender_requests requests;
	bool asks;	     /* false: nothing is asked for, so all machines fit equally well */
	struct stow_err bad; /* why the annotations are invalid; code 0: they are valid */
	struct verdict *verdicts;
	size_t n;
};

static void question_done(struct question *q)
{
	for (size_t i = 0; q->verdicts && i < q->n; i++)
		free(q->verdicts[i].why);
	free(q->verdicts);
	extender_requests_done(&q->requests);
	json_object_put(q->args);
}

/* --- the request ---------------------------------------------------------- */

static int read_names(struct question *q, struct stow_err *err)
{
	size_t n;
	struct json_object *list = stow_kube_list_at(q->args, "NodeNames", &n);

	if (!list)
		return stow_err_set(err, EINVAL,
				    "NodeNames: missing; set nodeCacheCapable: true for the "
				    "extender");
	if (n > EXTENDER_NODES_MAX)
		return stow_err_set(err, E2BIG, "NodeNames: %zu machines; at most %d", n,
				    EXTENDER_NODES_MAX);
	q->verdicts = calloc(n + 1, sizeof(*q->verdicts));
	if (!q->verdicts)
		return stow_kube_no_memory(err);
	for (; q->n < n; q->n++) {
		struct json_object *name = json_object_array_get_idx(list, q->n);
		const char *text = json_object_is_type(name, json_type_string)
					   ? json_object_get_string(name)
					   : NULL;

		if (!text || strlen(text) != (size_t)json_object_get_string_len(name) ||
		    strlen(text) > STOW_NAME_MAX)
			return stow_err_set(err, EINVAL, "NodeNames[%zu]: is not a name", q->n);
		q->verdicts[q->n].name = text;
	}
	return 0;
}

static int read_question(struct question *q, const char *body, size_t len, struct stow_err *err)
{
	struct json_object *pod;
	int r = scheduler_body_parse(body, len, &q->args, err);

	if (r < 0)
		return r;
	pod = stow_kube_at(q->args, "Pod");
	if (!json_object_is_type(pod, json_type_object))
		return stow_err_set(err, EINVAL, "Pod: missing");
	r = read_names(q, err);
	if (r < 0)
		return r;
	r = extender_requests_read(pod, &q->requests, &q->bad);
	if (r == -ENOMEM)
		return stow_kube_no_memory(err);
	q->asks = r != 0;
	return 0;
}

/* --- the machines --------------------------------------------------------- */

static int refuse(struct verdict *v, bool never, const char *why, struct stow_err *err)
{
	v->never = never;
	v->why = strdup(why);
	return v->why ? 0 : stow_kube_no_memory(err);
}

/* Plan all requests of the pod on one machine. *ret_one: none needs several NUMA nodes. */
static int plan_all(const struct extender_requests *requests, struct stow_trial *trial,
		    bool *ret_one, struct stow_err *err)
{
	int r = 0;

	*ret_one = true;
	for (size_t i = 0; i < requests->n && r == 0; i++) {
		size_t n = 0;

		r = stow_trial_plan(trial, &requests->list[i], i >= requests->n_init, &n, err);
		*ret_one &= n <= 1;
	}
	return r;
}

/* Decide whether the pod fits on a machine. `yield`: let other threads take the lock first. */
static int check_machine(const struct question *q, struct verdict *v, bool yield,
			 struct stow_err *err)
{
	_cleanup_(stow_trial_free_ptr) struct stow_trial *trial = NULL;
	struct stow_fleet *fleet = q->options->fleet;
	const struct stow_machine *machine;
	uint64_t order_one = 0, order_many = 0;
	struct stow_err why = { 0 };
	bool one = false;
	int r;

	stow_lock_take(&fleet->lock);
	if (yield)
		stow_lock_yield(&fleet->lock);
	machine = stow_fleet_find(fleet, v->name);
	r = machine ? stow_trial_new(machine, &trial, &why) : -ENOENT;
	if (r == 0) {
		order_one = stow_search_order(fleet, machine, true, q->options->spread);
		order_many = stow_search_order(fleet, machine, false, q->options->spread);
	}
	stow_lock_give(&fleet->lock);
	/* What a reservation holds needs no room. */
	if (r == -ENOSPC && q->requests.n == 0)
		r = 0;
	if (r == -ENOENT)
		return refuse(v, true, "no agent of this machine is connected", err);
	if (r == 0)
		r = plan_all(&q->requests, trial, &one, &why);
	if (r == -ENOSPC)
		return refuse(v, false, why.msg, err);
	if (r < 0)
		return stow_err_move(err, r, &why);
	v->fits = true;
	v->order = one ? order_one : order_many;
	return 0;
}

static int check_machines(struct question *q, struct stow_err *err)
{
	uint64_t started = stow_clock_monotonic();
	char elsewhere[STOW_NAME_MAX + 64];
	int r = 0;

	snprintf(elsewhere, sizeof(elsewhere), "the pod's reservation is on node %s",
		 q->requests.machine);
	for (size_t i = 0; i < q->n && r == 0; i++) {
		struct verdict *v = &q->verdicts[i];

		if (!q->asks)
			v->fits = true;
		else if (q->bad.code)
			r = refuse(v, true, q->bad.msg, err);
		else if (q->requests.machine[0] && strcmp(q->requests.machine, v->name) != 0)
			r = refuse(v, true, elsewhere, err);
		else if (stow_clock_elapsed(started, stow_clock_monotonic()) >= q->options->within)
			r = stow_err_set(err, ETIMEDOUT,
					 "%zu of %zu machines were checked within %" PRIu64 " ms",
					 i, q->n, q->options->within / STOW_MILLISECOND);
		else
			r = check_machine(q, v, i % AT_ONCE == AT_ONCE - 1, err);
	}
	return r;
}

/* --- the answer ----------------------------------------------------------- */

static int to_text(struct json_object *object, bool made, char **ret, struct stow_err *err)
{
	const char *text =
		made ? json_object_to_json_string_ext(
			       object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
		     : NULL;

	*ret = text ? strdup(text) : NULL;
	return *ret ? 0 : stow_kube_no_memory(err);
}

/* Make an ExtenderFilterResult. */
static int show_filter(const struct question *q, const char *error, char **ret,
		       struct stow_err *err)
{
	_cleanup_json_ struct json_object *result = json_object_new_object();
	struct json_object *names = stow_kube_put_list(result, "NodeNames");
	struct json_object *failed = stow_kube_object_at(result, "FailedNodes");
	struct json_object *never = stow_kube_object_at(result, "FailedAndUnresolvableNodes");
	bool made = names && failed && never && stow_kube_put_text(result, "Error", error);

	for (size_t i = 0; made && i < q->n; i++) {
		const struct verdict *v = &q->verdicts[i];

		made = v->fits ? stow_kube_append_text(names, v->name)
			       : stow_kube_put_text(v->never ? never : failed, v->name, v->why);
	}
	return to_text(result, made, ret, err);
}

static int by_order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Score a machine by how many are better: the best have 10, the others 0 to 9. */
static int score(const struct question *q, const struct verdict *v, const uint64_t *orders,
		 size_t n)
{
	size_t low = 0, high = n;

	if (!q->asks || !v->fits)
		return 0;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (orders[middle] < v->order)
			low = middle + 1;
		else
			high = middle;
	}
	return low == 0 ? SCORE_MAX : SCORE_MAX - 1 - (int)(low * (SCORE_MAX - 1) / n);
}

/* Make a HostPriorityList. */
static int show_scores(const struct question *q, char **ret, struct stow_err *err)
{
	_cleanup_json_ struct json_object *result = json_object_new_array();
	_cleanup_free_ uint64_t *orders = calloc(q->n + 1, sizeof(*orders));
	size_t n = 0;
	bool made = result && orders;

	for (size_t i = 0; made && i < q->n; i++)
		if (q->verdicts[i].fits)
			orders[n++] = q->verdicts[i].order;
	if (made)
		qsort(orders, n, sizeof(*orders), by_order);
	for (size_t i = 0; made && i < q->n; i++) {
		const struct verdict *v = &q->verdicts[i];
		struct json_object *one = stow_kube_append_object(result);

		made = stow_kube_put_text(one, "Host", v->name) &&
		       stow_kube_put(one, "Score", json_object_new_int(score(q, v, orders, n)));
	}
	return to_text(result, made, ret, err);
}

int extender_answer(const struct extender_options *options, enum extender_verb verb,
		    const char *body, size_t len, char **ret, struct stow_err *err)
{
	_cleanup_(question_done) struct question q = { .options = options };
	int r = read_question(&q, body, len, err);

	if (r == 0)
		r = check_machines(&q, err);
	if (r < 0)
		return r;
	return verb == EXTENDER_FILTER ? show_filter(&q, "", ret, err) : show_scores(&q, ret, err);
}

char *extender_filter_failed(const char *why)
{
	static const struct question none;
	char *text;

	return show_filter(&none, why, &text, NULL) == 0 ? text : NULL;
}
