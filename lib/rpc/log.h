/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A daemon's log on standard error: one line for each event, with fields, as text or as JSON.
 *
 *	stow_log(STOW_LOG_INFO, "an agent connected", stow_text("node", name),
 *		 stow_number("numa_nodes", n));
 *
 *	2025-11-23T02:49:00.123Z info: an agent connected: node=web-3 numa_nodes=8
 *	{"time":"2025-11-23T02:49:00.123Z","level":"info","message":"an agent connected",
 *	 "node":"web-3","numa_nodes":8}                                (in one line)
 *
 * The message is constant, so that it can be searched for and counted; only the fields vary. A line
 * is one write(2), so that the lines of several threads never mix. Where standard error is the
 * journal, a line of text begins with its priority (sd-daemon(3)) in place of time and level.
 *
 * Only programs log; a library returns errors. Level and format belong to the process, as its
 * standard error does.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/setting.h"

enum stow_log_format { STOW_LOG_TEXT, STOW_LOG_JSON };

/* Log events of at least this level from now on. The defaults are STOW_LOG_INFO and text. */
void stow_log_configure(enum stow_log_level level, enum stow_log_format format);

/* The settings, for a program's table; `level_at` and `format_at` are the offsets of an int. The
 * first word of the levels stands for STOW_LOG_ERR. */
extern const char *const stow_log_levels[], *const stow_log_formats[];
#define STOW_LOG_SETTINGS(level_at, format_at)                                                \
	{                                                                                     \
		"log-level", STOW_SETTING_WORD,                                               \
		level_at,    0,                                                               \
		0,	     stow_log_levels,                                                 \
		"LEVEL",     "error, warning, notice, info or debug (info)"                   \
	},                                                                                    \
	{                                                                                     \
		"log-format", STOW_SETTING_WORD, format_at, 0, 0, stow_log_formats, "FORMAT", \
			"text or json (text)"                                                 \
	}
#define STOW_LOG_LEVEL_DEFAULT (STOW_LOG_INFO - STOW_LOG_ERR)

struct stow_field {
	const char *key;  /* [a-z_]+; NULL ends a list */
	const char *text; /* NULL: use `number` */
	uint64_t number;
};

/* Make a field. A NULL text is "". Neither argument is copied: use the field within the call
 * only. */
static inline struct stow_field stow_text(const char *key, const char *text)
{
	return (struct stow_field){ .key = key, .text = text ? text : "" };
}

static inline struct stow_field stow_number(const char *key, uint64_t number)
{
	return (struct stow_field){ .key = key, .number = number };
}

/* Make the field "error" with the text of an error. */
static inline struct stow_field stow_why(const struct stow_err *err)
{
	return stow_text("error", err->msg);
}

/* Return whether a line of that level would be logged: for fields that are expensive to compute. */
bool stow_log_enabled(enum stow_log_level level);

void stow_log_fields(enum stow_log_level level, const char *message,
		     const struct stow_field *fields);

/*
 * Lines that a peer can cause as often as it likes: at most STOW_LOG_BURST in STOW_LOG_INTERVAL, as
 * the kernel's printk_ratelimit(). Zero at first; one thread at a time.
 *
 *	uint64_t times = stow_log_may(&limit);
 *
 *	if (times)
 *		stow_log(STOW_LOG_WARNING, "refused", stow_number("times", times));
 */
#define STOW_LOG_BURST	  10
#define STOW_LOG_INTERVAL (5 * STOW_SECOND)

struct stow_log_limit {
	uint64_t begun; /* of the present interval; monotonic, ns */
	uint64_t lines, suppressed;
};

/* Count an event. Return 0 when its line has to be suppressed, otherwise the number of events that
 * the line stands for: this one and those that were suppressed before. */
uint64_t stow_log_may(struct stow_log_limit *limit);

/* The same for each peer, and with STOW_LOG_PEERS_MAX of them in an interval. Any thread. */
#define STOW_LOG_PEERS_MAX 64
#define STOW_LOG_PEERS(lines, time)                                                 \
	{                                                                           \
		.lock = PTHREAD_MUTEX_INITIALIZER, .burst = lines, .interval = time \
	}

struct stow_log_peers {
	pthread_mutex_t lock;
	uint64_t burst, interval;
	uint64_t suppressed; /* events of other peers, since the last line */
	struct {
		uint8_t who[64];
		struct stow_log_limit limit;
	} of[STOW_LOG_PEERS_MAX];
};

/* Count an event of a peer; the first bytes of `who` distinguish peers. */
uint64_t stow_log_may_peer(struct stow_log_peers *peers, const void *who, size_t size);

#define stow_log(level, ...) STOW_LOG_LINE_(level, __VA_ARGS__, { 0 })
#define STOW_LOG_LINE_(level, message, ...) \
	stow_log_fields(level, message, (const struct stow_field[]){ __VA_ARGS__ })
