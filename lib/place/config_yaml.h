/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The shape of config.yaml as libcyaml reads it, before config.c gives it a meaning. Text stays
 * text here, so that an error about it can show what was written. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct stow_yaml_caps {
	uint32_t cpus;
	char *memory;
	char *hugepages;
};

struct stow_yaml_reserved {
	char *node;
	char *cpus;
	uint32_t *count;
	char *memory;
};

struct stow_yaml_namespace {
	char *name;
	uint32_t cpus;
	char *memory;
	char *hugepages;
	char *exclusive_cpus;
};

struct stow_yaml {
	char *mode;
	char *default_policy;
	struct stow_yaml_reserved *reserved;
	unsigned int reserved_count;
	struct stow_yaml_caps *caps;
	struct stow_yaml_namespace *namespaces;
	unsigned int namespaces_count;
	char **allowed_keys;
	unsigned int allowed_keys_count;
	char **runtimes;
	unsigned int runtimes_count;
	uint32_t *lease_seconds;
	char *full_cores;
	char *adopt;
	char *partitions;
};

/* *ret_yaml is NULL for a file without content; freed with stow_yaml_free(). -EINVAL with
 * "NAME:LINE: what is wrong". */
int stow_yaml_load(const char *text, size_t len, const char *name, struct stow_yaml **ret_yaml,
		   struct stow_err *err);
void stow_yaml_free(struct stow_yaml *yaml);

/* The line of a value: of `key` at the top, or with `field` of that field in entry `index` of the
 * list (or in the mapping) under `key`. 0 when it is not there. */
unsigned int stow_yaml_line(const char *text, size_t len, const char *key, size_t index,
			    const char *field);

static inline void stow_yaml_free_ptr(struct stow_yaml **y)
{
	if (*y)
		stow_yaml_free(*y);
}
