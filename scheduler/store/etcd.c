// SPDX-License-Identifier: Apache-2.0
/* The members of an etcd cluster, of which one is used at a time. */
#include "scheduler/store/etcd.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "base/parse.h"
#include "rpc/address.h"

#define ATTEMPT	    (2 * STOW_SECOND)  /* timeout of a try of a call that may be repeated */
#define PAUSE_US    50000	       /* between two members */
#define KEEPALIVE   (10 * STOW_SECOND) /* etcd ends connections that ping more often */
#define MESSAGE_MAX (64U << 20)	       /* of an answer; pages are much smaller */

struct etcd {
	struct stow_rpc_loop *loop; /* its own: other work must not delay a lease */
	struct stow_rpc_client *members[ETCD_MEMBERS_MAX];
	char names[ETCD_MEMBERS_MAX][272]; /* "https://a.example:2379" */
	unsigned int n;
	atomic_uint at;		      /* modulo n: the present member */
	_Atomic uint64_t cluster;     /* the id in the first answer; 0: there was none */
	char *ca, *certificate, *key; /* NULL: http:// */

	pthread_mutex_t lock;
	struct stow_err failed[ETCD_MEMBERS_MAX]; /* since a member last answered; code 0: did not */
	bool any_failed;
};

/* --- URLs ----------------------------------------------------------------- */

/* Parse "HOST:PORT" of one URL, which ends at a comma or at the end of the text. */
static int parse_url(const char *url, size_t len, char target[256], bool *ret_tls,
		     struct stow_err *err)
{
	static const char secure[] = "https://", plain[] = "http://";
	bool tls = len > strlen(secure) && strncmp(url, secure, strlen(secure)) == 0;
	size_t skip = tls ? strlen(secure) : strlen(plain);
	struct sockaddr_storage address;
	const char *colon;
	socklen_t size;
	uint64_t port;

	if (!tls && (len <= skip || strncmp(url, plain, skip) != 0))
		return stow_err_set(err, EINVAL, "\"%.*s\": expected https://HOST:PORT", (int)len,
				    url);
	if (len - skip >= 256)
		return stow_err_set(err, EINVAL, "\"%.64s...\": too long", url);
	memcpy(target, url + skip, len - skip);
	target[len - skip] = '\0';
	if (target[0] && target[strlen(target) - 1] == '/')
		target[strlen(target) - 1] = '\0';
	colon = strrchr(target, ':');
	if (!colon || colon == target || strchr(target, '/') ||
	    stow_parse_u64(colon + 1, 65535, &port, NULL) < 0 || port == 0)
		return stow_err_set(err, EINVAL, "\"%.*s\": expected %sHOST:PORT", (int)len, url,
				    tls ? secure : plain);
	if (!tls && strncmp(target, "localhost:", 10) != 0 &&
	    (stow_address_parse(target, &address, &size, NULL) < 0 ||
	     !stow_address_is_loopback(&address)))
		return stow_err_set(
			err, EINVAL,
			"\"%.*s\": plain http:// is for loopback only; expected https://", (int)len,
			url);
	*ret_tls = tls;
	return 0;
}

static int parse_urls(const char *urls, char targets[ETCD_MEMBERS_MAX][256], unsigned int *ret_n,
		      bool *ret_tls, struct stow_err *err)
{
	unsigned int n = 0;
	bool tls = false;

	for (const char *at = urls; *at;) {
		size_t len = strcspn(at, ",");
		bool one = false;
		int r;

		if (n == ETCD_MEMBERS_MAX)
			return stow_err_set(err, EINVAL, "more than %d members", ETCD_MEMBERS_MAX);
		r = parse_url(at, len, targets[n], &one, err);
		if (r < 0)
			return r;
		if (n++ && one != tls)
			return stow_err_set(err, EINVAL, "http:// and https:// cannot be mixed");
		tls = one;
		at += len + (at[len] == ',');
	}
	if (n == 0)
		return stow_err_set(err, EINVAL, "etcd: no member; expected https://HOST:2379,...");
	*ret_n = n;
	*ret_tls = tls;
	return 0;
}

int etcd_urls_check(const char *urls, bool *ret_tls, struct stow_err *err)
{
	char targets[ETCD_MEMBERS_MAX][256];
	unsigned int n;

	return parse_urls(urls, targets, &n, ret_tls, err);
}

/* --- calls ---------------------------------------------------------------- */

static int keep_files(struct etcd *etcd, const struct stow_rpc_tls *tls, struct stow_err *err)
{
	etcd->ca = strdup(tls->ca);
	etcd->certificate = strdup(tls->certificate);
	etcd->key = strdup(tls->key);
	return etcd->ca && etcd->certificate && etcd->key
		       ? 0
		       : stow_err_set(err, ENOMEM, "out of memory");
}

int etcd_new(const char *urls, const struct stow_rpc_tls *tls, struct etcd **ret_etcd,
	     struct stow_err *err)
{
	char targets[ETCD_MEMBERS_MAX][256];
	struct etcd *etcd;
	unsigned int n;
	bool secure;
	int r;

	r = parse_urls(urls, targets, &n, &secure, err);
	if (r < 0)
		return r;
	etcd = calloc(1, sizeof(*etcd));
	if (!etcd)
		return stow_err_set(err, ENOMEM, "out of memory");
	pthread_mutex_init(&etcd->lock, NULL);
	r = stow_rpc_loop_new(1, &etcd->loop, err);
	if (r == 0 && secure)
		r = keep_files(etcd, tls, err);
	for (unsigned int i = 0; i < n && r == 0; i++) {
		struct stow_rpc_client_options options = {
			.target = targets[i],
			.tls = secure ? tls : NULL,
			.follow_tls = true, /* the connection lives for months */
			.message_max = MESSAGE_MAX,
			.keepalive = KEEPALIVE,
			/* With this header a member without a leader returns an error, and not
			 * stale data. */
			.header = "hasleader",
			.header_value = "true",
		};

		snprintf(etcd->names[i], sizeof(etcd->names[i]), "%s://%s",
			 secure ? "https" : "http", targets[i]);
		r = stow_rpc_client_new(etcd->loop, &options, &etcd->members[i], err);
		etcd->n += r == 0;
	}
	if (r < 0) {
		etcd_free(etcd);
		return r;
	}
	*ret_etcd = etcd;
	return 0;
}

void etcd_free(struct etcd *etcd)
{
	if (!etcd)
		return;
	for (unsigned int i = 0; i < etcd->n; i++)
		stow_rpc_client_free(etcd->members[i]);
	if (etcd->loop)
		stow_rpc_loop_free(etcd->loop);
	pthread_mutex_destroy(&etcd->lock);
	free(etcd->ca);
	free(etcd->certificate);
	free(etcd->key);
	free(etcd);
}

/* Return whether another member may answer where this one did not: it could not be reached, or what
 * came is not etcd's answer. It is not known whether the call took effect. */
static bool is_elsewhere(int r)
{
	return r == -ENOTCONN || r == -ETIMEDOUT || r == -EPROTO;
}

/* Return whether a member refused the call without looking at it. The others may not: one may be
 * behind a proxy, or be another program. */
static bool is_turned_away(int r)
{
	return r == -EACCES || r == -EKEYREJECTED || r == -EOPNOTSUPP;
}

/* Check that an answer has a header, as all of etcd's have, and that it is of the same cluster as
 * the first one: members of two clusters would elect two leaders. */
static int check_answer(struct etcd *etcd, const void *answer, struct stow_err *err)
{
	const ProtobufCMessage *message = answer;
	const ProtobufCFieldDescriptor *header =
		protobuf_c_message_descriptor_get_field_by_name(message->descriptor, "header");
	const EtcdResponseHeader *const *at =
		header ? (const void *)((const char *)answer + header->offset) : NULL;
	uint64_t first = 0;

	if (!at || !*at || !(*at)->cluster_id || (*at)->revision <= 0)
		return stow_err_set(err, EPROTO, "the answer is not etcd's");
	if (!atomic_compare_exchange_strong(&etcd->cluster, &first, (*at)->cluster_id) &&
	    first != (*at)->cluster_id)
		return stow_err_set(err, EPROTO,
				    "a member of cluster %" PRIx64 ", not of %" PRIx64
				    "; if the cluster was made anew, restart the scheduler",
				    (*at)->cluster_id, first);
	return 0;
}

void etcd_leave(struct etcd *etcd, unsigned int member)
{
	atomic_compare_exchange_strong(&etcd->at, &member, member + 1);
}

void etcd_note(struct etcd *etcd, unsigned int member, const struct stow_err *why)
{
	pthread_mutex_lock(&etcd->lock);
	if (why)
		etcd->failed[member % etcd->n] = *why;
	else if (etcd->any_failed)
		memset(etcd->failed, 0, sizeof(etcd->failed));
	etcd->any_failed = why;
	pthread_mutex_unlock(&etcd->lock);
}

unsigned int etcd_failed(struct etcd *etcd, char *ret, size_t size)
{
	unsigned int n = 0;
	size_t len = 0;

	ret[0] = '\0';
	pthread_mutex_lock(&etcd->lock);
	for (unsigned int i = 0; i < etcd->n; i++) {
		if (!etcd->failed[i].code)
			continue;
		len += (size_t)snprintf(ret + len, size - len, "%s%s: %.160s", n ? "; " : "",
					etcd->names[i], etcd->failed[i].msg);
		len = STOW_MIN(len, size - 1);
		n++;
	}
	pthread_mutex_unlock(&etcd->lock);
	return n;
}

/* Replace the error of a connection when the own files are the reason: a member that rejects a
 * certificate closes the connection without one, again and again until the call's time is over. */
static int look_at_files(const struct etcd *etcd, int r, struct stow_err *err)
{
	const struct stow_rpc_tls tls = { etcd->certificate, etcd->key, etcd->ca };
	struct stow_err own;

	if ((r != -ENOTCONN && r != -ETIMEDOUT) || !etcd->ca ||
	    stow_rpc_tls_check_valid(&tls, NULL, &own) == 0)
		return r;
	return stow_err_move(err, r, &own);
}

/* Call one member, and switch to the next one if it does not answer. */
static int call_member(struct etcd *etcd, const ProtobufCServiceDescriptor *service,
		       const char *method, const void *request, uint64_t timeout,
		       void **ret_response, struct stow_err *err)
{
	unsigned int at = atomic_load(&etcd->at);
	struct stow_err why = { 0 };
	void *answer = NULL;
	int r;

	r = stow_rpc_client_call(etcd->members[at % etcd->n], service, method, request, timeout,
				 &answer, &why);
	r = r == 0 ? check_answer(etcd, answer, &why) : r;
	if (r < 0) {
		stow_rpc_message_free(answer);
		answer = NULL;
	}
	r = look_at_files(etcd, r, &why);
	if (is_elsewhere(r) || is_turned_away(r)) {
		etcd_note(etcd, at, &why);
		etcd_leave(etcd, at);
	} else {
		etcd_note(etcd, at, NULL);
	}
	if (r < 0) {
		(void)stow_err_wrap(&why, r, "etcd, %s", etcd->names[at % etcd->n]);
		return stow_err_move(err, r, &why);
	}
	*ret_response = answer;
	return 0;
}

int etcd_call(struct etcd *etcd, const ProtobufCServiceDescriptor *service, const char *method,
	      const void *request, uint64_t timeout, void **ret_response, struct stow_err *err)
{
	int r = 0;

	for (unsigned int i = 0; i < etcd->n; i++) {
		r = call_member(etcd, service, method, request, timeout, ret_response, err);
		if (!is_turned_away(r))
			break;
	}
	return r;
}

int etcd_ask(struct etcd *etcd, const ProtobufCServiceDescriptor *service, const char *method,
	     const void *request, uint64_t timeout, void **ret_response, struct stow_err *err)
{
	uint64_t until = stow_clock_boot() + timeout;

	for (;;) {
		uint64_t now = stow_clock_boot(), left = until > now ? until - now : 1;
		int r = etcd_call(etcd, service, method, request, left < ATTEMPT ? left : ATTEMPT,
				  ret_response, err);

		if (!is_elsewhere(r) || stow_clock_boot() >= until)
			return r;
		usleep(PAUSE_US);
	}
}

int etcd_open(struct etcd *etcd, const ProtobufCServiceDescriptor *service, const char *method,
	      const struct stow_rpc_stream_ops *ops, void *ctx, struct stow_rpc_call **ret_call,
	      unsigned int *ret_member, struct stow_err *err)
{
	*ret_member = atomic_load(&etcd->at);
	return stow_rpc_client_open(etcd->members[*ret_member % etcd->n], service, method, ops, ctx,
				    NULL, STOW_RPC_NO_DEADLINE, ret_call, err);
}

const char *etcd_member_name(const struct etcd *etcd, unsigned int member)
{
	return etcd->names[member % etcd->n];
}
