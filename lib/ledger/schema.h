/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The tables of drains (ledger/drains.h). Deleting a drain's row deletes its rows in the other
 * tables. */
#define STOW_DRAIN_SCHEMA                                                                          \
	"CREATE TABLE drain(id TEXT PRIMARY KEY NOT NULL CHECK(length(id) = 16),"                  \
	" step INTEGER NOT NULL CHECK(step BETWEEN 1 AND 13),"                                     \
	" worker_pid INTEGER NOT NULL CHECK(worker_pid >= 0), worker_start INTEGER NOT NULL,"      \
	" ordered INTEGER NOT NULL CHECK(ordered IN (0, 1)),"                                      \
	" cancel INTEGER NOT NULL CHECK(cancel IN (0, 1)),"                                        \
	" resume INTEGER NOT NULL CHECK(resume IN (0, 1)),"                                        \
	" node INTEGER NOT NULL CHECK(node >= 0), device TEXT NOT NULL,"                           \
	" eject INTEGER NOT NULL CHECK(eject BETWEEN 0 AND 2),"                                    \
	" keep INTEGER NOT NULL CHECK(keep IN (0, 1)),"                                            \
	" elsewhere INTEGER NOT NULL CHECK(elsewhere IN (0, 1)),"                                  \
	" block_timeout INTEGER NOT NULL CHECK(block_timeout >= 0),"                               \
	" timeout INTEGER NOT NULL CHECK(timeout >= 0),"                                           \
	" removal_timeout INTEGER NOT NULL CHECK(removal_timeout >= 0),"                           \
	" rate INTEGER NOT NULL CHECK(rate >= 0),"                                                 \
	" message TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL,"              \
	" bytes INTEGER NOT NULL CHECK(bytes >= 0),"                                               \
	" bytes_offline INTEGER NOT NULL CHECK(bytes_offline >= 0),"                               \
	" bytes_staying INTEGER NOT NULL CHECK(bytes_staying >= 0),"                               \
	" release INTEGER NOT NULL CHECK(release BETWEEN 0 AND 2),"                                \
	" code INTEGER NOT NULL) STRICT, WITHOUT ROWID;"                                           \
	"CREATE TABLE drain_block(drain TEXT NOT NULL REFERENCES drain ON DELETE CASCADE,"         \
	" block INTEGER NOT NULL, zone INTEGER NOT NULL CHECK(zone BETWEEN 0 AND 2),"              \
	" gone INTEGER NOT NULL CHECK(gone IN (0, 1)), PRIMARY KEY(drain, block)) STRICT, "        \
	"WITHOUT ROWID;"                                                                           \
	"CREATE TABLE drain_pool(drain TEXT NOT NULL REFERENCES drain ON DELETE CASCADE,"          \
	" size INTEGER NOT NULL CHECK(size > 0), lost INTEGER NOT NULL CHECK(lost >= 0),"          \
	" ours INTEGER NOT NULL CHECK(ours >= 0), used INTEGER NOT NULL CHECK(used >= 0),"         \
	" before INTEGER CHECK(before >= 0), target INTEGER CHECK(target >= 0),"                   \
	" PRIMARY KEY(drain, size)) STRICT, WITHOUT ROWID;"                                        \
	"CREATE TABLE drain_moved(drain TEXT NOT NULL REFERENCES drain ON DELETE CASCADE, seq "    \
	"INTEGER NOT NULL,"                                                                        \
	" container TEXT NOT NULL CHECK(container != ''), node INTEGER NOT NULL CHECK(node >= 0)," \
	" PRIMARY KEY(drain, seq, node)) STRICT, WITHOUT ROWID;"
