/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Declarations shared by the files that read and write records. */

#include "ledger/ledger.h"
#include "ledger/sql.h"

/* All columns of `container` except the key. */
#define STOW_RECORD_COLUMNS                                                                  \
	"state, kind, id, pod, ns, name, init_pid, init_start, worker_pid, worker_start,"    \
	" cpuset_version, cpuset_path, cpuset_inode, hugetlb_version, hugetlb_path,"         \
	" hugetlb_inode, memory_version, memory_path, memory_inode, created, expires, mode," \
	" cpus, nodes, given_cpus, given_mems, request, digest, reason, drain, reservation"
#define STOW_RECORD_VALUES "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?"

/* Write shares with their pages: the container's (`target` 0), or those of a repin's target (1).
 * `sizes`: the page sizes that the shares' pages index. */
int stow_ledger_put_shares(struct stow_ledger *ledger, int64_t key, int target, bool exclusive,
			   const struct stow_share *shares, size_t n_shares,
			   const struct stow_page_request *sizes, size_t n_sizes,
			   struct stow_err *err);
/* Write exclusive CPUs. -EEXIST: one is taken. */
int stow_ledger_put_cpus(struct stow_ledger *ledger, int64_t key, int target,
			 const struct stow_idset *cpus, struct stow_err *err);
