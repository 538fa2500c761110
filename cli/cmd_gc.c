// SPDX-License-Identifier: Apache-2.0
/* numastow gc, release, restore: reclaiming and undoing grants. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/admin.h"
#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/options.h"
#include "drain/drain.h"
#include "grant/agent.h"
#include "grant/gc.h"

/* Recover drains whose program was killed. A running agent does so itself, and notifies its
 * scheduler. */
static int look_after_drains(struct cli_context *context, struct stow_err *err)
{
	int r;

	if (stow_agent_lives(context->root) || !stow_drain_orphans(&context->grant))
		return 0;
	r = stow_drain_recover(&context->grant, NULL, err);
	if (r > 0) {
		cli_audit(context, "gc", NULL, "undid or resumed drains");
		printf("drains whose program was killed: %d recovered\n", r);
	}
	return r;
}

/* Print containers that started without the hook; with `quiet` only those that were changed. */
static void print_found(const struct stow_adoption *found, bool quiet)
{
	for (size_t i = 0; i < found->n; i++)
		if (!quiet || found->list[i].entered)
			printf("container %s %s\n", found->list[i].id,
			       stow_adopted_text(&found->list[i]));
	if (found->cut)
		fprintf(stderr,
			"numastow: there are more than %d cgroups: containers in the others were "
			"not found\n",
			STOW_DISCOVER_CGROUPS);
}

/* Nothing was placed since boot. Record running containers as unmanaged before the first
 * placement. */
static int adopt_alone(struct cli_context *context, bool quiet)
{
	struct stow_adoption found = { 0 };
	struct stow_err err = { 0 };
	int r;

	if (!quiet)
		printf("there is no ledger: nothing was placed since boot\n");
	r = stow_adopt(&context->grant, &found, &err);
	print_found(&found, quiet);
	stow_adoption_done(&found);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}

/* Drop CAP_SYS_ADMIN unless it is needed: the unit has it for cpuset partitions only. */
static int keep_what_is_needed(const struct cli_context *context, struct stow_err *err)
{
	return context->config && context->config->partitions ? 0 : stow_admin_forgo(err);
}

/* Replace a ledger that is damaged, or of another version, by a new one, made from the containers'
 * cgroups. `context` was not opened. */
static int rebuild_ledger(struct cli_context *context, struct stow_err *err)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	char aside[512];
	int r;

	r = stow_root_open("/", &root, err);
	if (r == 0)
		r = stow_ledger_set_aside(root, aside, sizeof(aside), err);
	if (r < 0)
		return r;
	if (aside[0])
		printf("the old ledger is now %s\n", aside);
	else
		printf("the ledger was missing\n");
	r = cli_context_open_anyway(context, NULL, true, err);
	if (r == 0)
		r = stow_rebuild(&context->grant, err);
	if (r >= 0)
		printf("%d exclusive grants were found in the cgroups and entered again\n", r);
	return r;
}

static int gc(bool rebuild, bool quiet)
{
	_cleanup_(cli_context_done) struct cli_context context;
	struct stow_gc_result result;
	struct stow_err err;
	bool changed;
	int r;

	r = cli_context_open_change(&context, false, &err);
	if ((r == -EUCLEAN || r == -EPROTO) && rebuild)
		r = rebuild_ledger(&context, &err);
	if (r >= 0)
		r = keep_what_is_needed(&context, &err);
	if (r < 0)
		return cli_fail(&err);
	if (!context.ledger)
		return adopt_alone(&context, quiet);
	r = stow_gc(&context.grant, &result, &err);
	for (size_t i = 0; i < result.problems.n_problems; i++)
		fprintf(stderr, "numastow: %s\n", result.problems.problems[i].text);
	print_found(&result.found, quiet);
	if (result.strangers)
		fprintf(stderr,
			"numastow: %s, %s: %zu files are not entries of numastow, and were removed "
			"(folders only if empty)\n",
			STOW_UNMANAGED_DIR, STOW_PODS_DIR, result.strangers);
	if (result.threads)
		printf("threads of io_uring that might run outside of their container's CPUs: %zu, "
		       "which now may not\n",
		       result.threads);
	changed = result.expired + result.undone + result.reclaimed + result.pages > 0;
	if (changed)
		cli_audit(&context, "gc", NULL,
			  "reclaimed grants of ended containers, see `numastow why`");
	if (!quiet || changed)
		printf("grants reclaimed: %zu, undone: %zu, leases expired: %zu, hugepages "
		       "returned: %" PRIu64 ", containers found: %zu\n",
		       result.reclaimed, result.undone, result.expired, result.pages,
		       result.found.n);
	stow_gc_result_done(&result);
	if (r >= 0)
		r = look_after_drains(&context, &err);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}

int cmd_gc(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "gc",
		.arguments = "[--quiet] [--rebuild]",
		.summary = "Reclaim what ended containers and killed hooks left behind",
		.options = "  -q, --quiet    print nothing if there was nothing to do\n"
			   "      --rebuild  replace a damaged ledger by a new one\n"
			   "  -h, --help     print this text\n",
	};
	bool rebuild = false, quiet = false;
	const struct cli_option options[] = { { "rebuild", .flag = &rebuild },
					      { "quiet", 'q', .flag = &quiet },
					      { 0 } };
	int r = cli_options(&usage, options, argc, argv);

	return r >= 0 ? r : gc(rebuild, quiet);
}

static int not_one_container(const char *name)
{
	return cli_wrong_usage(name, "name one container%s or use --last",
			       strcmp(name, "restore") == 0 ? ", --all" : "");
}

/* Undo every grant of one container, whether it is running or not; NULL: the last. */
static int give_back(const char *id, const char *kind, const char *text)
{
	_cleanup_(cli_context_done) struct cli_context context;
	char label[STOW_RECORD_LABEL_MAX];
	struct stow_record **records;
	struct stow_err err;
	size_t n;
	int r;

	r = cli_context_open_change(&context, false, &err);
	if (r == 0)
		r = cli_find_records(&context, id, &records, &n, &err);
	if (r < 0)
		return cli_fail(&err);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = stow_restore(&context.grant, records[i], kind, text, &err);
		if (r < 0)
			break;
		printf("%s: released\n", stow_record_label(records[i], label));
		cli_audit(&context, kind, stow_record_label(records[i], label), text);
	}
	stow_records_free(records, n);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}

#define NAME_HELP                         \
	"  -h, --help  print this text\n" \
	"  ID          a container's id, the beginning of it, or its name\n"

int cmd_release(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "release",
		.arguments = "ID | --last",
		.summary = "Release a container's grant. A container that still runs gets back "
			   "its former CPUs, nodes and limits",
		.options = "      --last  the container that got its grant last\n" NAME_HELP,
		.words = 1,
	};
	bool last = false;
	const struct cli_option options[] = { { "last", .flag = &last }, { 0 } };
	int r = cli_options(&usage, options, argc, argv);

	if (r >= 0)
		return r;
	return last == (argv[optind] != NULL)
		       ? not_one_container("release")
		       : give_back(argv[optind], "released", "numastow release");
}

static int restore_all(void)
{
	_cleanup_(cli_context_done) struct cli_context context;
	struct stow_err err;
	int r;

	r = cli_context_open_change(&context, false, &err);
	if (r < 0)
		return cli_fail(&err);
	if (!context.ledger) {
		printf("there is no ledger: nothing was placed since boot\n");
		return CLI_OK;
	}
	r = stow_restore_all(&context.grant, &err);
	if (r < 0)
		return cli_fail(&err);
	cli_audit(&context, "restored", NULL, "every placement was undone");
	printf("%d placement%s undone\n", r, r == 1 ? "" : "s");
	return CLI_OK;
}

int cmd_restore(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "restore",
		.arguments = "--all | ID | --last",
		.summary = "Undo placements. Running containers go on with their former CPUs, "
			   "nodes and "
			   "limits",
		.options =
			"  -a, --all   undo all placements\n"
			"      --last  that of the container that got its grant last\n" NAME_HELP,
		.words = 1,
	};
	bool all = false, last = false;
	const struct cli_option options[] = { { "all", 'a', .flag = &all },
					      { "last", .flag = &last },
					      { 0 } };
	int r = cli_options(&usage, options, argc, argv);

	if (r >= 0)
		return r;
	if (all + last + (argv[optind] != NULL) != 1)
		return not_one_container("restore");
	return all ? restore_all() : give_back(argv[optind], "restored", "numastow restore");
}
