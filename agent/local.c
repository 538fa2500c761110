/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/local.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/socket.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "grant/show.h"
#include "place/explain.h"
#include "rpc/audit.h"
#include "rpc/log.h"
#include "rpc/texts.h"

#define SHOWN_MAX (3 << 20) /* bytes of an answer; messages are limited to 4 MiB */

/* Constant once the server has started, except for members with a lock of their own or atomics. */
struct agent_local {
	struct agent_local_parts parts;
	struct stow_rpc_server *server;
	struct stow_audit audit;
	gid_t readers;
	char *path;
};

/* --- access --------------------------------------------------------------- */

static bool may_change(const struct stow_rpc_peer *peer)
{
	return peer->local && peer->uid == 0 && peer->same_namespaces;
}

static bool trusted(const struct stow_rpc_peer *peer, void *ctx)
{
	return may_change(peer);
}

/* `readers`: a group id, or (gid_t)-1. */
static bool may_see_containers(const struct stow_rpc_peer *peer, gid_t readers)
{
	return may_change(peer) || (peer->local && peer->same_namespaces && readers != (gid_t)-1 &&
				    peer->gid == readers);
}

static int may(const struct stow_rpc_peer *peer, const char *method, void *ctx,
	       struct stow_err *err)
{
	const struct agent_local *local = ctx;

	if ((strcmp(method, "Repin") == 0 || strcmp(method, "DrainMemory") == 0 ||
	     strcmp(method, "CancelDrain") == 0) &&
	    !may_change(peer))
		return stow_err_set(err, EACCES,
				    "%s: permitted only to the machine's root (you are uid %d%s)",
				    method, (int)peer->uid,
				    peer->same_namespaces ? "" : " in a container");
	if ((strcmp(method, "ListContainers") == 0 || strcmp(method, "ListDrains") == 0 ||
	     strcmp(method, "ShowLedger") == 0) &&
	    !may_see_containers(peer, local->readers))
		return stow_err_set(
			err, EACCES,
			"%s: permitted only to root and the group `readers` of agent.yaml", method);
	return 0;
}

/* --- reading -------------------------------------------------------------- */

static int get_node(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		    struct stow_err *err)
{
	struct agent_local *local = ctx;
	struct agent_publisher *publisher = local->parts.publisher;
	struct agent_published published;
	PbNodeReport out;

	agent_publisher_borrow(publisher, &published);
	agent_publisher_whole(publisher, &out);
	if (!may_see_containers(stow_rpc_peer(call), local->readers))
		out.n_containers = out.n_reservations = out.n_drains = 0;
	/* As many as fit into a message; ListContainers returns all, in pages. */
	out.n_containers = agent_publisher_fit(&out);
	/* Packed while the report is borrowed. */
	stow_rpc_reply(call, &out, NULL);
	agent_publisher_return(publisher);
	return STOW_RPC_LATER;
}

static bool wanted(const PbListContainersRequest *in, const char *id)
{
	for (size_t i = 0; i < in->n_ids; i++)
		if (strncmp(in->ids[i], id, strlen(in->ids[i])) == 0 && in->ids[i][0])
			return true;
	return in->n_ids == 0;
}

static int by_id(const void *a, const void *b)
{
	const PbContainer *const *x = a, *const *y = b;

	return strcmp((*x)->id, (*y)->id);
}

static int list_containers(struct stow_rpc_call *call, void *ctx, const void *request,
			   void *response, struct stow_err *err)
{
	const PbListContainersRequest *in = request;
	PbListContainersResponse *out = response;
	struct agent_local *local = ctx;
	struct agent_published published;
	const PbNodeReport *report;
	PbContainer **all;
	size_t bytes = 0, n = 0;

	agent_publisher_borrow(local->parts.publisher, &published);
	report = published.report;
	out->containers =
		stow_rpc_alloc(call, (report->n_containers + 1) * sizeof(*out->containers));
	all = stow_rpc_alloc(call, (report->n_containers + 1) * sizeof(PbContainer *));
	if (!out->containers || !all) {
		agent_publisher_return(local->parts.publisher);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < report->n_containers; i++)
		if (strcmp(report->containers[i]->id, in->page_token) >= 0 &&
		    wanted(in, report->containers[i]->id))
			all[n++] = report->containers[i];
	if (n)
		qsort(all, n, sizeof(PbContainer *), by_id);
	for (size_t i = 0; i < n; i++) {
		PbContainer *container = all[i];

		bytes += pb_container__get_packed_size(container) + 8;
		if (out->n_containers &&
		    (bytes > SHOWN_MAX || (in->page_size && out->n_containers == in->page_size))) {
			out->next_page_token = container->id;
			break;
		}
		out->containers[out->n_containers++] = container;
	}
	stow_rpc_reply(call, out, NULL);
	agent_publisher_return(local->parts.publisher);
	return STOW_RPC_LATER;
}

static int watch_open(struct stow_rpc_call *call, void *ctx, const void *request,
		      struct stow_err *err)
{
	struct agent_local *local = ctx;
	bool private = !may_see_containers(stow_rpc_peer(call), local->readers);

	if (agent_publisher_subscribe(local->parts.publisher, call, false, private) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	return 0;
}

static void watch_written(struct stow_rpc_call *call, void *ctx)
{
	struct agent_local *local = ctx;

	agent_publisher_written(local->parts.publisher, call);
}

static void watch_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct agent_local *local = ctx;

	agent_publisher_unsubscribe(local->parts.publisher, call);
}

/* --- explain -------------------------------------------------------------- */

static int request_from(const PbPodRequest *in, struct stow_request *ret, struct stow_err *err)
{
	*ret = (struct stow_request){ .cpus = in->cpus, .memory = in->memory, .nodes_auto = true };
	ret->cpu_mode =
		in->cpu_mode == PB_CPU_MODE_EXCLUSIVE ? STOW_CPU_EXCLUSIVE : STOW_CPU_SHARED;
	if (in->policy > PB_POLICY_UNSPECIFIED && in->policy <= PB_POLICY_SPREAD)
		ret->policy = (enum stow_policy)(in->policy - PB_POLICY_SINGLE_NUMA_NODE);
	if (in->numa_nodes[0]) {
		int r = stow_idset_parse(in->numa_nodes, &ret->nodes, err);

		if (r < 0)
			return stow_err_wrap(err, r, "numa_nodes");
		ret->nodes_auto = false;
	}
	for (size_t i = 0; i < in->n_hugepages; i++) {
		if (i == STOW_POOLS_MAX)
			return stow_err_set(err, EINVAL, "hugepages: more than %d sizes",
					    STOW_POOLS_MAX);
		if (!in->hugepages[i]->pages)
			continue;
		ret->pages[ret->n_pages].size = in->hugepages[i]->page_size;
		ret->pages[ret->n_pages++].count = in->hugepages[i]->pages;
	}
	return stow_request_check_amounts(ret, err);
}

/* Uses a ledger handle of its own: the machine's belongs to the main thread. */
static int explain(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		   struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	const PbAgentExplainRequest *in = request;
	PbAgentExplainResponse *out = response;
	struct agent_local *local = ctx;
	struct stow_grant_context context = agent_policy_context(local->parts.policy);
	struct stow_request asked;
	char cpus[4096], nodes[1024];
	int r;

	if (!in->pod)
		return stow_err_set(err, EINVAL, "pod: missing");
	r = request_from(in->pod, &asked, err);
	if (r == 0)
		r = stow_ledger_open(context.root, false, &ledger, err);
	if (r < 0)
		return r;
	context.ledger = ledger;
	r = stow_grant_plan(&context, NULL, &asked, &plan, &refusal, err);
	if (r < 0 && !refusal)
		return r;
	out->fits = plan != NULL;
	if (plan) {
		out->numa_nodes = stow_rpc_printf(
			call, "%s", stow_idset_format(&plan->nodes, nodes, sizeof(nodes)));
		out->cpus = stow_rpc_printf(call, "%s",
					    stow_idset_format(&plan->cpus, cpus, sizeof(cpus)));
		out->reason = stow_rpc_printf(call, "%s", plan->reason);
	} else {
		out->reason = stow_rpc_printf(call, "%s", refusal->text);
		out->suggestion = stow_rpc_printf(call, "%s", refusal->suggestion);
	}
	return 0;
}

/* --- the ledger ----------------------------------------------------------- */

static struct stow_grid_style style_of(const PbTableStyle *in)
{
	if (!in)
		return (struct stow_grid_style){ 0 };
	return (struct stow_grid_style){
		.columns = *in->columns ? in->columns : NULL,
		.all = in->all,
		.noheadings = in->noheadings,
		.pairs = in->pairs,
		.raw = in->raw,
		.bytes = in->bytes,
	};
}

/* No terminal is wider; with less the table would be all headings. */
static int width_of(const PbShowLedgerRequest *in)
{
	return in->width ? (int)STOW_MAX(STOW_MIN(in->width, 10000U), 10U) : 0;
}

/* Uses a ledger handle of its own, as above. The size of a message bounds the history. */
static int show_ledger(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		       struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct agent_local *local = ctx;
	struct stow_grant_context context = agent_policy_context(local->parts.policy);
	const PbShowLedgerRequest *in = request;
	const struct stow_show_asked history = { .id = in->id[0] ? in->id : NULL,
						 .json = in->json };
	struct stow_grid_style style = style_of(in->style);
	PbShowLedgerResponse *out = response;
	_cleanup_free_ char *text = NULL;
	int r;

	r = stow_ledger_open(context.root, false, &ledger, err);
	context.ledger = ledger;
	if (r == 0 && in->history)
		r = stow_show_history(&context, &history, &text, err);
	else if (r == 0)
		r = stow_show_ledger(&context, in->json, width_of(in), &style, &text, err);
	if (r < 0)
		return r;
	if (strlen(text) > SHOWN_MAX)
		return stow_err_set(err, E2BIG,
				    "the answer exceeds %d MiB: root can read the ledger itself",
				    SHOWN_MAX >> 20);
	out->text = stow_rpc_printf(call, "%s", text);
	return 0;
}

/* --- repin ---------------------------------------------------------------- */

static int repin_open(struct stow_rpc_call *call, void *ctx, const void *request,
		      struct stow_err *err)
{
	struct agent_local *local = ctx;
	const struct stow_rpc_peer *peer = stow_rpc_peer(call);
	const PbRepinRequest *in = request;

	stow_log(STOW_LOG_NOTICE, "asked to repin", stow_text("container", in->id),
		 stow_text("to", in->numa_nodes[0] ? in->numa_nodes : "auto"),
		 stow_number("uid", peer->uid), stow_number("pid", (uint64_t)peer->pid));
	return agent_repin_start(local->parts.repins, call, in, err);
}

/* --- drain ---------------------------------------------------------------- */

static int drain_open(struct stow_rpc_call *call, void *ctx, const void *request,
		      struct stow_err *err)
{
	struct agent_local *local = ctx;
	const struct stow_rpc_peer *peer = stow_rpc_peer(call);
	const PbAgentDrainRequest *in = request;

	stow_log(STOW_LOG_NOTICE, in->dry_run ? "asked to plan a drain" : "asked to drain",
		 stow_number("uid", peer->uid), stow_number("pid", (uint64_t)peer->pid));
	return agent_drain_start(local->parts.drains, call, in, err);
}

static int list_drains(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		       struct stow_err *err)
{
	struct agent_local *local = ctx;

	return agent_drain_list(local->parts.drains, call, err);
}

static int cancel_drain(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
			struct stow_err *err)
{
	const PbAgentCancelDrainRequest *in = request;
	PbAgentCancelDrainResponse *out = response;
	struct agent_local *local = ctx;
	char id[STOW_DRAIN_ID_LEN + 1] = "";
	int r = agent_drain_cancel(local->parts.drains, in->id, id, err);

	if (r < 0)
		return r;
	stow_log(STOW_LOG_NOTICE, "asked to cancel a drain", stow_text("drain", id),
		 stow_number("uid", stow_rpc_peer(call)->uid));
	out->id = stow_rpc_printf(call, "%s", id);
	return 0;
}

static const struct stow_rpc_stream_ops watch_ops = { .open = watch_open,
						      .written = watch_written,
						      .closed = watch_closed };
static const struct stow_rpc_stream_ops repin_ops = { .open = repin_open };
static const struct stow_rpc_stream_ops drain_ops = { .open = drain_open };

/* Check each message before its method gets it. */
static int check(const char *method, void *message, void *ctx, struct stow_err *err)
{
	return stow_texts_check(message, err);
}

static const char *const changing[] = { "Repin", "DrainMemory", "CancelDrain", NULL };

static void ended(const struct stow_rpc_ended *ended, void *ctx)
{
	struct agent_local *local = ctx;

	stow_audit_ended(&local->audit, ended);
}

static const struct stow_rpc_method methods[] = {
	{ "GetNode", .unary = get_node },
	{ "WatchNode", .stream = &watch_ops, .watch = true },
	{ "ListContainers", .unary = list_containers },
	{ "Repin", .stream = &repin_ops },
	{ "Explain", .unary = explain },
	{ "DrainMemory", .stream = &drain_ops },
	{ "ListDrains", .unary = list_drains },
	{ "CancelDrain", .unary = cancel_drain },
	{ "ShowLedger", .unary = show_ledger },
};

static const struct stow_rpc_service service = {
	.descriptor = &pb_agent__descriptor,
	.methods = methods,
	.n_methods = STOW_ARRAY_SIZE(methods),
	.may = may,
	.check = check,
	.ended = ended,
};

/* --- the socket ----------------------------------------------------------- */

int agent_local_find_readers(const char *name, gid_t *ret, struct stow_err *err)
{
	char buf[16384];
	struct group group, *found = NULL;

	*ret = (gid_t)-1;
	if (!name)
		return 0;
	if (getgrnam_r(name, &group, buf, sizeof(buf), &found) != 0 || !found)
		return stow_err_set(err, EINVAL, "readers: there is no group \"%.64s\"", name);
	*ret = found->gr_gid;
	return 0;
}

static int serve(struct agent_local *local, const struct agent_config *config,
		 struct stow_rpc_loop *rpc, struct stow_err *err)
{
	struct stow_rpc_server_options options = { .limits = &config->limits, .trusted = trusted };
	int r, fd;

	r = agent_local_find_readers(config->readers, &local->readers, err);
	if (r == 0)
		r = stow_root_path(local->parts.root, config->socket, &local->path, err);
	if (r == 0)
		r = stow_rpc_server_new(rpc, &options, &local->server, err);
	if (r == 0)
		r = stow_rpc_server_add(local->server, &service, local, err);
	if (r == 0)
		r = stow_rpc_server_start(local->server, err);
	if (r < 0)
		return r;
	/* Every user may connect; access is checked for each call. */
	fd = agent_socket_listen(local->path, 0666, "socket", err);
	if (fd < 0)
		return fd;
	return stow_rpc_server_listen_unix(local->server, fd, err);
}

int agent_local_new(const struct agent_config *config, struct stow_rpc_loop *rpc,
		    const struct agent_local_parts *parts, struct agent_local **ret,
		    struct stow_err *err)
{
	struct agent_local *local = calloc(1, sizeof(*local));
	int r;

	if (!local)
		return stow_err_set(err, ENOMEM, "out of memory");
	local->parts = *parts;
	local->audit.service = &service;
	local->audit.changing = changing;
	r = serve(local, config, rpc, err);
	if (r < 0)
		agent_local_free(local);
	else
		*ret = local;
	return r;
}

const char *agent_local_path(const struct agent_local *local)
{
	return local->path;
}

void agent_local_render(struct agent_local *local, FILE *out)
{
	stow_audit_render(out, "numastow_agent_rpcs_total", &local->audit);
	stow_rpc_server_render(local->server, out, "numastow_agent");
}

void agent_local_free(struct agent_local *local)
{
	if (!local)
		return;
	if (local->server) {
		(void)unlink(local->path);
		stow_rpc_server_stop(local->server, STOW_SECOND / 2);
	}
	stow_rpc_server_free(local->server);
	free(local->path);
	free(local);
}
