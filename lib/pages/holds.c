// SPDX-License-Identifier: Apache-2.0
#include "pages/holds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define FILES_MAX 4096 /* open files to look at */
#define PIPES_MAX 64

struct pipes {
	struct {
		char name[32]; /* "pipe:[1234]" */
		bool reads, writes;
	} list[PIPES_MAX];
	size_t n;
};

/* Record which end of a pipe a descriptor is, from "flags: 0100001" in its fdinfo (octal). */
static bool note_pipe(struct stow_root *root, pid_t pid, const char *fd, const char *name,
		      struct pipes *pipes)
{
	char text[256];
	const char *flags;
	size_t i = 0;
	char access;

	if (stow_root_read_buf(root, text, sizeof(text), NULL, "/proc/%d/fdinfo/%s", (int)pid, fd) <
	    0)
		return false;
	flags = strstr(text, "flags:");
	if (!flags)
		return false;
	flags += strlen("flags:");
	flags += strspn(flags, " \t");
	flags += strspn(flags, "01234567");
	access = flags[-1];
	while (i < pipes->n && strcmp(pipes->list[i].name, name) != 0)
		i++;
	if (i == PIPES_MAX)
		return false;
	if (i == pipes->n) {
		snprintf(pipes->list[i].name, sizeof(pipes->list[i].name), "%s", name);
		pipes->list[i].reads = pipes->list[i].writes = false;
		pipes->n++;
	}
	if (access < '0' || access > '7')
		return false;
	/* O_ACCMODE: 0 reads, 1 writes, 2 both */
	pipes->list[i].reads |= (access & 3) != O_WRONLY;
	pipes->list[i].writes |= (access & 3) != O_RDONLY;
	return pipes->list[i].reads && pipes->list[i].writes;
}

static void look_at_files(struct stow_root *root, pid_t pid, struct stow_holds *holds)
{
	_cleanup_closedir_ DIR *d = stow_root_opendir(root, NULL, "/proc/%d/fd", (int)pid);
	struct pipes pipes = { .n = 0 };
	const struct dirent *e;
	char name[256];

	for (int i = 0; d && i < FILES_MAX && (e = readdir(d)); i++) {
		if (e->d_name[0] == '.' ||
		    stow_root_readlink(root, name, sizeof(name), NULL, "/proc/%d/fd/%s", (int)pid,
				       e->d_name) < 0)
			continue;
		if (strncmp(name, "/dev/vfio/", 10) == 0)
			holds->vfio = true;
		else if (strcmp(name, "anon_inode:[io_uring]") == 0)
			holds->io_uring = true;
		else if (strncmp(name, "/dev/infiniband/", 16) == 0 || strstr(name, "[uverbs") ||
			 strstr(name, "[infinibandevent]"))
			holds->rdma = true;
		else if (strncmp(name, "pipe:", 5) == 0 && !holds->pipe)
			holds->pipe = note_pipe(root, pid, e->d_name, name, &pipes);
	}
}

void stow_holds_read(struct stow_root *root, pid_t pid, struct stow_holds *ret)
{
	char text[8192];

	*ret = (struct stow_holds){ 0 };
	if (stow_root_read_buf(root, text, sizeof(text), NULL, "/proc/%d/status", (int)pid) < 0)
		return;
	(void)stow_parse_kib(text, "VmPin", &ret->pinned);
	(void)stow_parse_kib(text, "VmLck", &ret->locked);
	look_at_files(root, pid, ret);
}

const char *stow_holds_format(const struct stow_holds *holds, char *buf, size_t size)
{
	const char *const names[] = { holds->vfio ? "vfio" : NULL,
				      holds->io_uring ? "io_uring" : NULL,
				      holds->rdma ? "RDMA" : NULL };
	char pinned[32] = "", locked[32] = "", open[48] = "";
	bool both = holds->pinned && holds->locked, amount = holds->pinned || holds->locked;

	for (size_t i = 0, used = 0; i < STOW_ARRAY_SIZE(names); i++)
		if (names[i])
			used += (size_t)snprintf(open + used, sizeof(open) - used, "%s%s",
						 used ? ", " : "", names[i]);
	if (holds->pinned)
		stow_format_size(holds->pinned, pinned, sizeof(pinned));
	if (holds->locked)
		stow_format_size(holds->locked, locked, sizeof(locked));
	snprintf(buf, size, "%s%s%s%s%s%s%s%s", pinned, holds->pinned ? " pinned" : "",
		 both ? ", " : "", locked, holds->locked ? " locked" : "",
		 open[0] && amount ? " (" : "", open,
		 !open[0] ? ""
		 : amount ? ")"
			  : " open");
	return buf;
}

const char *stow_process_holds(struct stow_root *root, pid_t pid, char *buf, size_t size)
{
	struct stow_holds holds;

	stow_holds_read(root, pid, &holds);
	return stow_holds_format(&holds, buf, size);
}
