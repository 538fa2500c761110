// SPDX-License-Identifier: Apache-2.0
/* The OCI state on the hook's standard input, up to the request of the container it names. */
#include "fuzz.h"

#include "oci-hook/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hook_container c = { 0 };
	struct stow_err err = { 0 };
	struct stow_request request;
	char *text = fuzz_text(data, size);
	int r = hook_parse_state(text, size, &c, &err);

	FUZZ_CHECK_ERR(r, &err);
	if (r == 0) {
		/* It becomes the name of a file. */
		FUZZ_CHECK(c.id && c.id[0] && c.id[0] != '.' && !strchr(c.id, '/'));
		FUZZ_CHECK(c.pid >= 0);
		FUZZ_CHECK(!c.name || !strchr(c.name, '/'));
		r = stow_request_parse(c.annotations, c.n_annotations, c.name, NULL,
				       STOW_POLICY_SINGLE_NUMA_NODE, &request, &err);
		FUZZ_CHECK_ERR(r, &err);
	}
	hook_container_done(&c);
	free(text);
	return 0;
}
