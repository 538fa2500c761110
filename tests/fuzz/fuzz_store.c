// SPDX-License-Identifier: Apache-2.0
/* A damaged scheduler.db, by a crash, a disk or an editor: the scheduler opens it, or says what is
 * wrong with it; and it can write again what it has read. */
#include "fuzz.h"

#include <unistd.h>

#include "program.h"
#include "rpc/log.h"
#include "scheduler/drain/drain_internal.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/scheduler.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct scheduler s = { 0 };
	struct stow_err err = { 0 };
	char path[4096];
	int r;

	stow_log_configure(STOW_LOG_ERR, STOW_LOG_TEXT);
	fuzz_file("/scheduler.db", data, size);
	for (const char *const *tail = (const char *const[]){ "-wal", "-shm", "-journal", NULL };
	     *tail; tail++) {
		snprintf(path, sizeof(path), "%.2048s/scheduler.db%s", fuzz_folder(), *tail);
		(void)unlink(path);
	}
	if (stow_fleet_new(&s.fleet, NULL) < 0)
		abort();
	scheduler_config_defaults(&s.config);
	free(s.config.data);
	s.config.data = strdup(fuzz_folder());
	/* Without URLs, no webhook is called, and rows for other URLs are deleted. */
	if (scheduler_drains_new(&s.drains, NULL) < 0 ||
	    scheduler_delivery_queue_new(&s.config, &s.delivery_queue, NULL) < 0)
		abort();
	r = scheduler_load(&s, &err);
	FUZZ_CHECK_ERR(r, &err);
	for (uint32_t m = 0; m < s.fleet->n_machines; m++) {
		FUZZ_CHECK(stow_machine_name_check(s.fleet->machines[m]->name, NULL) == 0);
		for (const struct stow_reservation *at = s.fleet->machines[m]->reservations; at;
		     at = at->next)
			FUZZ_CHECK(at->id != 0 && at->message);
	}
	for (size_t i = 0; i < s.drains->n_under_way + s.drains->n_ended; i++) {
		const struct scheduler_drain *d =
			i < s.drains->n_under_way ? s.drains->under_way[i]
						  : s.drains->ended[i - s.drains->n_under_way];

		FUZZ_CHECK(d->id != 0 && d->message->spec && d->message->progress);
		FUZZ_CHECK((d->machine != NULL) == !scheduler_drain_ended(d));
		FUZZ_CHECK(scheduler_drain_find(&s, d->id) == d);
	}
	if (r == 0)
		FUZZ_CHECK(scheduler_delivery_queue_start(s.delivery_queue, s.store, &err) == 0);
	scheduler_delivery_queue_stop(s.delivery_queue);
	stow_store_close(s.store);
	scheduler_drains_free(&s);
	scheduler_delivery_queue_free(s.delivery_queue);
	stow_fleet_free(s.fleet);
	scheduler_config_done(&s.config);
	return 0;
}
