/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/watch.h"

#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ledger/ledger.h"

#define LEDGER_NAME  "ledger.db"
#define JOURNAL_NAME "ledger.db-journal"
#define UEVENTS_MAX  (1 << 20) /* bytes the kernel may queue: a DIMM has hundreds of blocks */

#define UEVENTS_AT_ONCE 1024

/* The multicast group of the kernel itself (lib/kobject_uevent.c); group 2 is udev's. */
#define KERNEL_GROUP 1

static int open_uevents(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP };
	int size = UEVENTS_MAX;
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int agent_watch_open(struct stow_root *root, struct agent_watch *ret, struct stow_err *err)
{
	_cleanup_free_ char *path = NULL;
	int r;

	ret->ledger = ret->uevent = -1;
	r = stow_root_mkdir(root, STOW_RUN_DIR, err);
	if (r == 0)
		r = stow_root_path(root, STOW_RUN_DIR, &path, err);
	if (r < 0)
		return r;
	ret->ledger = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	/* A commit ends with the deletion of the journal; a commit without changes writes none. */
	if (ret->ledger < 0 ||
	    inotify_add_watch(ret->ledger, path, IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM) < 0) {
		r = stow_err_sys(err, errno, "cannot watch %s", path);
		agent_watch_close(ret);
		return r;
	}
	if (root->live)
		ret->uevent = open_uevents();
	return 0;
}

void agent_watch_close(struct agent_watch *watch)
{
	if (watch->ledger >= 0)
		close(watch->ledger);
	if (watch->uevent >= 0)
		close(watch->uevent);
	watch->ledger = watch->uevent = -1;
}

bool agent_watch_events(int inotify, bool (*concerns)(const struct inotify_event *event))
{
	char buf[65536] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool any = false;
	ssize_t n;

	while ((n = read(inotify, buf, sizeof(buf))) > 0)
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *event = (const struct inotify_event *)(void *)p;

			any |= concerns(event);
			p += sizeof(*event) + event->len;
		}
	return any;
}

static bool is_commit(const struct inotify_event *event)
{
	return event->mask & IN_Q_OVERFLOW ||
	       (event->len &&
		(strcmp(event->name, JOURNAL_NAME) == 0 || strcmp(event->name, LEDGER_NAME) == 0));
}

bool agent_watch_ledger(struct agent_watch *watch)
{
	return agent_watch_events(watch->ledger, is_commit);
}

/* "online@/devices/system/memory/memory42", then NUL-separated KEY=VALUE. */
bool agent_watch_concerns(const char *text, size_t len)
{
	static const char *const subsystems[] = { "SUBSYSTEM=memory", "SUBSYSTEM=cpu",
						  "SUBSYSTEM=node" };

	for (const char *p = text; p < text + len; p += strlen(p) + 1)
		for (size_t i = 0; i < STOW_ARRAY_SIZE(subsystems); i++)
			if (strcmp(p, subsystems[i]) == 0)
				return true;
	return false;
}

bool agent_watch_uevent(struct agent_watch *watch)
{
	bool ours = false;

	/* Bounded, so that the loop gets on; the descriptor stays readable for the rest. */
	for (int i = 0; i < UEVENTS_AT_ONCE; i++) {
		struct sockaddr_nl from;
		char buf[8193];
		struct iovec iov = { buf, sizeof(buf) - 1 };
		struct msghdr message = { .msg_name = &from,
					  .msg_namelen = sizeof(from),
					  .msg_iov = &iov,
					  .msg_iovlen = 1 };
		ssize_t n = recvmsg(watch->uevent, &message, 0);

		if (n < 0 && errno == ENOBUFS) {
			ours = true; /* some were lost: look at everything */
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ours;
		buf[n] = '\0';
		/* Port 0 is the kernel; any process can send from other ports. */
		if (from.nl_pid == 0 && agent_watch_concerns(buf, (size_t)n))
			ours = true;
	}
	return ours;
}

/* Return whether `word` is in a comma-separated list. */
static bool listed(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (strncmp(p, word, len) == 0 && (p[len] == ',' || p[len] == '\0'))
			return true;
	return false;
}

/* Each line ends with " - TYPE SOURCE OPTIONS" (proc(5)). The options belong to the whole
 * hierarchy, in every mount namespace. */
int agent_watch_nsdelegate(struct stow_root *root)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;
	int r = -ENOENT;

	if (stow_root_read(root, STOW_ROOT_READ_MAX, &text, NULL, NULL, "/proc/self/mountinfo") < 0)
		return -ENOENT;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *type = strstr(line, " - "), *options = strrchr(line, ' ');

		if (!type || !options)
			continue;
		if (strncmp(type, " - cgroup ", 10) == 0 && listed(options + 1, "cpuset"))
			return -ENOENT; /* then v2 does not have the controller */
		if (strncmp(type, " - cgroup2 ", 11) == 0)
			r = listed(options + 1, "nsdelegate");
	}
	return r;
}
