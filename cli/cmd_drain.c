// SPDX-License-Identifier: Apache-2.0
/* numastow drain: by an agent or a scheduler, if there is one; otherwise in this process. */
#include <errno.h>
#include <getopt.h>
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
#include "drain/drain.h"
#include "grant/agent.h"

#define S    STOW_SECOND
#define HOUR (3600 * S)

/* The parsed command line. */
struct asked {
	struct drain_asked drain;
	const char *explain;
	bool json, fleet, help;
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
	struct stow_drain_watch watch = { on_progress, on_stop, &view };
	const struct drain_asked *d = &asked->drain;
	struct stow_drain_spec spec;
	PbDrainSpec wanted;
	enum stow_drain_step step = STOW_DRAIN_STEP_FAILED;
	struct stow_err err;
	int r;

	drain_asked_spec(d, &wanted);
	r = cli_context_open(&context, NULL, !d->dry_run, &err);
	if (r == 0)
		r = stow_drain_spec_read(&wanted, &spec, &err);
	if (r < 0)
		return cli_fail(&err);
	drain_view_init(&view, asked->json, d->dry_run);
	if (d->dry_run)
		return plan_here(&context, &spec, &view);
	catch_signals();
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

enum {
	NODE = 256,
	SIZE,
	BLOCKS,
	DEVICE,
	EXPLAIN,
	DRY_RUN,
	EJECT,
	WAIT,
	KEEP,
	RESUME,
	ELSEWHERE,
	BLOCK_TIMEOUT,
	TIMEOUT,
	REMOVAL_TIMEOUT,
	REVOKE,
	DETACH,
	FLEET
};

static const struct option options[] = {
	{ "node", required_argument, NULL, NODE },
	{ "size", required_argument, NULL, SIZE },
	{ "blocks", required_argument, NULL, BLOCKS },
	{ "device", required_argument, NULL, DEVICE },
	{ "explain", required_argument, NULL, EXPLAIN },
	{ "dry-run", no_argument, NULL, DRY_RUN },
	{ "eject", no_argument, NULL, EJECT },
	{ "wait", no_argument, NULL, WAIT },
	{ "keep", no_argument, NULL, KEEP },
	{ "resume", no_argument, NULL, RESUME },
	{ "hugepages-elsewhere", no_argument, NULL, ELSEWHERE },
	{ "block-timeout", required_argument, NULL, BLOCK_TIMEOUT },
	{ "timeout", required_argument, NULL, TIMEOUT },
	{ "removal-timeout", required_argument, NULL, REMOVAL_TIMEOUT },
	{ "revoke", no_argument, NULL, REVOKE },
	{ "detach", no_argument, NULL, DETACH },
	{ "json", no_argument, NULL, 'j' },
	{ "help", no_argument, NULL, 'h' },
	/* Options for numastow-fleet's connection. */
	{ "scheduler", required_argument, NULL, FLEET },
	{ "ca", required_argument, NULL, FLEET },
	{ "certificate", required_argument, NULL, FLEET },
	{ "key", required_argument, NULL, FLEET },
	{ "server-name", required_argument, NULL, FLEET },
	{ "agent", required_argument, NULL, FLEET },
	{ "config", required_argument, NULL, FLEET },
	{ 0 },
};

static const char arguments[] = "[MACHINE] (--node N | --blocks LIST | --device NAME) [OPTION...]";
static const char help[] =
	"  --node N               memory of this NUMA node\n"
	"  --size SIZE            this much of it, rounded up to whole blocks (all)\n"
	"  --blocks LIST          these memory blocks: 48-55,60\n"
	"  --device NAME          this device's: dimm0, dax0.0, virtio1\n"
	"  --explain BLOCK        show what is in a block and may keep it online\n"
	"  --dry-run              show what would be done, and change nothing\n"
	"  --eject                have the machine remove it\n"
	"  --wait                 wait until a hypervisor or a person has removed it\n"
	"  --keep                 keep blocks offline when others cannot go; exit code 64\n"
	"  --resume               continue, instead of undoing, after the program was killed\n"
	"  --hugepages-elsewhere  allocate pages of the administrator's pools again on other\n"
	"                         NUMA nodes\n"
	"  --block-timeout TIME   for one block (10s, or the agent's setting)\n"
	"  --timeout TIME         for the whole (10m, or the agent's setting)\n"
	"  --removal-timeout TIME for --wait (5m, or the agent's setting)\n"
	"  --revoke               with MACHINE: revoke unused reservations instead of waiting\n"
	"                         for them\n"
	"  --detach               do not wait for the end; see `numastow drains`\n"
	"  -j, --json             one JSON object for each message\n"
	"  -h, --help             print this text\n"
	"\n"
	"With MACHINE the scheduler drains a machine of the fleet. Otherwise the agent drains "
	"this\n"
	"one, or the command itself if no agent runs. Connection options, which are also keys of\n"
	"/etc/numastow/client.yaml:\n"
	"  --scheduler ADDRESS,...\n"
	"  --ca FILE\n"
	"  --certificate FILE\n"
	"  --key FILE\n"
	"  --server-name NAME\n"
	"  --agent PATH\n"
	"  --config FILE          instead of that file\n";

static int take_size(const char *text, uint64_t *ret, struct stow_err *err)
{
	int r = stow_parse_quantity(text, ret, err);

	if (r < 0)
		return stow_err_wrap(err, r, "--size");
	return *ret ? 0 : stow_err_set(err, EINVAL, "--size: 0 is not a size");
}

static int take_time(const char *name, const char *text, uint64_t least, uint64_t most,
		     uint64_t *ret, struct stow_err *err)
{
	int r = stow_parse_duration(text, ret, err);

	if (r < 0)
		return stow_err_wrap(err, r, "--%s", name);
	if (*ret < least || *ret > most)
		return stow_err_set(err, ERANGE, "--%s: %.64s is not between %llums and %llus",
				    name, text, (unsigned long long)(least / 1000000),
				    (unsigned long long)(most / S));
	return 0;
}

static void take_switch(struct asked *asked, int c)
{
	struct drain_asked *d = &asked->drain;

	switch (c) {
	case DRY_RUN:
		d->dry_run = true;
		break;
	case EJECT:
		d->eject = true;
		break;
	case WAIT:
		d->wait = true;
		break;
	case KEEP:
		d->keep = true;
		break;
	case RESUME:
		d->resume = true;
		break;
	case ELSEWHERE:
		d->hugepages_elsewhere = true;
		break;
	case REVOKE:
		d->revoke = true;
		break;
	case DETACH:
		d->detach = true;
		break;
	case 'j':
		asked->json = true;
		break;
	case 'h':
		asked->help = true;
		break;
	default: /* FLEET */
		asked->fleet = true;
		break;
	}
}

/* Parse one option. -EINVAL or -ERANGE, with a message. */
static int take_option(struct asked *asked, int c, struct stow_err *err)
{
	struct drain_asked *d = &asked->drain;

	switch (c) {
	case NODE:
		d->node = optarg;
		return 0;
	case SIZE:
		return take_size(optarg, &d->size, err);
	case BLOCKS:
		d->blocks = optarg;
		return 0;
	case DEVICE:
		d->device = optarg;
		return 0;
	case EXPLAIN:
		asked->explain = optarg;
		return 0;
	case BLOCK_TIMEOUT:
		return take_time("block-timeout", optarg, S / 10, HOUR, &d->block_timeout, err);
	case TIMEOUT:
		return take_time("timeout", optarg, S, 24 * HOUR, &d->timeout, err);
	case REMOVAL_TIMEOUT:
		return take_time("removal-timeout", optarg, S, 24 * HOUR, &d->removal_timeout, err);
	default:
		take_switch(asked, c);
		return 0;
	}
}

static int bad(const struct stow_err *err)
{
	(void)cli_fail(err);
	return cli_bad_usage("drain");
}

static bool agent_lives(void)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;

	return stow_root_open("/", &root, NULL) == 0 && stow_agent_lives(root);
}

static int decide(struct asked *asked, const char *machine, int argc, char **argv)
{
	struct stow_err err;

	if (asked->explain &&
	    (machine || asked->drain.node || asked->drain.blocks || asked->drain.device)) {
		stow_err_set(&err, EINVAL,
			     "--explain: cannot be combined with other options, and is for this "
			     "machine only");
		return bad(&err);
	}
	if (asked->explain)
		return drain_explain(asked->explain, asked->json);
	if (drain_asked_check(&asked->drain, machine, &err) < 0)
		return bad(&err);
	/* A plan needs no agent, unless the command line names one. */
	if (machine || asked->fleet || (!asked->drain.dry_run && agent_lives()))
		return cli_become_fleet(argc, argv);
	if (asked->drain.detach) {
		stow_err_set(&err, EINVAL,
			     "--detach: requires an agent, and none is running on this machine");
		return bad(&err);
	}
	return drain_here(asked);
}

int cmd_drain(int argc, char **argv)
{
	struct asked asked = { 0 };
	struct stow_err err;
	int c;

	while ((c = getopt_long(argc, argv, "jh", options, NULL)) != -1) {
		if (c == '?')
			return cli_bad_usage("drain");
		if (take_option(&asked, c, &err) < 0)
			return bad(&err);
	}
	if (asked.help) {
		cli_usage("drain", arguments, "Takes memory off a running machine", help);
		return CLI_OK;
	}
	if (argc > optind + 1) {
		stow_err_set(&err, EINVAL, "\"%.64s\": unexpected argument", argv[optind + 1]);
		return bad(&err);
	}
	return decide(&asked, argv[optind], argc, argv);
}
