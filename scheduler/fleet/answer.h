/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Answers to callers who may ask again, by their request ids. With the fleet's lock. */

#include "scheduler/fleet/fleet.h"

struct stow_place_op;

/* What a caller got, for the case that it asks again. */
struct stow_answer {
	struct stow_link link; /* in fleet->answers, by the request id's hash */
	char *request_id;
	uint64_t digest; /* of the request */
	uint64_t expires;
	struct stow_answer *older, *newer;
	struct stow_wire response;     /* PlaceResponse */
	struct stow_place_op *pending; /* being worked on: there is no response yet */
};

struct stow_answer *stow_answer_find(const struct stow_fleet *fleet, const char *request_id);
/* Of the oldest so many and so large ones are kept as STOW_ANSWERS_MAX and _BYTES_MAX say. */
int stow_answer_add(struct stow_fleet *fleet, const char *request_id, uint64_t digest,
		    struct stow_answer **ret_answer, struct stow_err *err);
/* Gives it its response, a copy of `len` bytes. -ENOMEM. */
int stow_answer_set(struct stow_fleet *fleet, struct stow_answer *answer, const void *bytes,
		    size_t len);
void stow_answer_remove(struct stow_fleet *fleet, struct stow_answer *answer);
/* Those that have expired, STOW_FORGET_MOST at a time. */
void stow_answer_forget(struct stow_fleet *fleet, struct stow_now now);
