/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Latency and bandwidth between nodes that `numastow measure --save` has kept. They hold while the
 * firmware is the same: its version, SRAT, SLIT and HMAT, of which a digest is kept with them.
 */

#include <stddef.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/root.h"
#include "base/timestamp.h"

#define STOW_MEASURED_FOLDER "/var/lib/numastow"
#define STOW_MEASURED_PATH   STOW_MEASURED_FOLDER "/measure.json"

/* From the CPUs of a node to the memory of another, or of the same. 0: not measured. */
struct stow_measured_pair {
	int from, to;
	double latency, latency_4k; /* ns of a load, with pages of 2 MiB and of 4 KiB */
	double read, read_write;    /* 10^6 bytes per second */
};

enum stow_measured_firmware {
	STOW_MEASURED_SAME,
	STOW_MEASURED_OTHER,
	STOW_MEASURED_UNKNOWN, /* only root can read the tables */
};

struct stow_measured {
	struct stow_measured_pair *pairs; /* by ascending `to`, then `from` */
	size_t n;			  /* 0: nothing was kept */
	char time[STOW_TIMESTAMP_MAX];
	char virtualization[16]; /* "none", "hypervisor"; "": not known */
	enum stow_measured_firmware firmware;
};

/* Read them; without the file there are none. -EINVAL: it is not what was kept. Free with
 * stow_measured_done(). */
int stow_measured_read(struct stow_root *root, struct stow_measured *ret, struct stow_err *err);
void stow_measured_done(struct stow_measured *measured);

/* Compute the digest of the firmware; "": only root can. */
void stow_measured_digest(struct stow_root *root, char ret[static STOW_DIGEST_LEN + 1]);
