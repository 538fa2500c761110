// SPDX-License-Identifier: Apache-2.0
#include "cli/view/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/grid.h"
#include "base/root.h"
#include "cli/cli.h"
#include "node/counters.h"

bool cli_output_wants_node(const struct cli_output *out, int node)
{
	return stow_idset_empty(&out->nodes) ||
	       (node >= 0 && node < STOW_IDSET_MAX && stow_idset_has(&out->nodes, node));
}

bool cli_output_coloured(void)
{
	const char *no = secure_getenv("NO_COLOR"), *term = secure_getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

json_object *cli_output_object(struct json_writer *w)
{
	json_object *o = json_object_new_object();

	w->ok = o != NULL;
	json_put(w, o, "version", json_object_new_string(STOW_VERSION));
	return o;
}

json_object *cli_output_real(double value)
{
	static char format[] = "%.6g";
	json_object *o = json_object_new_double(value);

	if (o)
		json_object_set_serializer(o, json_object_double_to_json_string, format, NULL);
	return o;
}

void cli_output_stalls(struct json_writer *w, json_object *to, const char *key,
		       const struct stow_psi_line *line)
{
	json_object *o;

	if (!line->known) {
		json_object_object_add(to, key, NULL);
		return;
	}
	o = json_object_new_object();
	json_put(w, o, "avg10", cli_output_real(line->avg10 / 100.0));
	json_put(w, o, "avg60", cli_output_real(line->avg60 / 100.0));
	json_put(w, o, "avg300", cli_output_real(line->avg300 / 100.0));
	json_put(w, o, "total_us", json_object_new_uint64(line->total_us));
	json_put(w, to, key, o);
}

const char *cli_output_size(const struct cli_output *out, uint64_t bytes, char *buf, size_t size)
{
	return stow_grid_size(&(const struct stow_grid_style){ .bytes = out->bytes }, bytes, buf,
			      size);
}

/* Check that the NUMA nodes of --node are there; a kernel without NUMA has node 0. */
static int check_nodes(const struct cli_output *out, struct stow_err *err)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	struct stow_idset there = { 0 }, missing = out->nodes;
	char a[128], b[128];
	int r = stow_root_open(out->sysroot, &root, err);

	if (r < 0)
		return r;
	(void)stow_root_list_ids(root, "/sys/devices/system/node", "node", &there, NULL);
	if (stow_idset_empty(&there))
		stow_idset_add(&there, 0);
	stow_idset_minus(&missing, &there);
	if (stow_idset_empty(&missing))
		return 0;
	return stow_err_set(err, ENOENT, "--node: there is no node %s; the nodes are %s",
			    stow_idset_format(&missing, a, sizeof(a)),
			    stow_idset_format(&there, b, sizeof(b)));
}

int cli_output_run(const struct cli_output *out, int (*print)(void *data), void *data)
{
	struct stow_err err = { 0 };

	if (!stow_idset_empty(&out->nodes) && check_nodes(out, &err) < 0)
		return cli_fail(&err);
	return cli_watch(out->watch, out->json, print, data);
}
