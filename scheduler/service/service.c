// SPDX-License-Identifier: Apache-2.0
/* The service: its methods, and the check of callers. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "rpc/texts.h"
#include "scheduler/drain/drain.h"
#include "scheduler/service/roles.h"
#include "scheduler/service/service.h"

static int may(const struct stow_rpc_peer *peer, const char *method, void *ctx,
	       struct stow_err *err)
{
	struct scheduler *s = ctx;

	if (!atomic_load(&s->active))
		return stow_err_set(err, ENOTCONN, "this scheduler is a standby");
	if (!stow_store_leads(s->store, err))
		return -err->code;
	return scheduler_may(peer, method, s->config.roles, err);
}

/* Check each message before its method gets it. Names in reports are cleaned, so that an invalid
 * one does not make the machine unreadable. */
static int check(const char *method, void *message, void *ctx, struct stow_err *err)
{
	const PbReportRequest *in = message;

	if (strcmp(method, "Report") != 0)
		return stow_texts_check(message, err);
	/* A drain's progress has a check of its own, because its lists are longer. */
	if (in->kind_case != PB_REPORT_REQUEST__KIND_DRAIN)
		stow_texts_clean(message, STOW_TEXT_LIST);
	return 0;
}

const char *const scheduler_service_changing[] = { "Place",	  "Release",	 "Fence", "Unfence",
						   "DrainMemory", "CancelDrain", NULL };

static void ended(const struct stow_rpc_ended *ended, void *ctx)
{
	struct scheduler *s = ctx;

	stow_audit_ended(&s->audit, ended);
}

bool scheduler_service_trusted(const struct stow_rpc_peer *peer, void *ctx)
{
	const struct scheduler *s = ctx;

	return scheduler_is_agent(peer, s->config.roles);
}

static const struct stow_rpc_method methods[] = {
	{ "Report", .stream = &scheduler_report_ops },
	{ "Place", .unary = scheduler_place },
	{ "Release", .unary = scheduler_release },
	{ "Explain", .unary = scheduler_explain },
	{ "ListNodes", .unary = scheduler_list_nodes },
	{ "WatchNodes", .stream = &scheduler_watch_ops, .watch = true },
	{ "ListReservations", .unary = scheduler_list_reservations },
	{ "Fence", .unary = scheduler_fence },
	{ "Unfence", .unary = scheduler_unfence },
	{ "DrainMemory", .stream = &scheduler_drain_ops },
	{ "ListDrains", .unary = scheduler_list_drains },
	{ "CancelDrain", .unary = scheduler_cancel_drain },
};

const struct stow_rpc_service scheduler_service = {
	.descriptor = &pb_scheduler__descriptor,
	.methods = methods,
	.n_methods = STOW_ARRAY_SIZE(methods),
	.may = may,
	.check = check,
	.ended = ended,
};
