// SPDX-License-Identifier: Apache-2.0
#include "node/counters.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/span.h"
#include "base/text.h"

const char *const stow_node_counter_names[STOW_NODE_COUNTERS + 1] = {
	"numa_hit",
	"numa_miss",
	"numa_foreign",
	"interleave_hit",
	"local_node",
	"other_node",
	"pgpromote_success",
	"pgpromote_candidate",
	"pgdemote_kswapd",
	"pgdemote_direct",
	"pgdemote_khugepaged",
	"pgdemote_proactive",
	NULL,
};

const char *const stow_balancing_counter_names[STOW_BALANCING_COUNTERS + 1] = {
	"numa_pte_updates",  "numa_hint_faults",    "numa_hint_faults_local", "numa_pages_migrated",
	"pgmigrate_success", "pgmigrate_fail",	    "pgpromote_success",      "pgdemote_kswapd",
	"pgdemote_direct",   "pgdemote_khugepaged", "pgdemote_proactive",     NULL,
};

size_t stow_counters_parse(const char *text, size_t len, const char *const *names,
			   uint64_t *ret_values)
{
	struct stow_span rest = { text, text + len }, line, word;
	size_t found = 0, n = 0;

	for (; names[n]; n++)
		ret_values[n] = STOW_UNKNOWN;
	while (found < n && stow_span_line(&rest, &line)) {
		if (!stow_span_word(&line, &word))
			continue;
		for (size_t i = 0; i < n; i++) {
			uint64_t v;

			if (ret_values[i] != STOW_UNKNOWN || !stow_span_is(word, names[i]))
				continue;
			if (stow_span_number(&line, &v) == 0 && v != STOW_UNKNOWN) {
				ret_values[i] = v;
				found++;
			}
			break;
		}
	}
	return found;
}

uint64_t stow_counter_find(const char *text, const char *name)
{
	const char *const names[] = { name, NULL };
	uint64_t value = STOW_UNKNOWN;

	if (text)
		(void)stow_counters_parse(text, strlen(text), names, &value);
	return value;
}

int stow_node_counters_read(struct stow_root *root, int node,
			    uint64_t ret_values[STOW_NODE_COUNTERS], struct stow_err *err)
{
	const char *first[STOW_NUMA_PROMOTED + 1] = { NULL };
	_cleanup_free_ char *text = NULL, *more = NULL;
	struct stow_err why = { 0 };
	int result = 0, r;
	size_t len;

	for (int i = 0; i < STOW_NODE_COUNTERS; i++) {
		ret_values[i] = STOW_UNKNOWN;
		if (i < STOW_NUMA_PROMOTED)
			first[i] = stow_node_counter_names[i];
	}
	r = stow_root_read(root, STOW_ROOT_READ_MAX, &text, &len, &why,
			   "/sys/devices/system/node/node%d/numastat", node);
	if (r == 0 && !stow_counters_parse(text, len, first, ret_values))
		r = stow_err_set(&why, EINVAL, "node %d: numastat has no counter", node);
	if (r < 0)
		result = stow_err_move(err, r, &why);
	r = stow_root_read(root, STOW_ROOT_READ_MAX, &more, &len, &why,
			   "/sys/devices/system/node/node%d/vmstat", node);
	/* Kernels have none of these, some, or all: no counter is no error. */
	if (r == 0)
		(void)stow_counters_parse(more, len, stow_node_counter_names + STOW_NUMA_PROMOTED,
					  ret_values + STOW_NUMA_PROMOTED);
	else if (result == 0)
		result = stow_err_move(err, r, &why);
	return result;
}

int stow_balancing_read(struct stow_root *root, uint64_t ret_values[STOW_BALANCING_COUNTERS],
			struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	for (int i = 0; i < STOW_BALANCING_COUNTERS; i++)
		ret_values[i] = STOW_UNKNOWN;
	r = stow_root_read(root, STOW_ROOT_READ_MAX, &text, &len, err, "/proc/vmstat");
	if (r < 0)
		return r;
	/* Migration is counted by every kernel that has NUMA. */
	if (!stow_counters_parse(text, len, stow_balancing_counter_names, ret_values))
		return stow_err_set(err, EINVAL, "/proc/vmstat has no counter of migration");
	return 0;
}

/* --- all fields of meminfo ------------------------------------------------ */

/* Parse "Node 0 Active(anon):   123 kB", or "HugePages_Total:  0". */
static bool take_field(struct stow_span line, struct stow_field *ret)
{
	struct stow_span word;
	uint64_t node;

	if (stow_span_take(&line, "Node") && stow_span_number(&line, &node) < 0)
		return false;
	if (!stow_span_word(&line, &word) || word.end - word.p < 2 || word.end[-1] != ':' ||
	    word.end - word.p > STOW_FIELD_NAME)
		return false;
	if (stow_span_number(&line, &ret->value) < 0 || ret->value == STOW_UNKNOWN)
		return false;
	word.end--;
	snprintf(ret->name, sizeof(ret->name), "%.*s", stow_span_len(word, STOW_FIELD_NAME - 1),
		 word.p);
	stow_text_ascii(ret->name);
	ret->bytes = stow_span_take(&line, "kB");
	if (ret->bytes && __builtin_mul_overflow(ret->value, 1024, &ret->value))
		return false;
	stow_span_blanks(&line);
	return line.p == line.end && *ret->name; /* "": it begins with a NUL */
}

int stow_fields_parse(const char *text, size_t len, struct stow_field **ret, size_t *ret_n,
		      size_t *ret_other, struct stow_err *err)
{
	struct stow_span rest = { text, text + len }, line;
	struct stow_field *list = NULL;
	size_t n = 0, other = 0;

	while (stow_span_line(&rest, &line)) {
		struct stow_field field = { 0 }, *added;

		stow_span_blanks(&line);
		if (line.p == line.end)
			continue; /* old kernels begin with an empty line */
		if (!take_field(line, &field)) {
			other++;
			continue;
		}
		added = STOW_APPEND(list, n);
		if (!added) {
			free(list);
			return stow_err_sys(err, ENOMEM, "meminfo");
		}
		*added = field;
	}
	*ret = list;
	*ret_n = n;
	*ret_other = other;
	return 0;
}

int stow_fields_read(struct stow_root *root, int node, struct stow_field **ret, size_t *ret_n,
		     size_t *ret_other, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = stow_root_read(root, STOW_ROOT_READ_MAX, &text, &len, err,
			   "/sys/devices/system/node/node%d/meminfo", node);
	if (r < 0)
		return r;
	return stow_fields_parse(text, len, ret, ret_n, ret_other, err);
}

/* --- pressure stall information ------------------------------------------- */

/* Parse "avg10=12.34", in hundredths. */
static bool take_average(struct stow_span *line, const char *key, uint32_t *ret)
{
	struct stow_span word;
	size_t len = strlen(key);
	uint64_t whole, part;

	if (!stow_span_word(line, &word) || (size_t)(word.end - word.p) <= len ||
	    memcmp(word.p, key, len) != 0)
		return false;
	word.p += len;
	if (stow_span_number(&word, &whole) < 0 || whole > 100 || word.end - word.p != 3 ||
	    *word.p++ != '.' || stow_span_number(&word, &part) < 0 || word.p != word.end)
		return false;
	*ret = (uint32_t)(whole * 100 + part);
	return true;
}

static bool take_psi(struct stow_span line, struct stow_psi_line *ret)
{
	struct stow_span word;

	if (!take_average(&line, "avg10=", &ret->avg10) ||
	    !take_average(&line, "avg60=", &ret->avg60) ||
	    !take_average(&line, "avg300=", &ret->avg300) || !stow_span_word(&line, &word) ||
	    word.end - word.p < 7 || memcmp(word.p, "total=", 6) != 0)
		return false;
	word.p += 6;
	ret->known = stow_span_number(&word, &ret->total_us) == 0 && word.p == word.end;
	return ret->known;
}

int stow_psi_parse(const char *text, size_t len, struct stow_psi *ret, struct stow_err *err)
{
	struct stow_span rest = { text, text + len }, line;
	struct stow_psi psi = { 0 };
	bool good = true;

	while (good && stow_span_line(&rest, &line)) {
		if (stow_span_take(&line, "some"))
			good = take_psi(line, &psi.some);
		else if (stow_span_take(&line, "full"))
			good = take_psi(line, &psi.full);
	}
	if (!good || (!psi.some.known && !psi.full.known))
		return stow_err_set(err, EINVAL, "not pressure stall information");
	*ret = psi;
	return 0;
}

int stow_psi_read(struct stow_root *root, const char *path, struct stow_psi *ret,
		  struct stow_err *err)
{
	char text[512];
	int r = stow_root_read_buf(root, text, sizeof(text), err, "%s", path);

	if (r == -EOPNOTSUPP)
		return stow_err_set(err, EOPNOTSUPP,
				    "%s: pressure is not recorded (kernel parameter psi=1 turns it "
				    "on)",
				    path);
	if (r < 0)
		return r;
	r = stow_psi_parse(text, (size_t)r, ret, err);
	return r < 0 ? stow_err_wrap(err, r, "%s", path) : 0;
}

/* --- the time of CPUs ------------------------------------------------------ */

/* In the order of the kernel's columns; guest time, which follows, is part of user time. */
enum { CPU_IDLE = 3, CPU_IOWAIT = 4, CPU_COLUMNS = 8, CPU_COLUMNS_LEAST = 4 };

static bool take_cpu_time(struct stow_span line, struct stow_cpu_time *ret)
{
	uint64_t v;
	int n = 0;

	*ret = (struct stow_cpu_time){ 0 };
	line.p += strlen("cpu");
	if (stow_span_number(&line, &v) < 0 || v >= STOW_IDSET_MAX)
		return false;
	ret->cpu = (int)v;
	for (; n < CPU_COLUMNS && stow_span_number(&line, &v) == 0; n++) {
		ret->all = stow_saturating_add(ret->all, v);
		if (n != CPU_IDLE && n != CPU_IOWAIT)
			ret->busy = stow_saturating_add(ret->busy, v);
	}
	return n >= CPU_COLUMNS_LEAST;
}

int stow_cpu_times_parse(const char *text, size_t len, struct stow_cpu_time **ret, size_t *ret_n,
			 struct stow_err *err)
{
	struct stow_span rest = { text, text + len }, line;
	_cleanup_free_ struct stow_cpu_time *list = NULL;
	size_t n = 0;

	while (stow_span_line(&rest, &line)) {
		struct stow_cpu_time *added, time;

		/* The first line, "cpu ", has the sums; the last of the file are long. */
		if (line.end - line.p < 4 || memcmp(line.p, "cpu", 3) != 0)
			break;
		if (line.p[3] == ' ')
			continue;
		if (!take_cpu_time(line, &time))
			return stow_err_set(err, EINVAL, "stat: \"%.*s\" is not the time of a CPU",
					    stow_span_len(line, 32), line.p);
		added = STOW_APPEND(list, n);
		if (!added)
			return stow_err_sys(err, ENOMEM, "stat");
		*added = time;
	}
	if (!n)
		return stow_err_set(err, EINVAL, "stat has no CPU");
	*ret = STOW_TAKE_PTR(list);
	*ret_n = n;
	return 0;
}

int stow_cpu_times_read(struct stow_root *root, struct stow_cpu_time **ret, size_t *ret_n,
			struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = stow_root_read(root, STOW_ROOT_READ_MAX, &text, &len, err, "/proc/stat");

	return r < 0 ? r : stow_cpu_times_parse(text, len, ret, ret_n, err);
}
