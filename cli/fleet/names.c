// SPDX-License-Identifier: Apache-2.0
/* Containers of this machine by name, from what its agent knows of them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/fleet/fleet.h"
#include "cli/match.h"

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

/* Choose the container that `text` names: return its id, or `text` if it fits none: then the
 * agent's own message says so. -ENOTUNIQ. */
static int choose(const PbListContainersResponse *response, const char *text, const char **ret,
		  struct stow_err *err)
{
	struct cli_match match = { .text = text };
	const PbContainer *found;
	struct stow_err why;

	for (size_t i = 0; i < response->n_containers; i++) {
		const PbContainer *c = response->containers[i];
		char name[600];

		snprintf(name, sizeof(name), "%s/%s/%s", c->namespace_, c->pod, c->name);
		cli_match_look(&match, c->id, *c->name ? name : NULL, c);
	}
	found = cli_match_end(&match, &why);
	if (!found && why.code != ENOENT)
		return stow_err_move(err, -why.code, &why);
	*ret = found ? found->id : text;
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
	if (text)
		r = choose(response, text, &found, err);
	else if (!(found = newest(response)))
		r = stow_err_set(err, ENOENT, "no container has a grant");
	if (r == 0 && !(*ret = strdup(found)))
		r = stow_err_set(err, ENOMEM, "out of memory");
	stow_rpc_message_free(response);
	return r;
}
