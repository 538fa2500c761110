/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a container was given with which it can undo what numastow promises to others. */

#include <stdbool.h>
#include <stddef.h>

#include <json-c/json.h>

/*
 * Whether config.json lets the container write, or open, other containers' cgroups; then why, in
 * one line of printable ASCII:
 *
 *   - it is in no cgroup namespace of its own and has a writable cgroup mount;
 *   - a folder of the machine with the cgroup file systems in it is mounted writable;
 *   - CAP_DAC_READ_SEARCH, with which open_by_handle_at(2) opens any folder of a file system of
 *     which it has one, the cgroups' included.
 */
bool hook_config_warn(struct json_object *config, char *buf, size_t size);
