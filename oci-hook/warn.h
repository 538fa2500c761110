/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Detecting containers that can break numastow's promises to other containers. */

#include <stdbool.h>
#include <stddef.h>

#include <json-c/json.h>

/*
 * Return whether config.json lets the container write to, or open, other containers' cgroups. If
 * so, `buf` has the reason, in one line of printable ASCII:
 *
 *   - it is in no cgroup namespace of its own and has a writable cgroup mount;
 *   - a folder of the machine with the cgroup file systems in it is mounted writable;
 *   - CAP_DAC_READ_SEARCH, with which open_by_handle_at(2) opens any folder of a file system of
 *     which it has one, the cgroups' included.
 */
bool hook_config_warn(struct json_object *config, char *buf, size_t size);
