// SPDX-License-Identifier: Apache-2.0
/*
 * A fleet of simulated machines, many per connection, that report to a real scheduler over real
 * gRPC streams and carry out its directives; and callers that place pods.
 *
 * usage: fleet_sim SCHEDULER [--nodes N] [--numa N] [--connections N] [--certs DIR] [--callers N]
 *                  [--seconds N] [--reports N] [--placements N]
 *
 *   --certs DIR       mutual TLS: ca.crt, conn-I.crt and .key for each connection, place.crt, .key
 *   --callers N       callers; each places a pod as soon as its last one is answered
 *   --seconds N       how long to run
 *   --reports N       changed reports a second, of all machines together
 *   --placements N    placements a second, each released after 5 s, instead of callers
 *
 * Prints "KEY VALUE" lines. Exits with code 1 when a machine was not welcomed within 60 s.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <numastow/v1/scheduler.pb-c.h>

#include "base/clock.h"
#include "base/idlist.h"

#include "rpc/rpc.h"
#include "tests/bench/fleet_machine.h"

#define S	STOW_SECOND
#define KEEP_NS (5 * S)

static const ProtobufCServiceDescriptor *const service = &pb_scheduler__descriptor;

static struct {
	const char *scheduler, *certs;
	unsigned int nodes, numa, connections, callers, seconds, reports, placements;
} options = { .nodes = 1000, .numa = 8, .connections = 10, .seconds = 10 };

static struct fleet_machine *machines;
static atomic_uint welcomed, closed_badly, directives, released;
static char first_error[256];

/* --- a machine ------------------------------------------------------------ */

static int on_directive(struct stow_rpc_call *call, void *ctx, const void *message,
			struct stow_err *err)
{
	atomic_fetch_add(&directives, 1);
	if (fleet_machine_obey(ctx, message))
		atomic_fetch_add(&welcomed, 1);
	return 0;
}

static void on_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	if (err && err->code != ECANCELED && atomic_fetch_add(&closed_badly, 1) == 0)
		snprintf(first_error, sizeof(first_error), "%.250s", err->msg);
}

static const struct stow_rpc_stream_ops ops = { .message = on_directive, .closed = on_closed };

/* --- connections ---------------------------------------------------------- */

static void must(int r, const struct stow_err *err)
{
	if (r < 0) {
		fprintf(stderr, "fleet_sim: %s\n", err->msg);
		_exit(1);
	}
}

static struct stow_rpc_client *connect_as(struct stow_rpc_loop *loop, const char *who)
{
	struct stow_rpc_client *client;
	struct stow_err err = { 0 };

	must(fleet_connect(loop, options.scheduler, options.certs, who, &client, &err), &err);
	return client;
}

static void start_machines(struct stow_rpc_loop *loop)
{
	unsigned int per = (options.nodes + options.connections - 1) / options.connections;
	struct stow_rpc_client *client = NULL;
	struct stow_err err = { 0 };
	char who[32];

	machines = calloc(options.nodes, sizeof(*machines));
	for (unsigned int i = 0; i < options.nodes; i++) {
		struct fleet_machine *m = &machines[i];

		if (i % per == 0) {
			snprintf(who, sizeof(who), "conn-%u", i / per);
			client = connect_as(loop, who);
		}
		m->client = client;
		m->numa = options.numa;
		pthread_mutex_init(&m->lock, NULL);
		snprintf(m->name, sizeof(m->name), "sim-%05u", i);
		must(stow_rpc_client_open(client, service, "Report", &ops, m, NULL,
					  STOW_RPC_NO_DEADLINE, &m->call, &err),
		     &err);
		pthread_mutex_lock(&m->lock);
		fleet_machine_report(m, true, 0);
		pthread_mutex_unlock(&m->lock);
	}
}

/* --- callers -------------------------------------------------------------- */

struct caller {
	struct stow_rpc_client *client;
	uint64_t started;
	struct stow_err err;
};

static uint64_t end_at;
static atomic_uint running, failed, n_latencies;
static uint64_t latencies[4 << 20]; /* ns */

/* Placements to be released, in order. */
static struct {
	pthread_mutex_t lock;
	struct {
		char id[32];
		uint64_t at;
	} ring[65536];
	unsigned int first, n;
} kept = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void place(struct caller *c);

static void on_placed(void *ctx, const void *response, const struct stow_err *err)
{
	const PbPlaceResponse *out = response;
	struct caller *c = ctx;
	uint64_t t = stow_clock_monotonic();
	unsigned int i = atomic_fetch_add(&n_latencies, 1);

	if (i < sizeof(latencies) / sizeof(*latencies))
		latencies[i] = t - c->started;
	if (err && atomic_fetch_add(&failed, 1) == 0)
		fprintf(stderr, "fleet_sim: place: %s\n", err->msg);
	if (out && options.placements) {
		pthread_mutex_lock(&kept.lock);
		if (kept.n < 65536) {
			unsigned int at = (kept.first + kept.n++) % 65536;

			snprintf(kept.ring[at].id, sizeof(kept.ring[at].id), "%s",
				 out->reservations[0]->id);
			kept.ring[at].at = t + KEEP_NS;
		}
		pthread_mutex_unlock(&kept.lock);
	}
	if (!options.placements && t < end_at) {
		place(c);
		return;
	}
	if (options.placements)
		free(c);
	atomic_fetch_sub(&running, 1);
}

static void place(struct caller *c)
{
	PbPlaceRequest in = PB_PLACE_REQUEST__INIT;
	PbPodRequest pod = PB_POD_REQUEST__INIT, *pods = &pod;

	pod.cpus = 2;
	pod.memory = UINT64_C(1) << 30;
	pod.policy = PB_POLICY_SINGLE_NUMA_NODE;
	in.pods = &pods;
	in.n_pods = 1;
	c->started = stow_clock_monotonic();
	must(stow_rpc_client_start(c->client, service, "Place", &in, 10 * S, on_placed, c, &c->err),
	     &c->err);
}

static void on_released(void *ctx, const void *response, const struct stow_err *err)
{
	if (!err)
		atomic_fetch_add(&released, 1);
}

static void release_due(struct stow_rpc_client *client, uint64_t t)
{
	PbReleaseRequest in = PB_RELEASE_REQUEST__INIT;
	char *ids[256];
	struct stow_err err;

	in.ids = ids;
	pthread_mutex_lock(&kept.lock);
	while (kept.n > 0 && kept.ring[kept.first].at <= t && in.n_ids < 256) {
		ids[in.n_ids++] = kept.ring[kept.first].id;
		kept.first = (kept.first + 1) % 65536;
		kept.n--;
	}
	/* The request is packed before the ring moves on. */
	if (in.n_ids > 0)
		must(stow_rpc_client_start(client, service, "Release", &in, 10 * S, on_released,
					   NULL, &err),
		     &err);
	pthread_mutex_unlock(&kept.lock);
}

/* Return a percentile of the sorted latencies, in microseconds. */
static double percentile(size_t n, size_t share)
{
	size_t at = n * share / 100;

	return (double)latencies[at < n ? at : n - 1] / 1e3;
}

static void run_callers(struct stow_rpc_loop *loop)
{
	struct caller *callers = calloc(options.callers, sizeof(*callers));
	struct stow_rpc_client *client = connect_as(loop, "place");
	uint64_t started = stow_clock_monotonic();

	end_at = started + options.seconds * S;
	for (unsigned int i = 0; i < options.callers; i++) {
		atomic_fetch_add(&running, 1);
		callers[i].client = client;
		place(&callers[i]);
	}
	while (atomic_load(&running) > 0)
		usleep(10000);
	printf("placements %u\nplace_rate %.0f\n", atomic_load(&n_latencies),
	       (double)atomic_load(&n_latencies) * 1e9 /
		       (double)(stow_clock_monotonic() - started));
	stow_rpc_client_free(client);
	free(callers);
}

/* Send reports and placements at a steady rate. */
static void run_paced(struct stow_rpc_loop *loop)
{
	struct stow_rpc_client *client = connect_as(loop, "place");
	uint64_t start = stow_clock_monotonic(), n_reports = 0, n_places = 0;

	end_at = start + options.seconds * S;
	for (uint64_t t = start; t < end_at; t = stow_clock_monotonic()) {
		double elapsed = (double)(t - start) / 1e9;

		while (n_reports < (uint64_t)(elapsed * options.reports)) {
			struct fleet_machine *m = &machines[n_reports % options.nodes];

			pthread_mutex_lock(&m->lock);
			fleet_machine_report(
				m, false, (unsigned int)(n_reports / options.nodes) % options.numa);
			pthread_mutex_unlock(&m->lock);
			n_reports++;
		}
		while (n_places < (uint64_t)(elapsed * options.placements)) {
			struct caller *c = calloc(1, sizeof(*c));

			c->client = client;
			atomic_fetch_add(&running, 1);
			place(c);
			n_places++;
		}
		release_due(client, t);
		usleep(2000);
	}
	while (atomic_load(&running) > 0)
		usleep(10000);
	printf("reports %llu\nplacements %llu\nreleased %u\n", (unsigned long long)n_reports,
	       (unsigned long long)n_places, atomic_load(&released));
	stow_rpc_client_free(client);
}

/* --- main ----------------------------------------------------------------- */

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "nodes", required_argument, NULL, 'n' },
		{ "numa", required_argument, NULL, 'm' },
		{ "connections", required_argument, NULL, 'c' },
		{ "certs", required_argument, NULL, 'C' },
		{ "callers", required_argument, NULL, 'k' },
		{ "seconds", required_argument, NULL, 's' },
		{ "reports", required_argument, NULL, 'r' },
		{ "placements", required_argument, NULL, 'p' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		unsigned int *number = c == 'n'	  ? &options.nodes
				       : c == 'm' ? &options.numa
				       : c == 'c' ? &options.connections
				       : c == 'k' ? &options.callers
				       : c == 's' ? &options.seconds
				       : c == 'r' ? &options.reports
				       : c == 'p' ? &options.placements
						  : NULL;

		if (c == 'C')
			options.certs = optarg;
		else if (number)
			*number = (unsigned int)strtoul(optarg, NULL, 10);
		else
			exit(2);
	}
	if (optind + 1 != argc || options.numa > FLEET_NUMA_MAX || options.nodes == 0 ||
	    options.connections == 0) {
		fprintf(stderr, "usage: fleet_sim SCHEDULER [OPTION]...\n");
		exit(2);
	}
	options.scheduler = argv[optind];
}

int main(int argc, char **argv)
{
	struct stow_rpc_loop *loop;
	struct stow_err err = { 0 };
	uint64_t start;
	unsigned int n;

	parse(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	must(stow_rpc_loop_new(1, &loop, &err), &err);
	start = stow_clock_monotonic();
	start_machines(loop);
	while (atomic_load(&welcomed) < options.nodes && stow_clock_monotonic() - start < 60 * S)
		usleep(5000);
	printf("machines %u\nwelcomed %u\nregistered_ms %.0f\n", options.nodes,
	       atomic_load(&welcomed), (double)(stow_clock_monotonic() - start) / 1e6);
	if (atomic_load(&welcomed) < options.nodes)
		fprintf(stderr, "fleet_sim: not all were welcomed: %s\n", first_error);
	else if (options.placements || options.reports)
		run_paced(loop);
	else if (options.callers)
		run_callers(loop);
	n = atomic_load(&n_latencies);
	n = n < sizeof(latencies) / sizeof(*latencies) ? n : sizeof(latencies) / sizeof(*latencies);
	if (n > 0) {
		stow_idlist_sort(latencies, n);
		printf("place_p50_us %.0f\nplace_p99_us %.0f\nplace_max_us %.0f\nfailed %u\n",
		       percentile(n, 50), percentile(n, 99), percentile(n, 100),
		       atomic_load(&failed));
	}
	printf("directives %u\ndropped %u\n", atomic_load(&directives), atomic_load(&closed_badly));
	/* The machines vanish, as after a power failure: connections are not closed one by one. */
	fflush(stdout);
	_exit(atomic_load(&welcomed) < options.nodes);
}
