// SPDX-License-Identifier: Apache-2.0
/* What the watchdog and /healthz are told: a lock that nobody gives back, and a port that accepts
 * nobody any more. */
#include "unit.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "rpc/log.h"
#include "scheduler/scheduler.h"

#define PATIENCE 6000 /* looks, 10 ms apart */

struct fixture {
	struct scheduler s;
	char dir[64], why[256];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct stow_err err = { 0 };

	stow_log_configure(STOW_LOG_ERR - 1, STOW_LOG_TEXT);
	strcpy(f->dir, "/tmp/test_probe.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	scheduler_config_defaults(&f->s.config);
	free(f->s.config.listen);
	free(f->s.config.data);
	f->s.config.listen = strdup("127.0.0.1:0");
	f->s.config.data = strdup(f->dir);
	if (scheduler_start(&f->s, &err) < 0 || scheduler_activate(&f->s, &err) < 0)
		fail_msg("%s", err.msg);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const files[] = { "scheduler.db", "scheduler.db-wal", "scheduler.db-shm",
					     "scheduler.lock" };
	struct fixture *f = *state;
	char path[128];

	scheduler_stop(&f->s);
	scheduler_config_done(&f->s.config);
	for (int i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s", f->dir, files[i]);
		unlink(path);
	}
	rmdir(f->dir);
	free(f);
	return 0;
}

static bool becomes(struct fixture *f, bool healthy)
{
	for (int i = 0; i < PATIENCE; i++, usleep(10000))
		if (scheduler_is_healthy(&f->s, f->why, sizeof(f->why)) == healthy)
			return true;
	return false;
}

static void a_round(struct fixture *f)
{
	uint64_t before = scheduler_probe_last(f->s.probe);

	for (int i = 0; i < PATIENCE && scheduler_probe_last(f->s.probe) == before; i++)
		usleep(10000);
	assert_true(scheduler_probe_last(f->s.probe) != before);
}

static void who_keeps_the_lock_starves_the_watchdog(void **state)
{
	struct fixture *f = *state;

	a_round(f);
	assert_true(becomes(f, true));
	assert_string_equal(f->why, "active");
	assert_true(scheduler_probe_alive(f->s.probe, NULL, 0));
	stow_lock_take(&f->s.fleet->lock);
	clock_advance(SCHEDULER_PROBE_WITHIN + STOW_SECOND);
	if (!becomes(f, false) || scheduler_probe_alive(f->s.probe, NULL, 0) ||
	    !strstr(f->why, "hangs")) {
		stow_lock_give(&f->s.fleet->lock);
		fail_msg("healthy with a lock that is not given back: %s", f->why);
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

static void a_port_that_accepts_nobody_is_not_healthy(void **state)
{
	struct fixture *f = *state;

	a_round(f);
	stop_listening(f->s.port);
	assert_true(becomes(f, false));
	assert_non_null(strstr(f->why, "own port"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(who_keeps_the_lock_starves_the_watchdog),
		TEST(a_port_that_accepts_nobody_is_not_healthy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
