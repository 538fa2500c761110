// SPDX-License-Identifier: Apache-2.0
/*
 * Takes, drops and lists claims, as a DRA driver does.
 *
 *	claim-on-root ROOT take UID NAMESPACE/NAME SHARE:PART:NODE:CPUS:MODE:MEMORY:PAGES...
 *	claim-on-root ROOT drop UID
 *	claim-on-root ROOT list
 *	claim-on-root ROOT fence [NODES]	as a scheduler; without NODES lift the fence
 *
 * On another root than / the kernel is simulated (fakekernel.h).
 *
 * MODE is shared or exclusive; MEMORY is in MiB; PAGES are hugepages of 2 MiB. A failure is one
 * line on standard error.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fakekernel.h"
#include "grant/claim.h"

#define MIB (UINT64_C(1) << 20)

static int parse_share(char *text, struct stow_claim_share *ret, struct stow_err *err)
{
	char *word[7], *rest = text;
	size_t n = 0;

	for (char *w; n < STOW_ARRAY_SIZE(word) && (w = strsep(&rest, ":")) != NULL;)
		word[n++] = w;
	if (n != STOW_ARRAY_SIZE(word))
		return stow_err_set(err, EINVAL, "SHARE:PART:NODE:CPUS:MODE:MEMORY:PAGES");
	*ret = (struct stow_claim_share){
		.id = word[0],
		.part = word[1],
		.node = atoi(word[2]),
		.cpus = (uint32_t)strtoul(word[3], NULL, 10),
		.cpu_mode =
			strcmp(word[4], "exclusive") == 0 ? STOW_CPU_EXCLUSIVE : STOW_CPU_SHARED,
		.memory = strtoull(word[5], NULL, 10) * MIB,
	};
	ret->pages[0] =
		(struct stow_page_request){ .size = 2 * MIB, .count = strtoull(word[6], NULL, 10) };
	ret->n_pages = ret->pages[0].count > 0;
	return 0;
}

static int take(const struct stow_grant_context *context, char **argv, int argc,
		struct stow_err *err)
{
	struct stow_claim_share shares[STOW_CLAIM_SHARES_MAX];
	char *name = argc > 1 ? strchr(argv[1], '/') : NULL;
	struct stow_claim claim = { .shares = shares };
	int r = 0;

	if (!name || argc - 2 > STOW_CLAIM_SHARES_MAX)
		return stow_err_set(err, EINVAL, "take UID NAMESPACE/NAME SHARE...");
	*name++ = '\0';
	claim.uid = argv[0];
	claim.ns = argv[1];
	claim.name = name;
	for (int i = 2; i < argc && r == 0; i++)
		r = parse_share(argv[i], &shares[claim.n++], err);
	return r < 0 ? r : stow_claim_take(context, &claim, err);
}

static int list(const struct stow_grant_context *context, struct stow_err *err)
{
	struct stow_claim_list claims;
	int r = stow_claim_list(context, NULL, &claims, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < claims.n; i++) {
		const struct stow_record *share = claims.list[i].share;
		char cpus[128], nodes[64];

		printf("%s/%s %s %s: CPUs %s, nodes %s, held by %zu\n", share->ns, share->name,
		       share->claim->part, share->claim->share,
		       stow_idset_format(&share->cpus, cpus, sizeof(cpus)),
		       stow_idset_format(&share->nodes, nodes, sizeof(nodes)),
		       claims.list[i].n_holders);
	}
	stow_claim_list_done(&claims);
	return 0;
}

static int fence(const struct stow_grant_context *context, const char *text, struct stow_err *err)
{
	struct stow_idset nodes = { 0 };
	int r = text ? stow_idset_parse(text, &nodes, err) : 0;

	return r < 0 ? r : stow_ledger_fence_set(context->ledger, "scheduler", &nodes, err);
}

int main(int argc, char **argv)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_(stow_config_free_ptr) struct stow_config *config = NULL;
	struct stow_grant_context context = { .self = { .pid = getpid() } };
	struct fakekernel kernel = { .lock = -EBADF };
	struct stow_err err = { 0 };
	int r;

	if (argc < 3) {
		fputs("usage: claim-on-root ROOT take|drop|list|fence ...\n", stderr);
		return 2;
	}
	r = stow_root_open(argv[1], &root, &err);
	if (r == 0)
		r = stow_config_read(root, &config, &err);
	if (r == 0 && !root->live)
		r = fakekernel_begin(&kernel, root, &err);
	if (r == 0)
		r = stow_ledger_open(root, true, &ledger, &err);
	context.root = root;
	context.config = config;
	context.ledger = ledger;
	if (r == 0 && strcmp(argv[2], "take") == 0)
		r = take(&context, argv + 3, argc - 3, &err);
	else if (r == 0 && strcmp(argv[2], "drop") == 0 && argc == 4)
		r = stow_claim_drop(&context, argv[3], &err);
	else if (r == 0 && strcmp(argv[2], "list") == 0)
		r = list(&context, &err);
	else if (r == 0 && strcmp(argv[2], "fence") == 0)
		r = fence(&context, argv[3], &err);
	else if (r == 0)
		r = stow_err_set(&err, EINVAL, "unknown command");
	if (r < 0)
		fprintf(stderr, "claim-on-root: %s\n", err.msg);
	if (root && !root->live)
		fakekernel_end(&kernel, root);
	return r < 0;
}
