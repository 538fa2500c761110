// SPDX-License-Identifier: Apache-2.0
/* Quantities, page sizes and numbers. */
#include "fuzz.h"

#include "base/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), buf[64];
	struct stow_err err = { 0 };
	uint64_t v, again;
	int r = stow_parse_quantity(text, &v, &err);

	FUZZ_CHECK_ERR(r, &err);
	if (r == 0) {
		FUZZ_CHECK(v <= INT64_MAX);
		(void)stow_format_size(v, buf, sizeof(buf));
		(void)stow_format_amount(v, buf, sizeof(buf));
	}
	/* A proposal is a quantity, and has harmless characters only. */
	if (stow_quantity_meant(text, buf, sizeof(buf))) {
		FUZZ_CHECK(strspn(buf, "0123456789.KMGTPi") == strlen(buf));
		FUZZ_CHECK(stow_parse_quantity(buf, &v, NULL) == 0);
	}
	err = (struct stow_err){ 0 };
	r = stow_parse_pagesize(text, &v, &err);
	FUZZ_CHECK_ERR(r, &err);
	if (r == 0) {
		FUZZ_CHECK(v && (v & (v - 1)) == 0);
		FUZZ_CHECK(v < 1024 ||
			   (stow_parse_pagesize(stow_format_pagesize(v, buf, sizeof(buf)), &again,
						NULL) == 0 &&
			    again == v));
	}
	err = (struct stow_err){ 0 };
	r = stow_parse_u64(text, UINT32_MAX, &v, &err);
	FUZZ_CHECK_ERR(r, &err);
	FUZZ_CHECK(r < 0 || v <= UINT32_MAX);
	free(text);
	return 0;
}
