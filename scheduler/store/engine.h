/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The interface between the store (store.c) and its engines (sqlite.c, etcd_engine.c). */

#include "base/clock.h"
#include "scheduler/store/types.h"

/* The unit of epochs, which start at the wall time in milliseconds. */
#define STOW_STORE_TICK (STOW_SECOND / 1000)

enum stow_write_kind {
	STOW_WRITE_RESERVATION,
	STOW_WRITE_NO_RESERVATION,
	STOW_WRITE_FENCE,
	STOW_WRITE_NO_FENCE,
	STOW_WRITE_ANSWER,
	STOW_WRITE_NO_ANSWER,
	STOW_WRITE_DRAIN,
	STOW_WRITE_NO_DRAIN,
	STOW_WRITE_WEBHOOK,
	STOW_WRITE_WEBHOOK_LATER,
	STOW_WRITE_NO_WEBHOOK,
	STOW_WRITE_NO_WEBHOOK_OF,
	STOW_WRITE_COPYING,
	STOW_WRITE_NO_COPYING,
	STOW_WRITE_PROBE,
	STOW_WRITE_KINDS
};

/*
 * A row to write: numbers, texts, bytes.
 *
 *	kind		a	b	c	 text	  more	bytes
 *	reservation	id			 request	message
 *	fence					 machine	NUMA nodes
 *	answer		digest	expires	left	 request	response
 *	drain		id	flags		 request	message
 *	webhook		seq	drain	created	 event	  url	body
 *	webhook later	seq	next	attempts
 *	no webhook of	drain			 event
 *	copying							""
 *	probe			wall time
 */
struct stow_write {
	struct stow_write *next;
	enum stow_write_kind kind;
	uint64_t a, b, c;
	char *text, *more;
	void *bytes;
	size_t len;
};

struct stow_writes {
	struct stow_writes *next;
	struct stow_write *first, **last;
	void (*done)(void *ctx, const struct stow_err *err);
	void *ctx;
	struct stow_err err; /* set by the engine; code 0: durable */
};

struct stow_engine_count {
	uint64_t commits, writes;
};

/* `where` has no scheme. write() and forget() are called by the store's thread, standbys() by the
 * program's main thread, and leads(), lost(), failed(), give_up() and lag() by any thread, all of
 * them at the same time; the others before the store's thread starts, or after it has ended. */
struct stow_engine_ops {
	int (*check)(const char *where, const struct stow_store_options *options,
		     struct stow_err *err);
	int (*make)(const char *where, const struct stow_store_options *options, void **ret_engine,
		    struct stow_err *err);
	int (*lead)(void *engine, struct stow_err *err);
	/* NULL: always. */
	bool (*leads)(void *engine, struct stow_err *why);
	/* Whether it has lost the lead for good; NULL: never. */
	bool (*lost)(void *engine, struct stow_err *why);
	/* Write what fails now, while a write is under way: servers, and their reasons; "" for
	 * nothing. NULL: nothing is known. */
	void (*failed)(void *engine, char *ret, size_t size);
	/* Abort a write that waits for an answer. */
	void (*give_up)(void *engine);
	int (*load)(void *engine, const struct stow_store_load *load, uint64_t *ret_epoch,
		    struct stow_err *err);
	/* Write all lists, each completely or not at all, and set each list's `err`. */
	void (*write)(void *engine, struct stow_writes *batch, struct stow_engine_count *count);
	/* Delete answers that ran out before that time of the store (stow_store_time()); NULL: the
	 * engine deletes them by itself. */
	void (*forget)(void *engine, uint64_t time);
	/* List the standbys; NULL: not supported. */
	int (*standbys)(void *engine, struct stow_store_standbys *ret, struct stow_err *err);
	/* How far this standby is behind; NULL: standbys read only when they take over. */
	uint64_t (*lag)(void *engine);
	void (*free)(void *engine);
};

extern const struct stow_engine_ops stow_engine_sqlite, stow_engine_etcd;

void stow_write_free(struct stow_write *write);

/* Refuse a store to which a copy has begun and not ended, unless the caller may read it. */
int stow_store_refuse_copying(const struct stow_store_load *load, struct stow_err *err);
