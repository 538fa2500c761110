// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "doctor/internal.h"

#define SUBJECT_MAX 256
#define TEXT_MAX    1024

const char *stow_finding_level_name(enum stow_finding_level level)
{
	static const char *const names[] = { "problem", "advice", "information" };

	return names[level];
}

size_t stow_findings_count(const struct stow_findings *findings, enum stow_finding_level level)
{
	size_t n = 0;

	for (size_t i = 0; i < findings->n; i++)
		n += findings->list[i].level == level;
	return n;
}

void stow_findings_done(struct stow_findings *findings)
{
	for (size_t i = 0; i < findings->n; i++) {
		free(findings->list[i].subject);
		free(findings->list[i].evidence);
		free(findings->list[i].command);
	}
	for (size_t i = 0; i < findings->n_unexamined; i++)
		free(findings->unexamined[i].reason);
	free(findings->list);
	free(findings->unexamined);
	*findings = (struct stow_findings){ 0 };
}

static int append(struct doctor *d, enum stow_finding_level level, int node, const char *subject,
		  const char *command, const char *evidence)
{
	struct stow_findings *all = d->findings;
	_cleanup_free_ char *a = stow_text_copy(subject ? subject : "", SUBJECT_MAX);
	_cleanup_free_ char *b = stow_text_copy(evidence, TEXT_MAX);
	_cleanup_free_ char *c = stow_text_copy(command ? command : d->rule->command, TEXT_MAX);
	struct stow_finding *finding = a && b && c ? STOW_APPEND(all->list, all->n) : NULL;

	if (!finding)
		return -ENOMEM;
	finding->rule = d->rule;
	finding->level = level;
	finding->node = node;
	finding->order = all->n;
	finding->subject = STOW_TAKE_PTR(a);
	finding->evidence = STOW_TAKE_PTR(b);
	finding->command = STOW_TAKE_PTR(c);
	return 0;
}

int doctor_report(struct doctor *d, enum stow_finding_level level, int node, const char *subject,
		  const char *command, const char *evidence, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;
	int r;

	if (++d->n_reported > DOCTOR_SUBJECTS)
		return 0;
	va_start(args, evidence);
	r = vasprintf(&text, evidence, args);
	va_end(args);
	if (r < 0) {
		text = NULL;
		return -ENOMEM;
	}
	return append(d, level, node, subject, command, text);
}
