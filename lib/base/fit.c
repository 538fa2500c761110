// SPDX-License-Identifier: Apache-2.0
#include "base/fit.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"

#define NARROWEST 20 /* columns of a printed text, on however small a screen */

/* Return whether a byte begins a character of UTF-8. Each character takes one column. */
static bool starts_character(char c)
{
	return ((unsigned char)c & 0xc0) != 0x80;
}

int stow_fit_columns(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += starts_character(*text);
	return n;
}

/* Return the width of the table when no column is wider than `most`, unless it has to be. */
static int width_with(const struct stow_fit *columns, const int *shown, int n, int most)
{
	int width = n - 1;

	for (int i = 0; i < n; i++)
		width += STOW_MIN(columns[shown[i]].natural,
				  STOW_MAX(columns[shown[i]].least, most));
	return width;
}

bool stow_fit_widths(struct stow_fit *columns, const int *shown, int n, int width)
{
	int most = width;

	while (most > 0 && width_with(columns, shown, n, most) > width)
		most--;
	for (int i = 0; i < n; i++) {
		struct stow_fit *column = &columns[shown[i]];

		column->width = STOW_MIN(column->natural, STOW_MAX(column->least, most));
	}
	return width_with(columns, shown, n, most) <= width;
}

int stow_fit_part(const struct stow_fit *columns, int n, int keys, int from, int width, int *shown)
{
	int count = 0;

	for (int i = 0; i < keys && i < from; i++)
		shown[count++] = i;
	for (int i = from; i < n; i++) {
		shown[count++] = i;
		if (i > from && width && width_with(columns, shown, count, 0) > width)
			return count - 1;
	}
	return count;
}

/* Return the length of the line at the start of `text`; `*skip`: of what is left out behind it. */
static size_t line_of(const char *text, int width, size_t *skip)
{
	size_t at_space = 0, after_mark = 0, len = 0;
	int columns = 0;

	*skip = 0;
	while (text[len]) {
		size_t next = len + 1;

		while (text[next] && !starts_character(text[next]))
			next++;
		if (columns == width) {
			if (text[len] == ' ')
				at_space = len;
			break;
		}
		if (text[len] == ' ' && len)
			at_space = len;
		else if (text[len] == ',' || text[len] == '/')
			after_mark = next;
		columns++;
		len = next;
	}
	if (!text[len])
		return len;
	if (at_space) {
		*skip = strspn(text + at_space, " ");
		return at_space;
	}
	if (after_mark)
		return after_mark;
	/* One character at least, however wide. */
	while (len == 0 || !starts_character(text[len]))
		len++;
	return len;
}

char *stow_fit_wrap(const char *text, int width)
{
	char *wrapped = malloc(2 * strlen(text) + 1), *to = wrapped;

	if (!wrapped)
		return NULL;
	while (*text) {
		size_t skip, len = line_of(text, width, &skip);

		if (to > wrapped)
			*to++ = '\n';
		memcpy(to, text, len);
		to += len;
		text += len + skip;
	}
	*to = '\0';
	return wrapped;
}

void stow_fit_print(FILE *out, int margin, const char *label, int indent, const char *text,
		    int width)
{
	_cleanup_free_ char *wrapped =
		width ? stow_fit_wrap(text, STOW_MAX(width - indent, NARROWEST)) : NULL;
	/* Without memory as one line. */
	const char *line = wrapped ? wrapped : text;
	int at = fprintf(out, "%*s%s", margin, "", label);

	if (*label && *line && at > indent - 2) {
		fputc('\n', out);
		at = 0;
	}
	for (;;) {
		size_t len = strcspn(line, "\n");

		fprintf(out, "%*s%.*s\n", len ? indent - at : 0, "", (int)len, line);
		if (!line[len])
			return;
		line += len + 1;
		at = 0;
	}
}
