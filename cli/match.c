// SPDX-License-Identifier: Apache-2.0
#include "cli/match.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static bool is_named(const char *name, const char *text)
{
	const char *last = strrchr(name, '/');

	return strcmp(name, text) == 0 || (last && strcmp(last + 1, text) == 0);
}

void cli_match_look(struct cli_match *match, const char *id, const char *name,
		    const void *container)
{
	if (strcmp(id, match->text) == 0) {
		match->whole = container;
	} else if (name && is_named(name, match->text)) {
		match->named = container;
		match->n_named++;
	} else if (strncmp(id, match->text, strlen(match->text)) == 0) {
		match->prefixed = container;
		match->n_prefixed++;
	}
}

const void *cli_match_end(const struct cli_match *match, struct stow_err *err)
{
	const void *found = match->n_named ? match->named : match->prefixed;

	if (match->whole)
		return match->whole;
	if (match->n_named > 1 || (!match->n_named && match->n_prefixed > 1)) {
		stow_err_set(err, ENOTUNIQ,
			     "\"%.64s\" is the name, or the beginning of the id, of several "
			     "containers",
			     match->text);
		return NULL;
	}
	if (!found)
		stow_err_set(err, ENOENT, "there is no container \"%.64s\"", match->text);
	return found;
}
