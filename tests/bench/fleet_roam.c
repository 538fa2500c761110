// SPDX-License-Identifier: Apache-2.0
/*
 * Simulated machines, each with a connection of its own, that search for the active scheduler as
 * the agent does: with the same order, pauses (agent/link.h) and heartbeats.
 *
 * usage: fleet_roam SCHEDULER,SCHEDULER... [--nodes N] [--numa N] [--certs DIR] [--seconds N]
 *
 *   --certs DIR    mutual TLS: ca.crt, conn-I.crt and conn-I.key of the I-th 100 machines
 *   --seconds N    at most; it ends when standard input does
 *
 * Each time that all machines have been welcomed it prints a line:
 *
 *	found MS lost N dials N busiest N welcomes N...
 *
 * MS from the first machine's loss to the last one's welcome (at first: from the start), how many
 * had lost their scheduler, how many dials it took, in the busiest 100 ms, and how many were
 * welcomed in each second.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include <numastow/v1/scheduler.pb-c.h>

#include "agent/link.h"
#include "base/clock.h"
#include "tests/bench/fleet_machine.h"

#define MS		STOW_MILLISECOND
#define S		STOW_SECOND
#define WELCOME_WITHIN	(10 * S)
#define HEARTBEAT	(5 * S)
#define SCHEDULERS_MAX	8
#define TICK_MS		5
#define BUCKET		(100 * MS)
#define PER_CERTIFICATE 100
#define SECONDS_MAX	120 /* seconds of one search that are counted separately */

static struct {
	char *schedulers[SCHEDULERS_MAX];
	const char *certs;
	unsigned int n, nodes, numa, seconds;
} options = { .nodes = 1000, .numa = 2, .seconds = 3600 };

/* For the main thread only, except for the fields that gRPC's threads set: the end of the
 * stream, and the welcome. */
struct roamer {
	struct fleet_machine machine;
	unsigned int at;
	struct agent_link_tries tries;
	bool welcome;
	uint64_t next, opened;
	_Atomic uint64_t welcomed_at;
	_Atomic(struct stow_rpc_call *) ended;
};

static struct {
	uint64_t began; /* 0: all machines have a scheduler */
	unsigned int lost, dials, in_bucket, busiest;
	uint64_t bucket;
	unsigned int welcomes[SECONDS_MAX];
} search;

static struct roamer *roamers;
static unsigned int n_welcome;

static void must(int r, const struct stow_err *err)
{
	if (r < 0) {
		fprintf(stderr, "fleet_roam: %s\n", err->msg);
		_exit(1);
	}
}

static uint64_t any(void)
{
	uint64_t number = 0;

	if (getrandom(&number, sizeof(number), 0) < 0)
		abort();
	return number;
}

/* --- gRPC's threads ------------------------------------------------------- */

static int on_directive(struct stow_rpc_call *call, void *ctx, const void *message,
			struct stow_err *err)
{
	struct roamer *r = ctx;

	if (fleet_machine_obey(&r->machine, message))
		atomic_store(&r->welcomed_at, stow_clock_monotonic());
	return 0;
}

static void on_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct roamer *r = ctx;

	atomic_store(&r->ended, call);
}

static const struct stow_rpc_stream_ops ops = { .message = on_directive, .closed = on_closed };

/* --- a machine ------------------------------------------------------------ */

static void count_dial(uint64_t now)
{
	if (now / BUCKET != search.bucket) {
		search.bucket = now / BUCKET;
		search.in_bucket = 0;
	}
	search.dials++;
	if (++search.in_bucket > search.busiest)
		search.busiest = search.in_bucket;
}

static void dial(struct stow_rpc_loop *loop, struct roamer *r, uint64_t now)
{
	struct fleet_machine *m = &r->machine;
	struct stow_err err = { 0 };
	char who[32];

	snprintf(who, sizeof(who), "conn-%u", (unsigned int)(r - roamers) / PER_CERTIFICATE);
	count_dial(now);
	r->opened = now;
	m->welcome = false;
	m->sequence = 0;
	must(fleet_connect(loop, options.schedulers[r->at], options.certs, who, &m->client, &err),
	     &err);
	must(stow_rpc_client_open(m->client, &pb_scheduler__descriptor, "Report", &ops, r, NULL,
				  STOW_RPC_NO_DEADLINE, &m->call, &err),
	     &err);
	pthread_mutex_lock(&m->lock);
	fleet_machine_report(m, true, 0);
	pthread_mutex_unlock(&m->lock);
}

static void failed(struct roamer *r, uint64_t now)
{
	struct fleet_machine *m = &r->machine;

	if (r->welcome) {
		if (search.began == 0)
			search.began = now;
		search.lost++;
		n_welcome--;
	}
	r->next = now + agent_link_ended(&r->tries, options.n, now, any());
	r->at = (r->at + 1) % options.n;
	r->welcome = false;
	stow_rpc_client_free(m->client); /* waits for running callbacks */
	m->client = NULL;
	stow_rpc_unref(m->call);
	m->call = NULL;
	atomic_store(&r->welcomed_at, 0);
	atomic_store(&r->ended, NULL);
}

static void take_welcome(struct roamer *r, uint64_t at, uint64_t now)
{
	uint64_t second = at > search.began ? (at - search.began) / S : 0;

	r->welcome = true;
	agent_link_welcomed(&r->tries, at);
	r->next = now + HEARTBEAT;
	n_welcome++;
	search.welcomes[second < SECONDS_MAX ? second : SECONDS_MAX - 1]++;
}

static void beat(struct roamer *r, uint64_t now)
{
	PbReportRequest out = PB_REPORT_REQUEST__INIT;
	PbHeartbeat heartbeat = PB_HEARTBEAT__INIT;

	heartbeat.time = now;
	out.kind_case = PB_REPORT_REQUEST__KIND_HEARTBEAT;
	out.heartbeat = &heartbeat;
	stow_rpc_send(r->machine.call, &out);
	r->next = now + HEARTBEAT;
}

static void look(struct stow_rpc_loop *loop, struct roamer *r, uint64_t now)
{
	uint64_t at = atomic_load(&r->welcomed_at);

	if (r->machine.call && atomic_load(&r->ended) == r->machine.call)
		failed(r, now);
	else if (r->machine.call && !r->welcome && at)
		take_welcome(r, at, now);
	else if (r->machine.call && !r->welcome && now >= r->opened + WELCOME_WITHIN)
		failed(r, now);
	else if (r->machine.call && r->welcome && now >= r->next)
		beat(r, now);
	else if (!r->machine.call && now >= r->next)
		dial(loop, r, now);
}

static void found(uint64_t now)
{
	unsigned int last = 0;

	printf("found %llu lost %u dials %u busiest %u welcomes",
	       (unsigned long long)((now - search.began) / MS), search.lost, search.dials,
	       search.busiest);
	for (unsigned int i = 0; i < SECONDS_MAX; i++)
		last = search.welcomes[i] ? i : last;
	for (unsigned int i = 0; i <= last; i++)
		printf(" %u", search.welcomes[i]);
	printf("\n");
	memset(&search, 0, sizeof(search));
}

/* --- main ----------------------------------------------------------------- */

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "nodes", required_argument, NULL, 'n' },
		{ "numa", required_argument, NULL, 'm' },
		{ "certs", required_argument, NULL, 'C' },
		{ "seconds", required_argument, NULL, 's' },
		{ 0 },
	};
	char *rest, *one;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		unsigned int *number = c == 'n'	  ? &options.nodes
				       : c == 'm' ? &options.numa
				       : c == 's' ? &options.seconds
						  : NULL;

		if (c == 'C')
			options.certs = optarg;
		else if (number)
			*number = (unsigned int)strtoul(optarg, NULL, 10);
		else
			exit(2);
	}
	if (optind + 1 == argc)
		for (rest = argv[optind]; options.n < SCHEDULERS_MAX && (one = strsep(&rest, ","));)
			options.schedulers[options.n++] = one;
	if (options.n == 0 || options.nodes == 0 || options.numa == 0 ||
	    options.numa > FLEET_NUMA_MAX) {
		fprintf(stderr, "usage: fleet_roam SCHEDULER,... [OPTION]...\n");
		exit(2);
	}
}

static bool is_over(void)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	char byte;

	return poll(&in, 1, TICK_MS) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

int main(int argc, char **argv)
{
	struct stow_rpc_loop *loop;
	struct stow_err err = { 0 };
	struct rlimit limit;
	uint64_t end;

	parse(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	must(stow_rpc_loop_new(2, &loop, &err), &err);
	roamers = calloc(options.nodes, sizeof(*roamers));
	search.began = stow_clock_monotonic();
	for (unsigned int i = 0; i < options.nodes; i++) {
		struct fleet_machine *m = &roamers[i].machine;

		pthread_mutex_init(&m->lock, NULL);
		m->numa = options.numa;
		snprintf(m->name, sizeof(m->name), "sim-%05u", i);
		/* At first they come one after the other. */
		roamers[i].next = search.began + i * (S / 5000);
	}
	end = search.began + options.seconds * S;
	do {
		uint64_t now = stow_clock_monotonic();

		for (unsigned int i = 0; i < options.nodes; i++)
			look(loop, &roamers[i], stow_clock_monotonic());
		if (search.began && n_welcome == options.nodes)
			found(stow_clock_monotonic());
		if (now >= end)
			break;
	} while (!is_over());
	/* The machines vanish, as after a power failure. */
	fflush(stdout);
	_exit(0);
}
