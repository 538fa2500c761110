/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Reading YAML files by a table, with libyaml. Keys that are not in the table are refused.
 *
 *	mode: enforce			a setting
 *	caps:				a mapping in the mapping
 *	  memory: 64Gi
 *	reserved:			a list of mappings
 *	  - node: 0
 *	    cpus: 0-1
 *
 * An error names the file, the line, the key, the value and what would be valid:
 * "/etc/numastow/config.yaml:6: reserved.cpus: \"x\" is not a list like 0-3,8".
 *
 * The table bounds the depth; lists have at most 4096 entries and values 4096 bytes, or what their
 * setting's `max` allows beyond. Aliases are refused, so that a small file cannot expand.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/setting.h"

#define STOW_YAML_MAX (1U << 20) /* bytes of a file */

struct stow_yaml_nested;

/* A key of another program's file whose value is skipped, whatever it is. */
struct stow_yaml_other {
	const char *name;
	size_t offset; /* of a bool in the mapping's struct, which becomes true */
};

/* A mapping: its keys are settings, and other mappings. At most 96 keys in all. */
struct stow_yaml_table {
	const struct stow_setting *settings;
	const struct stow_yaml_nested *nested; /* ends with an entry without a name; NULL: none */
	const struct stow_yaml_other *others;  /* ends with an entry without a name; NULL: none */
	const char *required;		       /* a key that must be given; NULL: none */
	/* Check a text, or an entry of a list, further; NULL: no check. */
	int (*check)(const struct stow_setting *setting, const char *text, struct stow_err *err);
	/* Read null as an empty list, here and in lists of these mappings: other programs write
	 * that. */
	bool nulls;
};

/* A mapping, or a list of mappings, that is the value of a key. */
struct stow_yaml_nested {
	const char *name;
	const struct stow_yaml_table *table;
	size_t offset; /* of the mapping's struct, or of the pointer to a list's array of structs */
	size_t entry_size; /* of an entry of a list; 0: one mapping */
	size_t n_offset;   /* of a list's size_t that counts the entries */
	size_t min;	   /* least number of entries of a list */
	/* Check the keys of entry `n` together, and against the entries before it. lines[i] is the
	 * line of the table's i-th setting, 0 when it is not given. *ret_key: the setting that is
	 * at fault. NULL: no check. */
	int (*check)(const void *entries, size_t n, const unsigned int *lines, size_t *ret_key,
		     struct stow_err *err);
};

/* Read a text into `base`; `name` stands for the file in messages. Settings that are not given keep
 * their values. On failure `base` has what was read before; free it as after success. */
int stow_yaml_parse(const struct stow_yaml_table *table, void *base, const char *text, size_t len,
		    const char *name, struct stow_err *err);
