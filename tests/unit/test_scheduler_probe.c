// SPDX-License-Identifier: Apache-2.0
/* What the watchdog, /healthz and /livez report: a lock that is never released, and a port that
 * accepts no connections any more. */
#include "scheduler/probe.h"
#include "unit.h"

#include <dirent.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "rpc/log.h"
#include "whole.h"

#define PATIENCE 30000 /* looks, 10 ms apart */

static char why[256];

static int set_up(void **state)
{
	int r = whole_set_up(state);

	stow_log_configure(STOW_LOG_ERR - 1, STOW_LOG_TEXT);
	return r;
}

#define WITH_WHOLE(name) TEST_WITH(name, struct whole *f, set_up, whole_tear_down)

static bool becomes(struct whole *f, bool healthy)
{
	for (int i = 0; i < PATIENCE; i++, usleep(10000))
		if (scheduler_is_healthy(&f->s, why, sizeof(why)) == healthy)
			return true;
	return false;
}

static void a_round(struct whole *f)
{
	uint64_t before = scheduler_probe_last(f->s.probe);

	for (int i = 0; i < PATIENCE && scheduler_probe_last(f->s.probe) == before; i++)
		usleep(10000);
	assert_true(scheduler_probe_last(f->s.probe) != before);
}

WITH_WHOLE(a_held_lock_stops_the_watchdog)
{
	a_round(f);
	assert_true(becomes(f, true));
	assert_string_equal(why, "active");
	assert_true(scheduler_probe_alive(f->s.probe, NULL, 0));
	stow_lock_take(&f->s.fleet->lock);
	clock_advance(SCHEDULER_PROBE_WITHIN + STOW_SECOND);
	if (!becomes(f, false) || !strstr(why, "hangs") ||
	    scheduler_is_alive(&f->s, why, sizeof(why)) || !strstr(why, "hangs")) {
		stow_lock_give(&f->s.fleet->lock);
		fail_msg("healthy with a lock that is not given back: %s", why);
	}
	stow_lock_give(&f->s.fleet->lock);
	assert_true(becomes(f, true));
	assert_true(scheduler_probe_alive(f->s.probe, NULL, 0));
}

/* What a listener that was not armed again looks like from outside. */
static void stop_listening(int port)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	int n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		int fd = atoi(entry->d_name), on = 0;
		socklen_t len = sizeof(on);

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on)
			n += shutdown(fd, SHUT_RD) == 0;
	}
	closedir(dir);
	assert_true(n > 0);
}

WITH_WHOLE(a_port_without_connections_is_not_healthy)
{
	a_round(f);
	stop_listening(f->s.port);
	assert_true(becomes(f, false));
	assert_non_null(strstr(why, "own port"));
	/* The next round does not make it healthy before it has ended. */
	for (int i = 0; i < 4000; i++, usleep(1000))
		assert_false(scheduler_is_healthy(&f->s, why, sizeof(why)));
	assert_true(scheduler_is_alive(&f->s, why, sizeof(why)));
}

WITH_WHOLE(a_wall_clock_that_is_set_back_does_not_stop_it)
{
	whole_wall_ahead(24 * 3600);
	for (int i = 0; i < 3; i++) /* the first one may wait since before that */
		a_round(f);
	whole_wall_ahead(0);
	assert_true(becomes(f, true));
}
