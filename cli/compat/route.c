// SPDX-License-Identifier: Apache-2.0
#include "cli/compat/route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/math.h"

_Static_assert(COMPAT_INTERFACE_SIZE == IF_NAMESIZE, "the size of an interface's name");

struct address {
	int family;
	size_t size;
	unsigned char bytes[16];
};

static bool parse_address(const char *text, struct address *ret)
{
	ret->family = AF_INET;
	ret->size = 4;
	if (inet_pton(AF_INET, text, ret->bytes) == 1)
		return true;
	ret->family = AF_INET6;
	ret->size = 16;
	return inet_pton(AF_INET6, text, ret->bytes) == 1;
}

/* Read what getent prints, up to the first blank: the first address. */
static int read_first_word(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
	}
	buf[len] = '\0';
	buf[strcspn(buf, " \t\n")] = '\0';
	return 0;
}

static int resolve(const char *host, struct address *ret, struct stow_err *err)
{
	char *argv[] = { (char *)"getent", (char *)"ahosts", (char *)"--", (char *)host, NULL };
	_cleanup_close_ int in = -EBADF, out = -EBADF;
	posix_spawn_file_actions_t actions;
	int fds[2], status = 0, r;
	char word[64];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return stow_err_sys(err, errno, "pipe2(2)");
	in = fds[0];
	out = fds[1];
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r != 0)
		return stow_err_sys(err, r, "cannot start getent, which resolves names");
	close(STOW_TAKE_FD(out));
	r = read_first_word(in, word, sizeof(word));
	close(STOW_TAKE_FD(in));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r < 0 || status != 0 || !parse_address(word, ret))
		return stow_err_set(err, ENOENT, "no address is known for host \"%.64s\"", host);
	return 0;
}

/* The request for a route, and room for the answer. */
struct message {
	struct nlmsghdr header;
	struct rtmsg route;
	unsigned char attributes[4096];
};

static int ask(const struct address *to, struct message *m, size_t *ret_size, struct stow_err *err)
{
	struct rtattr *attribute = (struct rtattr *)m->attributes;
	_cleanup_close_ int fd = -EBADF;
	ssize_t n;

	*m = (struct message){
		.header = { .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST },
		.route = { .rtm_family = (unsigned char)to->family,
			   .rtm_dst_len = (unsigned char)(to->size * 8) },
	};
	attribute->rta_type = RTA_DST;
	attribute->rta_len = (unsigned short)RTA_LENGTH(to->size);
	memcpy(RTA_DATA(attribute), to->bytes, to->size);
	m->header.nlmsg_len = (unsigned int)(NLMSG_LENGTH(sizeof(m->route)) + RTA_SPACE(to->size));
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0 || send(fd, m, m->header.nlmsg_len, 0) < 0)
		return stow_err_sys(err, errno, "asking the kernel for a route");
	n = recv(fd, m, sizeof(*m), 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(m->route)))
		return stow_err_sys(err, n < 0 ? errno : EIO, "asking the kernel for a route");
	*ret_size = (size_t)n;
	return 0;
}

/* Find the interface in the answer; 0 when there is none. */
static unsigned int find_interface(const struct message *m, size_t size)
{
	const unsigned char *p = m->attributes, *end = (const unsigned char *)m + size;
	unsigned int index = 0;
	struct rtattr a;

	if (m->header.nlmsg_type != RTM_NEWROUTE)
		return 0;
	while (end - p >= (ptrdiff_t)sizeof(a)) {
		memcpy(&a, p, sizeof(a));
		if (a.rta_len < sizeof(a) || a.rta_len > end - p)
			break;
		if (a.rta_type == RTA_OIF && a.rta_len >= RTA_LENGTH(sizeof(index)))
			memcpy(&index, p + RTA_LENGTH(0), sizeof(index));
		p += STOW_MIN((ptrdiff_t)RTA_ALIGN(a.rta_len), end - p);
	}
	return index;
}

int compat_route_interface(const char *host, char ret_name[static COMPAT_INTERFACE_SIZE],
			   struct stow_err *err)
{
	struct address to = { 0 };
	unsigned int index;
	struct message m;
	size_t size = 0;
	int r = parse_address(host, &to) ? 0 : resolve(host, &to, err);

	if (r == 0)
		r = ask(&to, &m, &size, err);
	if (r < 0)
		return r;
	index = find_interface(&m, size);
	if (!index || !if_indextoname(index, ret_name))
		return stow_err_set(err, ENETUNREACH, "there is no route to host \"%.64s\"", host);
	return 0;
}
