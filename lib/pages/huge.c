// SPDX-License-Identifier: Apache-2.0
#include "pages/huge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/span.h"
#include "base/text.h"

#define STATUS_MAX 16384

void stow_huge_users_done(struct stow_huge_users *users)
{
	free(users->list);
	*users = (struct stow_huge_users){ 0 };
}

/* Find or append the entry of a process for one size and node. */
static struct stow_huge_user *entry(struct stow_huge_users *users, size_t first,
				    const struct stow_huge_user *process, uint64_t size, int node)
{
	struct stow_huge_user *u;

	for (size_t i = first; i < users->n; i++)
		if (users->list[i].size == size && users->list[i].node == node)
			return &users->list[i];
	u = STOW_APPEND(users->list, users->n);
	if (u) {
		*u = *process;
		u->size = size;
		u->node = node;
		u->pages = 0;
	}
	return u;
}

/* Add what a line of numa_maps has of hugepages to the list, whose entries of `process` begin at
 * `first`; only its pid and name are used. 0 or -ENOMEM. */
static int add_line(struct stow_huge_users *users, size_t first,
		    const struct stow_huge_user *process, struct stow_span line)
{
	struct stow_span rest = line, word;
	uint64_t kib = 0, pages;
	bool huge = false;
	int node;

	while (stow_span_word(&rest, &word)) {
		huge |= stow_span_is(word, "huge");
		(void)stow_span_pair(word, "kernelpagesize_kB=", &kib);
	}
	if (!huge || !kib || kib > UINT64_MAX >> 10)
		return 0;
	for (rest = line; rest.p < rest.end;) {
		struct stow_huge_user *u;

		if (!stow_span_node_pair(&rest, &node, &pages)) {
			(void)stow_span_word(&rest, &word);
			continue;
		}
		u = entry(users, first, process, kib << 10, node);
		if (!u)
			return -ENOMEM;
		u->pages += pages;
	}
	return 0;
}

static int read_maps(struct stow_root *root, struct stow_huge_users *users,
		     const struct stow_huge_user *process, uint64_t bytes, struct stow_err *err)
{
	_cleanup_fclose_ FILE *file = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0, first = users->n;
	int fd = stow_root_openat(root, O_RDONLY, 0, NULL, "/proc/%d/numa_maps", (int)process->pid);

	if (fd == -EACCES || fd == -EPERM) {
		users->hidden++;
		users->bytes += bytes;
		return 0;
	}
	if (fd < 0)
		return 0;
	file = fdopen(fd, "re");
	if (!file) {
		close(fd);
		return stow_err_sys(err, ENOMEM, "numa_maps");
	}
	while (getline(&line, &size, file) > 0)
		if (add_line(users, first, process,
			     (struct stow_span){ line, line + strcspn(line, "\n") }) < 0)
			return stow_err_sys(err, ENOMEM, "numa_maps");
	return 0;
}

static int read_process(struct stow_root *root, struct stow_huge_users *users, pid_t pid,
			struct stow_err *err)
{
	struct stow_huge_user process = { .pid = pid };
	char status[STATUS_MAX];
	uint64_t bytes;

	if (stow_root_read_buf(root, status, sizeof(status), NULL, "/proc/%d/status", (int)pid) <
		    0 ||
	    !stow_parse_kib(status, "HugetlbPages", &bytes) || !bytes)
		return 0;
	stow_text_process_name(status, process.name, sizeof(process.name));
	if (!*process.name)
		snprintf(process.name, sizeof(process.name), "?");
	return read_maps(root, users, &process, bytes, err);
}

static int by_pid(const void *a, const void *b)
{
	const struct stow_huge_user *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	if (x->size != y->size)
		return x->size < y->size ? -1 : 1;
	return x->node - y->node;
}

int stow_huge_users_read(struct stow_root *root, struct stow_huge_users *ret, struct stow_err *err)
{
	struct stow_huge_users users = { 0 };
	_cleanup_closedir_ DIR *dir = stow_root_opendir(root, NULL, "/proc");
	struct dirent *e;
	size_t seen = 0;
	int r = 0;

	*ret = users;
	if (!dir)
		return 0;
	while (r == 0 && seen < STOW_HUGE_PROCESSES && (e = readdir(dir))) {
		uint64_t pid;

		if (stow_parse_u64(e->d_name, INT32_MAX, &pid, NULL) < 0 || !pid)
			continue;
		seen++;
		r = read_process(root, &users, (pid_t)pid, err);
	}
	if (r < 0) {
		stow_huge_users_done(&users);
		return r;
	}
	if (users.n)
		qsort(users.list, users.n, sizeof(*users.list), by_pid);
	*ret = users;
	return 0;
}
