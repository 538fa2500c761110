/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What webhooks are told of drains, and how it is signed.
 *
 *	POST PATH
 *	Content-Type: application/json
 *	User-Agent: numastow/VERSION
 *	Idempotency-Key: DRAIN-EVENT			the same in every try
 *	X-Numastow-Timestamp: SECONDS			of this try
 *	X-Numastow-Signature: sha256=HEX		HMAC-SHA256(secret, SECONDS "." BODY)
 *
 *	{"event":"safe-to-remove","drain":"...","node":"web-3",...,"attempt":1}
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "numastow/v1/drain.pb-c.h"

enum scheduler_event {
	SCHEDULER_EVENT_PLANNED,
	SCHEDULER_EVENT_SAFE,	/* whole devices */
	SCHEDULER_EVENT_SHRINK, /* a part of virtio-mem */
	SCHEDULER_EVENT_REMOVED,
	SCHEDULER_EVENT_FAILED,
	SCHEDULER_EVENTS
};

const char *scheduler_event_name(enum scheduler_event event); /* "safe-to-remove" */
/* Of those two the one that is true of memory that is offline, by the machine's word;
 * SCHEDULER_EVENTS: neither, it stays in the machine. */
enum scheduler_event scheduler_event_release(const PbDrainProgress *progress);
const char *scheduler_step_name(PbDrainStep step); /* "offlining" */

/* The body but for the number of the try, which scheduler_event_attempt() adds. To be freed; NULL:
 * no memory. `wall`: ns. */
char *scheduler_event_body(enum scheduler_event event, const PbDrain *drain, uint64_t wall);
char *scheduler_event_attempt(const char *body, size_t len, uint64_t attempt);

/* HEX, of `timestamp` "." `body`. */
void scheduler_event_sign(const void *secret, size_t secret_len, const char *timestamp,
			  const char *body, char ret_hex[65]);

/* The URL for a log: without user, password, query and fragment, which may be secret. */
void scheduler_event_url_show(const char *url, char *buf, size_t size);
/* -EINVAL: not https:// (or http:// to this very machine, or anywhere with `insecure`); a user, a
 * password or a fragment in it. */
int scheduler_event_url_check(const char *url, bool insecure, struct stow_err *err);

/* ns before the next try, after `attempts` of them: doubling from `first` up to
 * SCHEDULER_PAUSE_MAX, and by `random` shorter, up to a half. */
#define SCHEDULER_PAUSE_MAX (300 * STOW_SECOND)
uint64_t scheduler_event_pause(uint64_t first, uint64_t attempts, uint64_t random);
