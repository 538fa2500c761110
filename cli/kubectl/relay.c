// SPDX-License-Identifier: Apache-2.0
/* kubectl numastow fence, unfence, drain: the fleet's scheduler does it, asked by numastow-fleet. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/kubectl/kubectl.h"
#include "cli/kubectl/machines.h"
#include "cli/kubectl/scheduler.h"

/* What the command line has: options of numastow-fleet are passed on as they are. */
struct relayed {
	struct kubectl_options kubectl; /* to find all NUMA nodes of a machine */
	const char *config;
	bool scheduler, help;
	char **options; /* NULL-terminated; the texts are those of argv */
	size_t n_options;
	char **words;
	size_t n_words;
};

/* Options of numastow-fleet that have an argument. */
static const char *const with_argument[] = {
	"scheduler", "ca",     "certificate", "key",	       "server-name",	  "agent",
	"timeout",   "config", "size",	      "block-timeout", "removal-timeout", NULL,
};
static const char *const own[] = { "kubeconfig", "context", "namespace", NULL };

/* --- the command line ----------------------------------------------------- */

/* Return whether `arg` is --NAME or --NAME=VALUE for one of the names; its index is in *ret. */
static bool is_option(const char *arg, const char *const *names, size_t *ret,
		      const char **ret_value)
{
	size_t len = strncmp(arg, "--", 2) == 0 ? strcspn(arg + 2, "=") : 0;

	for (size_t i = 0; len && names[i]; i++)
		if (strlen(names[i]) == len && strncmp(arg + 2, names[i], len) == 0) {
			*ret = i;
			*ret_value = arg[len + 2] ? arg + len + 3 : NULL;
			return true;
		}
	return false;
}

static int parse(int argc, char **argv, struct relayed *ret, struct stow_err *err)
{
	const char **targets[] = { &ret->kubectl.kubeconfig, &ret->kubectl.context,
				   &ret->kubectl.ns };
	bool words = false;
	const char *value;
	size_t which;

	for (int i = 1; i < argc; i++) {
		if (!words && strcmp(argv[i], "--") == 0) {
			words = true;
		} else if (words || argv[i][0] != '-') {
			ret->words[ret->n_words++] = argv[i];
		} else if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
			ret->help = true;
		} else if (is_option(argv[i], own, &which, &value)) {
			if (!value && i + 1 == argc)
				return stow_err_set(err, EINVAL, "%s needs a value", argv[i]);
			*targets[which] = value ? value : argv[++i];
		} else {
			bool takes = is_option(argv[i], with_argument, &which, &value);

			ret->options[ret->n_options++] = argv[i];
			if (takes && !value && i + 1 == argc)
				return stow_err_set(err, EINVAL, "%s needs a value", argv[i]);
			if (takes && !value)
				ret->options[ret->n_options++] = argv[++i];
			if (takes && strcmp(with_argument[which], "scheduler") == 0)
				ret->scheduler = true;
			if (takes && strcmp(with_argument[which], "config") == 0)
				ret->config = value ? value : argv[i];
		}
	}
	return 0;
}

/* --- the NUMA nodes ------------------------------------------------------- */

/* Check a word for a NUMA node: "1" or "node1". Return the number's text, or NULL. */
static const char *node_of(const char *word)
{
	uint64_t number;

	if (strncmp(word, "node", 4) == 0)
		word += 4;
	return stow_parse_u64(word, 1023, &number, NULL) == 0 ? word : NULL;
}

static int no_memory(struct stow_err *err)
{
	return stow_err_set(err, ENOMEM, "out of memory");
}

static int add_node(char **list, const char *node, struct stow_err *err)
{
	char *longer;

	if (asprintf(&longer, "%s%s%s", *list ? *list : "", *list ? "," : "", node) < 0)
		return no_memory(err);
	free(*list);
	*list = longer;
	return 0;
}

/* List all NUMA nodes that the machine publishes. */
static int all_nodes(const struct relayed *relayed, char **ret, struct stow_err *err)
{
	struct kubectl_machines machines = { 0 };
	const struct kubectl_machine *machine;
	struct stow_kube *kube = NULL;
	int r = kubectl_connect(&relayed->kubectl, &kube, err);

	if (r == 0)
		r = kubectl_machines_read(kube, &machines, err);
	stow_kube_free(kube);
	if (r < 0)
		return r;
	machine = kubectl_machines_find(&machines, relayed->words[0]);
	for (size_t i = 0; machine && i < machine->n_devices && r == 0; i++)
		if (node_of(machine->devices[i].name))
			r = add_node(ret, node_of(machine->devices[i].name), err);
	kubectl_machines_done(&machines);
	if (r == 0 && !*ret)
		r = stow_err_set(err, ENOENT, "%.128s publishes no NUMA nodes; name them",
				 relayed->words[0]);
	return r;
}

static int list_nodes(const struct relayed *relayed, char **ret, struct stow_err *err)
{
	int r = 0;

	if (relayed->n_words == 1)
		return all_nodes(relayed, ret, err);
	for (size_t i = 1; r == 0 && i < relayed->n_words; i++) {
		const char *node = node_of(relayed->words[i]);

		r = node ? add_node(ret, node, err)
			 : stow_err_set(err, EINVAL, "\"%.64s\" is not a NUMA node like 1 or node1",
					relayed->words[i]);
	}
	return r;
}

/* --- asking --------------------------------------------------------------- */

/* Run numastow-fleet with these words and the options of the command line. */
static int ask(const struct relayed *relayed, const char *const *words, struct stow_err *err)
{
	_cleanup_free_ char **argv = calloc(relayed->n_options + 8, sizeof(*argv));
	size_t n = 0;

	if (!argv)
		return no_memory(err);
	while (*words)
		argv[n++] = (char *)(uintptr_t)*words++;
	memcpy(argv + n, relayed->options, relayed->n_options * sizeof(*argv));
	return kubectl_scheduler_ask(argv, NULL, NULL, err);
}

static int fence(const char *name, const struct relayed *relayed, struct stow_err *err)
{
	_cleanup_free_ char *nodes = NULL;
	int r = list_nodes(relayed, &nodes, err);

	return r < 0 ? r
		     : ask(relayed, (const char *const[]){ name, relayed->words[0], nodes, NULL },
			   err);
}

/* Drain one NUMA node after the other, until one fails. */
static int drain(const char *name, const struct relayed *relayed, struct stow_err *err)
{
	_cleanup_free_ char *checked = NULL;
	int r;

	if (relayed->n_words < 2)
		return stow_err_set(err, EINVAL, "drain needs MACHINE NODE...");
	r = list_nodes(relayed, &checked, err);
	for (size_t i = 1; r == 0 && i < relayed->n_words; i++)
		r = ask(relayed,
			(const char *const[]){ name, relayed->words[0], "--node",
					       node_of(relayed->words[i]), NULL },
			err);
	return r;
}

static const char fleet_help[] =
	"  --kubeconfig FILE  where all NUMA nodes of a machine are listed\n"
	"  --context NAME     a context of it\n"
	"\nThe other options are those of numastow(1), among them --scheduler and --config.\n";

static int run(int argc, char **argv, const char *arguments, const char *summary,
	       int (*act)(const char *name, const struct relayed *relayed, struct stow_err *err))
{
	_cleanup_free_ char **words = calloc((size_t)argc + 1, sizeof(*words));
	_cleanup_free_ char **options = calloc((size_t)argc + 1, sizeof(*options));
	struct relayed relayed = { .words = words, .options = options };
	struct stow_err err = { 0 };
	int r = words && options ? parse(argc, argv, &relayed, &err) : no_memory(&err);

	if (r == 0 && relayed.help) {
		printf("Usage: " KUBECTL_PROGRAM " %s %s\n\n%s.\n\nOptions:\n%s", argv[0],
		       arguments, summary, fleet_help);
		return CLI_OK;
	}
	if (r == 0 && !relayed.n_words)
		r = stow_err_set(&err, EINVAL, "%s needs %s", argv[0], arguments);
	if (r < 0)
		return cli_wrong_usage(argv[0], "%s", err.msg);
	/* The API server has no fence that an agent obeys. */
	r = kubectl_scheduler_find(relayed.scheduler, relayed.config, argv[0], &err);
	if (r == 0)
		r = act(argv[0], &relayed, &err);
	return r < 0 ? cli_fail(&err) : r;
}

int kubectl_fence(int argc, char **argv)
{
	return run(argc, argv, "MACHINE [NODE...]",
		   strcmp(argv[0], "fence") == 0
			   ? "Stop placing on NUMA nodes of a machine (all of them)"
			   : "Lift the fence of NUMA nodes of a machine (all of them)",
		   fence);
}

int kubectl_drain(int argc, char **argv)
{
	return run(argc, argv, "MACHINE NODE...", "Remove the memory of NUMA nodes of a machine",
		   drain);
}
