/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/extender/requests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "place/config.h"
#include "place/reservation.h"
#include "scheduler/kubernetes/container.h"
#include "scheduler/kubernetes/pod.h"

/* Note where the container's reservation is. */
static int read_reservation(const struct stow_request *request, struct extender_requests *to,
			    struct stow_err *err)
{
	struct stow_reservation_name name;
	int r = stow_reservation_parse(request->reservation, &name, err);

	if (r < 0)
		return r;
	if (to->machine[0] && strcmp(to->machine, name.machine) != 0)
		return stow_err_set(err, EINVAL,
				    "reservation: the pod's containers have reservations on node "
				    "%.253s and on node %.253s",
				    to->machine, name.machine);
	snprintf(to->machine, sizeof(to->machine), "%s", name.machine);
	return 0;
}

static int add_request(const struct stow_request *request, struct extender_requests *to,
		       struct stow_err *err)
{
	struct stow_request *added;

	if (request->reservation[0])
		return read_reservation(request, to, err);
	added = &to->list[to->n++];
	*added = *request;
	/* Machines do not report isolated CPUs: the hook alone knows them. */
	if (added->cpu_mode == STOW_CPU_ISOLATED) {
		added->cpu_mode = STOW_CPU_SHARED;
		added->cpus = 0;
	}
	return 0;
}

/* Join the containers' requests to one: scope=pod keeps them on the same NUMA nodes. */
static int join(struct extender_requests *requests, struct stow_err *err)
{
	static const struct stow_config no_caps;
	static const struct stow_limits no_limits;
	struct stow_request *whole = &requests->list[requests->n_init];
	int r = 0;

	for (size_t i = requests->n_init + 1; i < requests->n && r == 0; i++)
		r = stow_config_check_member(&no_caps, NULL, NULL, &no_limits, "",
					     &requests->list[i], whole, err);
	requests->n = requests->n_init + 1;
	return r;
}

static int read_pod(const struct scheduler_pod *pod, struct extender_requests *requests,
		    struct stow_err *err)
{
	int r = 0;

	requests->list = calloc(pod->n + 1, sizeof(*requests->list));
	if (!requests->list)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (int init = 1; init >= 0; init--) {
		for (size_t i = 0; i < pod->n && r == 0; i++)
			if (pod->containers[i].asks && pod->containers[i].init == init)
				r = add_request(&pod->containers[i].request, requests, err);
		if (init)
			requests->n_init = requests->n;
	}
	if (r == 0 && requests->n > requests->n_init &&
	    requests->list[requests->n_init].scope == STOW_SCOPE_POD)
		r = join(requests, err);
	return r;
}

int extender_requests_read(struct json_object *object, struct extender_requests *ret,
			   struct stow_err *err)
{
	_cleanup_(scheduler_pod_done) struct scheduler_pod pod = { 0 };
	int r;

	*ret = (struct extender_requests){ 0 };
	r = scheduler_pod_read_requests(object, &pod, err);
	if (r > 0)
		r = read_pod(&pod, ret, err);
	if (r < 0)
		return r;
	return ret->n > 0 || ret->machine[0];
}

void extender_requests_done(struct extender_requests *requests)
{
	free(requests->list);
	*requests = (struct extender_requests){ 0 };
}
