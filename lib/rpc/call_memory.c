/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that lives as long as its call. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/internal.h"

struct rpc_chunk {
	struct rpc_chunk *next;
	max_align_t data[];
};

void *stow_rpc_alloc(struct stow_rpc_call *call, size_t size)
{
	struct rpc_chunk *chunk = calloc(1, sizeof(*chunk) + size);

	if (!chunk)
		return NULL;
	chunk->next = call->chunks;
	call->chunks = chunk;
	return chunk->data;
}

char *stow_rpc_printf(struct stow_rpc_call *call, const char *fmt, ...)
{
	char *text = NULL, *copy = NULL;
	va_list args;
	int len;

	va_start(args, fmt);
	len = vasprintf(&text, fmt, args);
	va_end(args);
	if (len < 0)
		return NULL;
	copy = stow_rpc_alloc(call, (size_t)len + 1);
	if (copy)
		memcpy(copy, text, (size_t)len + 1);
	free(text);
	return copy;
}

void rpc_call_free_chunks(struct stow_rpc_call *call)
{
	while (call->chunks) {
		struct rpc_chunk *chunk = call->chunks;

		call->chunks = chunk->next;
		free(chunk);
	}
}
