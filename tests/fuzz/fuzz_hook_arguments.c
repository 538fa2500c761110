// SPDX-License-Identifier: Apache-2.0
/* The hook's arguments, which come from a CDI file: a line each. */
#include "fuzz.h"

#include "grant/claim.h"
#include "oci-hook/hook.h"

#define ARGUMENTS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), *rest = text, *argv[ARGUMENTS_MAX + 1] = { NULL };
	struct hook_call call = { 0 };
	struct stow_err err = { 0 };
	int argc = 0, r;

	while (argc < ARGUMENTS_MAX && rest)
		argv[argc++] = strsep(&rest, "\n");
	r = hook_call_parse(argc, argv, &call, &err);
	FUZZ_CHECK_ERR(r, &err);
	if (r == 0) {
		FUZZ_CHECK(!call.claim == !call.share);
		/* They become keys of the ledger, and words of messages. */
		FUZZ_CHECK(!call.claim || (strlen(call.claim) == 36 && strlen(call.share) == 36));
		FUZZ_CHECK(!call.claim || !stow_claim_check_uid(call.share, "it", NULL));
		FUZZ_CHECK(!call.claim || call.command != HOOK_PRECREATE);
	}
	free(text);
	return 0;
}
