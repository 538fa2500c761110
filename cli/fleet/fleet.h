/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The subcommands of numastow that speak gRPC. They are a separate program, numastow-fleet, which
 * numastow(1) executes for them. So the command for the local machine stays small, static and fast.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <numastow/v1/agent.pb-c.h>
#include <numastow/v1/scheduler.pb-c.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/drain_asked.h"
#include "cli/grid.h"
#include "cli/message.h"
#include "rpc/rpc.h"
#include "rpc/settings.h"

#define FLEET_CONFIG_PATH "/etc/numastow/client.yaml"

/* Settings from the file and the flags. */
struct fleet_options {
	/* Connection settings: in the file, and flags of every command. */
	char **schedulers;
	char *ca, *certificate, *key, *server_name;
	char *agent; /* path of the agent's socket */
	uint64_t timeout;
	bool schedulers_in_file, agent_in_file; /* from the file, not the command line */
	const char *path;			/* of the file */

	/* Options of single commands. */
	char *name, *ns, *node, *numa_nodes, *file, *request_id, *to;
	uint64_t pods, lifetime, limit, batch, pause;
	int strategy;
	bool confirmed, annotation, revoke, containers, dry_run, cluster, last;
	struct drain_asked drain;

	bool json, quiet;
	uint64_t watch;		      /* ns between two outputs; 0: once */
	struct stow_grid_style style; /* of the table */
	const char **words;	      /* NULL-terminated */
	size_t n_words;
};

/* --- connections (connect.c) ---------------------------------------------- */

enum fleet_peer { FLEET_SCHEDULER, FLEET_AGENT };

struct fleet {
	const struct fleet_options *options;
	struct stow_rpc_loop *loop;
	struct stow_rpc_client *client;
	const ProtobufCServiceDescriptor *service;
	char target[300]; /* the last address that was tried */
	int signals;	  /* signalfd(2) of SIGINT and SIGTERM */
};

/* Connect to the agent, or to the active one of several schedulers. -ENOTCONN: none is active.
 * The caller calls fleet_close() in any case. */
int fleet_open(struct fleet *fleet, const struct fleet_options *options, enum fleet_peer peer,
	       struct stow_err *err);
void fleet_close(struct fleet *fleet);

/* Make a unary call, within --timeout. *ret is freed with stow_rpc_message_free(). */
int fleet_call(struct fleet *fleet, const char *method, const void *request, void *ret,
	       struct stow_err *err);
/* The same for a paged answer: all pages are joined. `page_token` is the field of the request. */
int fleet_call_pages(struct fleet *fleet, const char *method, void *request, char **page_token,
		     void *ret, struct stow_err *err);

/*
 * Read a server stream until it ends, or until a signal cancels it (-EINTR). `message` and `tick`
 * are called under one lock; `tick` every `tick_ms` milliseconds, when not 0.
 */
struct fleet_stream {
	int (*message)(void *ctx, const void *message, struct stow_err *err);
	void (*tick)(void *ctx);
	unsigned int tick_ms;
	/* Called at a signal, without the lock. Return true to continue until the peer ends the
	 * stream. May be NULL. */
	bool (*interrupt)(void *ctx);
	void *ctx;
};
int fleet_stream(struct fleet *fleet, const char *method, const void *request,
		 const struct fleet_stream *stream, struct stow_err *err);
/* Return whether fleet_stream(), called at `since` (monotonic, ns), has ended because the scheduler
 * renews the connection, as it does from time to time: call it again. After a connection that did
 * not last, pause first. */
bool fleet_renewed(int r, const struct stow_err *err, uint64_t since);

/* --- output --------------------------------------------------------------- */

/* Format how long it is until a reservation expires; "-": it does not. */
const char *fleet_left(const PbReservation *r, char *buf, size_t size);

/* Print the table of machines, one line each (nodes.c). `style` may be NULL. -EINVAL, -ENOMEM, as
 * cli_grid_print_as(). */
int fleet_show_nodes(PbNode *const *nodes, size_t n, const struct stow_grid_style *style,
		     struct stow_err *err);

/* --- containers (names.c) -------------------------------------------------- */

/* Find the id of a container of this machine, by the agent, as cli/match.h does. A text that fits
 * none is returned as it is; NULL is the container that got its grant last. The caller frees *ret.
 * -ENOTUNIQ: there are several; -ENOENT: no container has a grant. */
int fleet_container_id(struct fleet *fleet, const char *text, char **ret, struct stow_err *err);

/* --- requests (request.c) ------------------------------------------------- */

/* Parse the pods of a command line: KEY=VALUE as for `explain`, pods separated by "+", each with
 * the annotations of --file; repeated --pods times. Freed with fleet_pods_free(). */
int fleet_pods(const struct fleet_options *options, PbPodRequest ***ret, size_t *ret_n,
	       struct stow_err *err);
void fleet_pods_free(PbPodRequest **pods, size_t n);

/* --- the subcommands ------------------------------------------------------ */

struct fleet_command {
	const char *name, *arguments, *summary;
	const struct stow_setting *settings; /* besides those of every command; may be NULL */
	size_t min_words, max_words;
	enum fleet_peer peer;
	bool places;		    /* -ENOSPC: the request does not fit */
	bool table;		    /* it has the options of a table */
	const char *const *columns; /* of that table, as for cli_grid(), for --help; or NULL */
	bool reads;		    /* it changes nothing, and has --watch and --quiet */
	/* Return an exit code, or -errno. */
	int (*run)(struct fleet *fleet, struct stow_err *err);
	/* Return the peer to ask, depending on the options. NULL: `peer`. */
	enum fleet_peer (*choose_peer)(const struct fleet_options *options);
};

extern const struct fleet_command fleet_nodes, fleet_node, fleet_place, fleet_release,
	fleet_reservations, fleet_explain, fleet_fence, fleet_unfence, fleet_watch,
	fleet_containers, fleet_repin, fleet_drain, fleet_drains, fleet_cancel, fleet_ledger,
	fleet_why;
