// SPDX-License-Identifier: Apache-2.0
#include "cli/process.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/numalist.h"
#include "base/parse.h"
#include "base/text.h"

bool cli_is_pid(const char *text)
{
	uint64_t pid;

	return stow_parse_u64(text, INT_MAX, &pid, NULL) == 0;
}

int cli_process_parse(struct stow_root *root, const char *text, struct cli_process *ret,
		      struct stow_err *err)
{
	uint64_t pid = 0;

	if (stow_parse_u64(text, INT_MAX, &pid, NULL) < 0 || pid == 0)
		return stow_err_set(err, EINVAL, "\"%.64s\" is not the number of a process", text);
	return cli_process_read(root, (pid_t)pid, ret, err);
}

int cli_process_read(struct stow_root *root, pid_t pid, struct cli_process *ret,
		     struct stow_err *err)
{
	struct cli_process process = { 0 };
	int r = stow_pidref_read(root, pid, &process.ref, NULL);

	if (r == -ESRCH || r == -ENOENT)
		return cli_no_process(root, pid, err);
	r = stow_allowed_read(root, pid, &process.allowed, err);
	if (r < 0)
		return r;
	(void)stow_root_read_buf(root, process.name, sizeof(process.name), NULL, "/proc/%d/comm",
				 (int)pid);
	stow_text_clean(process.name, sizeof(process.name) - 1);
	*ret = process;
	return 0;
}

int cli_each_process(struct stow_root *root, const char *name, cli_visit_process visit, void *ctx,
		     struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = stow_root_opendir(root, err, "/proc");
	const struct dirent *e;
	char command[64];
	uint64_t pid;
	int sum = 0, r;

	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		if (stow_parse_u64(e->d_name, INT_MAX, &pid, NULL) < 0 ||
		    (name && (stow_root_read_buf(root, command, sizeof(command), NULL,
						 "/proc/%s/comm", e->d_name) < 0 ||
			      strcmp(command, name) != 0)))
			continue;
		r = visit(ctx, (pid_t)pid, err);
		if (r < 0 && r != -ESRCH)
			return r;
		sum += r > 0 ? r : 0;
	}
	return sum;
}

static int count(void *ctx, pid_t pid, struct stow_err *err)
{
	(void)ctx, (void)pid, (void)err;
	return 1;
}

int cli_no_process(struct stow_root *root, pid_t pid, struct stow_err *err)
{
	int r = cli_each_process(root, NULL, count, NULL, err);

	if (r < 0)
		return r;
	if (r == 0)
		return stow_err_set(err, ENOENT, "/proc has no processes: is it mounted?");
	return stow_err_set(err, ESRCH, "there is no process %d", (int)pid);
}

int cli_each_named(struct stow_root *root, const char *name, cli_visit_process visit, void *ctx,
		   struct stow_err *err)
{
	int r = cli_each_process(root, name, visit, ctx, err);

	return r ? r
		 : stow_err_set(
			   err, ENOENT,
			   "\"%.64s\" is neither a process's number, nor a container that this "
			   "user may see, nor the name of a process",
			   name);
}

/* Return whether a path is `above`, or below it. */
static bool is_below(const char *path, const char *above)
{
	size_t len = strlen(above);

	return len > 1 && strncmp(path, above, len) == 0 && (!path[len] || path[len] == '/');
}

int cli_process_container(struct cli_context *context, const struct cli_process *process,
			  char *ret_id, size_t size, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_record **records = NULL;
	size_t n = 0;
	int r;

	if (!context->ledger)
		return 0;
	r = stow_cgroup_of_pid(context->root, process->ref.pid, &cgroup, err);
	if (r == -ENOENT || r == -EXDEV)
		return 0; /* no cgroups, and so no containers of ours */
	if (r == 0)
		r = stow_ledger_records(context->ledger, NULL, &records, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r == 0; i++) {
		if (!is_below(cgroup->path, stow_cgroup_id_path(&records[i]->cgroup)))
			continue;
		snprintf(ret_id, size, "%s", records[i]->id);
		r = 1;
	}
	stow_records_free(records, n);
	return r;
}

void cli_nodes_with_memory(struct stow_root *root, struct stow_idset *ret)
{
	if (stow_root_read_idset(root, ret, NULL, "/sys/devices/system/node/has_memory") == 0 ||
	    stow_root_read_idset(root, ret, NULL, "/sys/devices/system/node/online") == 0)
		return;
	*ret = (struct stow_idset){ 0 };
	stow_idset_add(ret, 0); /* a kernel without NUMA */
}

bool cli_balancing(struct stow_root *root)
{
	uint64_t mode = 0;

	return stow_root_read_u64(root, &mode, NULL, "/proc/sys/kernel/numa_balancing") == 0 &&
	       mode != 0;
}

int cli_parse_ids(const char *option, const char *text, const char *what,
		  const struct stow_idset *present, struct stow_idset *ret, struct stow_err *err)
{
	struct stow_numalist list = { .what = what, .allowed = present, .present = present };
	int r = stow_numalist_parse(text, &list, ret, err);

	if (r == 0 && stow_idset_empty(ret))
		r = stow_err_set(err, EINVAL, "\"%.64s\": the list of %ss is empty", text, what);
	return r < 0 ? stow_err_wrap(err, r, "%s", option) : 0;
}
