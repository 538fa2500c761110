// SPDX-License-Identifier: Apache-2.0
/* numastow drain: by an agent or a scheduler, if there is one; otherwise in this process. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/drain.h"
#include "cli/drain_asked.h"
#include "cli/drain_view.h"
#include "cli/options.h"
#include "drain/drain.h"
#include "grant/agent.h"

#define S    STOW_SECOND
#define HOUR (3600 * S)

/* The parsed command line. */
struct asked {
	struct drain_asked drain;
	const char *explain, *sysroot;
	bool json, fleet;
};

/* --- local drains --------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

/* The first signal cancels the drain, which is then undone; further signals change nothing. */
static void on_signal(int signal_number)
{
	interrupted = 1;
}

static void catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = on_signal };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
	/* A closed pipe must not interrupt a drain halfway. */
	signal(SIGPIPE, SIG_IGN);
}

static int on_progress(void *ctx, const PbDrainProgress *progress)
{
	drain_view_show(ctx, progress);
	return interrupted ? -ECANCELED : 0;
}

static bool on_stop(void *ctx)
{
	return interrupted != 0;
}

static int plan_here(const struct cli_context *context, const struct stow_drain_spec *spec,
		     struct drain_view *view)
{
	PbDrainProgress *plan = stow_drain_preview(&context->grant, "", spec);
	struct stow_err err;

	if (!plan) {
		stow_err_set(&err, ENOMEM, "out of memory");
		return cli_fail(&err);
	}
	drain_view_show(view, plan);
	pb_drain_progress__free_unpacked(plan, NULL);
	return drain_view_finish(view);
}

static int drain_here(const struct asked *asked)
{
	_cleanup_(cli_context_done) struct cli_context context;
	char id[STOW_DRAIN_ID_LEN + 1], what[128], line[256];
	struct drain_view view;
	struct stow_drain_watch watch = { .progress = on_progress, .stop = on_stop, .ctx = &view };
	const struct drain_asked *d = &asked->drain;
	struct stow_drain_spec spec;
	PbDrainSpec wanted;
	enum stow_drain_step step = STOW_DRAIN_STEP_FAILED;
	struct stow_err err;
	int r;

	drain_asked_spec(d, &wanted);
	r = cli_context_open(&context, NULL, !d->dry_run, &err);
	if (r == 0 && !d->dry_run)
		r = stow_ledger_check_namespaces(context.ledger, &err);
	if (r == 0)
		r = stow_drain_spec_read(&wanted, &spec, &err);
	if (r < 0)
		return cli_fail(&err);
	drain_view_init(&view, asked->json, d->dry_run);
	if (d->dry_run)
		return plan_here(&context, &spec, &view);
	catch_signals();
	cli_widen_mems(context.root);
	stow_drain_new_id(id);
	r = stow_drain_run(&context.grant, id, false, &spec, &watch, &step, &err);
	view.interrupted = interrupted;
	snprintf(line, sizeof(line), "%s: %s",
		 drain_asked_what(d->numa_node, d->blocks, d->device, what, sizeof(what)),
		 stow_drain_step_name(step));
	cli_audit(&context, "drain", NULL, line);
	if (r < 0 && view.last < PB_DRAIN_STEP_DONE) {
		cli_bar_end(&view.bar);
		return cli_fail(&err);
	}
	return drain_view_finish(&view);
}

/* --- the command line ----------------------------------------------------- */

static const char arguments[] =
	"[MACHINE] (--node N | --blocks LIST | --device NAME)\n                      [OPTION...]";
static const char help[] =
	"      --node N           memory of this NUMA node\n"
	"      --size SIZE        this much of it, rounded up to whole blocks (all)\n"
	"      --blocks LIST      these memory blocks: 48-55,60\n"
	"      --device NAME      this device's: dimm0, dax0.0, virtio1\n"
	"      --explain BLOCK    show what is in a block and may keep it online\n"
	"  -s, --sysroot DIR      with --explain: read a copied tree\n"
	"      --dry-run          show what would be done, and change nothing\n"
	"      --eject            eject the memory when it is offline\n"
	"      --wait             wait until a hypervisor or an operator has removed it\n"
	"      --keep             keep blocks offline even if others cannot go; exit 64\n"
	"      --resume           if the program is killed, continue later, do not undo\n"
	"      --hugepages-elsewhere\n"
	"                         allocate pages of the administrator's pools again on\n"
	"                         other NUMA nodes\n"
	"      --force-taint      have Kubernetes delete all pods with a share of the\n"
	"                         NUMA node, against their disruption budgets, too\n"
	"      --block-timeout TIME\n"
	"                         limit for one block (10s, or the agent's setting)\n"
	"      --timeout TIME     limit for the drain (10m, or the agent's setting)\n"
	"      --removal-timeout TIME\n"
	"                         limit for --wait (5m, or the agent's setting)\n"
	"      --revoke           with MACHINE: revoke unused reservations instead of\n"
	"                         waiting for them\n"
	"      --detach           do not wait for the end; see `numastow drains`\n"
	"  -J, --json             one JSON object for each message\n"
	"  -h, --help             print this text\n"
	"\n"
	"With MACHINE the scheduler drains a machine of the fleet. Otherwise the agent\n"
	"drains this one, or the command itself if no agent runs. Connection options,\n"
	"which are also keys of /etc/numastow/client.yaml:\n"
	"  --scheduler ADDRESS,...\n"
	"  --ca FILE\n"
	"  --certificate FILE\n"
	"  --key FILE\n"
	"  --server-name NAME\n"
	"  --agent PATH\n"
	"  --config FILE          read this file instead\n";

static int take_size(const char *text, void *value, struct stow_err *err)
{
	uint64_t *size = value;
	int r = stow_parse_quantity(text, size, err);

	return r < 0 || *size ? r : stow_err_set(err, EINVAL, "0 is not a size");
}

static int take_time(const char *text, uint64_t least, uint64_t most, uint64_t *ret,
		     struct stow_err *err)
{
	int r = stow_parse_duration(text, ret, err);

	if (r == 0 && (*ret < least || *ret > most))
		return stow_err_set(err, ERANGE, "%.64s is not between %llums and %llus", text,
				    (unsigned long long)(least / STOW_MILLISECOND),
				    (unsigned long long)(most / S));
	return r;
}

static int take_block_time(const char *text, void *value, struct stow_err *err)
{
	return take_time(text, S / 10, HOUR, value, err);
}

static int take_long_time(const char *text, void *value, struct stow_err *err)
{
	return take_time(text, S, 24 * HOUR, value, err);
}

static bool agent_lives(void)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;

	return stow_root_open("/", &root, NULL) == 0 && stow_agent_lives(root);
}

static int decide(struct asked *asked, const char *machine, int argc, char **argv)
{
	struct stow_err err;
	uint64_t block;

	if (asked->explain &&
	    (machine || asked->drain.node || asked->drain.blocks || asked->drain.device))
		return cli_wrong_usage("drain", "--explain: cannot be combined with other options, "
						"and is for this machine only");
	if (asked->explain)
		return stow_parse_u64(asked->explain, UINT64_MAX, &block, &err) < 0
			       ? cli_wrong_usage(
					 "drain",
					 "--explain: expected the number of a memory block: %s",
					 err.msg)
			       : drain_explain(asked->sysroot, block, asked->json);
	if (asked->sysroot)
		return cli_wrong_usage("drain", "--sysroot: requires --explain");
	if (drain_asked_check(&asked->drain, machine, &err) < 0)
		return cli_wrong_usage("drain", "%s", err.msg);
	/* A plan needs no agent, unless the command line names one, or it is to taint. */
	if (machine || asked->fleet ||
	    ((!asked->drain.dry_run || asked->drain.force_taint) && agent_lives()))
		return cli_become_fleet(argc, argv);
	if (asked->drain.detach)
		return cli_wrong_usage("drain", "--detach: requires an agent, and none is running "
						"on this machine");
	return drain_here(asked);
}

int cmd_drain(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "drain",
		.arguments = arguments,
		.summary = "Remove memory from a running machine",
		.options = help,
		.words = 1,
	};
	struct asked asked = { 0 };
	struct drain_asked *d = &asked.drain;
	const struct cli_option options[] = {
		{ "node", .text = &d->node },
		{ "size", .take = take_size, .value = &d->size },
		{ "blocks", .text = &d->blocks },
		{ "device", .text = &d->device },
		{ "explain", .text = &asked.explain },
		{ "sysroot", 's', .text = &asked.sysroot },
		{ "dry-run", .flag = &d->dry_run },
		{ "eject", .flag = &d->eject },
		{ "wait", .flag = &d->wait },
		{ "keep", .flag = &d->keep },
		{ "resume", .flag = &d->resume },
		{ "hugepages-elsewhere", .flag = &d->hugepages_elsewhere },
		{ "force-taint", .flag = &d->force_taint },
		{ "block-timeout", .take = take_block_time, .value = &d->block_timeout },
		{ "timeout", .take = take_long_time, .value = &d->timeout },
		{ "removal-timeout", .take = take_long_time, .value = &d->removal_timeout },
		{ "revoke", .flag = &d->revoke },
		{ "detach", .flag = &d->detach },
		{ "json", 'J', .flag = &asked.json },
		CLI_FLEET_OPTIONS(&asked.fleet),
		{ 0 },
	};
	int r = cli_options(&usage, options, argc, argv);

	return r >= 0 ? r : decide(&asked, argv[optind], argc, argv);
}
