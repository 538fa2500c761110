/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/admission.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/random.h"
#include "kube/json.h"
#include "rpc/address.h"
#include "rpc/https.h"
#include "rpc/log.h"
#include "rpc/metrics.h"
#include "scheduler/kubernetes/review.h"

#define MUTATE	   "/mutate"
#define ANSWER_MAX ((size_t)16 << 10) /* bytes, of the self-test */
#define CALL_MS	   5000L

struct scheduler_admission {
	struct stow_https *https;
	struct stow_https_route routes[3];
	stow_metrics_healthy_fn healthy;
	void *ctx;
	char token[STOW_RANDOM_ID_LEN + 1], url[160], peer[96];
	atomic_ulong reviews[SCHEDULER_REVIEWS];

	pthread_t thread;
	bool runs;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping, bad;  /* bad: the last round has failed */
	struct stow_err why; /* of that */
	_Atomic uint64_t back;
};

/* --- the routes ----------------------------------------------------------- */

static void put_line(struct stow_https_answer *answer, unsigned int status, const char *line)
{
	int n = asprintf(&answer->text, "%s\n", line);

	answer->status = status;
	answer->type = "text/plain";
	if (n < 0)
		answer->text = NULL;
	answer->len = answer->text ? (size_t)n : 0;
}

static void on_mutate(void *ctx, const char *body, size_t len, struct stow_https_answer *answer)
{
	struct scheduler_admission *admission = ctx;
	struct stow_err err = { 0 };
	int r = scheduler_review(body, len, &answer->text, &err);

	if (r >= 0)
		atomic_fetch_add(&admission->reviews[r], 1);
	if (r == SCHEDULER_REVIEW_INVALID)
		put_line(answer, 400, err.msg);
	else if (r >= 0)
		answer->len = strlen(answer->text);
}

static void on_healthz(void *ctx, const char *body, size_t len, struct stow_https_answer *answer)
{
	struct scheduler_admission *admission = ctx;
	char why[256] = "ok";
	bool ok = admission->healthy(admission->ctx, why, sizeof(why));

	put_line(answer, ok ? 200 : 503, why);
}

/* --- the self-test -------------------------------------------------------- */

static const char sample[] =
	"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{\"uid\":"
	"\"self-test\",\"operation\":\"CREATE\",\"resource\":{\"group\":\"\",\"version\":\"v1\","
	"\"resource\":\"pods\"},\"object\":{\"metadata\":{\"annotations\":{\"numastow.io/cpus\":"
	"\"1\"}},\"spec\":{\"containers\":[{\"name\":\"c\"}]}}}}";

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

static int check_answer(const struct received *received, long status, struct stow_err *err)
{
	struct json_object *answer = NULL;
	int r = 0;

	if (status != 200 || stow_kube_parse(received->text, received->len, &answer, NULL) < 0 ||
	    strcmp(stow_kube_text(answer, "response.uid"), "self-test") != 0 ||
	    !stow_kube_is_true(answer, "response.allowed") ||
	    !stow_kube_text(answer, "response.patch")[0])
		r = stow_err_set(err, EBADMSG, "the answer, of HTTP status %ld, is not the patch",
				 status);
	json_object_put(answer);
	return r;
}

/* Connections are bounded for each address. Choose one on loopback that no client has, so that a
 * client that takes all that are for 127.0.0.1 is not taken for a server that does not answer. */
static void choose_source(const struct scheduler_admission *admission, CURL *curl)
{
	uint64_t random = stow_random_soon();
	char source[32];

	if (strncmp(admission->peer, "127.", 4) != 0)
		return;
	snprintf(source, sizeof(source), "host!127.%d.%d.%d", (int)(random & 127),
		 (int)(random >> 8 & 255), (int)(random >> 16 & 255) | 1);
	curl_easy_setopt(curl, CURLOPT_INTERFACE, source);
}

static void set_options(const struct scheduler_admission *admission, CURL *curl,
			struct curl_slist *headers, struct received *received)
{
	choose_source(admission, curl);
	curl_easy_setopt(curl, CURLOPT_URL, admission->url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, sample);
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
static int ask(const struct scheduler_admission *admission, struct stow_err *err)
{
	struct received *received = calloc(1, sizeof(*received));
	struct curl_slist *headers = NULL;
	_cleanup_free_ char *authorization = NULL;
	CURL *curl = curl_easy_init();
	long status = 0;
	int code = CURLE_OUT_OF_MEMORY, r;

	if (asprintf(&authorization, "Authorization: Bearer %s", admission->token) < 0)
		authorization = NULL;
	headers = authorization ? curl_slist_append(NULL, authorization) : NULL;
	if (received && curl && headers) {
		set_options(admission, curl, headers, received);
		code = (int)curl_easy_perform(curl);
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	}
	r = code == CURLE_OK
		    ? check_answer(received, status, err)
		    : stow_err_set(err, ENOTCONN, "%s", curl_easy_strerror((CURLcode)code));
	curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	free(received);
	return r;
}

static int go_round(struct scheduler_admission *admission, struct stow_err *err)
{
	int64_t expires = stow_https_expires(admission->https);
	int r = ask(admission, err);

	if (r < 0)
		return stow_err_wrap(err, r, "admission webhook: no answer on %s, its own port",
				     admission->peer);
	/* No API server accepts it then. */
	if (expires < (int64_t)(stow_clock_wall() / STOW_SECOND))
		return stow_err_set(err, ESTALE,
				    "admission webhook: its certificate has expired at %" PRId64
				    " s since the epoch",
				    expires);
	return 0;
}

static void *run(void *arg)
{
	struct scheduler_admission *admission = arg;

	pthread_mutex_lock(&admission->lock);
	while (!admission->stopping) {
		struct stow_err err = { 0 };
		struct timespec until;
		bool bad;

		pthread_mutex_unlock(&admission->lock);
		bad = go_round(admission, &err) < 0;
		atomic_store(&admission->back, stow_clock_monotonic());
		pthread_mutex_lock(&admission->lock);
		if (bad != admission->bad)
			stow_log(bad ? STOW_LOG_ERR : STOW_LOG_NOTICE,
				 bad ? "the admission webhook is not healthy"
				     : "the admission webhook is healthy again",
				 stow_text("error", bad ? err.msg : ""));
		admission->bad = bad;
		admission->why = err;
		until = stow_clock_in(SCHEDULER_ADMISSION_EVERY);
		if (!admission->stopping)
			pthread_cond_timedwait(&admission->changed, &admission->lock, &until);
	}
	pthread_mutex_unlock(&admission->lock);
	return NULL;
}

bool scheduler_admission_well(struct scheduler_admission *admission, char *why, size_t size)
{
	uint64_t silent = stow_clock_elapsed(atomic_load(&admission->back), stow_clock_monotonic());
	bool bad;

	if (silent >= SCHEDULER_ADMISSION_WITHIN) {
		snprintf(why, size, "admission webhook: its self-test hangs for %" PRIu64 " s",
			 silent / STOW_SECOND);
		return false;
	}
	pthread_mutex_lock(&admission->lock);
	bad = admission->bad;
	if (bad)
		snprintf(why, size, "%s", admission->why.msg);
	pthread_mutex_unlock(&admission->lock);
	return !bad;
}

/* --- making and freeing --------------------------------------------------- */

/* Note where to connect to: loopback for 0.0.0.0 and [::]. */
static int find_peer(struct scheduler_admission *admission, const char *address, int port,
		     struct stow_err *err)
{
	struct sockaddr_storage where;
	const char *colon = strrchr(address, ':');
	socklen_t len;
	int r = stow_address_parse(address, &where, &len, err);

	if (r < 0)
		return r;
	if (stow_address_is_any(&where))
		snprintf(admission->peer, sizeof(admission->peer), "%s:%d",
			 where.ss_family == AF_INET6 ? "[::1]" : "127.0.0.1", port);
	else
		snprintf(admission->peer, sizeof(admission->peer), "%.*s:%d",
			 (int)(colon - address), address, port);
	snprintf(admission->url, sizeof(admission->url), "https://%s" MUTATE, admission->peer);
	return 0;
}

static int start(struct scheduler_admission *admission,
		 const struct scheduler_admission_options *options, struct stow_err *err)
{
	struct stow_https_options https = { .address = options->address,
					    .tls = options->tls,
					    .routes = admission->routes,
					    .token = admission->token };
	int r, port = 0;

	admission->routes[0] = (struct stow_https_route){
		.path = MUTATE, .post = true, .handle = on_mutate, .ctx = admission
	};
	admission->routes[1] = (struct stow_https_route){
		.path = "/healthz", .open = true, .handle = on_healthz, .ctx = admission
	};
	r = stow_https_start(&https, &admission->https, &port, err);
	if (r == 0)
		r = find_peer(admission, options->address, port, err);
	if (r < 0)
		return r;
	r = -pthread_create(&admission->thread, NULL, run, admission);
	admission->runs = r == 0;
	if (r < 0)
		return stow_err_sys(err, -r, "cannot start a thread");
	stow_log(STOW_LOG_INFO, "admission webhook", stow_text("address", options->address),
		 stow_number("port", (uint64_t)port));
	return 0;
}

int scheduler_admission_new(const struct scheduler_admission_options *options,
			    struct scheduler_admission **ret, struct stow_err *err)
{
	struct scheduler_admission *admission = calloc(1, sizeof(*admission));
	int r;

	if (!admission)
		return stow_err_set(err, ENOMEM, "out of memory");
	admission->healthy = options->healthy;
	admission->ctx = options->ctx;
	pthread_mutex_init(&admission->lock, NULL);
	stow_clock_cond_init(&admission->changed);
	atomic_store(&admission->back, stow_clock_monotonic());
	r = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK
		    ? 0
		    : stow_err_set(err, EIO, "libcurl does not start");
	stow_random_id(admission->token);
	if (r == 0)
		r = start(admission, options, err);
	if (r < 0) {
		scheduler_admission_free(admission);
		return stow_err_wrap(err, r, "admission");
	}
	*ret = admission;
	return 0;
}

void scheduler_admission_free(struct scheduler_admission *admission)
{
	if (!admission)
		return;
	if (admission->runs) {
		pthread_mutex_lock(&admission->lock);
		admission->stopping = true;
		pthread_cond_signal(&admission->changed);
		pthread_mutex_unlock(&admission->lock);
		pthread_join(admission->thread, NULL);
	}
	stow_https_stop(admission->https);
	pthread_cond_destroy(&admission->changed);
	pthread_mutex_destroy(&admission->lock);
	free(admission);
	curl_global_cleanup();
}

void scheduler_admission_render(struct scheduler_admission *admission, FILE *out)
{
	static const char *const results[] = { "patched", "unchanged", "refused", "invalid" };

	stow_metric_head(out, "numastow_scheduler_admission_reviews_total", "counter",
			 "Pods reviewed, by result; the self-test's are among them.");
	for (size_t i = 0; i < SCHEDULER_REVIEWS; i++)
		stow_metric(out, "numastow_scheduler_admission_reviews_total",
			    admission ? (double)atomic_load(&admission->reviews[i]) : 0, "result",
			    results[i], NULL);
	stow_metric_head(
		out, "numastow_scheduler_admission_certificate_expires_seconds", "gauge",
		"When the webhook's certificate expires; seconds since the epoch, 0: there "
		"is no webhook.");
	stow_metric(out, "numastow_scheduler_admission_certificate_expires_seconds",
		    admission ? (double)stow_https_expires(admission->https) : 0, NULL);
	stow_https_render(admission ? admission->https : NULL, out, "numastow_scheduler_admission");
}
