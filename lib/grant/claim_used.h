/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "grant/context.h"

/*
 * Return how much of a share's promise on `node` its containers use together, at most the promise:
 * bytes of memory with `page_size` 0, else pages. The containers are searched for in `records`.
 */
uint64_t stow_claim_used(struct stow_root *root, struct stow_record *const *records, size_t n,
			 const struct stow_record *share, int node, uint64_t page_size);
