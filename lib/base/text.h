/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Texts that other programs chose: annotations, names of files, processes and cgroups, messages.
 * They are made harmless for terminals, logs and protobuf here, and nowhere else. Names of files
 * and programs may be any bytes, while protobuf and JSON (RFC 8259) require UTF-8.
 */

#include <stdbool.h>
#include <stddef.h>

/* Return the length in bytes of the character at the start of `text`, which is terminated; 0 for a
 * sequence outside of The Unicode Standard's table 3-7, for ASCII control characters, and for
 * U+0080 to U+009F, which some terminals interpret. */
size_t stow_text_character(const char *text);

/* Replace invalid UTF-8 and control characters by '?', and truncate to `most` bytes, between two
 * characters. */
void stow_text_clean(char *text, size_t most);

/* Return a copy that is cleaned in this way, which the caller frees; NULL: out of memory. */
char *stow_text_copy(const char *text, size_t most);

/* Replace all but printable ASCII by '?'. */
void stow_text_ascii(char *text);

/* Copy a text for a message that quotes it, as printable ASCII: at most size - 4 bytes of it, and
 * "..." for the rest. Return `buf`. */
const char *stow_text_quote(const char *text, char *buf, size_t size);

/* Find the first line "KEY:VALUE" of a file like /proc/PID/status, with blanks around the colon or
 * without, and copy its value, truncated to the buffer. False: there is no such line. */
bool stow_text_field(const char *text, const char *key, char *buf, size_t size);

/* Copy the name of a process from its /proc/PID/status, cleaned: as stow_text_clean() leaves what
 * /proc/PID/comm has. (In status the kernel writes "\n" for a newline and "\\" for a backslash.)
 * "" if there is none. */
void stow_text_process_name(const char *status, char *buf, size_t size);

/* json-c ends the name of an object's member at the escape \u0000, and so takes it for another
 * name. Make a copy of a JSON text in which \uFFFD stands for it in names; NULL, and 0, if none has
 * it. -ENOMEM. */
int stow_text_json_names(const char *text, size_t len, char **ret_copy);

/* Return whether a word is in a list whose words are separated by blanks, newlines or commas. */
bool stow_text_has_word(const char *list, const char *word);
