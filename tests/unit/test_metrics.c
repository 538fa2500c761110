// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "rpc/address.h"
#include "rpc/metrics.h"

static void render(FILE *out, void *ctx)
{
	stow_metric_head(out, "stow_test", "gauge", "A test.");
	stow_metric(out, "stow_test", 2.5, "name", "a\"b\\\n", "more", "x", NULL);
	stow_metric(out, "stow_test", 12345678901234.0, NULL);
}

static bool healthy(void *ctx, char *why, size_t size)
{
	if (*(bool *)ctx)
		return true;
	snprintf(why, size, "standby");
	return false;
}

static bool alive(void *ctx, char *why, size_t size)
{
	if (((bool *)ctx)[1])
		return true;
	snprintf(why, size, "hangs");
	return false;
}

/* The answer to a request, head and body. */
static char *ask(int port, const char *request)
{
	static char answer[8192];
	struct sockaddr_storage to;
	char address[32];
	size_t len = 0;
	socklen_t size;
	ssize_t n;
	int fd;

	snprintf(address, sizeof(address), "127.0.0.1:%d", port);
	assert_int_equal(stow_address_parse(address, &to, &size, NULL), 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, size), 0);
	assert_int_equal(write(fd, request, strlen(request)), strlen(request));
	while ((n = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0)
		len += (size_t)n;
	answer[len] = '\0';
	close(fd);
	return answer;
}

TEST(metrics_and_health_over_http)
{
	struct stow_metrics *m, *second;
	struct stow_err err;
	char address[32];
	bool well[] = { true, true };
	struct stow_metrics_options options = { "127.0.0.1:0", render, healthy, alive, well };
	int port = 0;
	char *text;

	assert_int_equal(stow_metrics_start(&options, &m, &port, &err), 0);
	assert_true(port > 0);
	text = ask(port, "GET /metrics HTTP/1.0\r\n\r\n");
	assert_non_null(strstr(text, " 200 "));
	assert_non_null(strstr(text, "text/plain; version=0.0.4"));
	assert_non_null(strstr(text, "# HELP stow_test A test.\n# TYPE stow_test gauge\n"
				     "stow_test{name=\"a\\\"b\\\\\\n\",more=\"x\"} 2.5\n"
				     "stow_test 12345678901234\n"));
	assert_non_null(strstr(ask(port, "GET /healthz HTTP/1.0\r\n\r\n"), "\r\n\r\nok\n"));
	well[0] = false;
	text = ask(port, "GET /healthz HTTP/1.0\r\n\r\n");
	assert_non_null(strstr(text, " 503 "));
	assert_non_null(strstr(text, "standby\n"));
	assert_non_null(strstr(ask(port, "GET /livez HTTP/1.0\r\n\r\n"), "\r\n\r\nok\n"));
	well[1] = false;
	text = ask(port, "GET /livez HTTP/1.0\r\n\r\n");
	assert_non_null(strstr(text, " 503 "));
	assert_non_null(strstr(text, "hangs\n"));
	assert_non_null(strstr(ask(port, "POST /metrics HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc"),
			       " 405 "));
	assert_non_null(strstr(ask(port, "GET /etc HTTP/1.0\r\n\r\n"), " 404 "));
	/* The port is taken: no second one shares it. */
	snprintf(address, sizeof(address), "127.0.0.1:%d", port);
	options.address = address;
	assert_true(stow_metrics_start(&options, &second, NULL, &err) < 0);
	assert_non_null(strstr(err.msg, address));
	stow_metrics_stop(m);
	options.address = "everywhere";
	assert_int_equal(stow_metrics_start(&options, &m, NULL, &err), -EINVAL);
}

TEST(durations_fall_into_buckets)
{
	struct stow_histogram h = { 0 };
	_cleanup_free_ char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	stow_histogram_add(&h, 10000);
	stow_histogram_add(&h, 10001);
	stow_histogram_add(&h, UINT64_C(1500000000));
	stow_histogram_add(&h, UINT64_C(60000000000));
	stow_histogram_render(out, "d", "D.", &h);
	fclose(out);
	assert_non_null(strstr(text, "d_bucket{le=\"1e-05\"} 1\nd_bucket{le=\"2e-05\"} 2\n"));
	assert_non_null(strstr(text, "d_bucket{le=\"1\"} 2\nd_bucket{le=\"2\"} 3\n"));
	assert_non_null(strstr(text, "d_bucket{le=\"10\"} 3\nd_bucket{le=\"+Inf\"} 4\n"));
	assert_non_null(strstr(text, "d_sum 61.50002\nd_count 4\n"));
}
