// SPDX-License-Identifier: Apache-2.0
/* The history: the last events, for `numastow why`. */
#include "ledger/ledger.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "ledger/sql.h"

int stow_ledger_event(struct stow_ledger *ledger, const char *kind, const char *id,
		      const struct stow_record *record, const char *text, struct stow_err *err)
{
	static const struct stow_idset none;
	bool alone = ledger->lock < 0; /* then it is a transaction of its own */
	int r = alone ? stow_ledger_begin(ledger, err) : 0;

	if (r < 0)
		return r;
	r = stow_sql_run(ledger, err,
			 "INSERT INTO event(at, id, kind, exclusive, cpus, nodes, text)"
			 " VALUES(?, ?, ?, ?, ?, ?, ?)",
			 "ittisst", (int64_t)stow_clock_wall(), id ? id : "", kind,
			 (int64_t)(record && record->exclusive), record ? &record->cpus : &none,
			 record ? &record->nodes : &none, text ? text : "");
	if (r == 0)
		r = stow_sql_run(
			ledger, err, "DELETE FROM event WHERE seq <= ?", "i",
			(int64_t)(sqlite3_last_insert_rowid(ledger->db) - STOW_EVENTS_KEPT));
	return alone ? stow_ledger_end(ledger, r, err) : r;
}

struct events {
	struct stow_event *list;
	size_t n;
};

static int add_event(sqlite3_stmt *stmt, void *ctx)
{
	struct events *events = ctx;
	struct stow_event *e = STOW_APPEND(events->list, events->n);

	if (!e)
		return -ENOMEM;
	e->seq = sqlite3_column_int64(stmt, 0);
	e->at = stow_sql_u64(stmt, 1);
	e->id = stow_sql_text(stmt, 2);
	e->kind = stow_sql_text(stmt, 3);
	e->cpus = stow_sql_text(stmt, 4);
	e->nodes = stow_sql_text(stmt, 5);
	e->text = stow_sql_text(stmt, 6);
	e->exclusive = sqlite3_column_int(stmt, 7) != 0;
	return e->id && e->kind && e->cpus && e->nodes && e->text ? 0 : -ENOMEM;
}

int stow_ledger_events(struct stow_ledger *ledger, const char *id, size_t limit,
		       struct stow_event **ret, size_t *ret_n, struct stow_err *err)
{
	struct events events = { 0 };
	int r = stow_sql_each(
		ledger, err, add_event, &events,
		"SELECT * FROM (SELECT seq, at, id, kind, cpus, nodes, text, exclusive"
		" FROM event WHERE ?1 = '' OR id = ?1 ORDER BY seq DESC LIMIT ?2) ORDER BY seq",
		"ti", id ? id : "", (int64_t)limit);

	if (r < 0) {
		stow_events_free(events.list, events.n);
		return r;
	}
	*ret = events.list;
	*ret_n = events.n;
	return 0;
}

void stow_events_free(struct stow_event *events, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(events[i].id);
		free(events[i].kind);
		free(events[i].cpus);
		free(events[i].nodes);
		free(events[i].text);
	}
	free(events);
}
