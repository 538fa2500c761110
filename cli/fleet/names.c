// SPDX-License-Identifier: Apache-2.0
/* Containers of this machine by name, from what its agent knows of them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/fleet/fleet.h"

bool fleet_is_named(const PbContainer *container, const char *text)
{
	char whole[600];

	snprintf(whole, sizeof(whole), "%s/%s/%s", container->namespace_, container->pod,
		 container->name);
	return *container->name && (strcmp(container->name, text) == 0 || strcmp(whole, text) == 0);
}

int fleet_container_id(struct fleet *fleet, const char *text, char **ret, struct stow_err *err)
{
	PbListContainersRequest request = PB_LIST_CONTAINERS_REQUEST__INIT;
	PbListContainersResponse *response = NULL;
	const char *named = NULL, *prefixed = NULL, *found;
	size_t names = 0, prefixes = 0;
	int r = fleet_call_pages(fleet, "ListContainers", &request, &request.page_token, &response,
				 err);

	/* The agent decides again on what is asked of it, and says then what is missing. */
	if (r == -EACCES) {
		*ret = strdup(text);
		return *ret ? 0 : stow_err_set(err, ENOMEM, "out of memory");
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < response->n_containers; i++) {
		const char *id = response->containers[i]->id;

		if (strcmp(id, text) == 0) {
			named = id;
			names = 1;
			break;
		}
		if (fleet_is_named(response->containers[i], text)) {
			named = id;
			names++;
		} else if (strncmp(id, text, strlen(text)) == 0) {
			prefixed = id;
			prefixes++;
		}
	}
	found = names ? named : prefixed;
	if (names > 1 || (!names && prefixes > 1))
		r = stow_err_set(err, ENOTUNIQ,
				 "\"%.64s\" is the name, or the beginning of the id, of several "
				 "containers",
				 text);
	else
		/* The agent's own message says that there is none. */
		*ret = strdup(found ? found : text);
	if (r == 0 && !*ret)
		r = stow_err_set(err, ENOMEM, "out of memory");
	stow_rpc_message_free(response);
	return r;
}
