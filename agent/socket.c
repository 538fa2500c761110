/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

int agent_socket_listen(const char *path, mode_t mode, const char *what, struct stow_err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -EBADF;

	if (strlen(path) >= sizeof(address.sun_path))
		return stow_err_set(err, ENAMETOOLONG, "%s: %s: expected at most %zu characters",
				    what, path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	(void)unlink(path);
	/* No client can connect before listen(2), so none comes while the mode is still the
	 * umask's. */
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    chmod(path, mode) < 0 || listen(fd, SOMAXCONN) < 0)
		return stow_err_sys(err, errno, "%s: cannot listen on %s", what, path);
	return STOW_TAKE_FD(fd);
}
