// SPDX-License-Identifier: Apache-2.0
/* Containers that no hook has told of: where they are found, and what becomes of them. */
#include "unit.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "grant/gc.h"
#include "grant/show.h"
#include "played.h"

#define GIB    (UINT64_C(1) << 30)
#define ID_A   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B   "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ID_C   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CGROUP "/sys/fs/cgroup"

/* A cgroup with its sets; `populated`: with processes in it or below it. */
static void make(struct tree *t, const char *path, bool populated, const char *cpus)
{
	char file[512];

	snprintf(file, sizeof(file), CGROUP "%s/cgroup.events", path);
	tree_write(t, file, "populated %d\n", populated);
	snprintf(file, sizeof(file), CGROUP "%s/cgroup.procs", path);
	tree_write(t, file, "%s", "");
	snprintf(file, sizeof(file), CGROUP "%s/cpuset.cpus", path);
	tree_write(t, file, "%s\n", cpus);
	snprintf(file, sizeof(file), CGROUP "%s/cpuset.cpus.effective", path);
	tree_write(t, file, "%s\n", *cpus ? cpus : "0-7");
	snprintf(file, sizeof(file), CGROUP "%s/cpuset.mems", path);
	tree_write(t, file, "\n");
	snprintf(file, sizeof(file), CGROUP "%s/cpuset.mems.effective", path);
	tree_write(t, file, "0-1\n");
}

static char *text_of(struct tree *t, const char *path, const char *file)
{
	char name[512];

	snprintf(name, sizeof(name), CGROUP "%s/%s", path, file);
	return tree_read(t, name);
}

static void cpus_are(struct tree *t, const char *path, const char *cpus)
{
	_cleanup_free_ char *text = text_of(t, path, "cpuset.cpus");

	text[strcspn(text, "\n")] = '\0';
	assert_string_equal(text, cpus);
}

static bool is_found(const struct stow_discovery *d, const char *path, const char *id)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->list[i].path, path) == 0 && strcmp(d->list[i].id, id) == 0)
			return true;
	return false;
}

/* --- names --------------------------------------------------------------------------------- */

TEST(names_are_those_of_runtimes)
{
	static const struct {
		const char *name, *above;
		bool container;
	} tries[] = {
		{ "libpod-" ID_A ".scope", "machine.slice", true },
		{ "libpod-" ID_A, "libpod_parent", true },
		{ "libpod-payload-" ID_A, "web.service", true },
		{ "docker-" ID_A ".scope", "system.slice", true },
		{ "nerdctl-" ID_A ".scope", "system.slice", true },
		{ "cri-containerd-" ID_A ".scope", "kubepods-pod1.slice", true },
		{ "crio-" ID_A ".scope", "kubepods-pod1.slice", true },
		{ "crio-" ID_A, "pod1", true },
		{ ID_A, "docker", true },
		{ ID_A, "pod1", true },
		{ ID_A, "libpod_parent", false },
		{ "libpod-conmon-" ID_A ".scope", "machine.slice", false },
		{ "crio-conmon-" ID_A, "pod1", false },
		{ "libpod-" ID_A ".service", "machine.slice", false },
		{ "libpod-" ID_A "0.scope", "machine.slice", false },
		{ ID_A "0", "docker", false },
		{ "AAAA" ID_A, "docker", false },
		{ "other-" ID_A ".scope", "machine.slice", false },
		{ "libpod-abc.scope", "machine.slice", false },
		{ "machine-libpod_pod_" ID_A ".slice", "machine.slice", false },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(tries); i++) {
		const char *id = stow_discover_id(tries[i].name, tries[i].above);

		if (!id != !tries[i].container)
			fail_msg("%s below %s", tries[i].name, tries[i].above);
		if (id)
			assert_memory_equal(id, ID_A, 64);
	}
}

TEST(every_layout_is_found)
{
	static const struct {
		const char *path, *id;
	} there[] = {
		{ "/machine.slice/libpod-" ID_A ".scope", ID_A },
		{ "/machine.slice/machine-libpod_pod_" ID_B ".slice/libpod-" ID_A ".scope", ID_A },
		{ "/libpod_parent/libpod-" ID_A, ID_A },
		{ "/libpod_parent/" ID_B "/libpod-" ID_A, ID_A },
		{ "/system.slice/web.service/libpod-payload-" ID_A, ID_A },
		{ "/system.slice/docker-" ID_A ".scope", ID_A },
		{ "/docker/" ID_B, ID_B },
		{ "/default/" ID_B, ID_B },
		{ "/system.slice/nerdctl-" ID_B ".scope", ID_B },
		{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/"
		  "cri-containerd-" ID_C ".scope",
		  ID_C },
		{ "/kubepods.slice/kubepods-pod1_2.slice/crio-" ID_C ".scope", ID_C },
		{ "/kubepods/besteffort/pod1-2/" ID_C, ID_C },
		{ "/kubepods/pod1-2/crio-" ID_C, ID_C },
	};
	static const char *const others[] = {
		"/init.scope",
		"/machine.slice/libpod-conmon-" ID_A ".scope",
		"/user.slice/user-1000.slice/user@1000.service/libpod-" ID_A ".scope",
		/* What a container has named so below itself. */
		"/docker/" ID_B "/docker/" ID_A,
		"/machine.slice/libpod-" ID_A ".scope/container/libpod-" ID_B ".scope",
	};
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_discovery d = { 0 };
	char id[STOW_DISCOVER_ID + 1];

	tree_write(t, "/proc/self/mountinfo",
		   "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(there); i++)
		make(t, there[i].path, true, "");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(others); i++)
		make(t, others[i], true, "");
	assert_int_equal(stow_discover(t->root, NULL, NULL, &d, NULL), 0);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(there); i++)
		if (!is_found(&d, there[i].path, there[i].id) ||
		    !stow_discover_in(there[i].path, id) || strcmp(id, there[i].id) != 0)
			fail_msg("%s", there[i].path);
	assert_false(stow_discover_in(others[0], id) || stow_discover_in("/", id));
	assert_false(stow_discover_in(others[1], id) || stow_discover_in(others[2], id));
	assert_true(stow_discover_in(others[4], id));
	assert_string_equal(id, ID_A); /* the outermost */
	assert_int_equal(d.n, STOW_ARRAY_SIZE(there));
	assert_false(d.cut);
	stow_discovery_done(&d);
}

/* Cgroups that are too many or too deep are left out, and do not displace others. */
TEST(what_is_too_deep_is_left_out)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_discovery d = { 0 };
	char path[512] = "/deep", part[280], longest[400];

	tree_write(t, "/proc/self/mountinfo",
		   "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	make(t, "/docker/" ID_A, true, "");
	for (int i = 0; i < STOW_DISCOVER_DEPTH; i++)
		strcat(path, "/x");
	strcat(path, "/" ID_B);
	make(t, path, true, "");
	/* Names of 255 bytes, until the path is longer than what is kept. */
	memset(part, 'y', sizeof(part));
	part[255] = '\0';
	snprintf(longest, sizeof(longest), "%s" CGROUP "/%s", t->dir, part);
	assert_int_equal(mkdir(longest, 0755), 0);
	for (int i = 0; i < 9; i++) {
		assert_int_equal(chdir(longest), 0);
		assert_int_equal(mkdir(part, 0755), 0);
		snprintf(longest, sizeof(longest), "%s", part);
	}
	assert_int_equal(mkdir(ID_C, 0755), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(stow_discover(t->root, NULL, NULL, &d, NULL), 0);
	assert_int_equal(d.n, 1);
	assert_true(is_found(&d, "/docker/" ID_A, ID_A));
	stow_discovery_done(&d);
}

TEST(without_cpusets_there_are_none)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_grant_context context = { .root = t->root };
	struct stow_discovery d = { 0 };
	struct stow_adoption found = { 0 };

	tree_write(t, "/proc/self/mountinfo", "30 23 0:27 / /proc rw - proc proc rw\n");
	assert_int_equal(stow_discover(t->root, NULL, NULL, &d, NULL), -ENOENT);
	assert_int_equal(stow_adopt(&context, &found, NULL), 0);
	assert_int_equal(found.n, 0);
}

/* --- one container ------------------------------------------------------------------------- */

/* Read the only container there is. */
static int read_only(struct tree *t, struct stow_unmanaged *ret)
{
	struct stow_discovery d = { 0 };
	int r;

	assert_int_equal(stow_discover(t->root, NULL, NULL, &d, NULL), 0);
	assert_int_equal(d.n, 1);
	r = stow_discover_read(t->root, &d.list[0], ret, NULL);
	stow_discovery_done(&d);
	return r;
}

TEST(crun_keeps_it_a_level_below)
{
	static const char scope[] = "/machine.slice/libpod-" ID_A ".scope";
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_unmanaged_done) struct stow_unmanaged c = { 0 }, other = { 0 },
							     third = { 0 };
	char buf[64];

	tree_write(t, "/proc/self/mountinfo",
		   "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	make(t, scope, false, "");
	assert_int_equal(read_only(t, &c), 0); /* without processes */
	make(t, scope, true, "");
	make(t, "/machine.slice/libpod-" ID_A ".scope/container", true, "2-3");
	assert_int_equal(read_only(t, &c), 1);
	assert_string_equal(c.id, ID_A);
	assert_string_equal(stow_cgroup_id_path(&c.cgroup),
			    "/machine.slice/libpod-" ID_A ".scope/container");
	assert_string_equal(stow_idset_format(&c.given, buf, sizeof(buf)), "2-3");
	assert_int_equal(c.init.pid, 0);
	assert_int_equal(stow_cgroup_populated(t->root, &c.cgroup, NULL), 1);
	/* Where the container can make cgroups in the scope, it is all of that. */
	make(t, "/machine.slice/libpod-" ID_A ".scope/.evil", true, "");
	assert_int_equal(read_only(t, &other), 1);
	assert_string_equal(stow_cgroup_id_path(&other.cgroup), scope);
	tree_remove(t, CGROUP "/machine.slice/libpod-" ID_A ".scope/.evil");
	tree_write(t, CGROUP "/machine.slice/libpod-" ID_A ".scope/cgroup.procs", "7\n");
	assert_int_equal(read_only(t, &third), 1);
	assert_string_equal(stow_cgroup_id_path(&third.cgroup), scope);
}

TEST(v1_has_a_copy_of_what_is_above)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_unmanaged_done) struct stow_unmanaged c = { 0 }, own = { 0 };
	char buf[64];

	tree_write(t, "/proc/self/mountinfo",
		   "33 24 0:28 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n"
		   "36 24 0:31 / /cg/memory rw - cgroup cgroup rw,memory\n");
	tree_write(t, "/cg/cpuset/docker/cpuset.effective_cpus", "0-7\n");
	tree_write(t, "/cg/cpuset/docker/" ID_A "/cgroup.procs", "7\n");
	tree_write(t, "/cg/cpuset/docker/" ID_A "/cpuset.cpus", "0-7\n");
	tree_mkdir(t, "/cg/memory/docker/" ID_A);
	assert_int_equal(read_only(t, &c), 1);
	assert_true(stow_idset_empty(&c.given));
	assert_int_equal(c.cgroup.at[STOW_CGROUP_CPUSET].version, 1);
	assert_string_equal(c.cgroup.at[STOW_CGROUP_MEMORY].path, "/docker/" ID_A);
	assert_true(c.cgroup.at[STOW_CGROUP_MEMORY].inode != c.cgroup.at[STOW_CGROUP_CPUSET].inode);
	tree_write(t, "/cg/cpuset/docker/" ID_A "/cpuset.cpus", "2\n");
	assert_int_equal(read_only(t, &own), 1);
	assert_string_equal(stow_idset_format(&own.given, buf, sizeof(buf)), "2");
}

/* A part of the hierarchy is mounted; the paths are those of the whole. */
TEST(a_part_has_whole_paths)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_unmanaged_done) struct stow_unmanaged c = { 0 };

	tree_write(t, "/proc/self/mountinfo",
		   "35 24 0:30 /docker /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	make(t, "/" ID_A, true, "");
	assert_int_equal(read_only(t, &c), 1);
	assert_string_equal(stow_cgroup_id_path(&c.cgroup), "/docker/" ID_A);
}

/* --- what becomes of them ------------------------------------------------------------------ */

static int set_up(void **state)
{
	*state = played_new();
	return 0;
}

static int tear_down(void **state)
{
	played_free(*state);
	return 0;
}

#define WITH_PLAYED(name) TEST_WITH(name, struct played *p, set_up, tear_down)

/* A collection, and how many it found. */
static void collect(struct played *p, size_t found, bool entered)
{
	struct stow_gc_result result;
	struct stow_err err = { 0 };

	if (stow_gc(&p->context, &result, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(result.found.n, found);
	for (size_t i = 0; i < found; i++)
		assert_int_equal(result.found.list[i].entered, entered);
	assert_int_equal(result.problems.n_problems, 0);
	stow_gc_result_done(&result);
}

static size_t entries(struct played *p)
{
	_cleanup_closedir_ DIR *d = stow_root_opendir(p->t->root, NULL, STOW_UNMANAGED_DIR);
	const struct dirent *e;
	size_t n = 0;

	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	return n;
}

WITH_PLAYED(is_kept_off_and_given_back)
{
	static const char scope[] = "/machine.slice/libpod-" ID_A ".scope/container";
	struct stow_unmanaged entry = { 0 };
	char kind[32];

	make(p->t, "/machine.slice", true, "");
	make(p->t, "/machine.slice/libpod-" ID_A ".scope", true, "");
	make(p->t, scope, true, "");
	make(p->t, "/docker", true, "");
	make(p->t, "/docker/" ID_B, true, "3-5");
	make(p->t, "/docker/" ID_C, false, "");
	played_container(p, 7, "own", 0, 2, GIB, true);
	cpus_are(p->t, scope, "");
	collect(p, 2, true);
	cpus_are(p->t, scope, "2-7");
	cpus_are(p->t, "/docker/" ID_B, "3-5");
	assert_string_equal(played_event(p, ID_A, kind, sizeof(kind)), "unmanaged");
	/* Found once. */
	collect(p, 0, true);
	assert_int_equal(entries(p), 2);
	assert_int_equal(stow_unmanaged_read(p->t->root, ID_B, &entry, NULL), 0);
	assert_int_equal(entry.init.pid, 0);
	assert_string_equal(stow_cgroup_id_path(&entry.cgroup), "/docker/" ID_B);
	stow_unmanaged_done(&entry);
	/* Its own CPUs do not become exclusive. */
	played_container(p, 8, "more", 1, 2, GIB, true);
	played_has(p, "more", "6-7", "1");
	assert_int_equal(stow_restore_all(&p->context, NULL), 2);
	cpus_are(p->t, scope, "0-7");
	cpus_are(p->t, "/docker/" ID_B, "3-5");
	/* The entry of the ended one is removed; the other two run on without grants. */
	assert_int_equal(entries(p), 4);
	make(p->t, scope, false, "");
	make(p->t, "/docker/" ID_B, false, "");
	collect(p, 0, true);
	assert_int_equal(entries(p), 2);
}

WITH_PLAYED(one_that_is_known_is_not_entered_twice)
{
	struct stow_unmanaged by_hook = { .id = ID_A, .init = { .pid = 8, .start = 1 } };
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	_cleanup_(stow_unmanaged_done) struct stow_unmanaged entry = { 0 };

	/* One with a grant, one that the hook has entered, which crun keeps a level below. */
	make(p->t, "/docker", true, "");
	make(p->t, "/docker/" ID_B, true, "");
	played_container(p, 7, "docker/" ID_B, 0, 2, GIB, true);
	make(p->t, "/machine.slice", true, "");
	make(p->t, "/machine.slice/libpod-" ID_A ".scope", true, "");
	make(p->t, "/machine.slice/libpod-" ID_A ".scope/container", true, "");
	played_process(p, 8, "machine.slice/libpod-" ID_A ".scope/container");
	assert_int_equal(stow_cgroup_of_pid(p->t->root, 8, &cgroup, NULL), 0);
	by_hook.cgroup = cgroup->id;
	stow_idset_parse("2-7", &by_hook.given, NULL);
	assert_int_equal(stow_unmanaged_write(p->t->root, &by_hook, NULL), 0);
	/* Whatever it makes below its scope later. */
	make(p->t, "/machine.slice/libpod-" ID_A ".scope/evil", true, "");
	collect(p, 0, true);
	assert_int_equal(entries(p), 1);
	assert_int_equal(stow_unmanaged_read(p->t->root, ID_A, &entry, NULL), 0);
	assert_int_equal(entry.init.pid, 8);
	cpus_are(p->t, "/docker/" ID_B, "0-1");
}

/* Found while its hook was at work: the grant counts, and the entry goes. */
WITH_PLAYED(a_grant_is_stronger)
{
	static const char path[] = "machine.slice/libpod-" ID_A ".scope/container";

	make(p->t, "/machine.slice", true, "");
	make(p->t, "/machine.slice/libpod-" ID_A ".scope", true, "");
	collect(p, 1, true); /* crun has not made its level yet */
	assert_int_equal(entries(p), 1);
	make(p->t, "/machine.slice/libpod-" ID_A ".scope/container", true, "");
	played_container(p, 7, path, 0, 2, GIB, true);
	cpus_are(p->t, "/machine.slice/libpod-" ID_A ".scope", "");
	cpus_are(p->t, "/machine.slice/libpod-" ID_A ".scope/container", "0-1");
	collect(p, 0, true);
	assert_int_equal(entries(p), 0);
}

/* A folder with a container's name that has containers with grants in it is a pod. */
WITH_PLAYED(a_pod_is_no_container)
{
	make(p->t, "/mine", true, "");
	make(p->t, "/mine/" ID_A, true, "");
	make(p->t, "/mine/" ID_A "/libpod-" ID_C, true, "");
	played_container(p, 7, "mine/" ID_A "/libpod-" ID_B, 0, 2, GIB, true);
	collect(p, 1, true);
	cpus_are(p->t, "/mine/" ID_A, "");
	cpus_are(p->t, "/mine/" ID_A "/libpod-" ID_C, "2-7");
	cpus_are(p->t, "/mine/" ID_A "/libpod-" ID_B, "0-1");
}

/* A container that was found as crun's, and then makes a cgroup beside it, is none of crun's. */
WITH_PLAYED(crun_has_no_level_beside_other_cgroups)
{
	static const char scope[] = "/machine.slice/libpod-" ID_A ".scope";
	_cleanup_(stow_unmanaged_done) struct stow_unmanaged entry = { 0 };

	make(p->t, "/machine.slice", true, "");
	make(p->t, scope, true, "");
	make(p->t, "/machine.slice/libpod-" ID_A ".scope/container", true, "");
	played_container(p, 7, "own", 0, 2, GIB, true);
	collect(p, 1, true);
	cpus_are(p->t, scope, "");
	make(p->t, "/machine.slice/libpod-" ID_A ".scope/evil", true, "");
	collect(p, 0, true);
	cpus_are(p->t, scope, "2-7");
	assert_int_equal(stow_unmanaged_read(p->t->root, ID_A, &entry, NULL), 0);
	assert_string_equal(stow_cgroup_id_path(&entry.cgroup), scope);
	collect(p, 0, true);
	assert_int_equal(entries(p), 1);
}

/* A service has a cgroup with a container's name. */
WITH_PLAYED(an_id_that_is_there_twice_is_two)
{
	make(p->t, "/docker", true, "");
	make(p->t, "/docker/" ID_A, true, "");
	collect(p, 1, true);
	make(p->t, "/system.slice", true, "");
	make(p->t, "/system.slice/evil.service", true, "");
	make(p->t, "/system.slice/evil.service/docker-" ID_A ".scope", true, "");
	collect(p, 1, true);
	assert_int_equal(entries(p), 2);
	played_container(p, 7, "own", 0, 2, GIB, true);
	cpus_are(p->t, "/docker/" ID_A, "2-7");
	cpus_are(p->t, "/system.slice/evil.service/docker-" ID_A ".scope", "2-7");
	collect(p, 0, true);
}

/* Its flags in /proc/PID/stat, and whether it has the machine's root directory. */
static void make_process(struct tree *t, int pid, unsigned int flags, bool machines_root)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	tree_write(t, path, "%d (runc:[2:INIT]) S 1 1 1 0 -1 %u 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n",
		   pid, flags);
	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	if (stow_root_exists(t->root, "%s", path))
		tree_remove(t, path);
	tree_link(t, path, machines_root ? "/" : "/rootfs");
}

/* Its hook is still to run: until then it is not said to have been started without. */
WITH_PLAYED(one_that_is_created_is_not_entered)
{
	enum { NO_EXEC = 0x400140, EXECUTED = 0x400100 };

	tree_mkdir(p->t, "/rootfs");
	make_process(p->t, 1, EXECUTED, true);
	make(p->t, "/docker", true, "");
	make(p->t, "/docker/" ID_A, true, "");
	tree_write(p->t, CGROUP "/docker/" ID_A "/cgroup.procs", "70\n");
	make_process(p->t, 70, NO_EXEC, true);
	collect(p, 0, true);
	assert_int_equal(entries(p), 0);
	/* A process of the runtime that has ended since. */
	tree_write(p->t, CGROUP "/docker/" ID_A "/cgroup.procs", "70\n71\n");
	collect(p, 0, true);
	/* After pivot_root(2), as it is for one that was restored from a checkpoint. */
	make_process(p->t, 70, NO_EXEC, false);
	collect(p, 1, true);
	assert_int_equal(entries(p), 1);
	/* A virtual machine's monitor has the machine's root directory. */
	make(p->t, "/docker/" ID_B, true, "");
	tree_write(p->t, CGROUP "/docker/" ID_B "/cgroup.procs", "72\n73\n");
	make_process(p->t, 72, EXECUTED, true);
	make_process(p->t, 73, NO_EXEC, true);
	collect(p, 1, true);
	assert_int_equal(entries(p), 2);
}

WITH_PLAYED(the_administrator_may_forbid_adopting)
{
	_cleanup_free_ char *text = NULL;

	p->config->adopt = false;
	make(p->t, "/docker", true, "");
	make(p->t, "/docker/" ID_A, true, "");
	collect(p, 1, false);
	collect(p, 1, false);
	assert_int_equal(entries(p), 0);
	/* Without a configuration the default counts. */
	p->context.config = NULL;
	collect(p, 1, true);
	assert_int_equal(entries(p), 1);
	assert_int_equal(stow_show_ledger(&p->context, true, 0, NULL, &text, NULL), 0);
	assert_non_null(strstr(text, ID_A));
	assert_non_null(strstr(text, "/docker/" ID_A));
}

WITH_PLAYED(a_container_without_a_cpuset_is_reported)
{
	struct stow_adoption found = { 0 };

	tree_write(p->t, CGROUP "/docker/" ID_A "/cgroup.events", "populated 1\n");
	assert_int_equal(stow_adopt(&p->context, &found, NULL), 0);
	assert_int_equal(found.n, 1);
	assert_true(found.list[0].no_cpuset);
	assert_false(found.list[0].entered);
	assert_int_equal(entries(p), 0);
	stow_adoption_done(&found);
}

/* --- a new ledger -------------------------------------------------------------------------- */

/* Make a new ledger, as `numastow gc --rebuild` does; return how many were found. */
static int rebuild(struct played *p)
{
	char aside[512];
	struct stow_err err = { 0 };
	int r;

	assert_int_equal(stow_ledger_set_aside(p->t->root, aside, sizeof(aside), NULL), 0);
	stow_ledger_close(p->context.ledger);
	p->context.ledger = NULL;
	assert_int_equal(stow_ledger_open(p->t->root, true, &p->context.ledger, NULL), 0);
	r = stow_rebuild(&p->context, &err);
	if (r < 0)
		fail_msg("%s", err.msg);
	return r;
}

WITH_PLAYED(owners_are_found_again)
{
	static const char own[] = "machine.slice/libpod-" ID_A ".scope/container";
	static const char child[] =
		"/machine.slice/libpod-" ID_A ".scope/container/docker-" ID_B ".scope";
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	char cpus[64];

	make(p->t, "/machine.slice", true, "");
	make(p->t, "/machine.slice/libpod-" ID_A ".scope", true, "");
	make(p->t, "/docker", true, "");
	make(p->t, "/docker/" ID_C, true, "");
	played_container(p, 7, own, 0, 2, GIB, true);
	played_container(p, 8, "docker/" ID_C, 1, 2, GIB, false);
	tree_write(p->t, CGROUP "/machine.slice/libpod-" ID_A ".scope/container/cgroup.procs",
		   "7\n");
	tree_write(p->t, CGROUP "/machine.slice/libpod-" ID_A ".scope/container/cgroup.events",
		   "populated 1\n");
	/* Its own child with one of its CPUs is not the owner. */
	make(p->t, child, true, "1");
	assert_int_equal(rebuild(p), 1);
	assert_int_equal(played_records(p), 1);
	record = played_grant(p, ID_A);
	assert_string_equal(stow_cgroup_id_path(&record->cgroup),
			    "/machine.slice/libpod-" ID_A ".scope/container");
	assert_int_equal(record->init.pid, 7);
	assert_true(record->exclusive);
	assert_string_equal(stow_idset_format(&record->cpus, cpus, sizeof(cpus)), "0-1");
	/* The shared one's set was ours: it is no set of its own now. */
	collect(p, 0, true);
	cpus_are(p->t, "/docker/" ID_C, "2-7");
	played_container(p, 9, "next", 1, 3, GIB, true);
	cpus_are(p->t, "/docker/" ID_C, "2-3,7");
}
