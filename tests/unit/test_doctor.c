// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "tree.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "doctor/doctor.h"
#include "doctor/internal.h"
#include "doctor/program.h"

/* What grows is counted from the first sample, or from the boot; what is unknown has no rate. */
TEST(growth_and_rates)
{
	struct doctor d = { .seconds = 10 };

	d.now.vmstat = (char *)"pswpout 500\n";
	assert_int_equal(doctor_grown(&d, "pswpout"), 500);
	d.before.vmstat = (char *)"pswpout 400\n";
	assert_int_equal(doctor_grown(&d, "pswpout"), 100);
	assert_true(doctor_grown(&d, "other") == STOW_UNKNOWN);
	assert_true(doctor_rate(&d, 100) > 9.99 && doctor_rate(&d, 100) < 10.01);
	assert_true(doctor_rate(&d, STOW_UNKNOWN) < 0.01);
	d.seconds = 0;
	assert_true(doctor_rate(&d, 100) < 0.01);
}

/* Every rule has all that a finding needs, and a name of its own. */
TEST(the_table_is_whole)
{
	size_t n;
	const struct stow_rule *rules = stow_rules(&n);

	assert_true(n > 30);
	for (size_t i = 0; i < n; i++) {
		assert_true(*rules[i].id && *rules[i].kernels && *rules[i].title);
		assert_true(*rules[i].consequence && *rules[i].command && *rules[i].document);
		assert_non_null(rules[i].find);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(rules[i].id, rules[k].id);
	}
}

/* Thousands of processes with one fault are a few findings and a count. */
TEST(many_subjects_are_counted)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_findings_done) struct stow_findings found = { 0 };
	const struct stow_doctor_options options = { 0 };
	size_t swaps = 0;

	tree_write(tree, "/sys/devices/system/node/online", "0-1\n");
	tree_write(tree, "/sys/devices/system/cpu/online", "0-1\n");
	for (int node = 0; node < 2; node++) {
		char path[64];

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
		tree_write(tree, path, "%d\n", node);
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
		tree_write(tree, path,
			   "Node %d MemTotal: 8388608 kB\nNode %d MemFree: 8000000 kB\n", node,
			   node);
	}
	for (int pid = 100; pid < 140; pid++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/status", pid);
		tree_write(tree, path,
			   "Name:\tp\033[31m\nVmSize:\t9 kB\nVmSwap:\t 131072 kB\nThreads:\t1\n"
			   "Cpus_allowed_list:\t0-1\nMems_allowed_list:\t0\n");
	}
	assert_int_equal(stow_doctor_examine(tree->root, NULL, &options, &found, NULL), 0);
	for (size_t i = 0; i < found.n; i++) {
		if (strcmp(found.list[i].rule->id, "bind-swap") != 0)
			continue;
		swaps++;
		assert_null(strchr(found.list[i].subject, '\033'));
	}
	assert_int_equal(swaps, DOCTOR_SUBJECTS);
	assert_int_equal(stow_findings_count(&found, STOW_FINDING_PROBLEM), swaps);
	assert_non_null(strstr(found.list[swaps - 1].evidence, "24 more"));
}

TEST(an_interval_needs_a_machine)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	_cleanup_(stow_findings_done) struct stow_findings found = { 0 };
	const struct stow_doctor_options options = { .interval = 1 };
	struct stow_err err = { 0 };

	assert_int_equal(stow_doctor_examine(tree->root, NULL, &options, &found, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "copied tree"));
}

TEST(kinds_have_names)
{
	enum stow_program_kind kind;
	struct stow_err err = { 0 };

	for (int i = STOW_PROGRAM_LATENCY; i < STOW_PROGRAM_KINDS; i++) {
		assert_int_equal(stow_program_kind_parse(stow_program_kind_name(i), &kind, NULL),
				 0);
		assert_int_equal(kind, i);
	}
	assert_int_equal(stow_program_kind_parse("unknown", &kind, &err), -EINVAL);
	assert_int_equal(stow_program_kind_parse("latencie", &kind, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "did you mean \"latency\""));
}

/* A bind goes to a node with room for all of it, first to that with most of it. */
TEST(a_bind_needs_room)
{
	struct stow_node nodes[] = { { .id = 0, .mem_total = 100, .mem_available = 10 },
				     { .id = 3, .mem_total = 100, .mem_available = 50 } };
	struct stow_topology topology = { .nodes = nodes, .n_nodes = 2 };
	uint64_t used[] = { 20, 5 };
	struct stow_program program = { .pid = 9, .memory = 25, .placed = true, .used = used };
	struct stow_program_advice advice;

	stow_idset_add(&nodes[0].cpus, 0);
	stow_idset_add(&nodes[1].cpus, 1);
	stow_idset_add(&program.cpus, 0);
	stow_idset_add(&program.cpus, 1);
	stow_program_advise(&topology, &program, STOW_PROGRAM_LATENCY, &advice);
	assert_string_equal(advice.policy, "bind");
	assert_true(stow_idset_has(&advice.nodes, 0)); /* 10 are free, and 20 are its own */
	assert_non_null(strstr(advice.warning, "while other nodes have room"));
	program.memory = 40;
	stow_program_advise(&topology, &program, STOW_PROGRAM_LATENCY, &advice);
	assert_true(stow_idset_has(&advice.nodes, 3));
	program.memory = 90;
	stow_program_advise(&topology, &program, STOW_PROGRAM_SHARED_READ_WRITE, &advice);
	assert_string_equal(advice.policy, "preferred");
	stow_program_advise(&topology, &program, STOW_PROGRAM_UNKNOWN, &advice);
	assert_int_equal(advice.kind, STOW_PROGRAM_UNKNOWN);
	assert_null(advice.policy);
}
