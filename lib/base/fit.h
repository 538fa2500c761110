/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How a table fits a terminal: columns of text become narrower and their cells wrap. If that does
 * not suffice, the table is printed in parts below each other, which repeat the first columns.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct stow_fit {
	int natural; /* the width of its longest cell, or its heading */
	int least;   /* the least width it can be wrapped to; `natural` if it cannot */
	int width;   /* what it gets */
};

/* Return how many columns of the terminal a UTF-8 text takes. */
int stow_fit_columns(const char *text);

/* Set the widths of those of `columns` that `shown` has, for a terminal of `width` columns. Return
 * whether they fit, with a space between them. */
bool stow_fit_widths(struct stow_fit *columns, const int *shown, int n, int width);

/* Put as many columns as fit into `shown`: the first `keys`, and those from `from` on, at least
 * one; with a `width` of 0 all of them. Return how many there are. */
int stow_fit_part(const struct stow_fit *columns, int n, int keys, int from, int width, int *shown);

/* Return a copy of `text` with newlines such that no line is wider than `width`: at spaces, after
 * "," or "/", or else anywhere. The caller frees it; NULL: out of memory. */
char *stow_fit_wrap(const char *text, int width);

/* Print `margin` spaces, a label, and the text from column `indent` on, wrapped to a screen of
 * `width` columns; 0: not at all. After a label that leaves less than two spaces before `indent`,
 * the text begins in the next line. */
void stow_fit_print(FILE *out, int margin, const char *label, int indent, const char *text,
		    int width);
