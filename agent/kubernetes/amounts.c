/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/amounts.h"

#include <errno.h>
#include <stdlib.h>

#include "agent/kubernetes/facts.h"
#include "base/clock.h"

#define FACTS_LAST (60 * STOW_SECOND)

struct agent_amounts {
	struct stow_root *root;
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct agent_facts facts;
	struct stow_idset nodes; /* of the facts */
	const struct stow_config *config;
	uint64_t read; /* boot time */
};

int agent_amounts_new(struct stow_root *root, struct agent_policy *policy,
		      struct agent_publisher *publisher, struct agent_amounts **ret,
		      struct stow_err *err)
{
	struct agent_amounts *amounts = calloc(1, sizeof(*amounts));

	if (!amounts)
		return stow_err_set(err, ENOMEM, "out of memory");
	amounts->root = root;
	amounts->policy = policy;
	amounts->publisher = publisher;
	*ret = amounts;
	return 0;
}

void agent_amounts_free(struct agent_amounts *amounts)
{
	if (!amounts)
		return;
	agent_facts_done(&amounts->facts);
	free(amounts);
}

static void get_nodes(const PbNodeReport *report, struct stow_idset *ret)
{
	*ret = (struct stow_idset){ 0 };
	for (size_t i = 0; i < report->n_numa_nodes; i++)
		if (report->numa_nodes[i]->id < STOW_IDSET_MAX)
			stow_idset_add(ret, (int)report->numa_nodes[i]->id);
}

/* Read the facts again when the NUMA nodes or the configuration have changed, or after a while. */
static int refresh_facts(struct agent_amounts *amounts, const struct stow_idset *nodes,
			 struct stow_err *err)
{
	const struct stow_config *config = agent_policy_context(amounts->policy).config;
	uint64_t now = stow_clock_boot();
	struct agent_facts fresh;
	int r;

	if (amounts->facts.list && amounts->config == config &&
	    stow_idset_equal(nodes, &amounts->nodes) &&
	    stow_clock_elapsed(amounts->read, now) < FACTS_LAST)
		return 0;
	r = agent_facts_read(amounts->root, config, nodes, &fresh, err);
	if (r < 0)
		return r;
	agent_facts_done(&amounts->facts);
	amounts->facts = fresh;
	amounts->nodes = *nodes;
	amounts->config = config;
	amounts->read = now;
	return 0;
}

int agent_amounts_read(struct agent_amounts *amounts, struct agent_slice_device **ret,
		       size_t *ret_n, struct stow_err *err)
{
	struct agent_published published;
	struct stow_idset nodes;
	int r = 0;

	agent_publisher_borrow(amounts->publisher, &published);
	if (published.report)
		get_nodes(published.report, &nodes);
	else
		r = stow_err_set(err, ENODATA, "there is no report yet");
	agent_publisher_return(amounts->publisher);
	if (r == 0)
		r = refresh_facts(amounts, &nodes, err);
	if (r < 0)
		return r;
	agent_publisher_borrow(amounts->publisher, &published);
	r = agent_slice_devices(published.report, amounts->facts.list, amounts->facts.n, ret, ret_n,
				err);
	agent_publisher_return(amounts->publisher);
	return r;
}
