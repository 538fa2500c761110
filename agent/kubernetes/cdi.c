/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/cdi.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/read.h"
#include "grant/claim.h"
#include "kube/make.h"

#define CDI_VERSION "0.5.0" /* the first version with device names that begin with a digit */
#define SUFFIX	    ".json"
#define TEMPORARY   ".new" /* runtimes read .json and .yaml only */
#define UID_LEN	    36
#define FILE_MAX    128 /* bytes of a file's name */

const char *agent_cdi_device(const char *uid, const char *share,
			     char buf[static AGENT_CDI_DEVICE_MAX])
{
	snprintf(buf, AGENT_CDI_DEVICE_MAX, AGENT_CDI_KIND "=%.36s-%.36s", uid, share);
	return buf;
}

/* --- the text ------------------------------------------------------------- */

static bool add_hook(struct json_object *hooks, const struct stow_record *share, const char *stage,
		     const char *command, const char *hook)
{
	const char *const args[] = { "numastow-hook",	command,   "--claim",
				     share->claim->uid, "--share", share->claim->share };
	struct json_object *entry = stow_kube_append_object(hooks), *list;
	bool ok = stow_kube_put_text(entry, "hookName", stage) &&
		  stow_kube_put_text(entry, "path", hook);

	list = stow_kube_put_list(entry, "args");
	for (size_t i = 0; ok && i < STOW_ARRAY_SIZE(args); i++)
		ok = stow_kube_append_text(list, args[i]);
	return ok;
}

/* Make "NUMASTOW_MAIN" of the request "main". */
static void variable_name(const char *part, char *buf, size_t size)
{
	snprintf(buf, size, "NUMASTOW_%.127s", part);
	for (char *p = buf; *p; p++)
		*p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
}

/* Make a share's variable. A number distinguishes shares whose requests make the same name. */
static struct json_object *environment(const struct stow_record *const *shares, size_t i)
{
	char name[160], other[160], nodes[64], cpus[4096], text[4500];
	struct stow_idset at;
	size_t number = 1;

	variable_name(shares[i]->claim->part, name, sizeof(name));
	for (size_t j = 0; j < i; j++) {
		variable_name(shares[j]->claim->part, other, sizeof(other));
		number += strcmp(name, other) == 0;
	}
	if (number > 1)
		snprintf(name + strlen(name), sizeof(name) - strlen(name), "_%zu", number);
	stow_record_at(shares[i], &at);
	stow_idset_format(&at, nodes, sizeof(nodes));
	if (shares[i]->exclusive)
		snprintf(text, sizeof(text), "%s=node=%s cpus=%s", name, nodes,
			 stow_idset_format(&shares[i]->cpus, cpus, sizeof(cpus)));
	else
		snprintf(text, sizeof(text), "%s=node=%s", name, nodes);
	return stow_kube_list_of(text);
}

static bool add_device(struct json_object *devices, const struct stow_record *const *shares,
		       size_t i, const char *hook)
{
	struct json_object *entry = stow_kube_append_object(devices), *edits, *hooks;
	char device[AGENT_CDI_DEVICE_MAX];
	bool ok;

	agent_cdi_device(shares[i]->claim->uid, shares[i]->claim->share, device);
	ok = stow_kube_put_text(entry, "name", strchr(device, '=') + 1);
	edits = stow_kube_object_at(entry, "containerEdits");
	ok = ok && stow_kube_put(edits, "env", environment(shares, i));
	hooks = stow_kube_put_list(edits, "hooks");
	return ok && add_hook(hooks, shares[i], "createRuntime", "apply", hook) &&
	       add_hook(hooks, shares[i], "poststop", "release", hook);
}

char *agent_cdi_text(const struct stow_record *const *shares, size_t n, const char *hook)
{
	_cleanup_json_ struct json_object *file = json_object_new_object();
	bool ok = stow_kube_put_text(file, "cdiVersion", CDI_VERSION) &&
		  stow_kube_put_text(file, "kind", AGENT_CDI_KIND);
	struct json_object *devices = stow_kube_put_list(file, "devices");
	const char *text = NULL;
	char *copy;

	for (size_t i = 0; ok && i < n; i++)
		ok = add_device(devices, shares, i, hook);
	if (ok)
		text = json_object_to_json_string_ext(file, JSON_C_TO_STRING_PRETTY |
								    JSON_C_TO_STRING_NOSLASHESCAPE);
	return text && asprintf(&copy, "%s\n", text) >= 0 ? copy : NULL;
}

/* --- the folder ----------------------------------------------------------- */

int agent_cdi_open(struct stow_root *root, const char *path, struct stow_err *err)
{
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	fd = stow_root_openat(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, NULL, "%s", path);
	if (fd == -ENOENT) {
		int r = stow_root_mkdir(root, path, err);

		if (r < 0)
			return r;
	}
	if (fd < 0)
		fd = stow_root_openat(root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err, "%s",
				      path);
	if (fd < 0)
		return stow_err_wrap(err, fd, "the folder of CDI files");
	if (fstat(fd, &st) < 0)
		return stow_err_sys(err, errno, "%s", path);
	if (st.st_uid != geteuid())
		return stow_err_set(err, EPERM,
				    "%s belongs to user %u: runtimes run what its files say, so it "
				    "must be root's",
				    path, st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return stow_err_set(err, EPERM,
				    "%s has mode %03o: runtimes run what its files say, so only "
				    "root may write there",
				    path, st.st_mode & 0777);
	return STOW_TAKE_FD(fd);
}

static int file_name(const char *uid, const char *suffix, char buf[static FILE_MAX],
		     struct stow_err *err)
{
	int r = stow_claim_check_uid(uid, "the claim's UID", err);

	if (r == 0)
		snprintf(buf, FILE_MAX, AGENT_CDI_PREFIX "%s%s", uid, suffix);
	return r;
}

/* Return whether a file has this text, and is a regular file that only this user can write. */
static bool has_text(int folder, const char *name, const char *text)
{
	_cleanup_close_ int fd =
		openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	size_t len = strlen(text), n;
	_cleanup_free_ char *found = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 ||
	    st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH) || st.st_size != (off_t)len)
		return false;
	return stow_read_all(fd, len, name, &found, &n, NULL) == 0 && n == len &&
	       memcmp(found, text, len) == 0;
}

int agent_cdi_write(int folder, const char *uid, const char *text, struct stow_err *err)
{
	char name[FILE_MAX], temporary[FILE_MAX];
	_cleanup_close_ int fd = -EBADF;
	int r;

	r = file_name(uid, SUFFIX, name, err);
	if (r == 0)
		r = file_name(uid, TEMPORARY, temporary, err);
	if (r < 0)
		return r;
	if (has_text(folder, name, text))
		return 0;
	/* An agent that was killed may have left one. */
	if (unlinkat(folder, temporary, 0) < 0 && errno != ENOENT)
		return stow_err_sys(err, errno, "%s", temporary);
	fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return stow_err_sys(err, errno, "%s", temporary);
	r = stow_write_all(fd, text, strlen(text));
	/* The umask may have cleared bits of the mode. */
	if (r == 0 && (fchmod(fd, 0644) < 0 || fsync(fd) < 0))
		r = -errno;
	if (r == 0 && renameat(folder, temporary, folder, name) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(folder, temporary, 0);
		return stow_err_sys(err, -r, "%s", name);
	}
	(void)fsync(folder);
	return 1;
}

int agent_cdi_remove(int folder, const char *uid, struct stow_err *err)
{
	char name[FILE_MAX];
	int r = file_name(uid, SUFFIX, name, err);

	if (r == 0 && unlinkat(folder, name, 0) < 0 && errno != ENOENT)
		r = stow_err_sys(err, errno, "%s", name);
	return r;
}

/* Return whether a file is one of ours that is to be removed. */
static bool is_stale(const char *name, bool (*keep)(void *ctx, const char *uid), void *ctx)
{
	size_t prefix = strlen(AGENT_CDI_PREFIX);
	char uid[UID_LEN + 1];
	const char *suffix;

	if (strncmp(name, AGENT_CDI_PREFIX, prefix) != 0 || strlen(name) < prefix + UID_LEN)
		return false;
	memcpy(uid, name + prefix, UID_LEN);
	uid[UID_LEN] = '\0';
	suffix = name + prefix + UID_LEN;
	if (stow_claim_check_uid(uid, "", NULL) < 0)
		return false;
	return strcmp(suffix, TEMPORARY) == 0 || (strcmp(suffix, SUFFIX) == 0 && !keep(ctx, uid));
}

int agent_cdi_tidy(int folder, bool (*keep)(void *ctx, const char *uid), void *ctx,
		   struct stow_err *err)
{
	_cleanup_closedir_ DIR *dir = NULL;
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), removed = 0;
	const struct dirent *entry;

	if (fd >= 0)
		dir = fdopendir(fd);
	if (!dir) {
		int r = errno;

		stow_close_ptr(&fd);
		return stow_err_sys(err, r, "the folder of CDI files");
	}
	while ((entry = readdir(dir)) != NULL)
		if (is_stale(entry->d_name, keep, ctx) && unlinkat(folder, entry->d_name, 0) == 0)
			removed++;
	return removed;
}
