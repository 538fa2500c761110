// SPDX-License-Identifier: Apache-2.0
#include "cli/fleet/fleet.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <grpc/health/v1/health.pb-c.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "rpc/address.h"

#define S	    STOW_SECOND
#define MESSAGE_MAX (64U << 20) /* bytes: pages are much smaller */

#define PROVEN (10 * S) /* a connection that has lasted so long is renewed at once */
#define PAUSE  S	/* before others are */

#define SCHEDULER_PORT 7200

static const char *const default_schedulers[] = { "127.0.0.1:7200", NULL };

static sigset_t interrupts(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	return set;
}

/* Block the signals before gRPC starts threads, which inherit the mask. */
static int open_signals(void)
{
	sigset_t set = interrupts();

	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int dial(struct fleet *fleet, const char *target, struct stow_err *err)
{
	const struct fleet_options *o = fleet->options;
	struct stow_rpc_tls tls = { .certificate = o->certificate, .key = o->key, .ca = o->ca };
	struct stow_rpc_client_options options = {
		.target = fleet->target,
		.tls = o->ca && fleet->service == &pb_scheduler__descriptor ? &tls : NULL,
		.server_name = o->server_name,
		.message_max = MESSAGE_MAX,
	};

	int r = stow_target_complete(target, SCHEDULER_PORT, fleet->target, sizeof(fleet->target),
				     err);

	if (r < 0)
		return stow_err_wrap(err, r, "scheduler");
	return stow_rpc_client_new(fleet->loop, &options, &fleet->client, err);
}

/* Check that the scheduler is active: the health of a standby is NOT_SERVING. */
static int check(struct fleet *fleet, struct stow_err *err)
{
	Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	Grpc__Health__V1__HealthCheckResponse *response = NULL;
	uint64_t timeout = STOW_MIN(fleet->options->timeout, 2 * S);
	bool serving;
	int r;

	request.service = (char *)"numastow.v1.Scheduler";
	r = stow_rpc_client_call(fleet->client, &grpc__health__v1__health__descriptor, "Check",
				 &request, timeout, (void **)&response, err);
	if (r < 0)
		return r;
	serving = response->status ==
		  GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	stow_rpc_message_free(response);
	return serving ? 0 : stow_err_set(err, ENOTCONN, "this scheduler is a standby");
}

/* Translate gRPC's errors of connections for users. */
static const char *reason_of(const struct fleet *fleet, const char *text)
{
	bool tls = fleet->options->ca != NULL;

	if (strstr(text, "Connection refused"))
		return "connection refused; is it running?";
	if (strstr(text, "No such file or directory"))
		return "there is no such socket; is it running?";
	if (strstr(text, "Permission denied"))
		return "permission denied";
	if (strstr(text, "DNS resolution failed") || strstr(text, "Name or service not known") ||
	    strstr(text, "hostname"))
		return "there is no such host";
	if (strstr(text, "Socket closed") || strstr(text, "Connection reset") ||
	    strstr(text, "recvmsg") || strstr(text, "closed the connection"))
		return tls ? "it closed the connection; does it accept your certificate?"
			   : "it closed the connection; it may require TLS: set ca, certificate "
			     "and key";
	if (tls && (strstr(text, "WRONG_VERSION") || strstr(text, "wrong version")))
		return "it does not speak TLS";
	if (strstr(text, "andshake"))
		return "the TLS handshake failed; does its certificate have that name "
		       "(server-name), and is it of that CA?";
	return text;
}

/* Set the error: the address, where it was configured, and the reason. */
static void explain(const struct fleet *fleet, struct stow_err *err)
{
	const struct fleet_options *o = fleet->options;
	bool agent = fleet->service == &pb_agent__descriptor;
	bool file = agent ? o->agent_in_file : o->schedulers_in_file;
	bool given = agent ? o->agent != NULL : o->schedulers != NULL;
	const struct stow_rpc_tls tls = { o->certificate, o->key, o->ca };
	struct stow_err why = *err, own;
	const char *reason = reason_of(fleet, why.msg);

	if (err->code != ENOTCONN || strstr(err->msg, "standby") || !fleet->target[0] ||
	    stow_rpc_is_renewal(err))
		return;
	/* A peer that rejects our certificate closes the connection without the reason. */
	if (o->ca && !agent && stow_rpc_tls_check_valid(&tls, NULL, &own) < 0)
		reason = own.msg;
	stow_err_set(err, ENOTCONN, "cannot reach the %s at %s (%s%s): %.500s",
		     agent ? "agent of this machine" : "scheduler", fleet->target,
		     file    ? "from "
		     : given ? "from the command line"
			     : "the default; see ",
		     file    ? o->path
		     : given ? ""
			     : FLEET_CONFIG_PATH,
		     reason);
}

static int dial_active(struct fleet *fleet, struct stow_err *err)
{
	const char *const *targets = fleet->options->schedulers
					     ? (const char *const *)fleet->options->schedulers
					     : default_schedulers;
	int r = -ENOTCONN;

	for (size_t i = 0; targets[i]; i++) {
		r = dial(fleet, targets[i], err);
		if (r == 0 && targets[1])
			r = check(fleet, err);
		if (r == 0)
			return 0;
		r = stow_err_wrap(err, r, "%s", targets[i]);
		stow_rpc_client_free(fleet->client);
		fleet->client = NULL;
	}
	return targets[0] && targets[1] ? stow_err_wrap(err, r, "no scheduler serves; the last is")
					: r;
}

int fleet_open(struct fleet *fleet, const struct fleet_options *options, enum fleet_peer peer,
	       struct stow_err *err)
{
	char target[256];
	int r;

	*fleet = (struct fleet){ .options = options, .signals = open_signals() };
	fleet->service = peer == FLEET_AGENT ? &pb_agent__descriptor : &pb_scheduler__descriptor;
	r = stow_rpc_loop_new(1, &fleet->loop, err);
	if (r < 0)
		return r;
	if (peer == FLEET_SCHEDULER)
		return dial_active(fleet, err);
	snprintf(target, sizeof(target), "unix:%.200s",
		 options->agent ? options->agent : "/run/numastow/agent.sock");
	return dial(fleet, target, err);
}

void fleet_close(struct fleet *fleet)
{
	stow_rpc_client_free(fleet->client);
	if (fleet->loop)
		stow_rpc_loop_free(fleet->loop);
	if (fleet->signals >= 0)
		close(fleet->signals);
	if (fleet->options->watch) { /* which sleeps now */
		sigset_t set = interrupts();

		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	}
}

int fleet_call(struct fleet *fleet, const char *method, const void *request, void *ret,
	       struct stow_err *err)
{
	sigset_t set = interrupts(), before;
	int r;

	/* Only streams are cancelled on signals; during a unary call a signal ends the process. A
	 * stream may follow. */
	pthread_sigmask(SIG_UNBLOCK, &set, &before);
	r = stow_rpc_client_call(fleet->client, fleet->service, method, request,
				 fleet->options->timeout, ret, err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0)
		explain(fleet, err);
	return r;
}

/* --- streams -------------------------------------------------------------- */

struct running {
	const struct fleet_stream *stream;
	pthread_mutex_t lock;
	struct stow_err err;
	int result; /* once `ended` is readable */
	int ended;  /* eventfd(2) */
};

static int on_message(struct stow_rpc_call *call, void *ctx, const void *message,
		      struct stow_err *err)
{
	struct running *running = ctx;
	int r;

	pthread_mutex_lock(&running->lock);
	r = running->stream->message(running->stream->ctx, message, err);
	pthread_mutex_unlock(&running->lock);
	return r;
}

static void on_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct running *running = ctx;

	pthread_mutex_lock(&running->lock);
	if (err) {
		running->err = *err;
		running->result = -err->code;
	}
	pthread_mutex_unlock(&running->lock);
	(void)eventfd_write(running->ended, 1);
}

static int wait_for_end(struct fleet *fleet, struct running *running, struct stow_rpc_call *call)
{
	struct pollfd polls[] = { { .fd = running->ended, .events = POLLIN },
				  { .fd = fleet->signals, .events = POLLIN } };
	int wait = running->stream->tick_ms ? (int)running->stream->tick_ms : -1;
	struct signalfd_siginfo info;
	bool interrupted = false;

	for (;;) {
		(void)poll(polls, STOW_ARRAY_SIZE(polls), wait);
		if (running->stream->tick) {
			pthread_mutex_lock(&running->lock);
			running->stream->tick(running->stream->ctx);
			pthread_mutex_unlock(&running->lock);
		}
		if (polls[0].revents) {
			int r;

			/* The lock is needed, because reading a descriptor is not a memory
			 * barrier. */
			pthread_mutex_lock(&running->lock);
			r = interrupted ? -EINTR : running->result;
			pthread_mutex_unlock(&running->lock);
			return r;
		}
		if (read(fleet->signals, &info, sizeof(info)) == sizeof(info)) {
			struct stow_err why;

			if (!interrupted && running->stream->interrupt &&
			    running->stream->interrupt(running->stream->ctx))
				continue;
			stow_err_set(&why, ECANCELED, "interrupted");
			stow_rpc_close(call, &why);
			interrupted = true;
		}
	}
}

int fleet_stream(struct fleet *fleet, const char *method, const void *request,
		 const struct fleet_stream *stream, struct stow_err *err)
{
	static const struct stow_rpc_stream_ops ops = { .message = on_message,
							.closed = on_closed };
	struct running running = { .stream = stream, .ended = eventfd(0, EFD_CLOEXEC) };
	struct stow_rpc_call *call = NULL;
	int r;

	pthread_mutex_init(&running.lock, NULL);
	r = running.ended < 0
		    ? stow_err_sys(err, errno, "eventfd")
		    : stow_rpc_client_open(fleet->client, fleet->service, method, &ops, &running,
					   request, STOW_RPC_NO_DEADLINE, &call, err);
	if (r == 0) {
		r = wait_for_end(fleet, &running, call);
		stow_rpc_unref(call);
		if (r < 0) {
			*err = running.err;
			explain(fleet, err);
		}
	}
	if (running.ended >= 0)
		close(running.ended);
	pthread_mutex_destroy(&running.lock);
	return r;
}

bool fleet_renewed(int r, const struct stow_err *err, uint64_t since)
{
	if (r != -ENOTCONN || !stow_rpc_is_renewal(err))
		return false;
	if (stow_clock_elapsed(since, stow_clock_monotonic()) < PROVEN)
		stow_clock_sleep(PAUSE);
	return true;
}
