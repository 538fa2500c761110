// SPDX-License-Identifier: Apache-2.0
#include "cli/context.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cgroup/numa_own.h"
#include "cli/cli.h"
#include "cli/container.h"

static int read_config(struct cli_context *context, bool anyway, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r;

	if (!anyway)
		return stow_config_read(context->root, &context->config, err);
	r = stow_config_read_anyway(context->root, &context->config, &why);
	if (r > 0)
		fprintf(stderr,
			"numastow: %s (nothing is placed until this is repaired; showing and "
			"undoing still work)\n",
			why.msg);
	return r < 0 ? stow_err_move(err, r, &why) : 0;
}

bool cli_ledger_hidden(struct stow_root *root)
{
	_cleanup_close_ int fd = -EBADF;

	if (geteuid() == 0)
		return false;
	fd = stow_root_openat(root, O_RDONLY, 0, NULL, "%s", STOW_LEDGER_PATH);
	return fd == -EACCES;
}

struct stow_ledger *cli_ledger_look(struct stow_root *root, const char *lacking)
{
	struct stow_ledger *ledger = NULL;
	struct stow_err why = { 0 };
	int r = stow_ledger_open(root, false, &ledger, &why);

	if (r < 0 && cli_ledger_hidden(root))
		fprintf(stderr,
			"numastow: %s: only root can read this machine's ledger; `numastow node` "
			"asks the agent\n",
			lacking);
	else if (r < 0 && r != -ENOENT)
		fprintf(stderr, "numastow: %s: %s\n", lacking, why.msg);
	return ledger;
}

static int open_all(struct cli_context *context, const char *sysroot, bool create, bool anyway,
		    struct stow_err *err)
{
	int r;

	memset(context, 0, sizeof(*context));
	r = stow_root_open(sysroot ? sysroot : "/", &context->root, err);
	if (r == 0)
		r = read_config(context, anyway, err);
	/* SQLite returns the same error for an unreadable file as for a missing one. */
	if (r == 0 && cli_ledger_hidden(context->root))
		r = stow_err_set(err, EACCES, "only root can read this machine's ledger");
	if (r == 0) {
		r = stow_ledger_open(context->root, create, &context->ledger, err);
		r = r == -ENOENT && !create ? 0 : r;
	}
	if (r == 0 && context->root->live)
		(void)stow_pidref_read(context->root, getpid(), &context->grant.self, NULL);
	if (r < 0) {
		cli_context_done(context);
		return r;
	}
	context->grant.root = context->root;
	context->grant.config = context->config;
	context->grant.ledger = context->ledger;
	return 0;
}

int cli_context_open(struct cli_context *context, const char *sysroot, bool create,
		     struct stow_err *err)
{
	return open_all(context, sysroot, create, false, err);
}

int cli_context_open_anyway(struct cli_context *context, const char *sysroot, bool create,
			    struct stow_err *err)
{
	return open_all(context, sysroot, create, true, err);
}

int cli_context_open_change(struct cli_context *context, bool create, struct stow_err *err)
{
	int r = cli_context_open_anyway(context, NULL, create, err);

	if (r == 0 && context->ledger)
		r = stow_ledger_check_namespaces(context->ledger, err);
	if (r < 0)
		cli_context_done(context);
	return r;
}

void cli_widen_mems(struct stow_root *root)
{
	struct stow_err err = { 0 };

	if (stow_own_mems_widen(root, &err) < 0)
		fprintf(stderr, "numastow: warning: %s\n", err.msg);
}

void cli_context_done(struct cli_context *context)
{
	stow_ledger_close(context->ledger);
	stow_config_free(context->config);
	stow_root_free(context->root);
	memset(context, 0, sizeof(*context));
}

/* Keep only the records of that id. Return their number. */
static size_t keep(struct stow_record **records, size_t n, const char *id)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (strcmp(records[i]->id, id) == 0)
			records[kept++] = records[i];
		else
			stow_record_free(records[i]);
	}
	return kept;
}

/* Copy the id of the container that got its grant last; NULL: there is none. */
static char *newest(struct stow_record *const *records, size_t n)
{
	const struct stow_record *last = NULL;

	for (size_t i = 0; i < n; i++)
		if (*records[i]->id && !stow_record_is_share(records[i]) &&
		    (!last || records[i]->created >= last->created))
			last = records[i];
	return last ? strdup(last->id) : NULL;
}

int cli_find_records(struct cli_context *context, const char *name, struct stow_record ***ret,
		     size_t *ret_n, struct stow_err *err)
{
	struct stow_record **records = NULL;
	_cleanup_free_ char *id = NULL;
	size_t n = 0;
	int r = 0;

	if (context->ledger)
		r = stow_ledger_records(context->ledger, NULL, &records, &n, err);
	for (size_t i = 0; r == 0 && name && !id && i < n; i++)
		if (strcmp(records[i]->id, name) == 0)
			id = strdup(name);
	if (r == 0 && name && !id)
		r = cli_container_id(context->root, name, &id, err);
	else if (r == 0 && !name)
		id = newest(records, n);
	if (r == 0)
		n = keep(records, n, id ? id : "");
	if (r == 0 && !n && name)
		r = stow_err_set(err, ENOENT, "container \"%.64s\" has no grant in the ledger",
				 name);
	else if (r == 0 && !n)
		r = stow_err_set(err, ENOENT, "no container has a grant");
	if (r < 0) {
		stow_records_free(records, n);
		return r;
	}
	*ret = records;
	*ret_n = n;
	return 0;
}

int cli_last_alone(const char *name, const char *word)
{
	if (!word)
		return -1;
	return cli_wrong_usage(name, "--last and \"%.64s\" exclude each other", word);
}

int cli_last_word(const char *name, const char *sysroot, char ***words, int *n, char **ret)
{
	_cleanup_(cli_context_done) struct cli_context context = { 0 };
	struct stow_record **records = NULL;
	struct stow_err err = { 0 };
	size_t n_records = 0;
	int r = cli_last_alone(name, **words);

	if (r >= 0)
		return r;
	r = cli_context_open_anyway(&context, sysroot, false, &err);
	if (r == 0)
		r = cli_find_records(&context, NULL, &records, &n_records, &err);
	if (r == 0 && !(*ret = strdup(records[0]->id)))
		r = stow_err_sys(&err, ENOMEM, "containers");
	stow_records_free(records, n_records);
	*words = ret;
	*n = 1;
	return r < 0 ? cli_fail(&err) : -1;
}

void cli_audit(const struct cli_context *context, const char *action, const char *container,
	       const char *text)
{
	const struct stow_log_field fields[] = {
		{ "NUMASTOW_ACTION", action },
		{ "NUMASTOW_CONTAINER", container },
	};
	char line[512];

	if (!context->root->live)
		return;
	snprintf(line, sizeof(line), "%s %s: %s", action, container ? container : "all", text);
	stow_log_audit(line, fields, STOW_ARRAY_SIZE(fields));
}
