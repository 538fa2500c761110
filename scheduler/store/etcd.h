/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A client of etcd v3 for the store: members, of which one is used at a time; a lease that is kept
 * alive; and a mirror of all keys with a prefix.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "etcd/rpc.pb-c.h"
#include "rpc/rpc.h"

#define ETCD_MEMBERS_MAX 9

/* --- members (etcd.c) ----------------------------------------------------- */

struct etcd;

/* Check "https://a:2379,https://b:2379"; http:// is allowed on loopback only. -EINVAL, with the
 * reason. */
int etcd_urls_check(const char *urls, bool *ret_tls, struct stow_err *err);
/* Create a client. `tls`, for https://, is read now. Does not connect yet. */
int etcd_new(const char *urls, const struct stow_rpc_tls *tls, struct etcd **ret_etcd,
	     struct stow_err *err);
/* Free the client. All calls must have returned, and all streams must be closed. */
void etcd_free(struct etcd *etcd);

/* Make one call to the present member. Errors begin with the member. After -ENOTCONN, -ETIMEDOUT
 * and -EPROTO (what came is not etcd's answer) it is not known whether the call took effect, and
 * the next call goes to the next member. A member that refuses the call itself (-EACCES,
 * -EKEYREJECTED, -EOPNOTSUPP) has done nothing: the others are called before that is returned. */
int etcd_call(struct etcd *etcd, const ProtobufCServiceDescriptor *service, const char *method,
	      const void *request, uint64_t timeout, void **ret_response, struct stow_err *err);
/* The same for calls that may be repeated: try the members in turn, for `timeout`, until one
 * answers. */
int etcd_ask(struct etcd *etcd, const ProtobufCServiceDescriptor *service, const char *method,
	     const void *request, uint64_t timeout, void **ret_response, struct stow_err *err);
/* Open a stream to the present member. */
int etcd_open(struct etcd *etcd, const ProtobufCServiceDescriptor *service, const char *method,
	      const struct stow_rpc_stream_ops *ops, void *ctx, struct stow_rpc_call **ret_call,
	      unsigned int *ret_member, struct stow_err *err);
/* Switch from that member to the next one, unless another thread has already. */
void etcd_leave(struct etcd *etcd, unsigned int member);
/* Note a failure of a member; `why` NULL: it has answered, and earlier failures of all members are
 * of the past. Calls do it by themselves, streams do not. */
void etcd_note(struct etcd *etcd, unsigned int member, const struct stow_err *why);
/* Write the members that have failed since one last answered, each with its reason: "MEMBER:
 * REASON; MEMBER: REASON". Return their number. Any thread. */
unsigned int etcd_failed(struct etcd *etcd, char *ret, size_t size);
/* Return the member as "https://a.example:2379". */
const char *etcd_member_name(const struct etcd *etcd, unsigned int member);

/* --- the lease (etcd_lease.c) --------------------------------------------- */

struct etcd_lease;

/* Get a lease. etcd_lease_keep() starts to keep it alive. */
int etcd_lease_grant(struct etcd *etcd, uint64_t ttl, struct etcd_lease **ret_lease,
		     struct stow_err *err);
int etcd_lease_keep(struct etcd_lease *lease, struct stow_err *err);
int64_t etcd_lease_id(const struct etcd_lease *lease);
/* Return until when the lease certainly lasts, by the boot clock: a second before it may end. */
uint64_t etcd_lease_until(struct etcd_lease *lease);
/* Write the member that did not renew the lease at the last attempt, and its reason: "MEMBER:
 * REASON"; "" when the lease was renewed. */
void etcd_lease_why(struct etcd_lease *lease, char *ret, size_t size);
/* Return whether etcd has reported that the lease no longer exists. */
bool etcd_lease_gone(struct etcd_lease *lease);
/* Revoke the lease, if etcd can be reached, which deletes its keys; and free it. */
void etcd_lease_free(struct etcd_lease *lease);

/* --- all keys (etcd_mirror.c) --------------------------------------------- */

struct etcd_mirror;

struct etcd_key {
	void *key, *value;
	size_t key_len, value_len;
	int64_t create_revision, lease;
};

int etcd_mirror_new(struct etcd *etcd, const char *prefix, struct etcd_mirror **ret_mirror,
		    struct stow_err *err);
void etcd_mirror_free(struct etcd_mirror *mirror);
/* Read all keys at one revision, which is at or after `revision` (0: the latest). */
int etcd_mirror_read(struct etcd_mirror *mirror, int64_t revision, struct stow_err *err);
/* Follow the keys from then on. Called periodically: it continues after an interruption, and
 * reads all keys again if etcd has compacted the changes meanwhile. */
int etcd_mirror_follow(struct etcd_mirror *mirror, struct stow_err *err);
/* Note that etcd's revision is lower than the mirror's, because it was restored from a backup: what
 * the mirror has may no longer be there. It is read again. */
void etcd_mirror_outdated(struct etcd_mirror *mirror);
/* Wait for at most `timeout` until the mirror has reached `revision`, and return whether it has.
 * The revision must have an event for the prefix. */
bool etcd_mirror_reaches(struct etcd_mirror *mirror, int64_t revision, uint64_t timeout);
/* Stop following. */
void etcd_mirror_stop(struct etcd_mirror *mirror);
/* Return the key PREFIXname, or NULL; not while keys are followed. */
const struct etcd_key *etcd_mirror_find(struct etcd_mirror *mirror, const char *name);
/* Call `each` for all keys, in ascending order; not while keys are followed. */
void etcd_mirror_each(struct etcd_mirror *mirror,
		      void (*each)(void *ctx, const struct etcd_key *key), void *ctx);
/* Return the revision of the last event, or of the last read. Any thread. */
int64_t etcd_mirror_revision(struct etcd_mirror *mirror);
/* Return the number of keys, and how often all keys were read. */
void etcd_mirror_count(struct etcd_mirror *mirror, uint64_t *ret_keys, uint64_t *ret_reads);
