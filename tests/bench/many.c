// SPDX-License-Identifier: Apache-2.0
/* Start many processes that do nothing, print "ready", and end them when standard input ends.
 * usage: many N */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/parse.h"

int main(int argc, char **argv)
{
	uint64_t wanted;
	char c;

	if (argc != 2 || stow_parse_u64(argv[1], 1000000, &wanted, NULL) < 0) {
		fprintf(stderr, "usage: many N\n");
		return 2;
	}
	for (uint64_t i = 0; i < wanted; i++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("many: fork");
			return 1; /* the others end with this process */
		}
		if (pid == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
	}
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	return 0;
}
