// SPDX-License-Identifier: Apache-2.0
#include "node/memory.h"

#include <errno.h>

#include "base/span.h"

/* Parse "MemTotal: 2096684 kB", in bytes. */
static int take_kib(struct stow_span *line, uint64_t *ret)
{
	uint64_t v;
	int r = stow_span_number(line, &v);

	if (r < 0)
		return r;
	if (stow_span_take(line, "kB") && __builtin_mul_overflow(v, 1024, &v))
		return -ERANGE;
	*ret = v;
	return 0;
}

int stow_meminfo_parse(const char *text, size_t len, struct stow_meminfo *ret, struct stow_err *err)
{
	struct stow_span rest = { text, text + len }, line;
	struct stow_meminfo info = { 0 };
	int found = 0;

	/* Both lines are among the first: stop after them. */
	while (found < 2 && stow_span_line(&rest, &line)) {
		struct stow_span whole = line;
		uint64_t node;
		int r = 0;

		if (stow_span_take(&line, "Node"))
			r = stow_span_number(&line, &node);
		if (r == 0 && stow_span_take(&line, "MemTotal:")) {
			r = take_kib(&line, &info.total);
			found++;
		} else if (r == 0 && stow_span_take(&line, "MemFree:")) {
			r = take_kib(&line, &info.free);
			found++;
		}
		if (r < 0)
			return stow_err_set(err, -r, "meminfo: \"%.*s\" %s",
					    stow_span_len(whole, 64), whole.p,
					    r == -ERANGE ? "is out of range" : "has no number");
	}
	*ret = info;
	return 0;
}

int stow_meminfo_read(struct stow_root *root, int node, struct stow_meminfo *ret,
		      struct stow_err *err)
{
	char text[8192];
	int r;

	r = stow_root_read_buf(root, text, sizeof(text), err,
			       "/sys/devices/system/node/node%d/meminfo", node);
	if (r < 0)
		return r;
	r = stow_meminfo_parse(text, (size_t)r, ret, err);
	return r < 0 ? stow_err_wrap(err, r, "node %d", node) : 0;
}
