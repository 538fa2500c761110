// SPDX-License-Identifier: Apache-2.0
/* The OCI state on the hook's standard input, up to the request of the container it names. */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "oci-hook/input.h"
#include "oci-hook/state.h"

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Shortened it names the same container, which asks for something as before. */
static void check_shortened(const char *text, size_t size, const struct hook_container *whole)
{
	int fd = memfd_create("state", MFD_CLOEXEC);
	struct hook_container c = { 0 };
	struct hook_input input = { 0 };

	FUZZ_CHECK(write(fd, text, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
	FUZZ_CHECK(hook_input_read(fd, 0, &input, NULL) == 0);
	close(fd);
	FUZZ_CHECK(input.text[input.len] == '\0'); /* the input may have more NULs */
	if (whole) {
		FUZZ_CHECK(hook_parse_state(input.text, input.len, &c, NULL) == 0);
		FUZZ_CHECK(same(c.id, whole->id) && same(c.bundle, whole->bundle));
		FUZZ_CHECK(c.pid == whole->pid && c.annotated == whole->annotated);
	}
	hook_container_done(&c);
	hook_input_done(&input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hook_container c = { 0 };
	struct stow_err err = { 0 };
	struct stow_request request;
	char *text = fuzz_text(data, size);
	int r = hook_parse_state(text, size, &c, &err);

	FUZZ_CHECK_ERR(r, &err);
	if (size)
		check_shortened(text, size, r == 0 ? &c : NULL);
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
