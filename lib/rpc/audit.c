// SPDX-License-Identifier: Apache-2.0
#include "rpc/audit.h"

#include <errno.h>
#include <string.h>

#include "rpc/log.h"
#include "rpc/metrics.h"

static struct stow_log_peers refusals = STOW_LOG_PEERS(STOW_LOG_BURST, STOW_LOG_INTERVAL);

static bool changes(const struct stow_audit *audit, const char *method)
{
	for (size_t i = 0; audit->changing[i]; i++)
		if (strcmp(audit->changing[i], method) == 0)
			return true;
	return false;
}

static void count(struct stow_audit *audit, const struct stow_rpc_ended *ended, unsigned int code)
{
	for (size_t i = 0; i < audit->service->n_methods && i < STOW_AUDIT_METHODS; i++)
		if (strcmp(audit->service->methods[i].name, ended->method) == 0)
			atomic_fetch_add(&audit->counts[i][code < STOW_AUDIT_CODES ? code : 2], 1);
}

void stow_audit_ended(struct stow_audit *audit, const struct stow_rpc_ended *ended)
{
	unsigned int code = ended->err ? stow_status_of_errno(ended->err->code) : 0;
	bool refused = ended->err && ended->err->code == EACCES;
	const struct stow_rpc_peer *peer = ended->peer;
	char caller[300], key[512];
	uint64_t times = 0;

	count(audit, ended, code);
	if (!refused && !changes(audit, ended->method))
		return;
	if (refused) {
		stow_rpc_peer_key(peer, key, sizeof(key));
		times = stow_log_may_peer(&refusals, key, strlen(key));
		if (!times)
			return;
	}
	if (peer->local)
		snprintf(caller, sizeof(caller), "uid %u, pid %d%s", (unsigned int)peer->uid,
			 (int)peer->pid, peer->same_namespaces ? "" : ", in a container");
	else
		snprintf(caller, sizeof(caller), "%s",
			 !peer->tls		       ? "without a certificate"
			 : peer->name[0]	       ? peer->name
			 : peer->uris && peer->uris[0] ? peer->uris[0]
			 : peer->dns && peer->dns[0]   ? peer->dns[0]
						       : "?");
	stow_log(refused ? STOW_LOG_WARNING : STOW_LOG_NOTICE,
		 refused ? "request refused" : "request", stow_text("method", ended->method),
		 stow_text("caller", caller), stow_text("address", peer->address),
		 stow_text("request", ended->request), stow_text("code", stow_status_name(code)),
		 stow_text("result", ended->err ? ended->err->msg : ended->result),
		 stow_number("duration_us", ended->duration / 1000),
		 refused ? stow_number("times", times) : (struct stow_field){ 0 });
}

void stow_audit_render(FILE *out, const char *name, const struct stow_audit *audit)
{
	stow_metric_head(out, name, "counter", "Calls that have ended, by method and code.");
	for (size_t i = 0; i < audit->service->n_methods && i < STOW_AUDIT_METHODS; i++)
		for (unsigned int code = 0; code < STOW_AUDIT_CODES; code++) {
			uint64_t n = atomic_load(&audit->counts[i][code]);

			/* OK is there from the start, so that rates begin at zero. */
			if (n || code == 0)
				stow_metric(out, name, (double)n, "method",
					    audit->service->methods[i].name, "code",
					    stow_status_name(code), NULL);
		}
}
