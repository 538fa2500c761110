/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/ack.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/math.h"
#include "rpc/descriptors.h"

/* Copy what is left of the acknowledgement. Return -1 if it is too early. */
static int acknowledge(unsigned int acked, void *to, size_t room)
{
	static const uint8_t frame[RPC_ACK] = { 0, 0, 0, 4 /* SETTINGS */, 1 /* ACK */ };
	unsigned int at = (acked & ~RPC_WROTE) - RPC_PREFACE;
	size_t n = STOW_MIN((size_t)(RPC_ACK - at), room);

	if (!(acked & RPC_WROTE))
		return -1;
	memcpy(to, frame + at, n);
	return (int)n;
}

ssize_t rpc_ack_recvmsg(rpc_recvmsg_fn next, rpc_acked *acked, int fd, struct msghdr *message,
			int flags)
{
	unsigned int was = atomic_load(acked), at = was & ~RPC_WROTE;
	struct iovec first = message->msg_iov[0];
	struct msghdr small = *message;
	ssize_t n;

	if (at >= RPC_PREFACE) {
		n = acknowledge(was, first.iov_base, first.iov_len);
		if (n < 0)
			errno = EAGAIN;
		message->msg_controllen = 0;
		message->msg_flags = 0;
	} else {
		first.iov_len = STOW_MIN(first.iov_len, (size_t)(RPC_PREFACE - at));
		small.msg_iov = &first;
		small.msg_iovlen = 1;
		n = next(fd, &small, flags);
		message->msg_controllen = small.msg_controllen;
		message->msg_flags = small.msg_flags;
	}
	if (n > 0)
		atomic_fetch_add(acked, (unsigned int)n);
	return n;
}

/* --- TLS ------------------------------------------------------------------ */

#define UPDATES_MAX 32 /* key updates on one connection: libraries make none, or few in an hour */

typedef int (*read_fn)(SSL *, void *, int);
typedef int (*write_fn)(SSL *, const void *, int);
typedef int (*error_fn)(const SSL *, int);

static _Atomic(void *) next_read, next_write, next_error;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int index_of_acked, index_of_updates; /* SSL_get_ex_data(3) */
static _Thread_local int verdict; /* on the last SSL_read() of this thread; 0: the library's */

static void start(void)
{
	index_of_acked = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	index_of_updates = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

static uintptr_t updates_of(const SSL *ssl)
{
	return (uintptr_t)SSL_get_ex_data(ssl, index_of_updates);
}

/* Count the peer's key updates: each is 27 bytes, and takes as long as a call. */
static void look_at_message(int write_p, int version, int content_type, const void *buf, size_t len,
			    SSL *ssl, void *arg)
{
	if (!write_p && content_type == SSL3_RT_HANDSHAKE && len > 0 &&
	    *(const uint8_t *)buf == SSL3_MT_KEY_UPDATE)
		SSL_set_ex_data(ssl, index_of_updates, (void *)(updates_of(ssl) + 1));
}

static unsigned int acked_of(const SSL *ssl)
{
	pthread_once(&once, start);
	return SSL_is_server(ssl) ? (unsigned int)(uintptr_t)SSL_get_ex_data(ssl, index_of_acked)
				  : RPC_ACKED;
}

__attribute__((visibility("default"))) int SSL_read(SSL *ssl, void *buf, int num)
{
	read_fn next = (read_fn)rpc_descriptors_next(&next_read, "SSL_read");
	unsigned int was = acked_of(ssl), at = was & ~RPC_WROTE;
	int n;

	verdict = 0;
	SSL_set_msg_callback(ssl, look_at_message);
	if (at >= RPC_ACKED || num <= 0) {
		n = next(ssl, buf, num);
	} else if (at < RPC_PREFACE) {
		n = next(ssl, buf, STOW_MIN(num, (int)(RPC_PREFACE - at)));
	} else {
		n = acknowledge(was, buf, (size_t)num);
		verdict = n < 0 ? SSL_ERROR_WANT_READ : 0;
	}
	if (n > 0 && at < RPC_ACKED)
		SSL_set_ex_data(ssl, index_of_acked, (void *)(uintptr_t)(was + (unsigned int)n));
	if (updates_of(ssl) <= UPDATES_MAX)
		return n;
	verdict = SSL_ERROR_SSL; /* the core ends the connection */
	return -1;
}

__attribute__((visibility("default"))) int SSL_get_error(const SSL *s, int ret_code)
{
	int given = verdict;

	verdict = 0;
	if (given)
		return given;
	return ((error_fn)rpc_descriptors_next(&next_error, "SSL_get_error"))(s, ret_code);
}

__attribute__((visibility("default"))) int SSL_write(SSL *ssl, const void *buf, int num)
{
	unsigned int was = acked_of(ssl);

	if (!(was & RPC_WROTE) && was < RPC_ACKED)
		SSL_set_ex_data(ssl, index_of_acked, (void *)(uintptr_t)(was | RPC_WROTE));
	return ((write_fn)rpc_descriptors_next(&next_write, "SSL_write"))(ssl, buf, num);
}
