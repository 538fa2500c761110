// SPDX-License-Identifier: Apache-2.0
#include "scheduler/drain/outbox.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "rpc/say.h"
#include "scheduler/fleet/fleet.h"

#define SECRET_MIN    16
#define SECRET_MAX    65536
#define ANSWER_MAX    65536 /* bytes of an answer's body that are read, and dropped */
#define HTTP_OK(code) ((code) >= 200 && (code) < 300)
#define HTTP_GONE     410

/* What one URL is to be told of one event. */
struct scheduler_letter {
	struct scheduler_letter *next;
	size_t to; /* the URL's index */
	uint64_t seq, drain;
	char *event, *body;
	size_t len;
	uint64_t created; /* wall */
	uint64_t due;	  /* monotonic */
	uint64_t attempts;
	bool first; /* no other one of its drain comes before it */
	bool withdrawn, held;
};

struct receiver {
	struct scheduler_outbox *outbox;
	const char *url;
	char shown[256]; /* without user, password and query, which may be secret */
	struct scheduler_letter *letters; /* by ascending number */
	uint64_t n;
	pthread_t thread;
	bool runs;
	pthread_cond_t posted;
};

struct scheduler_outbox {
	const struct scheduler_config *config;
	struct stow_store *store;
	pthread_mutex_t lock;
	struct receiver *receivers;
	size_t n;
	uint64_t seq;			  /* the last number that was given */
	struct scheduler_letter *orphans; /* until the start */
	atomic_bool stopping;
	char *secret; /* as it could last be read */
	size_t secret_len;
	atomic_ulong delivered, failed, given_up;
};

/* --- the secret --------------------------------------------------------------------------------- */

/* The administrator's file, named by path. Newlines at its end are an editor's. */
static int read_secret(const char *path, char **ret, size_t *ret_len, struct stow_err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = malloc(SECRET_MAX + 1);
	size_t len = 0;
	ssize_t n = 1;

	if (fd < 0)
		return stow_err_sys(err, errno, "webhook-secret: cannot read %s", path);
	if (!text)
		return stow_err_set(err, ENOMEM, "out of memory");
	while (n > 0 && len <= SECRET_MAX) {
		n = read(fd, text + len, SECRET_MAX + 1 - len);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n < 0)
			return stow_err_sys(err, errno, "webhook-secret: cannot read %s", path);
		else
			len += (size_t)n;
	}
	if (len > SECRET_MAX)
		return stow_err_set(err, EFBIG, "webhook-secret: %s is over 64 KiB", path);
	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	/* Also what the unit puts there when there is none. */
	if (len < SECRET_MIN)
		return stow_err_set(err, EINVAL,
				    "webhook-secret: %s has %zu bytes; want a key of at least %d",
				    path, len, SECRET_MIN);
	*ret = STOW_TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

static void forget_secret(struct scheduler_outbox *outbox)
{
	if (outbox->secret)
		explicit_bzero(outbox->secret, outbox->secret_len);
	free(outbox->secret);
	outbox->secret = NULL;
}

/* A copy for one try: the file may have changed. One that cannot be read leaves the last one. */
static char *current_secret(struct scheduler_outbox *outbox, size_t *ret_len)
{
	struct stow_err err;
	size_t len = 0;
	char *text = NULL, *copy;
	int r = read_secret(outbox->config->webhook_secret, &text, &len, &err);

	if (r < 0)
		stow_say(STOW_LOG_WARNING, "the webhooks' secret cannot be read again",
			 stow_why(&err));
	pthread_mutex_lock(&outbox->lock);
	if (r == 0) {
		forget_secret(outbox);
		outbox->secret = text;
		outbox->secret_len = len;
	}
	*ret_len = outbox->secret_len;
	copy = malloc(outbox->secret_len + 1);
	if (copy)
		memcpy(copy, outbox->secret, outbox->secret_len);
	pthread_mutex_unlock(&outbox->lock);
	return copy;
}

/* --- one try ------------------------------------------------------------------------------------ */

static size_t on_answer(char *bytes, size_t size, size_t n, void *ctx)
{
	size_t *left = ctx;

	if (size * n > *left)
		return 0; /* ends the transfer; its status has come already */
	*left -= size * n;
	return size * n;
}

static int on_progress(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
		       curl_off_t up)
{
	struct scheduler_outbox *outbox = ctx;

	return atomic_load(&outbox->stopping);
}

static int add_header(struct curl_slist **list, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int add_header(struct curl_slist **list, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	struct curl_slist *more;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		text = NULL;
		return -ENOMEM;
	}
	more = curl_slist_append(*list, text);
	if (!more)
		return -ENOMEM;
	*list = more;
	return 0;
}

static int make_headers(struct scheduler_outbox *outbox, const struct scheduler_letter *letter,
			const char *body, struct curl_slist **ret)
{
	char hex[65] = "", stamp[24];
	size_t len = 0;
	char *secret;
	int r;

	snprintf(stamp, sizeof(stamp), "%" PRIu64, stow_now().wall / STOW_SECOND);
	r = add_header(ret, "Content-Type: application/json");
	if (r == 0)
		r = add_header(ret, "Idempotency-Key: %016" PRIx64 "-%s", letter->drain,
			       letter->event);
	if (r == 0)
		r = add_header(ret, "Expect:");
	if (r == 0)
		r = add_header(ret, "X-Numastow-Timestamp: %s", stamp);
	if (r < 0 || !outbox->config->webhook_secret)
		return r;
	secret = current_secret(outbox, &len);
	if (!secret)
		return -ENOMEM;
	scheduler_event_sign(secret, len, stamp, body, hex);
	explicit_bzero(secret, len);
	free(secret);
	return hex[0] ? add_header(ret, "X-Numastow-Signature: sha256=%s", hex) : -ENOMEM;
}

static void set_options(CURL *curl, struct scheduler_outbox *outbox, const char *url,
			struct curl_slist *headers, const char *body, size_t *left)
{
	const struct scheduler_config *config = outbox->config;

	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "numastow/" STOW_VERSION);
	/* What a URL says is all that counts: no other scheme, no redirect, no environment. */
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (config->webhook_ca) {
		curl_easy_setopt(curl, CURLOPT_CAINFO, config->webhook_ca);
		curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	}
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(config->webhook_timeout / 1000000));
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* The thread that asks name servers is not waited for when they do not answer: neither by
	 * the next try, nor by a scheduler that stops while a standby waits for its lock. */
	curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
#endif
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_answer);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, left);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, outbox);
}

/* The status of the answer, or 0 with what kept it from coming. */
static long send_one(struct receiver *to, const struct scheduler_letter *letter,
		     struct stow_err *err)
{
	_cleanup_free_ char *body =
		scheduler_event_attempt(letter->body, letter->len, letter->attempts + 1);
	struct curl_slist *headers = NULL;
	char text[CURL_ERROR_SIZE] = "";
	CURL *curl = curl_easy_init();
	size_t left = ANSWER_MAX;
	long status = 0;
	CURLcode code;

	if (!body || !curl || make_headers(to->outbox, letter, body, &headers) < 0) {
		stow_err_set(err, ENOMEM, "out of memory");
	} else {
		set_options(curl, to->outbox, to->url, headers, body, &left);
		curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text);
		code = curl_easy_perform(curl);
		if (code == CURLE_OK || code == CURLE_WRITE_ERROR)
			curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
		if (status)
			stow_err_set(err, EIO, "answered with status %ld", status);
		else
			stow_err_set(err, EIO, "%s", text[0] ? text : curl_easy_strerror(code));
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return status;
}

/* --- the queue of a URL ------------------------------------------------------------------------- */

static void letter_free(struct scheduler_letter *letter)
{
	free(letter->event);
	free(letter->body);
	free(letter);
}

void scheduler_outbox_drop(struct scheduler_letter *letters)
{
	while (letters) {
		struct scheduler_letter *letter = letters;

		letters = letter->next;
		letter_free(letter);
	}
}

/* With the lock held, as all that follow. */
static void enqueue(struct receiver *to, struct scheduler_letter *letter)
{
	struct scheduler_letter **at = &to->letters;

	letter->first = true;
	for (; *at; at = &(*at)->next)
		if ((*at)->drain == letter->drain)
			letter->first = false;
	letter->next = NULL;
	*at = letter;
	to->n++;
	pthread_cond_signal(&to->posted);
}

/* Takes it out; the next one of its drain is the first then. */
static void dequeue(struct receiver *to, struct scheduler_letter *letter)
{
	struct scheduler_letter **at = &to->letters;

	while (*at != letter)
		at = &(*at)->next;
	*at = letter->next;
	to->n--;
	for (struct scheduler_letter *l = *at; l; l = l->next)
		if (l->drain == letter->drain) {
			l->first = true;
			return;
		}
}

/* What is no longer so is not told. Its row is gone, or about to go. */
static void drop_withdrawn(struct receiver *to)
{
	struct scheduler_letter **at = &to->letters, *letter;
	char id[17];

	while ((letter = *at)) {
		if (!letter->withdrawn) {
			at = &letter->next;
			continue;
		}
		stow_say(STOW_LOG_NOTICE, "a webhook is not told: it is no longer so",
			 stow_text("url", to->shown),
			 stow_text("drain", stow_id_format(letter->drain, id)),
			 stow_text("event", letter->event));
		dequeue(to, letter);
		letter_free(letter);
	}
}

static struct scheduler_letter *next_due(const struct receiver *to)
{
	struct scheduler_letter *found = NULL;

	for (struct scheduler_letter *l = to->letters; l; l = l->next)
		if (l->first && !l->held && (!found || l->due < found->due))
			found = l;
	return found;
}

static void delete_row(struct scheduler_outbox *outbox, uint64_t seq)
{
	struct stow_writes *writes = stow_writes_new();

	if (stow_writes_no_webhook(writes, seq) == 0)
		stow_store_commit(outbox->store, writes, NULL, NULL);
	else
		stow_writes_free(writes); /* it is told once more after a restart */
}

static void postpone(struct receiver *to, struct scheduler_letter *letter, struct stow_now now)
{
	struct scheduler_outbox *outbox = to->outbox;
	struct stow_writes *writes = stow_writes_new();
	uint64_t random = 0, pause;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = now.mono;
	letter->attempts++;
	pause = scheduler_event_pause(outbox->config->webhook_retry, letter->attempts, random);
	letter->due = now.mono + pause;
	if (stow_writes_webhook_later(writes, letter->seq, now.wall + pause, letter->attempts) == 0)
		stow_store_commit(outbox->store, writes, NULL, NULL);
	else
		stow_writes_free(writes);
}

static void settle(struct receiver *to, struct scheduler_letter *letter, long status,
		   const struct stow_err *why)
{
	struct scheduler_outbox *outbox = to->outbox;
	struct stow_now now = stow_now();
	bool expired = now.wall > letter->created &&
		       stow_elapsed(letter->created, now.wall) >= outbox->config->webhook_expire;
	char id[17];

	stow_id_format(letter->drain, id);
	if (HTTP_OK(status)) {
		atomic_fetch_add(&outbox->delivered, 1);
		stow_say(STOW_LOG_INFO, "a webhook was told", stow_text("url", to->shown),
			 stow_text("drain", id), stow_text("event", letter->event));
	} else if (status == HTTP_GONE || expired) {
		atomic_fetch_add(&outbox->failed, 1);
		atomic_fetch_add(&outbox->given_up, 1);
		stow_say(STOW_LOG_ERR, "a webhook is not told: given up",
			 stow_text("url", to->shown), stow_text("drain", id),
			 stow_text("event", letter->event),
			 stow_number("tries", letter->attempts + 1), stow_why(why));
	} else {
		atomic_fetch_add(&outbox->failed, 1);
		postpone(to, letter, now);
		stow_say(STOW_LOG_WARNING, "a webhook could not be told",
			 stow_text("url", to->shown), stow_text("drain", id),
			 stow_text("event", letter->event), stow_number("tries", letter->attempts),
			 stow_why(why));
		return;
	}
	delete_row(outbox, letter->seq);
	dequeue(to, letter);
	letter_free(letter);
}

/* Until something is due, was posted, or half a second has passed: clocks may be set. */
static void wait_for(struct receiver *to, const struct scheduler_letter *letter)
{
	uint64_t now = stow_now().mono, wait = STOW_SECOND / 2;
	struct timespec until;

	if (!letter) {
		pthread_cond_wait(&to->posted, &to->outbox->lock);
		return;
	}
	if (letter->due < now + wait)
		wait = letter->due > now ? letter->due - now : 0;
	clock_gettime(CLOCK_REALTIME, &until);
	wait += (uint64_t)until.tv_nsec;
	until.tv_sec += (time_t)(wait / STOW_SECOND);
	until.tv_nsec = (long)(wait % STOW_SECOND);
	(void)pthread_cond_timedwait(&to->posted, &to->outbox->lock, &until);
}

static void *run(void *arg)
{
	struct receiver *to = arg;
	struct scheduler_outbox *outbox = to->outbox;

	pthread_mutex_lock(&outbox->lock);
	while (!atomic_load(&outbox->stopping)) {
		struct scheduler_letter *letter;
		struct stow_err err;
		long status;

		drop_withdrawn(to);
		letter = next_due(to);
		if (!letter || letter->due > stow_now().mono) {
			wait_for(to, letter);
			continue;
		}
		/* Nobody else takes letters out of this queue. */
		pthread_mutex_unlock(&outbox->lock);
		status = send_one(to, letter, &err);
		pthread_mutex_lock(&outbox->lock);
		if (HTTP_OK(status) || !atomic_load(&outbox->stopping))
			settle(to, letter, status, &err);
	}
	pthread_mutex_unlock(&outbox->lock);
	return NULL;
}

/* --- the outbox --------------------------------------------------------------------------------- */

int scheduler_outbox_new(const struct scheduler_config *config,
			 struct scheduler_outbox **ret_outbox, struct stow_err *err)
{
	struct scheduler_outbox *outbox = calloc(1, sizeof(*outbox));
	int r = 0;

	if (outbox)
		outbox->receivers = calloc(SCHEDULER_WEBHOOKS_MAX, sizeof(*outbox->receivers));
	if (!outbox || !outbox->receivers) {
		free(outbox);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	outbox->config = config;
	pthread_mutex_init(&outbox->lock, NULL);
	for (size_t i = 0; config->webhooks && config->webhooks[i] && i < SCHEDULER_WEBHOOKS_MAX;
	     i++) {
		outbox->receivers[i] =
			(struct receiver){ .outbox = outbox, .url = config->webhooks[i] };
		scheduler_event_url_show(config->webhooks[i], outbox->receivers[i].shown,
					 sizeof(outbox->receivers[i].shown));
		pthread_cond_init(&outbox->receivers[i].posted, NULL);
		outbox->n++;
	}
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		r = stow_err_set(err, EIO, "libcurl does not start");
	if (r == 0 && config->webhook_secret)
		r = read_secret(config->webhook_secret, &outbox->secret, &outbox->secret_len, err);
	if (r == 0 && config->webhook_ca && access(config->webhook_ca, R_OK) < 0)
		r = stow_err_sys(err, errno, "webhook-ca: cannot read %s", config->webhook_ca);
	if (r < 0) {
		scheduler_outbox_free(outbox);
		return r;
	}
	*ret_outbox = outbox;
	return 0;
}

void scheduler_outbox_stop(struct scheduler_outbox *outbox)
{
	if (!outbox)
		return;
	pthread_mutex_lock(&outbox->lock);
	atomic_store(&outbox->stopping, true);
	for (size_t i = 0; i < outbox->n; i++)
		pthread_cond_signal(&outbox->receivers[i].posted);
	pthread_mutex_unlock(&outbox->lock);
	for (size_t i = 0; i < outbox->n; i++)
		if (outbox->receivers[i].runs) {
			pthread_join(outbox->receivers[i].thread, NULL);
			outbox->receivers[i].runs = false;
		}
}

void scheduler_outbox_free(struct scheduler_outbox *outbox)
{
	if (!outbox)
		return;
	scheduler_outbox_stop(outbox);
	for (size_t i = 0; i < outbox->n; i++) {
		pthread_cond_destroy(&outbox->receivers[i].posted);
		scheduler_outbox_drop(outbox->receivers[i].letters);
	}
	scheduler_outbox_drop(outbox->orphans);
	forget_secret(outbox);
	curl_global_cleanup();
	pthread_mutex_destroy(&outbox->lock);
	free(outbox->receivers);
	free(outbox);
}

static struct scheduler_letter *make_letter(size_t to, uint64_t seq, uint64_t drain,
					    const char *event, const void *body, size_t len)
{
	struct scheduler_letter *letter = calloc(1, sizeof(*letter));

	if (!letter)
		return NULL;
	letter->to = to;
	letter->seq = seq;
	letter->drain = drain;
	letter->event = strdup(event);
	letter->body = malloc(len + 1);
	letter->len = len;
	if (!letter->event || !letter->body) {
		letter_free(letter);
		return NULL;
	}
	if (len)
		memcpy(letter->body, body, len);
	letter->body[len] = '\0';
	return letter;
}

int scheduler_outbox_load(struct scheduler_outbox *outbox, const struct stow_store_webhook *webhook,
			  struct stow_err *err)
{
	struct stow_now now = stow_now();
	struct scheduler_letter *letter;
	size_t to = 0;

	while (to < outbox->n && strcmp(outbox->receivers[to].url, webhook->url) != 0)
		to++;
	letter = make_letter(to, webhook->seq, webhook->drain, webhook->event, webhook->body,
			     webhook->len);
	if (!letter)
		return stow_err_set(err, ENOMEM, "out of memory");
	letter->created = webhook->created;
	letter->attempts = webhook->attempts;
	/* The wall clock may have been set meanwhile. */
	letter->due = now.mono;
	if (webhook->next > now.wall && webhook->next - now.wall <= SCHEDULER_PAUSE_MAX)
		letter->due += webhook->next - now.wall;
	if (webhook->seq > outbox->seq)
		outbox->seq = webhook->seq;
	if (to < outbox->n) {
		enqueue(&outbox->receivers[to], letter);
	} else {
		letter->next = outbox->orphans;
		outbox->orphans = letter;
	}
	return 0;
}

int scheduler_outbox_start(struct scheduler_outbox *outbox, struct stow_store *store,
			   struct stow_err *err)
{
	outbox->store = store;
	for (const struct scheduler_letter *l = outbox->orphans; l; l = l->next) {
		stow_say(STOW_LOG_WARNING, "a webhook is not told: its URL is no longer set",
			 stow_text("event", l->event));
		delete_row(outbox, l->seq);
	}
	scheduler_outbox_drop(outbox->orphans);
	outbox->orphans = NULL;
	for (size_t i = 0; i < outbox->n; i++) {
		int r = -pthread_create(&outbox->receivers[i].thread, NULL, run,
					&outbox->receivers[i]);

		if (r < 0)
			return stow_err_sys(err, -r, "cannot start a thread");
		outbox->receivers[i].runs = true;
	}
	return 0;
}

int scheduler_outbox_write(struct scheduler_outbox *outbox, struct stow_writes *writes,
			   uint64_t drain, enum scheduler_event event, const char *body,
			   uint64_t wall, struct scheduler_letter **letters)
{
	struct scheduler_letter **last = letters;

	while (*last)
		last = &(*last)->next;
	for (size_t i = 0; i < outbox->n; i++) {
		struct stow_store_webhook row = {
			.drain = drain,
			.event = scheduler_event_name(event),
			.url = outbox->receivers[i].url,
			.body = body,
			.len = strlen(body),
			.created = wall,
		};

		pthread_mutex_lock(&outbox->lock);
		row.seq = ++outbox->seq;
		pthread_mutex_unlock(&outbox->lock);
		*last = make_letter(i, row.seq, drain, row.event, body, row.len);
		if (!*last || stow_writes_webhook(writes, &row) < 0)
			return -ENOMEM;
		(*last)->created = wall;
		last = &(*last)->next;
	}
	return 0;
}

void scheduler_outbox_post(struct scheduler_outbox *outbox, struct scheduler_letter *letters)
{
	pthread_mutex_lock(&outbox->lock);
	while (letters) {
		struct scheduler_letter *letter = letters;

		letters = letter->next;
		letter->due = stow_now().mono;
		enqueue(&outbox->receivers[letter->to], letter);
	}
	pthread_mutex_unlock(&outbox->lock);
}

void scheduler_letters_withdraw(struct scheduler_letter *letters, enum scheduler_event event)
{
	for (struct scheduler_letter *l = letters; l; l = l->next)
		l->withdrawn |= strcmp(l->event, scheduler_event_name(event)) == 0;
}

int scheduler_outbox_withdraw(struct scheduler_outbox *outbox, struct stow_writes *writes,
			      uint64_t drain, enum scheduler_event event)
{
	const char *name = scheduler_event_name(event);

	if (stow_writes_no_webhook_of(writes, drain, name) < 0)
		return -ENOMEM;
	pthread_mutex_lock(&outbox->lock);
	for (size_t i = 0; i < outbox->n; i++) {
		for (struct scheduler_letter *l = outbox->receivers[i].letters; l; l = l->next)
			l->withdrawn |= l->drain == drain && strcmp(l->event, name) == 0;
		pthread_cond_signal(&outbox->receivers[i].posted);
	}
	pthread_mutex_unlock(&outbox->lock);
	return 0;
}

void scheduler_outbox_hold(struct scheduler_outbox *outbox, uint64_t drain,
			   enum scheduler_event event, bool hold)
{
	const char *name = scheduler_event_name(event);

	pthread_mutex_lock(&outbox->lock);
	for (size_t i = 0; i < outbox->n; i++) {
		for (struct scheduler_letter *l = outbox->receivers[i].letters; l; l = l->next)
			if (l->drain == drain && strcmp(l->event, name) == 0)
				l->held = hold;
		pthread_cond_signal(&outbox->receivers[i].posted);
	}
	pthread_mutex_unlock(&outbox->lock);
}

void scheduler_outbox_count(struct scheduler_outbox *outbox, struct scheduler_outbox_count *ret)
{
	*ret = (struct scheduler_outbox_count){
		.delivered = atomic_load(&outbox->delivered),
		.failed = atomic_load(&outbox->failed),
		.given_up = atomic_load(&outbox->given_up),
	};
	pthread_mutex_lock(&outbox->lock);
	for (size_t i = 0; i < outbox->n; i++)
		ret->pending += outbox->receivers[i].n;
	pthread_mutex_unlock(&outbox->lock);
}
