// SPDX-License-Identifier: Apache-2.0
#include "scheduler/probe.h"

#include <errno.h>
#include <grpc/health/v1/health.pb-c.h>
#include <inttypes.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/address.h"
#include "rpc/log.h"
#include "scheduler/scheduler.h"

#define CALL_WITHIN (5 * STOW_SECOND)

enum stage { IDLE, AT_LOCK, AT_STORE, AT_PORT };

static const char *const stages[] = { "the next round", "the fleet's lock", "the store",
				      "its own port" };

struct outcome {
	bool failed; /* because of `why` */
	bool warns;  /* callers notice nothing yet, but `why` is wrong */
	struct stow_err why;
};

struct scheduler_probe {
	struct scheduler *scheduler;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* stopping, or the store has answered */
	bool stopping, written;
	struct outcome now;  /* of the round under way; with the lock */
	struct outcome last; /* of the last round; with the lock */
	bool checked;	     /* a health check succeeded once; used by the thread only */
	atomic_int stage;
	_Atomic uint64_t ended;	    /* when the last round ended; monotonic */
	_Atomic int64_t expires;    /* the certificate's file; seconds since the epoch */
	_Atomic uint64_t succeeded; /* when the last round without an error ended; wall time */
	char target[128], name[256];
};

/* --- the port ------------------------------------------------------------- */

/* Find a name of the certificate, because the client verifies it. */
static void find_name(const char *path, char *ret, size_t size)
{
	_cleanup_fclose_ FILE *file = fopen(path, "re");
	X509 *cert = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
	GENERAL_NAMES *names =
		cert ? X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL) : NULL;

	ret[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !ret[0]; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS)
			snprintf(ret, size, "%.*s", ASN1_STRING_length(name->d.dNSName),
				 (const char *)ASN1_STRING_get0_data(name->d.dNSName));
	}
	GENERAL_NAMES_free(names);
	X509_free(cert);
}

static const ProtobufCServiceDescriptor *const health = &grpc__health__v1__health__descriptor;

/* Check the files before the port, because an error of the handshake does not have the reason.
 * -EKEYEXPIRED: callers see an expired certificate. After other errors, the files that were read
 * last stay in use: callers notice nothing until the next start. */
static int check_files(struct scheduler_probe *p, struct stow_err *err)
{
	const struct scheduler_config *config = &p->scheduler->config;
	struct stow_rpc_tls tls = { config->certificate, config->key, config->ca };
	int64_t expires = 0;
	int r = config->ca ? stow_rpc_tls_check_valid(&tls, &expires, err) : 0;

	atomic_store(&p->expires, expires);
	if (r < 0 && r != -EKEYEXPIRED)
		return stow_err_wrap(err, r,
				     "the TLS files cannot be used at the next start; those that "
				     "were read last stay in use");
	return r;
}

/* Use a new connection each time: an old one does not prove that new ones are accepted. Without
 * usable files, it is an answer that the port ends a connection without TLS. */
static int ask_port(struct scheduler_probe *p, bool usable, struct stow_err *err)
{
	Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	const struct scheduler_config *config = &p->scheduler->config;
	struct stow_rpc_tls tls = { config->certificate, config->key, config->ca };
	struct stow_rpc_client_options options = { .target = p->target,
						   .tls = config->ca && usable ? &tls : NULL,
						   .server_name = p->name[0] ? p->name : NULL };
	struct stow_rpc_client *client = NULL;
	void *response = NULL;
	int r;

	r = stow_rpc_client_new(p->scheduler->loop, &options, &client, err);
	if (r == 0)
		r = stow_rpc_client_call(client, health, "Check", &request, CALL_WITHIN, &response,
					 err);
	stow_rpc_message_free(response);
	if (client)
		stow_rpc_client_free(client);
	p->checked |= r == 0;
	/* The port answers, but its handshake rejects our certificate, which is a server's (see
	 * probe.h): -ENOTCONN has no other cause here, unless the connection was refused. */
	if (r == -ENOTCONN && config->ca && !(usable && p->checked) && !strstr(err->msg, "refused"))
		r = 0;
	return r;
}

/* --- the store ------------------------------------------------------------ */

static void on_written(void *ctx, const struct stow_err *err)
{
	struct scheduler_probe *p = ctx;

	pthread_mutex_lock(&p->lock);
	p->written = true;
	if (err)
		p->now = (struct outcome){ .failed = true, .why = *err };
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

/* Delete an answer that does not exist: a write like all others. */
static void ask_store(struct scheduler_probe *p)
{
	struct stow_writes *writes = stow_writes_new();

	if (stow_writes_no_answer(writes, "") < 0) {
		stow_writes_free(writes);
		return;
	}
	p->written = false;
	stow_store_commit(p->scheduler->store, writes, on_written, p);
	pthread_mutex_lock(&p->lock);
	while (!p->written)
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

/* --- rounds --------------------------------------------------------------- */

static void go_round(struct scheduler_probe *p)
{
	struct scheduler *s = p->scheduler;
	struct stow_err err = { 0 }, why = { 0 };
	int files, r;

	pthread_mutex_lock(&p->lock);
	p->now = (struct outcome){ 0 };
	pthread_mutex_unlock(&p->lock);
	atomic_store(&p->stage, AT_LOCK);
	stow_lock_take(&s->fleet->lock);
	stow_lock_give(&s->fleet->lock);
	atomic_store(&p->stage, AT_STORE);
	if (atomic_load(&s->active))
		ask_store(p);
	atomic_store(&p->stage, AT_PORT);
	files = check_files(p, &err);
	r = files == -EKEYEXPIRED ? files : ask_port(p, files == 0, &why);
	if (r < 0 && files != -EKEYEXPIRED)
		stow_err_set(&err, -r, "no answer on %s, the scheduler's own port: %.700s",
			     p->target, why.msg);
	pthread_mutex_lock(&p->lock);
	if ((r < 0 || files < 0) && !p->stopping && !p->now.failed)
		p->now = (struct outcome){ .failed = r < 0, .warns = r == 0, .why = err };
	if (!p->now.failed)
		atomic_store(&p->succeeded, stow_now().wall);
	if (!p->stopping)
		p->last = p->now;
	pthread_mutex_unlock(&p->lock);
	atomic_store(&p->stage, IDLE);
	atomic_store(&p->ended, stow_now().mono);
}

static void log_change(const struct outcome *before, const struct outcome *now)
{
	if (now->failed != before->failed)
		stow_log(now->failed ? STOW_LOG_ERR : STOW_LOG_NOTICE,
			 now->failed ? "not healthy" : "healthy again",
			 stow_text("error", now->failed ? now->why.msg : ""));
	if (!now->failed && now->warns != before->warns)
		stow_log(now->warns ? STOW_LOG_WARNING : STOW_LOG_NOTICE,
			 now->warns ? "the TLS files cannot be used"
				    : "the TLS files can be used again",
			 stow_text("error", now->warns ? now->why.msg : ""));
}

static void *run(void *arg)
{
	struct scheduler_probe *p = arg;
	struct outcome before = { 0 };

	pthread_mutex_lock(&p->lock);
	while (!p->stopping) {
		struct timespec until;

		pthread_mutex_unlock(&p->lock);
		go_round(p);
		pthread_mutex_lock(&p->lock);
		log_change(&before, &p->last);
		before = p->last;
		until = stow_clock_in(SCHEDULER_PROBE_EVERY);
		if (!p->stopping)
			pthread_cond_timedwait(&p->changed, &p->lock, &until);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int scheduler_probe_new(struct scheduler *s, struct scheduler_probe **ret, struct stow_err *err)
{
	struct scheduler_probe *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return stow_err_set(err, ENOMEM, "out of memory");
	p->scheduler = s;
	pthread_mutex_init(&p->lock, NULL);
	stow_clock_cond_init(&p->changed);
	atomic_store(&p->ended, stow_now().mono);
	if (s->config.certificate)
		find_name(s->config.certificate, p->name, sizeof(p->name));
	r = stow_address_of_self(s->config.listen, s->port, p->target, sizeof(p->target), err);
	if (r == 0) {
		r = -pthread_create(&p->thread, NULL, run, p);
		if (r < 0)
			stow_err_sys(err, -r, "cannot start a thread");
	}
	if (r < 0) {
		free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void scheduler_probe_free(struct scheduler_probe *probe)
{
	if (!probe)
		return;
	pthread_mutex_lock(&probe->lock);
	probe->stopping = true;
	pthread_cond_signal(&probe->changed);
	pthread_mutex_unlock(&probe->lock);
	pthread_join(probe->thread, NULL);
	pthread_cond_destroy(&probe->changed);
	pthread_mutex_destroy(&probe->lock);
	free(probe);
}

bool scheduler_probe_alive(const struct scheduler_probe *probe, char *why, size_t size)
{
	uint64_t waited = stow_clock_elapsed(atomic_load(&probe->ended), stow_now().mono);

	if (waited < SCHEDULER_PROBE_WITHIN)
		return true;
	if (why)
		snprintf(why, size, "hangs: for %" PRIu64 " s it has been waiting for %s",
			 waited / STOW_SECOND, stages[atomic_load(&probe->stage)]);
	return false;
}

bool scheduler_probe_well(struct scheduler_probe *probe, char *why, size_t size)
{
	bool failed;

	if (!scheduler_probe_alive(probe, why, size))
		return false;
	pthread_mutex_lock(&probe->lock);
	failed = probe->last.failed;
	snprintf(why, size, "%s", failed || probe->last.warns ? probe->last.why.msg : "");
	pthread_mutex_unlock(&probe->lock);
	return !failed;
}

int64_t scheduler_probe_certificate_expires(const struct scheduler_probe *probe)
{
	return atomic_load(&probe->expires);
}

uint64_t scheduler_probe_last(const struct scheduler_probe *probe)
{
	return atomic_load(&probe->succeeded);
}
