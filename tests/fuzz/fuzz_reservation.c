// SPDX-License-Identifier: Apache-2.0
/* The annotation that names a reservation. */
#include "fuzz.h"

#include "place/reservation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	struct stow_reservation_name name;
	struct stow_err err = { 0 };
	int r = stow_reservation_parse(text, &name, &err);

	FUZZ_CHECK_ERR(r, &err);
	if (r == 0) {
		FUZZ_CHECK(strlen(name.id) == STOW_RESERVATION_ID_LEN);
		FUZZ_CHECK(!stow_idset_empty(&name.nodes) && name.machine[0]);
		FUZZ_CHECK(strncmp(text, name.id, STOW_RESERVATION_ID_LEN) == 0);
		FUZZ_CHECK(strcmp(strrchr(text, '@') + 1, name.machine) == 0);
	}
	free(text);
	return 0;
}
