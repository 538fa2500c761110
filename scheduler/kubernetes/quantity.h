/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Kubernetes' quantities (apimachinery's resource.Quantity), in pods and in claims. */

#include <stddef.h>
#include <stdint.h>

/* Read a quantity in thousandths, rounded up: "500m" is 500, "1.5Gi" is 1610612736000. -EINVAL: it
 * is no quantity, or negative; -ERANGE: over INT64_MAX. */
int scheduler_quantity(const char *text, uint64_t *ret_milli);

#define SCHEDULER_QUANTITY_LEN 24

/* Format bytes as the API server writes them back: "8Gi", "512M", "1234". */
const char *scheduler_quantity_bytes(uint64_t bytes, char buf[static SCHEDULER_QUANTITY_LEN]);
/* Format thousandths: "500m", "4". */
const char *scheduler_quantity_milli(uint64_t milli, char buf[static SCHEDULER_QUANTITY_LEN]);
