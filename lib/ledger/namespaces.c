// SPDX-License-Identifier: Apache-2.0
/* The namespaces in which the ledger was made. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/array.h"
#include "ledger/internal.h"

static const char *const names[] = { "pid", "cgroup", "time" };

/* Return the inode of a namespace of this program; 0: not known, as in a copied tree. */
static int64_t own(struct stow_root *root, const char *name)
{
	struct stat st;

	return stow_root_stat(root, &st, NULL, "/proc/self/ns/%s", name) == 0 ? (int64_t)st.st_ino
									      : 0;
}

int stow_ledger_put_namespaces(struct stow_ledger *ledger, struct stow_err *err)
{
	int r = 0;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(names) && r == 0; i++)
		r = stow_sql_run(ledger, err, "INSERT OR REPLACE INTO namespace VALUES(?, ?)", "ti",
				 names[i], own(ledger->root, names[i]));
	return r;
}

/* Compare one namespace. */
static int check(struct stow_ledger *ledger, const char *name, struct stow_err *err)
{
	int64_t its, ours = own(ledger->root, name);
	int r = stow_sql_number(ledger, &its, err, "SELECT inode FROM namespace WHERE name = ?",
				"t", name);

	if (r < 0 || !its || !ours || its == ours)
		return r;
	return stow_err_set(err, EXDEV,
			    "the ledger was made in another %s namespace, %s:[%" PRId64 "]; seen "
			    "from this one, %s:[%" PRId64 "], running containers have ended: "
			    "nothing is changed from here",
			    name, name, its, name, ours);
}

int stow_ledger_check_namespaces(struct stow_ledger *ledger, struct stow_err *err)
{
	int64_t records;
	int r = stow_sql_number(ledger, &records, err, "SELECT count(*) FROM container", "");

	if (r == 0 && !records)
		return stow_ledger_put_namespaces(ledger, err);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(names) && r == 0; i++)
		r = check(ledger, names[i], err);
	return r;
}
