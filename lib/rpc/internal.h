/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Declarations shared by the files of lib/rpc. docs/rpc.md explains the life of a call.
 */

#include <grpc/grpc.h>
#include <openssl/asn1.h>
#include <pthread.h>
#include <stdatomic.h>

#include "rpc/guard.h"
#include "rpc/rpc.h"

/* An entry of a completion queue, embedded in the struct that waits for it. */
struct rpc_tag {
	void (*fn)(struct rpc_tag *tag, bool ok);
};

/*
 * The core synchronises between the start of a batch and the thread that gets its tag. The thread
 * sanitizer cannot see that in a library that is not instrumented, and has to be told.
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

/* Make an argument of a channel or server. */
static inline grpc_arg rpc_integer(const char *key, uint64_t value)
{
	grpc_arg arg = { .type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key };

	arg.value.integer = value > INT32_MAX ? INT32_MAX : (int)value;
	return arg;
}

/* For servers and clients: no compression. The core unpacks a message before it checks its size, so
 * that a megabyte could become a gigabyte. No compression is offered, the core refuses a call that
 * announces it, and rpc_unpack() refuses a compressed message. */
#define RPC_NO_COMPRESSION                                                      \
	rpc_integer(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0),              \
		rpc_integer(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, \
			    1 << GRPC_COMPRESS_NONE)

/* Keep a stream's window at 64 KiB until its message is asked for, instead of growing to 4 MiB with
 * the speed of the line. */
#define RPC_SMALL_WINDOW rpc_integer(GRPC_ARG_HTTP2_BDP_PROBE, 0)

struct stow_rpc_loop {
	grpc_completion_queue *queue;
	pthread_t *threads;
	unsigned int n_threads;
};

/* --- messages (message.c, unpacked.c) ------------------------------------- */

/* How many bytes a message of so many bytes may take when it is unpacked: real ones take 3 to 12
 * times as much. */
#define RPC_UNPACKED_TIMES    20
#define RPC_UNPACKED_MAX(len) (((size_t)1 << 20) + RPC_UNPACKED_TIMES * (len))

/* Pack a message. NULL: out of memory. */
grpc_byte_buffer *rpc_pack(const ProtobufCMessage *message);
/* Unpack a message, and destroy the buffer. -EINVAL: not a message of that type. -ENOBUFS: it would
 * take more than RPC_UNPACKED_MAX. */
int rpc_unpack(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *type,
	       ProtobufCMessage **ret_message, struct stow_err *err);
/* Return whether all field numbers, including unknown ones, are valid. protobuf-c 1.4 reads a field
 * number 0 in two bytes and packs it in one, which it cannot read: such a message could not be
 * passed on. */
bool rpc_message_is_sound(const ProtobufCMessage *message);
/* Compute from a message's bytes, without allocating, how many bytes it takes when it is unpacked,
 * at least as many as protobuf-c allocates for what it has read when it finds that the rest is not
 * a message. Two bytes can become a struct of two hundred: a field that is repeated, or an unknown
 * one. */
size_t rpc_unpacked_size(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len);
/* Set an error from a status, or a status' text from an error. */
void rpc_err_from_status(struct stow_err *err, grpc_status_code status, const grpc_slice *details);
char *rpc_slice_to_text(const grpc_slice *slice, char *buf, size_t size);
/* Copy a text of the core, with addresses as users write them: it escapes the brackets in
 * "ipv6:%5B::1%5D:4711". */
void rpc_plain_addresses(const char *text, char *ret, size_t size);

/* Make a byte buffer that shares the message's bytes. */
grpc_byte_buffer *rpc_packed_buffer(const struct stow_rpc_packed *packed);

/* --- calls (call.c) ------------------------------------------------------- */

struct rpc_queued {
	struct rpc_queued *next;
	size_t size;
	grpc_byte_buffer *buffer;
};

struct rpc_chunk; /* memory owned by a call */

/*
 * One call in progress, on either side. `pending` counts what is still to come back: a batch in the
 * queue, a running callback, a reply that is still to be sent. The thread that counts it down to
 * zero ends the call: so `closed` is the last callback, and no lock is held during callbacks.
 * `refs` only keeps the memory.
 */
struct stow_rpc_call {
	atomic_int refs;
	atomic_int pending;
	struct stow_rpc_server *server; /* either server or client is NULL */
	struct stow_rpc_client *client;
	void (*gone)(struct stow_rpc_call *call); /* called last, when nothing is pending */
	grpc_call *call;
	void *data;

	/* what to call */
	const struct stow_rpc_stream_ops *ops; /* NULL: unary */
	stow_rpc_unary_fn unary;
	stow_rpc_done_fn done;
	void *ctx;
	const ProtobufCMessageDescriptor *receives, *sends;

	/* receiving */
	struct rpc_tag received;
	grpc_byte_buffer *in;
	size_t in_size;	      /* of the last message */
	uint64_t hold_until;  /* monotonic, ns; written before `held` */
	bool paused, parked;  /* stow_rpc_pause(); its next message is not requested: `lock` */
	bool over;	      /* no pause any more: `lock` */
	struct rpc_tag ended; /* result of RECV_CLOSE_ON_SERVER or RECV_STATUS_ON_CLIENT */
	int cancelled_flag;
	grpc_status_code status;
	grpc_slice details;
	grpc_metadata_array initial, trailing;

	/* sending: one batch at a time, more messages wait in the queue */
	pthread_mutex_t lock;
	struct rpc_tag sent;
	grpc_byte_buffer *out;
	struct rpc_queued *first, **last;
	size_t backlog;		  /* bytes queued */
	_Atomic uint64_t writing; /* since when a batch is in progress: monotonic, ns; 0: none is */
	const char *overrun;	  /* why it was ended because of its queue; NULL: it was not */
	struct stow_err err;	  /* to send, or the result; code 0: success */

	/* server */
	const struct stow_rpc_service *service; /* NULL: there is no such method */
	const char *method;
	bool watches;		/* the method is a watch */
	char *request, *result; /* for the service's `ended`; NULL: "" */
	struct stow_rpc_peer peer;
	struct rpc_connection *connection; /* a reference; NULL: the connection had ended */
	size_t out_size;		   /* of `out`; a server's is counted as queued */
	uint64_t started;		   /* monotonic, ns */
	struct rpc_chunk *chunks;
	struct stow_rpc_call *next, *prev; /* in the client's or the server's list */

	/* progress */
	bool gives;	       /* `done` takes ownership of the message */
	bool sending;	       /* a batch is in progress */
	bool greeted;	       /* initial metadata were sent */
	bool closing;	       /* nothing more may be queued */
	bool closed_sent;      /* the status, or the half close, was sent */
	atomic_bool counted;   /* rpc_connection_begin() */
	atomic_bool opened;    /* `closed` must be called */
	atomic_bool cancelled; /* the caller has given up */
	atomic_bool whole;     /* its first message is complete */
	atomic_bool known;     /* the members about method and peer are set */
	atomic_bool late;      /* it was ended by a time limit */
	atomic_bool unread;    /* it was ended because its peer does not read */
	atomic_bool held;      /* its next message is not requested before `hold_until` */
};

/* Make a call with one reference, which owns `core`. `gone` drops it from its server's or client's
 * list, with that reference. NULL: out of memory. */
struct stow_rpc_call *rpc_call_new(grpc_call *core, void (*gone)(struct stow_rpc_call *call));
/* Count a message of a client's call, or the whole call, for the limit of what a server sends. A
 * server's call is not counted here. */
void rpc_call_server_said(struct stow_rpc_call *call, size_t received, size_t sent, bool ended);
/* Start RECV_MESSAGE; the caller has not counted it. */
void rpc_call_receive(struct stow_rpc_call *call);
/* Request the next message if the call was held and its time has come. */
void rpc_call_resume(struct stow_rpc_call *call, uint64_t now);
/* A server's stream was opened: send the initial metadata, and call `written` (call_send.c). */
void rpc_call_opened(struct stow_rpc_call *call);
/* Count `pending` up or down; reaching zero ends the call. */
void rpc_call_begin(struct stow_rpc_call *call);
void rpc_call_end(struct stow_rpc_call *call);
/* Start a batch, with a `pending` of the caller's, which it takes over (call_end.c). */
void rpc_call_start_batch(struct stow_rpc_call *call, const grpc_op *ops, size_t n,
			  struct rpc_tag *tag);
/* Run one batch, counted in `pending`. */
void rpc_call_batch(struct stow_rpc_call *call, const grpc_op *ops, size_t n, struct rpc_tag *tag);
/* The tag of a sending batch has come (call_send.c). */
void rpc_call_sent(struct rpc_tag *tag, bool ok);
/* Drop the messages that wait to be sent. The caller holds the lock. */
void rpc_call_drop_queue(struct stow_rpc_call *call);
/* Drop also the one that was being sent: no batch is in progress any more. */
void rpc_call_drop_all(struct stow_rpc_call *call);
/* Reset the stream with RESOURCE_EXHAUSTED. `why` is constant. */
void rpc_call_abandon(struct stow_rpc_call *call, const char *why);
/* Free what stow_rpc_alloc() and stow_rpc_printf() returned (call_memory.c). */
void rpc_call_free_chunks(struct stow_rpc_call *call);
/* Queue the answer of a server's call: a message or none, then the status. */
void rpc_call_answer(struct stow_rpc_call *call, const ProtobufCMessage *message,
		     const struct stow_err *err);

/* Return a number for the version of the CA's file; 0: it cannot be read, or has no CA (tls.c). */
uint64_t rpc_tls_ca_version(const char *path);
/* Return a certificate's time in seconds since the epoch; -EINVAL (tls.c). */
int rpc_tls_time(const ASN1_TIME *time, int64_t *ret);
/* Make credentials (tls.c). */
grpc_server_credentials *rpc_tls_server(const struct stow_rpc_tls *tls, struct stow_err *err);
grpc_channel_credentials *rpc_tls_client(const struct stow_rpc_tls *tls, bool follow,
					 struct stow_err *err);
