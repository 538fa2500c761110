/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * etcd v3 as the store needs it: its members, one of which is asked at a time; a lease that is kept
 * alive; and a copy of all keys with a prefix that follows them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "etcd/rpc.pb-c.h"
#include "rpc/rpc.h"

#define ETCD_MEMBERS_MAX 9

/* --- members (etcd.c) --------------------------------------------------------------------------- */

struct etcd;

/* "https://a:2379,https://b:2379"; with http:// only on loopback. -EINVAL says what is wrong. */
int etcd_urls_check(const char *urls, bool *ret_tls, struct stow_err *err);
/* `tls` is for https:// and read now. Nothing is connected yet. */
int etcd_new(const char *urls, const struct stow_rpc_tls *tls, struct etcd **ret_etcd,
	     struct stow_err *err);
/* After all calls have returned and all streams were closed. */
void etcd_free(struct etcd *etcd);

/* Calls the member that answered last, once. After -ENOTCONN and -ETIMEDOUT the next call goes to
 * the next member; what became of this one is not known. */
int etcd_call(struct etcd *etcd, const ProtobufCServiceDescriptor *service, const char *method,
	      const void *request, uint64_t timeout, void **ret_response, struct stow_err *err);
/* The same for what may be asked twice: goes round for `timeout` until a member answers. */
int etcd_ask(struct etcd *etcd, const ProtobufCServiceDescriptor *service, const char *method,
	     const void *request, uint64_t timeout, void **ret_response, struct stow_err *err);
/* A stream to that member. */
int etcd_open(struct etcd *etcd, const ProtobufCServiceDescriptor *service, const char *method,
	      const struct stow_rpc_stream_ops *ops, void *ctx, struct stow_rpc_call **ret_call,
	      struct stow_err *err);
/* That member does not do: the next one. */
void etcd_next(struct etcd *etcd);

/* --- the lease (etcd_lease.c) ------------------------------------------------------------------- */

struct etcd_lease;

/* Grants a lease; it is kept alive from etcd_lease_keep() on. */
int etcd_lease_grant(struct etcd *etcd, uint64_t ttl, struct etcd_lease **ret_lease,
		     struct stow_err *err);
int etcd_lease_keep(struct etcd_lease *lease, struct stow_err *err);
int64_t etcd_lease_id(const struct etcd_lease *lease);
/* Until when it surely lasts, by the boot clock: a second before it may end. */
uint64_t etcd_lease_until(struct etcd_lease *lease);
/* etcd has said that it is no more. */
bool etcd_lease_gone(struct etcd_lease *lease);
/* Gives it back, when etcd can be reached; what hangs on it goes with it. */
void etcd_lease_free(struct etcd_lease *lease, bool revoke);

/* --- all keys (etcd_mirror.c) ------------------------------------------------------------------- */

struct etcd_mirror;

struct etcd_key {
	void *key, *value;
	size_t key_len, value_len;
	int64_t create_revision, lease;
};

int etcd_mirror_new(struct etcd *etcd, const char *prefix, struct etcd_mirror **ret_mirror,
		    struct stow_err *err);
void etcd_mirror_free(struct etcd_mirror *mirror);
/* Reads all keys as they were at one revision, at or after `revision` (0: now). */
int etcd_mirror_read(struct etcd_mirror *mirror, int64_t revision, uint64_t timeout,
		     struct stow_err *err);
/* Follows the keys from then on; called again and again, goes on after an interruption, and reads
 * anew where etcd has forgotten what happened meanwhile. */
int etcd_mirror_follow(struct etcd_mirror *mirror, uint64_t timeout, struct stow_err *err);
/* Waits until what it has is that of `revision`, for `timeout`; whether it is. Only for a revision
 * of which an event must come. */
bool etcd_mirror_reaches(struct etcd_mirror *mirror, int64_t revision, uint64_t timeout);
/* Follows no more. */
void etcd_mirror_stop(struct etcd_mirror *mirror);
/* The key PREFIXname, or NULL; as long as nothing is followed. */
const struct etcd_key *etcd_mirror_find(struct etcd_mirror *mirror, const char *name);
/* All of them by ascending key; as long as nothing is followed. */
void etcd_mirror_each(struct etcd_mirror *mirror,
		      void (*each)(void *ctx, const struct etcd_key *key), void *ctx);
/* That of the last event, or of the last reading. Any thread. */
int64_t etcd_mirror_revision(struct etcd_mirror *mirror);
/* Keys, and how often all were read. */
void etcd_mirror_count(struct etcd_mirror *mirror, uint64_t *ret_keys, uint64_t *ret_reads);
