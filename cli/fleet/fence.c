// SPDX-License-Identifier: Apache-2.0
/* numastow fence, unfence. */
#include <errno.h>
#include <inttypes.h>

#include "cli/fleet/fleet.h"

static const struct stow_setting fence_settings[] = {
	{ "revoke", STOW_SETTING_SWITCH, offsetof(struct fleet_options, revoke), 0, 0, NULL, NULL,
	  "revoke unused reservations instead of waiting for them" },
	{ 0 },
};

static int run_fence(struct fleet *fleet, struct stow_err *err)
{
	PbFenceRequest request = PB_FENCE_REQUEST__INIT;
	PbFenceResponse *response = NULL;
	int r;

	request.node = (char *)fleet->options->words[0];
	request.numa_nodes = (char *)fleet->options->words[1];
	request.revoke = fleet->options->revoke;
	r = fleet_call(fleet, "Fence", &request, &response, err);
	if (r == -ETIMEDOUT)
		return stow_err_set(err, ETIMEDOUT,
				    "the fence is in force, but reservations are left there; list "
				    "them with `numastow reservations %.64s`, or use --revoke",
				    request.node);
	if (r < 0)
		return r;
	if (fleet->options->json)
		cli_message_print(response);
	else
		printf("fenced; %" PRIu32 " reservations revoked\n", response->revoked);
	stow_rpc_message_free(response);
	return CLI_OK;
}

static int run_unfence(struct fleet *fleet, struct stow_err *err)
{
	PbUnfenceRequest request = PB_UNFENCE_REQUEST__INIT;
	PbUnfenceResponse *response = NULL;
	int r;

	request.node = (char *)fleet->options->words[0];
	request.numa_nodes = (char *)fleet->options->words[1];
	r = fleet_call(fleet, "Unfence", &request, &response, err);
	if (r < 0)
		return r;
	if (fleet->options->json)
		cli_message_print(response);
	else
		printf("unfenced\n");
	stow_rpc_message_free(response);
	return CLI_OK;
}

const struct fleet_command fleet_fence = {
	.name = "fence",
	.arguments = "NODE NUMA_NODES",
	.summary = "Stop placing on NUMA nodes of a machine; running containers stay",
	.settings = fence_settings,
	.min_words = 2,
	.max_words = 2,
	.run = run_fence,
};

const struct fleet_command fleet_unfence = {
	.name = "unfence",
	.arguments = "NODE NUMA_NODES",
	.summary = "Lift a fence",
	.min_words = 2,
	.max_words = 2,
	.run = run_unfence,
};
