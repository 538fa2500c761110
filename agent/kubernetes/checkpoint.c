/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/checkpoint.h"

#include <errno.h>
#include <string.h>

#include "agent/kubernetes/field.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "kube/json.h"

#define FILE_NAME   "dra_manager_state"
#define FILE_MAX    ((size_t)16 << 20)
#define KIND	    "DRACheckpoint"
#define API_VERSION "checkpoint.dra.kubelet.k8s.io/v1"

static int find(struct json_object *data, const char *uid, struct stow_err *err)
{
	struct json_object *list = NULL;
	int found = 0, r;

	if (strcmp(stow_kube_text(data, "kind"), KIND) != 0 ||
	    strcmp(stow_kube_text(data, "apiVersion"), API_VERSION) != 0 ||
	    !json_object_object_get_ex(data, "ClaimInfoStateList", &list))
		return stow_err_set(err, EPROTO, "its Data is not a " KIND " of " API_VERSION);
	if (!list) /* null: no claims */
		return 0;
	if (!json_object_is_type(list, json_type_array))
		return stow_err_set(err, EPROTO, "ClaimInfoStateList is not a list");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *claim = json_object_array_get_idx(list, i);
		const char *text = "";

		r = json_object_is_type(claim, json_type_object)
			    ? agent_text(claim, "ClaimUID", &text, NULL)
			    : -EINVAL;
		if (r < 0 || !text[0])
			return stow_err_set(err, EPROTO, "ClaimInfoStateList[%zu] has no ClaimUID",
					    i);
		found |= strcmp(text, uid) == 0;
	}
	return found;
}

int agent_checkpoint_has(struct stow_root *root, const char *kubelet, const char *uid,
			 struct stow_err *err)
{
	_cleanup_json_ struct json_object *file = NULL, *data = NULL;
	_cleanup_free_ char *text = NULL;
	const char *inner = "";
	size_t len = 0;
	int r;

	r = stow_root_read(root, FILE_MAX, &text, &len, err, "%s/" FILE_NAME, kubelet);
	if (r < 0)
		return r;
	r = stow_kube_parse(text, len, &file, err);
	if (r == 0)
		r = agent_text(file, "Data", &inner, err);
	if (r == 0)
		r = stow_kube_parse(inner, strlen(inner), &data, err);
	if (r == 0)
		r = find(data, uid, err);
	return r < 0 ? stow_err_set(err, EPROTO, "%s/" FILE_NAME " is in no known format", kubelet)
		     : r;
}
