// SPDX-License-Identifier: Apache-2.0
#include "etcd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Below the ports that the kernel chooses for bind(2) with port 0, as in
 * tests/integration/daemons.py. */
#define FIRST_PORT 10000
#define PORTS	   20000

/* Whether no other test has the port, until this program ends: each port has a name among the
 * abstract unix sockets. */
static int take_name(int port)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), len;

	len = snprintf(un.sun_path + 1, sizeof(un.sun_path) - 1, "numastow-test-port-%d", port);
	if (bind(fd, (struct sockaddr *)&un,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)) == 0)
		return 1;
	close(fd);
	return 0;
}

/* A port of this program's own. */
static int free_port(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	unsigned int seed = (unsigned int)getpid();

	for (;;) {
		int port = FIRST_PORT + rand_r(&seed) % PORTS, fd, r;

		if (!take_name(port))
			continue;
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		in.sin_port = htons((uint16_t)port);
		r = bind(fd, (struct sockaddr *)&in, sizeof(in));
		close(fd);
		if (r == 0)
			return port;
	}
}

static int answers(int port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr = { htonl(INADDR_LOOPBACK) },
				  .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	r = connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0;
	close(fd);
	return r;
}

static void run(const char *const *argv)
{
	pid_t pid;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ) == 0)
		waitpid(pid, NULL, 0);
}

static int spawn(struct unit_etcd *etcd, int port, int peer)
{
	char data[96], other[64], cluster[96], log[96];
	const char *argv[] = { "etcd",	  "--data-dir",
			       data,	  "--listen-client-urls",
			       etcd->url, "--advertise-client-urls",
			       etcd->url, "--listen-peer-urls",
			       other,	  "--initial-advertise-peer-urls",
			       other,	  "--initial-cluster",
			       cluster,	  NULL };
	posix_spawn_file_actions_t actions;
	int r;

	snprintf(etcd->url, sizeof(etcd->url), "http://127.0.0.1:%d", port);
	snprintf(data, sizeof(data), "%s/data", etcd->dir);
	snprintf(log, sizeof(log), "%s/log", etcd->dir);
	snprintf(other, sizeof(other), "http://127.0.0.1:%d", peer);
	snprintf(cluster, sizeof(cluster), "default=%s", other);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	r = posix_spawnp(&etcd->pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv,
			 environ);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

int unit_etcd_start(struct unit_etcd *etcd)
{
	int port = free_port(), r;

	*etcd = (struct unit_etcd){ .dir = "/tmp/unit-etcd.XXXXXX" };
	if (!mkdtemp(etcd->dir))
		return 0;
	r = spawn(etcd, port, free_port());
	for (int i = 0; r == 0 && i < 600 && waitpid(etcd->pid, NULL, WNOHANG) == 0; i++) {
		if (answers(port))
			return 1;
		usleep(100000);
	}
	printf("# no etcd: %s\n", r ? strerror(r) : "it does not answer");
	unit_etcd_stop(etcd);
	return 0;
}

void unit_etcd_stop(struct unit_etcd *etcd)
{
	const char *argv[] = { "rm", "-rf", etcd->dir, NULL };

	if (etcd->pid > 0) {
		kill(etcd->pid, SIGCONT);
		kill(etcd->pid, SIGKILL);
		waitpid(etcd->pid, NULL, 0);
	}
	etcd->pid = 0;
	run(argv);
}
