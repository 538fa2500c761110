// SPDX-License-Identifier: Apache-2.0
/* CDI files: what is in them, and where they are written. */
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/kubernetes/cdi.h"
#include "base/cleanup.h"
#include "tree.h"

#define UID   "11111111-2222-4333-8444-555555555555"
#define OTHER "66666666-2222-4333-8444-555555555555"
#define SHARE "aaaaaaaa-0000-4000-8000-00000000000"
#define CDI   "/run/cdi"
#define KEY(number, name)                                                               \
	{                                                                               \
		.uid = (char *)UID, .share = (char *)SHARE number, .part = (char *)name \
	}
#define NAME "numastow.io-claim_" UID ".json"

static int set_up(void **state)
{
	*state = tree_new();
	tree_mkdir(*state, "/run");
	return 0;
}

static int tear_down(void **state)
{
	tree_free(*state);
	return 0;
}

#define WITH_TREE(name) TEST_WITH(name, struct tree *t, set_up, tear_down)

static int open_folder(struct tree *t)
{
	struct stow_err err = { 0 };
	int fd = agent_cdi_open(t->root, CDI, &err);

	if (fd < 0)
		fail_msg("%s", err.msg);
	return fd;
}

static void is_refused(struct tree *t, int errnum, const char *text)
{
	struct stow_err err = { 0 };

	assert_int_equal(agent_cdi_open(t->root, CDI, &err), -errnum);
	if (!strstr(err.msg, text))
		fail_msg("\"%s\" instead of \"%s\"", err.msg, text);
}

static void set_mode(struct tree *t, const char *path, mode_t mode)
{
	char full[512];

	snprintf(full, sizeof(full), "%s%s", t->dir, path);
	assert_int_equal(chmod(full, mode), 0);
}

/* Names in the folder, sorted by nothing: how many, and whether one is there. */
static size_t names(struct tree *t, const char *wanted, bool *ret_there)
{
	_cleanup_closedir_ DIR *dir = stow_root_opendir(t->root, NULL, CDI);
	const struct dirent *entry;
	size_t n = 0;

	*ret_there = false;
	while ((entry = readdir(dir)) != NULL) {
		n += entry->d_name[0] != '.';
		*ret_there |= strcmp(entry->d_name, wanted) == 0;
	}
	return n;
}

static void has_only(struct tree *t, const char *wanted)
{
	bool there;

	assert_int_equal(names(t, wanted, &there), 1);
	assert_true(there);
}

/* --- the text ------------------------------------------------------------- */

static const char *text_at(struct json_object *object, const char *path)
{
	struct json_object *found;

	if (json_pointer_get(object, path, &found) < 0)
		fail_msg("nothing is at %s of %s", path, json_object_to_json_string(object));
	return json_object_get_string(found);
}

WITH_TREE(a_device_for_each_share)
{
	struct stow_claim_key keys[] = { KEY("1", "main"), KEY("2", "side/half-1"),
					 KEY("3", "side-half-1") };
	struct stow_share at[] = { { .node = 1 }, { .node = 0 }, { .node = 0 } };
	struct stow_record records[] = {
		{ .claim = &keys[0], .exclusive = true, .shares = &at[0], .n_shares = 1 },
		{ .claim = &keys[1], .shares = &at[1], .n_shares = 1 },
		{ .claim = &keys[2], .shares = &at[2], .n_shares = 1 },
	};
	const struct stow_record *shares[] = { &records[0], &records[1], &records[2] };
	struct json_object *object;
	char *text, device[AGENT_CDI_DEVICE_MAX];

	for (int i = 0; i < 3; i++)
		stow_idset_add(&records[i].nodes, at[i].node);
	stow_idset_add(&records[0].cpus, 4);
	stow_idset_add(&records[0].cpus, 5);
	text = agent_cdi_text(shares, 3, "/opt/with \"quotes\"/numastow-hook");
	object = json_tokener_parse(text);
	assert_non_null(object);
	assert_string_equal(text_at(object, "/kind"), "numastow.io/claim");
	assert_string_equal(text_at(object, "/cdiVersion"), "0.5.0");
	assert_string_equal(text_at(object, "/devices/0/name"), UID "-" SHARE "1");
	assert_string_equal(text_at(object, "/devices/1/name"), UID "-" SHARE "2");
	assert_string_equal(agent_cdi_device(UID, SHARE "1", device),
			    "numastow.io/claim=" UID "-" SHARE "1");
	for (int i = 0; i < 2; i++) {
		static const char *const stages[] = { "createRuntime", "poststop" };
		static const char *const commands[] = { "apply", "release" };
		static const char *const keys_of[] = { "hookName", "path",   "args/0", "args/1",
						       "args/2",   "args/3", "args/4", "args/5" };
		const char *const wanted[] = {
			stages[i],	 "/opt/with \"quotes\"/numastow-hook",
			"numastow-hook", commands[i],
			"--claim",	 UID,
			"--share",	 (SHARE "2")
		};

		for (size_t k = 0; k < STOW_ARRAY_SIZE(wanted); k++) {
			char path[96];

			snprintf(path, sizeof(path), "/devices/1/containerEdits/hooks/%d/%s", i,
				 keys_of[k]);
			assert_string_equal(text_at(object, path), wanted[k]);
		}
	}
	assert_string_equal(text_at(object, "/devices/0/containerEdits/env/0"),
			    "NUMASTOW_MAIN=node=1 cpus=4-5");
	/* No name is there twice. */
	assert_string_equal(text_at(object, "/devices/1/containerEdits/env/0"),
			    "NUMASTOW_SIDE_HALF_1=node=0");
	assert_string_equal(text_at(object, "/devices/2/containerEdits/env/0"),
			    "NUMASTOW_SIDE_HALF_1_2=node=0");
	json_object_put(object);
	free(text);
}

/* --- the folder ----------------------------------------------------------- */

WITH_TREE(a_missing_folder_is_made)
{
	_cleanup_close_ int fd = open_folder(t);
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
}

WITH_TREE(a_link_is_refused)
{
	tree_mkdir(t, "/elsewhere");
	tree_link(t, CDI, "/elsewhere");
	is_refused(t, ENOTDIR, "the folder of CDI files: ");
	tree_remove(t, CDI);
	tree_link(t, CDI, "/nowhere");
	is_refused(t, ENOTDIR, "the folder of CDI files: ");
	tree_remove(t, CDI);
	tree_write(t, CDI, "a file");
	is_refused(t, ENOTDIR, "the folder of CDI files: ");
}

WITH_TREE(others_folders_are_refused)
{
	char full[512];

	tree_mkdir(t, CDI);
	set_mode(t, CDI, 0777);
	is_refused(t, EPERM, CDI " has mode 777");
	set_mode(t, CDI, 0775);
	is_refused(t, EPERM, "only root may write there");
	set_mode(t, CDI, 01755);
	close(open_folder(t));
	if (geteuid() != 0)
		skip();
	snprintf(full, sizeof(full), "%s" CDI, t->dir);
	assert_int_equal(chown(full, 65534, 65534), 0);
	is_refused(t, EPERM, CDI " belongs to user 65534");
}

/* --- files ---------------------------------------------------------------- */

WITH_TREE(a_file_is_written_once)
{
	_cleanup_close_ int fd = open_folder(t);
	_cleanup_free_ char *text = NULL;
	mode_t mask = umask(0077);
	struct stat st;

	assert_int_equal(agent_cdi_write(fd, UID, "one\n", NULL), 1);
	umask(mask);
	assert_int_equal(agent_cdi_write(fd, UID, "one\n", NULL), 0);
	has_only(t, NAME);
	assert_int_equal(fstatat(fd, NAME, &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(agent_cdi_write(fd, UID, "two\n", NULL), 1);
	text = tree_read(t, CDI "/" NAME);
	assert_string_equal(text, "two");
	assert_int_equal(agent_cdi_remove(fd, UID, NULL), 0);
	assert_int_equal(agent_cdi_remove(fd, UID, NULL), 0);
	assert_int_equal(faccessat(fd, NAME, F_OK, 0), -1);
}

/* Whatever is in the file's place, or in that of the temporary one, is replaced and not followed. */
WITH_TREE(what_is_there_is_not_followed)
{
	_cleanup_close_ int fd = open_folder(t);
	struct stat st;

	for (int i = 0; i < 4; i++) {
		_cleanup_free_ char *victim = NULL, *text = NULL;

		tree_write(t, "/victim", "same\n");
		if (i == 0)
			tree_link(t, CDI "/" NAME, "../../victim");
		else if (i == 1)
			tree_link(t, CDI "/numastow.io-claim_" UID ".new", "../../victim");
		else if (i == 2)
			assert_int_equal(mkfifoat(fd, NAME, 0666), 0);
		else
			assert_int_equal(linkat(t->root->fd, "victim", fd, NAME, 0), 0);
		assert_int_equal(agent_cdi_write(fd, UID, "same\n", NULL), 1);
		has_only(t, NAME);
		assert_int_equal(fstatat(fd, NAME, &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_true(S_ISREG(st.st_mode) && st.st_nlink == 1);
		victim = tree_read(t, "/victim");
		assert_string_equal(victim, "same");
		text = tree_read(t, CDI "/" NAME);
		assert_string_equal(text, "same");
		assert_int_equal(agent_cdi_remove(fd, UID, NULL), 0);
		tree_remove(t, "/victim");
	}
	/* One that others can change is written anew. */
	assert_int_equal(agent_cdi_write(fd, UID, "same\n", NULL), 1);
	set_mode(t, CDI "/" NAME, 0666);
	assert_int_equal(agent_cdi_write(fd, UID, "same\n", NULL), 1);
}

WITH_TREE(a_folder_in_the_files_place_is_an_error)
{
	_cleanup_close_ int fd = open_folder(t);
	struct stow_err err = { 0 };

	tree_mkdir(t, CDI "/" NAME);
	assert_true(agent_cdi_write(fd, UID, "one\n", &err) < 0);
	assert_non_null(strstr(err.msg, NAME));
	has_only(t, NAME);
}

WITH_TREE(names_that_are_no_uids)
{
	static const char *const bad[] = { "", "..", "../../x", (UID "x"), "/etc/passwd" };
	_cleanup_close_ int fd = open_folder(t);
	bool there;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		assert_int_equal(agent_cdi_write(fd, bad[i], "x", NULL), -EINVAL);
		assert_int_equal(agent_cdi_remove(fd, bad[i], NULL), -EINVAL);
	}
	assert_int_equal(names(t, "", &there), 0);
}

static bool keep_first(void *ctx, const char *uid)
{
	return strcmp(uid, UID) == 0;
}

WITH_TREE(tidying_takes_only_ours)
{
	static const char *const others[] = {
		"nvidia.com-gpu.json",
		"numastow.io-claim_x.json",
		"numastow.io-claim_" OTHER ".yaml",
		"numastow.io-claim_" OTHER ".json.bak",
		"numastow.io-claim_" OTHER "5.json",
		"numastow.io-other_" OTHER ".json",
	};
	_cleanup_close_ int fd = open_folder(t);
	char path[128];
	bool there;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(others); i++) {
		snprintf(path, sizeof(path), CDI "/%s", others[i]);
		tree_write(t, path, "x");
	}
	assert_int_equal(agent_cdi_write(fd, UID, "x", NULL), 1);
	assert_int_equal(agent_cdi_write(fd, OTHER, "x", NULL), 1);
	tree_write(t, CDI "/numastow.io-claim_" UID ".new", "half");
	assert_int_equal(agent_cdi_tidy(fd, keep_first, NULL, NULL), 2);
	assert_int_equal(names(t, NAME, &there), STOW_ARRAY_SIZE(others) + 1);
	assert_true(there);
}
