/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An etcd of one member on loopback, for a test program: Debian's etcd-server. */

#include <sys/types.h>

struct unit_etcd {
	pid_t pid;
	char dir[64];
	char url[64]; /* "http://127.0.0.1:PORT" */
};

/* Start it. Return 1, or 0 when it cannot run, after printing why. */
int unit_etcd_start(struct unit_etcd *etcd);
/* End it, and remove its files. */
void unit_etcd_stop(struct unit_etcd *etcd);
