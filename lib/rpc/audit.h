/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The audit: which peer asked for what, and the result. One line in the log for each call that
 * changes something or was refused for lack of permission, and a counter for every call, by method
 * and code.
 *
 *	request: method=Place caller=ops address=ipv4:10.0.0.7:41204
 *		request="pods=1[cpus=4]" code=OK result="8f3c...:0@web-3" duration_us=412
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "rpc/rpc.h"

#define STOW_AUDIT_METHODS 16
#define STOW_AUDIT_CODES   17

struct stow_audit {
	const struct stow_rpc_service *service;
	const char *const *changing; /* methods that change something; NULL-terminated */
	_Atomic uint64_t counts[STOW_AUDIT_METHODS][STOW_AUDIT_CODES];
};

/* Handle the end of a call: the service's `ended`, with the audit as its context. */
void stow_audit_ended(struct stow_audit *audit, const struct stow_rpc_ended *ended);

/* Write the head and the values of a counter with the labels method and code. */
void stow_audit_render(FILE *out, const char *name, const struct stow_audit *audit);
