// SPDX-License-Identifier: Apache-2.0
/* The client of the Kubernetes API: kubeconfigs, answers of any kind, and a server that is played
 * here, on loopback, and answers what it is told to. */
#include "unit.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/config.h"
#include "kube/json.h"
#include "kube/kube.h"

END_WHEN_A_CHECK_FAILS

/* --- kubeconfig ----------------------------------------------------------- */

/* "-----BEGIN X-----\n" */
#define PEM "LS0tLS1CRUdJTiBYLS0tLS0K"

#define CONFIG(cluster, user)                                                               \
	"apiVersion: v1\nkind: Config\npreferences: {}\ncurrent-context: b\n"               \
	"clusters:\n- name: other\n  cluster: {server: 'http://elsewhere', proxy-url: x}\n" \
	"- name: c\n  cluster:\n    server: https://api:6443/\n" cluster                    \
	"users:\n- name: other\n  user: {exec: {command: x, args: [a, {b: c}]}}\n"          \
	"- name: u\n  user:\n" user                                                         \
	"contexts:\n- name: a\n  context: {cluster: gone, user: other}\n"                   \
	"- name: b\n  context: {cluster: c, user: u, namespace: n, extensions: [{x: [1]}]}\n"

static struct stow_kube_config *parsed(const char *text)
{
	struct stow_kube_config *config;
	struct stow_err err = { 0 };

	if (stow_kube_config_parse(text, strlen(text), "/etc/kube/config", &config, &err) < 0)
		fail_msg("%s", err.msg);
	return config;
}

static void refused(const char *text, const char *why)
{
	struct stow_kube_config *config = NULL;
	struct stow_err err = { 0 };
	int r = stow_kube_config_parse(text, strlen(text), "/etc/kube/config", &config, &err);

	if (r >= 0 || !strstr(err.msg, why) || !strstr(err.msg, "/etc/kube/config") ||
	    strchr(err.msg, '\n'))
		fail_msg("%d, \"%s\" instead of \"%s\"", r, err.msg, why);
	assert_null(config);
}

TEST(a_kubeconfig_is_read)
{
	struct stow_kube_config *config =
		parsed(CONFIG("    certificate-authority: ca.pem\n", "    tokenFile: /t\n"
								     "    token: not-this\n"));

	assert_string_equal(config->server, "https://api:6443");
	assert_string_equal(config->ca_file, "/etc/kube/ca.pem");
	assert_string_equal(config->token_file, "/t");
	assert_null(config->token);
	stow_kube_config_free(config);
	config = parsed(CONFIG("    certificate-authority-data: " PEM "\n",
			       "    client-certificate-data: " PEM "\n    client-key: k\n"));
	assert_string_equal(config->ca, "-----BEGIN X-----\n");
	assert_string_equal(config->certificate, "-----BEGIN X-----\n");
	assert_string_equal(config->key_file, "/etc/kube/k");
	assert_null(config->token_file);
	stow_kube_config_free(config);
}

/* A certificate in base64 is longer than what other files may say in a line. */
TEST(a_long_certificate_is_read)
{
	char *text, *data = malloc(40001);
	struct stow_kube_config *config;

	assert_non_null(data);
	memset(data, 'A', 40000);
	memcpy(data, PEM, strlen(PEM));
	for (size_t i = strlen(PEM); i < 40000; i += 4)
		memcpy(data + i, "QUFB", 4); /* "AAA" */
	data[40000] = '\0';
	assert_true(asprintf(&text,
			     CONFIG("    certificate-authority-data: %s\n", "    token: t\n"),
			     data) > 0);
	config = parsed(text);
	assert_int_equal(strlen(config->ca), 30000);
	stow_kube_config_free(config);
	free(text);
	free(data);
}

TEST(what_is_not_supported_is_named)
{
	refused(CONFIG("", "    exec: {command: aws}\n"), "\"u\" has exec");
	refused(CONFIG("", "    auth-provider: {name: gcp}\n"), "auth-provider");
	refused(CONFIG("", "    username: x\n    password: y\n"), "username and password");
	refused(CONFIG("", "    as: admin\n"), "as (impersonation)");
	refused(CONFIG("    insecure-skip-tls-verify: true\n", "    token: t\n"),
		"insecure-skip-tls-verify");
	refused(CONFIG("    tls-server-name: x\n", "    token: t\n"), "tls-server-name");
	refused(CONFIG("    proxy-url: http://p\n", "    token: t\n"), "proxy-url");
	refused(CONFIG("", "    client-key: k\n"), "belong together");
	refused(CONFIG("", "    tokn: k\n"), "did you mean \"token\"");
	refused(CONFIG("    certificate-authority-data: '%%%'\n", "    token: t\n"),
		"certificate-authority-data is not PEM in base64");
	/* DER is not PEM, nor is what has a NUL in it. */
	refused(CONFIG("    certificate-authority-data: MIIBAAAA\n", "    token: t\n"),
		"is not PEM");
}

TEST(nonsense_is_refused)
{
	static const char *const texts[] = {
		"",
		"- a\n",
		"clusters: x\n",
		"current-context: c\n",
		"\x01\x02",
		"users: [[[]]]\n",
		"{",
		"current-context: {a: b}\n",
		"current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\n",
		"current-context: a\ncontexts: [{name: a}]\n",
		"current-context: a\nclusters: [{name: c, cluster: {}}]\n",
		"a: &x [1]\nb: *x\n",
	};
	char *deep;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(texts); i++)
		refused(texts[i], ":");
	deep = malloc(200001);
	assert_non_null(deep);
	strcpy(deep, "preferences: ");
	memset(deep + 13, '[', 199987);
	deep[200000] = '\0';
	refused(deep, "at most 32 levels");
	free(deep);
}

TEST(a_server_is_https)
{
	static const char *const good[] = {
		"https://a",	     "https://10.0.0.1:6443/", "https://[fd00::1]:6443",
		"https://h/k8s/c-1", "http://127.0.0.1:8001",  "http://localhost",
		"http://[::1]:80"
	};
	static const char *const bad[] = { "http://a",
					   "http://10.0.0.1",
					   "http://127.0.0.1.evil.org",
					   "http://localhost.evil.org",
					   "ftp://127.0.0.1",
					   "a b",
					   "https://",
					   "https://u:p@h",
					   "https://h/?a=b",
					   "https://h/#f",
					   "file:///etc/passwd",
					   "" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(good); i++) {
		char *text = strdup(good[i]);

		if (stow_kube_server_check(text, NULL) < 0)
			fail_msg("%s was refused", good[i]);
		assert_true(text[strlen(text) - 1] != '/');
		free(text);
	}
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		char *text = strdup(bad[i]);

		if (stow_kube_server_check(text, NULL) == 0)
			fail_msg("%s was taken", bad[i]);
		free(text);
	}
}

TEST(a_pod_has_a_service_account)
{
	struct stow_kube_config *config;

	assert_int_equal(stow_kube_config_pod("/sa", "fd00::1", "443", &config, NULL), 0);
	assert_string_equal(config->server, "https://[fd00::1]:443");
	assert_string_equal(config->ca_file, "/sa/ca.crt");
	assert_string_equal(config->token_file, "/sa/token");
	stow_kube_config_free(config);
	assert_int_equal(stow_kube_config_pod("/sa", NULL, "443", &config, NULL), -ENOENT);
	assert_int_equal(stow_kube_config_pod("/sa", "h", "0", &config, NULL), -EINVAL);
	assert_int_equal(stow_kube_config_pod("/sa", "h", "99999", &config, NULL), -EINVAL);
	assert_int_equal(stow_kube_config_pod("/sa", "h/x?", "443", &config, NULL), -EINVAL);
}

TEST(a_token_is_one_word)
{
	static const char *const bad[] = { "a b", "a\nX-Header: b", "", "\n", "t\x80" };
	char token[] = "abc.d-e_f\n", *read;
	struct stow_kube_config config = { .token = token };

	assert_int_equal(stow_kube_config_token(&config, &read, NULL), 0);
	assert_string_equal(read, "abc.d-e_f");
	free(read);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		config.token = (char *)(uintptr_t)bad[i];
		assert_int_equal(stow_kube_config_token(&config, &read, NULL), -EINVAL);
	}
	config.token = NULL;
	assert_int_equal(stow_kube_config_token(&config, &read, NULL), 0);
	assert_null(read);
}

/* --- answers -------------------------------------------------------------- */

TEST(an_answer_is_one_object)
{
	static const char *const bad[] = { "",	   "[]",   "1",	     "null", "{",
					   "{}{}", "{} x", "<html>", "\xff", "{\"a\":\"\xff\"}" };
	char deep[300] = "";
	struct json_object *object;
	struct stow_err err;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++)
		if (stow_kube_parse(bad[i], strlen(bad[i]), &object, &err) != -EBADMSG)
			fail_msg("\"%s\" was taken", bad[i]);
	for (int i = 0; i < 50; i++)
		strcat(deep, "{\"a\":");
	assert_int_equal(stow_kube_parse(deep, strlen(deep), &object, NULL), -EBADMSG);
	assert_int_equal(stow_kube_parse("{}\0", 3, &object, NULL), -EBADMSG);
	assert_int_equal(stow_kube_parse(" {} \n", 5, &object, NULL), 0);
	json_object_put(object);
}

/* One object of a list does not hide the others, whatever its author has written. */
TEST(a_list_is_read_whatever_is_in_it)
{
	char deep[2000] = "{\"items\":[{\"p\":", whole[4000];
	struct json_object *object;

	for (int i = 0; i < 200; i++)
		strcat(deep, i % 2 ? "[" : "{\"a]\\\"\":");
	strcat(deep, "7");
	for (int i = 200; i-- > 0;)
		strcat(deep, i % 2 ? "]" : "}");
	snprintf(whole, sizeof(whole),
		 "%s,\"q\":\"\xff\xc3\xa9\xe2\x82\",\"r\":[[]]},{\"b\":\"t\"}]}", deep);
	assert_int_equal(stow_kube_parse(whole, strlen(whole), &object, NULL), -EBADMSG);
	assert_int_equal(stow_kube_parse_list(whole, strlen(whole), &object, NULL), 0);
	assert_string_equal(
		stow_kube_text(json_object_array_get_idx(stow_kube_at(object, "items"), 1), "b"),
		"t");
	assert_string_equal(
		stow_kube_text(json_object_array_get_idx(stow_kube_at(object, "items"), 0), "q"),
		"?\xc3\xa9??");
	json_object_put(object);
	assert_int_equal(stow_kube_parse_list(deep, strlen(deep), &object, NULL), -EBADMSG);
	assert_int_equal(stow_kube_parse_list("{}\0", 3, &object, NULL), -EBADMSG);
	assert_int_equal(stow_kube_parse_list("", 0, &object, NULL), -EBADMSG);
}

TEST(no_type_is_trusted)
{
	static const char text[] = "{\"a\":{\"b\":\"t\",\"n\":7,\"f\":1.5,\"l\":[1,2],\"z\":null,"
				   "\"y\":true}}";
	struct json_object *object;
	size_t n;

	assert_int_equal(stow_kube_parse(text, strlen(text), &object, NULL), 0);
	assert_string_equal(stow_kube_text(object, "a.b"), "t");
	assert_string_equal(stow_kube_text(object, "a.n"), "");
	assert_string_equal(stow_kube_text(object, "a"), "");
	assert_string_equal(stow_kube_text(object, "a.b.c"), "");
	assert_string_equal(stow_kube_text(object, "a.z.c"), "");
	assert_string_equal(stow_kube_text(NULL, "a"), "");
	assert_int_equal(stow_kube_number(object, "a.n", -1), 7);
	assert_int_equal(stow_kube_number(object, "a.f", -1), -1);
	assert_int_equal(stow_kube_number(object, "a.b", -1), -1);
	assert_true(stow_kube_is_true(object, "a.y"));
	assert_false(stow_kube_is_true(object, "a.n"));
	assert_non_null(stow_kube_list_at(object, "a.l", &n));
	assert_int_equal(n, 2);
	assert_null(stow_kube_list_at(object, "a.b", &n));
	assert_int_equal(n, 0);
	json_object_put(object);
}

TEST(a_refusal_is_one_line)
{
	static const char exists[] =
		"{\"kind\":\"Status\",\"reason\":\"AlreadyExists\",\"message\":\"a\\nb\"}";
	char huge[9000];
	struct stow_err err;

	assert_int_equal(stow_kube_refusal(409, exists, strlen(exists), &err), -EEXIST);
	assert_string_equal(err.msg, "the API server answered 409: a?b");
	assert_int_equal(stow_kube_refusal(409, "", 0, &err), -EBUSY);
	assert_int_equal(stow_kube_refusal(410, "{}", 2, &err), -ESTALE);
	assert_int_equal(stow_kube_refusal(302, "<html>", 6, &err), -EREMOTEIO);
	assert_string_equal(err.msg, "the API server answered 302 without a reason");
	snprintf(huge, sizeof(huge), "{\"message\":\"%08000d\"}", 0);
	assert_int_equal(stow_kube_refusal(422, huge, strlen(huge), &err), -EINVAL);
	assert_true(strlen(err.msg) < 450);
}

TEST(waits_grow_and_differ)
{
	for (unsigned int n = 1; n < 40; n++) {
		uint64_t wait = stow_kube_backoff(n, 100, 1000);
		uint64_t full = n > 4 ? 1000 : UINT64_C(100) << (n - 1);

		assert_in_range(wait, STOW_MIN(full, UINT64_C(1000)) / 2,
				STOW_MIN(full, UINT64_C(1000)));
	}
}

/* --- a played server ------------------------------------------------------ */

#define ANSWERS 16

struct server {
	int listener;
	char url[64], kubeconfig[64];
	pthread_t thread;
	const char *answers[ANSWERS]; /* whole, of HTTP; NULL: silence until the end */
	size_t n_answers;
	_Atomic size_t asked;
	char requests[ANSWERS][2048];
	_Atomic bool end;
};

static void wait_for_end(struct server *s)
{
	while (!s->end)
		usleep(10000);
}

static void *serve(void *arg)
{
	struct server *s = arg;

	for (size_t i = 0; !s->end;) {
		struct pollfd wait = { .fd = s->listener, .events = POLLIN };
		size_t len = 0;
		ssize_t n;
		int fd;

		if (poll(&wait, 1, 20) <= 0)
			continue;
		fd = accept(s->listener, NULL, NULL);
		if (fd < 0)
			continue;
		while (len < 2047 && (n = read(fd, s->requests[i] + len, 2047 - len)) > 0) {
			char *body;

			len += (size_t)n;
			s->requests[i][len] = '\0';
			body = strstr(s->requests[i], "\r\n\r\n");
			if (body &&
			    (!strstr(s->requests[i], "Content-Length: ") || strchr(body, '}')))
				break;
		}
		s->asked++;
		if (i < s->n_answers && s->answers[i])
			(void)!write(fd, s->answers[i], strlen(s->answers[i]));
		else
			wait_for_end(s);
		if (i < s->n_answers && s->answers[i] && strstr(s->answers[i], "chunked") &&
		    !strstr(s->answers[i], "\r\n0\r\n"))
			wait_for_end(s);
		close(fd);
		i = STOW_MIN(i + 1, (size_t)ANSWERS - 1);
	}
	return NULL;
}

static void server_start(struct server *s)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	FILE *file;

	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(s->listener, 8), 0);
	assert_int_equal(getsockname(s->listener, (struct sockaddr *)&address, &len), 0);
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d", ntohs(address.sin_port));
	snprintf(s->kubeconfig, sizeof(s->kubeconfig), "/tmp/numastow-test-kube-XXXXXX");
	close(mkstemp(s->kubeconfig));
	file = fopen(s->kubeconfig, "w");
	assert_non_null(file);
	fprintf(file,
		"current-context: a\nclusters: [{name: c, cluster: {server: '%s'}}]\n"
		"users: [{name: u, user: {token: secret}}]\n"
		"contexts: [{name: a, context: {cluster: c, user: u}}]\n",
		s->url);
	fclose(file);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
	s->end = true;
	pthread_join(s->thread, NULL);
	close(s->listener);
	unlink(s->kubeconfig);
}

static struct stow_kube *client_of(const struct server *s, uint64_t patience)
{
	struct stow_kube_options options = { .kubeconfig = s->kubeconfig,
					     .program = "test",
					     .timeout = 600 * STOW_SECOND,
					     .patience = patience,
					     .answer_max = 4096 };
	struct stow_kube *kube;
	struct stow_err err = { 0 };

	if (stow_kube_new(&options, &kube, &err) < 0)
		fail_msg("%s", err.msg);
	return kube;
}

#define HEAD(status) "HTTP/1.1 " status "\r\nConnection: close\r\n"
#define THINGS	     "/apis/x/v1/things"

TEST(a_call_is_made_again)
{
	struct server s = { .answers = { HEAD("500 Oops") "\r\n{\"message\":\"oops\"}",
					 HEAD("429 Slow") "Retry-After: 1\r\n\r\n", "",
					 HEAD("200 OK") "\r\n{\"a\":1}" },
			    .n_answers = 4 };
	struct json_object *object = NULL;
	struct stow_err err = { 0 };
	struct stow_kube *kube;

	server_start(&s);
	kube = client_of(&s, 300 * STOW_SECOND);
	if (stow_kube_get(kube, THINGS, "t", &object, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(stow_kube_number(object, "a", 0), 1);
	assert_int_equal(s.asked, 4);
	assert_non_null(strstr(s.requests[3], "GET " THINGS "/t HTTP/1.1\r\n"));
	assert_non_null(strstr(s.requests[3], "Authorization: Bearer secret\r\n"));
	json_object_put(object);
	stow_kube_free(kube);
	server_stop(&s);
}

TEST(others_are_the_callers)
{
	static const struct {
		const char *answer, *why;
		int r;
	} cases[] = {
		{ HEAD("409 Conflict") "\r\n{\"message\":\"changed\"}", "409: changed", -EBUSY },
		{ HEAD("410 Gone") "\r\n{}", "410", -ESTALE },
		{ HEAD("403 No") "\r\n{\"message\":\"you may not\"}", "you may not", -EPERM },
		{ HEAD("302 Found") "Location: http://127.0.0.1:1/\r\n\r\n", "302", -EREMOTEIO },
		{ HEAD("200 OK") "\r\n<html>", "not a JSON object", -EBADMSG },
		{ HEAD("200 OK") "Content-Length: 100000\r\n\r\n{\"a\":", "bytes", -EHOSTUNREACH },
		{ "garbage\r\n\r\n", "HTTP/0.9", -EBADMSG },
	};
	struct server s = { .n_answers = STOW_ARRAY_SIZE(cases) };
	struct stow_kube *kube;
	struct stow_err err;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++)
		s.answers[i] = cases[i].answer;
	server_start(&s);
	kube = client_of(&s, 0);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		struct json_object *object = NULL;
		int r = stow_kube_get(kube, THINGS, "t", &object, &err);

		if (r != cases[i].r || !strstr(err.msg, cases[i].why) ||
		    !strstr(err.msg, "GET " THINGS "/t: "))
			fail_msg("%zu: %d, \"%s\"", i, r, err.msg);
		assert_null(object);
	}
	assert_int_equal(s.asked, STOW_ARRAY_SIZE(cases));
	assert_int_equal(stow_kube_get(kube, THINGS, "../../etc", NULL, &err), -EINVAL);
	assert_int_equal(stow_kube_get(kube, THINGS, "..", NULL, &err), -EINVAL);
	assert_int_equal(stow_kube_get(kube, THINGS, "a?b", NULL, &err), -EINVAL);
	stow_kube_free(kube);
	server_stop(&s);
}

TEST(an_apply_respects_other_managers)
{
	struct server s = {
		.answers = { HEAD("201 Created") "\r\n{\"a\":1}",
			     HEAD("409 Conflict") "\r\n{\"reason\":\"Conflict\",\"message\":"
						  "\"Apply "
						  "failed with 1 conflict: conflict with "
						  "\\\"nfd\\\"\","
						  "\"details\":{\"causes\":[{\"reason\":"
						  "\"FieldManagerConflict\",\"field\":\".zones\"}]}"
						  "}",
			     HEAD("409 Conflict") "\r\n{\"reason\":\"Conflict\",\"message\":"
						  "\"changed"
						  "\",\"details\":{\"causes\":[{},1]}}" },
		.n_answers = 3
	};
	struct json_object *object = json_object_new_object(), *stored = NULL;
	struct stow_err err = { 0 };
	struct stow_kube *kube;

	server_start(&s);
	kube = client_of(&s, 0);
	if (stow_kube_apply(kube, THINGS, "t", "me too", object, &stored, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(stow_kube_number(stored, "a", 0), 1);
	assert_non_null(
		strstr(s.requests[0], "PATCH " THINGS "/t?fieldManager=me%20too HTTP/1.1\r\n"));
	assert_non_null(strstr(s.requests[0], "Content-Type: application/apply-patch+yaml\r\n"));
	assert_int_equal(stow_kube_apply(kube, THINGS, "t", "me", object, NULL, &err), -EUSERS);
	assert_non_null(strstr(err.msg, "conflict with \"nfd\""));
	assert_int_equal(stow_kube_apply(kube, THINGS, "t", "me", object, NULL, &err), -EBUSY);
	json_object_put(stored);
	json_object_put(object);
	stow_kube_free(kube);
	server_stop(&s);
}

TEST(an_answer_is_bounded)
{
	char answer[9000];
	struct server s = { .answers = { answer, answer }, .n_answers = 1 };
	struct stow_kube *kube;
	struct stow_err err;

	snprintf(answer, sizeof(answer), HEAD("200 OK") "\r\n{\"a\":\"%08000d\"}", 0);
	server_start(&s);
	kube = client_of(&s, 0);
	assert_int_equal(stow_kube_get(kube, THINGS, "t", NULL, &err), -E2BIG);
	stow_kube_free(kube);
	server_stop(&s);
}

static int count(void *ctx, struct json_object *object)
{
	int *n = ctx;

	assert_true(json_object_is_type(object, json_type_object));
	return ++*n == 100 ? -ECANCELED : 0;
}

TEST(a_list_has_pages)
{
	struct server s = { .answers = { HEAD("200 OK") "\r\n{\"metadata\":{\"continue\":\"a&b\"},"
							"\"items\":[{},{}]}",
					 HEAD("200 OK") "\r\n{\"metadata\":{\"resourceVersion\":"
							"\"77\"},\"items\":[{}]}",
					 HEAD("200 OK") "\r\n{\"items\":[1]}",
					 HEAD("200 OK") "\r\n{\"items\":{}}" },
			    .n_answers = 4 };
	struct stow_kube_select select = { .fields = "spec.driver=x" };
	char *version = NULL;
	struct stow_kube *kube;
	struct stow_err err = { 0 };
	int n = 0;

	server_start(&s);
	kube = client_of(&s, 0);
	if (stow_kube_list(kube, THINGS, &select, count, &n, &version, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(n, 3);
	assert_string_equal(version, "77");
	assert_int_equal(s.asked, 2);
	assert_non_null(strstr(s.requests[0], "?limit=20&fieldSelector=spec.driver%3Dx HTTP"));
	assert_non_null(strstr(s.requests[1], "&continue=a%26b HTTP"));
	free(version);
	assert_int_equal(stow_kube_list(kube, THINGS, NULL, count, &n, &version, &err), -EBADMSG);
	assert_int_equal(stow_kube_list(kube, THINGS, NULL, count, &n, &version, &err), -EBADMSG);
	stow_kube_free(kube);
	server_stop(&s);
}

struct seen {
	int added, deleted, ended, r;
	char name[32];
};

static void on_event(void *ctx, enum stow_kube_event event, struct json_object *object)
{
	struct seen *seen = ctx;

	seen->added += event == STOW_KUBE_ADDED;
	seen->deleted += event == STOW_KUBE_DELETED;
	snprintf(seen->name, sizeof(seen->name), "%s", stow_kube_text(object, "metadata.name"));
}

static void on_end(void *ctx, int r, const struct stow_err *why)
{
	struct seen *seen = ctx;

	seen->ended++;
	seen->r = r;
	assert_true(r == 0 || why->msg[0]);
}

static const struct stow_kube_watch_ops watch_ops = { .event = on_event, .ended = on_end };

#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
/* An event in two chunks, a bookmark, an empty line. */
#define EVENTS                                                                                \
	"28\r\n{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"n\r\n"                         \
	"22\r\name\":\"x\",\"resourceVersion\":\"8\"}}}\n\r\n"                                \
	"43\r\n{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}" \
	"\n\n\r\n"

TEST(a_watch_has_events)
{
	struct server s = { .answers = { CHUNKED EVENTS }, .n_answers = 1 };
	struct stow_kube_watch *watch;
	struct seen seen = { 0 };
	struct stow_kube *kube;
	struct stow_err err = { 0 };

	server_start(&s);
	kube = client_of(&s, 0);
	assert_int_equal(stow_kube_watch(kube, THINGS, NULL, "7", &watch_ops, &seen, &watch, &err),
			 0);
	while (!seen.added && !seen.ended)
		assert_true(stow_kube_wait(kube, 600 * STOW_SECOND) >= 0);
	while (strcmp(stow_kube_watch_version(watch), "9") != 0 && !seen.ended)
		stow_kube_wait(kube, 10 * STOW_MILLISECOND);
	assert_int_equal(seen.added, 1);
	assert_int_equal(seen.ended, 0);
	assert_string_equal(seen.name, "x");
	assert_int_equal(s.asked, 1);
	assert_non_null(strstr(s.requests[0], "watch=1"));
	assert_non_null(strstr(s.requests[0], "resourceVersion=7"));
	stow_kube_wake(kube);
	assert_int_equal(stow_kube_wait(kube, 100 * STOW_SECOND), 1);
	assert_int_equal(stow_kube_wait(kube, 1), 0);
	stow_kube_stop(kube);
	assert_int_equal(stow_kube_wait(kube, 100 * STOW_SECOND), -ECANCELED);
	assert_int_equal(stow_kube_get(kube, THINGS, "t", NULL, &err), -ECANCELED);
	stow_kube_free(kube);
	server_stop(&s);
}

TEST(a_watch_ends)
{
	static const struct {
		const char *answer;
		int r;
	} cases[] = {
		{ HEAD("200 OK") "\r\n", 0 },
		{ HEAD("410 Gone") "\r\n{\"message\":\"too old\"}", -ESTALE },
		{ HEAD("200 OK") "\r\n{\"type\":\"ERROR\",\"object\":{\"code\":410}}\n", -ESTALE },
		{ HEAD("200 OK") "\r\n{\"type\":\"ADDED\",\"object\":[]}\n", -EBADMSG },
		{ HEAD("200 OK") "\r\n{\"type\":\"ODD\",\"object\":{\"metadata\":"
				 "{\"resourceVersion\":\"1\"}}}\n",
		  -EBADMSG },
		{ HEAD("200 OK") "\r\n{\"type\":\"ADDED\",\"object\":{}}\n", -EBADMSG },
		{ HEAD("200 OK") "\r\n<html>\n", -EBADMSG },
		{ "", -EHOSTUNREACH },
	};
	struct server s = { .n_answers = STOW_ARRAY_SIZE(cases) };
	struct stow_kube *kube;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++)
		s.answers[i] = cases[i].answer;
	server_start(&s);
	kube = client_of(&s, 0);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		struct stow_kube_watch *watch;
		struct seen seen = { 0 };

		assert_int_equal(stow_kube_watch(kube, THINGS, NULL, "7", &watch_ops, &seen, &watch,
						 NULL),
				 0);
		while (!seen.ended)
			assert_true(stow_kube_wait(kube, 600 * STOW_SECOND) >= 0);
		if (seen.r != cases[i].r || seen.ended != 1)
			fail_msg("%zu: %d, %d times", i, seen.r, seen.ended);
		assert_int_equal(seen.added, 0);
		stow_kube_watch_free(watch);
	}
	stow_kube_free(kube);
	server_stop(&s);
}

static void *stop_soon(void *kube)
{
	usleep(50000);
	stow_kube_stop(kube);
	return NULL;
}

/* Neither a server that says nothing nor a long patience keeps a program from ending. */
TEST(a_silent_server_is_left)
{
	struct server s = { .n_answers = 0 };
	struct stow_kube *kube;
	pthread_t thread;
	struct stow_err err;

	server_start(&s);
	kube = client_of(&s, 1000 * STOW_SECOND);
	assert_int_equal(pthread_create(&thread, NULL, stop_soon, kube), 0);
	assert_int_equal(stow_kube_get(kube, THINGS, "t", NULL, &err), -ECANCELED);
	pthread_join(thread, NULL);
	stow_kube_free(kube);
	server_stop(&s);
}
