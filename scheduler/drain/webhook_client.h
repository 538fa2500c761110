/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One try to tell a webhook of an event: an HTTP request, signed (event.h). */

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "scheduler/config.h"

struct scheduler_webhook_client {
	const struct scheduler_config *config;
	const atomic_bool *stopping; /* ends a try under way */
	pthread_mutex_t lock;
	char *secret; /* as it could last be read; the lock */
	size_t secret_len;
};

/* Uses the files and times of `config`, which must stay, as `stopping` must. -EINVAL, -ENOENT: a
 * file cannot be used; done() is to be called in any case. */
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

/* The status of the answer, or 0 with what kept it from coming. Any thread. */
long scheduler_webhook_client_send(struct scheduler_webhook_client *client,
				   const struct scheduler_try *it, struct stow_err *err);
