// SPDX-License-Identifier: Apache-2.0
#include "cli/kubectl/actual.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/grid.h"
#include "cli/kubectl/kubectl.h"
#include "cli/kubectl/scheduler.h"
#include "kube/json.h"

int kubectl_actual_read(const struct kubectl_client *c, const struct kubectl_pod *pod,
			struct json_object **ret, struct stow_err *err)
{
	const char *const options[][2] = {
		{ "--scheduler", c->scheduler },     { "--ca", c->ca },
		{ "--certificate", c->certificate }, { "--key", c->key },
		{ "--server-name", c->server_name }, { "--timeout", c->timeout },
		{ "--config", c->config },
	};
	char *words[2 * STOW_ARRAY_SIZE(options) + 4] = { (char *)(uintptr_t) "node", pod->machine,
							  (char *)(uintptr_t) "--json" };
	_cleanup_free_ char *text = NULL;
	size_t n = 3, len = 0;
	int r;

	*ret = NULL;
	r = kubectl_scheduler_find(c->scheduler, c->config, "where", err);
	if (r == -ENOTCONN && !c->config)
		return 0;
	if (r < 0)
		return r;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(options); i++)
		if (options[i][1]) {
			words[n++] = (char *)(uintptr_t)options[i][0];
			words[n++] = (char *)(uintptr_t)options[i][1];
		}
	r = kubectl_scheduler_ask(words, &text, &len, err);
	if (r > 0)
		return stow_err_set(err, EREMOTEIO, "what the containers use is not known");
	return r == 0 ? stow_kube_parse(text, len, ret, err) : r;
}

/* Return the i-th container of the pod, or NULL. */
static struct json_object *container_at(struct json_object *answer, const struct kubectl_pod *pod,
					size_t i)
{
	const char *uid = stow_kube_text(pod->object, "metadata.uid");
	size_t n;
	struct json_object *list = stow_kube_list_at(answer, "report.containers", &n);

	for (size_t k = 0; k < n && uid[0]; k++) {
		struct json_object *container = json_object_array_get_idx(list, k);

		/* Leases have no container yet. */
		if (strcmp(stow_kube_text(container, "pod"), uid) == 0 &&
		    strcmp(stow_kube_text(container, "state"), "active") == 0 && i-- == 0)
			return container;
	}
	return NULL;
}

static uint64_t number(struct json_object *object, const char *path)
{
	int64_t value = stow_kube_number(object, path, 0);

	return value > 0 ? (uint64_t)value : 0;
}

/* Sum up the promised hugepages of a part, in bytes. */
static uint64_t promised_pages(struct json_object *part)
{
	size_t n;
	struct json_object *list = stow_kube_list_at(part, "hugepages", &n);
	uint64_t sum = 0, bytes;

	for (size_t i = 0; i < n; i++) {
		struct json_object *pages = json_object_array_get_idx(list, i);

		if (__builtin_mul_overflow(number(pages, "pages"), number(pages, "page_size"),
					   &bytes) ||
		    __builtin_add_overflow(sum, bytes, &sum))
			return UINT64_MAX;
	}
	return sum;
}

/* A container of a claim has no promise of its own: the claim's is in the table above. */
static const char *share(uint64_t used, uint64_t promised, char *buf, size_t size)
{
	char a[32], b[32];

	if (promised)
		snprintf(buf, size, "%s/%s", stow_format_size(used, a, sizeof(a)),
			 stow_format_size(promised, b, sizeof(b)));
	else
		snprintf(buf, size, "%s", used ? stow_format_size(used, a, sizeof(a)) : "-");
	return buf;
}

static void add_container(struct cli_grid *table, struct json_object *container)
{
	_cleanup_free_ char *name = kubectl_clean(stow_kube_text(container, "name"));
	_cleanup_free_ char *cpus = kubectl_clean(stow_kube_text(container, "cpus"));
	_cleanup_free_ char *drift = kubectl_clean(stow_kube_text(container, "drift"));
	size_t n;
	struct json_object *parts = stow_kube_list_at(container, "parts", &n);

	for (size_t i = 0; i < n; i++) {
		struct json_object *part = json_object_array_get_idx(parts, i);
		char node[24], memory[80], pages[80];

		snprintf(node, sizeof(node), "%" PRIu64, number(part, "numa_node"));
		share(number(part, "memory_actual"), number(part, "memory_promised"), memory,
		      sizeof(memory));
		share(number(part, "hugepages_actual"), promised_pages(part), pages, sizeof(pages));
		cli_grid_row(table,
			     (const char *const[]){ name, cpus, node, memory, pages, drift });
	}
}

void kubectl_actual_show(struct json_object *answer, const struct kubectl_pod *pod)
{
	static const char *const columns[] = { "CONTAINER",	 "CPUS",  "NUMA", "MEMORY USED",
					       "HUGEPAGES USED", "DRIFT", NULL };
	struct cli_grid *table;
	struct json_object *container;

	if (!container_at(answer, pod, 0)) {
		printf("\nThe machine's agent reports no running container of the pod.\n");
		return;
	}
	putchar('\n');
	table = cli_grid(columns);
	for (size_t i = 0; (container = container_at(answer, pod, i)); i++)
		add_container(table, container);
	cli_grid_print(table, stdout);
}

json_object *kubectl_actual_json(struct json_writer *w, struct json_object *answer,
				 const struct kubectl_pod *pod)
{
	json_object *list = json_object_new_array(), *container;

	for (size_t i = 0; (container = container_at(answer, pod, i)); i++)
		json_append(w, list, json_object_get(container));
	return list;
}
