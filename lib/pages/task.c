// SPDX-License-Identifier: Apache-2.0
#include "pages/task.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"
#include "cgroup/allowed.h"

/* --- numa_maps ------------------------------------------------------------ */

/* Return whether a word behind the address in a line of numa_maps is no part of the policy. */
static bool is_mark(const char *word, size_t len)
{
	static const char *const marks[] = { "heap", "stack", "huge" };

	if (memchr(word, '=', len) && strncmp(word, "bind=", 5) != 0 &&
	    strncmp(word, "prefer=", 7) != 0 && strncmp(word, "interleave=", 11) != 0)
		return true;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(marks); i++)
		if (strlen(marks[i]) == len && strncmp(word, marks[i], len) == 0)
			return true;
	return false;
}

const char *stow_task_policy_of_line(const char *line, char *buf, size_t size)
{
	const char *from = line + strspn(line, "0123456789abcdef"), *end;

	buf[0] = '\0';
	if (from == line || *from != ' ')
		return buf;
	end = ++from;
	/* A policy has one word, or two: "weighted interleave:0", "prefer (many):0". */
	for (const char *word = from; *word && *word != '\n';) {
		size_t len = strcspn(word, " \n");

		if (is_mark(word, len))
			break;
		end = word + len;
		word = end + (*end == ' ');
	}
	snprintf(buf, size, "%.*s", (int)(end - from), from);
	stow_text_ascii(buf);
	return buf;
}

/* How many mappings have each policy. */
struct votes {
	struct {
		char policy[STOW_TASK_POLICY_MAX];
		size_t n;
	} list[8];
	size_t n;
};

static void vote(struct votes *votes, const char *policy)
{
	for (size_t i = 0; i < votes->n; i++)
		if (strcmp(votes->list[i].policy, policy) == 0) {
			votes->list[i].n++;
			return;
		}
	if (votes->n == STOW_ARRAY_SIZE(votes->list))
		return;
	snprintf(votes->list[votes->n].policy, sizeof(votes->list[0].policy), "%s", policy);
	votes->list[votes->n++].n = 1;
}

static bool is_stack(const char *line)
{
	const char *mark = strstr(line, " stack");

	return mark && (mark[6] == ' ' || mark[6] == '\0');
}

/* Add all lines of a process's numa_maps. */
static void add_pages(const char *text, struct stow_task_pages *ret)
{
	struct stow_process_pages pages = { 0 };
	int r = 0;

	for (const char *line = text; r != -ENOMEM && *line;) {
		size_t len = strcspn(line, "\n");

		r = stow_process_pages_add(line, len, &pages);
		pages.other_lines += r == -EINVAL;
		line += len + (line[len] == '\n');
	}
	if (r == -ENOMEM) {
		stow_process_pages_done(&pages);
		return;
	}
	ret->pages = pages;
	ret->known = true;
}

/* `pages` may be NULL. */
static void read_policy(struct stow_root *root, pid_t pid, struct stow_task *task,
			struct stow_task_pages *pages)
{
	_cleanup_free_ char *text = NULL;
	struct votes votes = { 0 };
	char policy[STOW_TASK_POLICY_MAX], *save = NULL;
	size_t best = 0;

	if (stow_root_read(root, STOW_ROOT_READ_MAX, &text, NULL, NULL,
			   "/proc/%d/task/%d/numa_maps", (int)pid, (int)task->tid) < 0)
		return;
	if (pages)
		add_pages(text, pages);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		stow_task_policy_of_line(line, policy, sizeof(policy));
		if (!policy[0])
			continue;
		if (is_stack(line)) {
			memcpy(task->policy, policy, sizeof(policy));
			task->from = STOW_POLICY_STACK;
			return;
		}
		vote(&votes, policy);
	}
	for (size_t i = 1; i < votes.n; i++)
		if (votes.list[i].n > votes.list[best].n)
			best = i;
	if (!votes.n)
		return;
	memcpy(task->policy, votes.list[best].policy, sizeof(task->policy));
	task->from = STOW_POLICY_MOST;
}

/* --- the other files ------------------------------------------------------ */

static bool read_status(struct stow_root *root, pid_t pid, struct stow_task *task)
{
	_cleanup_free_ char *text = NULL;
	struct stow_allowed allowed;

	if (stow_root_read(root, STOW_ROOT_READ_MAX, &text, NULL, NULL, "/proc/%d/task/%d/status",
			   (int)pid, (int)task->tid) < 0)
		return false;
	stow_text_process_name(text, task->name, sizeof(task->name));
	(void)stow_allowed_parse(text, &allowed, NULL);
	task->cpus = allowed.cpus;
	task->mems = allowed.mems;
	task->known = !stow_idset_empty(&task->cpus);
	return true;
}

/* The 39th field of stat; the second may have blanks, and ends in the last ")". */
static void read_cpu(struct stow_root *root, pid_t pid, struct stow_task *task)
{
	char text[4096], *at, number[16];
	uint64_t cpu;

	if (stow_root_read_buf(root, text, sizeof(text), NULL, "/proc/%d/task/%d/stat", (int)pid,
			       (int)task->tid) < 0)
		return;
	at = strrchr(text, ')');
	for (int field = 2; at && field < 39; field++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	if (!at)
		return;
	snprintf(number, sizeof(number), "%.*s", (int)strcspn(at, " "), at);
	if (stow_parse_u64(number, STOW_IDSET_MAX - 1, &cpu, NULL) == 0)
		task->cpu = (int)cpu;
}

static void read_preferred(struct stow_root *root, pid_t pid, struct stow_task *task)
{
	_cleanup_free_ char *text = NULL;
	char value[64];
	uint64_t node;

	if (strncmp(task->policy, "prefer:", 7) == 0 &&
	    stow_parse_u64(task->policy + 7, STOW_IDSET_MAX - 1, &node, NULL) == 0) {
		task->preferred = (int)node;
		task->preferred_by_policy = true;
		return;
	}
	if (stow_root_read(root, STOW_ROOT_READ_MAX, &text, NULL, NULL, "/proc/%d/task/%d/sched",
			   (int)pid, (int)task->tid) < 0 ||
	    !stow_text_field(text, "numa_preferred_nid", value, sizeof(value)))
		return;
	/* "-1" is none, and no number here. */
	if (stow_parse_u64(value, STOW_IDSET_MAX - 1, &node, NULL) == 0)
		task->preferred = (int)node;
}

/* Read one thread; what cannot be read is unknown. False: it has ended. */
static bool read_task(struct stow_root *root, pid_t pid, pid_t tid, struct stow_task *ret,
		      struct stow_task_pages *ret_pages)
{
	*ret = (struct stow_task){ .tid = tid, .cpu = -1, .preferred = -1 };
	if (!read_status(root, pid, ret))
		return false;
	read_cpu(root, pid, ret);
	read_policy(root, pid, ret, ret_pages);
	read_preferred(root, pid, ret);
	return true;
}

static int by_tid(const void *a, const void *b)
{
	const struct stow_task *x = a, *y = b;

	return (x->tid > y->tid) - (x->tid < y->tid);
}

int stow_tasks_read(struct stow_root *root, pid_t pid, struct stow_task **ret, size_t *ret_n,
		    bool *ret_cut, struct stow_task_pages *ret_pages, struct stow_err *err)
{
	_cleanup_free_ struct stow_task *list = NULL;
	_cleanup_closedir_ DIR *d = NULL;
	const struct dirent *e;
	size_t n = 0;
	uint64_t tid;

	*ret_cut = false;
	if (ret_pages)
		*ret_pages = (struct stow_task_pages){ 0 };
	d = stow_root_opendir(root, NULL, "/proc/%d/task", (int)pid);
	if (!d)
		return stow_err_set(err, ESRCH, "there is no process %d", (int)pid);
	while ((e = readdir(d))) {
		struct stow_task task, *added;

		if (stow_parse_u64(e->d_name, INT32_MAX, &tid, NULL) < 0)
			continue;
		*ret_cut = n == STOW_TASKS_MAX;
		if (*ret_cut)
			break;
		if (!read_task(root, pid, (pid_t)tid, &task, (pid_t)tid == pid ? ret_pages : NULL))
			continue;
		added = STOW_APPEND(list, n);
		if (!added)
			return stow_err_sys(err, ENOMEM, "process %d", (int)pid);
		*added = task;
	}
	if (!n)
		return stow_err_set(err, ESRCH, "there is no process %d", (int)pid);
	qsort(list, n, sizeof(*list), by_tid);
	*ret = STOW_TAKE_PTR(list);
	*ret_n = n;
	return 0;
}
