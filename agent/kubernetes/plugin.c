/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/plugin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/kubernetes/allocation.h"
#include "agent/kubernetes/calls.h"
#include "agent/socket.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kubelet/registration.pb-c.h"
#include "rpc/log.h"
#include "rpc/metrics.h"
#include "rpc/texts.h"

#define REGISTRY   "plugins_registry"
#define PLUGINS	   "plugins/" AGENT_DRIVER
#define LOOK_EVERY 5000		      /* ms, for changes without an inotify event */
#define AGAIN	   1000		      /* ms, after a failure */
#define CALLS_END  (25 * STOW_SECOND) /* for calls under way; each answers within 20 s */
#define SOCKET_MAX 128

/* A socket with its server. */
struct listener {
	char *folder;			/* in the file system */
	char name[SOCKET_MAX];		/* in that folder */
	const char *prefix;		/* how such sockets' names begin ... */
	const char *suffix;		/* ... and end */
	char *path;			/* folder and name */
	struct stow_rpc_server *server; /* NULL: closed */
	struct stat st;			/* of the socket, as it was made */
};

struct agent_plugin {
	struct agent_plugin_parts parts;
	struct agent_calls *calls;
	struct listener registry, service;
	pthread_t thread;
	bool started;
	int stop, inotify;
	char logged[sizeof(((struct stow_err *)0)->msg)]; /* the failure that was logged last */
	atomic_bool registered;
};

/* --- registration --------------------------------------------------------- */

static int get_info(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		    struct stow_err *err)
{
	/* kubelet takes the first DRAPlugin of the list that it has, and the newest health service.
	 * Kubernetes 1.36 asks for the health without looking for it in the list. */
	static const char *const versions[] = { "v1.DRAPlugin", "v1beta1.DRAPlugin",
						"v1.DRAResourceHealth",
						"v1alpha1.DRAResourceHealth" };
	const struct agent_plugin *plugin = ctx;
	KubeletPluginInfo *out = response;

	out->type = stow_rpc_printf(call, "DRAPlugin");
	out->name = stow_rpc_printf(call, AGENT_DRIVER);
	out->endpoint = stow_rpc_printf(call, "%s", plugin->service.path);
	out->supported_versions = stow_rpc_alloc(call, sizeof(versions));
	if (!out->type || !out->name || !out->endpoint || !out->supported_versions)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(versions); i++)
		out->supported_versions[out->n_supported_versions++] =
			(char *)(uintptr_t)versions[i];
	return 0;
}

static int notify_status(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
			 struct stow_err *err)
{
	const KubeletRegistrationStatus *in = request;
	struct agent_plugin *plugin = ctx;

	atomic_store(&plugin->registered, in->plugin_registered);
	if (!in->plugin_registered) {
		stow_log(STOW_LOG_ERR, "kubelet did not register the agent",
			 stow_text("reason", in->error));
		return 0;
	}
	stow_log(STOW_LOG_NOTICE, "kubelet has registered the agent");
	return 0;
}

static const struct stow_rpc_method registration_methods[] = {
	{ "GetInfo", .unary = get_info },
	{ "NotifyRegistrationStatus", .unary = notify_status },
};

static int check(const char *method, void *message, void *ctx, struct stow_err *err)
{
	return stow_texts_check(message, err);
}

static const struct stow_rpc_service registration = {
	.descriptor = &kubelet_registration__descriptor,
	.methods = registration_methods,
	.n_methods = STOW_ARRAY_SIZE(registration_methods),
	.may = agent_calls_may,
	.check = check,
};

/* --- sockets -------------------------------------------------------------- */

/* Close a socket. Calls under way have `grace` ns to end. */
static void listener_close(struct listener *listener, uint64_t grace)
{
	struct stat st;

	if (!listener->server)
		return;
	/* Keep another agent's socket. */
	if (lstat(listener->path, &st) == 0 && st.st_dev == listener->st.st_dev &&
	    st.st_ino == listener->st.st_ino)
		(void)unlink(listener->path);
	stow_rpc_server_stop(listener->server, grace);
	stow_rpc_server_free(listener->server);
	listener->server = NULL;
}

/* Return whether the socket is still the one that was made. */
static bool listener_is_open(const struct listener *listener)
{
	struct stat st;

	return listener->server && lstat(listener->path, &st) == 0 &&
	       st.st_dev == listener->st.st_dev && st.st_ino == listener->st.st_ino &&
	       st.st_ctim.tv_sec == listener->st.st_ctim.tv_sec &&
	       st.st_ctim.tv_nsec == listener->st.st_ctim.tv_nsec;
}

/* Remove sockets of agents that have ended: kubelet would call them again and again. */
static void remove_stale(const struct listener *listener)
{
	_cleanup_closedir_ DIR *dir = opendir(listener->folder);
	const struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir)) != NULL) {
		const char *name = entry->d_name;
		size_t len = strlen(name), end = strlen(listener->suffix);

		if (strncmp(name, listener->prefix, strlen(listener->prefix)) == 0 && len > end &&
		    strcmp(name + len - end, listener->suffix) == 0 &&
		    strcmp(name, listener->name) != 0 &&
		    fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISSOCK(st.st_mode))
			(void)unlinkat(dirfd(dir), name, 0);
	}
}

static int listener_serve(struct agent_plugin *plugin, struct listener *listener,
			  struct stow_err *err)
{
	struct stow_rpc_server_options options = { 0 };
	struct stow_rpc_limits limits;
	int r, fd;

	stow_rpc_limits_defaults(&limits, 64);
	/* kubelet keeps its connection open, and takes a closed one for the end of the plugin. */
	limits.connection_age = limits.connection_idle = 0;
	options.limits = &limits;
	r = stow_rpc_server_new(plugin->parts.rpc, &options, &listener->server, err);
	if (r < 0)
		return r;
	if (listener == &plugin->registry)
		r = stow_rpc_server_add(listener->server, &registration, plugin, err);
	else
		r = agent_calls_add(plugin->calls, listener->server, err);
	if (r == 0 && listener == &plugin->service)
		r = agent_monitor_add(plugin->parts.monitor, listener->server, err);
	if (r == 0)
		r = stow_rpc_server_start(listener->server, err);
	if (r < 0)
		return r;
	fd = agent_socket_listen(listener->path, 0600, "kubelet-folder", err);
	if (fd < 0)
		return fd;
	if (lstat(listener->path, &listener->st) < 0) {
		close(fd);
		return stow_err_sys(err, errno, "%s", listener->path);
	}
	r = stow_rpc_server_listen_unix(listener->server, fd, err);
	if (r < 0)
		(void)unlink(listener->path);
	return r;
}

static int listener_open(struct agent_plugin *plugin, struct listener *listener,
			 struct stow_err *err)
{
	int r;

	remove_stale(listener);
	r = listener_serve(plugin, listener, err);
	if (r < 0 && listener->server) {
		stow_rpc_server_free(listener->server);
		listener->server = NULL;
	}
	return r;
}

/* --- the thread ----------------------------------------------------------- */

/* Make what is missing. The service comes first, because the registry refers to it. */
static int make_listeners(struct agent_plugin *plugin, struct stow_err *err)
{
	int r = 0;

	if (listener_is_open(&plugin->service) && listener_is_open(&plugin->registry))
		return 0;
	atomic_store(&plugin->registered, false);
	listener_close(&plugin->registry, 0);
	if (!listener_is_open(&plugin->service)) {
		agent_monitor_close(plugin->parts.monitor);
		listener_close(&plugin->service, CALLS_END);
		/* kubelet makes "plugins"; our folder is below it. */
		if (mkdir(plugin->service.folder, 0750) < 0 && errno != EEXIST)
			return stow_err_sys(err, errno, "kubelet-folder: %s",
					    plugin->service.folder);
		r = listener_open(plugin, &plugin->service, err);
	}
	/* Write all CDI files first: kubelet calls a registered plugin at once, and then starts
	 * containers. */
	if (r == 0)
		r = agent_prepare_restore(plugin->parts.prepare, err);
	if (r == 0)
		r = listener_open(plugin, &plugin->registry, err);
	if (r == 0)
		stow_log(STOW_LOG_INFO, "waiting for kubelet to register the agent",
			 stow_text("socket", plugin->registry.path));
	return r;
}

/* Log a lasting failure once. */
static void log_failure(struct agent_plugin *plugin, int r, const struct stow_err *err)
{
	if (r < 0 && strcmp(plugin->logged, err->msg) != 0)
		stow_log(STOW_LOG_WARNING, "the agent cannot be kubelet's plugin yet",
			 stow_why(err));
	snprintf(plugin->logged, sizeof(plugin->logged), "%s", r < 0 ? err->msg : "");
}

/* Watch both folders, again if one was removed and made again. To watch one twice has no effect. */
static void watch(const struct agent_plugin *plugin)
{
	const uint32_t mask =
		IN_CREATE | IN_DELETE | IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

	(void)inotify_add_watch(plugin->inotify, plugin->registry.folder, mask);
	(void)inotify_add_watch(plugin->inotify, plugin->service.folder, mask);
}

static void *run(void *arg)
{
	struct agent_plugin *plugin = arg;
	struct pollfd polls[] = { { .fd = plugin->stop, .events = POLLIN },
				  { .fd = plugin->inotify, .events = POLLIN } };

	while (!polls[0].revents) {
		struct stow_err err = { 0 };
		char events[4096];
		int r;

		/* Read old events first. Later ones end the wait, so that none is missed. */
		while (read(plugin->inotify, events, sizeof(events)) > 0)
			;
		watch(plugin);
		r = make_listeners(plugin, &err);
		log_failure(plugin, r, &err);
		watch(plugin); /* one of the folders may be new */
		/* A failed attempt causes events itself: do not wait for events after one. */
		if (poll(polls, r < 0 ? 1 : 2, r < 0 ? AGAIN : LOOK_EVERY) < 0)
			polls[0].revents = 0;
	}
	/* The registry goes first: then kubelet makes no new calls. */
	listener_close(&plugin->registry, STOW_SECOND);
	agent_monitor_close(plugin->parts.monitor);
	listener_close(&plugin->service, CALLS_END);
	return NULL;
}

/* --- making and freeing --------------------------------------------------- */

static int set_listener(struct agent_plugin *plugin, struct listener *listener, const char *folder,
			const char *prefix, const char *suffix, struct stow_err *err)
{
	const char *instance = plugin->parts.instance;
	_cleanup_free_ char *path = NULL;
	int n;

	listener->prefix = prefix;
	listener->suffix = suffix;
	n = snprintf(listener->name, sizeof(listener->name), "%s%s%s%s", prefix,
		     instance ? "-" : "", instance ? instance : "", suffix);
	if (n < 0 || (size_t)n >= sizeof(listener->name) || (instance && strchr(instance, '/')))
		return stow_err_set(err, EINVAL, "pod-uid: \"%.64s\" is no UID of a pod", instance);
	if (asprintf(&path, "%s/%s", plugin->parts.kubelet, folder) < 0) {
		path = NULL;
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	n = stow_root_path(plugin->parts.root, path, &listener->folder, err);
	if (n == 0 && asprintf(&listener->path, "%s/%s", listener->folder, listener->name) < 0) {
		listener->path = NULL;
		n = stow_err_set(err, ENOMEM, "out of memory");
	}
	return n;
}

static int begin(struct agent_plugin *plugin, struct stow_err *err)
{
	int r;

	plugin->stop = eventfd(0, EFD_CLOEXEC);
	plugin->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (plugin->stop < 0 || plugin->inotify < 0)
		return stow_err_sys(err, errno, "kubelet's plugin");
	r = set_listener(plugin, &plugin->registry, REGISTRY, AGENT_DRIVER, "-reg.sock", err);
	if (r == 0)
		r = set_listener(plugin, &plugin->service, PLUGINS, "dra", ".sock", err);
	if (r == 0)
		r = agent_calls_new(plugin->parts.prepare, plugin->parts.upkeep, &plugin->calls,
				    err);
	if (r < 0)
		return r;
	r = -pthread_create(&plugin->thread, NULL, run, plugin);
	if (r < 0)
		return stow_err_sys(err, -r, "cannot start a thread");
	plugin->started = true;
	return 0;
}

int agent_plugin_new(const struct agent_plugin_parts *parts, struct agent_plugin **ret,
		     struct stow_err *err)
{
	struct agent_plugin *plugin = calloc(1, sizeof(*plugin));
	int r;

	if (!plugin)
		return stow_err_set(err, ENOMEM, "out of memory");
	plugin->parts = *parts;
	plugin->stop = plugin->inotify = -EBADF;
	r = begin(plugin, err);
	/* The paths were made of these texts, which the caller may free. */
	plugin->parts.kubelet = plugin->parts.instance = NULL;
	if (r < 0)
		agent_plugin_free(plugin);
	else
		*ret = plugin;
	return r;
}

void agent_plugin_free(struct agent_plugin *plugin)
{
	if (!plugin)
		return;
	if (plugin->started) {
		eventfd_write(plugin->stop, 1);
		pthread_join(plugin->thread, NULL);
	}
	agent_calls_free(plugin->calls);
	stow_close_ptr(&plugin->stop);
	stow_close_ptr(&plugin->inotify);
	for (int i = 0; i < 2; i++) {
		struct listener *listener = i ? &plugin->service : &plugin->registry;

		free(listener->folder);
		free(listener->path);
	}
	free(plugin);
}

void agent_plugin_render(struct agent_plugin *plugin, FILE *out)
{
	stow_metric_head(out, "numastow_agent_kubelet_registered", "gauge",
			 "1 when kubelet has registered the agent since its socket was made.");
	stow_metric(out, "numastow_agent_kubelet_registered",
		    plugin ? atomic_load(&plugin->registered) : 0, NULL);
	agent_calls_render(plugin ? plugin->calls : NULL, out);
}
