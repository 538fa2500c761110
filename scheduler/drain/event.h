/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Webhook events of drains: body, headers and signature.
 *
 *	POST PATH
 *	Content-Type: application/json
 *	User-Agent: numastow/VERSION
 *	Idempotency-Key: DRAIN-EVENT			the same in each try
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
/* Return SAFE or SHRINK, whichever the agent reported for the offline memory; SCHEDULER_EVENTS:
 * neither, the memory stays in the machine. */
enum scheduler_event scheduler_event_release(const PbDrainProgress *progress);
const char *scheduler_step_name(PbDrainStep step); /* "offlining" */

/* Return the body without the number of the try, which scheduler_event_attempt() adds. The
 * caller frees it; NULL: out of memory. `wall`: ns. */
char *scheduler_event_body(enum scheduler_event event, const PbDrain *drain, uint64_t wall);
char *scheduler_event_attempt(const char *body, size_t len, uint64_t attempt);

/* Compute HEX of the signature, over `timestamp` "." `body`. */
void scheduler_event_sign(const void *secret, size_t secret_len, const char *timestamp,
			  const char *body, char ret_hex[65]);

/* Format a URL for logs: without user, password, query and fragment, which may be secret. */
void scheduler_event_url_show(const char *url, char *buf, size_t size);
/* Check a URL. -EINVAL: it is not https:// (nor http:// to loopback, nor, with `insecure`,
 * http:// to any host), or has a user, a password or a fragment. */
int scheduler_event_url_check(const char *url, bool insecure, struct stow_err *err);

/* Return the pause before the next try in ns. It starts at `first`, doubles with each of the
 * `attempts` up to SCHEDULER_PAUSE_MAX, and is shortened by up to a half, depending on `random`. */
#define SCHEDULER_PAUSE_MAX (300 * STOW_SECOND)
uint64_t scheduler_event_pause(uint64_t first, uint64_t attempts, uint64_t random);
