// SPDX-License-Identifier: Apache-2.0
/*
 * A transient scope of systemd (org.freedesktop.systemd1(5), StartTransientUnit). Its AllowedCPUs=
 * and AllowedMemoryNodes= enable the cpuset controller for it, and are what was planned: usually
 * the applier then finds the cgroup as it must be. Otherwise it sets what was granted, in the
 * cgroup and in these properties, as it does for containers.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/run/libsystemd.h"
#include "cli/run/run.h"

#define SYSTEMD	     "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
/* systemd's own socket, for root, which systemctl and systemd-run also use: the D-Bus daemon may
 * not be running. */
#define PRIVATE "unix:path=/run/systemd/private"
/* For all calls together. systemd handles one call after the other, and many programs may start at
 * once. */
#define TIMEOUT (90 * STOW_SECOND)

static struct run_libsystemd lib;

static void bus_close_ptr(sd_bus **bus)
{
	lib.sd_bus_flush_close_unref(*bus);
}

static void error_done(sd_bus_error *error)
{
	lib.sd_bus_error_free(error);
}

static void message_unref_ptr(sd_bus_message **m)
{
	lib.sd_bus_message_unref(*m);
}

static int bus_error(int r, const sd_bus_error *error, const char *what, struct stow_err *err)
{
	return stow_err_set(err, -r, "%s: %s", what,
			    error && error->message ? error->message : strerror(-r));
}

static int open_private(sd_bus **ret)
{
	_cleanup_(bus_close_ptr) sd_bus *bus = NULL;
	int r = lib.sd_bus_new(&bus);

	if (r >= 0)
		r = lib.sd_bus_set_address(bus, PRIVATE);
	if (r >= 0)
		r = lib.sd_bus_start(bus);
	if (r >= 0)
		*ret = STOW_TAKE_PTR(bus);
	return r;
}

static int open_bus(sd_bus **ret, struct stow_err *err)
{
	int r = open_private(ret);

	if (r < 0)
		r = lib.sd_bus_open_system(ret);
	return r < 0 ? stow_err_sys(err, -r, "systemd's own socket, and the system bus") : 0;
}

/* --- the job -------------------------------------------------------------- */

struct job {
	const char *path;
	bool done;
	char result[32];
};

static int on_removed(sd_bus_message *m, void *ctx, sd_bus_error *error)
{
	const char *path, *unit, *result;
	struct job *job = ctx;
	uint32_t id;

	if (lib.sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) < 0 || !job->path ||
	    strcmp(path, job->path) != 0)
		return 0;
	job->done = true;
	snprintf(job->result, sizeof(job->result), "%s", result);
	return 0;
}

static int wait_for(sd_bus *bus, const struct job *job, const char *unit, struct stow_err *err)
{
	uint64_t until = stow_clock_monotonic() + TIMEOUT;

	while (!job->done) {
		uint64_t now = stow_clock_monotonic();
		int r = lib.sd_bus_process(bus, NULL);

		if (r == 0 && now >= until)
			r = -ETIMEDOUT;
		if (r == 0)
			r = lib.sd_bus_wait(bus, (until - now) / 1000);
		if (r < 0)
			return stow_err_sys(err, -r, "waiting for systemd to start %s", unit);
	}
	if (strcmp(job->result, "done") == 0)
		return 0;
	return stow_err_set(err, EIO, "systemd could not start %s: %s", unit, job->result);
}

/* --- the unit ------------------------------------------------------------- */

static int append_set(sd_bus_message *m, const char *property, const struct stow_idset *set)
{
	uint8_t bytes[STOW_IDSET_MAX / 8];
	size_t n = stow_idset_to_bytes(set, bytes);
	int r;

	r = lib.sd_bus_message_open_container(m, 'r', "sv");
	if (r >= 0)
		r = lib.sd_bus_message_append(m, "s", property);
	if (r >= 0)
		r = lib.sd_bus_message_open_container(m, 'v', "ay");
	if (r >= 0)
		r = lib.sd_bus_message_append_array(m, 'y', bytes, n);
	for (int depth = 0; depth < 2 && r >= 0; depth++)
		r = lib.sd_bus_message_close_container(m);
	return r;
}

static int append_properties(sd_bus_message *m, const struct run *run,
			     const struct stow_idset *cpus, const struct stow_idset *mems)
{
	const char *slice = run->options->slice;
	int r;

	r = lib.sd_bus_message_append(m, "(sv)(sv)(sv)", "Description", "s", run->name, "PIDs",
				      "au", 1, (uint32_t)getpid(), "CollectMode", "s",
				      "inactive-or-failed");
	if (r >= 0 && slice)
		r = lib.sd_bus_message_append(m, "(sv)", "Slice", "s", slice);
	/* systemd would write its own limit again at each daemon-reload. */
	if (r >= 0 && run->request.memory)
		r = lib.sd_bus_message_append(m, "(sv)", "MemoryMax", "t", run->request.memory);
	if (r >= 0)
		r = append_set(m, "AllowedCPUs", cpus);
	return r < 0 ? r : append_set(m, "AllowedMemoryNodes", mems);
}

static int start(sd_bus *bus, const struct run *run, const char *unit,
		 const struct stow_idset *cpus, const struct stow_idset *mems, struct stow_err *err)
{
	_cleanup_(error_done) sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_(message_unref_ptr) sd_bus_message *m = NULL, *answer = NULL;
	struct job job = { 0 };
	int r;

	r = lib.sd_bus_match_signal(bus, NULL, NULL, SYSTEMD_PATH, SYSTEMD ".Manager", "JobRemoved",
				    on_removed, &job);
	if (r >= 0)
		r = lib.sd_bus_message_new_method_call(bus, &m, SYSTEMD, SYSTEMD_PATH,
						       SYSTEMD ".Manager", "StartTransientUnit");
	if (r >= 0)
		r = lib.sd_bus_message_append(m, "ss", unit, "fail");
	if (r >= 0)
		r = lib.sd_bus_message_open_container(m, 'a', "(sv)");
	if (r >= 0)
		r = append_properties(m, run, cpus, mems);
	if (r >= 0)
		r = lib.sd_bus_message_close_container(m);
	if (r >= 0)
		r = lib.sd_bus_message_append(m, "a(sa(sv))", 0);
	if (r >= 0)
		r = lib.sd_bus_call(bus, m, TIMEOUT / 1000, &error, &answer);
	if (r >= 0)
		r = lib.sd_bus_message_read(answer, "o", &job.path);
	if (r < 0)
		return bus_error(r, &error, unit, err);
	return wait_for(bus, &job, unit, err);
}

static int start_unit(const struct run *run, const char *unit, const struct stow_idset *cpus,
		      const struct stow_idset *mems, struct stow_err *err)
{
	_cleanup_(bus_close_ptr) sd_bus *bus = NULL;
	int r = open_bus(&bus, err);

	return r < 0 ? r : start(bus, run, unit, cpus, mems, err);
}

int run_join_scope(struct run *run, const struct stow_made_sets *sets, struct stow_err *err)
{
	char unit[STOW_PROGRAM_NAME_MAX + 32];
	struct stow_idset cpus = sets->cpus, mems = sets->mems;
	int r = 0;

	snprintf(unit, sizeof(unit), "numastow-%s.scope", run->name);
	/* An empty property would not enable the controller. Present, not online: a CPU takes
	 * effect by itself when it comes. */
	if (stow_idset_empty(&cpus))
		r = stow_root_read_idset(run->root, &cpus, err, "/sys/devices/system/cpu/present");
	if (r == 0 && stow_idset_empty(&mems))
		r = run_read_nodes(run->root, "has_memory", &mems, err);
	if (r == 0)
		r = run_load_libsystemd(&lib, err);
	if (r < 0)
		return r;
	return start_unit(run, unit, &cpus, &mems, err);
}
