// SPDX-License-Identifier: Apache-2.0
/*
 * What an etcd answers that is not one, or not ours: a scheduler stands for election, follows,
 * reads all keys, writes, and says what is wrong or goes on; it never falls over it.
 *
 * A step of the input is an answer: its kind's lowest bit says whether it is the next one of a
 * call, or of the watch.
 */
#include "fuzz.h"

#include <errno.h>
#include <pthread.h>

#include "program.h"
#include "rpc/log.h"
#include "scheduler/store/engine.h"
#include "scheduler/store/etcd.h"
#include "scheduler/store/writes.h"

#define STEPS_MAX   64
#define EVENTS_MOST 4 /* of one watch */

static struct fuzz_step calls[STEPS_MAX], events[STEPS_MAX];
static size_t n_calls, n_events, at_call, at_event;

/* The watch that is open: another thread gives it its events, and then its end. */
static struct {
	const struct stow_rpc_stream_ops *ops;
	void *ctx;
	struct stow_rpc_call *call;
	pthread_t thread;
	bool runs;
} watch;

int __wrap_stow_rpc_client_new(struct stow_rpc_loop *loop,
			       const struct stow_rpc_client_options *options,
			       struct stow_rpc_client **ret_client, struct stow_err *err);
void __wrap_stow_rpc_client_free(struct stow_rpc_client *client);
int __wrap_stow_rpc_client_call(struct stow_rpc_client *client,
				const ProtobufCServiceDescriptor *service, const char *method,
				const void *request, uint64_t timeout, void **ret_response,
				struct stow_err *err);
int __wrap_stow_rpc_client_open(struct stow_rpc_client *client,
				const ProtobufCServiceDescriptor *service, const char *method,
				const struct stow_rpc_stream_ops *ops, void *ctx,
				const void *request, uint64_t timeout,
				struct stow_rpc_call **ret_call, struct stow_err *err);

/* --- in the place of lib/rpc's client ----------------------------------------------------------- */

int __wrap_stow_rpc_client_new(struct stow_rpc_loop *loop,
			       const struct stow_rpc_client_options *options,
			       struct stow_rpc_client **ret_client, struct stow_err *err)
{
	*ret_client = NULL;
	return 0;
}

void __wrap_stow_rpc_client_free(struct stow_rpc_client *client)
{
}

/* The next answer, or an error that is one for good: what is in doubt would be asked for ever. */
int __wrap_stow_rpc_client_call(struct stow_rpc_client *client,
				const ProtobufCServiceDescriptor *service, const char *method,
				const void *request, uint64_t timeout, void **ret_response,
				struct stow_err *err)
{
	const ProtobufCMethodDescriptor *descriptor =
		protobuf_c_service_descriptor_get_method_by_name(service, method);
	const ProtobufCMessage *out = request;

	FUZZ_CHECK(descriptor && out->descriptor == descriptor->input);
	*ret_response = at_call < n_calls ? fuzz_unpack(&calls[at_call], descriptor->output) : NULL;
	at_call++;
	return *ret_response ? 0
			     : stow_err_set(err, at_call % 2 ? EINVAL : ENOSPC, "no such thing");
}

static void *run_watch(void *arg)
{
	struct stow_err err = { 0 };
	int r = 0;

	for (int i = 0; i < EVENTS_MOST && r == 0 && at_event < n_events; i++) {
		void *message = fuzz_unpack(&events[at_event++], &etcd_watch_response__descriptor);

		if (message)
			r = watch.ops->message(watch.call, watch.ctx, message, &err);
		FUZZ_CHECK_ERR(r, &err);
		stow_rpc_message_free(message);
	}
	watch.ops->closed(watch.call, watch.ctx, r < 0 ? &err : NULL);
	return NULL;
}

static void end_watch(void)
{
	if (!watch.runs)
		return;
	pthread_join(watch.thread, NULL);
	watch.runs = false;
	fuzz_call_free(watch.call);
}

int __wrap_stow_rpc_client_open(struct stow_rpc_client *client,
				const ProtobufCServiceDescriptor *service, const char *method,
				const struct stow_rpc_stream_ops *ops, void *ctx,
				const void *request, uint64_t timeout,
				struct stow_rpc_call **ret_call, struct stow_err *err)
{
	if (strcmp(method, "Watch") != 0)
		return stow_err_set(err, EINVAL, "not now"); /* keepalives: by the clock */
	end_watch();
	watch.ops = ops;
	watch.ctx = ctx;
	watch.call = fuzz_call_new(NULL, NULL);
	*ret_call = stow_rpc_ref(watch.call);
	if (pthread_create(&watch.thread, NULL, run_watch, NULL) != 0)
		abort();
	watch.runs = true;
	return 0;
}

/* --- what is read ------------------------------------------------------------------------------- */

static int on_reservation(void *ctx, uint64_t id, const void *message, size_t len,
			  const char *request_id, struct stow_err *err)
{
	FUZZ_CHECK(id != 0 && request_id);
	return 0;
}

static int on_fence(void *ctx, const char *machine, const struct stow_idset *numa,
		    struct stow_err *err)
{
	FUZZ_CHECK(machine && machine[0]);
	return 0;
}

static int on_answer(void *ctx, const char *request_id, uint64_t digest, uint64_t expires,
		     const void *response, size_t len, struct stow_err *err)
{
	FUZZ_CHECK(request_id && request_id[0]);
	return 0;
}

static int on_drain(void *ctx, uint64_t id, uint64_t flags, const void *message, size_t len,
		    const char *request_id, struct stow_err *err)
{
	FUZZ_CHECK(id != 0 && request_id);
	return 0;
}

static int on_webhook(void *ctx, const struct stow_store_webhook *webhook, struct stow_err *err)
{
	uint64_t *last = ctx;

	FUZZ_CHECK(webhook->seq > *last && webhook->event && webhook->url);
	*last = webhook->seq;
	return 0;
}

static void write_something(void *engine)
{
	struct stow_store_webhook webhook = {
		.seq = 5, .drain = 1, .event = "e", .url = "u", .body = "{}", .len = 2
	};
	struct stow_writes *one = stow_writes_new(), *two = stow_writes_new();
	struct stow_engine_count count = { 0 };

	if (stow_writes_reservation(one, 1, "m", 1, "r") < 0 ||
	    stow_writes_answer(one, "r", 1, 1, 1, "m", 1) < 0 ||
	    stow_writes_webhook(two, &webhook) < 0 || stow_writes_no_webhook_of(two, 1, "e") < 0 ||
	    stow_writes_webhook_later(two, 1, 2, 3) < 0)
		abort();
	one->next = two;
	stow_engine_etcd.write(engine, one, &count);
	FUZZ_CHECK_ERR(-one->err.code, &one->err);
	FUZZ_CHECK_ERR(-two->err.code, &two->err);
	stow_writes_free(one);
	stow_writes_free(two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct stow_store_options options = { .prefix = "/n/", .lease = 3 * STOW_SECOND };
	uint64_t last = 0, epoch = 0;
	const struct stow_store_load load = { .reservation = on_reservation,
					      .fence = on_fence,
					      .answer = on_answer,
					      .drain = on_drain,
					      .webhook = on_webhook,
					      .ctx = &last };
	struct stow_err err = { 0 };
	struct fuzz_step step;
	void *engine;
	int r = 0;

	stow_log_configure(STOW_LOG_ERR, STOW_LOG_TEXT);
	n_calls = n_events = at_call = at_event = 0;
	while (n_calls < STEPS_MAX && n_events < STEPS_MAX && fuzz_step(&data, &size, &step)) {
		if (step.kind & 1)
			events[n_events++] = step;
		else
			calls[n_calls++] = step;
	}
	if (stow_engine_etcd.make("http://127.0.0.1:1", &options, &engine, NULL) < 0)
		abort();
	for (int i = 0; i < 4 && r == 0; i++) {
		r = stow_engine_etcd.lead(engine, &err);
		FUZZ_CHECK_ERR(r, &err);
	}
	if (r == 1) {
		r = stow_engine_etcd.load(engine, &load, &epoch, &err);
		FUZZ_CHECK_ERR(r, &err);
		if (r == 0)
			write_something(engine);
		(void)stow_engine_etcd.leads(engine, &err);
	}
	stow_engine_etcd.free(engine);
	end_watch();
	return 0;
}
