/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/timestamp.h"
#include "kube/json.h"

#define FILE_MAX (1U << 20)

/* Return whether a text is a time, as "2026-11-26T12:00:00Z". */
static bool is_time(const char *text)
{
	static const char shape[] = "0000-00-00T00:00:00Z";

	for (size_t i = 0; i < sizeof(shape); i++)
		if (shape[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i])
			return false;
	return true;
}

void agent_state_read(struct stow_root *root, struct agent_state *ret)
{
	_cleanup_json_ struct json_object *file = NULL;
	_cleanup_free_ char *text = NULL;
	struct json_object *fences;
	size_t len = 0, n;

	*ret = (struct agent_state){ 0 };
	if (stow_root_read(root, FILE_MAX, &text, &len, NULL, "%s", AGENT_STATE_PATH) < 0 ||
	    stow_kube_parse(text, len, &file, NULL) < 0)
		return;
	ret->generation = stow_kube_number(file, "generation", 0);
	if (ret->generation < 0 || ret->generation == INT64_MAX)
		ret->generation = 0;
	fences = stow_kube_list_at(file, "fences", &n);
	for (size_t i = 0; i < n && ret->n_fences < AGENT_STATE_FENCES; i++) {
		struct json_object *fence = json_object_array_get_idx(fences, i);
		int64_t id = stow_kube_number(fence, "node", -1);
		const char *since = stow_kube_text(fence, "since");

		if (id < 0 || id > UINT32_MAX || !is_time(since))
			continue;
		ret->fences[ret->n_fences].id = (uint32_t)id;
		snprintf(ret->fences[ret->n_fences++].since, AGENT_SLICE_SINCE, "%s", since);
	}
}

int agent_state_write(struct stow_root *root, const struct agent_state *state, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return stow_err_set(err, ENOMEM, "out of memory");
	fprintf(out, "{\"generation\":%" PRId64 ",\"fences\":[", state->generation);
	for (size_t i = 0; i < state->n_fences; i++)
		fprintf(out, "%s{\"node\":%" PRIu32 ",\"since\":\"%s\"}", i ? "," : "",
			state->fences[i].id, state->fences[i].since);
	fprintf(out, "]}\n");
	if (fclose(out) != 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	return stow_root_replace(root, AGENT_STATE_PATH, text, 0600, err);
}

static struct agent_state_fence *fence_of(struct agent_state *state, uint32_t id)
{
	for (size_t i = 0; i < state->n_fences; i++)
		if (state->fences[i].id == id)
			return &state->fences[i];
	return NULL;
}

static void forget(struct agent_state *state, const struct agent_state_fence *fence)
{
	size_t i = (size_t)(fence - state->fences);

	memmove(&state->fences[i], &state->fences[i + 1],
		(state->n_fences - i - 1) * sizeof(*fence));
	state->n_fences--;
}

static struct agent_state_fence *add_fence(struct agent_state *state, uint32_t id,
					   const char *known, uint64_t now)
{
	struct agent_state_fence *fence = &state->fences[state->n_fences];

	if (state->n_fences == AGENT_STATE_FENCES)
		return NULL;
	state->n_fences++;
	fence->id = id;
	if (is_time(known))
		snprintf(fence->since, sizeof(fence->since), "%s", known);
	else
		stow_timestamp(now, fence->since);
	return fence;
}

bool agent_state_note(struct agent_state *state, struct agent_slice_device *devices, size_t n,
		      const char *(*find)(void *ctx, uint32_t id), void *ctx, uint64_t now)
{
	bool changed = false;

	for (size_t i = 0; i < n; i++) {
		uint32_t id = devices[i].facts.id;
		struct agent_state_fence *fence = fence_of(state, id);

		devices[i].since[0] = '\0';
		if (!devices[i].fenced) {
			if (fence)
				forget(state, fence);
			changed |= fence != NULL;
			continue;
		}
		if (!fence) {
			fence = add_fence(state, id, find(ctx, id), now);
			changed |= fence != NULL;
		}
		if (fence)
			snprintf(devices[i].since, sizeof(devices[i].since), "%s", fence->since);
	}
	return changed;
}
