/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/extender/extender.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "kube/json.h"
#include "rpc/https.h"
#include "rpc/log.h"
#include "rpc/metrics.h"
#include "scheduler/kubernetes/selftest.h"

enum result { ANSWERED, FAILED, INVALID, RESULTS };

struct scheduler_extender {
	struct stow_https *https;
	struct stow_https_route routes[4];
	char token[STOW_RANDOM_ID_LEN + 1];
	struct scheduler_selftest *test;
	const atomic_bool *active;
	struct extender_options answer;
	atomic_ulong results[RESULTS];
};

static void put_text(struct stow_https_answer *answer, char *text)
{
	answer->text = text;
	answer->len = text ? strlen(text) : 0;
}

static void handle(struct scheduler_extender *extender, enum extender_verb verb, const char *body,
		   size_t len, struct stow_https_answer *answer)
{
	struct stow_err err = { 0 };
	enum result result;
	char *text = NULL;
	int r;

	/* A standby's table is empty: every machine would fail. */
	if (!atomic_load(extender->active))
		r = stow_err_set(&err, ESHUTDOWN, "this scheduler is not active");
	else
		r = extender_answer(&extender->answer, verb, body, len, &text, &err);
	result = r == 0 ? ANSWERED : r == -EINVAL ? INVALID : FAILED;
	atomic_fetch_add(&extender->results[result], 1);
	if (r == 0)
		put_text(answer, text);
	else if (r == -EINVAL)
		stow_https_put_line(answer, 400, err.msg);
	else if (verb == EXTENDER_FILTER && r != -ENOMEM)
		put_text(answer, extender_filter_failed(err.msg));
	else
		stow_https_put_line(answer, 503, err.msg);
}

static void on_filter(void *ctx, const char *body, size_t len, struct stow_https_answer *answer)
{
	handle(ctx, EXTENDER_FILTER, body, len, answer);
}

static void on_prioritize(void *ctx, const char *body, size_t len, struct stow_https_answer *answer)
{
	handle(ctx, EXTENDER_PRIORITIZE, body, len, answer);
}

/* --- the self-test -------------------------------------------------------- */

/* A path of its own: the metrics count kube-scheduler's requests only. */
#define SELF_TEST "/self-test"

static const char sample[] =
	"{\"Pod\":{\"metadata\":{\"name\":\"self-test\",\"annotations\":{\"numastow.io/cpus\":"
	"\"1\"}},\"spec\":{\"containers\":[{\"name\":\"c\"}]}},\"NodeNames\":[]}";

static void on_self_test(void *ctx, const char *body, size_t len, struct stow_https_answer *answer)
{
	struct scheduler_extender *extender = ctx;
	struct stow_err err = { 0 };
	char *text = NULL;

	if (extender_answer(&extender->answer, EXTENDER_FILTER, body, len, &text, &err) == 0)
		put_text(answer, text);
	else
		stow_https_put_line(answer, 503, err.msg);
}

static int check_answer(const char *text, size_t len, long status, struct stow_err *err)
{
	struct json_object *answer = NULL;
	int r = 0;

	if (status != 200 || stow_kube_parse(text, len, &answer, NULL) < 0 ||
	    !json_object_object_get_ex(answer, "NodeNames", NULL))
		r = stow_err_set(err, EBADMSG, "HTTP status %ld: %.200s", status,
				 status == 200 ? "the answer is not that of a filter" : text);
	json_object_put(answer);
	return r;
}

struct scheduler_selftest *scheduler_extender_test(struct scheduler_extender *extender)
{
	return extender->test;
}

/* --- making and freeing --------------------------------------------------- */

static int start(struct scheduler_extender *extender,
		 const struct scheduler_extender_options *options, struct stow_err *err)
{
	struct stow_https_options https = { .address = options->address,
					    .tls = options->tls,
					    .routes = extender->routes,
					    .token = extender->token };
	struct scheduler_selftest_options test = { .name = "extender",
						   .address = options->address,
						   .path = SELF_TEST,
						   .body = sample,
						   .token = extender->token,
						   .check = check_answer };
	int r;

	extender->routes[0] = (struct stow_https_route){
		.path = "/filter", .post = true, .handle = on_filter, .ctx = extender
	};
	extender->routes[1] = (struct stow_https_route){
		.path = "/prioritize", .post = true, .handle = on_prioritize, .ctx = extender
	};
	extender->routes[2] = (struct stow_https_route){
		.path = SELF_TEST, .post = true, .handle = on_self_test, .ctx = extender
	};
	r = stow_https_start(&https, &extender->https, &test.port, err);
	test.https = extender->https;
	if (r == 0)
		r = scheduler_selftest_new(&test, &extender->test, err);
	if (r == 0)
		stow_log(STOW_LOG_INFO, "extender", stow_text("address", options->address),
			 stow_number("port", (uint64_t)test.port));
	return r;
}

int scheduler_extender_new(const struct scheduler_extender_options *options,
			   struct scheduler_extender **ret, struct stow_err *err)
{
	struct scheduler_extender *extender = calloc(1, sizeof(*extender));
	int r;

	if (!extender)
		return stow_err_set(err, ENOMEM, "out of memory");
	extender->active = options->active;
	extender->answer = options->answer;
	stow_random_id(extender->token);
	r = start(extender, options, err);
	if (r < 0) {
		scheduler_extender_free(extender);
		return stow_err_wrap(err, r, "extender");
	}
	*ret = extender;
	return 0;
}

void scheduler_extender_free(struct scheduler_extender *extender)
{
	if (!extender)
		return;
	scheduler_selftest_free(extender->test);
	stow_https_stop(extender->https);
	free(extender);
}

void scheduler_extender_render(struct scheduler_extender *extender, FILE *out)
{
	static const char *const results[] = { "answered", "failed", "invalid" };

	stow_metric_head(out, "numastow_scheduler_extender_requests_total", "counter",
			 "Requests to the extender, by result.");
	for (size_t i = 0; i < RESULTS; i++)
		stow_metric(out, "numastow_scheduler_extender_requests_total",
			    extender ? (double)atomic_load(&extender->results[i]) : 0, "result",
			    results[i], NULL);
	stow_https_render(extender ? extender->https : NULL, out, "numastow_scheduler_extender");
}
