// SPDX-License-Identifier: Apache-2.0
/* numastow doctor --program. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/cli.h"
#include "cli/paragraph.h"
#include "cli/view/doctor.h"

#define INDENT 11 /* of the text behind a label */

static void add_number(struct json_writer *w, json_object *o, const char *key, bool known,
		       uint64_t number)
{
	json_put_known(w, o, key, known, json_object_new_uint64(number));
}

static json_object *nodes_json(struct json_writer *w, const struct stow_topology *topology,
			       const struct stow_program *program)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < topology->n_nodes; i++) {
		json_object *o = json_object_new_object();

		json_put(w, o, "node", json_object_new_int(topology->nodes[i].id));
		add_number(w, o, "used", program->placed, program->placed ? program->used[i] : 0);
		add_number(w, o, "available", true, topology->nodes[i].mem_available);
		json_append(w, list, o);
	}
	return list;
}

static int print_json(const struct stow_topology *topology, const struct stow_program *program,
		      const struct stow_program_advice *advice)
{
	struct json_writer w;
	json_object *o = cli_output_object(&w);
	bool runs = program->pid != 0;

	json_put(&w, o, "program", json_object_new_string(program->name));
	add_number(&w, o, "pid", runs, (uint64_t)program->pid);
	json_put(&w, o, "running", json_object_new_uint64(program->n_running));
	add_number(&w, o, "threads", runs, program->threads);
	add_number(&w, o, "memory", runs, program->memory);
	json_put_known_set(&w, o, "cpus", runs && !stow_idset_empty(&program->cpus),
			   &program->cpus);
	json_put_known_set(&w, o, "mems", runs && !stow_idset_empty(&program->mems),
			   &program->mems);
	add_number(&w, o, "private_faults", program->sampled, program->by_one);
	add_number(&w, o, "shared_faults", program->sampled, program->by_several);
	json_put(&w, o, "nodes", nodes_json(&w, topology, program));
	json_put_text(&w, o, "kind", advice->kind ? stow_program_kind_name(advice->kind) : NULL);
	json_put(&w, o, "known_from", json_object_new_string(program->why));
	json_put_text(&w, o, "policy", advice->policy);
	json_put_known_set(&w, o, "policy_nodes", !stow_idset_empty(&advice->nodes),
			   &advice->nodes);
	json_put(&w, o, "reason", json_object_new_string(advice->reason));
	json_put_text(&w, o, "command", advice->command);
	json_put_text(&w, o, "warning", advice->warning);
	return json_print(&w, o);
}

static void print_program(const struct stow_topology *topology, const struct stow_program *program,
			  const struct cli_output *out)
{
	char line[1024], cpus[96], mems[96], size[32];

	if (!program->pid) {
		printf("%s does not run\n", program->name);
		return;
	}
	printf("%s (PID %d%s)\n", program->name, (int)program->pid,
	       program->n_running > 1 ? ", the largest of its name" : "");
	snprintf(line, sizeof(line), "%u thread%s, %s; CPUs %s, memory of nodes %s",
		 program->threads, program->threads == 1 ? "" : "s",
		 cli_output_size(out, program->memory, size, sizeof(size)),
		 stow_idset_format(&program->cpus, cpus, sizeof(cpus)),
		 stow_idset_format(&program->mems, mems, sizeof(mems)));
	cli_paragraph(INDENT, "is", line);
	line[0] = '\0';
	for (size_t i = 0; program->placed && i < topology->n_nodes; i++)
		if (program->used[i])
			stow_append(line, sizeof(line), "%snode %d: %s", *line ? ", " : "",
				    topology->nodes[i].id,
				    cli_output_size(out, program->used[i], size, sizeof(size)));
	cli_paragraph(INDENT, "memory",
		      program->placed ? *line ? line : "none"
				      : "unknown: only root can read this process's numa_maps");
}

static void print_text(const struct stow_topology *topology, const struct stow_program *program,
		       const struct stow_program_advice *advice, bool given,
		       const struct cli_output *out)
{
	char line[512], nodes[96];

	print_program(topology, program, out);
	if (!advice->kind) {
		snprintf(line, sizeof(line),
			 "unknown, give --kind latency, capacity, shared-read-only, "
			 "shared-read-write or per-thread (%s)",
			 program->why);
		cli_paragraph(INDENT, "kind", line);
		return;
	}
	snprintf(line, sizeof(line), "%s%s%s%s", stow_program_kind_name(advice->kind),
		 given ? "" : " (", given ? "" : program->why, given ? "" : ")");
	cli_paragraph(INDENT, "kind", line);
	snprintf(line, sizeof(line), "%s%s%s: %s", advice->policy,
		 stow_idset_empty(&advice->nodes) ? "" : " to node ",
		 stow_idset_empty(&advice->nodes)
			 ? ""
			 : stow_idset_format(&advice->nodes, nodes, sizeof(nodes)),
		 advice->reason);
	cli_paragraph(INDENT, "policy", line);
	cli_paragraph(INDENT, "do", advice->command);
	if (*advice->warning)
		cli_paragraph(INDENT, "warning", advice->warning);
}

int doctor_program(struct stow_root *root, const char *name, enum stow_program_kind kind,
		   const struct cli_output *out)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *topology = NULL;
	_cleanup_(stow_program_done) struct stow_program program = { 0 };
	struct stow_program_advice advice;
	struct stow_err err = { 0 };
	int r = stow_topology_read(root, STOW_TOPOLOGY_AVAILABLE, &topology, &err);

	if (r == 0)
		r = stow_program_read(root, topology, name, &program, &err);
	if (r < 0)
		return cli_fail(&err);
	stow_program_advise(topology, &program, kind, &advice);
	if (out->quiet)
		return CLI_OK;
	if (out->json && print_json(topology, &program, &advice) < 0) {
		stow_err_sys(&err, ENOMEM, "printing the advice");
		return cli_fail(&err);
	}
	if (!out->json)
		print_text(topology, &program, &advice, kind != STOW_PROGRAM_UNKNOWN, out);
	return CLI_OK;
}
