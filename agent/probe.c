/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/probe.h"

#include <errno.h>
#include <grpc/health/v1/health.pb-c.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "base/cleanup.h"
#include "rpc/signals.h"

#define CALL_WITHIN (30 * STOW_SECOND)

/* What any thread may read. */
struct agent_probe_signs {
	const struct agent_loop_handle *loop;
	char *target;
	_Atomic uint64_t answered; /* time of the last answer */
};

struct agent_probe {
	struct agent_probe_signs signs;
	struct stow_rpc_loop *rpc;
	struct stow_rpc_client *client; /* of the last call */
	uint64_t next;			/* time of the next call */
	uint64_t watchdog_every; /* ns between notifications of systemd's watchdog; 0: it is off */
	bool stop_logged;	 /* it was logged that notifications have stopped */
};

/* --- asking --------------------------------------------------------------- */

static void on_answer(void *ctx, const void *response, const struct stow_err *err)
{
	struct agent_probe_signs *signs = ctx;

	if (!err)
		atomic_store(&signs->answered, stow_clock_monotonic());
}

static void ask(struct agent_probe *probe)
{
	Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	struct stow_rpc_client_options options = { .target = probe->signs.target };

	/* Use a new connection each time: an old one does not prove that new ones are accepted. */
	stow_rpc_client_free(STOW_TAKE_PTR(probe->client));
	if (stow_rpc_client_new(probe->rpc, &options, &probe->client, NULL) == 0)
		(void)stow_rpc_client_start(probe->client, &grpc__health__v1__health__descriptor,
					    "Check", &request, CALL_WITHIN, on_answer,
					    &probe->signs, NULL);
}

static uint64_t tick(void *ctx, uint64_t now)
{
	struct agent_probe *probe = ctx;
	char why[256];

	if (now >= probe->next) {
		probe->next = now + AGENT_PROBE_EVERY;
		ask(probe);
	}
	if (!probe->watchdog_every)
		return probe->next;
	/* That this runs shows that the main loop runs. */
	stow_watchdog_notify(agent_probe_answered(&probe->signs, why, sizeof(why)) ? NULL : why,
			     &probe->stop_logged);
	return now + probe->watchdog_every < probe->next ? now + probe->watchdog_every
							 : probe->next;
}

/* --- signs of life -------------------------------------------------------- */

const struct agent_probe_signs *agent_probe_signs(const struct agent_probe *probe)
{
	return &probe->signs;
}

bool agent_probe_answered(const struct agent_probe_signs *signs, char *why, size_t size)
{
	uint64_t waited = stow_clock_monotonic() - atomic_load(&signs->answered);

	if (waited < AGENT_PROBE_WITHIN)
		return true;
	snprintf(why, size, "no answer on its own socket %s for %" PRIu64 " s", signs->target,
		 waited / STOW_SECOND);
	return false;
}

bool agent_probe_loop_runs(const struct agent_probe_signs *signs, char *why, size_t size)
{
	uint64_t busy = agent_loop_busy(signs->loop);

	if (busy < AGENT_PROBE_WITHIN)
		return true;
	snprintf(why, size, "the main loop has been busy for %" PRIu64 " s", busy / STOW_SECOND);
	return false;
}

/* --- start and end -------------------------------------------------------- */

int agent_probe_new(struct agent_loop *loop, struct stow_rpc_loop *rpc, const char *socket,
		    struct agent_probe **ret, struct stow_err *err)
{
	struct agent_probe *probe = calloc(1, sizeof(*probe));
	uint64_t watchdog = 0; /* us */
	int r;

	if (!probe || asprintf(&probe->signs.target, "unix:%s", socket) < 0) {
		free(probe);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	probe->signs.loop = agent_loop_handle(loop);
	probe->rpc = rpc;
	atomic_store(&probe->signs.answered, stow_clock_monotonic());
	if (sd_watchdog_enabled(0, &watchdog) > 0)
		probe->watchdog_every = watchdog * 1000 / 3;
	r = agent_loop_tick(loop, tick, probe, err);
	if (r < 0)
		agent_probe_free(probe);
	else
		*ret = probe;
	return r;
}

void agent_probe_free(struct agent_probe *probe)
{
	if (!probe)
		return;
	stow_rpc_client_free(probe->client);
	free(probe->signs.target);
	free(probe);
}
