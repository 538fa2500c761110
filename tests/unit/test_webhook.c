// SPDX-License-Identifier: Apache-2.0
/* The bodies of webhook requests and their signatures, the URLs that are allowed, and the delivery
 * queue, with a simulated server and clock. */
#include "unit.h"

#include <arpa/inet.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#include "clock.h"
#include "rpc/log.h"
#include "scheduler/drain/delivery_queue.h"
#include "scheduler/fleet/fleet.h"
#include "whole.h"

#define S STOW_SECOND

/* --- the body ----------------------------------------------------------------------------------- */

/* printf '1700000000.{"event":"planned"}' | openssl dgst -sha256 -hmac Jefe */
TEST(a_signature_is_that_of_openssl)
{
	char hex[65];

	scheduler_event_sign("Jefe", 4, "1700000000", "{\"event\":\"planned\"}", hex);
	assert_string_equal(hex,
			    "7e36241e9d65710298e505343bd02554009133aff10c9c227c5df726ebfd79b8");
	scheduler_event_sign("\0\xff", 2, "1", "", hex);
	assert_string_equal(hex,
			    "475950d9f01a25cb61a249402156fe5eca322d3214d7878b51963f66fe9972f7");
}

struct drain {
	PbDrain message;
	PbDrainSpec spec;
	PbDrainProgress progress;
	PbDrainPlan plan;
	PbDrainBlock blocks[6], *list[6];
};

static void drain_init(struct drain *d)
{
	static const uint64_t ids[] = { 50, 48, 49, 9000, 12, 9001 };

	memset(d, 0, sizeof(*d));
	pb_drain__init(&d->message);
	pb_drain_spec__init(&d->spec);
	pb_drain_progress__init(&d->progress);
	pb_drain_plan__init(&d->plan);
	for (int i = 0; i < 6; i++) {
		pb_drain_block__init(&d->blocks[i]);
		d->blocks[i].id = ids[i];
		d->list[i] = &d->blocks[i];
	}
	d->plan.blocks = d->list;
	d->plan.n_blocks = 6;
	d->plan.bytes = UINT64_C(6) << 27;
	d->plan.numa_node = 1;
	d->plan.device = (char *)"dimm \"0\"\n";
	d->plan.address = UINT64_C(0xffffffffffff0000);
	d->spec.what_case = PB_DRAIN_SPEC__WHAT_NUMA_NODE;
	d->spec.numa_node = 1;
	d->message.id = (char *)"00112233445566aa";
	d->message.node = (char *)"web-3";
	d->message.spec = &d->spec;
	d->message.progress = &d->progress;
	d->message.plan = &d->plan;
	d->progress.step = PB_DRAIN_STEP_PLANNED;
}

static struct json_object *parsed(const char *text)
{
	struct json_object *out = text ? json_tokener_parse(text) : NULL;

	assert_non_null(out);
	return out;
}

static const char *text_of(struct json_object *from, const char *key)
{
	return json_object_get_string(json_object_object_get(from, key));
}

static uint64_t number_of(struct json_object *from, const char *key)
{
	return json_object_get_uint64(json_object_object_get(from, key));
}

TEST(a_body_has_the_planned_blocks)
{
	struct json_object *json;
	struct drain d;
	char *body, *sent;

	drain_init(&d);
	body = scheduler_event_body(SCHEDULER_EVENT_PLANNED, &d.message, 1700000000 * S);
	assert_null(strchr(body, '\n'));
	sent = scheduler_event_attempt(body, strlen(body), 3);
	free(body);
	json = parsed(sent);
	assert_string_equal(text_of(json, "event"), "planned");
	assert_string_equal(text_of(json, "drain"), "00112233445566aa");
	assert_string_equal(text_of(json, "node"), "web-3");
	assert_string_equal(text_of(json, "blocks"), "12,48-50,9000-9001");
	assert_string_equal(text_of(json, "device"), "dimm \"0\"\n");
	assert_string_equal(text_of(json, "step"), "planned");
	assert_string_equal(text_of(json, "time"), "2023-11-14T22:13:20Z");
	assert_true(number_of(json, "bytes") == UINT64_C(6) << 27);
	assert_true(number_of(json, "address") == UINT64_C(0xffffffffffff0000));
	assert_int_equal(number_of(json, "attempt"), 3);
	json_object_put(json);
	free(sent);
}

/* Once blocks are offline, the body has these instead of the planned ones: a virtio-mem device
 * shrinks by them. */
TEST(a_body_has_what_is_offline)
{
	struct json_object *json;
	struct drain d;
	char *body;

	drain_init(&d);
	d.progress.step = PB_DRAIN_STEP_SAFE;
	d.progress.blocks_gone = (char *)"48-50";
	d.progress.bytes_offline = UINT64_C(3) << 27;
	body = scheduler_event_body(SCHEDULER_EVENT_SAFE, &d.message, 0);
	json = parsed(body);
	assert_string_equal(text_of(json, "event"), "safe-to-remove");
	assert_int_equal(number_of(json, "bytes_staying"), 0);
	assert_string_equal(text_of(json, "blocks"), "48-50");
	assert_true(number_of(json, "bytes") == UINT64_C(3) << 27);
	json_object_put(json);
	free(body);
	/* Nothing has left, and nothing was planned. */
	d.progress.step = PB_DRAIN_STEP_CANCELLED;
	d.progress.blocks_gone = (char *)"";
	d.progress.bytes_offline = 0;
	d.message.plan = NULL;
	d.spec.what_case = PB_DRAIN_SPEC__WHAT_DEVICE;
	d.spec.device = (char *)"dimm7";
	body = scheduler_event_body(SCHEDULER_EVENT_FAILED, &d.message, 0);
	json = parsed(body);
	assert_string_equal(text_of(json, "event"), "failed");
	assert_string_equal(text_of(json, "step"), "cancelled");
	assert_string_equal(text_of(json, "blocks"), "");
	assert_string_equal(text_of(json, "device"), "dimm7");
	assert_int_equal(json_object_get_int(json_object_object_get(json, "numa_node")), -1);
	assert_int_equal(number_of(json, "bytes"), 0);
	json_object_put(json);
	free(body);
	assert_null(scheduler_event_attempt("", 0, 1));
}

/* The event says what may be removed only by the machine's report. */
TEST(what_may_be_removed_is_what_the_machine_reports)
{
	PbDrainProgress progress = PB_DRAIN_PROGRESS__INIT;

	assert_int_equal(scheduler_event_release(&progress), SCHEDULER_EVENTS);
	progress.release = PB_DRAIN_RELEASE_DEVICE;
	assert_string_equal(scheduler_event_name(scheduler_event_release(&progress)),
			    "safe-to-remove");
	progress.release = PB_DRAIN_RELEASE_SHRINK;
	assert_string_equal(scheduler_event_name(scheduler_event_release(&progress)),
			    "safe-to-shrink");
	progress.release = (PbDrainRelease)77;
	assert_int_equal(scheduler_event_release(&progress), SCHEDULER_EVENTS);
}

TEST(urls_are_checked)
{
	static const char *const good[] = { "https://hooks.example/drains",
					    "https://hooks.example",
					    "https://[2001:db8::1]:8443/x?y=z",
					    "http://127.0.0.1:8080/",
					    "http://[::1]/",
					    "http://localhost:80/x" };
	static const struct {
		const char *url, *why;
	} bad[] = {
		{ "", "is not a URL" },
		{ "hooks.example", "is not a URL" },
		{ "/drains", "is not a URL" },
		{ "https://", "is not a URL" },
		{ "ftp://127.0.0.1/", "is not a URL with https://" },
		{ "file:///etc/passwd", "is not a URL" },
		{ "https://user@hooks.example/", "user or a password" },
		{ "https://user:secret@hooks.example/", "user or a password" },
		{ "https://hooks.example/#x", "fragment" },
	};
	static const char *const plain[] = { "http://hooks.example/", "http://10.0.0.1/",
					     "http://127.0.0.1.example/",
					     "http://localhost.example/" };
	struct stow_err err;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(good); i++)
		if (scheduler_event_url_check(good[i], false, &err) < 0)
			fail_msg("%s: %s", good[i], err.msg);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		if (scheduler_event_url_check(bad[i].url, true, &err) != -EINVAL)
			fail_msg("%s is taken", bad[i].url);
		if (!strstr(err.msg, bad[i].why) || strstr(err.msg, "secret@"))
			fail_msg("%s: %s", bad[i].url, err.msg);
	}
	for (size_t i = 0; i < STOW_ARRAY_SIZE(plain); i++) {
		assert_int_equal(scheduler_event_url_check(plain[i], false, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "is not loopback"));
		assert_int_equal(scheduler_event_url_check(plain[i], true, NULL), 0);
	}
}

TEST(pauses_double_up_to_five_minutes)
{
	assert_int_equal(scheduler_event_pause(S, 1, 0), S);
	assert_int_equal(scheduler_event_pause(S, 2, 0), 2 * S);
	assert_int_equal(scheduler_event_pause(S, 5, 0), 16 * S);
	assert_int_equal(scheduler_event_pause(S, 9, 0), 256 * S);
	assert_int_equal(scheduler_event_pause(S, 10, 0), 300 * S);
	assert_int_equal(scheduler_event_pause(S, UINT64_MAX, 0), 300 * S);
	for (uint64_t random = 0; random < 100; random++) {
		uint64_t pause = scheduler_event_pause(S, 3, random * UINT64_C(0x9e3779b97f4a7c15));

		assert_true(pause > 2 * S && pause <= 4 * S);
	}
}

/* --- a server ----------------------------------------------------------------------------------- */

struct server {
	pthread_mutex_t lock;
	pthread_t thread;
	int fd, port;
	int status;	   /* of its answers */
	int n;		   /* requests */
	char seen[64][96]; /* their Idempotency-Key */
};

static void answer(struct server *s, int fd)
{
	char text[8192], out[128];
	const char *key, *body;
	size_t len = 0, wanted = SIZE_MAX;
	ssize_t n;

	while (len < wanted && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0) {
		const char *at;

		len += (size_t)n;
		text[len] = '\0';
		body = strstr(text, "\r\n\r\n");
		at = strstr(text, "Content-Length: ");
		if (body && at)
			wanted = (size_t)(body + 4 - text) + strtoul(at + 16, NULL, 10);
	}
	key = strstr(text, "Idempotency-Key: ");
	pthread_mutex_lock(&s->lock);
	if (key && s->n < 64)
		snprintf(s->seen[s->n++], sizeof(s->seen[0]), "%.*s",
			 (int)strcspn(key + 17, "\r\n"), key + 17);
	snprintf(out, sizeof(out),
		 "HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", s->status);
	pthread_mutex_unlock(&s->lock);
	assert_int_equal(write(fd, out, strlen(out)), strlen(out));
	close(fd);
}

static void *serve(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0)
		answer(s, fd);
	return NULL;
}

static void server_start(struct server *s)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);

	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	s->status = 200;
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(s->fd, 16), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
	s->port = ntohs(at.sin_port);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
	pthread_mutex_destroy(&s->lock);
}

static int requests(struct server *s)
{
	return LOCKED(&s->lock, s->n);
}

static void status(struct server *s, int value)
{
	pthread_mutex_lock(&s->lock);
	s->status = value;
	pthread_mutex_unlock(&s->lock);
}

/* --- the delivery queue ------------------------------------------------------------------------- */

struct fixture {
	char dir[64], url[64];
	struct server server;
	struct scheduler_config config;
	struct scheduler_delivery_queue *delivery_queue;
	struct stow_store *store;
};

static int on_webhook(void *ctx, const struct stow_store_webhook *webhook, struct stow_err *err)
{
	struct fixture *f = ctx;

	return scheduler_delivery_queue_load(f->delivery_queue, webhook, err);
}

static int nothing_else(void *ctx, uint64_t id, uint64_t flags, const void *message, size_t len,
			const char *request_id, struct stow_err *err)
{
	fail_msg("a drain that nobody has written");
	return 0;
}

static void start(struct fixture *f)
{
	struct stow_store_load load = { .drain = nothing_else, .webhook = on_webhook, .ctx = f };

	assert_int_equal(scheduler_delivery_queue_new(&f->config, &f->delivery_queue, NULL), 0);
	assert_int_equal(
		stow_store_new(&(struct stow_store_options){ .dir = f->dir }, &f->store, NULL), 0);
	assert_int_equal(stow_store_load(f->store, &load, NULL), 0);
	assert_int_equal(scheduler_delivery_queue_start(f->delivery_queue, f->store, NULL), 0);
}

static void stop(struct fixture *f)
{
	scheduler_delivery_queue_stop(f->delivery_queue);
	stow_store_close(f->store);
	scheduler_delivery_queue_free(f->delivery_queue);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	stow_log_configure(STOW_LOG_ERR, STOW_LOG_TEXT);
	strcpy(f->dir, "/tmp/test_webhook.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	server_start(&f->server);
	scheduler_config_defaults(&f->config);
	snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%d/x", f->server.port);
	f->config.webhooks = calloc(2, sizeof(char *));
	f->config.webhooks[0] = strdup(f->url);
	start(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	stop(f);
	server_stop(&f->server);
	scheduler_config_done(&f->config);
	whole_remove_store(f->dir);
	free(f);
	return 0;
}

#define WITH_FIXTURE(name) TEST_WITH(name, struct fixture *f, set_up, tear_down)

struct posting {
	struct fixture *f;
	struct scheduler_delivery *deliveries;
};

static void on_durable(void *ctx, const struct stow_err *err)
{
	struct posting *p = ctx;

	assert_null(err);
	scheduler_delivery_queue_post(p->f->delivery_queue, p->deliveries);
	free(p);
}

static void post(struct fixture *f, uint64_t drain, enum scheduler_event event)
{
	struct stow_writes *writes = stow_writes_new();
	struct posting *p = calloc(1, sizeof(*p));

	p->f = f;
	assert_int_equal(scheduler_delivery_queue_write(f->delivery_queue, writes, drain, event,
							"{\"a\":1}", stow_now().wall,
							&p->deliveries),
			 0);
	stow_store_commit(f->store, writes, on_durable, p);
}

static struct scheduler_delivery_queue_count counts(struct fixture *f)
{
	struct scheduler_delivery_queue_count count;

	scheduler_delivery_queue_count(f->delivery_queue, &count);
	return count;
}

WITH_FIXTURE(delivered_once_and_in_order)
{
	for (int event = 0; event < SCHEDULER_EVENTS; event++)
		post(f, 0xaa, (enum scheduler_event)event);
	UNTIL(counts(f).delivered == 5);
	assert_int_equal(counts(f).pending, 0);
	assert_int_equal(requests(&f->server), 5);
	assert_string_equal(f->server.seen[0], "00000000000000aa-planned");
	assert_string_equal(f->server.seen[1], "00000000000000aa-safe-to-remove");
	assert_string_equal(f->server.seen[2], "00000000000000aa-safe-to-shrink");
	assert_string_equal(f->server.seen[3], "00000000000000aa-removed");
	assert_string_equal(f->server.seen[4], "00000000000000aa-failed");
	stop(f);
	start(f); /* nothing is left of them */
	assert_int_equal(counts(f).pending, 0);
}

/* One drain's second event waits for its first; another drain's does not. */
WITH_FIXTURE(a_refusal_keeps_the_order_of_its_drain_only)
{
	status(&f->server, 503);
	post(f, 1, SCHEDULER_EVENT_PLANNED);
	UNTIL(counts(f).failed == 1);
	post(f, 1, SCHEDULER_EVENT_SAFE);
	status(&f->server, 200);
	post(f, 2, SCHEDULER_EVENT_PLANNED);
	UNTIL(counts(f).delivered >= 1);
	clock_advance(2 * S);
	UNTIL(counts(f).delivered == 3);
	assert_int_equal(requests(&f->server), 4);
	assert_string_equal(f->server.seen[0], "0000000000000001-planned");
	assert_string_equal(f->server.seen[3], "0000000000000001-safe-to-remove");
}

WITH_FIXTURE(a_wall_clock_that_is_set_back_delays_nothing)
{
	whole_wall_ahead(3600);
	status(&f->server, 503);
	post(f, 1, SCHEDULER_EVENT_PLANNED);
	UNTIL(counts(f).failed == 1);
	status(&f->server, 200);
	UNTIL(counts(f).delivered == 1);
	whole_wall_ahead(0);
}

WITH_FIXTURE(a_wall_clock_that_is_set_ahead_drops_nothing)
{
	status(&f->server, 503);
	post(f, 1, SCHEDULER_EVENT_PLANNED);
	UNTIL(counts(f).failed == 1);
	whole_wall_ahead(2 * 86400);
	clock_advance(2 * S);
	UNTIL(counts(f).failed >= 2);
	assert_int_equal(counts(f).given_up, 0);
	status(&f->server, 200);
	clock_advance(60 * S);
	UNTIL(counts(f).delivered == 1);
	whole_wall_ahead(0);
}

WITH_FIXTURE(a_new_process_goes_on)
{
	status(&f->server, 500);
	post(f, 1, SCHEDULER_EVENT_PLANNED);
	post(f, 1, SCHEDULER_EVENT_SAFE);
	UNTIL(counts(f).failed == 1);
	stop(f);
	status(&f->server, 200);
	start(f);
	assert_int_equal(counts(f).pending, 2);
	clock_advance(2 * S);
	UNTIL(counts(f).delivered == 2);
	/* Numbers go on behind those that were there. */
	status(&f->server, 500);
	post(f, 2, SCHEDULER_EVENT_PLANNED);
	UNTIL(counts(f).failed >= 1);
	stop(f);
	start(f);
	assert_int_equal(counts(f).pending, 1);
}

WITH_FIXTURE(it_is_given_up_in_the_end)
{
	status(&f->server, 500);
	post(f, 1, SCHEDULER_EVENT_PLANNED);
	UNTIL(counts(f).failed == 1);
	clock_advance(24 * 3600 * S + 600 * S);
	UNTIL(counts(f).given_up == 1);
	assert_int_equal(counts(f).pending, 0);
	status(&f->server, 410);
	post(f, 2, SCHEDULER_EVENT_PLANNED);
	UNTIL(counts(f).given_up == 2);
	assert_int_equal(counts(f).pending, 0);
	assert_int_equal(counts(f).delivered, 0);
}

WITH_FIXTURE(a_removed_url_gets_no_event)
{
	status(&f->server, 500);
	post(f, 1, SCHEDULER_EVENT_PLANNED);
	UNTIL(counts(f).failed == 1);
	stop(f);
	f->config.webhooks[0][strlen(f->url) - 1] = 'y';
	start(f);
	assert_int_equal(counts(f).pending, 0);
	stop(f);
	f->config.webhooks[0][strlen(f->url) - 1] = 'x';
	start(f);
	assert_int_equal(counts(f).pending, 0); /* its row was deleted */
}

WITH_FIXTURE(a_secret_must_be_there)
{
	struct scheduler_delivery_queue *delivery_queue;
	struct stow_err err;
	char path[128];
	FILE *file;

	f->config.webhook_secret = strdup("/nowhere/secret");
	assert_int_equal(scheduler_delivery_queue_new(&f->config, &delivery_queue, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "webhook-secret: cannot read /nowhere/secret"));
	free(f->config.webhook_secret);
	snprintf(path, sizeof(path), "%s/secret", f->dir);
	f->config.webhook_secret = strdup(path);
	file = fopen(path, "we");
	fputs("none\n\n", file);
	fclose(file);
	assert_int_equal(scheduler_delivery_queue_new(&f->config, &delivery_queue, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "has 4 bytes; expected a key of at least 16"));
	unlink(path);
	free(f->config.webhook_secret);
	f->config.webhook_secret = NULL;
}
