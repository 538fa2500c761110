// SPDX-License-Identifier: Apache-2.0
/* Calls: one request with its answer, repeated where that may help. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/random.h"
#include "kube/internal.h"
#include "kube/json.h"
#include "kube/make.h"

#define FIRST	  (200 * STOW_MILLISECOND)
#define MOST	  (10 * STOW_SECOND)
#define AFTER_MAX (60 * STOW_SECOND) /* of Retry-After */
#define NAME_MAX_ 253
#define TOKEN_MAX 65536 /* bytes of a list's `continue` */

uint64_t stow_kube_backoff(unsigned int n, uint64_t first, uint64_t most)
{
	uint64_t wait = first, half;

	for (; n > 1 && wait < most; n--)
		wait *= 2;
	wait = STOW_MIN(wait, most);
	half = wait / 2;
	return half + stow_random_soon() % (half + 1);
}

/* Wait before a call is repeated. stow_kube_wake() does not end this wait, but the next
 * stow_kube_wait(). */
static int pause_for(struct stow_kube *kube, uint64_t ns, struct stow_err *err)
{
	uint64_t now = stow_clock_boot(), until = stow_saturating_add(now, ns);

	for (; now < until; now = stow_clock_boot()) {
		int r = atomic_load(&kube->stopped) ? stow_err_set(err, ECANCELED, "stopped")
						    : stow_kube_turn(kube, until - now, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* An answer, as it was received and parsed. */
struct answer {
	bool is_list; /* set before: how to parse it */
	struct json_object *object;
	char *text;
	size_t len;
};

/* Make a request once. *ret_after: the server's Retry-After; 0: none. *ret_again: whether to repeat
 * the request. */
static int once(struct stow_kube *kube, const char *method, const char *path, const char *body,
		struct answer *ret, uint64_t *ret_after, bool *ret_again, struct stow_err *err)
{
	struct stow_kube_transfer t = { 0 };
	curl_off_t after = 0;
	long status = 0;
	int r;

	*ret_after = 0;
	*ret_again = false;
	r = stow_kube_transfer_init(kube, &t, method, path, body, kube->timeout, err);
	if (r == 0)
		r = stow_kube_transfer_start(&t, err);
	while (r == 0 && !t.done) {
		r = atomic_load(&kube->stopped) ? stow_err_set(err, ECANCELED, "stopped")
						: stow_kube_turn(kube, kube->timeout, err);
	}
	if (r == 0) {
		r = stow_kube_transfer_result(&t, err);
		status = stow_kube_transfer_status(&t);
		curl_easy_getinfo(t.curl, CURLINFO_RETRY_AFTER, &after);
		*ret_after = STOW_MIN((uint64_t)STOW_MAX(after, (curl_off_t)0),
				      AFTER_MAX / STOW_SECOND) *
			     STOW_SECOND;
		*ret_again = r < 0 && (status == 429 || status / 100 == 5 || r == -ETIMEDOUT ||
				       r == -EHOSTUNREACH);
	}
	if (r == 0 && ret)
		r = (ret->is_list ? stow_kube_parse_list : stow_kube_parse)(
			t.answer ? t.answer : "", t.len, &ret->object, err);
	if (r == 0 && ret) {
		ret->text = STOW_TAKE_PTR(t.answer);
		ret->len = t.len;
	}
	stow_kube_transfer_done(&t);
	return r;
}

/* Make a request, and repeat it until it is answered or `patience` has passed. */
static int call_whole(struct stow_kube *kube, const char *method, const char *path,
		      const char *body, struct answer *ret, struct stow_err *err)
{
	uint64_t until = stow_saturating_add(stow_clock_boot(), kube->patience), after;
	struct stow_err why = { 0 };
	bool again;
	int r;

	for (unsigned int n = 1;; n++) {
		uint64_t pause;
		int stopped;

		if (atomic_load(&kube->stopped))
			return stow_err_set(err, ECANCELED, "%s %.200s: stopped", method, path);
		r = once(kube, method, path, body, ret, &after, &again, &why);
		if (r == 0)
			return 0;
		pause = STOW_MAX(stow_kube_backoff(n, FIRST, MOST), after);
		if (!again || stow_saturating_add(stow_clock_boot(), pause) >= until)
			break;
		stopped = pause_for(kube, pause, &why);
		if (stopped < 0) {
			r = stopped;
			break;
		}
	}
	stow_err_move(err, r, &why);
	return stow_err_wrap(err, r, "%s %.*s", method, (int)strcspn(path, "?"), path);
}

static int call(struct stow_kube *kube, const char *method, const char *path, const char *body,
		struct json_object **ret, struct stow_err *err)
{
	struct answer answer = { 0 };
	int r = call_whole(kube, method, path, body, ret ? &answer : NULL, err);

	free(answer.text);
	if (r == 0 && ret)
		*ret = answer.object;
	return r;
}

/* --- paths ---------------------------------------------------------------- */

/* Make the path of an object. Names come from configurations and from servers: refuse characters
 * that have a meaning in a path. */
static int object_path(const char *collection, const char *name, char **ret, struct stow_err *err)
{
	size_t len = strlen(name), i = 0;

	while (i < len && (isalnum((unsigned char)name[i]) || strchr("-._:", name[i])))
		i++;
	if (len == 0 || len > NAME_MAX_ || i < len || strspn(name, ".") == len)
		return stow_err_set(err, EINVAL, "\"%.64s\" is not the name of an object", name);
	if (asprintf(ret, "%s/%s", collection, name) >= 0)
		return 0;
	*ret = NULL;
	return stow_kube_no_memory(err);
}

/* --- the calls ------------------------------------------------------------ */

int stow_kube_get(struct stow_kube *kube, const char *collection, const char *name,
		  struct json_object **ret, struct stow_err *err)
{
	_cleanup_json_ struct json_object *object = NULL;
	_cleanup_free_ char *path = NULL;
	int r = object_path(collection, name, &path, err);

	if (r == 0)
		r = call(kube, "GET", path, NULL, &object, err);
	if (r == 0 && ret)
		*ret = STOW_TAKE_PTR(object);
	return r;
}

int stow_kube_get_text(struct stow_kube *kube, const char *collection, const char *name, char **ret,
		       size_t *ret_len, struct stow_err *err)
{
	_cleanup_free_ char *path = NULL;
	struct answer answer = { 0 };
	int r = object_path(collection, name, &path, err);

	if (r == 0)
		r = call_whole(kube, "GET", path, NULL, &answer, err);
	json_object_put(answer.object);
	if (r < 0)
		return r;
	*ret = answer.text;
	*ret_len = answer.len;
	return 0;
}

static int send_object(struct stow_kube *kube, const char *method, const char *path,
		       struct json_object *object, struct json_object **ret, struct stow_err *err)
{
	_cleanup_json_ struct json_object *stored = NULL;
	const char *body = json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	int r = body ? call(kube, method, path, body, &stored, err) : stow_kube_no_memory(err);

	if (r == 0 && ret)
		*ret = STOW_TAKE_PTR(stored);
	return r;
}

int stow_kube_create(struct stow_kube *kube, const char *collection, struct json_object *object,
		     struct json_object **ret, struct stow_err *err)
{
	return send_object(kube, "POST", collection, object, ret, err);
}

int stow_kube_replace(struct stow_kube *kube, const char *collection, const char *name,
		      struct json_object *object, struct json_object **ret, struct stow_err *err)
{
	_cleanup_free_ char *path = NULL;
	int r = object_path(collection, name, &path, err);

	return r == 0 ? send_object(kube, "PUT", path, object, ret, err) : r;
}

int stow_kube_apply(struct stow_kube *kube, const char *collection, const char *name,
		    const char *manager, struct json_object *object, struct json_object **ret,
		    struct stow_err *err)
{
	_cleanup_free_ char *path = NULL;
	int r = object_path(collection, name, &path, err);

	if (r == 0)
		r = stow_kube_add_query(&path, "fieldManager", manager, err);
	return r == 0 ? send_object(kube, "PATCH", path, object, ret, err) : r;
}

int stow_kube_replace_status(struct stow_kube *kube, const char *collection, const char *name,
			     struct json_object *object, struct stow_err *err)
{
	_cleanup_free_ char *path = NULL, *status = NULL;
	int r = object_path(collection, name, &path, err);

	if (r < 0)
		return r;
	if (asprintf(&status, "%s/status", path) < 0) {
		status = NULL;
		return stow_kube_no_memory(err);
	}
	return send_object(kube, "PUT", status, object, NULL, err);
}

int stow_kube_delete(struct stow_kube *kube, const char *collection, const char *name,
		     const char *uid, struct stow_err *err)
{
	_cleanup_json_ struct json_object *options = NULL;
	_cleanup_free_ char *path = NULL;
	int r = object_path(collection, name, &path, err);

	if (r < 0)
		return r;
	if (!uid)
		return call(kube, "DELETE", path, NULL, NULL, err);
	options = json_object_new_object();
	if (!stow_kube_put_text(stow_kube_object_at(options, "preconditions"), "uid", uid))
		return stow_kube_no_memory(err);
	return send_object(kube, "DELETE", path, options, NULL, err);
}

/* What is listed. */
struct listing {
	struct stow_kube *kube;
	const char *collection;
	const struct stow_kube_select *select; /* may be NULL */
	unsigned int size;		       /* objects of the next page */
};

/* Get a page, from the token of the page before on. */
static int get_page(const struct listing *l, const char *from, struct json_object **ret,
		    struct stow_err *err)
{
	struct answer answer = { .is_list = true };
	_cleanup_free_ char *path = strdup(l->collection);
	char limit[16];
	int r = path ? 0 : stow_kube_no_memory(err);

	snprintf(limit, sizeof(limit), "%u", l->size);
	if (r == 0)
		r = stow_kube_add_query(&path, "limit", limit, err);
	if (r == 0 && l->select && l->select->fields)
		r = stow_kube_add_query(&path, "fieldSelector", l->select->fields, err);
	if (r == 0 && l->select && l->select->labels)
		r = stow_kube_add_query(&path, "labelSelector", l->select->labels, err);
	if (r == 0 && from[0])
		r = stow_kube_add_query(&path, "continue", from, err);
	if (r == 0)
		r = call_whole(l->kube, "GET", path, NULL, &answer, err);
	free(answer.text);
	*ret = answer.object;
	return r;
}

/* Get a page of as many objects as fit into an answer. Other users choose how large theirs are. */
static int get_page_that_fits(struct listing *l, const char *from, struct json_object **ret,
			      struct stow_err *err)
{
	int r = get_page(l, from, ret, err);

	while (r == -E2BIG && l->size > 1) {
		l->size /= 2;
		r = get_page(l, from, ret, err);
	}
	return r;
}

static int visit_page(struct json_object *page, const char *collection,
		      int (*visit)(void *ctx, struct json_object *object), void *ctx,
		      struct stow_err *err)
{
	struct json_object *items;
	size_t n;

	items = stow_kube_list_at(page, "items", &n);
	if (!items && !json_object_is_type(stow_kube_at(page, "items"), json_type_null))
		return stow_err_set(err, EBADMSG, "GET %s: the answer is not a list", collection);
	for (size_t i = 0; i < n; i++) {
		struct json_object *item = json_object_array_get_idx(items, i);
		int r;

		if (!json_object_is_type(item, json_type_object))
			return stow_err_set(err, EBADMSG,
					    "GET %s: an entry of the list is not an object",
					    collection);
		r = visit(ctx, item);
		if (r < 0)
			return stow_err_set(err, -r, "GET %s: the list was ended", collection);
	}
	return 0;
}

int stow_kube_list(struct stow_kube *kube, const char *collection,
		   const struct stow_kube_select *select,
		   int (*visit)(void *ctx, struct json_object *object), void *ctx,
		   char **ret_version, struct stow_err *err)
{
	unsigned int most = select && select->page ? select->page : STOW_KUBE_PAGE;
	struct listing listing = { kube, collection, select, most };
	_cleanup_free_ char *from = strdup("");
	int r = from ? 0 : stow_kube_no_memory(err);

	for (size_t pages = 0; r == 0; pages++) {
		_cleanup_json_ struct json_object *page = NULL;
		const char *next;

		if (pages == STOW_KUBE_PAGES_MAX)
			return stow_err_set(err, E2BIG, "GET %s: the list has more than %d pages",
					    collection, STOW_KUBE_PAGES_MAX);
		r = get_page_that_fits(&listing, from, &page, err);
		if (r == 0)
			r = visit_page(page, collection, visit, ctx, err);
		if (r < 0)
			break;
		next = stow_kube_text(page, "metadata.continue");
		if (!next[0] || strlen(next) > TOKEN_MAX) {
			*ret_version = strdup(stow_kube_text(page, "metadata.resourceVersion"));
			return *ret_version ? 0 : stow_kube_no_memory(err);
		}
		listing.size = STOW_MIN(2 * listing.size, most);
		free(from);
		from = strdup(next);
		if (!from)
			return stow_kube_no_memory(err);
	}
	return r;
}
