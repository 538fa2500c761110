// SPDX-License-Identifier: Apache-2.0
#include "base/span.h"

#include <errno.h>
#include <string.h>

#include "base/idset.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

bool stow_span_line(struct stow_span *text, struct stow_span *ret_line)
{
	const char *nl;

	if (text->p >= text->end)
		return false;
	nl = memchr(text->p, '\n', (size_t)(text->end - text->p));
	ret_line->p = text->p;
	ret_line->end = nl ? nl : text->end;
	text->p = nl ? nl + 1 : text->end;
	return true;
}

void stow_span_blanks(struct stow_span *line)
{
	while (line->p < line->end && is_blank(*line->p))
		line->p++;
}

bool stow_span_take(struct stow_span *line, const char *word)
{
	size_t len = strlen(word);

	stow_span_blanks(line);
	if ((size_t)(line->end - line->p) < len || memcmp(line->p, word, len) != 0)
		return false;
	if (line->p + len < line->end && !is_blank(line->p[len]))
		return false;
	line->p += len;
	return true;
}

bool stow_span_word(struct stow_span *line, struct stow_span *ret_word)
{
	stow_span_blanks(line);
	ret_word->p = line->p;
	while (line->p < line->end && !is_blank(*line->p))
		line->p++;
	ret_word->end = line->p;
	return ret_word->p < ret_word->end;
}

bool stow_span_is(struct stow_span span, const char *text)
{
	size_t len = (size_t)(span.end - span.p);

	return strlen(text) == len && memcmp(span.p, text, len) == 0;
}

int stow_span_number(struct stow_span *line, uint64_t *ret)
{
	uint64_t v = 0;
	const char *start;

	stow_span_blanks(line);
	start = line->p;
	for (; line->p < line->end && *line->p >= '0' && *line->p <= '9'; line->p++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*line->p - '0'), &v))
			return -ERANGE;
	if (line->p == start)
		return -EINVAL;
	*ret = v;
	return 0;
}

bool stow_span_pair(struct stow_span word, const char *key, uint64_t *ret)
{
	size_t len = strlen(key);

	if ((size_t)(word.end - word.p) <= len || memcmp(word.p, key, len) != 0 ||
	    is_blank(word.p[len]))
		return false;
	word.p += len;
	return stow_span_number(&word, ret) == 0 && word.p == word.end;
}

bool stow_span_node_pair(struct stow_span *line, int *ret_node, uint64_t *ret)
{
	struct stow_span rest = *line;
	uint64_t node, value;

	stow_span_blanks(&rest);
	if (rest.p >= rest.end || *rest.p != 'N' || rest.p + 1 >= rest.end || is_blank(rest.p[1]))
		return false;
	rest.p++;
	if (stow_span_number(&rest, &node) < 0 || node >= STOW_IDSET_MAX || rest.p >= rest.end ||
	    *rest.p != '=')
		return false;
	rest.p++;
	if (rest.p >= rest.end || is_blank(*rest.p) || stow_span_number(&rest, &value) < 0 ||
	    (rest.p < rest.end && !is_blank(*rest.p)))
		return false;
	*ret_node = (int)node;
	*ret = value;
	*line = rest;
	return true;
}
