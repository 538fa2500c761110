/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One attempt to deliver an event to a webhook: a signed HTTP request (event.h). */

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "scheduler/config.h"

struct scheduler_webhook_client {
	const struct scheduler_config *config;
	const atomic_bool *stopping; /* aborts a running attempt */
	pthread_mutex_t lock;
	char *secret; /* as last read; under the lock */
	size_t secret_len;
};

/* Initialize a client with the files and times of `config`. `config` and `stopping` must outlive
 * it. -EINVAL, -ENOENT: a file cannot be used. The caller calls done() in any case. */
int scheduler_webhook_client_init(struct scheduler_webhook_client *client,
				  const struct scheduler_config *config,
				  const atomic_bool *stopping, struct stow_err *err);
void scheduler_webhook_client_done(struct scheduler_webhook_client *client);

struct scheduler_try {
	const char *url, *event;
	uint64_t drain, number; /* from 1 */
	const char *body;
	size_t len;
};

/* Send an event. Return the HTTP status of the answer, or 0 and sets `err` when there was none.
 * Any thread. */
long scheduler_webhook_client_send(struct scheduler_webhook_client *client,
				   const struct scheduler_try *it, struct stow_err *err);
