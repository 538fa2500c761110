// SPDX-License-Identifier: Apache-2.0
/*
 * The hook without root. Podman runs the machine's hooks for every user, but numastow's files are
 * writable by root only. A container without annotations starts; a container with annotations gets
 * an error.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "oci-hook/hook.h"
#include "oci-hook/input.h"
#include "oci-hook/internal.h"
#include "place/changes.h"

/* Write to the journal, too, because crun does not show a hook's standard error. */
static void audit(struct stow_root *root, const struct hook_container *container, const char *kind,
		  const char *text)
{
	const struct stow_log_field fields[] = {
		{ "NUMASTOW_ACTION", kind },
		{ "NUMASTOW_CONTAINER", container->id },
	};
	char line[512];

	snprintf(line, sizeof(line), "%s %s: %s", kind, container->id, text);
	if (root->live)
		stow_log_audit(line, fields, STOW_ARRAY_SIZE(fields));
}

/* Refuse a container that asks for something. Return 0 when it may start. */
static int check_container(struct stow_root *root, const struct hook_container *container,
			   const struct hook_call *call, struct stow_err *err)
{
	static const char annotated[] =
		"this container has " STOW_ANNOTATION_PREFIX
		" annotations, and runs without root: numastow places containers of the machine's "
		"root only";
	static const char claimed[] = "this container has a claim, and runs without root: numastow "
				      "places containers of the machine's root only";
	const char *text = call->claim ? claimed : annotated;
	bool ignore = false, placed;

	placed = call->claim || (container->annotated && !container->sandbox &&
				 hook_asks(container, NULL, &ignore));
	if (!placed || stow_changes(root, STOW_MODE_ENFORCE) == STOW_CHANGES_DISABLED)
		return 0;
	if (!ignore) {
		audit(root, container, "refused", text);
		return stow_err_set(err, EPERM, "%s", text);
	}
	audit(root, container, "unplaced", text);
	fprintf(stderr, "numastow: starts unplaced: %s\n", text);
	return 0;
}

int hook_run_rootless(struct stow_root *root, const struct hook_call *call, int in, int out,
		      struct stow_err *err)
{
	_cleanup_(hook_container_done) struct hook_container container = { 0 };
	_cleanup_(hook_input_done) struct hook_input input = { 0 };
	struct stow_err why = { 0 };
	int r;

	if (call->command == HOOK_RELEASE) /* nothing was granted */
		return 0;
	if (call->command == HOOK_PRECREATE)
		return hook_input_copy(in, out, "", 0, err);
	r = hook_input_read(in, HOOK_STATE_MAX, &input, err);
	if (r < 0)
		return r;
	r = hook_parse_state(input.text, input.len, &container, &why);
	if (r == 0)
		return check_container(root, &container, call, err);
	/* Input that cannot be parsed is accepted, unless it contains the prefix. */
	if (!call->claim &&
	    !memmem(input.text, input.len, STOW_ANNOTATION_PREFIX, strlen(STOW_ANNOTATION_PREFIX)))
		return 0;
	return stow_err_move(err, r, &why);
}
