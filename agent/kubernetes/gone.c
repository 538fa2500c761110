/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/gone.h"

#include <errno.h>
#include <string.h>

#include "agent/kubernetes/checkpoint.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "kube/json.h"
#include "rpc/log.h"

/* Return 1 when the API server is the one at which this machine's kubelet is registered, since this
 * boot: another cluster does not know our claims, either. */
static int check_cluster(struct agent_gone *gone, struct stow_err *err)
{
	const char *node = agent_prepare_pool(gone->prepare);
	_cleanup_json_ struct json_object *object = NULL;
	char boot_id[64];
	int r;

	if (gone->cluster >= 0)
		return gone->cluster;
	r = stow_root_read_buf(gone->root, boot_id, sizeof(boot_id), err,
			       "/proc/sys/kernel/random/boot_id");
	if (r >= 0)
		r = stow_kube_get(gone->kube, "/api/v1/nodes", node, &object, err);
	if (r < 0 && r != -ENOENT)
		return r;
	gone->cluster = r == 0 && boot_id[0] &&
			strcmp(stow_kube_text(object, "metadata.name"), node) == 0 &&
			strcmp(stow_kube_text(object, "status.nodeInfo.bootID"), boot_id) == 0;
	return gone->cluster;
}

int agent_gone_drop(struct agent_gone *gone, const struct agent_claim_name *of, const char *share,
		    struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = check_cluster(gone, err);

	if (r < 0)
		return r;
	/* Whatever is not known keeps the lease. */
	if (r == 0)
		r = stow_err_set(&why, ENXIO,
				 "the API server does not have this boot of node %.64s",
				 agent_prepare_pool(gone->prepare));
	else
		r = agent_checkpoint_has(gone->root, gone->kubelet, of->uid, &why);
	if (r == 0)
		r = agent_unprepare_share(gone->prepare, of, share, &why);
	if (r != 0) {
		stow_log(STOW_LOG_INFO, "the lease of a claim that is gone is kept",
			 stow_text("uid", of->uid), stow_text("namespace", of->ns),
			 stow_text("name", of->name),
			 stow_text("reason", r > 0 ? "kubelet has it still" : why.msg));
		return 0;
	}
	stow_log(STOW_LOG_NOTICE, "dropped the lease of a claim that is gone",
		 stow_text("uid", of->uid), stow_text("namespace", of->ns),
		 stow_text("name", of->name));
	return 1;
}
