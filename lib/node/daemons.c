// SPDX-License-Identifier: Apache-2.0
#include "node/daemons.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/idset.h"
#include "base/parse.h"
#include "base/span.h"

#define KTHREADD     2		       /* the parent of all kernel threads */
#define THREADS_MAX  ((size_t)1 << 20) /* bytes of the list of them */
#define BEFORE_UTIME 10		       /* words between the state and the user's time */

bool stow_process_stat_parse(const char *text, char *ret_state, uint64_t *ret_ticks)
{
	const char *p = strrchr(text, ')');
	struct stow_span line, word;
	uint64_t user, system;

	if (!p)
		return false;
	line = (struct stow_span){ p + 1, p + 1 + strlen(p + 1) };
	if (!stow_span_word(&line, &word) || word.end - word.p != 1 || *word.p < 'A' ||
	    *word.p > 'z')
		return false;
	*ret_state = *word.p;
	for (int i = 0; i < BEFORE_UTIME; i++)
		if (!stow_span_word(&line, &word))
			return false;
	if (stow_span_number(&line, &user) < 0 || stow_span_number(&line, &system) < 0)
		return false;
	return !__builtin_add_overflow(user, system, ret_ticks);
}

/* Parse "kswapd12". */
static bool is_daemon(const char *name, struct stow_node_daemon *ret)
{
	uint64_t node;

	ret->compacts = strncmp(name, "kcompactd", 9) == 0;
	if (!ret->compacts && strncmp(name, "kswapd", 6) != 0)
		return false;
	if (stow_parse_u64(name + (ret->compacts ? 9 : 6), STOW_IDSET_MAX - 1, &node, NULL) < 0)
		return false;
	ret->node = (int)node;
	return true;
}

static void read_stat(struct stow_root *root, struct stow_node_daemon *daemon)
{
	uint64_t ticks, hertz = (uint64_t)sysconf(_SC_CLK_TCK);
	char text[1024];

	daemon->state = '?';
	daemon->cpu_ns = UINT64_MAX;
	if (stow_root_read_buf(root, text, sizeof(text), NULL, "/proc/%d/stat", (int)daemon->pid) <
		    0 ||
	    !stow_process_stat_parse(text, &daemon->state, &ticks))
		return;
	if (!hertz || __builtin_mul_overflow(ticks, STOW_SECOND / hertz, &daemon->cpu_ns))
		daemon->cpu_ns = UINT64_MAX;
}

int stow_node_daemons(struct stow_root *root, const struct stow_idset *nodes,
		      struct stow_node_daemon **ret, size_t *ret_n, struct stow_err *err)
{
	struct stow_idset wanted[2] = { *nodes, *nodes }; /* kswapd's, kcompactd's */
	struct stow_node_daemon *list = NULL;
	_cleanup_free_ char *children = NULL;
	struct stow_span line, word;
	char name[64];
	size_t n = 0, len;

	if (stow_root_read_buf(root, name, sizeof(name), NULL, "/proc/%d/comm", KTHREADD) < 0 ||
	    strcmp(name, "kthreadd") != 0 ||
	    stow_root_read(root, THREADS_MAX, &children, &len, NULL, "/proc/%d/task/%d/children",
			   KTHREADD, KTHREADD) < 0)
		return stow_err_set(err, ENOENT, "the kernel's threads cannot be seen from here");
	line = (struct stow_span){ children, children + len };
	while (stow_span_word(&line, &word)) {
		struct stow_node_daemon found = { 0 }, *added;
		uint64_t pid;

		if (stow_span_number(&word, &pid) < 0 || pid > INT32_MAX ||
		    stow_root_read_buf(root, name, sizeof(name), NULL, "/proc/%d/comm", (int)pid) <
			    0 ||
		    !is_daemon(name, &found))
			continue;
		found.pid = (pid_t)pid;
		read_stat(root, &found);
		added = STOW_APPEND(list, n);
		if (!added) {
			free(list);
			return stow_err_sys(err, ENOMEM, "kernel threads");
		}
		*added = found;
		stow_idset_del(&wanted[found.compacts], found.node);
		if (stow_idset_empty(&wanted[0]) && stow_idset_empty(&wanted[1]) &&
		    !stow_idset_empty(nodes))
			break;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}
