// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/admin.h"
#include "base/cleanup.h"
#include "base/root.h"
#include "oci-hook/confine.h"
#include "oci-hook/hook.h"
#include "oci-hook/internal.h"

static const char help[] =
	"usage: numastow-hook apply|release [--claim UID --share ID] < STATE\n"
	"       numastow-hook precreate < CONFIG\n"
	"\n"
	"The OCI hook of numastow; container runtimes start it.\n"
	"  apply      createRuntime or prestart: place the container on NUMA nodes\n"
	"  release    poststop: release what the container had\n"
	"  precreate  Podman: reserve its placement; config.json in, config.json out\n"
	"  --claim UID --share ID\n"
	"              Kubernetes: the container has this share of that claim\n"
	"  -h, --help, -V, --version\n"
	"\n"
	"numastow-annotations(7) describes the container's annotations.\n";

int main(int argc, char **argv)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	struct hook_call call;
	struct stow_err err = { 0 };
	int r;

	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		return fputs(help, stdout) < 0;
	if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0))
		return printf("numastow-hook %s\n", STOW_VERSION) < 0;
	if (argc < 2) {
		fputs(help, stderr);
		return 2;
	}
	r = hook_call_parse(argc - 1, argv + 1, &call, &err);
	if (r == 0)
		r = hook_confine(call.command == HOOK_APPLY, &err);
	if (r == 0)
		r = stow_root_open("/", &root, &err);
	if (r == 0 && call.command == HOOK_APPLY)
		r = hook_confine_by_config(root, &err);
	if (r == 0)
		r = (stow_admin_is_root(root) ? stow_hook_run : hook_run_rootless)(
			root, &call, STDIN_FILENO, STDOUT_FILENO, &err);
	if (r < 0)
		fprintf(stderr, "numastow: %s\n", err.msg);
	return r < 0;
}
