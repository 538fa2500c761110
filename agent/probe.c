/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/probe.h"

#include <errno.h>
#include <grpc/health/v1/health.pb-c.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/agent.h"
#include "base/clock.h"

#define CALL_WITHIN (30 * STOW_SECOND)

struct agent_probe {
	struct agent *agent;
	struct stow_rpc_client *client; /* of the last call */
	char *target;
	uint64_t next;
	_Atomic uint64_t answered;
	_Atomic uint64_t awake; /* since then the main loop is at work; 0: it sleeps */
};

int agent_probe_new(struct agent *agent, const char *socket, struct agent_probe **ret,
		    struct stow_err *err)
{
	struct agent_probe *p = calloc(1, sizeof(*p));

	if (!p || asprintf(&p->target, "unix:%s", socket) < 0) {
		free(p);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	p->agent = agent;
	atomic_store(&p->answered, stow_clock_monotonic());
	*ret = p;
	return 0;
}

void agent_probe_free(struct agent_probe *probe)
{
	if (!probe)
		return;
	if (probe->client)
		stow_rpc_client_free(probe->client);
	free(probe->target);
	free(probe);
}

static void on_answer(void *ctx, const void *response, const struct stow_err *err)
{
	struct agent_probe *p = ctx;

	if (!err)
		atomic_store(&p->answered, stow_clock_monotonic());
}

uint64_t agent_probe_tick(struct agent_probe *probe, uint64_t now)
{
	Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	struct stow_rpc_client_options options = { .target = probe->target };

	if (now < probe->next)
		return probe->next;
	probe->next = now + AGENT_PROBE_EVERY;
	/* A connection of its own each time: what lives on is no proof that the next is accepted. */
	if (probe->client)
		stow_rpc_client_free(probe->client);
	probe->client = NULL;
	if (stow_rpc_client_new(probe->agent->loop, &options, &probe->client, NULL) == 0)
		(void)stow_rpc_client_start(probe->client, &grpc__health__v1__health__descriptor,
					    "Check", &request, CALL_WITHIN, on_answer, probe, NULL);
	return probe->next;
}

void agent_probe_sleeps(struct agent_probe *probe, bool sleeps)
{
	atomic_store(&probe->awake, sleeps ? 0 : stow_clock_monotonic());
}

bool agent_probe_answered(const struct agent_probe *probe, char *why, size_t size)
{
	uint64_t silent = stow_clock_monotonic() - atomic_load(&probe->answered);

	if (silent < AGENT_PROBE_WITHIN)
		return true;
	if (why)
		snprintf(why, size, "no answer on its own socket %s for %" PRIu64 " s",
			 probe->target, silent / STOW_SECOND);
	return false;
}

bool agent_probe_comes_round(const struct agent_probe *probe, char *why, size_t size)
{
	uint64_t awake = atomic_load(&probe->awake), now = stow_clock_monotonic();

	if (!awake || awake > now || now - awake < AGENT_PROBE_WITHIN)
		return true;
	if (why)
		snprintf(why, size, "the main loop has been at one thing for %" PRIu64 " s",
			 (now - awake) / STOW_SECOND);
	return false;
}
