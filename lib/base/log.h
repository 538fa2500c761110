/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The journal: one line per change that numastow makes, with structured fields.
 *
 * It speaks journald's native datagram protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL) and falls back
 * to syslog(3): the hook must not load libsystemd for one sendto(2). Libraries never log; the hook,
 * the agent and the command do.
 */

#include <stddef.h>

enum stow_log_level { /* as in syslog(3) */
		      STOW_LOG_ERR = 3,
		      STOW_LOG_WARNING = 4,
		      STOW_LOG_NOTICE = 5,
		      STOW_LOG_INFO = 6,
		      STOW_LOG_DEBUG = 7,
};

struct stow_log_field {
	const char *key; /* upper case, digits and '_': "NUMASTOW_CONTAINER" */
	const char *value;
};

/* Send one entry of priority "notice"; newlines in the message become blanks. Failures are ignored:
 * there is no other place to report them. */
void stow_log_audit(const char *message, const struct stow_log_field *fields, size_t n_fields);
