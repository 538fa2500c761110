// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/fleet_machine.h"

#include <dlfcn.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CPUS	  16 /* of a NUMA node */
#define ADDRESSES 200
#define MEMORY	  (UINT64_C(64) << 30) /* bytes of a NUMA node */

void fleet_machine_report(struct fleet_machine *m, bool full, unsigned int changed)
{
	PbReportRequest out = PB_REPORT_REQUEST__INIT;
	PbNodeReport body = PB_NODE_REPORT__INIT;
	PbNumaNode numa[FLEET_NUMA_MAX], *list[FLEET_NUMA_MAX];
	char cpus[FLEET_NUMA_MAX][16], **ids = calloc(m->n_held + 1, sizeof(*ids));
	uint32_t distances[FLEET_NUMA_MAX][FLEET_NUMA_MAX];
	size_t n = 0;

	for (unsigned int i = 0; i < m->numa; i++) {
		if (!full && i != changed)
			continue;
		pb_numa_node__init(&numa[n]);
		snprintf(cpus[n], sizeof(cpus[n]), "%u-%u", i * CPUS, (i + 1) * CPUS - 1);
		numa[n].id = i;
		numa[n].state = PB_NUMA_NODE_STATE_READY;
		numa[n].cpus = numa[n].cpus_shared = numa[n].cpus_takeable = cpus[n];
		numa[n].cpus_total = CPUS;
		numa[n].cpus_free = CPUS - m->used_cpus[i];
		numa[n].memory_total = MEMORY;
		numa[n].memory_free = MEMORY - (m->sequence % 1024 << 20);
		numa[n].memory_available = numa[n].memory_free;
		numa[n].memory_promised = m->used_memory[i];
		numa[n].memory_allocatable = MEMORY - m->used_memory[i];
		for (unsigned int j = 0; j < m->numa; j++)
			distances[n][j] = i == j ? 10 : i / 2 == j / 2 ? 12 : 32;
		numa[n].n_distances = m->numa;
		numa[n].distances = distances[n];
		list[n] = &numa[n];
		n++;
	}
	for (const struct fleet_held *h = m->held; h; h = h->next)
		ids[body.n_reservations++] = (char *)(uintptr_t)h->id;
	body.reservations = ids;
	body.name = m->name;
	body.full = full;
	body.sequence = ++m->sequence;
	body.mode = PB_MODE_ENFORCE;
	body.version = (char *)(uintptr_t) "sim";
	body.numa_nodes = list;
	body.n_numa_nodes = n;
	out.kind_case = PB_REPORT_REQUEST__KIND_REPORT;
	out.report = &body;
	stow_rpc_send(m->call, &out);
	free(ids);
}

static void answer(struct fleet_machine *m, uint64_t directive)
{
	PbReportRequest out = PB_REPORT_REQUEST__INIT;
	PbDirectiveResult result = PB_DIRECTIVE_RESULT__INIT;

	result.directive = directive;
	out.kind_case = PB_REPORT_REQUEST__KIND_RESULT;
	out.result = &result;
	stow_rpc_send(m->call, &out);
}

static void hold(struct fleet_machine *m, const PbReservation *r)
{
	struct fleet_held *h = calloc(1, sizeof(*h));

	snprintf(h->id, sizeof(h->id), "%s", r->id);
	if (r->n_parts > 0 && r->parts[0]->numa_node < m->numa) {
		h->numa = r->parts[0]->numa_node;
		h->cpus = r->parts[0]->cpus;
		h->memory = r->parts[0]->memory_promised;
	}
	m->used_cpus[h->numa] += h->cpus;
	m->used_memory[h->numa] += h->memory;
	h->next = m->held;
	m->held = h;
	m->n_held++;
}

static void release(struct fleet_machine *m, const char *id)
{
	for (struct fleet_held **at = &m->held; *at; at = &(*at)->next)
		if (strcmp((*at)->id, id) == 0) {
			struct fleet_held *h = *at;

			m->used_cpus[h->numa] -= h->cpus;
			m->used_memory[h->numa] -= h->memory;
			*at = h->next;
			m->n_held--;
			free(h);
			return;
		}
}

bool fleet_machine_obey(struct fleet_machine *m, const PbDirective *in)
{
	bool first = false;

	pthread_mutex_lock(&m->lock);
	switch (in->kind_case) {
	case PB_DIRECTIVE__KIND_WELCOME:
		first = !m->welcome;
		m->welcome = true;
		break;
	case PB_DIRECTIVE__KIND_RESERVE:
		hold(m, in->reserve);
		answer(m, in->id);
		break;
	case PB_DIRECTIVE__KIND_CANCEL:
		release(m, in->cancel->id);
		answer(m, in->id);
		break;
	case PB_DIRECTIVE__KIND_REPORT:
		fleet_machine_report(m, true, 0);
		answer(m, in->id);
		break;
	default:
		answer(m, in->id);
	}
	pthread_mutex_unlock(&m->lock);
	return first;
}

/* --- addresses ------------------------------------------------------------ */

/* Replace connect(2) of the C library, also for gRPC's core: machines on loopback connect from many
 * addresses, as on a network, because some limits are per address. */
__attribute__((visibility("default"))) int connect(int fd, const struct sockaddr *addr,
						   socklen_t len)
{
	static atomic_uint count;
	int (*libc_connect)(int, const struct sockaddr *, socklen_t) = NULL;
	uint32_t host = INADDR_LOOPBACK + 256 + atomic_fetch_add(&count, 1) % ADDRESSES;
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(host) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };

	if (addr->sa_family == AF_INET) {
		(void)bind(fd, (const struct sockaddr *)&four, sizeof(four));
	} else if (addr->sa_family == AF_INET6) {
		six.sin6_addr.s6_addr[10] = six.sin6_addr.s6_addr[11] = 0xff;
		memcpy(six.sin6_addr.s6_addr + 12, &four.sin_addr, 4);
		(void)bind(fd, (const struct sockaddr *)&six, sizeof(six));
	}
	*(void **)&libc_connect = dlsym(RTLD_NEXT, "connect");
	return libc_connect(fd, addr, len);
}

int fleet_connect(struct stow_rpc_loop *loop, const char *target, const char *certs,
		  const char *who, struct stow_rpc_client **ret, struct stow_err *err)
{
	char certificate[256], key[256], ca[256];
	struct stow_rpc_tls tls = { certificate, key, ca };
	struct stow_rpc_client_options options = { .target = target, .tls = certs ? &tls : NULL };

	snprintf(certificate, sizeof(certificate), "%s/%s.crt", certs ? certs : "", who);
	snprintf(key, sizeof(key), "%s/%s.key", certs ? certs : "", who);
	snprintf(ca, sizeof(ca), "%s/ca.crt", certs ? certs : "");
	return stow_rpc_client_new(loop, &options, ret, err);
}
