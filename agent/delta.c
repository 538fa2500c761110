/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/delta.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Return whether two messages are equal, by their packed bytes: protobuf-c packs fields in the
 * order of their numbers, and the messages have no maps. */
static bool same(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
	_cleanup_free_ uint8_t *x = NULL, *y = NULL;
	size_t n = protobuf_c_message_get_packed_size(a);

	if (n != protobuf_c_message_get_packed_size(b))
		return false;
	x = malloc(n + 1);
	y = malloc(n + 1);
	if (!x || !y)
		return false; /* at worst one report too many */
	protobuf_c_message_pack(a, x);
	protobuf_c_message_pack(b, y);
	return memcmp(x, y, n) == 0;
}

static const PbNumaNode *numa_node(const PbNodeReport *report, uint32_t id)
{
	for (size_t i = 0; i < report->n_numa_nodes; i++)
		if (report->numa_nodes[i]->id == id)
			return report->numa_nodes[i];
	return NULL;
}

static const PbContainer *container(const PbNodeReport *report, const char *id)
{
	for (size_t i = 0; i < report->n_containers; i++)
		if (strcmp(report->containers[i]->id, id) == 0)
			return report->containers[i];
	return NULL;
}

static bool same_set(const PbNodeReport *a, const PbNodeReport *b)
{
	if (a->n_numa_nodes != b->n_numa_nodes)
		return false;
	for (size_t i = 0; i < a->n_numa_nodes; i++)
		if (!numa_node(b, a->numa_nodes[i]->id))
			return false;
	return true;
}

static bool same_texts(char *const *a, size_t n, char *const *b, size_t n_b)
{
	if (n != n_b)
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}

bool agent_delta(const PbNodeReport *before, const PbNodeReport *now, PbNodeReport *ret)
{
	pb_node_report__init(ret);
	if (!before || !same_set(before, now)) {
		*ret = *now;
		ret->full = true;
		return true;
	}
	ret->numa_nodes = calloc(now->n_numa_nodes + 1, sizeof(*ret->numa_nodes));
	ret->containers = calloc(now->n_containers + 1, sizeof(*ret->containers));
	ret->gone = calloc(before->n_containers + 1, sizeof(*ret->gone));
	if (!ret->numa_nodes || !ret->containers || !ret->gone) {
		agent_delta_done(ret);
		*ret = *now;
		ret->full = true;
		return true;
	}
	for (size_t i = 0; i < now->n_numa_nodes; i++)
		if (!same(&now->numa_nodes[i]->base,
			  &numa_node(before, now->numa_nodes[i]->id)->base))
			ret->numa_nodes[ret->n_numa_nodes++] = now->numa_nodes[i];
	for (size_t i = 0; i < now->n_containers; i++) {
		const PbContainer *was = container(before, now->containers[i]->id);

		if (!was || !same(&now->containers[i]->base, &was->base))
			ret->containers[ret->n_containers++] = now->containers[i];
	}
	for (size_t i = 0; i < before->n_containers; i++)
		if (!container(now, before->containers[i]->id))
			ret->gone[ret->n_gone++] = before->containers[i]->id;
	ret->reservations = now->reservations;
	ret->n_reservations = now->n_reservations;
	ret->drains = now->drains;
	ret->n_drains = now->n_drains;
	return ret->n_numa_nodes || ret->n_containers || ret->n_gone ||
	       !same_texts(before->reservations, before->n_reservations, now->reservations,
			   now->n_reservations) ||
	       !same_texts(before->drains, before->n_drains, now->drains, now->n_drains);
}

void agent_delta_done(PbNodeReport *delta)
{
	if (!delta->full) {
		free(delta->numa_nodes);
		free(delta->containers);
		free(delta->gone);
	}
	pb_node_report__init(delta);
}
