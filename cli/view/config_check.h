/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Configuration files, checked by the programs that read them. */

#include <stddef.h>

struct config_file {
	const char *name;    /* "agent.yaml", in /etc/numastow */
	const char *program; /* that reads it; NULL: this one */
	const char *check;   /* how it is asked to check a file */
};

enum { CONFIG_HOOK, CONFIG_AGENT, CONFIG_SCHEDULER, CONFIG_CLIENT, CONFIG_FILES };

extern const struct config_file config_files[CONFIG_FILES];

/* Format the path of a file in /etc/numastow of a copied tree, or of this machine ("/"). Return
 * `buf`. */
const char *config_path(const struct config_file *file, const char *sysroot, char *buf,
			size_t size);

/* Check a file by its path on this machine, also in a copied tree. Return 0: it is valid. Else
 * `text` has the reason, without the program's name: 1: it has a fault, or is not there; -EACCES:
 * only root can check it; -ENOENT: the program is not installed here; -ETIMEDOUT: it did not
 * answer; another -errno. */
int config_check(const struct config_file *file, const char *path, char *text, size_t size);
/* Check a file that was found, not named by a user: a FIFO, to which no program may ever write, is
 * a fault. */
int config_check_found(const struct config_file *file, const char *path, char *text, size_t size);
