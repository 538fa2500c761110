/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/admission.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "kube/json.h"
#include "rpc/https.h"
#include "rpc/log.h"
#include "rpc/metrics.h"
#include "scheduler/kubernetes/review.h"
#include "scheduler/kubernetes/selftest.h"

#define MUTATE "/mutate"

struct scheduler_admission {
	struct stow_https *https;
	struct stow_https_route routes[3];
	stow_metrics_healthy_fn healthy;
	void *ctx;
	char token[STOW_RANDOM_ID_LEN + 1];
	struct scheduler_selftest *test;
	atomic_ulong reviews[SCHEDULER_REVIEWS];
};

/* --- the routes ----------------------------------------------------------- */

static void on_mutate(void *ctx, const char *body, size_t len, struct stow_https_answer *answer)
{
	struct scheduler_admission *admission = ctx;
	struct stow_err err = { 0 };
	int r = scheduler_review(body, len, &answer->text, &err);

	if (r >= 0)
		atomic_fetch_add(&admission->reviews[r], 1);
	if (r == SCHEDULER_REVIEW_INVALID)
		stow_https_put_line(answer, 400, err.msg);
	else if (r >= 0)
		answer->len = strlen(answer->text);
}

static void on_healthz(void *ctx, const char *body, size_t len, struct stow_https_answer *answer)
{
	struct scheduler_admission *admission = ctx;
	char why[256] = "ok";
	bool ok = admission->healthy(admission->ctx, why, sizeof(why));

	stow_https_put_line(answer, ok ? 200 : 503, why);
}

/* --- the self-test -------------------------------------------------------- */

static const char sample[] =
	"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{\"uid\":"
	"\"self-test\",\"operation\":\"CREATE\",\"resource\":{\"group\":\"\",\"version\":\"v1\","
	"\"resource\":\"pods\"},\"object\":{\"metadata\":{\"annotations\":{\"numastow.io/cpus\":"
	"\"1\"}},\"spec\":{\"containers\":[{\"name\":\"c\"}]}}}}";

static int check_answer(const char *text, size_t len, long status, struct stow_err *err)
{
	struct json_object *answer = NULL;
	int r = 0;

	if (status != 200 || stow_kube_parse(text, len, &answer, NULL) < 0 ||
	    strcmp(stow_kube_text(answer, "response.uid"), "self-test") != 0 ||
	    !stow_kube_is_true(answer, "response.allowed") ||
	    !stow_kube_text(answer, "response.patch")[0])
		r = stow_err_set(err, EBADMSG,
				 "the answer (HTTP status %ld) is not the expected patch", status);
	json_object_put(answer);
	return r;
}

struct scheduler_selftest *scheduler_admission_test(struct scheduler_admission *admission)
{
	return admission->test;
}

/* --- making and freeing --------------------------------------------------- */

static int start(struct scheduler_admission *admission,
		 const struct scheduler_admission_options *options, struct stow_err *err)
{
	struct stow_https_options https = { .address = options->address,
					    .tls = options->tls,
					    .routes = admission->routes,
					    .token = admission->token };
	struct scheduler_selftest_options test = { .name = "admission webhook",
						   .address = options->address,
						   .path = MUTATE,
						   .body = sample,
						   .token = admission->token,
						   .check = check_answer };
	int r;

	admission->routes[0] = (struct stow_https_route){
		.path = MUTATE, .post = true, .handle = on_mutate, .ctx = admission
	};
	admission->routes[1] = (struct stow_https_route){
		.path = "/healthz", .open = true, .handle = on_healthz, .ctx = admission
	};
	r = stow_https_start(&https, &admission->https, &test.port, err);
	test.https = admission->https;
	if (r == 0)
		r = scheduler_selftest_new(&test, &admission->test, err);
	if (r == 0)
		stow_log(STOW_LOG_INFO, "admission webhook", stow_text("address", options->address),
			 stow_number("port", (uint64_t)test.port));
	return r;
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
	stow_random_id(admission->token);
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
	scheduler_selftest_free(admission->test);
	stow_https_stop(admission->https);
	free(admission);
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
