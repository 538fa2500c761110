// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "tree.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "pages/culprit.h"
#include "pages/holds.h"
#include "pages/kind.h"
#include "pages/kmsg.h"
#include "pages/kpages.h"

#define K(bit) (UINT64_C(1) << KPF_##bit)
#define ANON   (K(LRU) | K(ANON) | K(SWAPBACKED) | K(UPTODATE) | K(MMAP))

TEST(reads_lines_of_the_log)
{
	static const struct {
		const char *line;
		uint64_t pfn;
	} lines[] = {
		/* Linux 6.1, as it was read in a virtual machine; "failed to isolate" is from its
		 * source */
		{ "4,1062,103496991,-;migrating pfn 1835b0 failed ret:1", 0x1835b0 },
		{ "4,1063,103497121,-;page:0000000099227636 refcount:3 mapcount:1 "
		  "mapping:0000000000000000 index:0x7fd6b0dba pfn:0x1835b0",
		  0x1835b0 },
		{ "4,1101,100092989,-;page:00000000f93b3734 refcount:1 mapcount:0 "
		  "mapping:0000000000000000 index:0x0 pfn:0x100000",
		  0x100000 }, /* before any try: an unmovable page */
		{ "4,1061,48213010,-;failed to isolate pfn 9d000", 0x9d000 },
		/* since 6.10 */
		{ "4,1063,48213020,-;page: refcount:2 mapcount:0 mapping:0000000000000000 "
		  "index:0x7f1c2a9b4 pfn:0x18a2b4",
		  0x18a2b4 },
		/* with CONFIG_PRINTK_CALLER, and the text alone */
		{ "4,9,1,-,caller=T812;failed to isolate pfn 1f", 0x1f },
		{ "migrating pfn ffffffffff failed ret:-11", 0xffffffffff },
		/* details of the same dump, and other lines */
		{ "4,1064,48213024,-;head:00000000d5ab2e72 order:9 compound_mapcount:0", 0 },
		{ "4,1065,103513790,-;memcg:ffff888102334000", 0 },
		{ "4,1066,103513830,-;anon flags: "
		  "0x5fffffc00a000e(referenced|uptodate|dirty|mappedtodisk|swapbacked|node=1|"
		  "zone=3|lastcpupid=0x1fffff)",
		  0 },
		{ "4,1067,103513956,-;raw: 005fffffc00a000e ffffc9000130bb70 ffffc9000130bb70 "
		  "ffff888102279821",
		  0 },
		{ "4,1068,103514119,-;page dumped because: migration failure", 0 },
		{ "4,1068,48213040,-;Offlined Pages 32768", 0 },
		{ "6,1,0,-;Memory: 3993168K/4193784K available", 0 },
		/* a program's word, in its own name or in another's line */
		{ "12,1069,48213050,-;migrating pfn 18a2b3 failed ret:1", 0 },
		{ "4,1070,48213051,-;traps: migrating pfn 18a2b3 failed ret:1", 0 },
		{ "8,1071,1,-;page: refcount:1 pfn:0x11", 0 },
		/* cut, or not what it looks like */
		{ "4,1,1,-;migrating pfn ", 0 },
		{ "4,1,1,-;migrating pfn zz failed", 0 },
		{ "4,1,1,-;migrating pfn 18a2b3x", 0 },
		{ "4,1,1,-;migrating pfn 111111111111111111111", 0 },
		{ "4,1,1,-;page:0000 pfn:0x11", 0 },
		{ "4,1,1,-;page: refcount:1 pfn:", 0 },
		{ ";", 0 },
		{ "4", 0 },
		{ "", 0 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(lines); i++)
		assert_int_equal(stow_kmsg_line(lines[i].line), lines[i].pfn);
}

/* A socket gives one record a read(2), as /dev/kmsg does. */
TEST(takes_frames_of_the_block_once)
{
	static const char *const records[] = {
		"4,1,1,-;migrating pfn 8001 failed ret:1\n SUBSYSTEM=memory\n",
		"4,2,2,-;page: refcount:2 mapcount:1 mapping:0 index:0x1 pfn:0x8001\n",
		"4,3,3,-;failed to isolate pfn 8000\n",
		"4,4,4,-;migrating pfn 10000 failed ret:1\n",
		"4,5,5,-;migrating pfn ffff failed ret:1\n",
		"4,6,6,-;migrating pfn 7fff failed ret:1\n",
	};
	_cleanup_free_ uint64_t *pfns = NULL;
	_cleanup_free_ uint64_t *more = NULL;
	int pair[2];
	size_t n;

	assert_int_equal(pipe2(pair, O_DIRECT | O_NONBLOCK | O_CLOEXEC), 0);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(records); i++)
		assert_true(write(pair[1], records[i], strlen(records[i])) > 0);
	assert_int_equal(stow_kmsg_stuck(pair[0], 0x8000, 0x10000, &pfns, &n, NULL), 0);
	assert_int_equal(n, 3);
	assert_int_equal(pfns[0], 0x8001);
	assert_int_equal(pfns[1], 0x8000);
	assert_int_equal(pfns[2], 0xffff);
	assert_int_equal(stow_kmsg_stuck(pair[0], 0, UINT64_MAX, &more, &n, NULL), 0);
	assert_int_equal(n, 0);
	close(pair[0]);
	close(pair[1]);
}

TEST(only_the_live_machine_has_a_log)
{
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	struct stow_err err = { 0 };

	tree_write(tree, "/dev/kmsg", "4,1,1,-;failed to isolate pfn 8000\n");
	assert_int_equal(stow_kmsg_open(tree->root, &err), -ENOTSUP);
	assert_int_equal(err.code, ENOTSUP);
	assert_int_equal(stow_kmsg_stuck(-1, 0, 1, NULL, NULL, &err), -EBADF);
}

/* --- what a process has ------------------------------------------------------------------------- */

static void process(struct tree *tree, int pid, const char *comm, const char *status)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	tree_write(tree, path, "%s\n", comm);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	tree_write(tree, path, "Name:\t%s\n%sThreads:\t1\n", comm, status);
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	tree_mkdir(tree, path);
}

static void opened(struct tree *tree, int pid, int fd, const char *what, const char *flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	tree_link(tree, path, what);
	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	tree_write(tree, path, "pos:\t0\nflags:\t%s\nmnt_id:\t15\n", flags);
}

TEST(a_process_holds_are_listed)
{
	static const struct {
		const char *status, *open, *says;
	} cases[] = {
		{ "VmLck:\t       0 kB\nVmPin:\t       0 kB\n", "/dev/null", "" },
		{ "", "socket:[1]", "" }, /* a kernel thread */
		{ "VmLck:\t   65536 kB\nVmPin:\t       0 kB\n", "pipe:[7]", "64Mi locked" },
		{ "VmLck:\t       0 kB\nVmPin:\t 1572864 kB\n", "/dev/vfio/12",
		  "1.5Gi pinned (vfio)" },
		{ "VmLck:\t    1024 kB\nVmPin:\t    2048 kB\n", "anon_inode:[io_uring]",
		  "2Mi pinned, 1Mi locked (io_uring)" },
		{ "VmPin:\t       0 kB\n", "/dev/infiniband/uverbs0", "RDMA open" },
		{ "VmPin:\t       0 kB\n", "/dev/vfio/vfio", "vfio open" },
		{ "VmPin:\t 99999999999999999999 kB\n", "/dev/zero", "" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cases); i++) {
		_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
		char buf[128];

		process(tree, 812, "guest", cases[i].status);
		opened(tree, 812, 5, cases[i].open, "0100002");
		assert_string_equal(stow_process_holds(tree->root, 812, buf, sizeof(buf)),
				    cases[i].says);
		assert_string_equal(stow_process_holds(tree->root, 9, buf, sizeof(buf)), "");
	}
}

/* --- proof -------------------------------------------------------------------------------------- */

#define MEMORY "/sys/fs/cgroup"

static void word(struct tree *tree, const char *name, uint64_t at, uint64_t value)
{
	_cleanup_close_ int fd = -EBADF;
	char path[4096];

	snprintf(path, sizeof(path), "%s/proc/%s", tree->dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &value, 8, (off_t)(at * 8)), 8);
}

static void frame(struct tree *tree, uint64_t pfn, uint64_t flags, uint64_t cgroup)
{
	word(tree, "kpageflags", pfn, flags);
	word(tree, "kpagecgroup", pfn, cgroup);
}

static void cgroup(struct tree *tree, const char *path, const char *pids, uint64_t *ret_inode)
{
	char full[4096];
	struct stat st;

	snprintf(full, sizeof(full), MEMORY "%s/cgroup.procs", path);
	tree_write(tree, full, "%s", pids);
	snprintf(full, sizeof(full), MEMORY "%s/memory.stat", path);
	tree_write(tree, full, "anon 1\n");
	snprintf(full, sizeof(full), "%s" MEMORY "%s", tree->dir, path);
	assert_int_equal(stat(full, &st), 0);
	*ret_inode = st.st_ino;
}

static void maps(struct tree *tree, int pid, const char *line)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	tree_write(tree, path, "%s\n", line);
}

static void present(struct tree *tree, int pid, uint64_t page, uint64_t pfn)
{
	char name[64];

	snprintf(name, sizeof(name), "%d/pagemap", pid);
	word(tree, name, page, UINT64_C(1) << 63 | pfn);
}

/* Two containers, and a process of no container's. */
struct machine {
	struct tree *tree;
	uint64_t web, db;
};

static void machine_new(struct machine *m)
{
	static const char *const none = "VmLck:\t       0 kB\nVmPin:\t       0 kB\n";
	struct tree *tree = m->tree = tree_new();

	tree_write(tree, "/proc/self/mountinfo", "%s",
		   "30 1 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	cgroup(tree, "/machine.slice/libpod-web.scope", "", &m->web);
	/* No memory controller further down: what is charged above is of these processes. */
	tree_write(tree, MEMORY "/machine.slice/libpod-web.scope/container/cgroup.procs",
		   "811\n812\n");
	cgroup(tree, "/machine.slice/libpod-db.scope", "900\n", &m->db);
	process(tree, 811, "sh", none);
	process(tree, 812, "pin\x1bner", none);
	process(tree, 900, "db", none);
	process(tree, 77, "daemon", none);
	maps(tree, 811, "00400000-00600000 rw-p 00000000 00:00 0 ");
	maps(tree, 812,
	     "00400000-00600000 rw-p 00000000 00:00 0 \n"
	     "00700000-00710000 rw-s 00000000 00:01 5   /memfd:ring buffer (deleted)\n"
	     "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0   [vsyscall]");
	maps(tree, 900, "00800000-00900000 rw-p 00000000 00:00 0       [heap]");
	maps(tree, 77, "00400000-00404000 r--p 00000000 08:01 77      /usr/bin/daemon");
	for (uint64_t pfn = 0; pfn < 64; pfn++)
		frame(tree, 0x1000 + pfn, ANON, m->web);
}

static void machine_done(struct machine *m)
{
	tree_free(m->tree);
}

TEST(leads_from_a_frame_to_the_process)
{
	_cleanup_(machine_done) struct machine m;
	_cleanup_(stow_culprits_done) struct stow_culprits found = { 0 };
	const uint64_t pfns[] = { 0x1005, 0x1003, 0x1003, 0x1010 };
	const struct stow_culprit *c;
	char line[512];

	machine_new(&m);
	/* Both have the pages since a fork; the one with both ends of a pipe is the one. */
	present(m.tree, 811, 0x400, 0x1003);
	present(m.tree, 811, 0x401, 0x1005);
	present(m.tree, 812, 0x410, 0x1003);
	present(m.tree, 812, 0x411, 0x1005);
	opened(m.tree, 812, 3, "pipe:[44]", "0100000");
	opened(m.tree, 812, 4, "pipe:[44]", "0100001");
	opened(m.tree, 811, 1, "pipe:[45]", "0100001");
	opened(m.tree, 811, 2, "pipe:[45]", "0100001");
	frame(m.tree, 0x1010, K(BUDDY), 0); /* went after all */
	assert_int_equal(stow_culprits_prove(m.tree->root, pfns, 4, &found, NULL), 0);
	assert_int_equal(found.n, 1);
	c = &found.list[0];
	assert_true(c->proven);
	assert_int_equal(c->pfn, 0x1003);
	assert_int_equal(c->pages, 2);
	assert_int_equal(c->kind, STOW_PAGE_ANON);
	assert_int_equal(c->pid, 812);
	assert_string_equal(c->program, "pin?ner");
	assert_string_equal(c->file, "");
	assert_string_equal(c->container, "web");
	assert_string_equal(c->cgroup, "/machine.slice/libpod-web.scope");
	assert_non_null(strstr(c->reason, "vmsplice"));
	assert_string_equal(c->advice, "stop or restart process 812 (pin?ner), then try again");
	assert_string_equal(stow_culprit_format(c, line, sizeof(line)),
			    "2 pages from 0x1003 on (anonymous) of container web, process 812 "
			    "\"pin?ner\": pinned: most likely in a pipe that no process reads "
			    "(vmsplice)");
}

TEST(names_what_is_mapped_and_what_pins)
{
	_cleanup_(machine_done) struct machine m;
	_cleanup_(stow_culprits_done) struct stow_culprits found = { 0 };
	const uint64_t pfns[] = { 0x1001, 0x1002 };
	char line[512];

	machine_new(&m);
	process(m.tree, 812, "vm", "VmLck:\t       0 kB\nVmPin:\t    2048 kB\n");
	opened(m.tree, 812, 7, "/dev/vfio/3", "02");
	present(m.tree, 812, 0x703, 0x1001);
	frame(m.tree, 0x1002, ANON, m.db);
	present(m.tree, 900, 0x8ff, 0x1002);
	assert_int_equal(stow_culprits_prove(m.tree->root, pfns, 2, &found, NULL), 0);
	assert_int_equal(found.n, 2);
	assert_int_equal(found.list[0].pid, 812);
	assert_string_equal(found.list[0].file, "/memfd:ring buffer");
	assert_string_equal(stow_culprit_format(&found.list[0], line, sizeof(line)),
			    "page 0x1001 (anonymous) of container web, process 812 \"vm\", "
			    "/memfd:ring buffer: pinned: the process has 2Mi pinned (vfio)");
	assert_int_equal(found.list[1].pid, 900);
	assert_string_equal(found.list[1].container, "db");
	assert_string_equal(found.list[1].file, "[heap]");
	assert_non_null(strstr(found.list[1].reason, "something holds a reference"));
}

TEST(a_tail_is_its_heads)
{
	_cleanup_(machine_done) struct machine m;
	_cleanup_(stow_culprits_done) struct stow_culprits found = { 0 };
	const uint64_t pfns[] = { 0x2007 };

	machine_new(&m);
	frame(m.tree, 0x2000, ANON | K(THP) | K(COMPOUND_HEAD), m.db);
	for (uint64_t i = 1; i < 16; i++)
		frame(m.tree, 0x2000 + i, K(COMPOUND_TAIL) | K(THP), 0);
	present(m.tree, 900, 0x807, 0x2007);
	assert_int_equal(stow_culprits_prove(m.tree->root, pfns, 1, &found, NULL), 0);
	assert_int_equal(found.n, 1);
	assert_int_equal(found.list[0].kind, STOW_PAGE_ANON);
	assert_string_equal(found.list[0].container, "db");
	assert_int_equal(found.list[0].pid, 900);
}

/* As under lockdown: the files can be opened, and not read. */
TEST(closes_the_files_that_it_cannot_read)
{
	_cleanup_(machine_done) struct machine m;
	struct stow_culprits found = { 0 };
	const uint64_t pfns[] = { UINT64_MAX / 2 };
	int before, after;

	machine_new(&m);
	frame(m.tree, 0x2000, ANON, m.db);
	before = dup(m.tree->root->fd);
	assert_int_equal(stow_culprits_prove(m.tree->root, pfns, 1, &found, NULL), -ERANGE);
	after = dup(m.tree->root->fd);
	assert_int_equal(after, before + 1);
	close(before);
	close(after);
}

TEST(looks_at_all_processes_when_the_cgroup_has_none)
{
	_cleanup_(machine_done) struct machine m;
	_cleanup_(stow_culprits_done) struct stow_culprits found = { 0 };
	const uint64_t pfns[] = { 0x1001, 0x3000, 0x3001, 0x3002 };
	char line[512];

	machine_new(&m);
	/* Charged to one container and mapped by another's process; charged to none, mapped and
	 * not; the kernel's. */
	present(m.tree, 900, 0x800, 0x1001);
	frame(m.tree, 0x3000, K(LRU) | K(UPTODATE) | K(MMAP), 0);
	present(m.tree, 77, 0x401, 0x3000);
	frame(m.tree, 0x3001, K(LRU) | K(UPTODATE), 0);
	frame(m.tree, 0x3002, K(SLAB), 0);
	assert_int_equal(stow_culprits_prove(m.tree->root, pfns, 4, &found, NULL), 0);
	assert_int_equal(found.n, 4);
	assert_int_equal(found.list[0].pid, 900);
	assert_string_equal(found.list[0].container, "web");
	assert_int_equal(found.list[1].pid, 77);
	assert_string_equal(found.list[1].file, "/usr/bin/daemon");
	assert_string_equal(found.list[1].cgroup, "");
	assert_int_equal(found.list[2].pid, 0);
	assert_non_null(strstr(found.list[2].reason, "page cache in use"));
	assert_non_null(strstr(found.list[2].advice, "drop"));
	assert_int_equal(found.list[3].kind, STOW_PAGE_SLAB);
	assert_string_equal(stow_culprit_format(&found.list[3], line, sizeof(line)),
			    "page 0x3002 (slab): the kernel's own objects (slab) cannot be moved");
}

TEST(names_the_only_one_that_pins)
{
	_cleanup_(machine_done) struct machine m;
	_cleanup_(stow_culprits_done) struct stow_culprits found = { 0 };
	_cleanup_(stow_culprits_done) struct stow_culprits two = { 0 };
	const uint64_t pfns[] = { 0x1001 };

	machine_new(&m);
	/* Mapped by no process: it was freed, or unmapped since. */
	opened(m.tree, 812, 9, "anon_inode:[io_uring]", "02");
	assert_int_equal(stow_culprits_prove(m.tree->root, pfns, 1, &found, NULL), 0);
	assert_int_equal(found.n, 1);
	assert_int_equal(found.list[0].pid, 812);
	assert_string_equal(found.list[0].reason, "pinned: the process has io_uring open");
	opened(m.tree, 811, 9, "/dev/vfio/1", "02");
	assert_int_equal(stow_culprits_prove(m.tree->root, pfns, 1, &two, NULL), 0);
	assert_int_equal(two.list[0].pid, 0);
	assert_string_equal(two.list[0].advice, "restart container web, then try again");
}

TEST(suspects_the_few_pages_that_are_left)
{
	_cleanup_(machine_done) struct machine m;
	_cleanup_(stow_culprits_done) struct stow_culprits found = { 0 };
	_cleanup_(stow_culprits_done) struct stow_culprits many = { 0 };
	uint64_t left;

	machine_new(&m);
	present(m.tree, 812, 0x410, 0x1003);
	assert_int_equal(stow_culprits_left(m.tree->root, 0x1000, 0x2000, &found, &left, NULL), 0);
	assert_int_equal(left, 64);
	assert_true(found.n >= 1);
	for (size_t i = 0; i < found.n; i++) {
		assert_false(found.list[i].proven);
		assert_string_equal(found.list[i].container, "web");
	}
	frame(m.tree, 0x1050, ANON, m.db);
	assert_int_equal(stow_culprits_left(m.tree->root, 0x1000, 0x2000, &many, &left, NULL), 0);
	assert_int_equal(left, 65);
	assert_int_equal(many.n, 0);
	assert_int_equal(stow_culprits_left(m.tree->root, 0x900000, 0x900100, &many, &left, NULL),
			 0);
	assert_int_equal(left, 0);
}

TEST(proves_nothing_without_the_kernels_files)
{
	_cleanup_(machine_done) struct machine m;
	struct stow_culprits found = { 0 };
	const uint64_t pfns[] = { 0x1001 };
	struct stow_err err = { 0 };

	machine_new(&m);
	assert_int_equal(stow_culprits_prove(m.tree->root, pfns, 0, &found, NULL), 0);
	assert_int_equal(found.n, 0);
	stow_culprits_done(&found);
	tree_remove(m.tree, "/proc/kpageflags");
	assert_int_equal(stow_culprits_prove(m.tree->root, pfns, 1, &found, &err), -EOPNOTSUPP);
	assert_int_equal(err.code, EOPNOTSUPP);
}

/* --- suspicion ---------------------------------------------------------------------------------- */

TEST(processes_that_pin_and_unmovable_pages_are_suspects)
{
	_cleanup_(machine_done) struct machine m;
	_cleanup_(stow_culprits_done) struct stow_culprits found = { 0 };
	struct stow_owner owners[3] = { { 0 } };
	struct stow_block_use use = { .id = 48, .owners = owners, .n_owners = 3 };
	char line[512];

	machine_new(&m);
	owners[0].inode = m.web;
	owners[0].pages[STOW_PAGE_ANON] = 10;
	owners[0].pages[STOW_PAGE_FILE] = 90;
	owners[0].pages[STOW_PAGE_TABLE] = 1;
	owners[1].inode = m.db; /* has nothing that would have to move */
	owners[1].pages[STOW_PAGE_SLAB] = 3;
	owners[2].pages[STOW_PAGE_SLAB] = 5;
	use.pages[STOW_PAGE_SLAB] = 8;
	use.pages[STOW_PAGE_TABLE] = 1;
	process(m.tree, 812, "vm", "VmLck:\t       0 kB\nVmPin:\t    2048 kB\n");
	process(m.tree, 811, "locker", "VmLck:\t    4096 kB\nVmPin:\t       0 kB\n");
	process(m.tree, 900, "db", "VmLck:\t       0 kB\nVmPin:\t    2048 kB\n");
	assert_int_equal(stow_culprits_suspect(m.tree->root, &use, &found, NULL), 0);
	assert_int_equal(found.n, 3);
	assert_int_equal(found.list[0].pid, 812);
	assert_false(found.list[0].proven);
	assert_int_equal(found.list[0].pages, 100);
	assert_int_equal(found.list[0].inode, m.web);
	assert_int_equal(found.list[0].kind, STOW_PAGE_FILE);
	assert_string_equal(stow_culprit_format(&found.list[0], line, sizeof(line)),
			    "process 812 \"vm\" of container web: may be in the way: it has 2Mi "
			    "pinned");
	assert_int_equal(found.list[1].kind, STOW_PAGE_SLAB);
	assert_string_equal(found.list[1].cgroup, "");
	assert_string_equal(stow_culprit_format(&found.list[1], line, sizeof(line)),
			    "8 pages (slab): the kernel's own objects (slab) cannot be moved");
	assert_int_equal(found.list[2].kind, STOW_PAGE_TABLE);
	assert_string_equal(stow_culprit_format(&found.list[2], line, sizeof(line)),
			    "1 page (page-table) of container web: page tables cannot be moved");
	stow_culprits_done(&found);
	/* Locked memory is worth a word where some is. */
	use.unevictable = 4;
	assert_int_equal(stow_culprits_suspect(m.tree->root, &use, &found, NULL), 0);
	assert_int_equal(found.n, 4);
	assert_int_equal(found.list[0].pid, 811);
	assert_non_null(strstr(found.list[0].reason, "4Mi locked"));
}

/* The processes of one container cannot be listed: it may have too many cgroups, or too deep ones. */
TEST(one_unlisted_container_hides_no_other)
{
	_cleanup_(machine_done) struct machine m;
	_cleanup_(stow_culprits_done) struct stow_culprits found = { 0 };
	const uint64_t pfns[] = { 0x1003, 0x1080 };
	struct stow_owner owners[2] = { { 0 } };
	struct stow_block_use use = { .id = 48, .owners = owners, .n_owners = 2 };
	char path[4096];

	machine_new(&m);
	snprintf(path, sizeof(path),
		 "%s" MEMORY "/machine.slice/libpod-web.scope/container/cgroup.procs", m.tree->dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	present(m.tree, 812, 0x410, 0x1003);
	present(m.tree, 900, 0x800, 0x1080);
	frame(m.tree, 0x1080, ANON, m.db);
	assert_int_equal(stow_culprits_prove(m.tree->root, pfns, 2, &found, NULL), 0);
	assert_int_equal(found.n, 2);
	assert_int_equal(found.list[0].pid, 812);
	assert_int_equal(found.list[1].pid, 900);
	stow_culprits_done(&found);
	owners[0].inode = m.web;
	owners[1].inode = m.db;
	owners[0].pages[STOW_PAGE_ANON] = owners[1].pages[STOW_PAGE_ANON] = 10;
	process(m.tree, 900, "db", "VmLck:\t       0 kB\nVmPin:\t    2048 kB\n");
	assert_int_equal(stow_culprits_suspect(m.tree->root, &use, &found, NULL), 0);
	assert_int_equal(found.n, 1);
	assert_int_equal(found.list[0].pid, 900);
}
