// SPDX-License-Identifier: Apache-2.0
#include "cgroup/allowed.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Parse the list in the line that begins with `tag`. The line is cut off in `status` meanwhile. */
static int read_line(char *status, const char *tag, struct stow_idset *ret, struct stow_err *err)
{
	char *line = strstr(status, tag), *end, cut;
	int r;

	if (!line)
		return stow_err_set(err, EINVAL, "there is no line %s", tag + 1);
	line += strlen(tag);
	end = line + strcspn(line, "\n");
	cut = *end;
	*end = '\0';
	r = stow_idset_parse(line, ret, err);
	*end = cut;
	return r;
}

int stow_allowed_parse(char *status, struct stow_allowed *ret, struct stow_err *err)
{
	struct stow_first first = { .err = err };

	*ret = (struct stow_allowed){ 0 };
	stow_first_note(&first, read_line(status, "\nCpus_allowed_list:", &ret->cpus, first.err));
	stow_first_note(&first, read_line(status, "\nMems_allowed_list:", &ret->mems, first.err));
	return first.code;
}

int stow_allowed_read(struct stow_root *root, pid_t pid, struct stow_allowed *ret,
		      struct stow_err *err)
{
	struct stow_allowed allowed = { 0 };
	_cleanup_free_ char *status = NULL;
	struct stow_err why = { 0 };
	char name[16] = "self";
	int r;

	if (pid)
		snprintf(name, sizeof(name), "%d", (int)pid);
	r = stow_root_read(root, STOW_ROOT_READ_MAX, &status, NULL, &why, "/proc/%s/status", name);
	if (r == -ENOENT || r == -ESRCH)
		return stow_err_set(err, ESRCH, "there is no process %s", name);
	if (r < 0)
		return stow_err_move(err, r, &why);
	r = stow_allowed_parse(status, &allowed, &why);
	if (r < 0) {
		(void)stow_err_move(err, r, &why);
		return stow_err_wrap(err, r, "/proc/%s/status", name);
	}
	*ret = allowed;
	return 0;
}
