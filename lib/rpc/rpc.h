/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Services and clients: a thin layer over the gRPC C core (grpc/grpc.h) and protobuf-c.
 *
 * A service method is a plain function that takes a request and fills a response or an error. A
 * stream is a handle that any thread may send on. The C core's completion queues, tags, batches and
 * byte buffers stay inside.
 *
 *	static int place(struct stow_rpc_call *call, void *ctx, const void *request,
 *			 void *response, struct stow_err *err)
 *	{
 *		const PbPlaceRequest *in = request;
 *		PbPlaceResponse *out = response;
 *		...
 *		return stow_err_set(err, ENOSPC, "no node has 6 free CPUs");
 *	}
 *
 *	static const struct stow_rpc_method methods[] = {
 *		{ "Place", .unary = place },
 *		{ "Report", .stream = &report_ops },
 *	};
 *
 * Messages are protobuf-c structs (`PbPlaceRequest` for numastow.v1.PlaceRequest, proto/module.mk),
 * passed as void pointers so that methods need no casts; the service's descriptor has their type.
 *
 * Threads: a loop owns one completion queue and the threads that poll it; methods and callbacks run
 * on them and should not block for long. The callbacks of one stream run one after the other; those
 * of different calls run concurrently. A program blocks its signals before it makes a loop, since
 * gRPC's own threads inherit the mask, and then does not fork (exec is fine).
 *
 * Errors are negative errnos, on both sides of the wire: one table (base/status.h) turns them into
 * gRPC statuses and back, the text is the status's message. docs/rpc.md has the details.
 */

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/status.h"
#include "rpc/limits.h"

struct stow_rpc_loop;
struct stow_rpc_server;
struct stow_rpc_client;
struct stow_rpc_call;
struct stow_rpc_packed;

#define STOW_RPC_MESSAGE_MAX (4U << 20)		/* bytes of a received message; the default */
#define STOW_RPC_BACKLOG_MAX (8U << 20)		/* bytes queued on one stream to a slow reader */
#define STOW_RPC_KEEPALIVE   (20 * STOW_SECOND) /* ns between pings on a silent connection */
#define STOW_RPC_NO_DEADLINE UINT64_MAX

/* --- loop ----------------------------------------------------------------- */

/* Start `n_threads` threads that serve everything made with the loop. */
int stow_rpc_loop_new(unsigned int n_threads, struct stow_rpc_loop **ret_loop,
		      struct stow_err *err);
/* Wait for the loop's threads, and free it; all its servers and clients must have been freed. */
void stow_rpc_loop_free(struct stow_rpc_loop *loop);

/* --- TLS ------------------------------------------------------------------ */

/* PEM files. Both sides present a certificate and check the other's against the CAs. The files are
 * read again when they have changed: by a server at the next handshake, by a client in
 * stow_rpc_client_new() (so a client that reconnects is made anew), or with `follow_tls` whenever
 * it connects. */
struct stow_rpc_tls {
	const char *certificate; /* chain, own first */
	const char *key;
	const char *ca;
};

/* Return whether TLS is configured: 1 with all three files, 0 with none. -EINVAL names a setting
 * that is missing. */
int stow_rpc_tls_given(const struct stow_rpc_tls *tls, struct stow_err *err);
/* Read and check the files as a server or client would. -EINVAL names the file. */
int stow_rpc_tls_check(const struct stow_rpc_tls *tls, struct stow_err *err);
/* Do the same, and check that the certificate and a CA's are valid now: -EKEYEXPIRED, with the file
 * and the time. Set *ret_expires (may be NULL) to the time when the certificate expires, in seconds
 * since the epoch; 0 when it cannot be read. */
int stow_rpc_tls_check_valid(const struct stow_rpc_tls *tls, int64_t *ret_expires,
			     struct stow_err *err);

/* The peer at the other end of a call. */
struct stow_rpc_peer {
	bool tls;		 /* the names below are proven by a certificate */
	char name[256];		 /* the certificate's common name; "" without one */
	const char *const *dns;	 /* its DNS names, NULL-terminated; NULL: none */
	const char *const *uris; /* its URIs, the same */
	bool local;		 /* over a unix socket; then the kernel tells: */
	pid_t pid;
	uid_t uid;
	gid_t gid;
	/* The process has our user, pid and mount namespace; the last may also be process 1's. */
	bool same_namespaces;
	char address[128]; /* "ipv4:127.0.0.1:4242", "unix:" */
};

/* Return whether the certificate has that URI among its alternative names. Common names and DNS
 * names never count as URIs: a CA that checks a DNS name need not check what a URI promises. */
bool stow_rpc_peer_has_uri(const struct stow_rpc_peer *peer, const char *uri);
/* Return whether `name` is the certificate's common name or one of its DNS names. */
bool stow_rpc_peer_is_named(const struct stow_rpc_peer *peer, const char *name);
/* Identify a caller, where callers share something: by its certificate's names, its user, or else
 * by its address without the port. */
void stow_rpc_peer_key(const struct stow_rpc_peer *peer, char *ret, size_t size);

/* The message with which a server ends a stream, as UNAVAILABLE, when the connection has reached
 * its age limit or the CA has changed: not a failure, connect again. */
#define STOW_RPC_RENEWED "the connection is renewed: connect again"
bool stow_rpc_is_renewal(const struct stow_err *err);

/* --- calls, on both sides ------------------------------------------------- */

/*
 * A unary method. `response` is initialised; what it points to must live until the method returns,
 * for which stow_rpc_alloc() is handy. Return 0 to send the response, -errno to send `err`, or
 * STOW_RPC_LATER when any thread will call stow_rpc_reply(), now or later.
 */
#define STOW_RPC_LATER 1
typedef int (*stow_rpc_unary_fn)(struct stow_rpc_call *call, void *ctx, const void *request,
				 void *response, struct stow_err *err);

/* Answer a call whose method returned STOW_RPC_LATER, once. `response` is not kept. With `err` (not
 * NULL) its code and text are the answer. Do not use the call after that. */
void stow_rpc_reply(struct stow_rpc_call *call, const void *response, const struct stow_err *err);

/*
 * A stream, on either side. Any callback may be NULL.
 *
 * open		server: a call was received; `request` is the message of a server-streaming method,
 *		NULL for a bidirectional one (one whose `message` is set). -errno refuses it, and
 *		then `closed` does not come.
 * message	a message has arrived. A failure ends the stream with that error.
 * half_closed	the other side sends nothing more (server only). Without the callback the stream is
 *		ended with OK; with it, it is ended when stow_rpc_close() is called.
 * written	everything that was sent was written to the connection, for which its reader must
 *make room: a reader that does not read gets no more than what is sent before that. It may run at
 *the same time as another callback, but not before `open` has returned. closed	the last callback:
 *nothing is sent or received any more. `err` is NULL when it ended well, else says how: -ECANCELED,
 *-ETIMEDOUT, what the other side said. The handle stays valid until the last stow_rpc_unref().
 */
struct stow_rpc_stream_ops {
	int (*open)(struct stow_rpc_call *call, void *ctx, const void *request,
		    struct stow_err *err);
	int (*message)(struct stow_rpc_call *call, void *ctx, const void *message,
		       struct stow_err *err);
	void (*half_closed)(struct stow_rpc_call *call, void *ctx);
	void (*written)(struct stow_rpc_call *call, void *ctx);
	void (*closed)(struct stow_rpc_call *call, void *ctx, const struct stow_err *err);
};

/* Send on a stream, from any thread and any callback. The message is packed at once and queued.
 * -EPIPE: the stream has ended or is ending. -ENOBUFS: the reader is so slow that the backlog is
 * full; the stream is ended with RESOURCE_EXHAUSTED. */
int stow_rpc_send(struct stow_rpc_call *call, const void *message);
/* Return whether nothing waits to be sent, or is being written. If not, `written` will be called,
 * unless the stream ends. */
bool stow_rpc_is_written(struct stow_rpc_call *call);
/* Return the bytes that stow_rpc_send() has queued and the transport has not taken yet. */
size_t stow_rpc_backlog(struct stow_rpc_call *call);
/* A packed message, which several streams can send without a copy. The bytes are from malloc() and
 * owned by it, also when it cannot be made. NULL: out of memory. */
struct stow_rpc_packed *stow_rpc_packed_new(uint8_t *bytes, size_t size);
struct stow_rpc_packed *stow_rpc_packed_ref(struct stow_rpc_packed *packed);
void stow_rpc_packed_unref(struct stow_rpc_packed *packed);
size_t stow_rpc_packed_size(const struct stow_rpc_packed *packed);
/* Send it, like stow_rpc_send(). */
int stow_rpc_send_packed(struct stow_rpc_call *call, const struct stow_rpc_packed *packed);
/* End a stream, after what was sent: a server with OK or `err`; a client half-closes when `err` is
 * NULL, and otherwise cancels the call. */
void stow_rpc_close(struct stow_rpc_call *call, const struct stow_err *err);

/* In a server's `message` callback: do not read the stream's next message for `ns`, with a
 * precision of 0.2 s. What the other side sends meanwhile waits in HTTP/2's window. */
void stow_rpc_hold(struct stow_rpc_call *call, uint64_t ns);
/* In a `message` callback, on either side: do not read the stream's next message before
 * stow_rpc_resume(), which any thread may call, also before the callback returns. Meanwhile the
 * other side can send as much as HTTP/2's window takes. The end of the stream ends the pause. */
void stow_rpc_pause(struct stow_rpc_call *call);
void stow_rpc_resume(struct stow_rpc_call *call);
/* Return the size of the message that a callback was given. */
size_t stow_rpc_size(const struct stow_rpc_call *call);

/* Take and drop a reference: a handle that is kept after the callback needs one. */
struct stow_rpc_call *stow_rpc_ref(struct stow_rpc_call *call);
void stow_rpc_unref(struct stow_rpc_call *call);

/* Attach data for the stream's callbacks. */
void stow_rpc_set_data(struct stow_rpc_call *call, void *data);
void *stow_rpc_data(const struct stow_rpc_call *call);

/* For a server's call: return the caller; return whether the caller has given up (any thread). */
const struct stow_rpc_peer *stow_rpc_peer(const struct stow_rpc_call *call);
bool stow_rpc_cancelled(const struct stow_rpc_call *call);

/* Set a short text about the call's result for the service's `ended`; call it before the reply. */
void stow_rpc_note(struct stow_rpc_call *call, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Allocate zeroed memory that is freed with the call. NULL: out of memory. For a server's call; by
 * one thread at a time. */
void *stow_rpc_alloc(struct stow_rpc_call *call, size_t size);
char *stow_rpc_printf(struct stow_rpc_call *call, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* --- server --------------------------------------------------------------- */

struct stow_rpc_method {
	const char *name; /* as in the .proto file */
	stow_rpc_unary_fn unary;
	const struct stow_rpc_stream_ops *stream;
	bool watch; /* a stream that follows changes for a long time: max-watches */
};

/* A call that has ended, for audit and metrics. */
struct stow_rpc_ended {
	const struct stow_rpc_peer *peer;
	const char *method;
	const char *request;	    /* the request in one line; "" when it was not read */
	const char *result;	    /* the text of stow_rpc_note(), or "" */
	const struct stow_err *err; /* NULL: success */
	uint64_t duration;	    /* ns */
};

struct stow_rpc_service {
	const ProtobufCServiceDescriptor *descriptor;
	const struct stow_rpc_method *methods; /* a method that is left out answers UNIMPLEMENTED */
	size_t n_methods;
	/* Called before every method, when the caller is known and before its message is read;
	 * -errno refuses (EACCES is PERMISSION_DENIED). NULL: every caller may. */
	int (*may)(const struct stow_rpc_peer *peer, const char *method, void *ctx,
		   struct stow_err *err);
	/* Check every received message before the method gets it (rpc/texts.h). It may change the
	 * message; -errno refuses. NULL: no check. */
	int (*check)(const char *method, void *message, void *ctx, struct stow_err *err);
	/* Called at the end of every call. May be NULL. */
	void (*ended)(const struct stow_rpc_ended *ended, void *ctx);
};

struct stow_rpc_server_options {
	const struct stow_rpc_tls *tls; /* NULL: no TLS; for loopback and unix sockets */
	size_t message_max;		/* bytes; 0: STOW_RPC_MESSAGE_MAX */
	uint64_t keepalive;		/* ns; 0: STOW_RPC_KEEPALIVE */
	/* Copied; NULL: the defaults for 1,024 connections. */
	const struct stow_rpc_limits *limits;
	/* Whether a peer may use the places that are reserved for trusted peers: root, agents.
	 * NULL: no peer may. Called once for a connection, by any thread. */
	bool (*trusted)(const struct stow_rpc_peer *peer, void *ctx);
	void *ctx;
};

/* Make a server. It also serves grpc.health.v1.Health (the services are SERVING until
 * stow_rpc_server_stop() or stow_rpc_server_set_serving()) and server reflection. */
int stow_rpc_server_new(struct stow_rpc_loop *loop, const struct stow_rpc_server_options *options,
			struct stow_rpc_server **ret_server, struct stow_err *err);
/* Add a service, before the start. Both pointers are kept, not copied. */
int stow_rpc_server_add(struct stow_rpc_server *server, const struct stow_rpc_service *service,
			void *ctx, struct stow_err *err);
/* Listen on "127.0.0.1:7201", "[::1]:0", before the start. *ret_port (may be NULL) is the port in
 * use. */
int stow_rpc_server_listen(struct stow_rpc_server *server, const char *address, int *ret_port,
			   struct stow_err *err);
int stow_rpc_server_start(struct stow_rpc_server *server, struct stow_err *err);
/* Take connections from a listening unix socket, after the start. The server owns the socket from
 * now on, and reads the peers' credentials from the kernel. Without TLS. */
int stow_rpc_server_listen_unix(struct stow_rpc_server *server, int fd, struct stow_err *err);
/* Set what the health service answers for every service. */
void stow_rpc_server_set_serving(struct stow_rpc_server *server, bool serving);
/* Write connections, calls, bytes and refusals for Prometheus: PREFIX_connections and so on. */
void stow_rpc_server_render(struct stow_rpc_server *server, FILE *out, const char *prefix);
/* Stop: take no new calls, let calls in progress continue for `grace` ns, then cancel them. Return
 * when all are done. Not from a loop's thread. */
void stow_rpc_server_stop(struct stow_rpc_server *server, uint64_t grace);
void stow_rpc_server_free(struct stow_rpc_server *server);

/* --- client --------------------------------------------------------------- */

struct stow_rpc_client_options {
	const char *target;		/* "127.0.0.1:7201", "scheduler.example:7201",
					 * "unix:/run/numastow/agent.sock" */
	const struct stow_rpc_tls *tls; /* NULL: no TLS */
	bool follow_tls;		/* check its files once a second */
	const char *server_name; /* name that the server's certificate must have; NULL: the target's
				    host */
	size_t message_max;	 /* bytes; 0: STOW_RPC_MESSAGE_MAX */
	uint64_t keepalive;	 /* ns; 0: STOW_RPC_KEEPALIVE */
	const char *header, *header_value; /* metadata of each call; NULL: none */
};

/* Make a client. The first call connects. */
int stow_rpc_client_new(struct stow_rpc_loop *loop, const struct stow_rpc_client_options *options,
			struct stow_rpc_client **ret_client, struct stow_err *err);
/* Cancel calls in progress, wait for their `closed`, and free the client. Not from a loop's
 * thread. */
void stow_rpc_client_free(struct stow_rpc_client *client);

/* Call a unary method and wait. Free *ret_response with stow_rpc_message_free(). `timeout` in ns
 * from now. Not from a loop's thread. -ETIMEDOUT, -ENOTCONN (UNAVAILABLE), ... */
int stow_rpc_client_call(struct stow_rpc_client *client, const ProtobufCServiceDescriptor *service,
			 const char *method, const void *request, uint64_t timeout,
			 void **ret_response, struct stow_err *err);

/* Do the same without waiting: `done` is called on a loop's thread, exactly once. `response` is
 * NULL with an error and is freed after the callback. */
typedef void (*stow_rpc_done_fn)(void *ctx, const void *response, const struct stow_err *err);
int stow_rpc_client_start(struct stow_rpc_client *client, const ProtobufCServiceDescriptor *service,
			  const char *method, const void *request, uint64_t timeout,
			  stow_rpc_done_fn done, void *ctx, struct stow_err *err);

/*
 * Open a stream; `ops` has message and closed. With `request` the method is server-streaming: the
 * request is sent and the sending side closed. `timeout` bounds the whole stream. *ret_call (may be
 * NULL) is a reference to drop with stow_rpc_unref(), set before the first callback. When this
 * returned 0, `closed` is called in any case; as all callbacks, on a loop's thread.
 */
int stow_rpc_client_open(struct stow_rpc_client *client, const ProtobufCServiceDescriptor *service,
			 const char *method, const struct stow_rpc_stream_ops *ops, void *ctx,
			 const void *request, uint64_t timeout, struct stow_rpc_call **ret_call,
			 struct stow_err *err);

void stow_rpc_message_free(void *message);
