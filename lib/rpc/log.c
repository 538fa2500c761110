// SPDX-License-Identifier: Apache-2.0
#include "rpc/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "base/read.h"
#include "base/text.h"
#include "base/timestamp.h"

static _Atomic int log_level = STOW_LOG_INFO;
static _Atomic int log_format = STOW_LOG_TEXT;
static atomic_bool journal; /* standard error is the journal */

const char *const stow_log_levels[] = { "error", "warning", "notice", "info", "debug", NULL };
const char *const stow_log_formats[] = { "text", "json", NULL };

/* systemd sets this to "DEVICE:INODE" of the stream that it passed (systemd.exec(5)). */
static bool is_journal(void)
{
	const char *stream = secure_getenv("JOURNAL_STREAM");
	char ours[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	snprintf(ours, sizeof(ours), "%" PRIuMAX ":%" PRIuMAX, (uintmax_t)st.st_dev,
		 (uintmax_t)st.st_ino);
	return strcmp(stream, ours) == 0;
}

void stow_log_configure(enum stow_log_level level, enum stow_log_format format)
{
	log_level = (int)level;
	log_format = (int)format;
	journal = is_journal();
}

bool stow_log_enabled(enum stow_log_level level)
{
	return (int)level <= log_level;
}

static void put_time(FILE *f)
{
	char buf[STOW_TIMESTAMP_MAX];

	fputs(stow_timestamp_fraction(stow_clock_wall(), 3, buf), f);
}

static uint64_t may(struct stow_log_limit *limit, uint64_t burst, uint64_t interval, uint64_t now)
{
	uint64_t times = 1 + limit->suppressed;

	if (!limit->begun || now - limit->begun >= interval) {
		limit->begun = now;
		limit->lines = 0;
	}
	if (limit->lines >= burst) {
		limit->suppressed++;
		return 0;
	}
	limit->lines++;
	limit->suppressed = 0;
	return times;
}

uint64_t stow_log_may(struct stow_log_limit *limit)
{
	return may(limit, STOW_LOG_BURST, STOW_LOG_INTERVAL, stow_clock_monotonic());
}

uint64_t stow_log_may_peer(struct stow_log_peers *peers, const void *who, size_t size)
{
	uint64_t now = stow_clock_monotonic(), times = 0;
	uint8_t key[sizeof(peers->of[0].who)] = { 0 };
	size_t at = 0;

	memcpy(key, who, STOW_MIN(size, sizeof(key)));
	pthread_mutex_lock(&peers->lock);
	for (size_t i = 0; i < STOW_LOG_PEERS_MAX; i++) {
		if (memcmp(peers->of[i].who, key, sizeof(key)) == 0) {
			at = i;
			break;
		}
		if (peers->of[i].limit.begun < peers->of[at].limit.begun)
			at = i;
	}
	if (memcmp(peers->of[at].who, key, sizeof(key)) != 0 &&
	    (!peers->of[at].limit.begun || now - peers->of[at].limit.begun >= peers->interval)) {
		peers->suppressed += peers->of[at].limit.suppressed;
		memcpy(peers->of[at].who, key, sizeof(key));
		peers->of[at].limit = (struct stow_log_limit){ 0 };
	}
	if (memcmp(peers->of[at].who, key, sizeof(key)) != 0)
		peers->suppressed++;
	else
		times = may(&peers->of[at].limit, peers->burst, peers->interval, now);
	if (times) {
		times += peers->suppressed;
		peers->suppressed = 0;
	}
	pthread_mutex_unlock(&peers->lock);
	return times;
}

/* Write a quoted value, in JSON and in text: it may be untrusted. */
static void put_quoted(FILE *f, const char *text)
{
	fputc('"', f);
	while (*text) {
		size_t n = stow_text_character(text);

		if (*text == '"' || *text == '\\')
			fprintf(f, "\\%c", *text);
		else if (n == 0 && !(*text & 0x80))
			fprintf(f, "\\u%04x", (unsigned int)*text);
		else if (n == 0)
			fputs("\\ufffd", f);
		else
			fwrite(text, 1, n, f);
		text += n ? n : 1;
	}
	fputc('"', f);
}

/* Write a plain word as it is, and quote anything else. */
static void put_value(FILE *f, const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-_.,:/@+[]%";

	if (*text && text[strspn(text, plain)] == '\0')
		fputs(text, f);
	else
		put_quoted(f, text);
}

static void put_json(FILE *f, enum stow_log_level level, const char *message,
		     const struct stow_field *fields)
{
	fputs("{\"time\":\"", f);
	put_time(f);
	fprintf(f, "\",\"level\":\"%s\",\"message\":", stow_log_levels[level - STOW_LOG_ERR]);
	put_quoted(f, message);
	for (; fields->key; fields++) {
		fprintf(f, ",\"%s\":", fields->key);
		if (fields->text)
			put_quoted(f, fields->text);
		else
			fprintf(f, "%" PRIu64, fields->number);
	}
	fputs("}\n", f);
}

static void put_text(FILE *f, enum stow_log_level level, const char *message,
		     const struct stow_field *fields)
{
	if (journal) {
		fprintf(f, "<%d>%s", (int)level, message);
	} else {
		put_time(f);
		fprintf(f, " %s: %s", stow_log_levels[level - STOW_LOG_ERR], message);
	}
	for (bool first = true; fields->key; fields++, first = false) {
		fprintf(f, "%s%s=", first ? ": " : " ", fields->key);
		if (fields->text)
			put_value(f, fields->text);
		else
			fprintf(f, "%" PRIu64, fields->number);
	}
	fputc('\n', f);
}

void stow_log_fields(enum stow_log_level level, const char *message,
		     const struct stow_field *fields)
{
	_cleanup_free_ char *line = NULL;
	size_t len = 0;
	int saved = errno;
	FILE *f;

	if (!stow_log_enabled(level))
		return;
	f = open_memstream(&line, &len);
	if (!f)
		return;
	if (log_format == STOW_LOG_JSON)
		put_json(f, level, message, fields);
	else
		put_text(f, level, message, fields);
	if (fclose(f) == 0) /* there is no place to report that logging fails */
		(void)stow_write_all(STDERR_FILENO, line, len);
	errno = saved;
}
