/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A daemon's settings: a table (base/setting.h) says what there is, and a setting is then a key of
 * the configuration file and an option of the command line.
 *
 *	listen: 0.0.0.0:7200		--listen 0.0.0.0:7200
 *	scheduler:			--scheduler a:7200,b:7200
 *	  - a:7200
 *	  - b:7200
 *
 * An option wins over the file.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"
#include "base/setting.h"

/* Read a file into `base`. With `optional` a file that is missing changes nothing. `path` is the
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
