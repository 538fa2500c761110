// SPDX-License-Identifier: Apache-2.0
/* Streams that follow changes, and readers that do not read. */
#include "unit.h"

#include <errno.h>
#include <numastow/v1/scheduler.pb-c.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/rpc.h"

END_WHEN_A_CHECK_FAILS

#define S	STOW_SECOND
#define MESSAGE 65536
#define AHEAD	16 /* messages: the window of a stream has room for one */
#define WATCHES 4

static const ProtobufCServiceDescriptor *const scheduler = &pb_scheduler__descriptor;

/* What the two sides know; one lock for everything. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

struct side {
	unsigned int opened, closed, code; /* code: the last error, of the server's side */
	unsigned int written;		   /* calls of written() which have looked at `most` */
	struct stow_rpc_call *call;
};

static struct side side;
static atomic_uint sent, most;

#define until(condition)                                    \
	do {                                                \
		pthread_mutex_lock(&lock);                  \
		while (!(condition))                        \
			pthread_cond_wait(&changed, &lock); \
		pthread_mutex_unlock(&lock);                \
	} while (0)

/* --- the server ----------------------------------------------------------- */

static int open_watch(struct stow_rpc_call *call, void *ctx, const void *request,
		      struct stow_err *err)
{
	pthread_mutex_lock(&lock);
	side.opened++;
	side.call = call;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return 0;
}

/* One message at a time: the next when the last was written. */
static void written(struct stow_rpc_call *call, void *ctx)
{
	static char text[MESSAGE];
	PbNodeEvent event = PB_NODE_EVENT__INIT;
	bool enough = atomic_load(&sent) >= atomic_load(&most);

	pthread_mutex_lock(&lock);
	side.written++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	if (enough)
		return;
	atomic_fetch_add(&sent, 1);
	memset(text, 'x', sizeof(text) - 1);
	event.kind_case = PB_NODE_EVENT__KIND_GONE;
	event.gone = text;
	stow_rpc_send(call, &event);
}

static void watch_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	pthread_mutex_lock(&lock);
	side.closed++;
	side.code = err ? (unsigned int)err->code : 0;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static int release(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		   struct stow_err *err)
{
	return 0;
}

static const struct stow_rpc_stream_ops watch_ops = { .open = open_watch,
						      .written = written,
						      .closed = watch_closed };
static const struct stow_rpc_method methods[] = {
	{ "Release", .unary = release },
	{ "WatchNodes", .stream = &watch_ops, .watch = true },
};
static const struct stow_rpc_service service = { .descriptor = &pb_scheduler__descriptor,
						 .methods = methods,
						 .n_methods = 2 };

/* --- a reader ------------------------------------------------------------- */

/* Static: the threads use them after an assertion has failed, too. */
static struct reader {
	bool holds, is_closed;
	unsigned int n, ahead; /* messages; the most that were sent and not read */
	struct stow_err err;
	struct stow_rpc_call *call;
} readers[WATCHES + 2];

static int on_event(struct stow_rpc_call *call, void *ctx, const void *message,
		    struct stow_err *err)
{
	struct reader *reader = ctx;
	unsigned int ahead;

	pthread_mutex_lock(&lock);
	while (reader->holds)
		pthread_cond_wait(&changed, &lock);
	ahead = atomic_load(&sent) - reader->n;
	if (ahead > reader->ahead)
		reader->ahead = ahead;
	reader->n++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	return 0;
}

static void on_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct reader *reader = ctx;

	pthread_mutex_lock(&lock);
	reader->is_closed = true;
	if (err)
		reader->err = *err;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static const struct stow_rpc_stream_ops reader_ops = { .message = on_event, .closed = on_closed };

/* --- the tests ------------------------------------------------------------ */

struct setup {
	struct stow_rpc_loop *loop, *clients;
	struct stow_rpc_server *server;
	struct stow_rpc_client *client;
};

static int start(void **state, uint64_t read_timeout)
{
	struct stow_rpc_limits limits;
	struct stow_rpc_server_options options = { .limits = &limits };
	struct stow_rpc_client_options to = { 0 };
	struct setup *s = calloc(1, sizeof(*s));
	char target[64];
	int port;

	memset(&side, 0, sizeof(side));
	memset(readers, 0, sizeof(readers));
	atomic_store(&sent, 0);
	atomic_store(&most, 0);
	stow_rpc_limits_defaults(&limits, 1024);
	limits.max_watches_per_peer = WATCHES;
	limits.read_timeout = read_timeout;
	assert_int_equal(stow_rpc_loop_new(2, &s->loop, NULL), 0);
	assert_int_equal(stow_rpc_loop_new(2, &s->clients, NULL), 0);
	assert_int_equal(stow_rpc_server_new(s->loop, &options, &s->server, NULL), 0);
	assert_int_equal(stow_rpc_server_add(s->server, &service, NULL, NULL), 0);
	assert_int_equal(stow_rpc_server_listen(s->server, "127.0.0.1:0", &port, NULL), 0);
	assert_int_equal(stow_rpc_server_start(s->server, NULL), 0);
	snprintf(target, sizeof(target), "127.0.0.1:%d", port);
	to.target = target;
	assert_int_equal(stow_rpc_client_new(s->clients, &to, &s->client, NULL), 0);
	*state = s;
	return 0;
}

static int set_up(void **state)
{
	return start(state, 600 * S);
}

static int set_up_short(void **state)
{
	return start(state, 2 * S);
}

static void let_read(struct reader *reader)
{
	pthread_mutex_lock(&lock);
	reader->holds = false;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	for (unsigned int i = 0; i < WATCHES + 2; i++)
		let_read(&readers[i]);
	stow_rpc_client_free(s->client);
	stow_rpc_server_free(s->server);
	stow_rpc_loop_free(s->clients);
	stow_rpc_loop_free(s->loop);
	free(s);
	return 0;
}

#define WITH_SETUP(name)       TEST_WITH(name, struct setup *s, set_up, tear_down)
#define WITH_SETUP_SHORT(name) TEST_WITH(name, struct setup *s, set_up_short, tear_down)

static void watch(struct setup *s, struct reader *reader)
{
	PbWatchNodesRequest in = PB_WATCH_NODES_REQUEST__INIT;

	assert_int_equal(stow_rpc_client_open(s->client, scheduler, "WatchNodes", &reader_ops,
					      reader, &in, 600 * S, &reader->call, NULL),
			 0);
}

static void give_up(struct reader *reader)
{
	struct stow_err err;

	stow_err_set(&err, ECANCELED, "enough");
	stow_rpc_close(reader->call, &err);
	until(reader->is_closed);
	stow_rpc_unref(reader->call);
}

static void is_answered(struct setup *s)
{
	PbReleaseRequest in = PB_RELEASE_REQUEST__INIT;
	void *out = NULL;

	assert_int_equal(
		stow_rpc_client_call(s->client, scheduler, "Release", &in, 600 * S, &out, NULL), 0);
	stow_rpc_message_free(out);
}

/* A server that sends when the last message was written is never far ahead of the reader. */
WITH_SETUP(what_is_written_is_nearly_read)
{
	struct reader *reader = &readers[0];

	reader->holds = true;
	atomic_store(&most, 1000);
	watch(s, reader);
	until(side.opened == 1);
	is_answered(s);
	let_read(reader);
	until(reader->n == 1000);
	assert_in_range(reader->ahead, 1, AHEAD);
	give_up(reader);
	until(side.closed == 1);
}

static unsigned long refused(struct setup *s, const char *why)
{
	char *text = NULL, want[128], *at;
	size_t len;
	unsigned long n;
	FILE *out = open_memstream(&text, &len);

	stow_rpc_server_render(s->server, out, "test");
	assert_int_equal(fclose(out), 0);
	snprintf(want, sizeof(want), "\ntest_rpc_refused_total{reason=\"%s\"} ", why);
	at = strstr(text, want);
	assert_non_null(at);
	n = strtoul(at + strlen(want), NULL, 10);
	free(text);
	return n;
}

WITH_SETUP_SHORT(one_that_does_not_read_is_ended)
{
	struct reader *reader = &readers[0], *idle = &readers[1];

	/* Nothing is sent to it. */
	watch(s, idle);
	until(side.written == 1);
	reader->holds = true;
	atomic_store(&most, 1000);
	watch(s, reader);
	until(side.closed == 1);
	assert_int_equal(side.code, ENOBUFS);
	assert_int_equal(refused(s, "unread"), 1);
	assert_true(atomic_load(&sent) < AHEAD);
	let_read(reader);
	until(reader->is_closed);
	assert_int_equal(reader->err.code, ENOSPC);
	assert_non_null(strstr(reader->err.msg, "not read in time"));
	stow_rpc_unref(reader->call);
	is_answered(s);
	assert_false(idle->is_closed);
	give_up(idle);
	until(side.closed == 2);
}

WITH_SETUP(watches_have_a_limit_of_their_own)
{
	for (unsigned int i = 0; i < WATCHES; i++) {
		watch(s, &readers[i]);
		until(side.opened == i + 1);
	}
	watch(s, &readers[WATCHES]);
	until(readers[WATCHES].is_closed);
	assert_int_equal(readers[WATCHES].err.code, ENOSPC);
	assert_string_equal(readers[WATCHES].err.msg, "too many watches of this peer at a time");
	assert_int_equal(refused(s, "watches"), 1);
	assert_int_equal(refused(s, "calls"), 0);
	stow_rpc_unref(readers[WATCHES].call);
	/* Other calls of this peer go on, and another watch when one has ended. */
	is_answered(s);
	give_up(&readers[0]);
	until(side.closed == 1);
	/* `closed` comes before the count is lowered. */
	for (;;) {
		memset(&readers[0], 0, sizeof(readers[0]));
		watch(s, &readers[0]);
		until(readers[0].is_closed || side.opened == WATCHES + 1);
		if (!readers[0].is_closed)
			break;
		stow_rpc_unref(readers[0].call);
	}
	for (unsigned int i = 0; i < WATCHES; i++)
		give_up(&readers[i]);
	until(side.closed == WATCHES + 1);
}
