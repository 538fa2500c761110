/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/selftest.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "rpc/address.h"
#include "rpc/log.h"

#define EVERY	   (3 * STOW_SECOND)
#define WITHIN	   (15 * STOW_SECOND) /* of one round; then it hangs */
#define ANSWER_MAX ((size_t)16 << 10) /* bytes */
#define CALL_MS	   5000L

struct scheduler_selftest {
	struct scheduler_selftest_options options;
	char url[160], peer[96];

	pthread_t thread;
	bool runs;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping, bad;    /* bad: the last round has failed */
	struct stow_err why;   /* of that */
	_Atomic uint64_t back; /* monotonic: when the last round ended */
};

/* --- one request ---------------------------------------------------------- */

struct received {
	char text[ANSWER_MAX];
	size_t len;
};

static size_t on_answer(char *bytes, size_t size, size_t n, void *ctx)
{
	struct received *received = ctx;

	if (size * n >= sizeof(received->text) - received->len)
		return 0;
	memcpy(received->text + received->len, bytes, size * n);
	received->len += size * n;
	return size * n;
}

/* Connections are bounded for each address. Choose one on loopback that no client has, so that a
 * client that takes all that are for 127.0.0.1 is not taken for a server that does not answer. */
static void choose_source(const struct scheduler_selftest *test, CURL *curl)
{
	uint64_t random = stow_random_soon();
	char source[32];

	if (strncmp(test->peer, "127.", 4) != 0)
		return;
	snprintf(source, sizeof(source), "host!127.%d.%d.%d", (int)(random & 127),
		 (int)(random >> 8 & 255), (int)(random >> 16 & 255) | 1);
	curl_easy_setopt(curl, CURLOPT_INTERFACE, source);
}

static void set_options(const struct scheduler_selftest *test, CURL *curl,
			struct curl_slist *headers, struct received *received)
{
	choose_source(test, curl);
	curl_easy_setopt(curl, CURLOPT_URL, test->url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, test->options.body);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, CALL_MS);
	/* It is this process that is asked; its certificate has the name of a Service. */
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_answer);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, received);
}

/* Use a new connection each time: an old one does not prove that new ones are accepted. */
static int ask(const struct scheduler_selftest *test, struct stow_err *err)
{
	struct received *received = calloc(1, sizeof(*received));
	struct curl_slist *headers = NULL;
	_cleanup_free_ char *authorization = NULL;
	CURL *curl = curl_easy_init();
	long status = 0;
	int code = CURLE_OUT_OF_MEMORY, r;

	if (asprintf(&authorization, "Authorization: Bearer %s", test->options.token) < 0)
		authorization = NULL;
	headers = authorization ? curl_slist_append(NULL, authorization) : NULL;
	if (received && curl && headers) {
		set_options(test, curl, headers, received);
		code = (int)curl_easy_perform(curl);
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	}
	r = code == CURLE_OK
		    ? test->options.check(received->text, received->len, status, err)
		    : stow_err_set(err, ENOTCONN, "%s", curl_easy_strerror((CURLcode)code));
	curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	free(received);
	return r < 0 ? stow_err_wrap(err, r, "%s: no answer on %s, its own port",
				     test->options.name, test->peer)
		     : 0;
}

/* --- rounds --------------------------------------------------------------- */

/* Return whether the certificate that is served has not expired. No client accepts one that has. */
static bool is_valid(const struct scheduler_selftest *test, char *why, size_t size)
{
	int64_t expires = stow_https_expires(test->options.https);

	if (expires >= (int64_t)(stow_clock_wall() / STOW_SECOND))
		return true;
	snprintf(why, size, "%s: its certificate has expired at %" PRId64 " s since the epoch",
		 test->options.name, expires);
	return false;
}

static void log_change(const struct scheduler_selftest *test, bool bad, const char *why)
{
	char line[128];

	snprintf(line, sizeof(line), "the %s is %s", test->options.name,
		 bad ? "not healthy" : "healthy again");
	stow_log(bad ? STOW_LOG_ERR : STOW_LOG_NOTICE, line, stow_text("error", bad ? why : ""));
}

static void *run(void *arg)
{
	struct scheduler_selftest *test = arg;
	bool logged = false;

	pthread_mutex_lock(&test->lock);
	while (!test->stopping) {
		struct stow_err err = { 0 };
		struct timespec until;
		bool failed, bad;

		pthread_mutex_unlock(&test->lock);
		failed = ask(test, &err) < 0;
		bad = failed || !is_valid(test, err.msg, sizeof(err.msg));
		if (bad != logged)
			log_change(test, bad, err.msg);
		logged = bad;
		atomic_store(&test->back, stow_clock_monotonic());
		pthread_mutex_lock(&test->lock);
		test->bad = failed;
		test->why = err;
		until = stow_clock_in(EVERY);
		if (!test->stopping)
			pthread_cond_timedwait(&test->changed, &test->lock, &until);
	}
	pthread_mutex_unlock(&test->lock);
	return NULL;
}

bool scheduler_selftest_answered(struct scheduler_selftest *test, char *why, size_t size)
{
	uint64_t silent = stow_clock_elapsed(atomic_load(&test->back), stow_clock_monotonic());
	bool bad;

	if (silent >= WITHIN) {
		snprintf(why, size, "%s: its self-test hangs for %" PRIu64 " s", test->options.name,
			 silent / STOW_SECOND);
		return false;
	}
	pthread_mutex_lock(&test->lock);
	bad = test->bad;
	if (bad)
		snprintf(why, size, "%s", test->why.msg);
	pthread_mutex_unlock(&test->lock);
	return !bad;
}

bool scheduler_selftest_well(struct scheduler_selftest *test, char *why, size_t size)
{
	return scheduler_selftest_answered(test, why, size) && is_valid(test, why, size);
}

/* --- making and freeing --------------------------------------------------- */

int scheduler_selftest_new(const struct scheduler_selftest_options *options,
			   struct scheduler_selftest **ret, struct stow_err *err)
{
	struct scheduler_selftest *test = calloc(1, sizeof(*test));
	int r;

	if (!test)
		return stow_err_set(err, ENOMEM, "out of memory");
	test->options = *options;
	pthread_mutex_init(&test->lock, NULL);
	stow_clock_cond_init(&test->changed);
	atomic_store(&test->back, stow_clock_monotonic());
	r = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK
		    ? stow_address_of_self(options->address, options->port, test->peer,
					   sizeof(test->peer), err)
		    : stow_err_set(err, EIO, "libcurl does not start");
	test->options.address = NULL;
	snprintf(test->url, sizeof(test->url), "https://%s%s", test->peer, options->path);
	if (r == 0) {
		r = -pthread_create(&test->thread, NULL, run, test);
		test->runs = r == 0;
		if (r < 0)
			stow_err_sys(err, -r, "cannot start a thread");
	}
	if (r < 0) {
		scheduler_selftest_free(test);
		return r;
	}
	*ret = test;
	return 0;
}

void scheduler_selftest_free(struct scheduler_selftest *test)
{
	if (!test)
		return;
	if (test->runs) {
		pthread_mutex_lock(&test->lock);
		test->stopping = true;
		pthread_cond_signal(&test->changed);
		pthread_mutex_unlock(&test->lock);
		pthread_join(test->thread, NULL);
	}
	pthread_cond_destroy(&test->changed);
	pthread_mutex_destroy(&test->lock);
	free(test);
	curl_global_cleanup();
}
