/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "scheduler/store/types.h"

/* A list of writes, all of which are written or none. The caller creates and fills it, and
 * passes it to stow_store_commit(), which takes ownership. stow_writes_new() returns NULL when
 * out of memory; adding to NULL returns -ENOMEM. */
struct stow_writes;

struct stow_writes *stow_writes_new(void);
void stow_writes_free(struct stow_writes *writes);
int stow_writes_reservation(struct stow_writes *writes, uint64_t id, const void *message,
			    size_t len, const char *request_id);
int stow_writes_no_reservation(struct stow_writes *writes, uint64_t id);
int stow_writes_fence(struct stow_writes *writes, const char *machine,
		      const struct stow_idset *numa);
/* `expires`: wall time, which is kept; `left`: ns until then, which cannot be computed of it after
 * the clock was set. */
int stow_writes_answer(struct stow_writes *writes, const char *request_id, uint64_t digest,
		       uint64_t expires, uint64_t left, const void *response, size_t len);
int stow_writes_no_answer(struct stow_writes *writes, const char *request_id);
int stow_writes_drain(struct stow_writes *writes, uint64_t id, uint64_t flags, const void *message,
		      size_t len, const char *request_id);
int stow_writes_no_drain(struct stow_writes *writes, uint64_t id);
/* Ignores `next` and `attempts`: the event is due, and was not tried yet. */
int stow_writes_webhook(struct stow_writes *writes, const struct stow_store_webhook *webhook);
int stow_writes_webhook_later(struct stow_writes *writes, uint64_t seq, uint64_t next,
			      uint64_t attempts);
int stow_writes_no_webhook(struct stow_writes *writes, uint64_t seq);
/* Mark a store as incomplete, so that no scheduler takes it; and as complete. */
int stow_writes_copying(struct stow_writes *writes, bool copying);
/* Delete the deliveries of an event to all URLs. */
int stow_writes_no_webhook_of(struct stow_writes *writes, uint64_t drain, const char *event);
