// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t stow_text_character(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (p[0] < 0x80)
		return p[0] >= 0x20 && p[0] != 0x7f;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xc2 || p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xf0)
		low = 0x90;
	if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return n;
}

void stow_text_clean(char *text, size_t most)
{
	size_t at = 0;

	while (text[at]) {
		size_t n = stow_text_character(text + at);

		if (at + (n ? n : 1) > most) {
			text[at] = '\0';
			return;
		}
		if (!n)
			text[at] = '?';
		at += n ? n : 1;
	}
}

char *stow_text_copy(const char *text, size_t most)
{
	char *copy = strdup(text);

	if (copy)
		stow_text_clean(copy, most);
	return copy;
}

void stow_text_ascii(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

const char *stow_text_quote(const char *text, char *buf, size_t size)
{
	size_t n = strnlen(text, size - 4);

	memcpy(buf, text, n);
	memcpy(buf + n, text[n] ? "..." : "", text[n] ? 4 : 1);
	stow_text_ascii(buf);
	return buf;
}

bool stow_text_field(const char *text, const char *key, char *buf, size_t size)
{
	size_t len = strlen(key);

	for (const char *line = text; *line; line += *line == '\n') {
		size_t at = strncmp(line, key, len) == 0 ? len : 0;

		at += at ? strspn(line + at, " \t") : 0;
		if (at && line[at] == ':') {
			at++;
			at += strspn(line + at, " \t");
			snprintf(buf, size, "%.*s", (int)strcspn(line + at, "\n"), line + at);
			return true;
		}
		line += strcspn(line, "\n");
	}
	return false;
}

void stow_text_process_name(const char *status, char *buf, size_t size)
{
	char escaped[256], *to = buf;

	buf[0] = '\0';
	if (!stow_text_field(status, "Name", escaped, sizeof(escaped)))
		return;
	for (const char *p = escaped; *p && to < buf + size - 1; p++) {
		if (*p == '\\' && (p[1] == 'n' || p[1] == '\\'))
			*to++ = *++p == 'n' ? '\n' : '\\';
		else
			*to++ = *p;
	}
	*to = '\0';
	stow_text_clean(buf, size - 1);
}

bool stow_text_has_word(const char *list, const char *word)
{
	static const char separators[] = " ,\n";
	size_t len = strlen(word);

	for (const char *p = list; *p; p += strcspn(p, separators)) {
		p += strspn(p, separators);
		if (strcspn(p, separators) == len && strncmp(p, word, len) == 0 && len)
			return true;
	}
	return false;
}

/* Find the end of the JSON string that begins at `p`: its closing quote, or `end`. */
static char *end_of_string(char *p, const char *end, bool *ret_has_nul)
{
	static const char nul[] = "u0000";

	*ret_has_nul = false;
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\') {
			p++;
			*ret_has_nul |= end - p >= (ptrdiff_t)strlen(nul) &&
					memcmp(p, nul, strlen(nul)) == 0;
		}
	return p;
}

/* Replace the escape in a string. */
static void mark_nuls(char *p, const char *end)
{
	for (; p < end; p++)
		if (*p == '\\' && *++p == 'u' && end - p > 4 && memcmp(p, "u0000", 5) == 0)
			memcpy(p, "ufffd", 5);
}

int stow_text_json_names(const char *text, size_t len, char **ret_copy)
{
	char *copy, *end;

	*ret_copy = NULL;
	if (!memmem(text, len, "\\u0000", 6))
		return 0;
	copy = malloc(len + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, text, len);
	copy[len] = '\0';
	end = copy + len;
	for (char *p = copy; p < end; p++) {
		char *begin = p;
		bool has_nul;

		if (*p != '"')
			continue;
		p = end_of_string(p, end, &has_nul);
		/* A name is followed by a colon. */
		if (has_nul && p < end && p[1 + strspn(p + 1, " \t\r\n")] == ':')
			mark_nuls(begin, p);
	}
	*ret_copy = copy;
	return 0;
}
