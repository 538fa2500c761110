// SPDX-License-Identifier: Apache-2.0
/* Annotations, one "KEY=VALUE" a line; the first line is the container's name. */
#include "fuzz.h"

#include "place/request.h"

#define LINES 64

static void complete(struct stow_request *request, bool cap)
{
	struct stow_limits limits = { .cpus = 3, .memory = UINT64_C(1) << 30, .n_pages = 1 };
	struct stow_err err = { 0 };
	char line[512], digest[STOW_DIGEST_LEN + 1];

	limits.pages[0].size = UINT64_C(2) << 20;
	limits.pages[0].count = 16;
	FUZZ_CHECK_ERR(stow_request_complete(request, &limits, cap, &err), &err);
	(void)stow_request_format(request, line, sizeof(line));
	stow_request_digest(request, digest);
	FUZZ_CHECK(strlen(digest) == STOW_DIGEST_LEN);
	FUZZ_CHECK(!strchr(line, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), *save = NULL;
	struct stow_annotation annotations[LINES];
	struct stow_request request, copy;
	const char *members[LINES];
	struct stow_err err = { 0 };
	size_t n = 0;
	char *name = strtok_r(text, "\n", &save);

	for (char *line; n < LINES && (line = strtok_r(NULL, "\n", &save));) {
		char *equals = strchr(line, '=');

		if (!equals)
			continue;
		*equals = '\0';
		annotations[n++] = (struct stow_annotation){ line, equals + 1 };
	}
	int r = stow_request_parse(annotations, n, name, NULL, STOW_POLICY_BEST_EFFORT, &request,
				   &err);

	FUZZ_CHECK_ERR(r, &err);
	if (r > 0) {
		FUZZ_CHECK(request.cpus <= STOW_CPUS_MAX && request.n_pages <= STOW_POOLS_MAX);
		copy = request;
		complete(&request, false);
		complete(&copy, true);
	}
	FUZZ_CHECK(stow_request_members(annotations, n, members, LINES) <= LINES);
	free(text);
	return 0;
}
