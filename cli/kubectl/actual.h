/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a pod's containers really have: the machine's agent reports it to the fleet's scheduler. */

#include <json-c/json.h>
#include <stdbool.h>

#include "base/err.h"
#include "cli/json_writer.h"
#include "cli/kubectl/pod.h"

/* Options to connect to the scheduler; each may be NULL. */
struct kubectl_client {
	const char *scheduler, *ca, *certificate, *key, *server_name, *timeout, *config;
};

#define KUBECTL_CLIENT_OPTIONS(c)                                                           \
	{ "scheduler", .text = &(c)->scheduler }, { "ca", .text = &(c)->ca },               \
		{ "certificate", .text = &(c)->certificate }, { "key", .text = &(c)->key }, \
		{ "server-name", .text = &(c)->server_name },                               \
		{ "timeout", .text = &(c)->timeout },                                       \
	{                                                                                   \
		"config", .text = &(c)->config                                              \
	}
#define KUBECTL_CLIENT_HELP                                                             \
	"\nThe fleet's scheduler, which knows what containers use (see numastow(1)):\n" \
	"  --scheduler ADDRESS,...\n"                                                   \
	"  --ca FILE\n"                                                                 \
	"  --certificate FILE\n"                                                        \
	"  --key FILE\n"                                                                \
	"  --server-name NAME\n"                                                        \
	"  --timeout TIME\n"                                                            \
	"  --config FILE  read this file instead of /etc/numastow/client.yaml\n"

/* Ask for the machine of the pod. *ret is the scheduler's answer, or NULL when no scheduler is
 * configured. */
int kubectl_actual_read(const struct kubectl_client *client, const struct kubectl_pod *pod,
			struct json_object **ret, struct stow_err *err);

/* Print a table of the pod's containers in the answer, one row for each NUMA node. */
void kubectl_actual_show(struct json_object *answer, const struct kubectl_pod *pod);
/* Return the same as an array. */
json_object *kubectl_actual_json(struct json_writer *w, struct json_object *answer,
				 const struct kubectl_pod *pod);
