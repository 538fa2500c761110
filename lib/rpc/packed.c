/* SPDX-License-Identifier: Apache-2.0 */
/* A packed message that several streams share. */
#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <stdlib.h>

#include "rpc/internal.h"

struct stow_rpc_packed {
	atomic_int refs;
	grpc_slice slice; /* counts its own references, those of the streams */
};

struct stow_rpc_packed *stow_rpc_packed_new(uint8_t *bytes, size_t size)
{
	struct stow_rpc_packed *packed = bytes ? malloc(sizeof(*packed)) : NULL;

	if (!packed) {
		free(bytes);
		return NULL;
	}
	atomic_init(&packed->refs, 1);
	packed->slice = grpc_slice_new(bytes, size, free);
	return packed;
}

struct stow_rpc_packed *stow_rpc_packed_ref(struct stow_rpc_packed *packed)
{
	atomic_fetch_add(&packed->refs, 1);
	return packed;
}

void stow_rpc_packed_unref(struct stow_rpc_packed *packed)
{
	if (!packed || atomic_fetch_sub(&packed->refs, 1) != 1)
		return;
	grpc_slice_unref(packed->slice);
	free(packed);
}

size_t stow_rpc_packed_size(const struct stow_rpc_packed *packed)
{
	return GRPC_SLICE_LENGTH(packed->slice);
}

grpc_byte_buffer *rpc_packed_buffer(const struct stow_rpc_packed *packed)
{
	grpc_slice slice = packed->slice;

	return grpc_raw_byte_buffer_create(&slice, 1);
}
