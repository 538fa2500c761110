/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Checks of the texts of messages, made once, where the messages are received. Texts that are kept,
 * shown or sent on are UTF-8 without control characters (a client in another language fails on a
 * whole list because of one bad byte), and no longer than their kind of text needs to be, which
 * bounds the sums, too. An invalid text in a request is an error for the caller. In a machine's
 * report it is made valid instead, because one odd name must not hide the machine.
 */

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

#define STOW_TEXT_NAME 253   /* bytes of names, ids, domains, versions */
#define STOW_TEXT_LINE 1024  /* of other texts */
#define STOW_TEXT_LIST 65536 /* of sets of CPUs, NUMA nodes, memory blocks */

/* Check all texts of a message, and of messages within it. -EINVAL names the field. */
int stow_texts_check(const ProtobufCMessage *message, struct stow_err *err);

/* Clean all texts of an unpacked message, and of messages within it, to the smaller of `most` and
 * the field's maximum (base/text.h); drop unknown fields. */
void stow_texts_clean(ProtobufCMessage *message, size_t most);

/* Describe a message in one short line, for users: "node=web-3 numa_nodes=0 revoke=1". Empty fields
 * are left out, and long ones truncated. */
void stow_texts_describe(const ProtobufCMessage *message, FILE *out);
