/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The lines of numastow top's screen: texts that fit its width, with looks for a terminal. (A table
 * of libsmartcols is as wide as its contents, which a screen that is drawn again and again may not
 * be.)
 */

#include <stdbool.h>
#include <stddef.h>

#include "cli/view/table.h"

enum top_look { TOP_PLAIN, TOP_TITLE, TOP_HEADING, TOP_CURSOR };

#define TOP_SPANS 8

struct top_line {
	char *text;
	enum top_look look;
	struct {
		int from, columns;
		enum cli_mark mark;
	} spans[TOP_SPANS]; /* parts that are coloured */
	int n_spans;
};

struct top_frame {
	int width; /* columns; 0: as many as there are */
	struct top_line *lines;
	size_t n;
	bool failed; /* out of memory: lines are missing */
};

/* Add a line, cut at the frame's width. */
__attribute__((format(printf, 3, 4))) void top_frame_line(struct top_frame *frame,
							  enum top_look look, const char *format,
							  ...);
/* Add a label and a text, which wraps beside it. */
__attribute__((format(printf, 3, 4))) void top_frame_label(struct top_frame *frame,
							   const char *label, const char *format,
							   ...);
void top_frame_done(struct top_frame *frame);

struct top_column {
	char name[16];
	int least, most; /* columns that it takes; 0 for `most`: what its cells need.
			    Where the width is not limited, it is always that */
	bool left;
	int drop; /* where there is no room, the column with the highest number is left out first;
		     0: never */
};

struct top_table {
	const struct top_column *columns;
	int n; /* of them */
	struct top_cell {
		char *text;
		enum cli_mark mark;
	} * cells;
	size_t n_rows;
	bool failed;
};

/* Add a row, and set cells of the last row. A cell that is not set is "-". */
void top_table_row(struct top_table *table);
__attribute__((format(printf, 4, 5))) void top_table_set(struct top_table *table, int column,
							 enum cli_mark mark, const char *format,
							 ...);
/* Add the heading and `count` rows from `first` on to the frame. The row `cursor` is marked; -1:
 * none. Where there is no room, the first column shrinks first. */
void top_table_print(const struct top_table *table, struct top_frame *frame, size_t first,
		     size_t count, long cursor);
void top_table_done(struct top_table *table);
