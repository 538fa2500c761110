/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the files of lib/rpc share. docs/rpc.md explains how a call lives.
 */

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "rpc/guard.h"
#include "rpc/rpc.h"

/* What a completion queue hands back: embedded in whatever waits for it. */
struct rpc_tag {
	void (*fn)(struct rpc_tag *tag, bool ok);
};

/*
 * Between a batch's start and the thread that gets its tag the core synchronises; the thread
 * sanitizer cannot see that in a library that is not built for it, and is told.
 */
#ifdef __SANITIZE_THREAD__
void __tsan_release(void *address);
void __tsan_acquire(void *address);
#define rpc_hands_over(tag) __tsan_release(tag)
#define rpc_takes_over(tag) __tsan_acquire(tag)
#else
#define rpc_hands_over(tag) ((void)(tag))
#define rpc_takes_over(tag) ((void)(tag))
#endif

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* An argument of a channel or server. */
static inline grpc_arg rpc_integer(const char *key, uint64_t value)
{
	grpc_arg arg = { .type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key };

	arg.value.integer = value > INT32_MAX ? INT32_MAX : (int)value;
	return arg;
}

/* Both sides. The core unpacks a message before it looks at its size, so that a megabyte becomes a
 * gigabyte: no compression is offered, the core refuses a call that says its messages have one, and
 * a packed message is not unpacked (rpc_unpack() refuses it). */
#define RPC_NO_COMPRESSION                                                      \
	rpc_integer(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0),              \
		rpc_integer(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, \
			    1 << GRPC_COMPRESS_NONE)

/* Without it a stream's window stays at 64 KiB until its message is asked for, instead of growing
 * to 4 MiB with the speed of the line. */
#define RPC_SMALL_WINDOW rpc_integer(GRPC_ARG_HTTP2_BDP_PROBE, 0)

struct stow_rpc_loop {
	grpc_completion_queue *queue;
	pthread_t *threads;
	unsigned int n_threads;
};

/* --- messages (message.c) ------------------------------------------------- */

/* NULL when memory has run out. */
grpc_byte_buffer *rpc_pack(const ProtobufCMessage *message);
/* -EINVAL: not a message of that type. Destroys the buffer. */
int rpc_unpack(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *type,
	       ProtobufCMessage **ret_message, struct stow_err *err);
/* Whether all field numbers, those that we do not know included, are ones that there can be.
 * protobuf-c 1.4 reads a 0 in two bytes and packs it to one, which it does not read: such a message
 * could not be passed on. */
bool rpc_message_is_sound(const ProtobufCMessage *message);
/* Fills an error from a status, and a status' text from an error. */
void rpc_err_from_status(struct stow_err *err, grpc_status_code status, const grpc_slice *details);
char *rpc_slice_to_text(const grpc_slice *slice, char *buf, size_t size);

/* --- calls (call.c) ------------------------------------------------------- */

struct rpc_queued {
	struct rpc_queued *next;
	size_t size;
	grpc_byte_buffer *buffer;
};

struct rpc_chunk; /* of a call's own memory */

/*
 * One call under way, on either side.
 *
 * `pending` counts what will still come back: a batch in the queue, a callback that runs, a reply
 * that is owed. Whoever counts it down to zero ends the call: that makes `closed` the last callback
 * without a lock held over any of them. `refs` is about memory alone.
 */
struct stow_rpc_call {
	atomic_int refs;
	atomic_int pending;
	struct stow_rpc_server *server; /* one of the two is NULL */
	struct stow_rpc_client *client;
	grpc_call *call;
	void *data;

	/* what it calls */
	const struct stow_rpc_stream_ops *ops; /* NULL: unary */
	stow_rpc_unary_fn unary;
	stow_rpc_done_fn done;
	void *ctx;
	const ProtobufCMessageDescriptor *receives, *sends;

	/* receiving */
	struct rpc_tag received;
	grpc_byte_buffer *in;
	size_t in_size;	      /* of the last one that came */
	uint64_t hold_until;  /* monotonic, ns; written before `held` */
	struct rpc_tag ended; /* RECV_CLOSE_ON_SERVER or RECV_STATUS_ON_CLIENT */
	int cancelled_flag;
	grpc_status_code status;
	grpc_slice details;
	grpc_metadata_array initial, trailing;

	/* sending: one batch at a time, the rest waits in the queue */
	pthread_mutex_t lock;
	struct rpc_tag sent;
	grpc_byte_buffer *out;
	struct rpc_queued *first, **last;
	size_t backlog;	     /* bytes queued */
	const char *overrun; /* why it was ended, when for what is queued; NULL: it was not */
	struct stow_err err; /* to send, or how it ended; code 0: well */

	/* server */
	const struct stow_rpc_service *service; /* NULL: there is no such method */
	const char *method;
	char *request, *result; /* for the service's `ended`; NULL: "" */
	struct stow_rpc_peer peer;
	struct rpc_connection *connection; /* a reference; NULL: it was gone already */
	size_t out_size;		   /* of `out`, counted as queued */
	uint64_t started;		   /* monotonic, ns */
	struct rpc_chunk *chunks;
	struct stow_rpc_call *next, *prev; /* of the client's list, or the server's */

	/* how far it is */
	bool gives;	       /* `done` takes the message over */
	bool sending;	       /* a batch is under way */
	bool greeted;	       /* initial metadata were sent */
	bool closing;	       /* nothing more may be queued */
	bool closed_sent;      /* the status, or the half close, has gone out */
	bool counted;	       /* rpc_connection_begin() */
	atomic_bool opened;    /* `closed` is owed */
	atomic_bool cancelled; /* the caller has given up */
	atomic_bool whole;     /* its first message has come */
	atomic_bool known;     /* what it calls and who calls are filled in */
	atomic_bool late;      /* it was ended for the time */
	atomic_bool held;      /* its next message is not asked for before `hold_until` */
};

/* A call with one reference; `core` is owned by it. NULL when memory has run out. */
struct stow_rpc_call *rpc_call_new(grpc_call *core);
/* Arms RECV_MESSAGE; the caller has not counted it. */
void rpc_call_receive(struct stow_rpc_call *call);
/* Asks for it, when it was held and is not any more. */
void rpc_call_resume(struct stow_rpc_call *call, uint64_t now);
/* Starts the next batch of sending if none is under way. Takes the lock. */
void rpc_call_push(struct stow_rpc_call *call);
/* Counts up and down; down to zero ends the call. */
void rpc_call_begin(struct stow_rpc_call *call);
void rpc_call_end(struct stow_rpc_call *call);
/* Runs one batch and gives the call one `pending` for it. */
void rpc_call_batch(struct stow_rpc_call *call, const grpc_op *ops, size_t n, struct rpc_tag *tag);
/* Queues the answer of a server's call: a message or none, then the status. */
void rpc_call_answer(struct stow_rpc_call *call, const ProtobufCMessage *message,
		     const struct stow_err *err);

/* --- servers (server.c), clients (client.c) ------------------------------- */

/* The last of a call, once nothing is pending. */
void rpc_server_call_gone(struct stow_rpc_server *server, struct stow_rpc_call *call);
void rpc_client_call_gone(struct stow_rpc_client *client, struct stow_rpc_call *call);

struct rpc_door *rpc_server_door(struct stow_rpc_server *server);
bool rpc_server_trusts(const struct stow_rpc_server *server, const struct stow_rpc_peer *peer);
/* Calls `each` with every call of the server, which it must not end by itself. */
void rpc_server_calls(struct stow_rpc_server *server,
		      void (*each)(struct stow_rpc_call *call, void *ctx), void *ctx);

/* Who is at the other end (peer.c). Finds the connection as well. */
void rpc_peer_read(struct stow_rpc_call *call, struct stow_rpc_server *server);
/* The caller may call: its connection is none of a stranger's any more, and the call is counted.
 * -ENOBUFS: there are too many. */
int rpc_peer_admit(struct stow_rpc_call *call, struct stow_err *err);

/* Looks after a server's calls: what takes too long (keeper.c). */
struct rpc_keeper;
int rpc_keeper_new(struct stow_rpc_server *server, const struct stow_rpc_limits *limits,
		   const struct stow_rpc_tls *tls, struct rpc_keeper **ret, struct stow_err *err);
uint64_t rpc_keeper_renewed(const struct rpc_keeper *keeper);
void rpc_keeper_free(struct rpc_keeper *keeper);
/* Connections that were accepted before take no calls any more: the CA has changed. */
uint64_t rpc_server_renewed(const struct stow_rpc_server *server);

/* A unix socket's connections (unix.c). */
struct rpc_listener;
int rpc_listener_new(struct stow_rpc_server *server, grpc_server *core, int fd,
		     struct rpc_listener **ret, struct stow_err *err);
/* Takes no more connections. */
void rpc_listener_stop(struct rpc_listener *listener);
void rpc_listener_free(struct rpc_listener *listener);
/* What the kernel said about the connection with that descriptor. */
bool rpc_listener_peer(struct rpc_listener *listener, int fd, struct stow_rpc_peer *ret);

struct rpc_listener *rpc_server_listener(struct stow_rpc_server *server);

/* What tells one version of the CA's file from the next; 0: it cannot be read, or is no CA's
 * (tls.c). */
uint64_t rpc_tls_ca_version(const char *path);
/* Credentials (tls.c). */
grpc_server_credentials *rpc_tls_server(const struct stow_rpc_tls *tls, struct stow_err *err);
grpc_channel_credentials *rpc_tls_client(const struct stow_rpc_tls *tls, bool follow,
					 struct stow_err *err);

/* The services that every server has (health.c, reflection.c). */
struct rpc_health;
int rpc_health_add(struct stow_rpc_server *server, struct rpc_health **ret, struct stow_err *err);
void rpc_health_set(struct rpc_health *health, bool serving);
/* Ends the watchers, for shutdown. */
void rpc_health_stop(struct rpc_health *health);
void rpc_health_free(struct rpc_health *health);
bool rpc_server_knows(const struct stow_rpc_server *server, const char *service);

struct rpc_reflection;
int rpc_reflection_add(struct stow_rpc_server *server, struct rpc_reflection **ret,
		       struct stow_err *err);
void rpc_reflection_free(struct rpc_reflection *reflection);
/* Calls `each` with the name of every service. */
void rpc_server_services(const struct stow_rpc_server *server,
			 void (*each)(void *ctx, const char *name), void *ctx);
