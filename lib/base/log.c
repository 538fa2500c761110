// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Write a field without newlines, which would begin another field. */
static void put(FILE *f, const char *key, const char *value)
{
	fprintf(f, "%s=", key);
	for (const char *p = value; *p; p++)
		fputc(*p == '\n' || *p == '\r' ? ' ' : *p, f);
	fputc('\n', f);
}

static int send_native(const char *entry, size_t len)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX,
				  .sun_path = "/run/systemd/journal/socket" };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (sendto(fd, entry, len, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	return 0;
}

void stow_log_audit(const char *message, const struct stow_log_field *fields, size_t n_fields)
{
	_cleanup_free_ char *entry = NULL;
	char priority[4];
	size_t len = 0;
	FILE *f;

	f = open_memstream(&entry, &len);
	if (!f)
		return;
	snprintf(priority, sizeof(priority), "%d", STOW_LOG_NOTICE);
	put(f, "SYSLOG_IDENTIFIER", "numastow");
	put(f, "PRIORITY", priority);
	put(f, "MESSAGE", message);
	for (size_t i = 0; i < n_fields; i++)
		if (fields[i].value)
			put(f, fields[i].key, fields[i].value);
	if (fclose(f) == 0 && send_native(entry, len) == 0)
		return;
	/* Skip syslog(3) without a listener: it would read the time zone first. */
	if (access("/dev/log", F_OK) == 0)
		syslog(LOG_DAEMON | LOG_NOTICE, "numastow: %s", message);
}
