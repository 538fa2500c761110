// SPDX-License-Identifier: Apache-2.0
/* numastow help TOPIC: the short form of man pages about more than one command. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"

static const struct {
	const char *name, *summary, *text;
} topics[] = {
	{ "annotations", "What a container may request",
	  "Annotations of a container or pod, with the prefix numastow.io/;\n"
	  "KEY.CONTAINER is for one container of a pod:\n"
	  "\n"
	  "  cpus              CPUs, a whole number\n"
	  "  cpu-mode          shared, exclusive or isolated\n"
	  "  memory            an amount such as 8Gi\n"
	  "  hugepages-2Mi     an amount of hugepages of this size; also hugepages-1Gi\n"
	  "  policy            single-numa-node, restricted, best-effort or spread\n"
	  "  nodes             NUMA nodes that may be used: 0,2-3, 0-6:2\n"
	  "  near              a device: eth0, nvme0n1, 0000:3b:00.0\n"
	  "  memory-policy     bind, preferred, interleave or local\n"
	  "  drain             repin, evict or refuse, when memory is to leave\n"
	  "\n"
	  "numastow explain cpus=4 memory=8Gi shows where a request would be placed.\n"
	  "See numastow-annotations(7) for all keys, defaults and limits.\n" },
	{ "exit-codes", "What the exit codes mean",
	  "  0    done\n"
	  "  1    failed: one line on standard error says why\n"
	  "  2    wrong usage: an option or argument is not valid\n"
	  "  3    a request does not fit\n"
	  "  4    the machine was examined, and there are problems (status, doctor, show)\n"
	  "  64   done in part, and the output says which\n"
	  "  130  interrupted\n"
	  "\n"
	  "numactl, taskset and migratepages have those of the programs of that name.\n"
	  "See numastow(1).\n" },
	{ "output", "Options of the commands that show something",
	  "  -J, --json           one JSON object, with \"version\"; unknown is null\n"
	  "  -o, --output LIST    these columns; +LIST: in addition\n"
	  "      --output-all     all columns\n"
	  "  -n, --noheadings     no headings\n"
	  "  -b, --bytes          sizes in bytes; otherwise 512Mi, 8Gi\n"
	  "  -P, --pairs          KEY=\"value\"\n"
	  "  -r, --raw            columns separated by one space\n"
	  "  -N, --node LIST      only these NUMA nodes: 0,2-3, 0-6:2\n"
	  "  -w, --watch[=TIME]   again every 2 seconds, or TIME: 500ms, 5s, 1m\n"
	  "  -q, --quiet          errors only, for the exit code\n"
	  "  -s, --sysroot DIR    a copy of a machine's files\n"
	  "\n"
	  "In tables \"-\" is unknown. Colours are used on a terminal only, and not if\n"
	  "NO_COLOR is set.\n"
	  "See the command's own page, such as numastow-doctor(1).\n" },
	{ "files", "Where configuration and state are",
	  "  /etc/numastow/config.yaml     what may be placed here: numastow.yaml(5)\n"
	  "  /etc/numastow/agent.yaml      the agent: numastow-agent.yaml(5)\n"
	  "  /etc/numastow/scheduler.yaml  the scheduler: numastow-scheduler.yaml(5)\n"
	  "  /etc/numastow/client.yaml     how commands reach them: numastow-client.yaml(5)\n"
	  "  /run/numastow/ledger.db       what is granted; gone after a boot\n"
	  "  /run/numastow/agent.sock      the agent's socket\n"
	  "\n"
	  "numastow status shows whether they are valid, and what is in force.\n" },
};

bool cli_help_topic(const char *name)
{
	for (size_t i = 0; i < STOW_ARRAY_SIZE(topics); i++)
		if (strcmp(topics[i].name, name) == 0) {
			fputs(topics[i].text, stdout);
			return true;
		}
	return false;
}

void cli_help_topics(void)
{
	printf("\nTopics, for numastow help TOPIC:\n");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(topics); i++)
		printf("  %-12s  %s\n", topics[i].name, topics[i].summary);
}
