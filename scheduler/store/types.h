/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Types that the store's callers and its engines share. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/idset.h"

struct stow_store_options {
	const char *where; /* "sqlite:DIR", "etcd:URL,..."; NULL: SQLite in `dir` */
	const char *dir;
	bool power_loss; /* SQLite: commits wait for the disk, as etcd's always do */

	/* For etcd. */
	const char *ca, *certificate, *key; /* PEM files, for https:// */
	const char *prefix;		    /* of all keys: "/numastow/" */
	uint64_t lease;			    /* ns */
	const char *name;		    /* of this scheduler, for display; NULL: its host */
};

/* A pending webhook event. */
struct stow_store_webhook {
	uint64_t seq; /* ascending */
	uint64_t drain;
	const char *event, *url;
	const void *body;
	size_t len;
	uint64_t created, next; /* wall time */
	uint64_t attempts;
};

/* Callbacks for each row at the start. Drains come before their webhooks, which come by
 * ascending number. Arguments are valid only during the call. */
struct stow_store_load {
	int (*reservation)(void *ctx, uint64_t id, const void *message, size_t len,
			   const char *request_id, struct stow_err *err);
	int (*fence)(void *ctx, const char *machine, const struct stow_idset *numa,
		     struct stow_err *err);
	int (*answer)(void *ctx, const char *request_id, uint64_t digest, uint64_t expires,
		      const void *response, size_t len, struct stow_err *err);
	int (*drain)(void *ctx, uint64_t id, uint64_t flags, const void *message, size_t len,
		     const char *request_id, struct stow_err *err);
	int (*webhook)(void *ctx, const struct stow_store_webhook *webhook, struct stow_err *err);
	void *ctx;
	/* ns that an answer is kept from now on, whatever its time says: the clock may have been
	 * set. `answers_most` 0: its time is not changed. */
	uint64_t answers_least, answers_most;
	bool copying; /* read it also when a copy to it has not ended */
};

/* Standbys that the engine knows of. */
#define STOW_STANDBYS_MAX 16
struct stow_store_standbys {
	size_t n;
	struct stow_store_standby {
		char name[256];
		uint64_t lag; /* ns by which it is behind */
	} list[STOW_STANDBYS_MAX];
};
