/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/extender/extender.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/https.h"
#include "rpc/log.h"
#include "rpc/metrics.h"

enum result { ANSWERED, FAILED, INVALID, RESULTS };

struct scheduler_extender {
	struct stow_https *https;
	struct stow_https_route routes[3];
	const atomic_bool *active;
	struct extender_options answer;
	atomic_ulong results[RESULTS];
};

static void put_text(struct stow_https_answer *answer, char *text)
{
	answer->text = text;
	answer->len = text ? strlen(text) : 0;
}

static void put_line(struct stow_https_answer *answer, unsigned int status, const char *line)
{
	char *text;

	answer->status = status;
	answer->type = "text/plain";
	put_text(answer, asprintf(&text, "%s\n", line) < 0 ? NULL : text);
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
		put_line(answer, 400, err.msg);
	else if (verb == EXTENDER_FILTER && r != -ENOMEM)
		put_text(answer, extender_filter_failed(err.msg));
	else
		put_line(answer, 503, err.msg);
}

static void on_filter(void *ctx, const char *body, size_t len, struct stow_https_answer *answer)
{
	handle(ctx, EXTENDER_FILTER, body, len, answer);
}

static void on_prioritize(void *ctx, const char *body, size_t len, struct stow_https_answer *answer)
{
	handle(ctx, EXTENDER_PRIORITIZE, body, len, answer);
}

int scheduler_extender_new(const struct scheduler_extender_options *options,
			   struct scheduler_extender **ret, struct stow_err *err)
{
	struct scheduler_extender *extender = calloc(1, sizeof(*extender));
	struct stow_https_options https = { .address = options->address, .tls = options->tls };
	int r, port = 0;

	if (!extender)
		return stow_err_set(err, ENOMEM, "out of memory");
	extender->active = options->active;
	extender->answer = options->answer;
	extender->routes[0] = (struct stow_https_route){
		.path = "/filter", .post = true, .handle = on_filter, .ctx = extender
	};
	extender->routes[1] = (struct stow_https_route){
		.path = "/prioritize", .post = true, .handle = on_prioritize, .ctx = extender
	};
	https.routes = extender->routes;
	r = stow_https_start(&https, &extender->https, &port, err);
	if (r < 0) {
		free(extender);
		return stow_err_wrap(err, r, "extender");
	}
	stow_log(STOW_LOG_INFO, "extender", stow_text("address", options->address),
		 stow_number("port", (uint64_t)port));
	*ret = extender;
	return 0;
}

void scheduler_extender_free(struct scheduler_extender *extender)
{
	if (!extender)
		return;
	stow_https_stop(extender->https);
	free(extender);
}

bool scheduler_extender_well(struct scheduler_extender *extender, char *why, size_t size)
{
	int64_t expires = stow_https_expires(extender->https);

	if (expires >= (int64_t)(stow_clock_wall() / STOW_SECOND))
		return true;
	snprintf(why, size,
		 "extender: its certificate has expired at %" PRId64 " s since the epoch", expires);
	return false;
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
