// SPDX-License-Identifier: Apache-2.0
#include "scheduler/drain/event.h"

#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/idlist.h"
#include "base/timestamp.h"

const char *scheduler_event_name(enum scheduler_event event)
{
	static const char *const names[SCHEDULER_EVENTS] = { "planned", "safe-to-remove",
							     "safe-to-shrink", "removed",
							     "failed" };

	return names[event];
}

enum scheduler_event scheduler_event_release(const PbDrainProgress *progress)
{
	switch (progress->release) {
	case PB_DRAIN_RELEASE_DEVICE:
		return SCHEDULER_EVENT_SAFE;
	case PB_DRAIN_RELEASE_SHRINK:
		return SCHEDULER_EVENT_SHRINK;
	default:
		return SCHEDULER_EVENTS;
	}
}

const char *scheduler_step_name(PbDrainStep step)
{
	static const char *const names[] = { "?",	"waiting",   "planned",	  "fenced",
					     "moving",	"offlining", "returning", "safe",
					     "removed", "undoing",   "done",	  "partial",
					     "failed",	"cancelled" };

	return (unsigned int)step < STOW_ARRAY_SIZE(names) ? names[step] : "?";
}

/* --- the body ------------------------------------------------------------- */

/* Format the numbers of a plan's blocks as a list. An idset cannot hold numbers that large. */
static char *blocks_of(const PbDrainPlan *plan)
{
	_cleanup_free_ uint64_t *ids = calloc(plan->n_blocks + 1, sizeof(*ids));

	if (!ids)
		return NULL;
	for (size_t i = 0; i < plan->n_blocks; i++)
		ids[i] = plan->blocks[i]->id;
	stow_idlist_sort(ids, plan->n_blocks);
	return stow_idlist_format(ids, plan->n_blocks);
}

static void add_text(struct json_object *to, const char *key, const char *value)
{
	json_object_object_add(to, key, json_object_new_string(value ? value : ""));
}

static void add_number(struct json_object *to, const char *key, uint64_t value)
{
	json_object_object_add(to, key, json_object_new_uint64(value));
}

static void add_memory(struct json_object *to, enum scheduler_event event, const PbDrain *drain)
{
	static const PbDrainPlan none = PB_DRAIN_PLAN__INIT;
	const PbDrainPlan *plan = drain->plan ? drain->plan : &none;
	const PbDrainProgress *p = drain->progress;
	const char *gone = p->blocks_gone;
	_cleanup_free_ char *blocks = NULL;
	int node = plan->numa_node;

	if (!drain->plan)
		node = drain->spec->what_case == PB_DRAIN_SPEC__WHAT_NUMA_NODE
			       ? (int)drain->spec->numa_node
			       : -1;
	json_object_object_add(to, "numa_node", json_object_new_int(node));
	add_text(to, "device",
		 plan->device[0]					? plan->device
		 : drain->spec->what_case == PB_DRAIN_SPEC__WHAT_DEVICE ? drain->spec->device
									: "");
	add_text(to, "device_path", plan->device_path);
	add_number(to, "address", plan->address);
	/* The blocks that are offline; the planned blocks as long as there are none. */
	if (event == SCHEDULER_EVENT_PLANNED || (!gone[0] && event != SCHEDULER_EVENT_FAILED))
		gone = blocks = blocks_of(plan);
	add_text(to, "blocks", gone);
	add_number(to, "bytes",
		   event == SCHEDULER_EVENT_FAILED			   ? p->bytes_offline
		   : event == SCHEDULER_EVENT_PLANNED || !p->bytes_offline ? plan->bytes
									   : p->bytes_offline);
}

char *scheduler_event_body(enum scheduler_event event, const PbDrain *drain, uint64_t wall)
{
	struct json_object *out = json_object_new_object();
	const char *text;
	char stamp[STOW_TIMESTAMP_MAX];
	char *copy = NULL;

	if (!out)
		return NULL;
	add_text(out, "event", scheduler_event_name(event));
	add_text(out, "drain", drain->id);
	add_text(out, "node", drain->node);
	add_text(out, "failure_domain", drain->failure_domain);
	add_memory(out, event, drain);
	add_number(out, "bytes_staying", drain->progress->bytes_staying);
	add_text(out, "step", scheduler_step_name(drain->progress->step));
	add_text(out, "message", drain->progress->message);
	add_text(out, "time", stow_timestamp(wall, stamp));
	text = json_object_to_json_string_ext(out, JSON_C_TO_STRING_PLAIN |
							   JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		copy = strdup(text);
	json_object_put(out);
	return copy;
}

char *scheduler_event_attempt(const char *body, size_t len, uint64_t attempt)
{
	char *text = NULL;

	if (len == 0 || body[len - 1] != '}' ||
	    asprintf(&text, "%.*s,\"attempt\":%" PRIu64 "}", (int)(len - 1), body, attempt) < 0)
		return NULL;
	return text;
}

/* --- the signature -------------------------------------------------------- */

void scheduler_event_sign(const void *secret, size_t secret_len, const char *timestamp,
			  const char *body, char ret_hex[65])
{
	static const char digits[] = "0123456789abcdef";
	_cleanup_free_ char *text = NULL;
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned int len = 0;

	ret_hex[0] = '\0';
	if (asprintf(&text, "%s.%s", timestamp, body) < 0) {
		text = NULL;
		return;
	}
	if (!HMAC(EVP_sha256(), secret, (int)secret_len, (const unsigned char *)text, strlen(text),
		  mac, &len) ||
	    len != 32)
		return;
	for (unsigned int i = 0; i < len; i++) {
		ret_hex[2 * i] = digits[mac[i] >> 4];
		ret_hex[2 * i + 1] = digits[mac[i] & 15];
	}
	ret_hex[64] = '\0';
}

/* --- URLs and pauses ------------------------------------------------------ */

static bool is_loopback(const char *host)
{
	return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
	       (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

/* Return whether the URL has that part. */
static bool has(CURLU *url, CURLUPart part)
{
	char *text = NULL;
	bool found = curl_url_get(url, part, &text, 0) == CURLUE_OK;

	curl_free(text);
	return found;
}

static int check_parts(CURLU *parsed, const char *url, bool insecure, struct stow_err *err)
{
	char *scheme = NULL, *host = NULL;
	int r = 0;

	if (curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(parsed, CURLUPART_HOST, &host, 0) != CURLUE_OK || !host[0])
		r = stow_err_set(err, EINVAL, "\"%.256s\" is not a URL; expected https://HOST/PATH",
				 url);
	else if (has(parsed, CURLUPART_USER) || has(parsed, CURLUPART_PASSWORD))
		r = stow_err_set(err, EINVAL,
				 "a URL on %.64s has a user or a password in it; requests are "
				 "signed (webhook-secret)",
				 host);
	else if (has(parsed, CURLUPART_FRAGMENT))
		r = stow_err_set(err, EINVAL, "\"%.256s\" has a fragment, which no server sees",
				 url);
	else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
		r = stow_err_set(err, EINVAL, "\"%.256s\" is not a URL with https://", url);
	else if (strcmp(scheme, "http") == 0 && !insecure && !is_loopback(host))
		r = stow_err_set(err, EINVAL,
				 "\"%.256s\" is not loopback; expected https://, or insecure: true",
				 url);
	curl_free(scheme);
	curl_free(host);
	return r;
}

void scheduler_event_url_show(const char *url, char *buf, size_t size)
{
	const char *host = strstr(url, "://");
	size_t scheme, len;
	const char *at;

	host = host ? host + 3 : url;
	scheme = (size_t)(host - url);
	len = strcspn(host, "/?#");
	at = memrchr(host, '@', len);
	host = at ? at + 1 : host;
	snprintf(buf, size, "%.*s%.*s%s", (int)scheme, url, (int)strcspn(host, "?#"), host,
		 host[strcspn(host, "?#")] ? "?..." : "");
}

int scheduler_event_url_check(const char *url, bool insecure, struct stow_err *err)
{
	CURLU *parsed = curl_url();
	int r;

	if (!parsed)
		return stow_err_set(err, ENOMEM, "out of memory");
	if (strlen(url) > 2048)
		r = stow_err_set(err, EINVAL, "a URL of over 2048 characters");
	else if (curl_url_set(parsed, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
		r = stow_err_set(err, EINVAL, "\"%.256s\" is not a URL; expected https://HOST/PATH",
				 url);
	else
		r = check_parts(parsed, url, insecure, err);
	curl_url_cleanup(parsed);
	return r;
}

uint64_t scheduler_event_pause(uint64_t first, uint64_t attempts, uint64_t random)
{
	uint64_t pause = first;

	for (uint64_t i = 1; i < attempts && pause < SCHEDULER_PAUSE_MAX; i++)
		pause *= 2;
	if (pause > SCHEDULER_PAUSE_MAX)
		pause = SCHEDULER_PAUSE_MAX;
	return pause - (pause > 1 ? random % (pause / 2) : 0);
}
