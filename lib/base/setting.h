/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Settings, described by tables. A setting is a key of a YAML file (base/yaml.h), and of a daemon
 * also an option of the command line (rpc/settings.h), with the same name, check and error
 * messages.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum stow_setting_type {
	STOW_SETTING_TEXT,     /* char *; min and max count bytes */
	STOW_SETTING_LIST,     /* char **, NULL-terminated; NULL: empty; min counts entries */
	STOW_SETTING_NUMBER,   /* uint64_t */
	STOW_SETTING_COUNT,    /* uint32_t */
	STOW_SETTING_DURATION, /* uint64_t, ns; "500ms", "1s", "5m", "2h" */
	STOW_SETTING_SIZE,     /* uint64_t, bytes; "64Mi" */
	STOW_SETTING_MEMORY,   /* uint64_t, bytes; 0, or from a page, which is min */
	STOW_SETTING_SWITCH,   /* bool; "true", "yes", "on" and their opposites */
	STOW_SETTING_WORD,     /* int or an enum, the index in `words` */
	STOW_SETTING_IDS,      /* struct stow_idset; "0-3,8" */
	STOW_SETTING_ID,       /* int, the number of a NUMA node; "*" is -1 */
};

struct stow_setting {
	const char *name; /* "heartbeat-interval" */
	enum stow_setting_type type;
	size_t offset;		  /* of the value in the program's struct */
	uint64_t min, max;	  /* max 0: none */
	const char *const *words; /* NULL-terminated */
	const char *arg;	  /* for --help: "ADDRESS" */
	const char *help;
};

/* Return the setting of that name in a table, or NULL. A table ends with a setting without a
 * name. */
const struct stow_setting *stow_setting_find(const struct stow_setting *settings, const char *name);

/* Set the value of a setting from text; a list from "a,b,c". -EINVAL: the message quotes the text
 * and says what would be valid, but does not name the setting; -ENOMEM. */
int stow_setting_set(const struct stow_setting *setting, void *base, const char *text,
		     struct stow_err *err);

/* Append `len` bytes of `text` to a NULL-terminated list, which may be NULL. */
int stow_list_append(char ***list, const char *text, size_t len, struct stow_err *err);
/* Free a NULL-terminated list and set it to NULL. */
void stow_list_clear(char ***list);

/* Free texts and lists, and set them to NULL. */
void stow_settings_done(const struct stow_setting *settings, void *base);
