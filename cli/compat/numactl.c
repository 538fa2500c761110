// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/compat/numactl.h"

#define GRAMMAR "2.0.19" /* of the numactl whose options these are */

enum { CPU_COMPRESS = 256, VERSION, HELP };

static const struct option options[] = {
	{ "all", no_argument, NULL, 'a' },
	{ "interleave", required_argument, NULL, 'i' },
	{ "weighted-interleave", required_argument, NULL, 'w' },
	{ "preferred", required_argument, NULL, 'p' },
	{ "preferred-many", required_argument, NULL, 'P' },
	{ "cpubind", required_argument, NULL, 'c' },
	{ "cpunodebind", required_argument, NULL, 'N' },
	{ "physcpubind", required_argument, NULL, 'C' },
	{ "membind", required_argument, NULL, 'm' },
	{ "show", no_argument, NULL, 's' },
	{ "localalloc", no_argument, NULL, 'l' },
	{ "balancing", no_argument, NULL, 'b' },
	{ "hardware", no_argument, NULL, 'H' },
	{ "shm", required_argument, NULL, 'S' },
	{ "file", required_argument, NULL, 'f' },
	{ "offset", required_argument, NULL, 'o' },
	{ "length", required_argument, NULL, 'L' },
	{ "strict", no_argument, NULL, 't' },
	{ "shmmode", required_argument, NULL, 'M' },
	{ "dump", no_argument, NULL, 'd' },
	{ "dump-nodes", no_argument, NULL, 'D' },
	{ "shmid", required_argument, NULL, 'I' },
	{ "huge", no_argument, NULL, 'u' },
	{ "touch", no_argument, NULL, 'T' },
	{ "cpu-compress", no_argument, NULL, CPU_COMPRESS },
	{ "verify", no_argument, NULL, 'V' }, /* not documented there either */
	{ "version", no_argument, NULL, VERSION },
	{ "help", no_argument, NULL, HELP },
	{ NULL, 0, NULL, 0 },
};
static const char letters[] = "+ai:w:p:P:c:N:C:m:slbHS:f:o:L:tM:dDI:uTVh";

/* What the options up to here have said. They take effect one by one, in their order. */
struct numactl {
	struct compat_task task;
	bool all, balancing, cpus_bound, parsed, hardware, compress;
	const char *same;	 /* the list of nodes before */
	int policy;		 /* COMPAT_NONE: none yet */
	struct stow_idset nodes; /* of it */
	const char *shm_option;	 /* one that is for shared memory only */
	struct numactl_shm shm;
	int code; /* what --verify found */
};

#define DONE 1 /* end with exit code 0 */

static void print_help(const char *program)
{
	printf("Usage: %s [OPTION...] COMMAND [ARGUMENT...]\n"
	       "       %s --show | --hardware [--cpu-compress] | --version\n"
	       "       %s [OPTION...] --shm KEYFILE | --file FILE [OPTION...]\n"
	       "\n"
	       "Run a program with a memory policy and CPUs, in the grammar of numactl(8).\n"
	       "\n"
	       "Options:\n"
	       "  -m, --membind NODES              use memory of these nodes only\n"
	       "  -b, --balancing                  with -m: NUMA balancing among them\n"
	       "  -p, --preferred NODE             use memory of this node first\n"
	       "  -P, --preferred-many NODES       use memory of these nodes first\n"
	       "  -i, --interleave NODES           spread the memory over these nodes\n"
	       "  -w, --weighted-interleave NODES  the same, by the nodes' weights\n"
	       "  -l, --localalloc                 use memory of the node where it runs\n"
	       "  -N, --cpunodebind NODES          run on the CPUs of these nodes\n"
	       "  -C, --physcpubind CPUS           run on these CPUs\n"
	       "  -c, --cpubind NODES              an old name of --cpunodebind\n"
	       "  -a, --all                        allow CPUs and nodes beyond the cpuset\n"
	       "  -s, --show                       print this process's policy\n"
	       "  -H, --hardware                   print the machine's nodes\n"
	       "  --cpu-compress                   with -H: print ranges of CPUs\n"
	       "\n"
	       "Shared memory:\n"
	       "  -S, --shm KEYFILE    set the policy of a System V segment\n"
	       "  -f, --file FILE      set the policy of a file on tmpfs or hugetlbfs\n"
	       "  -I, --shmid ID       the number of the segment of that key file\n"
	       "  -L, --length LENGTH  how much of it, in bytes, or with k, m, g\n"
	       "  -o, --offset OFFSET  from where\n"
	       "  -M, --shmmode MODE   the mode in which it is created\n"
	       "  -u, --huge           create a segment of hugepages\n"
	       "  -t, --strict         fail if pages are elsewhere already\n"
	       "  -T, --touch          touch the pages\n"
	       "  -d, --dump           print the policies\n"
	       "  -D, --dump-nodes     print the nodes of the pages\n"
	       "\n"
	       "  -h, --help     print this text\n"
	       "  --version      print the version of this grammar\n"
	       "\n"
	       "NODES and CPUS are lists: 0,2-3, 0-6:2, all, same, +0-1, !0.\n"
	       "A node may be netdev:DEV, ip:HOST, file:PATH, block:DEV, pci:ADDRESS.\n",
	       program, program, program);
}

static int fail(const struct numactl *n, const struct stow_err *err)
{
	return -compat_fail(n->task.program, "%s", err->msg);
}

static int usage(const struct numactl *n, const char *why)
{
	return -compat_usage(n->task.program, "%s", why);
}

/* --- policies and CPUs ------------------------------------------------------------------------ */

static int parse_nodes(struct numactl *n, const char *text, bool cpus, struct stow_idset *ret)
{
	struct stow_err err;

	if (strcmp(text, "same") == 0) {
		if (!n->same)
			return usage(n, "\"same\" takes a list of nodes before it");
		text = n->same;
	} else {
		n->same = text;
	}
	n->parsed = true;
	return compat_nodes(&n->task, text, n->all, cpus, ret, &err) < 0 ? fail(n, &err) : 0;
}

static int apply_policy(struct numactl *n, int mode)
{
	struct stow_err err;
	int r;

	n->policy = mode;
	if (n->shm.attached)
		r = numactl_shm_policy(&n->shm, &n->task, mode, &n->nodes, &err);
	else
		r = compat_set_policy(&n->task, mode, &n->nodes, &err);
	return r < 0 ? fail(n, &err) : 0;
}

static int set_policy(struct numactl *n, int mode, const char *text)
{
	struct stow_idset nodes = { 0 };
	int r = text ? parse_nodes(n, text, false, &nodes) : 0;

	if (r < 0)
		return r;
	if (n->policy != COMPAT_NONE)
		return usage(n, "there can be one memory policy only: -i, -w, -p, -P, -m or -l");
	if (mode == COMPAT_PREFERRED && stow_idset_count(&nodes) != 1 && !n->shm.attached)
		return usage(n, "--preferred takes one node; for several use --preferred-many");
	n->nodes = nodes;
	if (mode == COMPAT_BIND && n->balancing && !n->shm.attached)
		mode |= COMPAT_BALANCING;
	if (stow_idset_empty(&nodes) &&
	    (mode == COMPAT_INTERLEAVE || mode == COMPAT_WEIGHTED_INTERLEAVE))
		mode = COMPAT_DEFAULT;
	return apply_policy(n, mode);
}

static int may_bind_cpus(struct numactl *n, const char *option)
{
	if (n->shm_option)
		return -compat_usage(n->task.program,
				     "%s is for shared memory, and not allowed with %s",
				     n->shm_option, option);
	if (n->shm.attached)
		return -compat_usage(n->task.program, "%s is not for shared memory", option);
	return 0;
}

static int bind_cpus(struct numactl *n, const char *option, const char *text,
		     const struct stow_idset *cpus)
{
	struct stow_err err;

	n->cpus_bound = true;
	if (compat_set_cpus(0, cpus, &err) < 0)
		return -compat_fail(n->task.program, "%s %s: %s", option, text, err.msg);
	return 0;
}

static int bind_nodes(struct numactl *n, const char *text)
{
	struct stow_idset nodes, cpus = { 0 }, of_node;
	struct stow_err err;
	char list[64];
	int r = may_bind_cpus(n, "--cpunodebind");

	if (r == 0)
		r = parse_nodes(n, text, true, &nodes);
	if (r < 0)
		return r;
	STOW_IDSET_FOR(node, &nodes) {
		if (compat_node_cpus(&n->task, node, &of_node, &err) < 0)
			return fail(n, &err);
		stow_idset_or(&cpus, &of_node);
	}
	if (!stow_idset_empty(&nodes) && stow_idset_empty(&cpus))
		return -compat_fail(n->task.program, "--cpunodebind %s: node %s has no CPUs", text,
				    stow_idset_format(&nodes, list, sizeof(list)));
	return bind_cpus(n, "--cpunodebind", text, &cpus);
}

static int bind_listed(struct numactl *n, const char *text)
{
	struct stow_idset configured = { 0 }, cpus;
	struct stow_numalist list = {
		.what = "CPU",
		.allowed = n->all ? &configured : &n->task.cpus,
		.present = &configured,
		.hint = n->all ? NULL
			       : "with --all, every CPU of the machine may be named, as far as the "
				 "cpuset allows it",
	};
	struct stow_err err;
	int r = may_bind_cpus(n, "--physcpubind");

	if (r < 0)
		return r;
	compat_configured_cpus(&n->task, &configured);
	if (stow_numalist_parse(text, &list, &cpus, &err) < 0)
		return -compat_fail(n->task.program, "--physcpubind %s", err.msg);
	n->parsed = true;
	return bind_cpus(n, "--physcpubind", text, &cpus);
}

/* --- shared memory ------------------------------------------------------------------------------ */

static int no_policy_yet(const struct numactl *n, const char *option)
{
	return n->policy == COMPAT_NONE
		       ? 0
		       : -compat_usage(n->task.program, "%s must be before the memory policy",
				       option);
}

static int attach(struct numactl *n, const char *option, const char *name, bool segment)
{
	struct stow_err err;
	int r;

	if (n->cpus_bound)
		return usage(n, "CPUs cannot be bound for shared memory");
	if (n->shm.attached)
		return usage(n, "there can be one --shm or --file only");
	if (no_policy_yet(n, option) < 0)
		return -COMPAT_FAILED;
	r = segment ? numactl_attach_segment(&n->shm, &n->task, name, &err)
		    : numactl_attach_file(&n->shm, &n->task, name, &err);
	return r < 0 ? fail(n, &err) : 0;
}

static int before_shm(struct numactl *n, const char *option)
{
	if (n->shm.attached)
		return -compat_usage(n->task.program, "%s must be before --shm or --file", option);
	n->shm_option = option;
	return 0;
}

static int after_shm(const struct numactl *n, const char *option)
{
	return n->shm.attached
		       ? 0
		       : -compat_usage(n->task.program, "%s must be after --shm or --file", option);
}

static int set_size(struct numactl *n, const char *option, const char *text, uint64_t *size)
{
	struct stow_err err;

	if (before_shm(n, option) < 0)
		return -COMPAT_FAILED;
	if (numactl_parse_size(text, size, &err) < 0)
		return -compat_fail(n->task.program, "%s %s", option, err.msg);
	return 0;
}

/* Parse octal digits. */
static int set_mode(struct numactl *n, const char *text)
{
	unsigned int mode = 0;
	const char *p = text;

	if (before_shm(n, "--shmmode") < 0)
		return -COMPAT_FAILED;
	for (; *p >= '0' && *p <= '7' && mode <= 07777; p++)
		mode = mode * 8 + (unsigned int)(*p - '0');
	if (!*text || *p || mode > 0777)
		return -compat_usage(n->task.program,
				     "--shmmode \"%.64s\" is not a mode of octal digits, up to 777",
				     text);
	n->shm.mode = mode;
	return 0;
}

static int set_id(struct numactl *n, const char *text)
{
	uint64_t id = 0;
	const char *p = text + 2;
	bool hex = strncmp(text, "0x", 2) == 0;

	if (hex ? !stow_scan_hex(&p, &id) || *p || id > INT32_MAX
		: stow_parse_u64(text, INT32_MAX, &id, NULL) < 0)
		return -compat_usage(n->task.program, "--shmid \"%.64s\" is not a number", text);
	n->shm.id = (int)id;
	return 0;
}

static int dump(struct numactl *n, const char *option, bool nodes)
{
	struct stow_err err;
	int r = after_shm(n, option);

	if (r < 0)
		return r;
	r = nodes ? numactl_dump_nodes(&n->shm, &err) : numactl_dump(&n->shm, &err);
	return r < 0 ? fail(n, &err) : 0;
}

static int touch(struct numactl *n, const char *option)
{
	int r = after_shm(n, option);

	if (r == 0)
		numactl_touch(&n->shm);
	return r;
}

static int verify(struct numactl *n)
{
	struct stow_err err;
	int r = touch(n, "--verify");

	if (r < 0)
		return r;
	if (n->policy == COMPAT_NONE)
		return usage(n, "--verify must be after a memory policy");
	if (numactl_verify(&n->shm, n->policy, &n->nodes, &err) < 0)
		n->code = compat_fail(n->task.program, "%s", err.msg);
	return 0;
}

static int set_all(struct numactl *n)
{
	if (n->parsed)
		return usage(n, "--all must be before all lists of nodes and CPUs");
	n->all = true;
	return 0;
}

/* --- the command
 * ---------------------------------------------------------------------------------- */

static int take_shm(struct numactl *n, int c)
{
	switch (c) {
	case 'S':
		return attach(n, "--shm", optarg, true);
	case 'f':
		return attach(n, "--file", optarg, false);
	case 'L':
		return set_size(n, "--length", optarg, &n->shm.length);
	case 'o':
		return set_size(n, "--offset", optarg, &n->shm.offset);
	case 'M':
		return set_mode(n, optarg);
	case 'I':
		return set_id(n, optarg);
	case 'u':
		n->shm.huge = true;
		return before_shm(n, "--huge");
	case 't':
		n->shm.strict = true;
		return 0;
	case 'T':
		return touch(n, "--touch");
	case 'd':
		return dump(n, "--dump", false);
	case 'D':
		return dump(n, "--dump-nodes", true);
	case 'V':
		return verify(n);
	default: /* getopt_long(3) has printed what is wrong */
		fprintf(stderr, "Try '%s --help'.\n", n->task.program);
		return -COMPAT_FAILED;
	}
}

static int take(struct numactl *n, int c)
{
	switch (c) {
	case 'i':
		return set_policy(n, COMPAT_INTERLEAVE, optarg);
	case 'w':
		return set_policy(n, COMPAT_WEIGHTED_INTERLEAVE, optarg);
	case 'p':
		return set_policy(n, COMPAT_PREFERRED, optarg);
	case 'P':
		return set_policy(n, COMPAT_PREFERRED_MANY, optarg);
	case 'm':
		return set_policy(n, COMPAT_BIND, optarg);
	case 'l':
		return set_policy(n, COMPAT_LOCAL, NULL);
	case 'N':
	case 'c':
		return bind_nodes(n, optarg);
	case 'C':
		return bind_listed(n, optarg);
	case 'a':
		return set_all(n);
	case 'b':
		n->balancing = true;
		return no_policy_yet(n, "--balancing");
	case 'H':
		n->hardware = true;
		return no_policy_yet(n, "--hardware");
	case CPU_COMPRESS:
		n->compress = true;
		return 0;
	case 's':
		return numactl_show(&n->task) == 0 ? DONE : -COMPAT_FAILED;
	case VERSION:
		printf("%s (numastow %s)\n", GRAMMAR, STOW_VERSION);
		return DONE;
	case 'h':
	case HELP:
		print_help(n->task.program);
		return DONE;
	default:
		return take_shm(n, c);
	}
}

/* Shared memory was set, or there is a program to execute. */
static int end(struct numactl *n, char **argv)
{
	struct stow_err err;

	if (n->shm.attached && *argv)
		return compat_usage(n->task.program,
				    "\"%.64s\": with shared memory no command is run", *argv);
	if (n->shm.attached)
		return n->code;
	if (n->shm.strict)
		(void)compat_fail(n->task.program,
				  "warning: --strict is for shared memory, and ignored here");
	if (n->shm_option)
		return compat_usage(n->task.program, "%s is for shared memory: --shm or --file",
				    n->shm_option);
	if (!*argv)
		return compat_usage(n->task.program, "missing command");
	(void)compat_execute(argv, &err);
	return compat_fail(n->task.program, "%s", err.msg);
}

int compat_numactl(int argc, char **argv)
{
	struct numactl n = { .policy = COMPAT_NONE, .shm = { .fd = -EBADF, .mode = 0600 } };
	const char *program = compat_program("numactl");
	struct stow_err err;
	int c, r = 0;

	argv[0] = (char *)program;
	if (compat_task_open(&n.task, program, &err) < 0)
		return compat_fail(program, "%s", err.msg);
	while (r == 0 && (c = getopt_long(argc, argv, letters, options, NULL)) != -1)
		r = take(&n, c);
	if (r != 0)
		r = r == DONE ? 0 : COMPAT_FAILED;
	else if (n.hardware)
		r = numactl_hardware(&n.task, n.compress);
	else
		r = end(&n, argv + optind);
	numactl_shm_done(&n.shm);
	compat_task_done(&n.task);
	return r;
}
