// SPDX-License-Identifier: Apache-2.0
/*
 * Measures etcd alone on this disk: plain puts, each as soon as the last one of its caller is
 * answered. There are few keys; their values are as long as a reservation's row.
 *
 * usage: fleet_put HOST:PORT [CALLERS [SECONDS]]        default: 1 5
 *
 * Prints "KEY VALUE" lines.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/idlist.h"
#include "etcd/rpc.pb-c.h"
#include "rpc/rpc.h"

#define VALUE 200 /* bytes */

struct caller {
	struct stow_rpc_client *client;
	uint64_t started;
	char key[32];
};

static uint64_t end_at;
static atomic_uint running, failed, n_latencies;
static uint64_t latencies[1 << 20]; /* ns */

static void must(int r, const struct stow_err *err)
{
	if (r < 0) {
		fprintf(stderr, "fleet_put: %s\n", err->msg);
		exit(1);
	}
}

static void put(struct caller *c);

static void on_done(void *ctx, const void *response, const struct stow_err *err)
{
	struct caller *c = ctx;
	uint64_t now = stow_clock_monotonic();
	unsigned int i = atomic_fetch_add(&n_latencies, 1);

	if (i < sizeof(latencies) / sizeof(*latencies))
		latencies[i] = now - c->started;
	if (err && atomic_fetch_add(&failed, 1) == 0)
		fprintf(stderr, "fleet_put: %s\n", err->msg);
	if (now < end_at)
		put(c);
	else
		atomic_fetch_sub(&running, 1);
}

static void put(struct caller *c)
{
	EtcdPutRequest in = ETCD_PUT_REQUEST__INIT;
	uint8_t value[VALUE];
	struct stow_err err = { 0 };

	memset(value, 'v', sizeof(value));
	in.key = (ProtobufCBinaryData){ strlen(c->key), (uint8_t *)c->key };
	in.value = (ProtobufCBinaryData){ sizeof(value), value };
	c->started = stow_clock_monotonic();
	must(stow_rpc_client_start(c->client, &etcd_kv__descriptor, "Put", &in, 10 * STOW_SECOND,
				   on_done, c, &err),
	     &err);
}

int main(int argc, char **argv)
{
	struct stow_rpc_client_options options = { .target = argv[argc > 1] };
	unsigned int n = argc > 2 ? (unsigned int)strtoul(argv[2], NULL, 10) : 1, puts, half, most;
	uint64_t seconds = argc > 3 ? strtoul(argv[3], NULL, 10) : 5, started;
	struct stow_rpc_client *client;
	struct stow_rpc_loop *loop;
	struct caller *callers = calloc(n, sizeof(*callers));
	struct stow_err err = { 0 };

	if (argc < 2 || n == 0 || !callers) {
		fprintf(stderr, "usage: fleet_put HOST:PORT [CALLERS [SECONDS]]\n");
		return 2;
	}
	must(stow_rpc_loop_new(1, &loop, &err), &err);
	must(stow_rpc_client_new(loop, &options, &client, &err), &err);
	started = stow_clock_monotonic();
	end_at = started + seconds * STOW_SECOND;
	for (unsigned int i = 0; i < n; i++) {
		callers[i].client = client;
		snprintf(callers[i].key, sizeof(callers[i].key), "/put/%u", i);
		atomic_fetch_add(&running, 1);
		put(&callers[i]);
	}
	while (atomic_load(&running) > 0)
		usleep(10000);
	puts = atomic_load(&n_latencies);
	printf("put_rate %.0f\nfailed %u\n",
	       (double)puts * 1e9 / (double)(stow_clock_monotonic() - started),
	       atomic_load(&failed));
	puts = puts < sizeof(latencies) / sizeof(*latencies) ? puts : 1 << 20;
	stow_idlist_sort(latencies, puts);
	half = puts / 2;
	most = puts * 99 / 100;
	printf("put_p50_us %.0f\nput_p99_us %.0f\n", (double)latencies[half] / 1e3,
	       (double)latencies[most] / 1e3);
	fflush(stdout);
	_exit(0);
}
