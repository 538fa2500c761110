/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/calls.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kubernetes/allocation.h"
#include "agent/kubernetes/cdi.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kubelet/dra_v1.pb-c.h"
#include "kubelet/dra_v1beta1.pb-c.h"
#include "rpc/copy.h"
#include "rpc/log.h"
#include "rpc/metrics.h"
#include "rpc/texts.h"

#define AT_ONCE	   32		      /* calls; kubelet makes one for each pod */
#define CLAIMS_MAX 256		      /* of one call */
#define LATE	   STOW_SECOND	      /* after WITHIN a call is answered in any case */
#define WITHIN	   (18 * STOW_SECOND) /* for the answer to one call */

struct agent_calls {
	struct agent_prepare *prepare;
	struct agent_upkeep *upkeep;
	atomic_uint_least64_t prepared, unprepared, prepares_failed, unprepares_failed;

	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t changed;
	struct job *jobs; /* running */
	size_t running;
	bool stop;
	pthread_t keeper; /* answers calls that take too long */
	bool started;
};

/* A call, with a copy of its request: the original is freed when the method returns. */
struct job {
	struct job *next;
	struct agent_calls *calls;
	struct stow_rpc_call *call;
	uint64_t deadline;
	bool answered;				 /* with the lock */
	DraNodePrepareResourcesRequest *prepare; /* one of the two */
	DraNodeUnprepareResourcesRequest *unprepare;
};

/* Return the text of an error, never NULL: kubelet takes an answer without a text for a success. */
static char *text_of(struct stow_rpc_call *call, const struct stow_err *err)
{
	static char none[] = "out of memory";
	char *text = stow_rpc_printf(call, "%s", err->msg);

	return text ? text : none;
}

/* Answer a call, unless it was answered because it took too long. */
static void answer(struct job *job, const void *response, const struct stow_err *err)
{
	pthread_mutex_lock(&job->calls->lock);
	if (!job->answered)
		stow_rpc_reply(job->call, response, err);
	job->answered = true;
	pthread_mutex_unlock(&job->calls->lock);
}

/* Answer with what was done of the claims; NULL: memory ran out. */
static void answer_claims(struct job *job, const void *response)
{
	struct stow_err err = { 0 };

	stow_err_set(&err, ENOMEM, "out of memory");
	answer(job, response, response ? NULL : &err);
}

/* --- prepare -------------------------------------------------------------- */

/* Describe a prepared claim. -ENOMEM. */
static int describe(struct stow_rpc_call *call, const char *uid, const struct agent_prepared *from,
		    const char *pool, DraNodePrepareResourceResponse *ret)
{
	DraDevice *devices = stow_rpc_alloc(call, from->n * sizeof(*devices));
	char **texts = stow_rpc_alloc(call, from->n * 2 * sizeof(*texts));

	ret->devices = stow_rpc_alloc(call, from->n * sizeof(*ret->devices));
	if (!devices || !texts || !ret->devices)
		return -ENOMEM;
	for (size_t i = 0; i < from->n; i++) {
		const struct agent_prepared_share *share = &from->shares[i];
		char id[AGENT_CDI_DEVICE_MAX];
		DraDevice *device = &devices[i];

		dra_device__init(device);
		texts[2 * i] = stow_rpc_printf(call, "%s", share->request);
		texts[2 * i + 1] =
			stow_rpc_printf(call, "%s", agent_cdi_device(uid, share->id, id));
		device->n_request_names = device->n_cdi_device_ids = 1;
		device->request_names = &texts[2 * i];
		device->cdi_device_ids = &texts[2 * i + 1];
		device->pool_name = stow_rpc_printf(call, "%s", pool);
		device->device_name = stow_rpc_printf(call, AGENT_DEVICE_PREFIX "%d", share->node);
		device->share_case = DRA_DEVICE__SHARE_SHARE_ID;
		device->share_id = stow_rpc_printf(call, "%s", share->id);
		if (!texts[2 * i] || !texts[2 * i + 1] || !device->pool_name ||
		    !device->device_name || !device->share_id)
			return -ENOMEM;
		ret->devices[i] = device;
	}
	ret->n_devices = from->n;
	return 0;
}

static void prepare_one(struct job *job, const DraClaim *claim, DraNodePrepareResourceResponse *ret)
{
	const struct agent_claim_name of = { claim->uid, claim->namespace_, claim->name };
	uint64_t now = stow_clock_monotonic();
	struct agent_prepared prepared = { 0 };
	struct stow_err err = { 0 };
	int r;

	if (now >= job->deadline)
		r = stow_err_set(&err, ETIMEDOUT, "claim %s/%s: the claims before it took too long",
				 of.ns, of.name);
	else
		r = agent_prepare(job->calls->prepare, &of, job->deadline - now, &prepared, &err);
	if (r == 0 && describe(job->call, of.uid, &prepared,
			       agent_prepare_pool(job->calls->prepare), ret) < 0)
		r = stow_err_set(&err, ENOMEM, "out of memory");
	if (r < 0) {
		atomic_fetch_add(&job->calls->prepares_failed, 1);
		if (prepared.refused)
			agent_upkeep_note(job->calls->upkeep, &of, err.msg);
		ret->n_devices = 0;
		ret->error = text_of(job->call, &err);
		stow_log(STOW_LOG_WARNING, "a claim cannot be prepared", stow_text("uid", of.uid),
			 stow_text("namespace", of.ns), stow_text("name", of.name), stow_why(&err));
		return;
	}
	atomic_fetch_add(&job->calls->prepared, 1);
	agent_upkeep_note(job->calls->upkeep, &of, NULL);
	stow_log(STOW_LOG_INFO, "prepared a claim", stow_text("uid", of.uid),
		 stow_text("namespace", of.ns), stow_text("name", of.name));
}

static void prepare_all(struct job *job)
{
	DraNodePrepareResourcesResponse out = DRA_NODE_PREPARE_RESOURCES_RESPONSE__INIT;
	size_t n = job->prepare->n_claims;
	struct {
		DraNodePrepareResourcesResponse__ClaimsEntry entry;
		DraNodePrepareResourceResponse answer;
	} *list = stow_rpc_alloc(job->call, n * sizeof(*list) + 1);

	out.claims = stow_rpc_alloc(job->call, n * sizeof(*out.claims) + 1);
	for (size_t i = 0; list && out.claims && i < n; i++) {
		dra_node_prepare_resources_response__claims_entry__init(&list[i].entry);
		dra_node_prepare_resource_response__init(&list[i].answer);
		list[i].entry.key = job->prepare->claims[i]->uid;
		list[i].entry.value = &list[i].answer;
		out.claims[out.n_claims++] = &list[i].entry;
		prepare_one(job, job->prepare->claims[i], &list[i].answer);
	}
	answer_claims(job, list && out.claims ? &out : NULL);
}

/* --- unprepare ------------------------------------------------------------ */

static void unprepare_one(struct job *job, const DraClaim *claim,
			  DraNodeUnprepareResourceResponse *ret)
{
	const struct agent_claim_name of = { claim->uid, claim->namespace_, claim->name };
	struct stow_err err = { 0 };

	if (agent_unprepare(job->calls->prepare, &of, &err) < 0) {
		atomic_fetch_add(&job->calls->unprepares_failed, 1);
		ret->error = text_of(job->call, &err);
		stow_log(STOW_LOG_WARNING, "a claim cannot be unprepared", stow_text("uid", of.uid),
			 stow_text("namespace", of.ns), stow_text("name", of.name), stow_why(&err));
		return;
	}
	atomic_fetch_add(&job->calls->unprepared, 1);
	stow_log(STOW_LOG_INFO, "unprepared a claim", stow_text("uid", of.uid),
		 stow_text("namespace", of.ns), stow_text("name", of.name));
}

static void unprepare_all(struct job *job)
{
	DraNodeUnprepareResourcesResponse out = DRA_NODE_UNPREPARE_RESOURCES_RESPONSE__INIT;
	size_t n = job->unprepare->n_claims;
	struct {
		DraNodeUnprepareResourcesResponse__ClaimsEntry entry;
		DraNodeUnprepareResourceResponse answer;
	} *list = stow_rpc_alloc(job->call, n * sizeof(*list) + 1);

	out.claims = stow_rpc_alloc(job->call, n * sizeof(*out.claims) + 1);
	for (size_t i = 0; list && out.claims && i < n; i++) {
		dra_node_unprepare_resources_response__claims_entry__init(&list[i].entry);
		dra_node_unprepare_resource_response__init(&list[i].answer);
		list[i].entry.key = job->unprepare->claims[i]->uid;
		list[i].entry.value = &list[i].answer;
		out.claims[out.n_claims++] = &list[i].entry;
		unprepare_one(job, job->unprepare->claims[i], &list[i].answer);
	}
	answer_claims(job, list && out.claims ? &out : NULL);
}

/* --- threads -------------------------------------------------------------- */

static void job_free(struct job *job)
{
	if (job->prepare)
		stow_rpc_message_free(job->prepare);
	if (job->unprepare)
		stow_rpc_message_free(job->unprepare);
	stow_rpc_unref(job->call);
	free(job);
}

static void *run(void *arg)
{
	struct job *job = arg;
	struct agent_calls *calls = job->calls;

	if (job->prepare)
		prepare_all(job);
	else
		unprepare_all(job);
	pthread_mutex_lock(&calls->lock);
	for (struct job **at = &calls->jobs; *at; at = &(*at)->next)
		if (*at == job) {
			*at = job->next;
			break;
		}
	job_free(job);
	calls->running--;
	pthread_cond_broadcast(&calls->changed);
	pthread_mutex_unlock(&calls->lock); /* after this `calls` may be freed */
	return NULL;
}

/* --- calls that take too long --------------------------------------------- */

/* With the lock held: another program holds the ledger's lock, or a disk hangs. kubelet gets one
 * line for each claim, and tries again; the thread goes on, and takes nothing after the deadline.
 */
static void answer_late(struct job *job)
{
	static char why[] = "another program has locked the ledger for too long";
	size_t n = job->prepare ? job->prepare->n_claims : job->unprepare->n_claims;
	DraClaim **claims = job->prepare ? job->prepare->claims : job->unprepare->claims;
	DraNodeUnprepareResourceResponse failure = DRA_NODE_UNPREPARE_RESOURCE_RESPONSE__INIT;
	DraNodePrepareResourceResponse refusal = DRA_NODE_PREPARE_RESOURCE_RESPONSE__INIT;
	DraNodePrepareResourcesResponse prepared = DRA_NODE_PREPARE_RESOURCES_RESPONSE__INIT;
	DraNodeUnprepareResourcesResponse unprepared = DRA_NODE_UNPREPARE_RESOURCES_RESPONSE__INIT;
	DraNodePrepareResourcesResponse__ClaimsEntry p[CLAIMS_MAX], *ps[CLAIMS_MAX];
	DraNodeUnprepareResourcesResponse__ClaimsEntry u[CLAIMS_MAX], *us[CLAIMS_MAX];

	failure.error = refusal.error = why;
	for (size_t i = 0; i < n; i++) {
		dra_node_prepare_resources_response__claims_entry__init(&p[i]);
		dra_node_unprepare_resources_response__claims_entry__init(&u[i]);
		p[i].key = u[i].key = claims[i]->uid;
		p[i].value = &refusal;
		u[i].value = &failure;
		ps[i] = &p[i];
		us[i] = &u[i];
	}
	prepared.claims = ps;
	unprepared.claims = us;
	prepared.n_claims = unprepared.n_claims = n;
	job->answered = true;
	stow_rpc_reply(job->call, job->prepare ? (void *)&prepared : (void *)&unprepared, NULL);
}

static void *keep_time(void *arg)
{
	struct agent_calls *calls = arg;

	pthread_mutex_lock(&calls->lock);
	while (!calls->stop) {
		uint64_t now = stow_clock_monotonic(), due = UINT64_MAX;
		struct timespec at;

		for (struct job *job = calls->jobs; job; job = job->next) {
			if (!job->answered && now >= job->deadline + LATE)
				answer_late(job);
			if (!job->answered)
				due = STOW_MIN(due, job->deadline + LATE);
		}
		at = (struct timespec){ .tv_sec = (time_t)(due / STOW_SECOND),
					.tv_nsec = (long)(due % STOW_SECOND) };
		if (due == UINT64_MAX)
			pthread_cond_wait(&calls->changed, &calls->lock);
		else
			(void)pthread_cond_timedwait(&calls->changed, &calls->lock, &at);
	}
	pthread_mutex_unlock(&calls->lock);
	return NULL;
}

static int start(struct job *job, struct stow_err *err)
{
	struct agent_calls *calls = job->calls;
	pthread_t thread;
	int r = 0;

	pthread_mutex_lock(&calls->lock);
	if (calls->running >= AT_ONCE)
		r = stow_err_set(err, EBUSY, "%d calls at a time", AT_ONCE);
	else
		r = -pthread_create(&thread, NULL, run, job);
	if (r == 0) {
		calls->running++;
		job->next = calls->jobs;
		calls->jobs = job;
		pthread_cond_broadcast(&calls->changed);
		pthread_detach(thread);
	} else if (r != -EBUSY) {
		stow_err_sys(err, -r, "cannot start a thread");
	}
	pthread_mutex_unlock(&calls->lock);
	return r;
}

/* Copy the request and start a thread for the call. `n`: its claims. */
static int begin(struct agent_calls *calls, struct stow_rpc_call *call,
		 const ProtobufCMessage *request, size_t n, struct stow_err *err)
{
	struct job *job = calloc(1, sizeof(*job));
	ProtobufCMessage *copy = job ? stow_rpc_message_copy(request) : NULL;
	int r;

	if (!copy) {
		free(job);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	job->calls = calls;
	job->call = stow_rpc_ref(call);
	job->deadline = stow_clock_monotonic() + WITHIN;
	if (request->descriptor == &dra_node_prepare_resources_request__descriptor)
		job->prepare = (DraNodePrepareResourcesRequest *)copy;
	else
		job->unprepare = (DraNodeUnprepareResourcesRequest *)copy;
	r = n > CLAIMS_MAX ? stow_err_set(err, EINVAL, "claims: %zu; at most %d are answered", n,
					  CLAIMS_MAX)
			   : start(job, err);
	if (r < 0)
		job_free(job);
	return r < 0 ? r : STOW_RPC_LATER;
}

static int on_prepare(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		      struct stow_err *err)
{
	const DraNodePrepareResourcesRequest *in = request;

	return begin(ctx, call, &in->base, in->n_claims, err);
}

static int on_unprepare(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
			struct stow_err *err)
{
	const DraNodeUnprepareResourcesRequest *in = request;

	return begin(ctx, call, &in->base, in->n_claims, err);
}

/* --- services ------------------------------------------------------------- */

int agent_calls_may(const struct stow_rpc_peer *peer, const char *method, void *ctx,
		    struct stow_err *err)
{
	if (peer->local && peer->uid == 0)
		return 0;
	return stow_err_set(err, EACCES, "%s: only root may (you are uid %d)", method,
			    (int)peer->uid);
}

static int check(const char *method, void *message, void *ctx, struct stow_err *err)
{
	return stow_texts_check(message, err);
}

static const struct stow_rpc_method methods[] = {
	{ "NodePrepareResources", .unary = on_prepare },
	{ "NodeUnprepareResources", .unary = on_unprepare },
};

static const struct stow_rpc_service services[] = {
	{ .descriptor = &dra_draplugin__descriptor,
	  .methods = methods,
	  .n_methods = STOW_ARRAY_SIZE(methods),
	  .may = agent_calls_may,
	  .check = check },
	{ .descriptor = &dra_v1beta1_draplugin__descriptor,
	  .methods = methods,
	  .n_methods = STOW_ARRAY_SIZE(methods),
	  .may = agent_calls_may,
	  .check = check },
};

int agent_calls_add(struct agent_calls *calls, struct stow_rpc_server *server, struct stow_err *err)
{
	int r = 0;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(services) && r == 0; i++)
		r = stow_rpc_server_add(server, &services[i], calls, err);
	return r;
}

/* --- making and freeing --------------------------------------------------- */

int agent_calls_new(struct agent_prepare *prepare, struct agent_upkeep *upkeep,
		    struct agent_calls **ret, struct stow_err *err)
{
	struct agent_calls *calls = calloc(1, sizeof(*calls));
	int r;

	if (!calls)
		return stow_err_set(err, ENOMEM, "out of memory");
	calls->prepare = prepare;
	calls->upkeep = upkeep;
	pthread_mutex_init(&calls->lock, NULL);
	stow_clock_cond_init(&calls->changed);
	r = pthread_create(&calls->keeper, NULL, keep_time, calls);
	calls->started = r == 0;
	if (r) {
		agent_calls_free(calls);
		return stow_err_sys(err, r, "cannot start a thread");
	}
	*ret = calls;
	return 0;
}

void agent_calls_free(struct agent_calls *calls)
{
	if (!calls)
		return;
	pthread_mutex_lock(&calls->lock);
	while (calls->running > 0)
		pthread_cond_wait(&calls->changed, &calls->lock);
	calls->stop = true;
	pthread_cond_broadcast(&calls->changed);
	pthread_mutex_unlock(&calls->lock);
	if (calls->started)
		pthread_join(calls->keeper, NULL);
	pthread_cond_destroy(&calls->changed);
	pthread_mutex_destroy(&calls->lock);
	free(calls);
}

void agent_calls_render(struct agent_calls *calls, FILE *out)
{
	const struct {
		const char *name, *help;
		uint64_t value;
	} counters[] = {
		{ "numastow_agent_claims_prepared_total", "Claims that were prepared for kubelet.",
		  calls ? atomic_load(&calls->prepared) : 0 },
		{ "numastow_agent_claims_unprepared_total", "Claims that were unprepared.",
		  calls ? atomic_load(&calls->unprepared) : 0 },
		{ "numastow_agent_claims_prepare_failures_total",
		  "Refusals and failures to prepare a claim.",
		  calls ? atomic_load(&calls->prepares_failed) : 0 },
		{ "numastow_agent_claims_unprepare_failures_total",
		  "Failures to unprepare a claim.",
		  calls ? atomic_load(&calls->unprepares_failed) : 0 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(counters); i++) {
		stow_metric_head(out, counters[i].name, "counter", counters[i].help);
		stow_metric(out, counters[i].name, (double)counters[i].value, NULL);
	}
}
