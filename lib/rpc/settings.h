/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A daemon's settings: one table says what there is, and a setting is then a key of the
 * configuration file and a flag of the command line, with the same name, the same check and the
 *same words when it is wrong.
 *
 *	listen: 0.0.0.0:7200		--listen 0.0.0.0:7200
 *	scheduler:			--scheduler a:7200,b:7200
 *	  - a:7200
 *	  - b:7200
 *
 * The file is YAML, a mapping of scalars and lists of scalars (libyaml parses it); errors name
 *file, line, key and value. A flag wins over the file.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum stow_setting_type {
	STOW_SETTING_TEXT,     /* char * */
	STOW_SETTING_LIST,     /* char **, NULL-terminated; NULL: empty */
	STOW_SETTING_NUMBER,   /* uint64_t */
	STOW_SETTING_DURATION, /* uint64_t, ns; "500ms", "1s", "5m", "2h" */
	STOW_SETTING_SIZE,     /* uint64_t, bytes; "64Mi" */
	STOW_SETTING_SWITCH,   /* bool; "true", "false"; a flag without value means true */
	STOW_SETTING_WORD,     /* int, the index in `words` */
};

struct stow_setting {
	const char *name; /* "heartbeat-interval" */
	enum stow_setting_type type;
	size_t offset;		  /* of the value in the program's struct */
	uint64_t min, max;	  /* of numbers, durations, sizes; max 0: none */
	const char *const *words; /* NULL-terminated */
	const char *arg;	  /* for --help: "ADDRESS" */
	const char *help;
};

/* Reads a file into `base`. With `optional` a file that is missing changes nothing. `path` is the
 * administrator's, not within a root. */
int stow_settings_load(const struct stow_setting *settings, void *base, const char *path,
		       bool optional, struct stow_err *err);
/* The same from memory, `name` standing for the file. */
int stow_settings_parse(const struct stow_setting *settings, void *base, const char *text,
			size_t len, const char *name, struct stow_err *err);

/*
 * The command line: every setting as --NAME VALUE or --NAME=VALUE, and the switches in `own`
 * (NULL-terminated, without dashes), for which `given` gets a true each. "config" sets *ret_config.
 * -EINVAL with one line.
 */
int stow_settings_flags(const struct stow_setting *settings, void *base, int argc, char **argv,
			const char *const *own, bool *given, const char **ret_config,
			struct stow_err *err);

/* The same for a command that also takes words: they are put into `words`, room for `argc`, in
 * their order; "--" ends the options. */
int stow_settings_arguments(const struct stow_setting *settings, void *base, int argc, char **argv,
			    const char *const *own, bool *given, const char **ret_config,
			    const char **words, size_t *ret_n_words, struct stow_err *err);

/* The flags with what they mean, for --help. */
void stow_settings_help(const struct stow_setting *settings, FILE *out);

/* Frees texts and lists, and makes them NULL. */
void stow_settings_done(const struct stow_setting *settings, void *base);
