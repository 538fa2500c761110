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
#include "base/idset.h"
#include "base/parse.h"
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

/* Parse "N3=120". */
static bool node_word(const char *word, size_t len, int *ret_node, uint64_t *ret_pages)
{
	const char *equals = memchr(word, '=', len);
	char number[24];
	uint64_t node;
	size_t n;

	if (word[0] != 'N' || !equals || equals - word < 2 || equals - word > 8)
		return false;
	n = (size_t)(equals - word) - 1;
	memcpy(number, word + 1, n);
	number[n] = '\0';
	if (stow_parse_u64(number, STOW_IDSET_MAX - 1, &node, NULL) < 0)
		return false;
	n = len - (size_t)(equals + 1 - word);
	if (!n || n >= sizeof(number))
		return false;
	memcpy(number, equals + 1, n);
	number[n] = '\0';
	*ret_node = (int)node;
	return stow_parse_u64(number, UINT64_MAX, ret_pages, NULL) == 0;
}

/* Return the word of the line that begins with `key`, behind it, or NULL. */
static const char *find_word(const char *line, const char *key, size_t *ret_len)
{
	size_t key_len = strlen(key);

	for (const char *p = line; *p;) {
		size_t len;

		p += strspn(p, " \n");
		len = strcspn(p, " \n");
		if (len >= key_len && strncmp(p, key, key_len) == 0) {
			*ret_len = len - key_len;
			return p + key_len;
		}
		p += len;
	}
	return NULL;
}

/* Add what a line of numa_maps has of hugepages to the list, whose entries of `process` begin at
 * `first`; only its pid and name are used. 0 or -ENOMEM. */
static int add_line(struct stow_huge_users *users, size_t first,
		    const struct stow_huge_user *process, const char *line)
{
	const char *size_word;
	char digits[24];
	uint64_t kib;
	size_t len;

	if (!find_word(line, "huge", &len) || len)
		return 0;
	size_word = find_word(line, "kernelpagesize_kB=", &len);
	if (!size_word || !len || len >= sizeof(digits))
		return 0;
	memcpy(digits, size_word, len);
	digits[len] = '\0';
	if (stow_parse_u64(digits, UINT64_MAX >> 10, &kib, NULL) < 0 || !kib)
		return 0;
	for (const char *p = line; *p; p += len) {
		struct stow_huge_user *u;
		uint64_t pages;
		int node;

		p += strspn(p, " \n");
		len = strcspn(p, " \n");
		if (!len || !node_word(p, len, &node, &pages))
			continue;
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
		if (add_line(users, first, process, line) < 0)
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
	if (!stow_text_field(status, "Name", process.name, sizeof(process.name)))
		snprintf(process.name, sizeof(process.name), "?");
	stow_text_clean(process.name, sizeof(process.name) - 1);
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
