/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "scheduler/scheduler.h"

/* The thread that tells watchers; its argument is the scheduler. Ends when that is stopping. */
void *scheduler_teller(void *arg);
