/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the fuzz targets share. libFuzzer has the main(), or replay.c for a corpus. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold whatever the input is. */
#define FUZZ_CHECK(condition)                                                            \
	do {                                                                             \
		if (!(condition)) {                                                      \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, \
				#condition);                                             \
			abort();                                                         \
		}                                                                        \
	} while (0)

/* The error convention: -errno with the same number and one line of text in `err`. */
#define FUZZ_CHECK_ERR(r, err) \
	FUZZ_CHECK((r) >= 0 || ((err)->code == -(r) && fuzz_one_line((err)->msg)))

static inline int fuzz_one_line(const char *msg)
{
	return msg[0] != '\0' && !strchr(msg, '\n');
}

/* The input as text with an end, in a buffer of just that size. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	return text;
}
