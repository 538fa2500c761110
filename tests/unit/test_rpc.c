// SPDX-License-Identifier: Apache-2.0
/* lib/rpc against itself: servers and clients in one process, over TCP and unix sockets. */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <grpc/health/v1/health.pb-c.h>
#include <grpc/reflection/v1alpha/reflection.pb-c.h>
#include <numastow/v1/scheduler.pb-c.h>

#include "base/cleanup.h"
#include "base/clock.h"

#include "rpc/rpc.h"

END_WHEN_A_CHECK_FAILS

#define S STOW_SECOND

static const ProtobufCServiceDescriptor *const scheduler = &pb_scheduler__descriptor;

/* --- a service that does as it is told ---------------------------------------------------------- */

struct service {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int opened, closed, half_closed, messages;
	struct stow_err closed_with;  /* of the last stream */
	struct stow_rpc_call *stream; /* a reference */
	struct stow_rpc_peer peer;
	char uri[256], dns[256]; /* the first of its certificate */
	atomic_int held;	 /* calls that sleep */
};

static void *later(void *arg)
{
	PbReleaseResponse out = PB_RELEASE_RESPONSE__INIT;

	usleep(20000);
	out.released = 7;
	stow_rpc_reply(arg, &out, NULL);
	return NULL;
}

static int release(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		   struct stow_err *err)
{
	const PbReleaseRequest *in = request;
	PbReleaseResponse *out = response;
	struct service *service = ctx;
	pthread_t thread;

	pthread_mutex_lock(&service->lock);
	service->peer = *stow_rpc_peer(call);
	if (service->peer.uris && service->peer.uris[0])
		snprintf(service->uri, sizeof(service->uri), "%s", service->peer.uris[0]);
	if (service->peer.dns && service->peer.dns[0])
		snprintf(service->dns, sizeof(service->dns), "%s", service->peer.dns[0]);
	pthread_mutex_unlock(&service->lock);
	if (in->n_ids == 1 && strcmp(in->ids[0], "refuse") == 0)
		return stow_err_set(err, ENOSPC, "6 CPUs on one NUMA node: no room");
	if (in->n_ids == 1 && strcmp(in->ids[0], "fail") == 0)
		return -EBUSY;
	if (in->n_ids == 1 && strcmp(in->ids[0], "sleep") == 0) {
		atomic_fetch_add(&service->held, 1);
		usleep(300000);
	}
	if (in->n_ids == 1 && strcmp(in->ids[0], "later") == 0) {
		assert_int_equal(pthread_create(&thread, NULL, later, call), 0);
		pthread_detach(thread);
		return STOW_RPC_LATER;
	}
	out->released = (uint32_t)in->n_ids;
	return 0;
}

static int place(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		 struct stow_err *err)
{
	const PbPlaceRequest *in = request;
	PbPlaceResponse *out = response;

	out->n_reservations = in->n_pods;
	out->reservations = stow_rpc_alloc(call, in->n_pods * sizeof(*out->reservations));
	for (size_t i = 0; i < in->n_pods; i++) {
		out->reservations[i] = stow_rpc_alloc(call, sizeof(PbReservation));
		pb_reservation__init(out->reservations[i]);
		out->reservations[i]->id = stow_rpc_printf(call, "%zu-%s", i, in->pods[i]->name);
	}
	return 0;
}

static int report_open(struct stow_rpc_call *call, void *ctx, const void *request,
		       struct stow_err *err)
{
	struct service *service = ctx;

	assert_null(request);
	pthread_mutex_lock(&service->lock);
	service->opened++;
	service->stream = stow_rpc_ref(call);
	pthread_cond_broadcast(&service->changed);
	pthread_mutex_unlock(&service->lock);
	return 0;
}

static int report_message(struct stow_rpc_call *call, void *ctx, const void *message,
			  struct stow_err *err)
{
	const PbReportRequest *in = message;
	struct service *service = ctx;
	PbDirective out = PB_DIRECTIVE__INIT;

	pthread_mutex_lock(&service->lock);
	service->messages++;
	pthread_mutex_unlock(&service->lock);
	if (in->kind_case != PB_REPORT_REQUEST__KIND_HEARTBEAT)
		return stow_err_set(err, EINVAL, "not a heartbeat");
	out.id = in->heartbeat->time;
	stow_rpc_send(call, &out);
	return 0;
}

static void stream_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct service *service = ctx;

	pthread_mutex_lock(&service->lock);
	service->closed++;
	service->closed_with = err ? *err : (struct stow_err){ 0 };
	pthread_cond_broadcast(&service->changed);
	pthread_mutex_unlock(&service->lock);
}

/* Send as many names as were asked for, then end; without any, go on until the reader is slow. */
static int watch_open(struct stow_rpc_call *call, void *ctx, const void *request,
		      struct stow_err *err)
{
	const PbWatchNodesRequest *in = request;
	struct service *service = ctx;
	PbNodeEvent event = PB_NODE_EVENT__INIT;
	static char large[65536];

	event.kind_case = PB_NODE_EVENT__KIND_GONE;
	if (in->n_names == 1 && strcmp(in->names[0], "refuse") == 0)
		return stow_err_set(err, EACCES, "not yours");
	pthread_mutex_lock(&service->lock);
	service->opened++;
	pthread_cond_broadcast(&service->changed);
	pthread_mutex_unlock(&service->lock);
	for (size_t i = 0; i < in->n_names; i++) {
		event.gone = in->names[i];
		stow_rpc_send(call, &event);
	}
	if (in->n_names > 0 && strcmp(in->names[0], "hold") == 0)
		return 0;
	if (in->n_names > 0) {
		stow_rpc_close(call, NULL);
		return 0;
	}
	memset(large, 'x', sizeof(large) - 1);
	event.gone = large;
	for (int i = 0; i < 100000; i++) {
		int r = stow_rpc_send(call, &event);

		if (r < 0) {
			assert_int_equal(r, -ENOBUFS);
			return 0;
		}
	}
	fail_msg("a reader that never reads was never too slow");
	return 0;
}

static const struct stow_rpc_stream_ops report_ops = {
	.open = report_open,
	.message = report_message,
	.closed = stream_closed,
};
static const struct stow_rpc_stream_ops watch_ops = {
	.open = watch_open,
	.closed = stream_closed,
};
static const struct stow_rpc_method methods[] = {
	{ "Release", .unary = release },
	{ "Place", .unary = place },
	{ "Report", .stream = &report_ops },
	{ "WatchNodes", .stream = &watch_ops },
};

static int may(const struct stow_rpc_peer *peer, const char *method, void *ctx,
	       struct stow_err *err)
{
	if (peer->tls && strcmp(method, "Place") == 0 &&
	    !stow_rpc_peer_has_uri(peer, "test:placer"))
		return stow_err_set(err, EACCES, "%s may not place", peer->name);
	return 0;
}

static const struct stow_rpc_service test_service = {
	.descriptor = &pb_scheduler__descriptor,
	.methods = methods,
	.n_methods = STOW_ARRAY_SIZE(methods),
	.may = may,
};

/* --- what every test has ------------------------------------------------------------------------ */

struct setup {
	struct stow_rpc_loop *loop;
	struct stow_rpc_server *server;
	struct stow_rpc_client *client;
	struct service service;
	char target[64];
	char dir[64]; /* for files; removed */
	const struct stow_rpc_limits *limits;
};

static void start_server(struct setup *s, const struct stow_rpc_tls *tls)
{
	struct stow_rpc_server_options options = { .tls = tls,
						   .message_max = 1 << 20,
						   .limits = s->limits };
	int port;

	assert_int_equal(stow_rpc_server_new(s->loop, &options, &s->server, NULL), 0);
	assert_int_equal(stow_rpc_server_add(s->server, &test_service, &s->service, NULL), 0);
	assert_int_equal(stow_rpc_server_listen(s->server, "127.0.0.1:0", &port, NULL), 0);
	assert_int_equal(stow_rpc_server_start(s->server, NULL), 0);
	snprintf(s->target, sizeof(s->target), "127.0.0.1:%d", port);
}

static struct stow_rpc_client *client_for(struct setup *s, const struct stow_rpc_tls *tls,
					  const char *name)
{
	struct stow_rpc_client_options options = { .target = s->target,
						   .tls = tls,
						   .server_name = name };
	struct stow_rpc_client *client;

	assert_int_equal(stow_rpc_client_new(s->loop, &options, &client, NULL), 0);
	return client;
}

static int set_up_bare(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	pthread_mutex_init(&s->service.lock, NULL);
	pthread_cond_init(&s->service.changed, NULL);
	assert_int_equal(stow_rpc_loop_new(2, &s->loop, NULL), 0);
	snprintf(s->dir, sizeof(s->dir), "/tmp/test_rpc.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	*state = s;
	return 0;
}

static int set_up(void **state)
{
	set_up_bare(state);
	start_server(*state, NULL);
	((struct setup *)*state)->client = client_for(*state, NULL, NULL);
	return 0;
}

static int tear_down(void **state)
{
	struct setup *s = *state;
	struct stow_rpc_call *stream;
	char command[128];

	/* A server's thread may not have let go of it yet. */
	stream = LOCKED(&s->service.lock, s->service.stream);
	stow_rpc_unref(stream);
	stow_rpc_client_free(s->client);
	stow_rpc_server_free(s->server);
	stow_rpc_loop_free(s->loop);
	snprintf(command, sizeof(command), "rm -r '%s'", s->dir);
	assert_int_equal(system(command), 0);
	pthread_cond_destroy(&s->service.changed);
	pthread_mutex_destroy(&s->service.lock);
	free(s);
	return 0;
}

#define WITH_SETUP(name) TEST_WITH(name, struct setup *s, set_up, tear_down)
#define BARE(name)	 TEST_WITH(name, struct setup *s, set_up_bare, tear_down)

static int call_release(struct stow_rpc_client *client, const char *id, uint64_t timeout,
			uint32_t *ret, struct stow_err *err)
{
	PbReleaseRequest in = PB_RELEASE_REQUEST__INIT;
	void *out = NULL;
	char *ids[] = { (char *)(uintptr_t)id };
	int r;

	in.ids = ids;
	in.n_ids = 1;
	r = stow_rpc_client_call(client, scheduler, "Release", &in, timeout, &out, err);
	if (r == 0)
		*ret = ((PbReleaseResponse *)out)->released;
	stow_rpc_message_free(out);
	return r;
}

/* --- unary -------------------------------------------------------------------------------------- */

WITH_SETUP(a_method_is_a_function)
{
	PbPlaceRequest in = PB_PLACE_REQUEST__INIT;
	PbPodRequest a = PB_POD_REQUEST__INIT, b = PB_POD_REQUEST__INIT;
	PbPodRequest *pods[] = { &a, &b };
	PbPlaceResponse *out;
	void *response;
	uint32_t n;

	a.name = (char *)(uintptr_t) "web";
	b.name = (char *)(uintptr_t) "db";
	in.pods = pods;
	in.n_pods = 2;
	assert_int_equal(stow_rpc_client_call(s->client, scheduler, "Place", &in, 600 * S,
					      &response, NULL),
			 0);
	out = response;
	assert_int_equal(out->n_reservations, 2);
	assert_string_equal(out->reservations[0]->id, "0-web");
	assert_string_equal(out->reservations[1]->id, "1-db");
	stow_rpc_message_free(out);

	assert_int_equal(call_release(s->client, "x", 600 * S, &n, NULL), 0);
	assert_int_equal(n, 1);
	assert_int_equal(call_release(s->client, "later", 600 * S, &n, NULL), 0);
	assert_int_equal(n, 7);
	assert_false(s->service.peer.tls);
	assert_memory_equal(s->service.peer.address, "ipv4:127.0.0.1:", 15);
}

WITH_SETUP(an_error_keeps_its_code_and_text)
{
	PbFenceRequest fence = PB_FENCE_REQUEST__INIT;
	struct stow_err err = { 0 };
	void *out;
	uint32_t n;

	assert_int_equal(call_release(s->client, "refuse", 600 * S, &n, &err), -ENOSPC);
	assert_string_equal(err.msg, "6 CPUs on one NUMA node: no room");
	assert_int_equal(call_release(s->client, "fail", 600 * S, &n, &err), -EBUSY);
	assert_int_equal(stow_rpc_client_call(s->client, scheduler, "Fence", &fence, 600 * S, &out,
					      &err),
			 -stow_errno_of_status(12));
	assert_string_equal(err.msg, "no method /numastow.v1.Scheduler/Fence here");
	assert_int_equal(stow_rpc_client_call(s->client, scheduler, "Nothing", &fence, S, &out,
					      &err),
			 -EINVAL);
}

TEST(statuses_and_errnos_are_one_table)
{
	/* Whatever a status becomes turns back into the same status. */
	for (unsigned int status = 0; status <= 16; status++)
		assert_int_equal(stow_status_of_errno(stow_errno_of_status(status)), status);
	assert_int_equal(stow_status_of_errno(EPERM), 7);
	assert_int_equal(stow_status_of_errno(ENOSPC), 8);
	assert_int_equal(stow_status_of_errno(EXDEV), 2); /* not in the table: UNKNOWN */
	assert_int_equal(stow_errno_of_status(99), EIO);
	assert_string_equal(stow_status_name(8), "RESOURCE_EXHAUSTED");
}

WITH_SETUP(a_deadline_holds)
{
	struct stow_err err;
	uint32_t n;

	assert_int_equal(call_release(s->client, "sleep", S / 20, &n, &err), -ETIMEDOUT);
	assert_int_equal(call_release(s->client, "x", 600 * S, &n, &err), 0);
}

WITH_SETUP(a_missing_server_is_an_error)
{
	struct stow_rpc_client *client;
	struct stow_err err;
	uint32_t n;

	snprintf(s->target, sizeof(s->target), "127.0.0.1:1");
	client = client_for(s, NULL, NULL);
	assert_int_equal(call_release(client, "x", 600 * S, &n, &err), -ENOTCONN);
	stow_rpc_client_free(client);
}

WITH_SETUP(large_messages_are_refused)
{
	char *large = malloc(3 << 20);
	struct stow_err err;
	uint32_t n;

	memset(large, 'a', (3 << 20) - 1);
	large[(3 << 20) - 1] = '\0';
	assert_int_equal(call_release(s->client, large, 600 * S, &n, &err), -ENOSPC);
	assert_int_equal(call_release(s->client, "x", 600 * S, &n, &err), 0);
	free(large);
}

/* --- streams ------------------------------------------------------------------------------------ */

struct reader {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t n, sum;
	bool in_order, closed, hold;
	uint64_t pauses; /* after so many messages; 0: never */
	bool resumes;	 /* in the same callback */
	struct stow_rpc_call *call;
	struct stow_err err;
	char last[64];
};

#define READER                                                                          \
	{                                                                               \
		.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, \
		.in_order = true                                                        \
	}

static int on_directive(struct stow_rpc_call *call, void *ctx, const void *message,
			struct stow_err *err)
{
	const PbDirective *in = message;
	struct reader *reader = ctx;

	pthread_mutex_lock(&reader->lock);
	if (in->id != reader->n)
		reader->in_order = false;
	reader->n++;
	if (reader->pauses && reader->n % reader->pauses == 0)
		stow_rpc_pause(call);
	if (reader->resumes)
		stow_rpc_resume(call);
	pthread_cond_broadcast(&reader->changed);
	pthread_mutex_unlock(&reader->lock);
	return 0;
}

static int on_event(struct stow_rpc_call *call, void *ctx, const void *message,
		    struct stow_err *err)
{
	const PbNodeEvent *in = message;
	struct reader *reader = ctx;

	pthread_mutex_lock(&reader->lock);
	while (reader->hold) /* a reader that does not read */
		pthread_cond_wait(&reader->changed, &reader->lock);
	reader->n++;
	snprintf(reader->last, sizeof(reader->last), "%s", in->gone);
	pthread_mutex_unlock(&reader->lock);
	return 0;
}

static void on_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct reader *reader = ctx;

	pthread_mutex_lock(&reader->lock);
	reader->closed = true;
	if (err)
		reader->err = *err;
	pthread_cond_broadcast(&reader->changed);
	pthread_mutex_unlock(&reader->lock);
}

static const struct stow_rpc_stream_ops directive_ops = { .message = on_directive,
							  .closed = on_closed };
static const struct stow_rpc_stream_ops event_ops = { .message = on_event, .closed = on_closed };

static void await_closed(struct reader *reader)
{
	pthread_mutex_lock(&reader->lock);
	while (!reader->closed)
		pthread_cond_wait(&reader->changed, &reader->lock);
	pthread_mutex_unlock(&reader->lock);
}

static void await_streams(struct service *service, int opened, int closed)
{
	pthread_mutex_lock(&service->lock);
	while (service->opened < opened || service->closed < closed)
		pthread_cond_wait(&service->changed, &service->lock);
	pthread_mutex_unlock(&service->lock);
}

static int heartbeat(struct stow_rpc_call *call, uint64_t time)
{
	PbReportRequest out = PB_REPORT_REQUEST__INIT;
	PbHeartbeat beat = PB_HEARTBEAT__INIT;

	beat.time = time;
	out.kind_case = PB_REPORT_REQUEST__KIND_HEARTBEAT;
	out.heartbeat = &beat;
	return stow_rpc_send(call, &out);
}

WITH_SETUP(a_stream_goes_both_ways_in_order)
{
	struct reader reader = READER;
	struct stow_rpc_call *call;

	assert_int_equal(stow_rpc_client_open(s->client, scheduler, "Report", &directive_ops,
					      &reader, NULL, 600 * S, &call, NULL),
			 0);
	for (uint64_t i = 0; i < 5000; i++)
		assert_int_equal(heartbeat(call, i), 0);
	stow_rpc_close(call, NULL);
	assert_int_equal(heartbeat(call, 0), -EPIPE);
	await_closed(&reader);
	assert_int_equal(reader.err.code, 0);
	assert_int_equal(reader.n, 5000);
	assert_true(reader.in_order);
	stow_rpc_unref(call);
	await_streams(&s->service, 1, 1);
	assert_int_equal(s->service.closed_with.code, 0);
	assert_int_equal(s->service.messages, 5000);
}

static struct stow_rpc_call *open_report(struct setup *s, struct reader *reader)
{
	struct stow_rpc_call *call;

	assert_int_equal(stow_rpc_client_open(s->client, scheduler, "Report", &directive_ops,
					      reader, NULL, 600 * S, &call, NULL),
			 0);
	return call;
}

static size_t messages_read(struct reader *reader)
{
	return LOCKED(&reader->lock, reader->n);
}

WITH_SETUP(a_paused_stream_is_not_read)
{
	struct reader reader = READER;
	struct stow_rpc_call *call;

	reader.pauses = 10;
	call = open_report(s, &reader);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(heartbeat(call, i), 0);
	UNTIL(LOCKED(&s->service.lock, s->service.messages) == 100);
	for (size_t n = 10; n <= 100; n += 10) {
		UNTIL(messages_read(&reader) == n);
		usleep(20000); /* it would be read now */
		assert_int_equal(messages_read(&reader), n);
		stow_rpc_resume(call); /* once: it may have paused again at once */
	}
	stow_rpc_close(call, NULL);
	await_closed(&reader);
	assert_int_equal(reader.err.code, 0);
	assert_int_equal(reader.n, 100);
	assert_true(reader.in_order);
	stow_rpc_resume(call); /* of a stream that has ended */
	stow_rpc_unref(call);
}

WITH_SETUP(a_pause_may_end_before_the_callback_does)
{
	struct reader reader = READER;
	struct stow_rpc_call *call;

	reader.pauses = 1;
	reader.resumes = true;
	call = open_report(s, &reader);
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(heartbeat(call, i), 0);
	stow_rpc_close(call, NULL);
	await_closed(&reader);
	assert_int_equal(reader.n, 1000);
	assert_true(reader.in_order);
	stow_rpc_unref(call);
}

/* Each end of a stream is told, also while it is paused: by this side, and by the other. */
WITH_SETUP(the_end_of_a_stream_ends_its_pause)
{
	struct stow_err err;

	for (int i = 0; i < 2; i++) {
		struct reader reader = READER;
		struct stow_rpc_call *call;

		reader.pauses = 1;
		call = open_report(s, &reader);
		assert_int_equal(heartbeat(call, 0), 0);
		UNTIL(messages_read(&reader) == 1);
		await_streams(&s->service, i + 1, i);
		stow_err_set(&err, ESHUTDOWN, "enough");
		stow_rpc_close(i ? call : s->service.stream, &err);
		await_closed(&reader);
		assert_int_equal(reader.n, 1);
		assert_string_equal(reader.err.msg, "enough");
		stow_rpc_pause(call); /* too late: nothing waits for a resume */
		stow_rpc_unref(call);
		await_streams(&s->service, i + 1, i + 1);
		if (i == 0) { /* the fixture keeps the last stream */
			stow_rpc_unref(s->service.stream);
			s->service.stream = NULL;
		}
	}
}

static void *resume_at_any_time(void *arg)
{
	struct reader *reader = arg;

	while (LOCKED(&reader->lock, !reader->closed)) {
		stow_rpc_resume(reader->call);
		usleep(100);
	}
	return NULL;
}

WITH_SETUP(any_thread_resumes)
{
	struct reader reader = READER;
	pthread_t threads[3];

	reader.pauses = 1;
	reader.call = open_report(s, &reader);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, resume_at_any_time, &reader), 0);
	for (uint64_t i = 0; i < 2000; i++)
		assert_int_equal(heartbeat(reader.call, i), 0);
	stow_rpc_close(reader.call, NULL);
	await_closed(&reader);
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(reader.n, 2000);
	assert_true(reader.in_order);
	stow_rpc_unref(reader.call);
}

static void *send_many(void *arg)
{
	struct stow_rpc_call *call = arg;

	for (int i = 0; i < 500; i++) {
		PbDirective out = PB_DIRECTIVE__INIT;

		if (stow_rpc_send(call, &out) < 0)
			break;
	}
	return NULL;
}

WITH_SETUP(any_thread_sends)
{
	struct reader reader = READER;
	struct stow_rpc_call *call;
	pthread_t threads[4];

	assert_int_equal(stow_rpc_client_open(s->client, scheduler, "Report", &directive_ops,
					      &reader, NULL, 600 * S, &call, NULL),
			 0);
	await_streams(&s->service, 1, 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, send_many, s->service.stream),
				 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	stow_rpc_close(s->service.stream, NULL);
	await_closed(&reader);
	assert_int_equal(reader.err.code, 0);
	assert_int_equal(reader.n, 2000);
	assert_int_equal(stow_rpc_send(s->service.stream, &(PbDirective)PB_DIRECTIVE__INIT),
			 -EPIPE);
	stow_rpc_unref(call);
}

WITH_SETUP(a_bad_message_ends_the_stream_with_its_reason)
{
	struct reader reader = READER;
	struct stow_rpc_call *call;
	PbReportRequest nothing = PB_REPORT_REQUEST__INIT;

	assert_int_equal(stow_rpc_client_open(s->client, scheduler, "Report", &directive_ops,
					      &reader, NULL, 600 * S, &call, NULL),
			 0);
	stow_rpc_send(call, &nothing);
	await_closed(&reader);
	assert_int_equal(reader.err.code, EINVAL);
	assert_string_equal(reader.err.msg, "not a heartbeat");
	await_streams(&s->service, 1, 1);
	assert_int_equal(s->service.closed_with.code, EINVAL);
	stow_rpc_unref(call);
}

WITH_SETUP(a_caller_that_leaves_is_noticed)
{
	struct reader reader = READER;
	struct stow_rpc_call *call;
	struct stow_err err;

	assert_int_equal(stow_rpc_client_open(s->client, scheduler, "Report", &directive_ops,
					      &reader, NULL, 600 * S, &call, NULL),
			 0);
	await_streams(&s->service, 1, 0);
	stow_err_set(&err, ECANCELED, "changed my mind");
	stow_rpc_close(call, &err);
	await_closed(&reader);
	assert_int_equal(reader.err.code, ECANCELED);
	assert_string_equal(reader.err.msg, "changed my mind");
	stow_rpc_unref(call);
	await_streams(&s->service, 1, 1);
	assert_int_equal(s->service.closed_with.code, ECANCELED);
	assert_true(stow_rpc_cancelled(s->service.stream));
}

static void watch(struct setup *s, const char *name, struct reader *reader)
{
	PbWatchNodesRequest in = PB_WATCH_NODES_REQUEST__INIT;
	char *names[] = { (char *)(uintptr_t)name, (char *)(uintptr_t) "last" };

	in.names = names;
	in.n_names = !name ? 0 : strcmp(name, "refuse") == 0 ? 1 : 2;
	assert_int_equal(stow_rpc_client_open(s->client, scheduler, "WatchNodes", &event_ops,
					      reader, &in, 600 * S, NULL, NULL),
			 0);
}

WITH_SETUP(a_server_streams)
{
	struct reader reader = READER, refused = READER;

	watch(s, "first", &reader);
	await_closed(&reader);
	assert_int_equal(reader.err.code, 0);
	assert_int_equal(reader.n, 2);
	assert_string_equal(reader.last, "last");

	watch(s, "refuse", &refused);
	await_closed(&refused);
	assert_int_equal(refused.err.code, EACCES);
	assert_string_equal(refused.err.msg, "not yours");
	await_streams(&s->service, 1, 1);
	assert_int_equal(s->service.closed, 1); /* none for the refused one */
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they end the program */
/* A stream in which a message is missing would tell something else: it ends. */
WITH_SETUP(without_memory_a_stream_ends)
{
	struct reader reader = READER;
	struct stow_rpc_call *call;
	ProtobufCBinaryData huge = { .len = (size_t)1 << 46, .data = (uint8_t *)&reader };
	Grpc__Reflection__V1alpha__FileDescriptorResponse out =
		GRPC__REFLECTION__V1ALPHA__FILE_DESCRIPTOR_RESPONSE__INIT;
	uint32_t n;

	out.n_file_descriptor_proto = 1;
	out.file_descriptor_proto = &huge;
	assert_int_equal(stow_rpc_client_open(s->client, scheduler, "Report", &directive_ops,
					      &reader, NULL, 600 * S, &call, NULL),
			 0);
	await_streams(&s->service, 1, 0);
	assert_int_equal(stow_rpc_send(call, &out), -ENOMEM);
	await_closed(&reader);
	assert_string_equal(reader.err.msg, "out of memory");
	assert_int_equal(call_release(s->client, "x", 600 * S, &n, NULL), 0);
	stow_rpc_unref(call);
}
#endif

WITH_SETUP(a_slow_reader_is_dropped)
{
	struct reader reader = READER;
	uint32_t n;

	reader.hold = true;
	watch(s, NULL, &reader);
	await_streams(&s->service, 1, 1);
	assert_int_equal(s->service.closed_with.code, ENOBUFS);
	pthread_mutex_lock(&reader.lock);
	reader.hold = false;
	pthread_cond_broadcast(&reader.changed);
	pthread_mutex_unlock(&reader.lock);
	await_closed(&reader);
	assert_int_equal(reader.err.code, ENOSPC);
	assert_int_equal(call_release(s->client, "x", 600 * S, &n, NULL), 0);
}

/* --- stopping ----------------------------------------------------------------------------------- */

struct stopped_call {
	struct setup *s;
	int r;
	uint32_t n;
};

static void *sleeping_call(void *arg)
{
	struct stopped_call *c = arg;

	c->r = call_release(c->s->client, "sleep", 600 * S, &c->n, NULL);
	return NULL;
}

WITH_SETUP(stopping_waits_for_calls)
{
	struct stopped_call c = { .s = s, .r = 1 };
	struct stow_err err;
	pthread_t thread;
	uint32_t n;

	assert_int_equal(pthread_create(&thread, NULL, sleeping_call, &c), 0);
	while (atomic_load(&s->service.held) == 0)
		usleep(1000);
	stow_rpc_server_stop(s->server, 60 * S);
	pthread_join(thread, NULL);
	assert_int_equal(c.r, 0);
	assert_int_equal(c.n, 1);
	assert_int_equal(call_release(s->client, "x", 600 * S, &n, &err), -ENOTCONN);
}

/* How often a call's end was reported, and whether to the caller's own thread. */
struct ends {
	pthread_mutex_t lock;
	pthread_t caller;
	unsigned int n;
	bool within;
};

static void count_end(void *ctx, const void *response, const struct stow_err *err)
{
	struct ends *ends = ctx;

	pthread_mutex_lock(&ends->lock);
	ends->n++;
	ends->within |= pthread_equal(pthread_self(), ends->caller);
	pthread_mutex_unlock(&ends->lock);
}

static void count_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	count_end(ctx, NULL, err);
}

WITH_SETUP(a_call_that_fails_at_once_does_not_end_within_its_caller)
{
	static const struct stow_rpc_stream_ops closed_ops = { .closed = count_closed };
	struct ends ends = { PTHREAD_MUTEX_INITIALIZER, pthread_self(), 0, false };
	PbReleaseRequest request = PB_RELEASE_REQUEST__INIT;
	struct stow_err err;
	uint32_t n;

	stow_rpc_server_stop(s->server, 0);
	while (call_release(s->client, "x", 600 * S, &n, &err) == 0)
		usleep(1000);
	/* The channel has failed: what is called now ends before it was started. */
	for (unsigned int i = 0; i < 500; i++) {
		assert_int_equal(stow_rpc_client_open(s->client, scheduler, "Report", &closed_ops,
						      &ends, NULL, 600 * S, NULL, NULL),
				 0);
		assert_int_equal(stow_rpc_client_start(s->client, scheduler, "Release", &request,
						       600 * S, count_end, &ends, NULL),
				 0);
		usleep(200); /* so that this thread is not ahead of the loop's */
	}
	while (LOCKED(&ends.lock, ends.n) < 1000)
		usleep(1000);
	assert_false(ends.within);
}

WITH_SETUP(stopping_ends_streams)
{
	struct reader reader = READER;
	struct stow_rpc_call *call;

	assert_int_equal(stow_rpc_client_open(s->client, scheduler, "Report", &directive_ops,
					      &reader, NULL, 600 * S, &call, NULL),
			 0);
	await_streams(&s->service, 1, 0);
	stow_rpc_server_stop(s->server, S / 10);
	await_closed(&reader);
	assert_int_not_equal(reader.err.code, 0);
	assert_int_equal(s->service.closed, 1);
	stow_rpc_unref(call);
}

WITH_SETUP(a_client_takes_its_calls_along)
{
	struct reader reader = READER;
	struct stow_rpc_call *call;

	assert_int_equal(stow_rpc_client_open(s->client, scheduler, "Report", &directive_ops,
					      &reader, NULL, STOW_RPC_NO_DEADLINE, &call, NULL),
			 0);
	await_streams(&s->service, 1, 0);
	stow_rpc_client_free(s->client);
	s->client = NULL;
	assert_true(reader.closed);
	assert_int_equal(heartbeat(call, 1), -EPIPE);
	stow_rpc_close(call, &(struct stow_err){ .code = ECANCELED });
	stow_rpc_unref(call);
}

/* --- TLS ---------------------------------------------------------------------------------------- */

static void openssl(struct setup *s, const char *script)
{
	char command[4096];

	snprintf(command, sizeof(command), "cd '%s' && { %s; } >openssl.log 2>&1", s->dir, script);
	assert_int_equal(system(command), 0);
}

/* A CA, and a certificate by it: CA.crt, NAME.crt, NAME.key. */
static void make_ca(struct setup *s, const char *ca)
{
	char script[1024];

	snprintf(script, sizeof(script),
		 "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
		 "-subj /CN=%s -keyout %s.key -out %s.crt",
		 ca, ca, ca);
	openssl(s, script);
}

static void make_cert(struct setup *s, const char *ca, const char *name, const char *san)
{
	char script[2048];

	snprintf(script, sizeof(script),
		 "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=%s "
		 "-keyout %s.key -out %s.csr && printf 'subjectAltName=%s\\n' >%s.ext && "
		 "openssl x509 -req -in %s.csr -CA %s.crt -CAkey %s.key -days 1 -extfile %s.ext "
		 "-out %s.crt",
		 name, name, name, san, name, name, ca, ca, name, name);
	openssl(s, script);
}

struct files {
	char certificate[128], key[128], ca[128];
	struct stow_rpc_tls tls;
};

static const struct stow_rpc_tls *tls_of(struct setup *s, struct files *files, const char *name,
					 const char *ca)
{
	snprintf(files->certificate, sizeof(files->certificate), "%s/%s.crt", s->dir, name);
	snprintf(files->key, sizeof(files->key), "%s/%s.key", s->dir, name);
	snprintf(files->ca, sizeof(files->ca), "%s/%s.crt", s->dir, ca);
	files->tls = (struct stow_rpc_tls){ files->certificate, files->key, files->ca };
	return &files->tls;
}

static int try_tls(struct setup *s, const struct stow_rpc_tls *tls, const char *name)
{
	struct stow_rpc_client *client = client_for(s, tls, name);
	struct stow_err err;
	uint32_t n;
	int r = call_release(client, "x", 600 * S, &n, &err);

	stow_rpc_client_free(client);
	return r;
}

BARE(certificates_decide)
{
	struct files server, good, rogue, mixed;
	PbPlaceRequest place_in = PB_PLACE_REQUEST__INIT;
	struct stow_rpc_client *client;
	struct stow_err err;
	void *out;

	make_ca(s, "ca");
	make_ca(s, "rogue-ca");
	make_cert(s, "ca", "server", "DNS:scheduler.example");
	make_cert(s, "ca", "client", "URI:numastow:agent/web-3,DNS:test:placer");
	make_cert(s, "rogue-ca", "rogue", "DNS:web-3");
	start_server(s, tls_of(s, &server, "server", "ca"));

	assert_int_equal(try_tls(s, tls_of(s, &good, "client", "ca"), "scheduler.example"), 0);
	assert_true(s->service.peer.tls);
	assert_string_equal(s->service.peer.name, "client");
	assert_string_equal(s->service.uri, "numastow:agent/web-3");
	assert_string_equal(s->service.dns, "test:placer"); /* and may not place, below */

	assert_int_equal(try_tls(s, &good.tls, "other.example"), -ENOTCONN);
	assert_int_equal(try_tls(s, NULL, NULL), -ENOTCONN);
	assert_int_equal(try_tls(s, tls_of(s, &rogue, "rogue", "ca"), "scheduler.example"),
			 -ENOTCONN);
	assert_int_equal(try_tls(s, tls_of(s, &mixed, "client", "rogue-ca"), "scheduler.example"),
			 -ENOTCONN);

	client = client_for(s, &good.tls, "scheduler.example");
	assert_int_equal(stow_rpc_client_call(client, scheduler, "Place", &place_in, 600 * S, &out,
					      &err),
			 -EACCES);
	assert_string_equal(err.msg, "client may not place");
	stow_rpc_client_free(client);
}

BARE(certificates_are_read_again)
{
	struct files server, good, newer;
	int r = -ENOTCONN;

	make_ca(s, "ca");
	make_ca(s, "next-ca");
	make_cert(s, "ca", "server", "DNS:scheduler.example");
	make_cert(s, "ca", "client", "DNS:web-3");
	make_cert(s, "next-ca", "newer", "DNS:scheduler.example");
	start_server(s, tls_of(s, &server, "server", "ca"));
	tls_of(s, &good, "client", "ca");
	tls_of(s, &newer, "newer", "next-ca");
	assert_int_equal(try_tls(s, &good.tls, "scheduler.example"), 0);

	/* Half of the exchange: the old pair stays in use. */
	openssl(s, "cp newer.crt server.crt");
	assert_int_equal(try_tls(s, &good.tls, "scheduler.example"), 0);
	openssl(s, "cp newer.key server.key && cp next-ca.crt ca.crt.new && mv ca.crt.new ca.crt");
	/* The server may end this connection, too, at the moment when it sees the new CA. */
	for (int i = 0; i < 600 && r != 0; i++) {
		r = try_tls(s, &newer.tls, "scheduler.example");
		assert_true(r == 0 || r == -ENOTCONN);
		if (r < 0)
			usleep(100000);
	}
	assert_int_equal(r, 0);
	tls_of(s, &good, "client", "next-ca");
	assert_int_equal(try_tls(s, &good.tls, "scheduler.example"), -ENOTCONN);
}

BARE(a_new_ca_ends_connections)
{
	struct files server, good;
	struct reader reader = READER;
	uint32_t n;

	make_ca(s, "ca");
	make_ca(s, "next-ca");
	make_cert(s, "ca", "server", "DNS:scheduler.example");
	make_cert(s, "ca", "client", "DNS:web-3");
	start_server(s, tls_of(s, &server, "server", "ca"));
	s->client = client_for(s, tls_of(s, &good, "client", "ca"), "scheduler.example");
	watch(s, "hold", &reader);
	await_streams(&s->service, 1, 0);
	assert_int_equal(call_release(s->client, "x", 600 * S, &n, NULL), 0);

	openssl(s, "cp next-ca.crt ca.crt.new && mv ca.crt.new ca.crt");
	await_closed(&reader);
	assert_string_equal(reader.err.msg, STOW_RPC_RENEWED);
	/* The channel is open, and its certificate no longer good. */
	assert_int_equal(call_release(s->client, "x", 600 * S, &n, NULL), -ENOTCONN);
	assert_int_equal(call_release(s->client, "x", 600 * S, &n, NULL), -ENOTCONN);
}

/* A client that lives long shows, and believes, what is in the files when it connects. */
BARE(a_client_follows_its_files)
{
	struct stow_rpc_client_options options = { .follow_tls = true,
						   .server_name = "scheduler.example" };
	struct stow_rpc_limits limits;
	struct files server, good;
	bool shown = false;
	uint32_t n;

	stow_rpc_limits_defaults(&limits, 64);
	limits.connection_age = S;
	s->limits = &limits;
	make_ca(s, "ca");
	make_cert(s, "ca", "server", "DNS:scheduler.example");
	make_cert(s, "ca", "client", "DNS:web-3");
	make_cert(s, "ca", "newer", "DNS:web-3");
	start_server(s, tls_of(s, &server, "server", "ca"));
	options.tls = tls_of(s, &good, "client", "ca");
	options.target = s->target;
	assert_int_equal(stow_rpc_client_new(s->loop, &options, &s->client, NULL), 0);
	/* A call may be under way when its connection's time is over. */
	UNTIL(call_release(s->client, "x", 600 * S, &n, NULL) == 0);
	assert_string_equal(s->service.peer.name, "client");
	openssl(s, "cp newer.key client.key && cp newer.crt client.crt");
	for (int i = 0; i < 600 && !shown; i++) {
		if (call_release(s->client, "x", 600 * S, &n, NULL) == 0)
			shown = strcmp(s->service.peer.name, "newer") == 0;
		usleep(100000);
	}
	assert_true(shown);
}

BARE(connections_come_of_age)
{
	struct stow_rpc_limits limits;
	struct reader reader = READER;
	int renewed = 0;
	uint32_t n;

	stow_rpc_limits_defaults(&limits, 64);
	limits.connection_age = S;
	s->limits = &limits;
	start_server(s, NULL);
	s->client = client_for(s, NULL, NULL);
	watch(s, "hold", &reader);
	await_closed(&reader);
	assert_true(stow_rpc_is_renewal(&reader.err));
	/* One that is under way when its connection's time is over, grace included, is told so. */
	for (int i = 0; i < 30; i++) {
		struct stow_err err = { 0 };
		int r = call_release(s->client, "x", 600 * S, &n, &err);

		if (r != 0)
			assert_true(stow_rpc_is_renewal(&err) || r == -ENOTCONN);
		renewed += r != 0;
		usleep(50000);
	}
	assert_in_range(renewed, 0, 29);
}

/* A request that is begun and not ended: raw, for our own client sends whole ones. */
BARE(a_request_must_become_whole)
{
	struct stow_rpc_limits limits;
	struct reader reader = READER;
	struct stow_rpc_call *call;

	stow_rpc_limits_defaults(&limits, 64);
	limits.request_timeout = S / 2;
	s->limits = &limits;
	start_server(s, NULL);
	s->client = client_for(s, NULL, NULL);
	assert_int_equal(stow_rpc_client_open(s->client, scheduler, "Report", &directive_ops,
					      &reader, NULL, 600 * S, &call, NULL),
			 0);
	await_closed(&reader);
	assert_int_equal(reader.err.code, ETIMEDOUT);
	assert_non_null(strstr(reader.err.msg, "was not complete within 500 ms"));
	stow_rpc_unref(call);
}

BARE(bad_files_are_named)
{
	struct files files;
	int64_t expires;
	struct stow_err err;

	make_ca(s, "ca");
	make_cert(s, "ca", "a", "DNS:a");
	make_cert(s, "ca", "b", "DNS:b");
	tls_of(s, &files, "a", "ca");
	assert_int_equal(stow_rpc_tls_check(&files.tls, &err), 0);
	assert_int_equal(stow_rpc_tls_check_valid(&files.tls, &expires, &err), 0);
	assert_true(expires > (int64_t)(stow_clock_wall() / S));
	openssl(s, "cp a.crt a.crt.good && head -c 200 b.crt >>a.crt");
	assert_int_equal(stow_rpc_tls_check(&files.tls, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "a.crt: certificate 2 cannot be read"));
	openssl(s,
		"mv a.crt.good a.crt && cp ca.crt ca.crt.good && head -c 200 ca.crt.good >>ca.crt");
	assert_int_equal(stow_rpc_tls_check(&files.tls, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "ca.crt: CA certificate 2 cannot be read"));
	openssl(s, ": >ca.crt");
	assert_int_equal(stow_rpc_tls_check(&files.tls, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "ca.crt: no CA certificate in PEM format"));
	openssl(s, "cat ca.crt.good ca.crt.good >ca.crt && cat ca.crt.good >>a.crt");
	assert_int_equal(stow_rpc_tls_check(&files.tls, &err), 0);
	/* "openssl x509" can only begin today, and OpenSSL 3.5 refuses to end yesterday. */
	openssl(s, "mkdir old && : >old/index && printf '%s\\n' '[ca]' 'default_ca = it' '[it]' "
		   "'database = old/index' 'new_certs_dir = old' 'rand_serial = yes' "
		   "'default_md = sha256' 'policy = any' '[any]' 'commonName = supplied' "
		   ">old/config && openssl ca -batch -notext -config old/config -in a.csr "
		   "-cert ca.crt.good -keyfile ca.key -out a.crt -startdate 20200101000000Z "
		   "-enddate 20200102000000Z");
	assert_int_equal(stow_rpc_tls_check(&files.tls, &err), 0);
	assert_int_equal(stow_rpc_tls_check_valid(&files.tls, &expires, &err), -EKEYEXPIRED);
	assert_non_null(strstr(err.msg, "a.crt expired on "));
	assert_true(expires > 0 && expires < (int64_t)(stow_clock_wall() / S));
	openssl(s, "cp b.key a.key");
	assert_int_equal(stow_rpc_tls_check(&files.tls, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "does not belong to the certificate"));
	assert_int_equal(stow_rpc_tls_check_valid(&files.tls, &expires, &err), -EINVAL);
	assert_int_equal(expires, 0);
	openssl(s, "echo nonsense >a.crt");
	assert_int_equal(stow_rpc_tls_check(&files.tls, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "a.crt: no certificate in PEM format"));
	openssl(s, "rm a.crt");
	assert_int_equal(stow_rpc_tls_check(&files.tls, &err), -ENOENT);
}

/* --- unix sockets ------------------------------------------------------------------------------- */

WITH_SETUP(the_kernel_identifies_local_peers)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stow_rpc_client *client;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint32_t n;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", s->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(stow_rpc_server_listen_unix(s->server, fd, NULL), 0);
	snprintf(s->target, sizeof(s->target), "unix:%s", address.sun_path);
	for (int i = 0; i < 50; i++) {
		client = client_for(s, NULL, NULL);
		assert_int_equal(call_release(client, "x", 600 * S, &n, NULL), 0);
		stow_rpc_client_free(client);
		pthread_mutex_lock(&s->service.lock);
		assert_true(s->service.peer.local);
		assert_int_equal(s->service.peer.pid, getpid());
		assert_int_equal(s->service.peer.uid, getuid());
		assert_true(s->service.peer.same_namespaces);
		assert_string_equal(s->service.peer.address, "unix:");
		memset(&s->service.peer, 0, sizeof(s->service.peer));
		pthread_mutex_unlock(&s->service.lock);
	}
}

/* --- strangers ---------------------------------------------------------------------------------- */

WITH_SETUP(garbage_does_not_disturb_other_clients)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	unsigned int seed = 1;
	uint32_t n;

	address.sin_port = htons((uint16_t)atoi(strchr(s->target, ':') + 1));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (int i = 0; i < 50; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		char junk[512];

		assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
		for (size_t j = 0; j < sizeof(junk); j++)
			junk[j] = (char)rand_r(&seed);
		if (i % 2)
			memcpy(junk, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
		assert_int_equal(send(fd, junk, sizeof(junk), MSG_NOSIGNAL), sizeof(junk));
		assert_int_equal(call_release(s->client, "x", 600 * S, &n, NULL), 0);
		close(fd);
	}
}

/* --- health, reflection ------------------------------------------------------------------------- */

WITH_SETUP(health_answers)
{
	Grpc__Health__V1__HealthCheckRequest in = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	Grpc__Health__V1__HealthCheckResponse *out;
	struct stow_err err;
	void *response;

	in.service = (char *)(uintptr_t) "numastow.v1.Scheduler";
	for (int serving = 1; serving >= 0; serving--) {
		stow_rpc_server_set_serving(s->server, serving);
		assert_int_equal(stow_rpc_client_call(s->client,
						      &grpc__health__v1__health__descriptor,
						      "Check", &in, 600 * S, &response, NULL),
				 0);
		out = response;
		assert_int_equal(out->status, serving ? 1 : 2);
		stow_rpc_message_free(out);
	}
	in.service = (char *)(uintptr_t) "nothing";
	assert_int_equal(stow_rpc_client_call(s->client, &grpc__health__v1__health__descriptor,
					      "Check", &in, 600 * S, &response, &err),
			 -ENOENT);
}

static int on_reflection(struct stow_rpc_call *call, void *ctx, const void *message,
			 struct stow_err *err)
{
	const Grpc__Reflection__V1alpha__ServerReflectionResponse *in = message;
	struct reader *reader = ctx;

	pthread_mutex_lock(&reader->lock);
	reader->n++;
	if (in->message_response_case ==
	    GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE)
		reader->sum += in->list_services_response->n_service;
	if (in->message_response_case ==
	    GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE)
		reader->sum += 100 * in->file_descriptor_response->n_file_descriptor_proto;
	if (in->message_response_case ==
	    GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE)
		reader->sum += 10000;
	pthread_mutex_unlock(&reader->lock);
	return 0;
}

WITH_SETUP(reflection_describes)
{
	static const struct stow_rpc_stream_ops ops = { .message = on_reflection,
							.closed = on_closed };
	struct reader reader = READER;
	struct stow_rpc_call *call;
	Grpc__Reflection__V1alpha__ServerReflectionRequest in =
		GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__INIT;
	static const char *const symbols[] = { "numastow.v1.Scheduler",
					       "numastow.v1.Scheduler.Place",
					       "numastow.v1.PlaceRequest", "numastow.v1.Nothing" };

	assert_int_equal(stow_rpc_client_open(
				 s->client,
				 &grpc__reflection__v1alpha__server_reflection__descriptor,
				 "ServerReflectionInfo", &ops, &reader, NULL, 600 * S, &call, NULL),
			 0);
	in.message_request_case =
		GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES;
	in.list_services = (char *)(uintptr_t) "";
	stow_rpc_send(call, &in);
	in.message_request_case =
		GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL;
	for (size_t i = 0; i < 4; i++) {
		in.file_containing_symbol = (char *)(uintptr_t)symbols[i];
		stow_rpc_send(call, &in);
	}
	stow_rpc_close(call, NULL);
	await_closed(&reader);
	assert_int_equal(reader.err.code, 0);
	assert_int_equal(reader.n, 5);
	/* Three services; scheduler.proto and what it imports, three times; one that is not there. */
	assert_int_equal(reader.sum, 3 + 3 * 300 + 10000);
	stow_rpc_unref(call);
}
