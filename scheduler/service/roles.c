// SPDX-License-Identifier: Apache-2.0
#include "scheduler/service/roles.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"

#define AGENT "numastow:agent/"
#define ROLE  "numastow:role/"

/* In ascending order: each role includes the ones before it. */
static const char *const ranks[] = { "read", "place", "drain" };

static const struct {
	const char *method;
	int rank;
} methods[] = {
	{ "Explain", 0 },    { "ListNodes", 0 },   { "WatchNodes", 0 },	 { "ListReservations", 0 },
	{ "ListDrains", 0 }, { "Place", 1 },	   { "Release", 1 },	 { "Fence", 2 },
	{ "Unfence", 2 },    { "DrainMemory", 2 }, { "CancelDrain", 2 },
};

static int rank_of(const char *word)
{
	for (int i = 0; i < 3; i++)
		if (strcmp(ranks[i], word) == 0)
			return i;
	return -1;
}

int scheduler_role_check(const char *entry, struct stow_err *err)
{
	const char *role = strrchr(entry, '=');

	if (!role || role == entry ||
	    (rank_of(role + 1) < 0 && (strncmp(role + 1, "agent/", 6) != 0 || !role[7])))
		return stow_err_set(err, EINVAL,
				    "\"%.128s\" is not NAME=ROLE, with a role of agent/NODE, read, "
				    "place or drain",
				    entry);
	return 0;
}

/* Return whether a NAME of the settings matches the certificate. A NAME with a ":" is compared
 * with URIs only, because host names have no ":". Otherwise a certificate with a freely chosen
 * common name could pass for a URI that the CA verifies. */
static bool is_meant(const struct stow_rpc_peer *peer, const char *name)
{
	return strchr(name, ':') ? stow_rpc_peer_has_uri(peer, name)
				 : stow_rpc_peer_is_named(peer, name);
}

/* Return the next role that the settings give to the certificate. */
static const char *given(const struct stow_rpc_peer *peer, char *const *roles, size_t *at)
{
	for (; roles && roles[*at]; ++*at) {
		const char *role = strrchr(roles[*at], '=');
		char name[512];

		if (!role)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)(role - roles[*at]), roles[*at]);
		if (is_meant(peer, name)) {
			++*at;
			return role + 1;
		}
	}
	return NULL;
}

static int best_rank(const struct stow_rpc_peer *peer, char *const *roles)
{
	const char *role;
	size_t at = 0;
	int best = -1;

	for (size_t i = 0; peer->uris && peer->uris[i]; i++)
		if (strncmp(peer->uris[i], ROLE, strlen(ROLE)) == 0) {
			int rank = rank_of(peer->uris[i] + strlen(ROLE));

			best = STOW_MAX(rank, best);
		}
	while ((role = given(peer, roles, &at))) {
		int rank = rank_of(role);

		best = STOW_MAX(rank, best);
	}
	return best;
}

int scheduler_may(const struct stow_rpc_peer *peer, const char *method, char *const *roles,
		  struct stow_err *err)
{
	int wanted = -1;

	if (!peer->tls)
		return 0;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(methods); i++)
		if (strcmp(methods[i].method, method) == 0)
			wanted = methods[i].rank;
	if (wanted < 0)
		return 0; /* Report: the node is not known yet */
	if (best_rank(peer, roles) < wanted)
		return stow_err_set(
			err, EACCES,
			"%s requires the role %s, which certificate \"%.128s\" does not have",
			method, ranks[wanted], peer->name);
	return 0;
}

int scheduler_may_report(const struct stow_rpc_peer *peer, const char *node, char *const *roles,
			 struct stow_err *err)
{
	char uri[512];
	const char *role;
	size_t at = 0;

	if (!peer->tls)
		return 0;
	snprintf(uri, sizeof(uri), AGENT "%s", node);
	if (stow_rpc_peer_has_uri(peer, uri))
		return 0;
	while ((role = given(peer, roles, &at)))
		if (strncmp(role, "agent/", 6) == 0 && strcmp(role + 6, node) == 0)
			return 0;
	return stow_err_set(err, EACCES,
			    "certificate \"%.128s\" may not report for node \"%.128s\"", peer->name,
			    node);
}

bool scheduler_is_agent(const struct stow_rpc_peer *peer, char *const *roles)
{
	const char *role;
	size_t at = 0;

	if (!peer->tls)
		return false;
	for (size_t i = 0; peer->uris && peer->uris[i]; i++)
		if (strncmp(peer->uris[i], AGENT, strlen(AGENT)) == 0)
			return true;
	while ((role = given(peer, roles, &at)))
		if (strncmp(role, "agent/", 6) == 0)
			return true;
	return false;
}
