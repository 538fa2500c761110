// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/fleet/fleet_internal.h"

struct stow_answer *stow_answer_find(const struct stow_fleet *fleet, const char *request_id)
{
	for (struct stow_link *link = stow_hash_find(&fleet->answers, stow_hash_string(request_id));
	     link; link = stow_hash_next(link)) {
		struct stow_answer *a = stow_container_of(link, struct stow_answer, link);

		if (strcmp(a->request_id, request_id) == 0)
			return a;
	}
	return NULL;
}

static void unqueue(struct stow_fleet *fleet, struct stow_answer *a)
{
	if (a->older)
		a->older->newer = a->newer;
	else
		fleet->oldest_answer = a->newer;
	if (a->newer)
		a->newer->older = a->older;
	else
		fleet->newest_answer = a->older;
}

/* Drop the oldest answers until a new one fits. An answer in progress stays. */
static void make_room(struct stow_fleet *fleet)
{
	struct stow_answer *a = fleet->oldest_answer, *newer;

	for (; a &&
	       (fleet->answers.n > STOW_ANSWERS_MAX || fleet->answer_bytes > STOW_ANSWER_BYTES_MAX);
	     a = newer) {
		newer = a->newer;
		if (!a->pending && newer)
			stow_answer_remove(fleet, a);
	}
}

int stow_answer_add(struct stow_fleet *fleet, const char *request_id, uint64_t digest,
		    struct stow_answer **ret_answer, struct stow_err *err)
{
	struct stow_answer *a = calloc(1, sizeof(*a));

	if (a)
		a->request_id = strdup(request_id);
	if (!a || !a->request_id ||
	    stow_hash_add(&fleet->answers, &a->link, stow_hash_string(request_id)) < 0) {
		if (a)
			free(a->request_id);
		free(a);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	a->digest = digest;
	a->older = fleet->newest_answer;
	if (a->older)
		a->older->newer = a;
	else
		fleet->oldest_answer = a;
	fleet->newest_answer = a;
	make_room(fleet);
	*ret_answer = a;
	return 0;
}

int stow_answer_set(struct stow_fleet *fleet, struct stow_answer *answer, const void *bytes,
		    size_t len)
{
	answer->response.bytes = malloc(len + 1);
	if (!answer->response.bytes)
		return -ENOMEM;
	if (len) /* memcpy() does not accept NULL */
		memcpy(answer->response.bytes, bytes, len);
	answer->response.len = len;
	fleet->answer_bytes += len;
	return 0;
}

void stow_answer_remove(struct stow_fleet *fleet, struct stow_answer *answer)
{
	stow_hash_remove(&fleet->answers, &answer->link);
	unqueue(fleet, answer);
	fleet->answer_bytes -= answer->response.len;
	stow_wire_done(&answer->response);
	free(answer->request_id);
	free(answer);
}

void stow_answer_forget(struct stow_fleet *fleet, struct stow_now now)
{
	struct stow_answer *a = fleet->oldest_answer, *newer;

	for (int i = 0; a && i < STOW_FORGET_MOST; i++, a = newer) {
		newer = a->newer;
		if (!a->pending && a->until >= now.mono)
			return; /* newer answers stay longer */
		if (!a->pending)
			stow_answer_remove(fleet, a);
	}
}
