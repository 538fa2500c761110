// SPDX-License-Identifier: Apache-2.0
#include "scheduler/store/writes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/store/engine.h"

struct stow_writes *stow_writes_new(void)
{
	struct stow_writes *writes = calloc(1, sizeof(*writes));

	if (writes)
		writes->last = &writes->first;
	return writes;
}

void stow_write_free(struct stow_write *w)
{
	free(w->text);
	free(w->more);
	free(w->bytes);
	free(w);
}

void stow_writes_free(struct stow_writes *writes)
{
	if (!writes)
		return;
	while (writes->first) {
		struct stow_write *w = writes->first;

		writes->first = w->next;
		stow_write_free(w);
	}
	free(writes);
}

static int add(struct stow_writes *writes, enum stow_write_kind kind, uint64_t a, uint64_t b,
	       const char *text, const void *bytes, size_t len)
{
	struct stow_write *w = writes ? calloc(1, sizeof(*w)) : NULL;

	if (!w)
		return -ENOMEM;
	w->kind = kind;
	w->a = a;
	w->b = b;
	w->len = len;
	w->text = text ? strdup(text) : NULL;
	w->bytes = bytes ? malloc(len + 1) : NULL;
	if ((text && !w->text) || (bytes && !w->bytes)) {
		stow_write_free(w);
		return -ENOMEM;
	}
	if (bytes) {
		memcpy(w->bytes, bytes, len);
		((char *)w->bytes)[len] = '\0'; /* some values are texts */
	}
	*writes->last = w;
	writes->last = &w->next;
	return 0;
}

int stow_writes_reservation(struct stow_writes *writes, uint64_t id, const void *message,
			    size_t len, const char *request_id)
{
	return add(writes, STOW_WRITE_RESERVATION, id, 0, request_id ? request_id : "", message,
		   len);
}

int stow_writes_no_reservation(struct stow_writes *writes, uint64_t id)
{
	return add(writes, STOW_WRITE_NO_RESERVATION, id, 0, NULL, NULL, 0);
}

int stow_writes_fence(struct stow_writes *writes, const char *machine,
		      const struct stow_idset *numa)
{
	char text[STOW_IDSET_MAX];

	stow_idset_format(numa, text, sizeof(text));
	return add(writes, stow_idset_empty(numa) ? STOW_WRITE_NO_FENCE : STOW_WRITE_FENCE, 0, 0,
		   machine, text, strlen(text));
}

/* Return the row that add() has just appended. */
static struct stow_write *newest(struct stow_writes *writes)
{
	return (struct stow_write *)(void *)((char *)writes->last -
					     offsetof(struct stow_write, next));
}

int stow_writes_answer(struct stow_writes *writes, const char *request_id, uint64_t digest,
		       uint64_t expires, uint64_t left, const void *response, size_t len)
{
	int r = add(writes, STOW_WRITE_ANSWER, digest, expires, request_id, response, len);

	if (r == 0)
		newest(writes)->c = left;
	return r;
}

int stow_writes_no_answer(struct stow_writes *writes, const char *request_id)
{
	return add(writes, STOW_WRITE_NO_ANSWER, 0, 0, request_id, NULL, 0);
}

int stow_writes_drain(struct stow_writes *writes, uint64_t id, uint64_t flags, const void *message,
		      size_t len, const char *request_id)
{
	return add(writes, STOW_WRITE_DRAIN, id, flags, request_id ? request_id : "", message, len);
}

int stow_writes_no_drain(struct stow_writes *writes, uint64_t id)
{
	return add(writes, STOW_WRITE_NO_DRAIN, id, 0, NULL, NULL, 0);
}

int stow_writes_webhook(struct stow_writes *writes, const struct stow_store_webhook *webhook)
{
	int r = add(writes, STOW_WRITE_WEBHOOK, webhook->seq, webhook->drain, webhook->event,
		    webhook->body, webhook->len);

	if (r < 0)
		return r;
	newest(writes)->c = webhook->created;
	newest(writes)->more = strdup(webhook->url);
	return newest(writes)->more ? 0 : -ENOMEM;
}

int stow_writes_webhook_later(struct stow_writes *writes, uint64_t seq, uint64_t next,
			      uint64_t attempts)
{
	int r = add(writes, STOW_WRITE_WEBHOOK_LATER, seq, next, NULL, NULL, 0);

	if (r == 0)
		newest(writes)->c = attempts;
	return r;
}

int stow_writes_no_webhook(struct stow_writes *writes, uint64_t seq)
{
	return add(writes, STOW_WRITE_NO_WEBHOOK, seq, 0, NULL, NULL, 0);
}

int stow_writes_copying(struct stow_writes *writes, bool copying)
{
	return add(writes, copying ? STOW_WRITE_COPYING : STOW_WRITE_NO_COPYING, 0, 0, "", "", 0);
}

int stow_writes_no_webhook_of(struct stow_writes *writes, uint64_t drain, const char *event)
{
	return add(writes, STOW_WRITE_NO_WEBHOOK_OF, drain, 0, event, NULL, 0);
}

int stow_store_refuse_copying(const struct stow_store_load *load, struct stow_err *err)
{
	return load->copying ? 0
			     : stow_err_set(err, EUCLEAN,
					    "the store: it has only a part of another one, from "
					    "which --copy-store has not copied all; empty it, and "
					    "copy again");
}
