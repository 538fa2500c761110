// SPDX-License-Identifier: Apache-2.0
/* The output of `numastow doctor`. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/paragraph.h"
#include "cli/view/doctor.h"
#include "cli/view/table.h"

#define INDENT 13 /* of the text behind a label */

enum { LEVEL, RULE, NODE, SUBJECT, EVIDENCE, CONSEQUENCE, COMMAND, DOCUMENT, KERNELS };
const struct cli_column doctor_columns[] = {
	[LEVEL] = { "LEVEL", CLI_TEXT, "problem, advice or information" },
	[RULE] = { "RULE", CLI_TEXT, "the rule's name" },
	[NODE] = { "NODE", CLI_NUMBER, "the NUMA node that it is about" },
	[SUBJECT] = { "SUBJECT", CLI_TEXT, "container, process, device or setting" },
	[EVIDENCE] = { "EVIDENCE", CLI_LAST, "the numbers that were read" },
	[CONSEQUENCE] = { "CONSEQUENCE", CLI_LAST, "what it costs", .extra = true },
	[COMMAND] = { "COMMAND", CLI_LAST, "what mends it", .extra = true },
	[DOCUMENT] = { "DOCUMENT", CLI_LAST, "where it is explained", .extra = true },
	[KERNELS] = { "KERNELS", CLI_LAST, "those that the rule holds for", .extra = true },
	{ 0 },
};

enum { RULE_ID, RULE_LEVEL, RULE_TITLE, RULE_KERNELS, RULE_DOCUMENT };
static const struct cli_column rule_columns[] = {
	[RULE_ID] = { "RULE", CLI_TEXT },
	[RULE_LEVEL] = { "LEVEL", CLI_TEXT },
	[RULE_TITLE] = { "FINDING", CLI_LAST },
	[RULE_KERNELS] = { "KERNELS", CLI_LAST },
	[RULE_DOCUMENT] = { "DOCUMENT", CLI_LAST, .extra = true },
	{ 0 },
};

static bool is_shown(const struct stow_finding *finding, enum stow_finding_level level,
		     const struct cli_output *out)
{
	return finding->level <= level && cli_output_wants_node(out, finding->node);
}

static void fill(struct cli_table *table, const struct stow_finding *finding)
{
	static const enum cli_mark marks[] = { CLI_BAD, CLI_WARNING, CLI_PLAIN };
	struct cli_row *row = cli_table_row(table, NULL);

	cli_row_text(row, LEVEL, stow_finding_level_name(finding->level));
	cli_row_mark(row, LEVEL, marks[finding->level]);
	cli_row_text(row, RULE, finding->rule->id);
	cli_row_id(row, NODE, finding->node);
	if (*finding->subject)
		cli_row_text(row, SUBJECT, finding->subject);
	cli_row_text(row, EVIDENCE, finding->evidence);
	cli_row_text(row, CONSEQUENCE, finding->rule->consequence);
	cli_row_text(row, COMMAND, finding->command);
	cli_row_text(row, DOCUMENT, finding->rule->document);
	cli_row_text(row, KERNELS, finding->rule->kernels);
}

static json_object *unexamined_json(struct json_writer *w, const struct stow_findings *findings)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < findings->n_unexamined; i++) {
		json_object *o = json_object_new_object();

		json_put(w, o, "rule", json_object_new_string(findings->unexamined[i].rule->id));
		json_put(w, o, "reason", json_object_new_string(findings->unexamined[i].reason));
		json_append(w, list, o);
	}
	return list;
}

static int print_json(const struct stow_findings *findings, struct cli_table *table)
{
	struct json_writer w;
	json_object *o = cli_output_object(&w), *counts = json_object_new_object();
	char name[32];

	for (int level = 0; level < STOW_FINDING_LEVELS; level++) {
		snprintf(name, sizeof(name), "%s", stow_finding_level_name(level));
		json_put(&w, counts, name,
			 json_object_new_uint64(stow_findings_count(findings, level)));
	}
	json_put(&w, o, "counts", counts);
	json_put_known(&w, o, "seconds", findings->seconds > 0,
		       json_object_new_double(findings->seconds));
	json_put(&w, o, "since_boot", json_object_new_boolean(findings->since_boot));
	json_put(&w, o, "findings", cli_table_json(table));
	json_put(&w, o, "unexamined", unexamined_json(&w, findings));
	return json_print(&w, o);
}

static void print_finding(const struct stow_finding *finding)
{
	static const char *const colours[] = { "\033[31m", "\033[33m", "" };
	bool coloured = cli_output_coloured() && *colours[finding->level];

	printf("%s%s%s  %s%s%s\n", coloured ? colours[finding->level] : "",
	       stow_finding_level_name(finding->level), coloured ? "\033[0m" : "",
	       finding->rule->id, *finding->subject ? ": " : "", finding->subject);
	cli_paragraph(INDENT, "found", finding->evidence);
	cli_paragraph(INDENT, "matters", finding->rule->consequence);
	cli_paragraph(INDENT, "do", finding->command);
	cli_paragraph(INDENT, "see", finding->rule->document);
	cli_paragraph(INDENT, "kernels", finding->rule->kernels);
	putchar('\n');
}

/* Print each reason once: a file that cannot be read is many rules'. */
static void print_unexamined(const struct stow_findings *findings)
{
	const struct stow_unexamined *list = findings->unexamined;

	for (size_t i = 0; i < findings->n_unexamined; i++) {
		size_t before = 0, more = 0;

		for (size_t k = 0; k < findings->n_unexamined; k++)
			if (k != i && strcmp(list[k].reason, list[i].reason) == 0) {
				before += k < i;
				more++;
			}
		if (before)
			continue;
		if (more)
			fprintf(stderr, "numastow: %s and %zu more rule%s were not examined: %s\n",
				list[i].rule->id, more, more == 1 ? "" : "s", list[i].reason);
		else
			fprintf(stderr, "numastow: %s was not examined: %s\n", list[i].rule->id,
				list[i].reason);
	}
}

static void print_text(const struct stow_findings *findings, enum stow_finding_level level,
		       const struct cli_output *out)
{
	size_t rules, n[STOW_FINDING_LEVELS];

	for (size_t i = 0; i < findings->n; i++)
		if (is_shown(&findings->list[i], level, out))
			print_finding(&findings->list[i]);
	print_unexamined(findings);
	(void)stow_rules(&rules);
	for (int i = 0; i < STOW_FINDING_LEVELS; i++)
		n[i] = stow_findings_count(findings, i);
	rules -= findings->n_unexamined;
	printf("%zu rule%s. Problems: %zu, advice: %zu, information: %zu%s\n", rules,
	       rules == 1 ? "" : "s", n[0], n[1], n[2],
	       findings->seconds > 0 ? "" : "; without /proc/uptime no rate is known");
}

int doctor_print(const struct stow_findings *findings, enum stow_finding_level level,
		 const struct cli_output *out, struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	struct cli_output all = *out;
	int r;

	/* An object has everything, unless less was asked for. */
	all.all |= out->json;
	r = cli_table_new(doctor_columns, &all, &table, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < findings->n; i++)
		if (is_shown(&findings->list[i], level, out))
			fill(table, &findings->list[i]);
	if (out->quiet)
		return 0;
	if (out->json)
		r = print_json(findings, table);
	else if (out->columns || out->all || out->pairs || out->raw || out->noheadings)
		r = cli_table_print(table);
	else
		print_text(findings, level, out);
	return r < 0 ? stow_err_sys(err, -r, "printing the findings") : 0;
}

int doctor_print_rules(const struct cli_output *out, struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	struct json_writer w;
	json_object *o;
	size_t n;
	const struct stow_rule *rules = stow_rules(&n);
	struct cli_output all = *out;
	int r;

	all.all |= out->json;
	r = cli_table_new(rule_columns, &all, &table, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct cli_row *row = cli_table_row(table, NULL);

		cli_row_text(row, RULE_ID, rules[i].id);
		cli_row_text(row, RULE_LEVEL, stow_finding_level_name(rules[i].level));
		cli_row_text(row, RULE_TITLE, rules[i].title);
		cli_row_text(row, RULE_KERNELS, rules[i].kernels);
		cli_row_text(row, RULE_DOCUMENT, rules[i].document);
	}
	if (!out->json) {
		r = cli_table_print(table);
	} else {
		o = cli_output_object(&w);
		json_put(&w, o, "rules", cli_table_json(table));
		r = json_print(&w, o);
	}
	return r < 0 ? stow_err_sys(err, -r, "printing the rules") : 0;
}
