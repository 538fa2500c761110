// SPDX-License-Identifier: Apache-2.0
#include "scheduler/drain/webhook_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read.h"
#include "rpc/log.h"
#include "scheduler/drain/event.h"
#include "scheduler/fleet/now.h"

#define SECRET_MIN 16
#define SECRET_MAX 65536
#define ANSWER_MAX 65536 /* bytes of an answer's body that are read and discarded */

/* --- the secret ----------------------------------------------------------- */

/* Read the administrator's file. Newlines at its end are dropped, because editors add them. */
static int read_secret(const char *path, char **ret, size_t *ret_len, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = stow_read_file(path, SECRET_MAX, &text, &len, err);

	if (r < 0)
		return stow_err_wrap(err, r, "webhook-secret");
	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	/* Also rejects the empty file that the systemd unit provides when there is no secret. */
	if (len < SECRET_MIN)
		return stow_err_set(
			err, EINVAL,
			"webhook-secret: %s has %zu bytes; expected a key of at least %d", path,
			len, SECRET_MIN);
	*ret = STOW_TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

static void forget_secret(struct scheduler_webhook_client *client)
{
	if (client->secret)
		explicit_bzero(client->secret, client->secret_len);
	free(client->secret);
	client->secret = NULL;
}

/* Return a copy for one try. The file is read again, because it may have changed; if that fails,
 * the last secret is used. */
static char *current_secret(struct scheduler_webhook_client *client, size_t *ret_len)
{
	struct stow_err err;
	size_t len = 0;
	char *text = NULL, *copy;
	int r = read_secret(client->config->webhook_secret, &text, &len, &err);

	if (r < 0)
		stow_log(STOW_LOG_WARNING, "the webhooks' secret cannot be read again",
			 stow_why(&err));
	pthread_mutex_lock(&client->lock);
	if (r == 0) {
		forget_secret(client);
		client->secret = text;
		client->secret_len = len;
	}
	*ret_len = client->secret_len;
	copy = malloc(client->secret_len + 1);
	if (copy)
		memcpy(copy, client->secret, client->secret_len);
	pthread_mutex_unlock(&client->lock);
	return copy;
}

/* --- one try -------------------------------------------------------------- */

static size_t on_answer(char *bytes, size_t size, size_t n, void *ctx)
{
	size_t *left = ctx;

	if (size * n > *left)
		return 0; /* end the transfer; the status has been received */
	*left -= size * n;
	return size * n;
}

static int on_progress(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
		       curl_off_t up)
{
	const struct scheduler_webhook_client *client = ctx;

	return atomic_load(client->stopping);
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

static int make_headers(struct scheduler_webhook_client *client, const struct scheduler_try *it,
			const char *body, struct curl_slist **ret)
{
	char hex[65] = "", stamp[24];
	size_t len = 0;
	char *secret;
	int r;

	snprintf(stamp, sizeof(stamp), "%" PRIu64, stow_now().wall / STOW_SECOND);
	r = add_header(ret, "Content-Type: application/json");
	if (r == 0)
		r = add_header(ret, "Idempotency-Key: %016" PRIx64 "-%s", it->drain, it->event);
	if (r == 0)
		r = add_header(ret, "Expect:");
	if (r == 0)
		r = add_header(ret, "X-Numastow-Timestamp: %s", stamp);
	if (r < 0 || !client->config->webhook_secret)
		return r;
	secret = current_secret(client, &len);
	if (!secret)
		return -ENOMEM;
	scheduler_event_sign(secret, len, stamp, body, hex);
	explicit_bzero(secret, len);
	free(secret);
	return hex[0] ? add_header(ret, "X-Numastow-Signature: sha256=%s", hex) : -ENOMEM;
}

static void set_options(CURL *curl, struct scheduler_webhook_client *client, const char *url,
			struct curl_slist *headers, const char *body, size_t *left)
{
	const struct scheduler_config *config = client->config;

	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "numastow/" STOW_VERSION);
	/* Only the URL counts: no other scheme, no redirects, no environment variables. */
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
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
			 (long)(config->webhook_timeout / STOW_MILLISECOND));
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* Do not wait for the resolver's thread when name servers do not answer: neither the
	 * next try nor a stopping scheduler, whose standby waits for the lock, may be delayed. */
	curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
#endif
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_answer);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, left);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, client);
}

long scheduler_webhook_client_send(struct scheduler_webhook_client *client,
				   const struct scheduler_try *it, struct stow_err *err)
{
	_cleanup_free_ char *body = scheduler_event_attempt(it->body, it->len, it->number);
	struct curl_slist *headers = NULL;
	char text[CURL_ERROR_SIZE] = "";
	CURL *curl = curl_easy_init();
	size_t left = ANSWER_MAX;
	long status = 0;
	CURLcode code;

	if (!body || !curl || make_headers(client, it, body, &headers) < 0) {
		stow_err_set(err, ENOMEM, "out of memory");
	} else {
		set_options(curl, client, it->url, headers, body, &left);
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

/* --- creating ------------------------------------------------------------- */

int scheduler_webhook_client_init(struct scheduler_webhook_client *client,
				  const struct scheduler_config *config,
				  const atomic_bool *stopping, struct stow_err *err)
{
	int r = 0;

	*client = (struct scheduler_webhook_client){ .config = config, .stopping = stopping };
	pthread_mutex_init(&client->lock, NULL);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		r = stow_err_set(err, EIO, "libcurl does not start");
	if (r == 0 && config->webhook_secret)
		r = read_secret(config->webhook_secret, &client->secret, &client->secret_len, err);
	if (r == 0 && config->webhook_ca && access(config->webhook_ca, R_OK) < 0)
		r = stow_err_sys(err, errno, "webhook-ca: cannot read %s", config->webhook_ca);
	return r;
}

void scheduler_webhook_client_done(struct scheduler_webhook_client *client)
{
	forget_secret(client);
	curl_global_cleanup();
	pthread_mutex_destroy(&client->lock);
}
