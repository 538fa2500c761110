// SPDX-License-Identifier: Apache-2.0
/* Which container has a CPU. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/view/topology_views.h"
#include "grant/names.h"

#define NAME_MAX_BYTES 200

/* Name a record as users know it: by the container's name or id, or else by what it waits for. */
static char *name_of(const struct stow_names *names, const struct stow_record *record)
{
	const char *name = *record->id ? stow_names_find(names, record->id) : NULL;
	char text[1024], id[80];

	if (name)
		snprintf(text, sizeof(text), "%s", name);
	else if (*record->pod)
		snprintf(text, sizeof(text), "%s/%s%s%s", record->ns, record->pod,
			 *record->name ? "/" : "", record->name);
	else if (*record->name)
		snprintf(text, sizeof(text), "%s", record->name);
	else if (*record->id)
		snprintf(text, sizeof(text), "%s", cli_short_id(record->id, id, sizeof(id)));
	else if (record->claim)
		snprintf(text, sizeof(text), "claim %s", record->claim->uid);
	else
		snprintf(text, sizeof(text), "reservation %s", record->reservation);
	return stow_text_copy(text, NAME_MAX_BYTES);
}

static int take(struct topology_owners *owners, const struct stow_names *names,
		const struct stow_record *record)
{
	char **name;

	if (!record->exclusive)
		return 0;
	name = STOW_APPEND(owners->names, owners->n_names);
	if (!name)
		return -ENOMEM;
	*name = name_of(names, record);
	if (!*name)
		return -ENOMEM;
	STOW_IDSET_FOR(cpu, &record->cpus)
		owners->of[cpu] = *name;
	if (record->move)
		STOW_IDSET_FOR(cpu, &record->move->cpus)
			owners->of[cpu] = *name;
	return 0;
}

int topology_owners_read(struct stow_root *root, const struct topology_data *data,
			 struct topology_owners **ret, struct stow_err *err)
{
	_cleanup_(topology_owners_free_ptr) struct topology_owners *owners = NULL;
	_cleanup_(stow_names_done) struct stow_names names = { 0 };
	struct stow_record **records = NULL;
	size_t n = 0;
	int r = 0;

	owners = calloc(1, sizeof(*owners));
	if (!owners)
		return stow_err_sys(err, ENOMEM, "reading the ledger");
	if (data->ledger)
		r = stow_ledger_records(data->ledger, NULL, &records, &n, err);
	if (r == 0 && n)
		r = stow_names_read(root, &names, NULL);
	if (r < 0)
		return r;
	/* A container of a claim has the CPUs of a share, which is a record of its own: the
	 * container's name counts. */
	for (int holders = 0; r == 0 && holders < 2; holders++)
		for (size_t i = 0; r == 0 && i < n; i++)
			if (stow_record_is_share(records[i]) == !holders)
				r = take(owners, &names, records[i]);
	stow_records_free(records, n);
	if (r < 0)
		return stow_err_sys(err, -r, "reading the ledger");
	*ret = STOW_TAKE_PTR(owners);
	return 0;
}

void topology_owners_free(struct topology_owners *owners)
{
	if (!owners)
		return;
	for (size_t i = 0; i < owners->n_names; i++)
		free(owners->names[i]);
	free(owners->names);
	free(owners);
}
