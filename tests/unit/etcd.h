/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An etcd of one member on loopback, for a test program: Debian's etcd-server. */

#include <sys/types.h>

struct unit_etcd {
	pid_t pid;
	char dir[64];
	char url[64]; /* "http://127.0.0.1:PORT" */
};

/* Whether it runs; else why not is printed. */
int unit_etcd_start(struct unit_etcd *etcd);
/* Ends it and removes its files. */
void unit_etcd_stop(struct unit_etcd *etcd);
