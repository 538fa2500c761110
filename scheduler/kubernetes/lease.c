/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/lease.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/random.h"
#include "base/timestamp.h"
#include "kube/json.h"
#include "kube/make.h"
#include "rpc/log.h"

#define CALL	     (3 * STOW_SECOND) /* for an answer, so that a lost one can be repeated in time */
#define OBSERVED_MAX 256

struct scheduler_lease {
	struct stow_kube *kube;
	char *collection, *name, identity[160];
	pthread_t thread;
	bool runs;
	atomic_bool stopping;
	_Atomic uint64_t until; /* boot time: leads until then */

	/* For the thread only. The lease as it was seen last, and when that was new: boot time. */
	char observed[OBSERVED_MAX];
	uint64_t observed_at;
	bool led, failing;
};

/* --- the object ----------------------------------------------------------- */

/* Fill in a Lease's spec. `holder` "": it is released. */
static bool fill_spec(struct json_object *object, const char *holder, bool taken)
{
	struct json_object *spec = stow_kube_object_at(object, "spec");
	int64_t transitions = stow_kube_number(object, "spec.leaseTransitions", 0);
	bool release = !holder[0], ok;
	char now[STOW_TIMESTAMP_MAX];

	stow_timestamp_fraction(stow_clock_wall(), 6, now); /* a MicroTime */
	ok = stow_kube_put_text(spec, "holderIdentity", holder) &&
	     stow_kube_put_text(spec, "renewTime", now) &&
	     stow_kube_put(spec, "leaseDurationSeconds",
			   json_object_new_int64(
				   release ? 1 : (int64_t)(SCHEDULER_LEASE_LASTS / STOW_SECOND)));
	if (ok && taken)
		ok = stow_kube_put_text(spec, "acquireTime", now) &&
		     stow_kube_put(spec, "leaseTransitions",
				   json_object_new_int64(transitions + 1));
	return ok;
}

static int create(struct scheduler_lease *lease, struct stow_err *err)
{
	_cleanup_json_ struct json_object *object = json_object_new_object();
	struct json_object *metadata = stow_kube_object_at(object, "metadata");

	if (!stow_kube_put_text(object, "apiVersion", "coordination.k8s.io/v1") ||
	    !stow_kube_put_text(object, "kind", "Lease") ||
	    !stow_kube_put_text(metadata, "name", lease->name) ||
	    !fill_spec(object, lease->identity, true))
		return stow_err_set(err, ENOMEM, "out of memory");
	return stow_kube_create(lease->kube, lease->collection, object, NULL, err);
}

static bool is_mine(struct scheduler_lease *lease, struct json_object *object)
{
	return strcmp(stow_kube_text(object, "spec.holderIdentity"), lease->identity) == 0;
}

/* Return whether a lease that another process holds has run out. */
static bool has_run_out(struct scheduler_lease *lease, struct json_object *object)
{
	const char *holder = stow_kube_text(object, "spec.holderIdentity");
	char seen[OBSERVED_MAX];
	uint64_t now = stow_clock_boot();

	if (!holder[0])
		return true;
	snprintf(seen, sizeof(seen), "%.160s %.64s", holder,
		 stow_kube_text(object, "spec.renewTime"));
	if (strcmp(seen, lease->observed) != 0) {
		memcpy(lease->observed, seen, sizeof(seen));
		lease->observed_at = now;
	}
	return stow_clock_elapsed(lease->observed_at, now) >= SCHEDULER_LEASE_LASTS;
}

/* --- competing ------------------------------------------------------------ */

/* Take or renew the lease. Return 1: it is held; 0: another process holds it. */
static int compete(struct scheduler_lease *lease, struct stow_err *err)
{
	_cleanup_json_ struct json_object *object = NULL;
	int r = stow_kube_get(lease->kube, lease->collection, lease->name, &object, err);
	bool mine;

	if (r == -ENOENT) {
		r = create(lease, err);
		/* Another process was first. */
		return r == 0 ? 1 : r == -EEXIST ? 0 : r;
	}
	if (r < 0)
		return r;
	mine = is_mine(lease, object);
	if (!mine && !has_run_out(lease, object))
		return 0;
	if (!fill_spec(object, lease->identity, !mine))
		return stow_err_set(err, EBADMSG, "the Lease has no spec");
	r = stow_kube_replace(lease->kube, lease->collection, lease->name, object, NULL, err);
	return r == 0 ? 1 : r == -EBUSY ? 0 : r;
}

static void note(struct scheduler_lease *lease, int r, const struct stow_err *err)
{
	bool leads = scheduler_lease_is_held(lease);

	if (r < 0 && !lease->failing)
		stow_log(STOW_LOG_WARNING, "the Lease cannot be renewed", stow_why(err));
	lease->failing = r < 0;
	if (leads != lease->led)
		stow_log(STOW_LOG_NOTICE,
			 leads ? "leads the controllers of Kubernetes"
			       : "does not lead the controllers of Kubernetes any more",
			 stow_text("lease", lease->name), stow_text("identity", lease->identity));
	lease->led = leads;
}

static void *work(void *arg)
{
	struct scheduler_lease *lease = arg;

	while (!atomic_load(&lease->stopping)) {
		uint64_t began = stow_clock_boot();
		struct stow_err err = { 0 };
		int r = compete(lease, &err);

		if (r > 0)
			atomic_store(&lease->until, began + SCHEDULER_LEASE_LEADS);
		else if (r == 0)
			atomic_store(&lease->until, 0);
		note(lease, r, &err);
		if (!atomic_load(&lease->stopping))
			(void)stow_kube_wait(lease->kube, SCHEDULER_LEASE_EVERY);
	}
	return NULL;
}

bool scheduler_lease_is_held(struct scheduler_lease *lease)
{
	return stow_clock_boot() < atomic_load(&lease->until);
}

/* --- making and freeing --------------------------------------------------- */

static void make_identity(struct scheduler_lease *lease)
{
	char host[128] = "";

	(void)gethostname(host, sizeof(host) - 1);
	snprintf(lease->identity, sizeof(lease->identity), "%s_%016" PRIx64, host, stow_random());
}

int scheduler_lease_new(struct stow_kube *kube, const char *ns, const char *name,
			struct scheduler_lease **ret, struct stow_err *err)
{
	struct scheduler_lease *lease = calloc(1, sizeof(*lease));
	int r;

	if (!lease) {
		stow_kube_free(kube);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	lease->kube = kube;
	stow_kube_set_times(kube, CALL, 0);
	lease->name = strdup(name);
	if (asprintf(&lease->collection, "/apis/coordination.k8s.io/v1/namespaces/%s/leases", ns) <
	    0)
		lease->collection = NULL;
	make_identity(lease);
	r = lease->name && lease->collection ? 0 : stow_err_set(err, ENOMEM, "out of memory");
	if (r == 0) {
		r = -pthread_create(&lease->thread, NULL, work, lease);
		lease->runs = r == 0;
		if (r < 0)
			stow_err_sys(err, -r, "cannot start a thread");
	}
	if (r < 0) {
		scheduler_lease_free(lease);
		return r;
	}
	*ret = lease;
	return 0;
}

/* Let the next leader begin at once. A failure costs it the lease's duration. */
static void release(struct scheduler_lease *lease)
{
	_cleanup_json_ struct json_object *object = NULL;

	stow_kube_set_times(lease->kube, STOW_SECOND, 0); /* a program that ends has little time */
	if (stow_kube_get(lease->kube, lease->collection, lease->name, &object, NULL) == 0 &&
	    is_mine(lease, object) && fill_spec(object, "", false))
		(void)stow_kube_replace(lease->kube, lease->collection, lease->name, object, NULL,
					NULL);
}

void scheduler_lease_free(struct scheduler_lease *lease)
{
	bool held;

	if (!lease)
		return;
	held = scheduler_lease_is_held(lease);
	atomic_store(&lease->stopping, true);
	if (lease->runs) {
		stow_kube_wake(lease->kube);
		pthread_join(lease->thread, NULL);
	}
	if (held)
		release(lease);
	stow_kube_free(lease->kube);
	free(lease->collection);
	free(lease->name);
	free(lease);
}
