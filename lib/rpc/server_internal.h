/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A server and its parts. server.c uses them all; they use its fields. */

#include "rpc/internal.h"

#define RPC_SERVICES_MAX 8

/* A method, as the core knows it. Each has a queue of its own in the core, so that a thousand calls
 * of one do not delay the others. */
struct rpc_registered {
	struct rpc_registered *next;
	char *path; /* NULL: all methods that there are not */
	void *method;
	unsigned int n_waiting; /* calls that the core may hand over before the next request */
};

struct rpc_waiting { /* for the next call */
	struct rpc_tag tag;
	struct stow_rpc_server *server;
	const struct rpc_registered *of;
	gpr_timespec deadline;
	grpc_call *call;
	grpc_call_details details;
	grpc_metadata_array metadata;
};

struct stow_rpc_server {
	struct stow_rpc_loop *loop;
	grpc_server *server;
	struct stow_rpc_tls tls;
	bool has_tls, started, stopping;
	struct {
		const struct stow_rpc_service *service;
		void *ctx;
	} services[RPC_SERVICES_MAX];
	size_t n_services;
	struct rpc_registered unknown, *registered;
	struct rpc_waiting *waiting;
	struct rpc_listener *listener;
	struct rpc_guard *guard;
	struct rpc_keeper *keeper;
	struct stow_rpc_limits limits;
	bool (*trusted)(const struct stow_rpc_peer *peer, void *ctx);
	void *ctx;
	struct rpc_health *health;
	struct rpc_reflection *reflection;
	struct rpc_tag stopped;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct stow_rpc_call *calls; /* in progress */
	size_t n_calls, n_waiting;
	bool is_stopped;
};

static inline bool rpc_server_trusts(const struct stow_rpc_server *server,
				     const struct stow_rpc_peer *peer)
{
	return server->trusted && server->trusted(peer, server->ctx);
}

/* Find the connection of a call (peer.c). Return false if it is ending. */
bool rpc_peer_find(struct stow_rpc_call *call);
/* Read the peer of a call. */
void rpc_peer_read(struct stow_rpc_call *call);
/* Admit an authorized caller: its connection is no longer anonymous, and the call is counted.
 * -ENOBUFS: too many. */
int rpc_peer_admit(struct stow_rpc_call *call, struct stow_err *err);

/* The keeper ends calls that take too long (keeper.c). */
int rpc_keeper_new(struct stow_rpc_server *server, const struct stow_rpc_limits *limits,
		   const struct stow_rpc_tls *tls, struct rpc_keeper **ret, struct stow_err *err);
/* Return since when connections must have been accepted to take calls: the CA changed then. */
uint64_t rpc_keeper_renewed(const struct rpc_keeper *keeper);
void rpc_keeper_free(struct rpc_keeper *keeper);

/* Accepts the connections of a unix socket (unix.c). */
int rpc_listener_new(struct stow_rpc_server *server, int fd, struct rpc_listener **ret,
		     struct stow_err *err);
/* Stop accepting connections. */
void rpc_listener_stop(struct rpc_listener *listener);
void rpc_listener_free(struct rpc_listener *listener);
/* Read the kernel's credentials of the connection with that descriptor. */
bool rpc_listener_peer(struct rpc_listener *listener, int fd, struct stow_rpc_peer *ret);

/* The services of every server (health.c, reflection.c); their context. */
extern const struct stow_rpc_service rpc_health_service, rpc_reflection_service;
int rpc_health_new(struct stow_rpc_server *server, struct rpc_health **ret, struct stow_err *err);
void rpc_health_set(struct rpc_health *health, bool serving);
/* End the watchers, for shutdown. */
void rpc_health_stop(struct rpc_health *health);
void rpc_health_free(struct rpc_health *health);
int rpc_reflection_new(struct stow_rpc_server *server, struct rpc_reflection **ret,
		       struct stow_err *err);
void rpc_reflection_free(struct rpc_reflection *reflection);
