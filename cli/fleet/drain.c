// SPDX-License-Identifier: Apache-2.0
/* numastow drain, drains, cancel, by an agent or a scheduler. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/random.h"
#include "cli/drain_view.h"
#include "cli/fleet/fleet.h"

#define AT(field) offsetof(struct fleet_options, field)
#define HOUR	  (3600 * STOW_SECOND)

static const struct stow_setting drain_settings[] = {
	{ "node", STOW_SETTING_TEXT, AT(drain.node), 0, 0, NULL, "N", "memory of this NUMA node" },
	{ "size", STOW_SETTING_SIZE, AT(drain.size), 1, INT64_MAX, NULL, "SIZE",
	  "this much of it, rounded up to whole blocks (all)" },
	{ "blocks", STOW_SETTING_TEXT, AT(drain.blocks), 0, 0, NULL, "LIST",
	  "these memory blocks: 48-55,60" },
	{ "device", STOW_SETTING_TEXT, AT(drain.device), 0, 0, NULL, "NAME",
	  "this device's: dimm0, dax0.0, virtio1" },
	{ "dry-run", STOW_SETTING_SWITCH, AT(drain.dry_run), 0, 0, NULL, NULL,
	  "show what would be done, and change nothing" },
	{ "eject", STOW_SETTING_SWITCH, AT(drain.eject), 0, 0, NULL, NULL,
	  "eject the memory when it is offline" },
	{ "wait", STOW_SETTING_SWITCH, AT(drain.wait), 0, 0, NULL, NULL,
	  "wait until a hypervisor or an operator has removed it" },
	{ "keep", STOW_SETTING_SWITCH, AT(drain.keep), 0, 0, NULL, NULL,
	  "keep blocks offline even if others cannot go; exit code 64" },
	{ "resume", STOW_SETTING_SWITCH, AT(drain.resume), 0, 0, NULL, NULL,
	  "if the program is killed, continue later instead of undoing" },
	{ "hugepages-elsewhere", STOW_SETTING_SWITCH, AT(drain.hugepages_elsewhere), 0, 0, NULL,
	  NULL, "allocate pages of the administrator's pools again on other NUMA nodes" },
	{ "force-taint", STOW_SETTING_SWITCH, AT(drain.force_taint), 0, 0, NULL, NULL,
	  "have Kubernetes delete all pods with a share of the NUMA node" },
	{ "block-timeout", STOW_SETTING_DURATION, AT(drain.block_timeout), STOW_SECOND / 10, HOUR,
	  NULL, "TIME", "limit for one block (the machine's setting)" },
	{ "timeout", STOW_SETTING_DURATION, AT(drain.timeout), STOW_SECOND, 24 * HOUR, NULL, "TIME",
	  "limit for the drain (the machine's setting)" },
	{ "removal-timeout", STOW_SETTING_DURATION, AT(drain.removal_timeout), STOW_SECOND,
	  24 * HOUR, NULL, "TIME", "limit for --wait (the machine's setting)" },
	{ "revoke", STOW_SETTING_SWITCH, AT(drain.revoke), 0, 0, NULL, NULL,
	  "revoke unused reservations instead of waiting for them" },
	{ "detach", STOW_SETTING_SWITCH, AT(drain.detach), 0, 0, NULL, NULL,
	  "do not wait for the end; see `numastow drains`" },
	{ 0 },
};

static const struct stow_setting cluster_settings[] = {
	{ "cluster", STOW_SETTING_SWITCH, AT(cluster), 0, 0, NULL, NULL, "ask the scheduler" },
	{ 0 },
};

/* --- drain ---------------------------------------------------------------- */

struct following {
	struct fleet *fleet;
	struct drain_view view;
	bool detach, left;
	pthread_mutex_t lock;
	char id[64]; /* "" until known */
};

static int on_progress(void *ctx, const void *message, struct stow_err *err)
{
	struct following *f = ctx;
	const PbDrainProgress *p = message;

	if (!f->id[0] && p->id[0] && !f->view.json && !f->view.dry_run)
		printf("drain     %s\n", p->id);
	pthread_mutex_lock(&f->lock);
	snprintf(f->id, sizeof(f->id), "%.40s", p->id);
	pthread_mutex_unlock(&f->lock);
	drain_view_show(&f->view, p);
	/* The id is known: the drain continues without this process. */
	f->left = f->detach && f->id[0] && p->step < PB_DRAIN_STEP_DONE;
	return f->left ? stow_err_set(err, ECANCELED, "detached") : 0;
}

/* Request the cancellation, then continue to read until the drain is undone. */
static bool on_interrupt(void *ctx)
{
	struct following *f = ctx;
	PbCancelDrainRequest to_scheduler = PB_CANCEL_DRAIN_REQUEST__INIT;
	PbAgentCancelDrainRequest to_agent = PB_AGENT_CANCEL_DRAIN_REQUEST__INIT;
	bool scheduler = f->fleet->options->n_words > 0;
	void *response = NULL;
	struct stow_err err;
	char id[64];

	if (f->view.interrupted || f->view.dry_run)
		return false;
	pthread_mutex_lock(&f->lock);
	memcpy(id, f->id, sizeof(id));
	pthread_mutex_unlock(&f->lock);
	f->view.interrupted = true;
	to_scheduler.id = to_agent.id = id;
	if (!*id)
		return false;
	if ((scheduler ? fleet_call(f->fleet, "CancelDrain", &to_scheduler, &response, &err)
		       : fleet_call(f->fleet, "CancelDrain", &to_agent, &response, &err)) < 0) {
		fprintf(stderr, "numastow: drain %s could not be cancelled: %s\n", id, err.msg);
		return false;
	}
	stow_rpc_message_free(response);
	return true;
}

/* Start the drain, and show its progress until it ends. */
static int follow(struct fleet *fleet, const struct drain_asked *asked,
		  const struct fleet_stream *stream, struct stow_err *err)
{
	PbAgentDrainRequest local = PB_AGENT_DRAIN_REQUEST__INIT;
	PbDrainMemoryRequest remote = PB_DRAIN_MEMORY_REQUEST__INIT;
	PbDrainSpec spec = PB_DRAIN_SPEC__INIT;
	uint64_t since;
	char id[STOW_RANDOM_ID_LEN + 1];
	int r;

	drain_asked_spec(asked, &spec);
	if (!fleet->options->n_words) {
		local.spec = &spec;
		local.dry_run = asked->dry_run;
		local.detach = asked->detach;
		return fleet_stream(fleet, "DrainMemory", &local, stream, err);
	}
	remote.node = (char *)(uintptr_t)fleet->options->words[0];
	remote.spec = &spec;
	remote.dry_run = asked->dry_run;
	remote.revoke = asked->revoke;
	/* With an id the call can be repeated: it follows the same drain. */
	stow_random_id(id);
	remote.request_id = id;
	do {
		since = stow_clock_monotonic();
		r = fleet_stream(fleet, "DrainMemory", &remote, stream, err);
	} while (fleet_renewed(r, err, since));
	return r;
}

static int run_drain(struct fleet *fleet, struct stow_err *err)
{
	const struct fleet_options *o = fleet->options;
	struct drain_asked asked = o->drain; /* a copy: the check sets numa_node */
	struct following f = { .fleet = fleet, .detach = asked.detach };
	struct fleet_stream stream = { .message = on_progress,
				       .interrupt = on_interrupt,
				       .ctx = &f };
	int r;

	r = drain_asked_check(&asked, o->words[0], err);
	if (r < 0)
		return cli_wrong_usage("drain", "%s", err->msg);
	drain_view_init(&f.view, o->json, asked.dry_run);
	pthread_mutex_init(&f.lock, NULL);
	r = follow(fleet, &asked, &stream, err);
	pthread_mutex_destroy(&f.lock);
	if (f.left)
		return CLI_OK;
	if (r == -EINTR && f.view.last < PB_DRAIN_STEP_DONE) {
		f.view.interrupted = true;
		snprintf(f.view.error, sizeof(f.view.error),
			 "interrupted before the drain had ended; see `numastow drains`");
	} else if (r < 0 && f.view.last < PB_DRAIN_STEP_DONE) {
		cli_bar_end(&f.view.bar);
		return r;
	}
	return drain_view_finish(&f.view);
}

/* --- drains --------------------------------------------------------------- */

#define DRAINS_A_PAGE 100

static bool of_scheduler(const struct fleet_options *options, bool word_is_machine)
{
	return options->cluster || (word_is_machine && options->n_words > 0);
}

static enum fleet_peer peer_with_drains(const struct fleet_options *options)
{
	return of_scheduler(options, true) ? FLEET_SCHEDULER : FLEET_AGENT;
}

static int run_drains(struct fleet *fleet, struct stow_err *err)
{
	const struct fleet_options *o = fleet->options;
	PbListDrainsRequest to_scheduler = PB_LIST_DRAINS_REQUEST__INIT;
	PbAgentListDrainsRequest to_agent = PB_AGENT_LIST_DRAINS_REQUEST__INIT;
	bool scheduler = of_scheduler(o, true);
	void *response = NULL;
	PbDrain **drains;
	size_t n;
	int r;

	if (o->n_words)
		to_scheduler.node = (char *)(uintptr_t)o->words[0];
	to_scheduler.ended = true;
	to_scheduler.page_size = DRAINS_A_PAGE;
	r = scheduler ? fleet_call_pages(fleet, "ListDrains", &to_scheduler,
					 &to_scheduler.page_token, &response, err)
		      : fleet_call(fleet, "ListDrains", &to_agent, &response, err);
	if (r < 0)
		return r;
	drains = scheduler ? ((PbListDrainsResponse *)response)->drains
			   : ((PbAgentListDrainsResponse *)response)->drains;
	n = scheduler ? ((PbListDrainsResponse *)response)->n_drains
		      : ((PbAgentListDrainsResponse *)response)->n_drains;
	if (o->json)
		cli_message_print(response);
	else
		r = drain_view_list(drains, n, scheduler, &o->style, err);
	stow_rpc_message_free(response);
	return cli_table_printed("drains", r, err);
}

/* --- cancel --------------------------------------------------------------- */

static enum fleet_peer peer_that_cancels(const struct fleet_options *options)
{
	return of_scheduler(options, false) ? FLEET_SCHEDULER : FLEET_AGENT;
}

static int run_cancel(struct fleet *fleet, struct stow_err *err)
{
	const struct fleet_options *o = fleet->options;
	PbCancelDrainRequest to_scheduler = PB_CANCEL_DRAIN_REQUEST__INIT;
	PbAgentCancelDrainRequest to_agent = PB_AGENT_CANCEL_DRAIN_REQUEST__INIT;
	void *response = NULL;
	int r;

	if (o->n_words)
		to_scheduler.id = to_agent.id = (char *)(uintptr_t)o->words[0];
	r = o->cluster ? fleet_call(fleet, "CancelDrain", &to_scheduler, &response, err)
		       : fleet_call(fleet, "CancelDrain", &to_agent, &response, err);
	if (r < 0)
		return r;
	if (o->json)
		cli_message_print(response);
	else
		printf("drain %s is being cancelled\n",
		       o->cluster ? ((PbCancelDrainResponse *)response)->id
				  : ((PbAgentCancelDrainResponse *)response)->id);
	stow_rpc_message_free(response);
	return CLI_OK;
}

const struct fleet_command fleet_drain = {
	.name = "drain",
	.arguments = "[MACHINE] [OPTION...]",
	.summary = "Remove memory from a running machine: one of the fleet, or this one through "
		   "its agent",
	.settings = drain_settings,
	.max_words = 1,
	.choose_peer = peer_with_drains,
	.run = run_drain,
};

const struct fleet_command fleet_drains = {
	.name = "drains",
	.table = true,
	.reads = true,
	.arguments = "[--cluster | MACHINE]",
	.summary = "Show running drains of the fleet, or of this machine through its agent",
	.settings = cluster_settings,
	.max_words = 1,
	.choose_peer = peer_with_drains,
	.run = run_drains,
};

const struct fleet_command fleet_cancel = {
	.name = "cancel",
	.arguments = "[--cluster] [ID]",
	.summary = "Cancel a drain and undo it",
	.settings = cluster_settings,
	.max_words = 1,
	.choose_peer = peer_that_cancels,
	.run = run_cancel,
};
