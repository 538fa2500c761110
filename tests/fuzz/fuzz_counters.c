// SPDX-License-Identifier: Apache-2.0
/* Counters, all fields of meminfo, pressure, a cgroup's numa_stat, the time of CPUs, a process's
 * stat: none of the texts but the last has an end of its own. */
#include "fuzz.h"

#include "cgroup/numa_stat.h"
#include "node/counters.h"
#include "node/daemons.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *)data;
	uint64_t values[STOW_NODE_COUNTERS], ticks;
	struct stow_numa_stat stat = { 0 };
	struct stow_field *fields = NULL;
	struct stow_cpu_time *times = NULL;
	struct stow_err err = { 0 };
	struct stow_psi psi = { 0 };
	size_t n, other, found;
	char *text, state;
	int r;

	found = stow_counters_parse(bytes, size, stow_node_counter_names, values);
	for (int i = 0; i < STOW_NODE_COUNTERS; i++)
		found -= values[i] != STOW_UNKNOWN;
	FUZZ_CHECK(found == 0);

	FUZZ_CHECK(stow_fields_parse(bytes, size, &fields, &n, &other, &err) == 0);
	for (size_t i = 0; i < n; i++)
		FUZZ_CHECK(*fields[i].name && strlen(fields[i].name) < STOW_FIELD_NAME);
	free(fields);

	r = stow_psi_parse(bytes, size, &psi, &err);
	FUZZ_CHECK_ERR(r, &err);
	FUZZ_CHECK(psi.some.avg10 < 10100 && psi.full.avg300 < 10100);

	r = stow_numa_stat_parse(bytes, size, 4096, &stat, &err);
	FUZZ_CHECK_ERR(r, &err);
	for (size_t i = 0; i < stat.n_rows; i++)
		FUZZ_CHECK(stat.rows[i].first + stat.rows[i].n <= stat.n_pairs);
	stow_numa_stat_done(&stat);

	r = stow_cpu_times_parse(bytes, size, &times, &n, &err);
	FUZZ_CHECK_ERR(r, &err);
	for (size_t i = 0; r == 0 && i < n; i++)
		FUZZ_CHECK(times[i].cpu >= 0 && times[i].busy <= times[i].all);
	free(times);

	text = fuzz_text(data, size);
	(void)stow_process_stat_parse(text, &state, &ticks);
	free(text);
	return 0;
}
