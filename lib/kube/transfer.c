// SPDX-License-Identifier: Apache-2.0
/* One request on the wire, and letting all of them progress. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/internal.h"
#include "kube/json.h"

#define CONNECT	     (10 * STOW_SECOND)
#define REFUSAL_MAX  ((size_t)64 << 10) /* bytes of an answer that is not of status 2xx */
#define KEEPALIVE    30L		/* s */
#define KEEPALIVE_IN 10L

int stow_kube_add_query(char **path, const char *key, const char *value, struct stow_err *err)
{
	char *escaped = curl_easy_escape(NULL, value, 0), *longer = NULL;
	int n = escaped ? asprintf(&longer, "%s%c%s=%s", *path, strchr(*path, '?') ? '&' : '?', key,
				   escaped)
			: -1;

	curl_free(escaped);
	if (n < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	free(*path);
	*path = longer;
	return 0;
}

long stow_kube_transfer_status(const struct stow_kube_transfer *transfer)
{
	long status = 0;

	curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx)
{
	struct stow_kube_transfer *t = ctx;
	long status = stow_kube_transfer_status(t);
	size_t max = status / 100 == 2 ? t->max : STOW_MIN(t->max, REFUSAL_MAX);
	char *grown;

	if (status == 200 && t->take)
		return t->take(t->ctx, bytes, size * n) ? size * n : 0;
	if (size * n > max - t->len) {
		t->too_large = true;
		return 0;
	}
	grown = realloc(t->answer, t->len + size * n + 1);
	if (!grown)
		return 0;
	t->answer = grown;
	memcpy(grown + t->len, bytes, size * n);
	t->len += size * n;
	grown[t->len] = '\0';
	return size * n;
}

static int add_header(struct stow_kube_transfer *t, const char *text)
{
	struct curl_slist *more = curl_slist_append(t->headers, text);

	if (!more)
		return -ENOMEM;
	t->headers = more;
	return 0;
}

static int add_token(struct stow_kube_transfer *t, struct stow_err *err)
{
	_cleanup_free_ char *token = NULL, *header = NULL;
	int r = stow_kube_config_token(t->kube->config, &token, err);

	if (r < 0 || !token)
		return r;
	if (asprintf(&header, "Authorization: Bearer %s", token) < 0)
		header = NULL;
	r = header ? add_header(t, header) : -ENOMEM;
	explicit_bzero(token, strlen(token));
	if (header)
		explicit_bzero(header, strlen(header));
	return r < 0 ? stow_err_set(err, ENOMEM, "out of memory") : 0;
}

static void set_pem(CURL *curl, CURLoption option, const char *text)
{
	struct curl_blob blob = { .data = (void *)(uintptr_t)text,
				  .len = strlen(text),
				  .flags = CURL_BLOB_COPY };

	curl_easy_setopt(curl, option, &blob);
}

static void set_tls(CURL *curl, const struct stow_kube_config *config)
{
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (config->ca || config->ca_file)
		curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	if (config->ca)
		set_pem(curl, CURLOPT_CAINFO_BLOB, config->ca);
	else if (config->ca_file)
		curl_easy_setopt(curl, CURLOPT_CAINFO, config->ca_file);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* The file of the CA may change. */
	curl_easy_setopt(curl, CURLOPT_CA_CACHE_TIMEOUT, 0L);
#endif
	if (config->certificate)
		set_pem(curl, CURLOPT_SSLCERT_BLOB, config->certificate);
	else if (config->certificate_file)
		curl_easy_setopt(curl, CURLOPT_SSLCERT, config->certificate_file);
	if (config->key)
		set_pem(curl, CURLOPT_SSLKEY_BLOB, config->key);
	else if (config->key_file)
		curl_easy_setopt(curl, CURLOPT_SSLKEY, config->key_file);
}

static void set_options(struct stow_kube_transfer *t, const char *method, uint64_t timeout)
{
	CURL *curl = t->curl;

	curl_easy_setopt(curl, CURLOPT_URL, t->url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	if (t->body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, t->body);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, t->headers);
	/* Only the URL counts: no other scheme, no redirects, no environment variables. */
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	/* With HTTP/1.1 a watch has its own connection: if that hangs, calls are not delayed. */
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
			 (long)(STOW_MIN(CONNECT, timeout) / STOW_MILLISECOND));
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(timeout / STOW_MILLISECOND));
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPIDLE, KEEPALIVE);
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_IN);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* Do not wait for the resolver's thread when name servers do not answer. */
	curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
#endif
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, t->text);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(curl, CURLOPT_PRIVATE, t);
	set_tls(curl, t->kube->config);
}

/* Read the configuration again; when that fails, keep the last one. */
static void refresh(struct stow_kube *kube)
{
	struct stow_kube_config *fresh;

	kube->stale = false;
	if (!kube->kubeconfig || stow_kube_read_config(kube, &fresh, NULL) < 0)
		return;
	stow_kube_config_free(kube->config);
	kube->config = fresh;
}

static const char *type_of(const char *method, const char *body)
{
	if (!body)
		return "Content-Type:";
	/* Every PATCH here is a server-side apply. JSON is YAML, too. */
	return strcmp(method, "PATCH") == 0 ? "Content-Type: application/apply-patch+yaml"
					    : "Content-Type: application/json";
}

int stow_kube_transfer_init(struct stow_kube *kube, struct stow_kube_transfer *t,
			    const char *method, const char *path, const char *body,
			    uint64_t timeout, struct stow_err *err)
{
	_cleanup_free_ char *agent = NULL;
	int r;

	if (kube->stale)
		refresh(kube);
	t->kube = kube;
	t->max = kube->answer_max;
	t->curl = curl_easy_init();
	t->body = body ? strdup(body) : NULL;
	if (asprintf(&t->url, "%s%s", kube->config->server, path) < 0)
		t->url = NULL;
	if (asprintf(&agent, "User-Agent: %s/" STOW_VERSION, kube->program) < 0)
		agent = NULL;
	if (!t->curl || !t->url || !agent || (body && !t->body) || add_header(t, agent) < 0 ||
	    add_header(t, "Accept: application/json") < 0 ||
	    add_header(t, type_of(method, body)) < 0 || add_header(t, "Expect:") < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = add_token(t, err);
	if (r == 0)
		set_options(t, method, timeout);
	return r;
}

int stow_kube_transfer_start(struct stow_kube_transfer *t, struct stow_err *err)
{
	if (curl_multi_add_handle(t->kube->multi, t->curl) != CURLM_OK)
		return stow_err_set(err, ENOMEM, "out of memory");
	t->added = true;
	return 0;
}

static int errno_of(CURLcode code)
{
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		return ETIMEDOUT;
	case CURLE_OUT_OF_MEMORY:
		return ENOMEM;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_ISSUER_ERROR:
		return EPROTO;
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_BAD_CONTENT_ENCODING:
		return EBADMSG;
	default:
		return EHOSTUNREACH;
	}
}

int stow_kube_transfer_result(struct stow_kube_transfer *t, struct stow_err *err)
{
	long status = stow_kube_transfer_status(t);

	if (t->too_large && status / 100 == 2)
		return stow_err_set(err, E2BIG, "the answer has more than %zu bytes", t->max);
	if (status / 100 > 2 && (t->code == CURLE_OK || t->too_large)) {
		if (status == 401)
			t->kube->stale = true;
		return stow_kube_refusal(status, t->answer ? t->answer : "", t->len, err);
	}
	if (t->code != CURLE_OK) {
		t->kube->stale = true;
		return stow_err_set(err, errno_of(t->code), "%s",
				    t->text[0] ? t->text : curl_easy_strerror(t->code));
	}
	return 0;
}

void stow_kube_transfer_done(struct stow_kube_transfer *t)
{
	if (t->added)
		curl_multi_remove_handle(t->kube->multi, t->curl);
	curl_easy_cleanup(t->curl);
	for (struct curl_slist *h = t->headers; h; h = h->next)
		explicit_bzero(h->data, strlen(h->data));
	curl_slist_free_all(t->headers);
	free(t->url);
	free(t->body);
	free(t->answer);
	*t = (struct stow_kube_transfer){ 0 };
}

int stow_kube_turn(struct stow_kube *kube, uint64_t ns, struct stow_err *err)
{
	struct stow_kube_transfer *t;
	uint64_t ms = ns / STOW_MILLISECOND + (ns % STOW_MILLISECOND > 0);
	CURLMsg *message;
	int running, left;

	if (curl_multi_poll(kube->multi, NULL, 0, (int)STOW_MIN(ms, (uint64_t)INT_MAX), NULL) !=
		    CURLM_OK ||
	    curl_multi_perform(kube->multi, &running) != CURLM_OK)
		return stow_err_set(err, ENOMEM, "out of memory");
	while ((message = curl_multi_info_read(kube->multi, &left))) {
		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		t->code = message->data.result;
		t->done = true;
	}
	return 0;
}
