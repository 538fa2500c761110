// SPDX-License-Identifier: Apache-2.0
/*
 * numastow topology --svg: one box for each node with its CPUs by cache and core, its memory and
 * devices; below them the distances as a matrix.
 *
 * Plain SVG 1.1 with attributes only: no script, no style sheet, no font of its own. Texts and
 * lines say everything, colours nothing: a CPU that a container has alone is drawn with a thick
 * border. What changes from second to second, as free memory, is left out, so that equal machines
 * give equal bytes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "cli/view/topology_views.h"

enum {
	CHAR = 7,  /* width of a character of 11 px in any monospace font, rounded up */
	LINE = 16, /* height of a line of text */
	GAP = 10,  /* around and between boxes */
	CELL = 34, /* width of a CPU: four digits */
	CELL_HEIGHT = 20,
	CELLS = 8,    /* CPUs in a row */
	CORE_GAP = 4, /* between cores */
	NODE_WIDTH = 2 * GAP + CELLS * (CELL + CORE_GAP),
	COLUMNS_MAX = 8,  /* nodes beside each other */
	DEVICES_MAX = 6,  /* lines of devices in a box */
	MATRIX_MAX = 128, /* rows of the matrix */
	MATRIX_CELL = 34,
};

#define LEGEND "joined: one core; thick border: one container"

/* The picture grows line by line in memory: its height is known at the end. */
struct svg {
	FILE *out;
	const struct topology_data *data;
	const struct topology_owners *owners;
	const struct stow_cpu **cpus; /* of the node that is drawn */
};

static bool wants(const struct svg *svg, size_t at)
{
	return topology_wants(&svg->data->view, svg->data->view.topology->nodes[at].id);
}

/* --- texts -------------------------------------------------------------------------- */

static void put_escaped(FILE *out, const char *text, size_t n)
{
	for (size_t i = 0; i < n && text[i]; i++)
		switch (text[i]) {
		case '&':
			fputs("&amp;", out);
			break;
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			/* Wide characters would not fit their place. */
			fputc(text[i] >= ' ' && text[i] <= '~' ? text[i] : '?', out);
		}
}

/* Write a text that is cut to `width` pixels. `attributes` are class, id and so on. */
static void put_text(FILE *out, int x, int y, int width, const char *attributes, const char *text)
{
	size_t room = (size_t)STOW_MAX(width / CHAR, 1), len = strlen(text);

	fprintf(out, "<text x=\"%d\" y=\"%d\" %s>", x, y, attributes);
	if (len <= room) {
		put_escaped(out, text, len);
	} else {
		put_escaped(out, text, room > 3 ? room - 3 : 0);
		fputs("...", out);
	}
	fputs("</text>\n", out);
}

static void put_rect(FILE *out, int x, int y, int width, int height, const char *attributes)
{
	fprintf(out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" %s/>\n", x, y, width,
		height, attributes);
}

/* --- CPUs --------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const struct stow_cpu *x = *(const struct stow_cpu *const *)a,
			      *y = *(const struct stow_cpu *const *)b;

	if (x->llc != y->llc)
		return (x->llc > y->llc) - (x->llc < y->llc);
	if (x->core != y->core)
		return (x->core > y->core) - (x->core < y->core);
	return x->id - y->id;
}

static void put_cpu(struct svg *svg, const struct stow_cpu *cpu, int x, int y)
{
	const char *owner = svg->owners->of[cpu->id];
	char number[16];

	fprintf(svg->out, "<g class=\"cpu%s\" id=\"cpu-%d\">\n<title>cpu %d", owner ? " owned" : "",
		cpu->id, cpu->id);
	if (owner) {
		fputs(", ", svg->out);
		put_escaped(svg->out, owner, strlen(owner));
	}
	fputs("</title>\n", svg->out);
	put_rect(svg->out, x, y, CELL - 2, CELL_HEIGHT - 4,
		 owner ? "fill=\"#dddddd\" stroke=\"black\" stroke-width=\"2.5\""
		       : "fill=\"white\" stroke=\"black\"");
	snprintf(number, sizeof(number), "%d", cpu->id);
	put_text(svg->out, x + (CELL - 2) / 2, y + 12, CELL - 4, "text-anchor=\"middle\"", number);
	fputs("</g>\n", svg->out);
}

/* Draw one core: its threads beside each other, in rows, with a line below each row. Return how
 * many CPUs it has. `*column` and `*y` are where the next CPU goes. */
static size_t put_core(struct svg *svg, size_t at, size_t n, int left, int *column, int *y)
{
	size_t end = at;

	while (end < n && svg->cpus[end]->core == svg->cpus[at]->core &&
	       svg->cpus[end]->llc == svg->cpus[at]->llc)
		end++;
	/* A core that fits a row is not broken. */
	if (*column && *column + (int)STOW_MIN(end - at, (size_t)CELLS) > CELLS) {
		*column = 0;
		*y += CELL_HEIGHT;
	}
	fprintf(svg->out, "<g class=\"core\" id=\"core-%d\">\n<title>core %d</title>\n",
		svg->cpus[at]->core, svg->cpus[at]->core);
	for (size_t i = at; i < end; i++) {
		int x = left + *column * (CELL + CORE_GAP);

		if (*column == CELLS) {
			*column = 0;
			*y += CELL_HEIGHT;
			x = left;
		}
		put_cpu(svg, svg->cpus[i], x, *y);
		if (i + 1 < end && *column + 1 < CELLS)
			put_rect(svg->out, x + CELL - 2, *y + CELL_HEIGHT / 2 - 4, CORE_GAP + 2, 4,
				 "fill=\"black\"");
		(*column)++;
	}
	fputs("</g>\n", svg->out);
	return end - at;
}

/* Draw the CPUs of a node by last-level cache. Return the height that they take. */
static int put_cpus(struct svg *svg, const struct stow_node *node, int left, int top)
{
	const struct stow_topology *t = svg->data->view.topology;
	size_t n = 0;
	int y = top;

	STOW_IDSET_FOR(id, &node->cpus) {
		const struct stow_cpu *cpu = stow_topology_cpu(t, id);

		if (cpu)
			svg->cpus[n++] = cpu;
	}
	if (n)
		qsort(svg->cpus, n, sizeof(*svg->cpus), compare);
	for (size_t i = 0; i < n;) {
		int llc = svg->cpus[i]->llc, column = 0;
		char label[48];

		snprintf(label, sizeof(label), "cache %d%s", llc,
			 node->assumed & STOW_ASSUMED_CACHES ? " (assumed)" : "");
		/* One cache that several nodes share is drawn in each. */
		fprintf(svg->out, "<g class=\"cache\" id=\"cache-%d-node-%d\">\n", llc, node->id);
		put_text(svg->out, left, y + 11, NODE_WIDTH - 2 * GAP, "class=\"label\"", label);
		y += LINE;
		while (i < n && svg->cpus[i]->llc == llc)
			i += put_core(svg, i, n, left, &column, &y);
		y += CELL_HEIGHT + 4;
		fputs("</g>\n", svg->out);
	}
	return y - top;
}

/* --- nodes -------------------------------------------------------------------------- */

static int put_line(struct svg *svg, int x, int y, const char *class, const char *text)
{
	char attributes[64];

	snprintf(attributes, sizeof(attributes), "class=\"%s\"", class);
	put_text(svg->out, x, y + 11, NODE_WIDTH - 2 * GAP, attributes, text);
	return y + LINE;
}

static int put_memory(struct svg *svg, const struct stow_node *node, size_t at, int x, int y)
{
	const struct stow_locality_node *l = &svg->data->locality.nodes[at];
	char text[96], size[32];

	if (node->assumed & STOW_ASSUMED_MEMORY)
		snprintf(text, sizeof(text), "memory unknown");
	else if (!node->mem_total)
		snprintf(text, sizeof(text), "no memory");
	else
		snprintf(text, sizeof(text), "memory %s",
			 stow_format_size(node->mem_total, size, sizeof(size)));
	y = put_line(svg, x, y, "memory", text);
	for (size_t i = 0; i < node->n_pools; i++) {
		if (!node->pools[i].total)
			continue;
		snprintf(text, sizeof(text), "hugepages %" PRIu64 " x %s", node->pools[i].total,
			 stow_format_size(node->pools[i].size, size, sizeof(size)));
		y = put_line(svg, x, y, "hugepages", text);
	}
	if (l->tier >= 0) {
		snprintf(text, sizeof(text), "memory tier %d", l->tier);
		y = put_line(svg, x, y, "tier", text);
	}
	for (size_t i = 0; i < l->n_caches; i++) {
		if (l->caches[i].size <= 0)
			continue;
		snprintf(text, sizeof(text), "memory-side cache %s",
			 stow_format_size((uint64_t)l->caches[i].size, size, sizeof(size)));
		y = put_line(svg, x, y, "side-cache", text);
	}
	return y;
}

static int put_devices(struct svg *svg, int node, int x, int y)
{
	const struct stow_devices *list = &svg->data->devices;
	size_t more = 0, shown = 0;
	char text[128];

	for (size_t i = 0; i < list->n_devices; i++) {
		const struct stow_device *device = &list->devices[i];

		if (device->node != node)
			continue;
		if (shown == DEVICES_MAX) {
			more++;
			continue;
		}
		snprintf(text, sizeof(text), "%s %s %s", device->address,
			 stow_device_kind_name(device->kind),
			 device->n_names ? device->names[0] : "");
		fprintf(svg->out, "<g class=\"device\" id=\"device-%s\">\n", device->address);
		y = put_line(svg, x, y, "label", text);
		fputs("</g>\n", svg->out);
		shown++;
	}
	if (more) {
		snprintf(text, sizeof(text), "and %zu more devices", more);
		y = put_line(svg, x, y, "more", text);
	}
	return y;
}

/* Draw what is in the box of a node; return its height. */
static int put_contents(struct svg *svg, size_t at, int left, int top)
{
	const struct stow_node *node = &svg->data->view.topology->nodes[at];
	int x = left + GAP, y = top + GAP;
	char text[32];

	snprintf(text, sizeof(text), "node %d", node->id);
	put_text(svg->out, x, y + 11, NODE_WIDTH - 2 * GAP, "class=\"name\" font-weight=\"bold\"",
		 text);
	y = put_memory(svg, node, at, x, y + LINE);
	y = put_devices(svg, node->id, x, y);
	if (stow_idset_empty(&node->cpus))
		y = put_line(svg, x, y, "none", "no CPUs");
	else
		y += put_cpus(svg, node, x, y);
	return y + GAP - top;
}

/* Measure a row of boxes by drawing them to nowhere. */
static int row_height(struct svg *svg, const size_t *row, int n)
{
	FILE *out = svg->out, *nowhere = fopen("/dev/null", "we");
	int height = 0;

	if (!nowhere)
		return -errno;
	svg->out = nowhere;
	for (int i = 0; i < n; i++) {
		int h = put_contents(svg, row[i], 0, 0);

		height = STOW_MAX(height, h);
	}
	svg->out = out;
	fclose(nowhere);
	return height;
}

static int put_row(struct svg *svg, const size_t *row, int n, int y)
{
	int height = row_height(svg, row, n);

	for (int i = 0; height >= 0 && i < n; i++) {
		int x = GAP + i * (NODE_WIDTH + GAP);

		fprintf(svg->out, "<g class=\"node\" id=\"node-%d\">\n",
			svg->data->view.topology->nodes[row[i]].id);
		put_rect(svg->out, x, y, NODE_WIDTH, height,
			 "class=\"box\" fill=\"#f4f4f4\" stroke=\"black\" stroke-width=\"1.5\"");
		(void)put_contents(svg, row[i], x, y);
		fputs("</g>\n", svg->out);
	}
	return height;
}

/* As many rows as columns; or one column more, if all rows are full then: 4 and 4 of eight. */
static int columns_of(size_t n)
{
	int columns = 1;

	while (columns < COLUMNS_MAX && (size_t)(columns * columns) < n)
		columns++;
	if (columns < COLUMNS_MAX && n % (size_t)columns && n % (size_t)(columns + 1) == 0)
		columns++;
	return columns;
}

/* Draw all nodes. Return the y below them, or -errno. */
static int put_nodes(struct svg *svg, int columns, int y)
{
	const struct stow_topology *t = svg->data->view.topology;
	size_t row[COLUMNS_MAX];
	int n = 0;

	for (size_t i = 0; i <= t->n_nodes; i++) {
		if (i < t->n_nodes && wants(svg, i))
			row[n++] = i;
		if (n && (n == columns || i == t->n_nodes)) {
			int height = put_row(svg, row, n, y);

			if (height < 0)
				return height;
			y += height + GAP;
			n = 0;
		}
	}
	return y;
}

/* --- distances ------------------------------------------------------------------------ */

static void put_number(struct svg *svg, int x, int y, const char *attributes, int number)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", number);
	put_text(svg->out, x + MATRIX_CELL / 2, y + 14, MATRIX_CELL, attributes, text);
}

static void put_matrix_row(struct svg *svg, size_t i, int y)
{
	const struct stow_topology *t = svg->data->view.topology;
	int x = GAP;

	put_number(svg, x, y, "class=\"from\" text-anchor=\"middle\" font-weight=\"bold\"",
		   t->nodes[i].id);
	for (size_t j = 0; j < t->n_nodes; j++) {
		char attributes[96];

		if (!wants(svg, j))
			continue;
		x += MATRIX_CELL;
		put_rect(svg->out, x, y, MATRIX_CELL, CELL_HEIGHT,
			 i == j ? "fill=\"#dddddd\" stroke=\"black\""
				: "fill=\"none\" stroke=\"black\"");
		snprintf(attributes, sizeof(attributes),
			 "class=\"distance\" id=\"distance-%d-%d\" text-anchor=\"middle\"",
			 t->nodes[i].id, t->nodes[j].id);
		put_number(svg, x, y, attributes, t->distance[i * t->n_nodes + j]);
	}
}

/* Draw the matrix of the distances; return the y below it. */
static int put_matrix(struct svg *svg, size_t n, int width, int y)
{
	const struct stow_topology *t = svg->data->view.topology;
	char text[96];
	int x = GAP;

	snprintf(text, sizeof(text), "distances%s, from row to column",
		 t->assumed & STOW_ASSUMED_DISTANCES ? " (assumed)" : "");
	if (n > MATRIX_MAX)
		snprintf(text, sizeof(text), "distances of %zu nodes: see numastow topology", n);
	put_text(svg->out, GAP, y + 12, width - 2 * GAP, "class=\"label\" font-weight=\"bold\"",
		 text);
	y += LINE + 4;
	if (n > MATRIX_MAX)
		return y;
	fputs("<g class=\"distances\" id=\"distances\">\n", svg->out);
	for (size_t j = 0; j < t->n_nodes; j++) {
		if (!wants(svg, j))
			continue;
		x += MATRIX_CELL;
		put_number(svg, x, y, "class=\"to\" text-anchor=\"middle\" font-weight=\"bold\"",
			   t->nodes[j].id);
	}
	for (size_t i = 0; i < t->n_nodes; i++)
		if (wants(svg, i)) {
			y += CELL_HEIGHT;
			put_matrix_row(svg, i, y);
		}
	fputs("</g>\n", svg->out);
	return y + CELL_HEIGHT + GAP;
}

/* --- the picture ---------------------------------------------------------------------- */

static int draw(struct svg *svg, int *ret_width, int *ret_height)
{
	const struct stow_topology *t = svg->data->view.topology;
	size_t n = 0;
	int columns, width, y = GAP;
	char text[96];

	for (size_t i = 0; i < t->n_nodes; i++)
		n += wants(svg, i);
	columns = columns_of(n);
	width = GAP + columns * (NODE_WIDTH + GAP);
	if (n > 1 && n <= MATRIX_MAX)
		width = STOW_MAX(width, 2 * GAP + (int)(n + 1) * MATRIX_CELL);
	snprintf(text, sizeof(text), "%zu node%s, %zu CPUs", n, n == 1 ? "" : "s", t->n_cpus);
	put_text(svg->out, GAP, y + 12, width - 2 * GAP, "class=\"title\" font-weight=\"bold\"",
		 text);
	y += LINE;
	put_text(svg->out, GAP, y + 12, width - 2 * GAP, "class=\"legend\"", LEGEND);
	y = put_nodes(svg, columns, y + LINE + 4);
	if (y < 0)
		return y;
	if (n > 1)
		y = put_matrix(svg, n, width, y);
	*ret_width = width;
	*ret_height = y;
	return 0;
}

static int write_all(FILE *out, const char *body, int width, int height)
{
	fprintf(out,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"%d\" "
		"height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"monospace\" font-size=\"11\">\n"
		"<title>NUMA topology</title>\n"
		"<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n"
		"%s</svg>\n",
		width, height, width, height, width, height, body);
	return fflush(out) || ferror(out) ? -EIO : 0;
}

int topology_write_svg(const struct topology_data *data, const struct topology_owners *owners,
		       const char *path, struct stow_err *err)
{
	_cleanup_free_ const struct stow_cpu **cpus =
		calloc(data->view.topology->n_cpus + 1, sizeof(*cpus));
	struct svg svg = { .data = data, .owners = owners, .cpus = cpus };
	_cleanup_fclose_ FILE *file = NULL;
	_cleanup_free_ char *body = NULL;
	int r, width, height;
	size_t size;

	svg.out = open_memstream(&body, &size);
	if (!svg.out || !cpus) {
		r = -ENOMEM;
	} else {
		r = draw(&svg, &width, &height);
	}
	if (svg.out && fclose(svg.out) != 0 && r == 0)
		r = -ENOMEM;
	if (r < 0)
		return stow_err_sys(err, -r, "drawing the topology");
	if (strcmp(path, "-") == 0) { /* the program's end says whether it could be written */
		(void)write_all(stdout, body, width, height);
		return 0;
	}
	file = fopen(path, "we");
	if (!file)
		return stow_err_sys(err, errno, "--svg %s", path);
	r = write_all(file, body, width, height);
	return r < 0 ? stow_err_sys(err, errno ? errno : EIO, "--svg %s", path) : 0;
}
