/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The kernel's NUMA-related settings: one table of what they are, where kernels keep them, and how
 * they survive a boot.
 *
 * A knob is an entry of the table; a setting is a knob as this machine has it, with its file and
 * value. A knob whose name has a '*' stands for several files, one for each NUMA node, page size or
 * memory tier. Names are those of the kernel: a sysctl's is the last component of its path
 * ("swappiness", and "vm.swappiness" and the path are accepted, too), a kernel parameter's is its
 * own. Defaults and paths are those of the kernel's sources and documentation
 * (Documentation/admin-guide/sysctl, admin-guide/mm, kernel-parameters.txt, Documentation/ABI);
 * where the default depends on the machine or the kernel's configuration, `depends` says on what.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

#define STOW_KNOB_PATHS 2   /* places of one knob, over kernel versions */
#define STOW_KNOB_NAME	96  /* bytes of a setting's name, with the NUL */
#define STOW_KNOB_PATH	160 /* bytes of a setting's path */
#define STOW_KNOB_TEXT	512 /* bytes of a value */

enum stow_knob_kind {
	STOW_KNOB_NUMBER,
	STOW_KNOB_SWITCH, /* read as 0 and 1, N and Y, or false and true; written as 0 and 1 */
	STOW_KNOB_WORD,	  /* one of `words`; the kernel may print all, the valid one in brackets */
	STOW_KNOB_LIST,	  /* numbers, separated by blanks */
	STOW_KNOB_RANGES, /* a set in list format */
	STOW_KNOB_STRING,
};

/* Where a value is written so that it survives a boot. */
enum stow_knob_persist {
	STOW_PERSIST_NONE,
	STOW_PERSIST_SYSCTL,	/* STOW_SYSCTL_FILE */
	STOW_PERSIST_TMPFILES,	/* STOW_TMPFILES_FILE */
	STOW_PERSIST_PARAMETER, /* the kernel's command line, which the administrator edits */
};

#define STOW_SYSCTL_FILE   "/etc/sysctl.d/60-numastow.conf"
#define STOW_TMPFILES_FILE "/etc/tmpfiles.d/60-numastow.conf"

enum stow_knob_flags {
	STOW_KNOB_READ_ONLY = 1 << 0,
	STOW_KNOB_BOOT = 1 << 1, /* a kernel parameter: its value is on the command line */
	STOW_KNOB_GONE = 1 << 2, /* no supported kernel has it, or it has no effect: `instead` */
	/* KiB that the kernel keeps free: at most a quarter of the memory is accepted, because the
	 * kernel accepts any number, and then kills processes at once. */
	STOW_KNOB_KEPT_FREE = 1 << 3,
};

struct stow_knob {
	const char *name;
	const char *group; /* "balancing", "tiers", "reclaim", ... in the table's order */
	const char *paths[STOW_KNOB_PATHS]; /* the newest first */
	enum stow_knob_kind kind;
	uint64_t min, max;	  /* of a number, or of each number of a list; max 0: none */
	const char *const *words; /* NULL-terminated; the valid ones of any supported kernel */
	const char *fallback;	  /* the default; NULL: it depends */
	const char *depends;	  /* on what it depends; or NULL */
	const char *unit;	  /* "kB", "ms", ...; NULL: a plain number */
	enum stow_knob_persist persist;
	const char *parameter; /* the kernel parameter that sets it at boot; or NULL */
	unsigned int flags;    /* of enum stow_knob_flags */
	const char *since;     /* the first kernel version that has it; NULL: before 4.0 */
	const char *instead;   /* what to use instead, for what cannot be set here */
	const char *meaning;   /* one sentence */
};

enum stow_knob_state {
	STOW_KNOB_PRESENT,
	STOW_KNOB_ABSENT,     /* this kernel does not have it; of a parameter: it is not given */
	STOW_KNOB_HIDDEN,     /* it cannot be read: only root can, or debugfs is not mounted */
	STOW_KNOB_UNREADABLE, /* its file has nothing that makes sense */
	STOW_KNOB_LEFT,	      /* the kernel of this machine is not one that has it: it is gone */
};

const char *stow_knob_state_name(enum stow_knob_state state);
const char *stow_knob_persist_name(enum stow_knob_persist persist);

struct stow_knob_setting {
	const struct stow_knob *knob;
	enum stow_knob_state state;
	char name[STOW_KNOB_NAME];    /* with a number in place of the '*' */
	char path[STOW_KNOB_PATH];    /* "": none; of an absent one: where a newest kernel has it */
	char value[STOW_KNOB_TEXT];   /* "" unless present; of words the valid one */
	char choices[STOW_KNOB_TEXT]; /* of words: those that this kernel lists; "" otherwise */
	char why[STOW_KNOB_TEXT];     /* one line: why there is no value; "" if there is one */
};

struct stow_knob_settings {
	struct stow_knob_setting *list;
	size_t n;
};

/* Return the table, and how many knobs it has. */
const struct stow_knob *stow_knobs(size_t *ret_n);

/* Read all settings, in the table's order. What cannot be read is in the list, with its reason;
 * only -ENOMEM is an error. */
int stow_knobs_read(struct stow_root *root, struct stow_knob_settings *ret, struct stow_err *err);
/* Read the settings of a name, sysctl name or path. A knob's name with its '*' gives all of its
 * settings. -ENOENT: there is no such knob, with the nearest name. */
int stow_knobs_read_named(struct stow_root *root, const char *name, struct stow_knob_settings *ret,
			  struct stow_err *err);
void stow_knob_settings_done(struct stow_knob_settings *settings);

/* Check a value without changing anything, and put it into `ret` as the kernel wants it. -EINVAL or
 * -ERANGE: the message names the setting and the value, and says what would be valid. -EROFS: it
 * cannot be set while the kernel runs, with what to do instead. */
int stow_knob_check(struct stow_root *root, const struct stow_knob_setting *setting,
		    const char *text, char ret[static STOW_KNOB_TEXT], struct stow_err *err);

/* Check, write, and read back; `setting` has what the kernel made of it. -EIO: the kernel accepted
 * the value and has another one. -EROFS, -EINVAL, -ERANGE as above: nothing was written. */
int stow_knob_set(struct stow_root *root, struct stow_knob_setting *setting, const char *text,
		  struct stow_err *err);

/* Put a checked value into the file from which it is set at boot, in place of an earlier one; other
 * lines stay. -EOPNOTSUPP: it is not set from a file. */
int stow_knob_persist(struct stow_root *root, const struct stow_knob_setting *setting,
		      const char *value, struct stow_err *err);
/* Return the kernel parameter that gives a checked value at boot ("numa_balancing=enable"), in
 * `buf`; NULL: there is none. */
const char *stow_knob_parameter(const struct stow_knob_setting *setting, const char *value,
				char *buf, size_t size);

/* Collect the values of a kernel parameter on the command line, in order and separated by blanks; a
 * parameter without a value gives "". Return how many there are. */
int stow_cmdline_get(const char *cmdline, const char *name, char *buf, size_t size);
