// SPDX-License-Identifier: Apache-2.0
#include "cli/kubectl/fit.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"

#define STEPS 20000 /* of the search on one machine: it tries all combinations, which may be many */

void kubectl_wanted_of(const struct kubectl_pod *pod, struct kubectl_wanted *ret)
{
	*ret = (struct kubectl_wanted){ 0 };
	for (size_t i = 0; i < pod->n; i++)
		for (size_t k = 0; !pod->claims[i].allocated && k < pod->claims[i].n; k++) {
			const struct kubectl_request *request = &pod->claims[i].requests[k];
			bool ours = false;

			for (size_t c = 0; c < request->n; c++)
				ours |= request->choices[c].ours && !request->choices[c].fault;
			if (!ours)
				continue;
			if (ret->n == STOW_ARRAY_SIZE(ret->requests))
				ret->more = true;
			else
				ret->requests[ret->n++] = request;
		}
}

/* --- one NUMA node -------------------------------------------------------- */

static bool tolerates(const struct kubectl_choice *choice, const struct kubectl_taint *taint)
{
	for (size_t i = 0; i < choice->n_tolerations; i++) {
		const struct kubectl_toleration *to = &choice->tolerations[i];

		if ((!*to->taint.key || strcmp(to->taint.key, taint->key) == 0) &&
		    (!*to->taint.effect || strcmp(to->taint.effect, taint->effect) == 0) &&
		    (to->exists || strcmp(to->taint.value, taint->value) == 0))
			return true;
	}
	return false;
}

/* Return whether one of its taints keeps a claim off a device. */
static bool keeps_off(const struct kubectl_device *device, const struct kubectl_choice *choice)
{
	for (size_t i = 0; i < device->n_taints; i++)
		if (strcmp(device->taints[i].effect, "None") != 0 &&
		    !tolerates(choice, &device->taints[i]))
			return true;
	return false;
}

/* Return the index of a capacity, or -1. */
static int index_of(const struct kubectl_device *device, const char *name)
{
	for (size_t i = 0; i < device->capacity.n; i++)
		if (strcmp(device->capacity.list[i].name, name) == 0)
			return (int)i;
	return -1;
}

bool kubectl_find_shortfall(const struct kubectl_device *device,
			    const struct kubectl_choice *choice, struct kubectl_shortfall *ret)
{
	*ret = (struct kubectl_shortfall){ .tainted = keeps_off(device, choice) };
	for (size_t i = 0; i < choice->amounts.n; i++) {
		const struct kubectl_amount *asked = &choice->amounts.list[i];
		int at = index_of(device, asked->name);
		uint64_t left = at < 0 ? 0 : kubectl_left(device, (size_t)at), value = asked->value;

		if (at >= 0)
			value = kubectl_round_up(value, device->capacity.list[at].step);
		/* kube-scheduler refuses a capacity that the device does not have, even if 0 of it
		 * is requested. */
		if (at >= 0 && value <= left)
			continue;
		ret->missing.list[ret->missing.n] = *asked;
		ret->missing.list[ret->missing.n++].step = left;
	}
	return ret->tainted || ret->missing.n > 0;
}

/* --- all requests on one machine ------------------------------------------ */

struct search {
	const struct kubectl_machine *machine;
	const struct kubectl_wanted *wanted;
	uint64_t (*taken)[KUBECTL_AMOUNTS]; /* by device, on top of what claims have */
	size_t steps;
	const struct kubectl_device *first;
};

/* Take what a choice asks for from the i-th device, or give it back. False: it is not there. */
static bool take(struct search *s, size_t i, const struct kubectl_choice *choice, bool back)
{
	const struct kubectl_device *device = &s->machine->devices[i];
	uint64_t after[KUBECTL_AMOUNTS];

	memcpy(after, s->taken[i], sizeof(after));
	if (!back && keeps_off(device, choice))
		return false;
	for (size_t a = 0; a < choice->amounts.n; a++) {
		int at = index_of(device, choice->amounts.list[a].name);
		uint64_t value;

		if (at < 0)
			return false;
		value = kubectl_round_up(choice->amounts.list[a].value,
					 device->capacity.list[at].step);
		if (back) {
			after[at] -= value;
			continue;
		}
		if (value > stow_saturating_sub(kubectl_left(device, (size_t)at), after[at]))
			return false;
		after[at] += value;
	}
	memcpy(s->taken[i], after, sizeof(after));
	return true;
}

static bool place(struct search *s, size_t request);

/* Place the rest of a choice's devices, from the `from`-th NUMA node on, then the next request. */
static bool place_choice(struct search *s, size_t request, const struct kubectl_choice *choice,
			 uint64_t left, size_t from)
{
	if (left == 0)
		return place(s, request + 1);
	for (size_t i = from; i < s->machine->n_devices; i++) {
		if (++s->steps > STEPS)
			return false;
		if (!take(s, i, choice, false))
			continue;
		if (place_choice(s, request, choice, left - 1, i)) {
			if (request == 0)
				s->first = &s->machine->devices[i];
			return true;
		}
		(void)take(s, i, choice, true);
	}
	return false;
}

static bool place(struct search *s, size_t request)
{
	const struct kubectl_request *r;

	if (request == s->wanted->n)
		return true;
	r = s->wanted->requests[request];
	for (size_t c = 0; c < r->n; c++)
		if (r->choices[c].ours && !r->choices[c].fault &&
		    place_choice(s, request, &r->choices[c], r->choices[c].count, 0))
			return true;
	return false;
}

/* --- why not -------------------------------------------------------------- */

/* Return whether all NUMA nodes together have what a choice asks for. */
static bool in_sum(const struct kubectl_machine *machine, const struct kubectl_choice *choice)
{
	for (size_t a = 0; a < choice->amounts.n; a++) {
		uint64_t sum = 0;

		for (size_t i = 0; i < machine->n_devices; i++) {
			int at = index_of(&machine->devices[i], choice->amounts.list[a].name);

			if (at >= 0 && !keeps_off(&machine->devices[i], choice))
				sum = stow_saturating_add(sum, kubectl_left(&machine->devices[i],
									    (size_t)at));
		}
		if (sum < choice->amounts.list[a].value)
			return false;
	}
	return machine->n_devices > 1;
}

/* Find why no NUMA node of the machine fits a request: of its choices, the one that lacks least
 * counts. KUBECTL_FITS: one fits. */
static enum kubectl_verdict find_reason(const struct kubectl_machine *machine,
					const struct kubectl_request *request)
{
	enum kubectl_verdict verdict = KUBECTL_LACKS;

	for (size_t c = 0; c < request->n; c++) {
		const struct kubectl_choice *choice = &request->choices[c];
		struct kubectl_shortfall lack;

		if (!choice->ours || choice->fault)
			continue;
		for (size_t i = 0; i < machine->n_devices; i++) {
			if (!kubectl_find_shortfall(&machine->devices[i], choice, &lack))
				return KUBECTL_FITS;
			if (lack.missing.n == 0)
				verdict = KUBECTL_TAINTED;
		}
		if (verdict == KUBECTL_LACKS && in_sum(machine, choice))
			verdict = KUBECTL_IN_SUM;
	}
	return verdict;
}

enum kubectl_verdict kubectl_fit(const struct kubectl_machine *machine,
				 const struct kubectl_wanted *wanted,
				 const struct kubectl_device **ret_device)
{
	struct search s = { .machine = machine, .wanted = wanted };
	bool fits;

	*ret_device = NULL;
	s.taken = calloc(machine->n_devices + 1, sizeof(*s.taken));
	if (!s.taken)
		return KUBECTL_UNKNOWN;
	fits = place(&s, 0);
	free(s.taken);
	*ret_device = s.first;
	if (fits)
		return KUBECTL_FITS;
	if (s.steps > STEPS)
		return KUBECTL_UNKNOWN;
	for (size_t i = 0; i < wanted->n; i++) {
		enum kubectl_verdict verdict = find_reason(machine, wanted->requests[i]);

		if (verdict != KUBECTL_FITS)
			return verdict;
	}
	return KUBECTL_NOT_AT_ONCE;
}
