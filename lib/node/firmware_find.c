// SPDX-License-Identifier: Apache-2.0
/* Finding a domain, and recording what was found. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "node/firmware_internal.h"

const char *stow_domain_by_name(enum stow_domain_by by)
{
	static const char *const names[] = { NULL, "memory", "cpu", "device" };

	return names[by];
}

void stow_firmware_note(struct stow_comparison *c, const char *fmt, ...)
{
	struct stow_firmware *f = c->f;
	va_list args;
	char **new;

	if (f->n_findings >= STOW_FINDINGS_MAX) {
		f->n_findings++;
		return;
	}
	new = STOW_APPEND(f->findings, f->n_findings);
	if (!new) {
		c->oom = true;
		return;
	}
	va_start(args, fmt);
	if (vasprintf(new, fmt, args) < 0) {
		*new = NULL;
		f->n_findings--;
		c->oom = true;
	}
	va_end(args);
}

struct stow_firmware_domain *stow_firmware_domain(const struct stow_firmware *f, uint64_t domain)
{
	size_t lo = 0, hi = f->n_domains;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (f->domains[mid].domain == domain)
			return &f->domains[mid];
		if (f->domains[mid].domain < domain)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}
