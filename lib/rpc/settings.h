/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A daemon's settings, described by a table (base/setting.h). Each setting is a key of the
 * configuration file and an option of the command line.
 *
 *	listen: 0.0.0.0:7200		--listen 0.0.0.0:7200
 *	scheduler:			--scheduler a:7200,b:7200
 *	  - a:7200
 *	  - b:7200
 *
 * An option takes precedence over the file.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"
#include "base/setting.h"

/* Read a file into `base`. With `optional`, a missing file changes nothing. `path` is the
 * administrator's, not within a root. */
int stow_settings_load(const struct stow_setting *settings, void *base, const char *path,
		       bool optional, struct stow_err *err);
/* Do the same from memory; `name` stands for the file in messages. */
int stow_settings_parse(const struct stow_setting *settings, void *base, const char *text,
			size_t len, const char *name, struct stow_err *err);

/*
 * Parse the command line: every setting as --NAME VALUE or --NAME=VALUE, and the switches in `own`
 * (NULL-terminated, without dashes), each of which sets its entry of `given`. "config" sets
 * *ret_config. -EINVAL with one line.
 */
int stow_settings_flags(const struct stow_setting *settings, void *base, int argc, char **argv,
			const char *const *own, bool *given, const char **ret_config,
			struct stow_err *err);

/* Do the same for a command that also takes words: put them into `words`, which has room for
 * `argc`, in their order; "--" ends the options. */
int stow_settings_arguments(const struct stow_setting *settings, void *base, int argc, char **argv,
			    const char *const *own, bool *given, const char **ret_config,
			    const char **words, size_t *ret_n_words, struct stow_err *err);

/* Print the options with their help, which begins at `column`, for --help. */
void stow_settings_help(const struct stow_setting *settings, int column, FILE *out);
