/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Reading a text that need not be terminated, line by line and word by word: for parsers of kernel
 * files that are pure functions, so that they can be fuzzed. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of a text: a line, or the rest of one. */
struct stow_span {
	const char *p;
	const char *end;
};

/* Take the next line, without its newline, from the beginning of `text`. False: there is none. */
bool stow_span_line(struct stow_span *text, struct stow_span *ret_line);

/* Remove blanks and tabs from the beginning. */
void stow_span_blanks(struct stow_span *line);

/* Remove `word` from the beginning of the line, after blanks, if it is there as a whole word. */
bool stow_span_take(struct stow_span *line, const char *word);

/* Take the next word, which ends at a blank or a tab. False: there is none. */
bool stow_span_word(struct stow_span *line, struct stow_span *ret_word);

/* Return whether the span is exactly `text`. */
bool stow_span_is(struct stow_span span, const char *text);

/* Take a decimal number, after blanks. -EINVAL: there is none; -ERANGE: it exceeds 64 bits. */
int stow_span_number(struct stow_span *line, uint64_t *ret);

/* Return whether the word is `key`, such as "size=", and a decimal number. */
bool stow_span_pair(struct stow_span word, const char *key, uint64_t *ret);

/* Take "N3=120": a node, and its number. False, with nothing taken: it is none, or the node is
 * beyond STOW_IDSET_MAX. */
bool stow_span_node_pair(struct stow_span *line, int *ret_node, uint64_t *ret);

/* Return its length for "%.*s" in a message, at most `most`. */
static inline int stow_span_len(struct stow_span span, size_t most)
{
	size_t len = (size_t)(span.end - span.p);

	return (int)(len < most ? len : most);
}
