// SPDX-License-Identifier: Apache-2.0
/* What the commands share: the container and its cgroup, the request and its limits, the ledger,
 * the history. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cgroup/cpuset.h"
#include "cgroup/limits.h"
#include "grant/apply.h"
#include "grant/names.h"
#include "oci-hook/internal.h"
#include "oci-hook/warn.h"

int hook_parse_request(const struct hook_container *container, const char *name,
		       const struct stow_config *config, struct stow_request *ret,
		       struct stow_err *err)
{
	return stow_request_parse(container->annotations, container->n_annotations, name,
				  (const char *const *)config->allowed_keys, config->default_policy,
				  ret, err);
}

bool hook_asks(const struct hook_container *container, const struct stow_config *config,
	       bool *ret_ignore)
{
	static const struct stow_config unknown = { .default_policy =
							    STOW_POLICY_SINGLE_NUMA_NODE };
	struct stow_request request;
	int r = hook_parse_request(container, container->name, config ? config : &unknown, &request,
				   NULL);

	*ret_ignore = r > 0 && request.on_failure == STOW_ON_FAILURE_IGNORE;
	return r != 0;
}

/* Read limits from the kernel, because the runtime may have set them in other ways than by
 * config.json (linux.resources.unified, a cgroup's defaults). */
static void kernel_limits(const struct stow_cgroup *cgroup, struct stow_limits *limits)
{
	int version = cgroup->at[STOW_CGROUP_MEMORY].version;
	uint32_t cpus = stow_cpu_limit(cgroup);
	uint64_t memory;

	if (cpus != UINT32_MAX && (!limits->cpus || cpus < limits->cpus))
		limits->cpus = cpus;
	if (!version)
		return;
	memory = stow_cgroup_limit(cgroup, STOW_CGROUP_MEMORY, stow_memory_limit_name(version));
	if (memory != UINT64_MAX && (!limits->memory || memory < limits->memory))
		limits->memory = memory;
}

int hook_run_open(struct stow_root *root, const struct hook_container *container,
		  struct hook_run *run, struct stow_err *err)
{
	int r;

	run->root = root;
	run->subject = (struct stow_subject){
		.id = container->id,
		.pod = container->pod,
		.pod_id = container->pod_id,
		.ns = container->ns,
		.name = container->name,
	};
	r = stow_config_read(root, &run->config, err);
	if (r == 0)
		r = stow_pidref_read(root, getpid(), &run->context.self, err);
	if (r < 0)
		return r;
	run->context.root = root;
	run->context.config = run->config;
	run->context.topology = &run->topology;
	return 0;
}

int hook_run_limits(struct hook_run *run, struct json_object *config_json,
		    const struct stow_cgroup *cgroup, struct stow_err *err)
{
	int r = hook_config_limits(config_json, &run->limits, err);

	if (r == 0 && cgroup)
		kernel_limits(cgroup, &run->limits);
	return r;
}

int hook_run_begin(struct hook_run *run, const struct hook_container *container,
		   struct json_object *config_json, const struct stow_cgroup *cgroup,
		   struct stow_err *err)
{
	int r, asked;

	asked = hook_parse_request(container, container->name, run->config, &run->request, err);
	if (asked <= 0)
		return asked;
	r = hook_run_limits(run, config_json, cgroup, err);
	/* Kubernetes checks limits against quotas, but not annotations. */
	if (r == 0)
		r = stow_request_complete(&run->request, &run->limits, container->ns != NULL, err);
	return r < 0 ? r : 1;
}

int hook_run_open_ledger(struct hook_run *run, bool create, struct stow_err *err)
{
	int r = stow_ledger_open(run->root, create, &run->ledger, err);

	if (r == 0)
		r = stow_ledger_check_namespaces(run->ledger, err);
	if (r < 0) {
		stow_ledger_close(run->ledger);
		run->ledger = NULL;
	}
	run->context.ledger = run->ledger;
	return r;
}

void hook_run_done(struct hook_run *run)
{
	stow_ledger_close(run->ledger);
	stow_config_free(run->config);
	stow_topology_free(run->topology);
}

/* A failure is ignored: the journal has the line. */
static void write_history(struct stow_ledger *ledger, const char *kind, const char *id,
			  const struct stow_record *record, const char *text)
{
	if (stow_ledger_begin(ledger, NULL) == 0)
		(void)stow_ledger_end(
			ledger, stow_ledger_event(ledger, kind, id, record, text, NULL), NULL);
}

void hook_audit(struct hook_run *run, const char *kind, const struct stow_record *record,
		const char *text, bool history)
{
	char cpus[256] = "", nodes[128] = "", line[1400];
	struct stow_idset set;

	if (record) {
		/* Read shared CPUs from the kernel: they change with every exclusive container. */
		set = record->cpus;
		if (!record->exclusive && run->subject.cgroup)
			(void)stow_cpuset_read_cpus(run->subject.cgroup, true, &set, NULL);
		stow_idset_format(&set, cpus, sizeof(cpus));
		stow_idset_format(&record->nodes, nodes, sizeof(nodes));
		snprintf(line, sizeof(line), "%s %s: CPUs %s%s, nodes %s: %s", kind,
			 run->subject.id, cpus, record->exclusive ? " (exclusive)" : "", nodes,
			 text);
	} else {
		snprintf(line, sizeof(line), "%s %s: %s", kind, run->subject.id, text);
	}
	const struct stow_log_field fields[] = {
		{ "NUMASTOW_ACTION", kind },
		{ "NUMASTOW_CONTAINER", run->subject.id },
		{ "NUMASTOW_CPUS", record ? cpus : NULL },
		{ "NUMASTOW_NODES", record ? nodes : NULL },
		{ "NUMASTOW_NAMESPACE", run->subject.ns },
	};

	if (run->root->live)
		stow_log_audit(line, fields, STOW_ARRAY_SIZE(fields));
	if (!history)
		return;
	if (!run->ledger && hook_run_open_ledger(run, true, NULL) < 0)
		return;
	write_history(run->ledger, kind, run->subject.id, record, text);
}

int hook_refuse(struct stow_root *root, const struct hook_container *container,
		const struct stow_refusal *refusal, struct stow_err *err)
{
	_cleanup_(stow_names_done) struct stow_names names = { 0 };
	const char *name = container->name;
	char id[80];

	if (!name && stow_names_read_podman(root, &names, NULL) == 0)
		name = stow_names_find(&names, container->id);
	return stow_err_set(err, ENOSPC, "cannot place \"%s\": %s%s%s",
			    name ? name : stow_short_id(container->id, id, sizeof(id)),
			    refusal->text, refusal->suggestion[0] ? "; " : "", refusal->suggestion);
}

int hook_check_cgroups(struct stow_root *root, const struct stow_cgroup *cgroup,
		       struct stow_err *err)
{
	char ours[16384];

	if (stow_root_read_buf(root, ours, sizeof(ours), NULL, "/proc/self/cgroup") < 0 ||
	    strcmp(ours, cgroup->membership) != 0)
		return 0;
	return stow_err_set(err, ENOTSUP,
			    "the container runs in its runtime's own cgroup (--cgroups=disabled?): "
			    "there is no cpuset to set");
}

int hook_identify(struct stow_root *root, const struct hook_container *container,
		  struct stow_pidref *ret_init, struct stow_cgroup **ret_cgroup,
		  struct stow_err *err)
{
	int r;

	if (!container->pid)
		return stow_err_set(err, EINVAL, "the OCI state has no pid");
	r = stow_pidref_read(root, container->pid, ret_init, err);
	return r < 0 ? r : stow_cgroup_of_pid(root, container->pid, ret_cgroup, err);
}

void hook_warn(struct hook_run *run, struct json_object *config_json)
{
	char text[512];

	if (config_json && hook_config_warn(config_json, text, sizeof(text)))
		hook_audit(run, "warning", NULL, text, false);
}

int hook_conclude(struct hook_run *run, const struct stow_record *record,
		  const struct stow_apply_result *problems, int r, struct stow_err *err)
{
	for (size_t i = 0; i < problems->n_problems; i++)
		hook_audit(run, problems->problems[i].partition ? "partition" : "overlap", NULL,
			   problems->problems[i].text, true);
	if (r < 0) {
		(void)stow_grant_undo(&run->context, record, run->subject.cgroup, "undone",
				      err ? err->msg : "", NULL);
		return r;
	}
	hook_audit(run, "placed", record, record->reason, false);
	return 0;
}
