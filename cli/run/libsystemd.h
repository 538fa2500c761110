/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * libsystemd, which is loaded when a scope is made: it and the libraries that it needs take as long
 * to load as all the rest of numastow-run, and only cgroup v2 with systemd needs it.
 */

#include <systemd/sd-bus.h>

#include "base/err.h"

/* The functions that are used, as members of the same name. */
#define RUN_LIBSYSTEMD(F)                 \
	F(sd_bus_open_system)             \
	F(sd_bus_new)                     \
	F(sd_bus_set_address)             \
	F(sd_bus_start)                   \
	F(sd_bus_flush_close_unref)       \
	F(sd_bus_process)                 \
	F(sd_bus_wait)                    \
	F(sd_bus_match_signal)            \
	F(sd_bus_call)                    \
	F(sd_bus_message_new_method_call) \
	F(sd_bus_message_append)          \
	F(sd_bus_message_append_array)    \
	F(sd_bus_message_open_container)  \
	F(sd_bus_message_close_container) \
	F(sd_bus_message_read)            \
	F(sd_bus_message_unref)           \
	F(sd_bus_error_free)

struct run_libsystemd {
#define RUN_LIBSYSTEMD_MEMBER(name) typeof(name) *name;
	RUN_LIBSYSTEMD(RUN_LIBSYSTEMD_MEMBER)
#undef RUN_LIBSYSTEMD_MEMBER
};

/* Load the library, for the rest of the process. -ELIBACC: it is not there, or lacks a function. */
int run_load_libsystemd(struct run_libsystemd *ret, struct stow_err *err);
