// SPDX-License-Identifier: Apache-2.0
#include "grant/applied.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "ledger/ledger.h"

#define TEXT_MAX (3 * STOW_IDSET_MAX * 5 + 256) /* three lists of single numbers, at worst */

int stow_applied_read(struct stow_root *root, struct stow_applied *ret, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	struct stow_applied a = { 0 };
	char *save = NULL;
	bool bad = false;
	int r;

	r = stow_root_read(root, TEXT_MAX, &text, NULL, err, "%s", STOW_APPLIED_PATH);
	if (r == -ENOENT) {
		*ret = a;
		return 0;
	}
	if (r < 0 && r != -EINVAL && r != -E2BIG)
		return r;
	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, "online ", 7) == 0) {
			a.known = true;
			bad |= stow_idset_parse(line + 7, &a.online, NULL) < 0;
		} else if (strncmp(line, "exclusive ", 10) == 0) {
			bad |= stow_idset_parse(line + 10, &a.exclusive, NULL) < 0;
		} else if (strncmp(line, "explained ", 10) == 0) {
			bad |= stow_idset_parse(line + 10, &a.explained, NULL) < 0;
		} else if (strncmp(line, "came ", 5) == 0) {
			bad |= stow_parse_u64(line + 5, UINT64_MAX, &a.came, NULL) < 0;
		} else if (strncmp(line, "reserved ", 9) == 0) {
			snprintf(a.reserved, sizeof(a.reserved), "%s", line + 9);
		} else {
			a.busy |= strcmp(line, "busy") == 0;
		}
	}
	if (bad || !a.known) {
		a = (struct stow_applied){ .busy = true };
		memset(&a.explained, 0xff, sizeof(a.explained));
	}
	stow_idset_or(&a.explained, &a.exclusive);
	*ret = a;
	return 0;
}

static int exclusive_of_ledger(struct stow_root *root, struct stow_idset *ret, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	int r = stow_ledger_open(root, false, &ledger, err);

	return r < 0 ? r : stow_ledger_exclusive(ledger, ret, err);
}

int stow_applied_exclusive(struct stow_root *root, struct stow_idset *ret, struct stow_err *err)
{
	struct stow_applied last;
	struct stow_idset set = { 0 };
	int r;

	r = stow_root_read_idset(root, &set, err, "%s", STOW_EXCLUSIVE_PATH);
	/* An empty list is never published. */
	if (r == -EINVAL || r == -E2BIG || (r == 0 && stow_idset_empty(&set))) {
		r = stow_applied_read(root, &last, err);
		if (r == 0 && last.known)
			set = last.exclusive;
		else if (r == 0)
			r = exclusive_of_ledger(root, &set, err);
	}
	if (r < 0 && r != -ENOENT)
		return r;
	*ret = set;
	return 0;
}

bool stow_applied_is(const struct stow_applied *applied, const struct stow_cpu_view *view)
{
	return applied->known && !applied->busy && view->came <= applied->came &&
	       stow_idset_equal(&applied->exclusive, &view->exclusive) &&
	       stow_idset_equal(&applied->online, &view->online) &&
	       strcmp(applied->reserved, view->reserved) == 0;
}

static int write_applied(struct stow_root *root, const struct stow_applied *a, struct stow_err *err)
{
	_cleanup_free_ char *online = stow_idset_to_list(&a->online),
			    *exclusive = stow_idset_to_list(&a->exclusive),
			    *explained = stow_idset_to_list(&a->explained), *text = NULL;

	if (!online || !exclusive || !explained ||
	    asprintf(&text,
		     "online %s\ncame %" PRIu64 "\nexclusive %s\nexplained %s\nreserved %s\n%s",
		     online, a->came, exclusive, explained, a->reserved,
		     a->busy ? "busy\n" : "") < 0) {
		text = NULL;
		return stow_err_sys(err, ENOMEM, "%s", STOW_APPLIED_PATH);
	}
	return stow_root_replace(root, STOW_APPLIED_PATH, text, 0600, err);
}

int stow_applied_begin(struct stow_root *root, const struct stow_applied *before,
		       const struct stow_cpu_view *view, struct stow_err *err)
{
	struct stow_applied a = { .busy = true,
				  .online = view->online,
				  .came = before->came,
				  .exclusive = view->exclusive };

	if (stow_applied_is(before, view))
		return 0;
	a.explained = before->explained;
	memcpy(a.reserved, before->reserved, sizeof(a.reserved));
	if (before->known)
		stow_idset_and(&a.online, &before->online);
	return write_applied(root, &a, err);
}

int stow_applied_end(struct stow_root *root, const struct stow_applied *before,
		     const struct stow_cpu_view *view, const struct stow_idset *explained,
		     struct stow_err *err)
{
	struct stow_applied a = { .online = view->online,
				  .came = view->came,
				  .exclusive = view->exclusive };

	memcpy(a.reserved, view->reserved, sizeof(a.reserved));
	a.explained = *explained;
	stow_idset_or(&a.explained, &view->exclusive);
	if (stow_applied_is(before, view) && stow_idset_equal(&before->explained, &a.explained))
		return 0;
	return write_applied(root, &a, err);
}
