// SPDX-License-Identifier: Apache-2.0
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/parse.h"
#include "cli/cli.h"

int cli_width(void)
{
	const char *columns = secure_getenv("COLUMNS");
	struct winsize size;
	uint64_t width;

	if (columns && stow_parse_u64(columns, 10000, &width, NULL) == 0 && width > 0)
		return (int)width;
	if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		return size.ws_col;
	return 0;
}
