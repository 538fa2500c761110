// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "kube/internal.h"
#include "kube/json.h"

#define LASTS	    "290"		/* s, then the server ends the watch */
#define TIMEOUT	    (320 * STOW_SECOND) /* for a server that does not end it */
#define VERSION_MAX 256

struct stow_kube_watch {
	struct stow_kube *kube;
	struct stow_kube_watch *next;
	struct stow_kube_transfer transfer;
	const struct stow_kube_watch_ops *ops;
	void *ctx;
	char *path; /* for errors */
	char *line; /* the received part of an event */
	size_t len;
	char version[VERSION_MAX];
	int code; /* the error with which this side ended it */
	struct stow_err why;
	bool ended;
};

/* --- events --------------------------------------------------------------- */

/* Handle the line of an event. Return 0, or -errno to end the watch. */
static int take_event(struct stow_kube_watch *watch, const char *line, size_t len)
{
	static const char *const types[] = { "ADDED", "MODIFIED", "DELETED" };
	_cleanup_json_ struct json_object *event = NULL;
	struct json_object *object;
	const char *type, *version;
	int r = stow_kube_parse_list(line, len, &event, &watch->why);

	if (r < 0)
		return r;
	type = stow_kube_text(event, "type");
	object = stow_kube_at(event, "object");
	if (!json_object_is_type(object, json_type_object))
		return stow_err_set(&watch->why, EBADMSG, "an event has no object");
	if (strcmp(type, "ERROR") == 0)
		return stow_kube_refused((long)stow_kube_number(object, "code", 500), object,
					 &watch->why);
	version = stow_kube_text(object, "metadata.resourceVersion");
	if (!version[0] || strlen(version) >= sizeof(watch->version))
		return stow_err_set(&watch->why, EBADMSG, "an event has no resourceVersion");
	snprintf(watch->version, sizeof(watch->version), "%s", version);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(types); i++)
		if (strcmp(type, types[i]) == 0) {
			watch->kube->event = true;
			watch->ops->event(watch->ctx, (enum stow_kube_event)i, object);
			return 0;
		}
	return strcmp(type, "BOOKMARK") == 0
		       ? 0
		       : stow_err_set(&watch->why, EBADMSG, "an event has the type \"%.32s\"",
				      type);
}

/* Keep the received part of a line. */
static int keep(struct stow_kube_watch *watch, const char *bytes, size_t len)
{
	char *grown;

	if (len > watch->kube->answer_max - watch->len)
		return stow_err_set(&watch->why, E2BIG, "an event has more than %zu bytes",
				    watch->kube->answer_max);
	grown = realloc(watch->line, watch->len + len + 1);
	if (!grown)
		return stow_err_set(&watch->why, ENOMEM, "out of memory");
	watch->line = grown;
	memcpy(grown + watch->len, bytes, len);
	watch->len += len;
	return 0;
}

bool stow_kube_watch_take(void *ctx, const char *bytes, size_t len)
{
	struct stow_kube_watch *watch = ctx;
	int r = 0;

	while (r == 0 && len > 0) {
		const char *end = memchr(bytes, '\n', len);
		size_t n = end ? (size_t)(end - bytes) : len;

		r = keep(watch, bytes, n);
		if (!end)
			break;
		if (r == 0 && watch->len > 0)
			r = take_event(watch, watch->line, watch->len);
		watch->len = 0;
		bytes += n + 1;
		len -= n + 1;
	}
	watch->code = r;
	return r == 0;
}

/* --- making and freeing --------------------------------------------------- */

int stow_kube_watch(struct stow_kube *kube, const char *collection,
		    const struct stow_kube_select *select, const char *version,
		    const struct stow_kube_watch_ops *ops, void *ctx, struct stow_kube_watch **ret,
		    struct stow_err *err)
{
	struct stow_kube_watch *watch = calloc(1, sizeof(*watch));
	_cleanup_free_ char *path = strdup(collection);
	int r = 0;

	if (!watch || !path || !(watch->path = strdup(collection))) {
		free(watch);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	watch->kube = kube;
	watch->ops = ops;
	watch->ctx = ctx;
	snprintf(watch->version, sizeof(watch->version), "%s", version);
	if (strlen(version) >= VERSION_MAX)
		r = stow_err_set(err, EBADMSG, "the resourceVersion has more than %d bytes",
				 VERSION_MAX - 1);
	if (r == 0)
		r = stow_kube_add_query(&path, "watch", "1", err);
	if (r == 0)
		r = stow_kube_add_query(&path, "allowWatchBookmarks", "true", err);
	if (r == 0)
		r = stow_kube_add_query(&path, "timeoutSeconds", LASTS, err);
	if (r == 0)
		r = stow_kube_add_query(&path, "resourceVersion", version, err);
	if (r == 0 && select && select->fields)
		r = stow_kube_add_query(&path, "fieldSelector", select->fields, err);
	if (r == 0 && select && select->labels)
		r = stow_kube_add_query(&path, "labelSelector", select->labels, err);
	if (r == 0)
		r = stow_kube_transfer_init(kube, &watch->transfer, "GET", path, NULL, TIMEOUT,
					    err);
	watch->transfer.kube = kube;
	watch->transfer.take = stow_kube_watch_take;
	watch->transfer.ctx = watch;
	watch->next = kube->watches;
	kube->watches = watch;
	if (r == 0)
		r = stow_kube_transfer_start(&watch->transfer, err);
	if (r < 0) {
		stow_kube_watch_free(watch);
		return r;
	}
	*ret = watch;
	return 0;
}

const char *stow_kube_watch_version(const struct stow_kube_watch *watch)
{
	return watch->version;
}

void stow_kube_watch_free(struct stow_kube_watch *watch)
{
	struct stow_kube_watch **at;

	if (!watch)
		return;
	for (at = &watch->kube->watches; *at && *at != watch; at = &(*at)->next)
		;
	if (*at)
		*at = watch->next;
	stow_kube_transfer_done(&watch->transfer);
	free(watch->path);
	free(watch->line);
	free(watch);
}

void stow_kube_watches_free(struct stow_kube *kube)
{
	while (kube->watches)
		stow_kube_watch_free(kube->watches);
}

/* Return how a watch has ended: its own error, or the result of its transfer. */
static int outcome(struct stow_kube_watch *watch, struct stow_err *err)
{
	int r = watch->code;

	if (r < 0)
		stow_err_move(err, r, &watch->why);
	else
		r = stow_kube_transfer_result(&watch->transfer, err);
	return r < 0 ? stow_err_wrap(err, r, "watch %s", watch->path) : 0;
}

void stow_kube_watches_end(struct stow_kube *kube)
{
	for (struct stow_kube_watch *w = kube->watches; w; w = w->next) {
		struct stow_err why = { 0 };
		int r;

		if (!w->transfer.done || w->ended)
			continue;
		w->ended = kube->event = true;
		r = outcome(w, &why);
		w->ops->ended(w->ctx, r, &why);
	}
}
