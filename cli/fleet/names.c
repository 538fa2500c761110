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

/* Return the id of the container that got its grant last; NULL: none has one. */
static const char *newest(const PbListContainersResponse *response)
{
	const PbContainer *last = NULL;

	for (size_t i = 0; i < response->n_containers; i++) {
		const PbContainer *c = response->containers[i];

		if (*c->id && c->state != PB_CONTAINER_STATE_LEASE &&
		    (!last || c->created >= last->created))
			last = c;
	}
	return last ? last->id : NULL;
}

/* Choose the container that `text` names: return its id, or `text` if it fits none. -ENOTUNIQ. */
static int choose(const PbListContainersResponse *response, const char *text, const char **ret,
		  struct stow_err *err)
{
	const char *named = NULL, *prefixed = NULL;
	size_t names = 0, prefixes = 0;

	for (size_t i = 0; i < response->n_containers; i++) {
		const char *id = response->containers[i]->id;

		if (strcmp(id, text) == 0) {
			*ret = id;
			return 0;
		}
		if (fleet_is_named(response->containers[i], text)) {
			named = id;
			names++;
		} else if (strncmp(id, text, strlen(text)) == 0) {
			prefixed = id;
			prefixes++;
		}
	}
	if (names > 1 || (!names && prefixes > 1))
		return stow_err_set(err, ENOTUNIQ,
				    "\"%.64s\" is the name, or the beginning of the id, of several "
				    "containers",
				    text);
	*ret = names ? named : prefixes ? prefixed : text;
	return 0;
}

int fleet_container_id(struct fleet *fleet, const char *text, char **ret, struct stow_err *err)
{
	PbListContainersRequest request = PB_LIST_CONTAINERS_REQUEST__INIT;
	PbListContainersResponse *response = NULL;
	const char *found = NULL;
	int r = fleet_call_pages(fleet, "ListContainers", &request, &request.page_token, &response,
				 err);

	/* The agent decides again on what is asked of it, and says then what is missing. */
	if (r == -EACCES && text) {
		*ret = strdup(text);
		return *ret ? 0 : stow_err_set(err, ENOMEM, "out of memory");
	}
	if (r < 0)
		return r;
	/* Where none fits, the agent's own message says that there is none. */
	if (text)
		r = choose(response, text, &found, err);
	else if (!(found = newest(response)))
		r = stow_err_set(err, ENOENT, "no container has a grant");
	if (r == 0 && !(*ret = strdup(found)))
		r = stow_err_set(err, ENOMEM, "out of memory");
	stow_rpc_message_free(response);
	return r;
}
