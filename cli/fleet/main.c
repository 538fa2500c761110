// SPDX-License-Identifier: Apache-2.0
/* numastow-fleet: numastow's subcommands that speak gRPC. Started by numastow(1). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/grpc.h>
#include <openssl/crypto.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/fleet/fleet.h"
#include "cli/options.h"

#define AT(field) offsetof(struct fleet_options, field)
#define S	  STOW_SECOND

#define HELP_COLUMN 23		 /* as in CLI_STYLE_HELP */
#define WATCH	    "--watch=2s" /* of --watch without an argument, as cli_take_watch() */

static const struct fleet_command *const commands[] = {
	&fleet_nodes,	     &fleet_node,	&fleet_place,  &fleet_release,
	&fleet_reservations, &fleet_explain,	&fleet_fence,  &fleet_unfence,
	&fleet_watch,	     &fleet_containers, &fleet_repin,  &fleet_drain,
	&fleet_drains,	     &fleet_cancel,	&fleet_ledger, &fleet_why,
};

/* Keys of client.yaml, and flags of every command. */
static const struct stow_setting common[] = {
	{ "scheduler", STOW_SETTING_LIST, AT(schedulers), 0, 0, NULL, "ADDRESS,...",
	  "schedulers; the command finds the active one (127.0.0.1:7200)" },
	{ "ca", STOW_SETTING_TEXT, AT(ca), 0, 0, NULL, "FILE", "CA certificates, PEM" },
	{ "certificate", STOW_SETTING_TEXT, AT(certificate), 0, 0, NULL, "FILE",
	  "your certificate, PEM" },
	{ "key", STOW_SETTING_TEXT, AT(key), 0, 0, NULL, "FILE", "its private key, PEM" },
	{ "server-name", STOW_SETTING_TEXT, AT(server_name), 0, 0, NULL, "NAME",
	  "name in a scheduler's certificate (its address)" },
	{ "agent", STOW_SETTING_TEXT, AT(agent), 0, 0, NULL, "PATH",
	  "socket of this machine's agent (/run/numastow/agent.sock)" },
	{ "timeout", STOW_SETTING_DURATION, AT(timeout), S / 10, 3600 * S, NULL, "TIME",
	  "how long to wait for an answer (10s)" },
	{ 0 },
};

/* Options of commands that print a table. */
static const struct stow_setting table_settings[] = {
	{ "output", STOW_SETTING_TEXT, AT(style.columns), 0, 0, NULL, "LIST", NULL },
	{ "output-all", STOW_SETTING_SWITCH, AT(style.all), 0, 0, NULL, NULL, NULL },
	{ "noheadings", STOW_SETTING_SWITCH, AT(style.noheadings), 0, 0, NULL, NULL, NULL },
	{ "pairs", STOW_SETTING_SWITCH, AT(style.pairs), 0, 0, NULL, NULL, NULL },
	{ "raw", STOW_SETTING_SWITCH, AT(style.raw), 0, 0, NULL, NULL, NULL },
	{ "bytes", STOW_SETTING_SWITCH, AT(style.bytes), 0, 0, NULL, NULL, NULL },
	{ 0 },
};

/* Options of commands that only read. */
static const struct stow_setting read_settings[] = {
	{ "watch", STOW_SETTING_DURATION, AT(watch), S / 10, 0, NULL, NULL, NULL },
	{ "quiet", STOW_SETTING_SWITCH, AT(quiet), 0, 0, NULL, NULL, NULL },
	{ 0 },
};

/* Letters of options, as in the other subcommands. */
static const struct {
	char letter;
	const char *option;
	bool argument;
} letters[] = { { 'h', "--help", false },  { 'J', "--json", false },
		{ 'o', "--output", true }, { 'n', "--noheadings", false },
		{ 'P', "--pairs", false }, { 'r', "--raw", false },
		{ 'b', "--bytes", false }, { 'w', "--watch", true },
		{ 'q', "--quiet", false } };

enum { HELP, JSON };
static const char *const own[] = { "help", "json", NULL };

static const struct fleet_command *find_command(const char *name)
{
	for (size_t i = 0; i < STOW_ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* A command's own option hides a common one: the --timeout of drain is not that of a call. */
static bool is_own(const struct fleet_command *command, const char *name)
{
	for (const struct stow_setting *s = command->settings; s && s->name; s++)
		if (strcmp(s->name, name) == 0)
			return true;
	return false;
}

static size_t join_common(const struct fleet_command *command, struct stow_setting *all)
{
	size_t n = 0;

	for (const struct stow_setting *s = common; s->name; s++)
		if (!is_own(command, s->name))
			all[n++] = *s;
	all[n] = (struct stow_setting){ 0 };
	return n;
}

/* Join the common settings and those of the command to one table. */
static size_t join(const struct fleet_command *command, struct stow_setting *all, size_t max)
{
	size_t n = join_common(command, all);

	for (const struct stow_setting *s = command->settings; s && s->name && n < max - 1; s++)
		all[n++] = *s;
	for (const struct stow_setting *s = table_settings;
	     command->table && s->name && n < max - 1; s++)
		all[n++] = *s;
	for (const struct stow_setting *s = read_settings; command->reads && s->name && n < max - 1;
	     s++)
		all[n++] = *s;
	all[n] = (struct stow_setting){ 0 };
	return n;
}

static void print_help(const struct fleet_command *command)
{
	struct stow_setting theirs[STOW_ARRAY_SIZE(common)];

	(void)join_common(command, theirs);
	printf("Usage: numastow %s%s%s\n\n%s.\n\nOptions:\n", command->name,
	       *command->arguments ? " " : "", command->arguments, command->summary);
	if (command->settings)
		stow_settings_help(command->settings, HELP_COLUMN, stdout);
	printf("  -J, --json           print JSON\n%s%s  -h, --help           print this text\n"
	       "\nThese are keys of " FLEET_CONFIG_PATH " too:\n",
	       command->table ? CLI_STYLE_HELP CLI_BYTES_HELP : "",
	       command->reads ? CLI_READ_HELP : "");
	stow_settings_help(theirs, HELP_COLUMN, stdout);
	printf("      --config FILE    read this file instead\n");
	if (command->columns)
		cli_grid_help(command->columns, stdout);
}

static bool is_flag(int argc, char **argv, const char *flag)
{
	size_t len = strlen(flag);

	for (int i = 0; i < argc; i++)
		if (strncmp(argv[i], flag, len) == 0 && (argv[i][len] == '=' || !argv[i][len]))
			return true;
	return false;
}

static int refuse_empty(int argc, char **argv, struct stow_err *err)
{
	for (int i = 1; i < argc; i++)
		if (!*argv[i] && argv[i - 1][0] == '-')
			return stow_err_set(err, EINVAL, "%.64s: its argument is empty",
					    argv[i - 1]);
		else if (!*argv[i])
			return stow_err_set(err, EINVAL, "an argument is empty");
	return 0;
}

static int read_options(const struct fleet_command *command, const struct stow_setting *all,
			struct fleet_options *options, int argc, char **argv, bool *given,
			struct stow_err *err)
{
	struct fleet_options ignored = { 0 };
	const char *path = NULL;
	struct stow_rpc_tls tls;
	int r;

	/* Parsed twice: the file has lower precedence, but only the flags tell which file to
	 * read. */
	r = stow_settings_arguments(all, &ignored, argc, argv, own, given, &path, options->words,
				    &options->n_words, err);
	stow_settings_done(all, &ignored);
	if (r == 0 && !given[HELP])
		r = refuse_empty(argc, argv, err);
	if (r < 0 || given[HELP])
		return r;
	options->path = path ? path : FLEET_CONFIG_PATH;
	r = stow_settings_load(common, options, options->path, !path, err);
	options->schedulers_in_file = options->schedulers && !is_flag(argc, argv, "--scheduler");
	options->agent_in_file = options->agent && !is_flag(argc, argv, "--agent");
	if (r == 0)
		r = stow_settings_arguments(all, options, argc, argv, own, given, &path,
					    options->words, &options->n_words, err);
	if (r < 0)
		return r;
	options->json = given[JSON];
	options->words[options->n_words] = NULL;
	if (options->last && options->n_words)
		return stow_err_set(err, EINVAL, "--last and \"%.64s\" exclude each other",
				    options->words[0]);
	if (options->n_words + options->last < command->min_words)
		return stow_err_set(err, EINVAL, "%s needs %s", command->name, command->arguments);
	if (options->n_words > command->max_words)
		return stow_err_set(err, EINVAL, "\"%.64s\": unexpected argument",
				    options->words[command->max_words]);
	tls = (struct stow_rpc_tls){ options->certificate, options->key, options->ca };
	r = stow_rpc_tls_given(&tls, err);
	return r < 0 ? r : 0;
}

struct asked {
	const struct fleet_command *command;
	const struct fleet_options *options;
};

static int run(void *data)
{
	const struct fleet_command *command = ((const struct asked *)data)->command;
	const struct fleet_options *options = ((const struct asked *)data)->options;
	enum fleet_peer peer = command->choose_peer ? command->choose_peer(options) : command->peer;
	struct fleet fleet;
	struct stow_err err = { 0 };
	int r;

	r = fleet_open(&fleet, options, peer, &err);
	if (r == 0)
		r = command->run(&fleet, &err);
	fleet_close(&fleet);
	if (r == -EINTR)
		return CLI_INTERRUPTED;
	if (r == -ENOSPC && command->places) {
		(void)cli_fail(&err);
		return CLI_NOT_FIT;
	}
	return r < 0 ? cli_fail(&err) : r;
}

/* "check-config [--config FILE]", for `numastow status`: check client.yaml. */
static int check_config(int argc, char **argv)
{
	const char *path = argc == 4 && strcmp(argv[2], "--config") == 0 ? argv[3] : NULL;
	struct fleet_options options = { 0 };
	struct stow_err err = { 0 };
	struct stow_rpc_tls tls;
	int r = stow_settings_load(common, &options, path ? path : FLEET_CONFIG_PATH, !path, &err);

	tls = (struct stow_rpc_tls){ options.certificate, options.key, options.ca };
	if (r == 0)
		r = stow_rpc_tls_given(&tls, &err);
	stow_settings_done(common, &options);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}

/* Append the options that an argument "-no" has to `list`. Return whether the next argument belongs
 * to the last of them. An unknown letter leaves the argument as it is, for the error message. */
static bool add_letters(const char **list, size_t *n, const char *argument)
{
	size_t before = *n;

	for (const char *at = argument + 1; *at; at++) {
		size_t i = 0;

		if (strcmp(at, "w") == 0) {
			list[(*n)++] = WATCH;
			return false;
		}
		while (i < STOW_ARRAY_SIZE(letters) && letters[i].letter != *at)
			i++;
		if (i == STOW_ARRAY_SIZE(letters)) {
			*n = before;
			list[(*n)++] = argument;
			return false;
		}
		list[(*n)++] = letters[i].option;
		if (!letters[i].argument)
			continue;
		if (at[1])
			list[(*n)++] = at + 1;
		return !at[1];
	}
	return false;
}

/* Return the arguments with long options instead of letters; they point into `argv`. NULL: out of
 * memory. */
static const char **spell_out(int argc, char **argv, int *ret_n)
{
	size_t most = 1, n = 0;
	bool only_words = false, belongs = false;
	const char **list;

	for (int i = 0; i < argc; i++)
		most += strlen(argv[i]) + 1;
	list = calloc(most, sizeof(*list));
	for (int i = 0; list && i < argc; i++) {
		const char *argument = argv[i];

		only_words = only_words || (!belongs && strcmp(argument, "--") == 0);
		if (belongs || only_words || argument[0] != '-' || !argument[1] ||
		    argument[1] == '-') {
			list[n++] = belongs || only_words || strcmp(argument, "--watch") != 0
					    ? argument
					    : WATCH;
			belongs = false;
		} else {
			belongs = add_letters(list, &n, argument);
		}
	}
	*ret_n = (int)n;
	return list;
}

int main(int argc, char **argv)
{
	const struct fleet_command *command = argc > 1 ? find_command(argv[1]) : NULL;
	int n_arguments = 0;
	_cleanup_free_ const char **arguments = spell_out(argc, argv, &n_arguments);
	_cleanup_free_ const char **words = calloc((size_t)n_arguments + 1, sizeof(*words));
	struct fleet_options options = { .timeout = 10 * S, .pods = 1, .words = words };
	struct asked asked = { command, &options };
	struct stow_setting all[64];
	bool given[STOW_ARRAY_SIZE(own)] = { false };
	struct stow_err err = { 0 };
	int r;

	if (argc > 1 && strcmp(argv[1], "check-config") == 0)
		return cli_finish(check_config(argc, argv));
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		printf("numastow-fleet %s\ngRPC core %s\nOpenSSL %s\n", STOW_VERSION,
		       grpc_version_string(), OpenSSL_version(OPENSSL_VERSION_STRING));
		return cli_finish(CLI_OK);
	}
	if (!command || !words || !arguments) {
		fprintf(stderr, "numastow-fleet is part of numastow(1), which starts it\n");
		return CLI_USAGE;
	}
	join(command, all, STOW_ARRAY_SIZE(all));
	r = read_options(command, all, &options, n_arguments - 1, (char **)(arguments + 1), given,
			 &err);
	if (given[HELP]) {
		print_help(command);
		r = CLI_OK;
	} else if (r < 0) {
		r = cli_wrong_usage(command->name, "%s", err.msg);
	} else if (options.quiet && !freopen("/dev/null", "w", stdout)) {
		stow_err_sys(&err, errno, "/dev/null");
		r = cli_fail(&err);
	} else {
		r = cli_watch(options.watch, options.json, run, &asked);
	}
	stow_settings_done(all, &options);
	return cli_finish(r);
}
