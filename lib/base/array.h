/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdlib.h>
#include <string.h>

/* Make room for one more element, zeroed, behind n elements. The room is a power of two: a list
 * that grows one by one is copied a few times only, because realloc() returns at once when the size
 * is the same. Return the list, or NULL (out of memory; the old list is as before). */
static inline void *stow_array_grow(void *list, size_t n, size_t size)
{
	size_t room = 4;
	char *grown;

	while (room <= n)
		room *= 2;
	grown = reallocarray(list, room, size);
	if (grown)
		memset(grown + n * size, 0, size);
	return grown;
}

/* Append a zeroed element to a list of n elements. Return its address, or NULL (out of memory;
 * nothing has changed). Both arguments are evaluated several times. The list may come from any
 * allocation, and is freed with free(). */
#define STOW_APPEND(list, n)                                                         \
	({                                                                           \
		typeof(list) grown_ = stow_array_grow((list), (n), sizeof(*(list))); \
		if (grown_)                                                          \
			(list) = grown_;                                             \
		grown_ ? &(list)[(n)++] : NULL;                                      \
	})
