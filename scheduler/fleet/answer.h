/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Answers of Place by request id, for clients that repeat a call. All functions require the
 * fleet's lock. */

#include "base/err.h"
#include "base/hash.h"
#include "scheduler/fleet/now.h"
#include "scheduler/fleet/report.h"

struct stow_fleet;

struct stow_place_op;

/* The answer to a request, in case that the client repeats it. */
struct stow_answer {
	struct stow_link link; /* in fleet->answers, by the request id's hash */
	char *request_id;
	uint64_t digest; /* of the request */
	uint64_t until;	 /* when it is forgotten, by stow_now().mono */
	struct stow_answer *older, *newer;
	struct stow_wire response;     /* PlaceResponse */
	struct stow_place_op *pending; /* the request in progress; there is no response yet */
};

struct stow_answer *stow_answer_find(const struct stow_fleet *fleet, const char *request_id);
/* Add an answer. Drops the oldest ones beyond STOW_ANSWERS_MAX and STOW_ANSWER_BYTES_MAX. */
int stow_answer_add(struct stow_fleet *fleet, const char *request_id, uint64_t digest,
		    struct stow_answer **ret_answer, struct stow_err *err);
/* Set the response to a copy of `len` bytes. -ENOMEM. */
int stow_answer_set(struct stow_fleet *fleet, struct stow_answer *answer, const void *bytes,
		    size_t len);
void stow_answer_remove(struct stow_fleet *fleet, struct stow_answer *answer);
/* Remove expired answers, at most STOW_FORGET_MOST per call. */
void stow_answer_forget(struct stow_fleet *fleet, struct stow_now now);
