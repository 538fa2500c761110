// SPDX-License-Identifier: Apache-2.0
/* kubectl numastow explain. */
#include "cli/kubectl/explain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "cli/kubectl/kubectl.h"
#include "kube/json.h"

static const struct cli_usage usage = {
	.name = "explain",
	.arguments = "pod/NAME",
	.summary = "Show why a pod is pending: which machine lacks what, and what would fit",
	.options = "  --limit N             show at most N machines (5)\n" KUBECTL_HELP,
	.words = 1,
};

static int take_limit(const char *text, void *value, struct stow_err *err)
{
	uint64_t n;
	int r = stow_parse_u64(text, 100000, &n, err);

	if (r == 0)
		*(size_t *)value = n;
	return r;
}

/* Return how many capacities the machine's best NUMA node lacks, over all requests. */
static size_t least_missing(const struct kubectl_machine *machine,
			    const struct kubectl_wanted *wanted)
{
	size_t sum = 0;

	for (size_t i = 0; i < wanted->n; i++) {
		size_t least = KUBECTL_AMOUNTS;

		for (size_t d = 0; d < machine->n_devices; d++)
			for (size_t c = 0; c < wanted->requests[i]->n; c++) {
				struct kubectl_shortfall lack;

				(void)kubectl_find_shortfall(&machine->devices[d],
							     &wanted->requests[i]->choices[c],
							     &lack);
				least = STOW_MIN(least, lack.missing.n);
			}
		sum += least;
	}
	return sum;
}

/* Compare two machines: the pod is more likely to run on the lesser one. */
static int by_hope(const void *a, const void *b)
{
	static const int order[] = {
		[KUBECTL_FITS] = 0,    [KUBECTL_NOT_AT_ONCE] = 1, [KUBECTL_IN_SUM] = 2,
		[KUBECTL_TAINTED] = 3, [KUBECTL_LACKS] = 4,	  [KUBECTL_UNKNOWN] = 5,
	};
	const struct kubectl_judged *x = a, *y = b;

	if (x->verdict != y->verdict)
		return order[x->verdict] - order[y->verdict];
	if (x->least != y->least)
		return x->least < y->least ? -1 : 1;
	return strcmp(x->machine->name, y->machine->name);
}

/* Return the machine that the pod can run on, where that is decided; NULL: any. */
static const char *only_machine(const struct kubectl_pod *pod)
{
	if (pod->machine[0])
		return pod->machine;
	for (size_t i = 0; i < pod->n; i++) {
		struct json_object *result = kubectl_claim_result(&pod->claims[i], 0);

		if (result)
			return stow_kube_text(result, "pool");
	}
	return NULL;
}

static int judge_all(struct kubectl_explained *e)
{
	const char *only = only_machine(e->pod);

	e->judged = calloc(e->machines->n + 1, sizeof(*e->judged));
	if (!e->judged)
		return -ENOMEM;
	for (size_t i = 0; e->wanted->n && i < e->machines->n; i++) {
		struct kubectl_judged *j = &e->judged[e->n];

		j->machine = &e->machines->list[i];
		if (only && strcmp(only, j->machine->name) != 0)
			continue;
		j->verdict = kubectl_fit(j->machine, e->wanted, &j->device);
		j->least = least_missing(j->machine, e->wanted);
		e->n++;
	}
	if (e->n)
		qsort(e->judged, e->n, sizeof(*e->judged), by_hope);
	return 0;
}

static int explain(struct stow_kube *kube, const struct kubectl_options *o, const char *word,
		   size_t limit, struct stow_err *err)
{
	_cleanup_free_ struct kubectl_pod *pod = calloc(1, sizeof(*pod));
	struct kubectl_machines machines = { 0 };
	struct kubectl_wanted wanted;
	struct kubectl_explained e = {
		.pod = pod, .wanted = &wanted, .machines = &machines, .limit = limit
	};
	int r;

	if (!pod)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = kubectl_pod_read(kube, kubectl_namespace(o, kube), word, pod, err);
	if (r == 0) {
		kubectl_wanted_of(pod, &wanted);
		r = wanted.n ? kubectl_machines_read(kube, &machines, err) : 0;
	}
	if (r == 0 && machines.unknown.code)
		r = stow_err_wrap(&machines.unknown, -machines.unknown.code,
				  "what claims have is not known");
	if (r < 0 && machines.unknown.code)
		(void)stow_err_move(err, r, &machines.unknown);
	if (r == 0)
		r = judge_all(&e) < 0 ? stow_err_set(err, ENOMEM, "out of memory") : 0;
	if (r == 0 && o->json)
		r = kubectl_explain_json(&e) < 0 ? stow_err_set(err, ENOMEM, "out of memory") : 0;
	else if (r == 0)
		kubectl_explain_show(&e);
	free(e.judged);
	kubectl_machines_done(&machines);
	kubectl_pod_done(pod);
	return r;
}

int kubectl_explain(int argc, char **argv)
{
	struct kubectl_options o = { 0 };
	size_t limit = 5;
	const struct cli_option options[] = {
		{ "limit", .take = take_limit, .value = &limit },
		KUBECTL_OPTIONS(&o),
		{ 0 },
	};
	struct stow_kube *kube = NULL;
	struct stow_err err = { 0 };
	int r = cli_options(&usage, options, argc, argv);

	if (r >= 0)
		return r;
	if (optind == argc)
		return cli_wrong_usage(usage.name, "explain needs pod/NAME");
	r = kubectl_connect(&o, &kube, &err);
	if (r == 0)
		r = explain(kube, &o, argv[optind], limit, &err);
	stow_kube_free(kube);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}
