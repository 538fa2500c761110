/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Amounts of CPUs, memory and hugepages, as ResourceSlices and claims have them. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define KUBECTL_AMOUNTS 16 /* capacities of a device that are read */
#define KUBECTL_NAME	40

struct kubectl_amount {
	char name[KUBECTL_NAME]; /* "cpus", "memory", "hugepages2Mi" */
	uint64_t value, step;	 /* step 0: none is known */
};

struct kubectl_amounts {
	struct kubectl_amount list[KUBECTL_AMOUNTS];
	size_t n;
};

/* Read {"cpus": "3"} into `ret`; the driver's domain before a name is dropped. The error names the
 * entry at fault. */
int kubectl_amounts_read(struct json_object *object, struct kubectl_amounts *ret,
			 struct stow_err *err);
/* Read a device's capacities: {"cpus": {"value": "3", "requestPolicy": ...}}. Entries that are not
 * readable are skipped. */
void kubectl_amounts_read_capacity(struct json_object *object, struct kubectl_amounts *ret);

/* Return the amount of that name, or NULL. */
const struct kubectl_amount *kubectl_amounts_find(const struct kubectl_amounts *amounts,
						  const char *name);
/* Round up to a step. */
uint64_t kubectl_round_up(uint64_t value, uint64_t step);

/* Format a value: "3" for CPUs, "1.5Gi" for what is counted in bytes. Return `buf`. */
const char *kubectl_amount_text(const char *name, uint64_t value, char *buf, size_t size);
/* Append all amounts but those of 0 to an empty or begun list: "3 cpus, 1Gi memory". */
void kubectl_amounts_text(const struct kubectl_amounts *amounts, char *buf, size_t size);
