/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/epoch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/parse.h"

int agent_epoch_read(struct stow_root *root, uint64_t *ret_epoch, struct stow_err *err)
{
	char text[32];
	int r = stow_root_read_buf(root, text, sizeof(text), err, "%s", AGENT_EPOCH_PATH);

	*ret_epoch = 0;
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	return stow_parse_u64(text, UINT64_MAX, ret_epoch, NULL) < 0
		       ? stow_err_set(err, EUCLEAN, "%s: \"%s\" is not a number", AGENT_EPOCH_PATH,
				      text)
		       : 0;
}

int agent_epoch_write(struct stow_root *root, uint64_t epoch, struct stow_err *err)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64 "\n", epoch);
	return stow_root_replace(root, AGENT_EPOCH_PATH, text, 0600, err);
}
