/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

/* Where a program of ours is that this one starts: beside this one (as in a build tree, and for
 * what is installed to the same directory), else in STOW_LIBEXECDIR. Returns `buf`. */
const char *stow_helper_path(const char *name, char *buf, size_t size);
