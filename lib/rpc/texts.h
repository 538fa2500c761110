/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The texts of messages, looked at once, where they come in. Whatever is kept, shown or sent on is
 * UTF-8 without control characters (a client in another language fails on a whole list for one
 * bad byte), and no longer than its kind of text ever needs to be: so the sums have a bound, too.
 *
 * A caller is told what is wrong with its request. What a machine reports is made fit instead: one
 * odd name must not hide the machine.
 */

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

#define STOW_TEXT_NAME 253   /* bytes of names, ids, domains, versions */
#define STOW_TEXT_LINE 1024  /* of other texts */
#define STOW_TEXT_LIST 65536 /* of sets of CPUs, NUMA nodes, memory blocks */

/* How long a field may be, by its name. */
size_t stow_text_most(const char *field);

/* All texts of a message, and of those within. -EINVAL names the field. */
int stow_texts_check(const ProtobufCMessage *message, struct stow_err *err);

/* Replaces what is no UTF-8 and what controls a terminal by '?', and cuts to `most` bytes. */
void stow_text_clean(char *text, size_t most);
/* All texts of an unpacked message, and those within, each to the smaller of `most` and what its
 * field may be; drops unknown fields. */
void stow_texts_clean(ProtobufCMessage *message, size_t most);

/* A message in one short line, for people: "node=web-3 numa_nodes=0 revoke=1". What is empty is
 * left out, and what is much is cut. */
void stow_texts_describe(const ProtobufCMessage *message, FILE *out);
