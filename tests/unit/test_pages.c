// SPDX-License-Identifier: Apache-2.0
/* Where pages are, by /proc/PID/numa_maps; which processes have them; how many are moved at once.
 * The virtual machines test the moving itself. */
#include "unit.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "cgroup/procs.h"
#include "pages/move.h"
#include "pages/numa_maps.h"
#include "tree.h"

static struct stow_idset set_of(const char *list)
{
	struct stow_idset set;

	assert_int_equal(stow_idset_parse(list, &set, NULL), 0);
	return set;
}

static struct stow_numa_map line(const char *text, const char *nodes)
{
	struct stow_idset set = set_of(nodes);
	struct stow_numa_map map;

	assert_int_equal(stow_numa_maps_line(text, &set, &map), 0);
	return map;
}

TEST(pages_of_the_asked_nodes_count)
{
	static const char text[] = "55d0c2b7d000 default heap anon=10 dirty=10 active=0 N0=3 N1=2 "
				   "N10=5 kernelpagesize_kB=4\n";

	assert_int_equal(line(text, "0").pages, 3);
	assert_int_equal(line(text, "1").pages, 2);
	assert_int_equal(line(text, "0-1").pages, 5);
	assert_int_equal(line(text, "10").pages, 5);
	assert_int_equal(line(text, "0-15").pages, 10);
	assert_int_equal(line(text, "2-9").pages, 0);
	assert_int_equal(line(text, "").pages, 0);
	assert_true(line(text, "0").start == UINT64_C(0x55d0c2b7d000));
	assert_int_equal(line(text, "0").page_size, 4096);
}

TEST(huge_pages_have_their_size)
{
	static const char text[] = "7f2a00000000 bind:0,3 file=/anon_hugepage\\040(deleted) huge "
				   "anon=4 dirty=4 N3=4 kernelpagesize_kB=2048";

	assert_int_equal(line(text, "3").page_size, 2 << 20);
	assert_int_equal(line(text, "3").pages, 4);
	/* A mapping without pages does not say. */
	assert_int_equal(line("7ffd5b200000 default", "0").page_size, 4096);
	assert_int_equal(line("7ffd5b200000 default N0=1 kernelpagesize_kB=0", "0").page_size,
			 4096);
}

/* The kernel escapes what would be a word of its own in a file's name. */
TEST(names_are_no_numbers)
{
	assert_int_equal(line("1000 default file=/tmp/N0=7 N0=1", "0").pages, 1);
	assert_int_equal(line("1000 default file=/tmp/a\\040N0\\0757 N0=1", "0").pages, 1);
	assert_int_equal(
		line("1000 default file=/N0 N=9 N0= N0=x N0=-1 Nx=1 XN0=1 n0=1", "0").pages, 0);
	assert_int_equal(line("1000 default N99999999999999999999=1 N8192=1 N0=1", "0").pages, 1);
	assert_int_equal(line("1000 default N0=18446744073709551616", "0").pages, 0);
}

TEST(a_long_name_hides_nothing_behind_it)
{
	char text[1024];

	for (size_t len = 250; len < 262; len++) {
		int n = snprintf(text, sizeof(text), "1000 default file=/");

		memset(text + n, 'a', len);
		snprintf(text + (size_t)n + len, 64, " N0=1 kernelpagesize_kB=4");
		assert_int_equal(line(text, "0").pages, 1);
	}
}

TEST(what_is_no_line_is_refused)
{
	static const char *const bad[] = {
		"", "\n", "default N0=1", "x", "1000", "1000\tdefault", "fffffffffffffffff default"
	};
	struct stow_idset nodes = set_of("0");
	struct stow_numa_map map;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++)
		assert_int_equal(stow_numa_maps_line(bad[i], &nodes, &map), -EINVAL);
}

TEST(mappings_have_ends)
{
	static const char *const bad[] = { "",
					   "1000",
					   "1000-",
					   "1000-x r",
					   "1000 2000 r",
					   "-2000 r",
					   "1000-2000",
					   "1000-fffffffffffffffff r" };
	const char *p = "7f2a00000000-7f2a00021000 rw-p 00000000 00:00 0\n";
	uint64_t start, end;

	assert_true(stow_maps_scan(&p, &start, &end));
	assert_true(start == UINT64_C(0x7f2a00000000) && end == UINT64_C(0x7f2a00021000));
	assert_string_equal(p, " rw-p 00000000 00:00 0\n");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		p = bad[i];
		assert_false(stow_maps_scan(&p, &start, &end));
	}
}

TEST(a_process_is_summed_up)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_idset nodes = set_of("1");
	struct stow_err err;
	uint64_t bytes;

	tree_write(t, "/proc/7/numa_maps",
		   "1000 default file=/bin/x mapped=2 N0=1 N1=2 kernelpagesize_kB=4\n"
		   "not a line\n"
		   "2000 default huge N1=3 kernelpagesize_kB=2048\n"
		   "3000 default\n"
		   "4000 default stack N1=1 kernelpagesize_kB=4");
	assert_int_equal(stow_pages_mapped(t->root, 7, &nodes, &bytes, &err), 0);
	assert_int_equal(bytes, 3 * 4096 + 3 * (2 << 20));
	tree_write(t, "/proc/7/numa_maps", "%s", "");
	assert_int_equal(stow_pages_mapped(t->root, 7, &nodes, &bytes, &err), 0);
	assert_int_equal(bytes, 0);
	assert_int_equal(stow_pages_mapped(t->root, 8, &nodes, &bytes, &err), -ESRCH);
	assert_non_null(strstr(err.msg, "process 8 has ended"));
}

TEST(pages_on_other_nodes_are_counted_apart)
{
	static const char text[] = "1000 default anon=9 N0=3 N1=2 N2=4 kernelpagesize_kB=4";

	assert_int_equal(line(text, "0").others, 6);
	assert_int_equal(line(text, "0-1").others, 4);
	assert_int_equal(line(text, "0-2").others, 0);
	assert_int_equal(line("1000 default file=/tmp/N7=7 N0=1", "0").others, 0);
}

/* --- the size of a batch ------------------------------------------------------------------------ */

#define MIB UINT64_C(1048576)
#define MS  STOW_MILLISECOND

/* A machine on which a call waits for `wait` ns and then moves one MiB in `per_mib`. */
static uint64_t settled(struct stow_page_move *move, uint64_t wait, uint64_t per_mib)
{
	uint64_t bytes = 4 * MIB;

	for (int i = 0; i < 30; i++)
		bytes = stow_pages_next_batch(move, bytes, wait + bytes / MIB * per_mib);
	return bytes;
}

TEST(a_batch_grows_to_what_a_slice_moves)
{
	struct stow_page_move quick = { 0 }, slow = { 0 }, asked = { .slice = 20 * MS };

	/* It doubles at most: one quick call proves little. */
	assert_int_equal(stow_pages_next_batch(&quick, 4 * MIB, 1), 8 * MIB);
	assert_in_range(settled(&quick, 0, MS), 90 * MIB, 100 * MIB);
	assert_in_range(settled(&asked, 0, MS), 18 * MIB, 20 * MIB);
	/* 50 ms a MiB: whether that is waiting cannot be told yet, but it stays below a second. */
	assert_in_range(settled(&slow, 0, 50 * MS), 2 * MIB, 16 * MIB);
	assert_int_equal(settled(&(struct stow_page_move){ 0 }, 0, 0), 1024 * MIB);
}

/* Where each call waits for long before it moves anything, smaller ones would only wait more. */
TEST(waiting_makes_no_small_batches)
{
	struct stow_page_move move = { 0 };

	assert_true(settled(&move, 50 * MS, MS) >= 100 * MIB);
	/* But a cancellation must not take long. */
	assert_true(settled(&(struct stow_page_move){ 0 }, 1000 * MS, 100 * MS) <= 16 * MIB);
}

TEST(a_small_batch_changes_the_size_little)
{
	struct stow_page_move move = { 0 };
	uint64_t bytes = settled(&move, 2 * MS, MS);

	/* The last pages of a process, at the price of a whole call. */
	assert_int_equal(stow_pages_next_batch(&move, 4096, 2 * MS), bytes);
	/* A call that took twice too long halves the next one; one that was held up, a quarter. */
	assert_in_range(stow_pages_next_batch(&move, bytes, 200 * MS), bytes * 2 / 5,
			bytes * 3 / 5);
	bytes = move.pace.bytes;
	assert_int_equal(stow_pages_next_batch(&move, bytes, 60000 * MS), bytes / 4);
}

/* --- what the kernel left out ------------------------------------------------------------------- */

static size_t goes_on_at(const int *status, size_t begin, size_t n)
{
	size_t next = 0;

	return stow_pages_gave_up(status, begin, n, &next) ? next : 0;
}

/* u: of that page the kernel says nothing; 1: it is on that node; -16: why it did not take it. */
TEST(behind_a_page_that_stays_it_goes_on)
{
	enum { u = STOW_PAGES_UNTRIED };
	const int row[] = { u, u, -16, u, u, u }, later[] = { 1, 1, u, 1, u, u },
		  whole[] = { u, u, u, u, u, u }, end[] = { 1, 1, -16, u, u, u },
		  all[] = { 1, 1, -16, 1, 1, 1 }, last[] = { 1, u, u, u, u, -16 };

	assert_int_equal(goes_on_at(row, 0, 6), 3);
	assert_int_equal(goes_on_at(later, 0, 6), 4);
	assert_int_equal(goes_on_at(later, 2, 6), 4);
	assert_int_equal(goes_on_at(later, 4, 6), 0);
	/* The row that failed was the last one: all of it has been tried. */
	assert_int_equal(goes_on_at(whole, 0, 6), 0);
	assert_int_equal(goes_on_at(end, 0, 6), 0);
	assert_int_equal(goes_on_at(all, 0, 6), 0);
	assert_int_equal(goes_on_at(last, 0, 6), 0);
	assert_int_equal(goes_on_at(all, 0, 0), 0);
}

/* --- the processes of a cgroup ------------------------------------------------------------------ */

static char *pids_text(struct tree *t, const char *path, const char *border)
{
	_cleanup_free_ pid_t *pids = NULL;
	char *text = calloc(1, 4096);
	struct stow_err err = { 0 };
	size_t n = 0;

	assert_non_null(text);
	if (stow_cgroup_pids_below(t->root, path, border, &pids, &n, &err) < 0) {
		snprintf(text, 4096, "%s", err.msg);
		return text;
	}
	for (size_t i = 0; i < n; i++)
		snprintf(text + strlen(text), 4096 - strlen(text), "%s%d", i ? " " : "",
			 (int)pids[i]);
	return text;
}

static void assert_pids(struct tree *t, const char *path, const char *border, const char *expected)
{
	_cleanup_free_ char *text = pids_text(t, path, border);

	assert_string_equal(text, expected);
}

/* The kernel has no cgroup.procs for a threaded cgroup: this one is never read. */
static int threaded(void *ctx, const char *path, const char *value)
{
	return strcmp(path, ctx) == 0 ? -EOPNOTSUPP : 0;
}

TEST(the_whole_subtree_has_the_processes)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();

	tree_write(t, "/c/cgroup.procs", "%s", "");
	tree_write(t, "/c/init.scope/cgroup.procs", "31\n7\n");
	tree_write(t, "/c/system.slice/cgroup.procs", "%s", "");
	tree_write(t, "/c/system.slice/a.service/cgroup.procs", "4000000\n0\n");
	tree_write(t, "/c/system.slice/a.service/.x/cgroup.procs", "9\n");
	tree_write(t, "/other/cgroup.procs", "1\n");
	assert_pids(t, "/c", NULL, "7 9 31 4000000");
	/* v1: threads of one process in two cgroups. */
	tree_write(t, "/c/init.scope/cgroup.procs", "31\n9\n31\n");
	assert_pids(t, "/c", NULL, "9 31 4000000");
	/* Another controller's border. */
	tree_write(t, "/c/system.slice/a.service/memory.stat", "anon 0\n");
	assert_pids(t, "/c", "memory.stat", "9 31");
	/* A folder that has gone between the look above it and now has no files. */
	tree_mkdir(t, "/c/gone");
	assert_pids(t, "/c", "memory.stat", "9 31");
	assert_pids(t, "/c/init.scope", NULL, "9 31");
}

TEST(a_threaded_cgroups_processes_are_above_it)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	const struct stow_root_ops below = { (void *)"/c/workers/cgroup.procs", threaded, NULL };
	const struct stow_root_ops top = { (void *)"/c/cgroup.procs", threaded, NULL };

	tree_write(t, "/c/cgroup.procs", "5\n");
	tree_write(t, "/c/workers/cgroup.procs", "6\n");
	tree_write(t, "/c/workers/cgroup.threads", "51\n52\n");
	tree_write(t, "/c/workers/w1/cgroup.procs", "8\n");
	t->root->ops = &below;
	assert_pids(t, "/c", NULL, "5 8");
	/* With nothing above that says more, its threads stand for its processes. */
	tree_write(t, "/c/cgroup.threads", "5\n53\n");
	t->root->ops = &top;
	assert_pids(t, "/c", NULL, "5 6 8 53");
	/* "domain invalid": no processes, and no list of threads either. */
	tree_remove(t, "/c/cgroup.threads");
	assert_pids(t, "/c", NULL, "6 8");
	t->root->ops = NULL;
}

TEST(the_number_and_depth_of_cgroups_are_bounded)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	char path[64], name[201], deep[4400] = "/d";
	_cleanup_free_ char *text = NULL;

	tree_write(t, "/c/cgroup.procs", "5\n");
	for (int i = 0; i < 129; i++) {
		snprintf(path, sizeof(path), "/c/%d", i);
		tree_mkdir(t, path);
	}
	assert_pids(t, "/c", NULL, "5");
	for (int i = 0; i < 129 * 128; i++) {
		snprintf(path, sizeof(path), "/c/%d/%d", i / 128, i % 128);
		tree_mkdir(t, path);
	}
	assert_pids(t, "/c", NULL, "more than 16384 cgroups below one container's");

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (int i = 0; i < 18; i++)
		snprintf(deep + strlen(deep), sizeof(deep) - strlen(deep), "/%s", name);
	tree_mkdir(t, deep);
	tree_write(t, "/d/cgroup.procs", "5\n");
	assert_pids(t, "/d", NULL, "5");
}

TEST(a_cgroup_that_has_gone_is_an_error)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_free_ pid_t *pids = NULL;
	struct stow_err err = { 0 };
	size_t n = 0;

	assert_int_equal(stow_cgroup_pids_below(t->root, "/c", NULL, &pids, &n, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/c/cgroup.procs"));
}

TEST(another_machines_pages_stay)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_page_move move = { .from = set_of("0"), .to = set_of("1"), .batch = 4096 };
	struct stow_err err;

	tree_write(t, "/proc/self/mountinfo",
		   "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	tree_write(t, "/sys/fs/cgroup/a/cgroup.procs", "7\n");
	tree_write(t, "/proc/7/cgroup", "0::/a\n");
	tree_write(t, "/proc/7/stat", "7 (x) S%s\n", " 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1");
	tree_write(t, "/proc/7/numa_maps", "1000 default N0=1\n");
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &cgroup, NULL), 0);
	assert_int_equal(stow_pages_move_all(t->root, cgroup, &move, &err), -ENOTSUP);
	assert_int_equal(move.moved, 0);
}

/* --- as numastat divides them ---------------------------------------------- */

static int add(const char *text, struct stow_process_pages *pages)
{
	size_t len = strlen(text);
	_cleanup_free_ char *copy = malloc(len ? len : 1);

	memcpy(copy, text, len);
	return stow_process_pages_add(copy, len, pages);
}

TEST(pages_are_divided_as_numastat_does)
{
	_cleanup_(stow_process_pages_done) struct stow_process_pages pages = { 0 };

	assert_int_equal(add("00400000 interleave:0-1 file=/bin/heap\\040huge mapped=126 active=0 "
			     "N0=63 N1=63 kernelpagesize_kB=4",
			     &pages),
			 0);
	assert_int_equal(add("004b5000 default heap anon=3 dirty=3 active=1 N0=1 N1=2 "
			     "kernelpagesize_kB=4",
			     &pages),
			 0);
	/* The size of a page is behind the pages, and is not the default one. */
	assert_int_equal(add("7f0000000000 bind:0,3 file=/anon_hugepage\\040(deleted) huge anon=4 "
			     "dirty=4 N3=4 kernelpagesize_kB=1048576",
			     &pages),
			 0);
	assert_int_equal(add("7ffffffde000 prefer (many):0 stack anon=17 mapmax=2 N0=9 N1=8 "
			     "kernelpagesize_kB=4",
			     &pages),
			 0);
	assert_int_equal(add("7ffff5e00000 weighted interleave:0 file=/dev/zero\\040(deleted) "
			     "dirty=5 mapmax=3 N1=5 kernelpagesize_kB=64",
			     &pages),
			 0);
	assert_int_equal(add("7ffff7ff9000 local", &pages), 0);
	assert_int_equal(pages.n_nodes, 4);
	assert_int_equal(pages.nodes[0].kinds[STOW_PAGES_PRIVATE], 63 * 4096);
	assert_int_equal(pages.nodes[0].file, 63 * 4096);
	assert_int_equal(pages.nodes[0].shared, 0);
	assert_int_equal(pages.nodes[1].kinds[STOW_PAGES_HEAP], 2 * 4096);
	assert_true(pages.nodes[3].kinds[STOW_PAGES_HUGE] == UINT64_C(4) << 30);
	assert_int_equal(pages.nodes[3].file, 0);
	assert_int_equal(pages.nodes[0].kinds[STOW_PAGES_STACK], 9 * 4096);
	assert_int_equal(pages.nodes[1].shared, 5 * 65536); /* of what is private */
	assert_int_equal(pages.nodes[1].file, 5 * 65536 + 63 * 4096);
	assert_int_equal(stow_process_pages_on(&pages, 0), (63 + 1 + 9) * 4096);
	assert_int_equal(stow_process_pages_on(&pages, 2), 0);
	assert_int_equal(stow_process_pages_on(&pages, 4), 0);
}

TEST(lines_that_are_no_mappings)
{
	static const char *const bad[] = { "",		 " ",
					   "7f00",	 "7g00 default N0=1",
					   "-1 default", "0x7f00 default N0=1" };
	_cleanup_(stow_process_pages_done) struct stow_process_pages pages = { 0 };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++)
		assert_int_equal(add(bad[i], &pages), -EINVAL);
	assert_int_equal(pages.n_nodes, 0);
	/* Numbers that are none, and nodes beyond every kernel's. */
	assert_int_equal(
		add("7f00 default N0= N=5 Nx=1 N8192=1 N1=2x N99999999999999999999=1", &pages), 0);
	assert_int_equal(pages.n_nodes, 0);
	assert_int_equal(add("7f00 default N8191=18446744073709551615 kernelpagesize_kB=4", &pages),
			 0);
	assert_int_equal(add("7f00 default N8191=1 kernelpagesize_kB=18446744073709551615", &pages),
			 0);
	assert_int_equal(pages.n_nodes, 8192);
	assert_true(stow_process_pages_on(&pages, 8191) == UINT64_MAX);
}

TEST(a_whole_process_is_read)
{
	_cleanup_(stow_process_pages_done) struct stow_process_pages pages = { 0 };
	_cleanup_(tree_free_ptr) struct tree *tree = tree_new();
	struct stow_err err = { 0 };

	assert_int_equal(stow_process_pages_read(tree->root, 7, &pages, &err), -ESRCH);
	tree_write(tree, "/proc/7/numa_maps",
		   "00400000 default file=/bin/x N0=1 kernelpagesize_kB=4\n"
		   "garbage\n"
		   "7f0000000000 default anon=2 N0=2 kernelpagesize_kB=4\n");
	assert_int_equal(stow_process_pages_read(tree->root, 7, &pages, &err), 0);
	assert_int_equal(stow_process_pages_on(&pages, 0), 3 * 4096);
	assert_int_equal(pages.other_lines, 1);
	stow_process_pages_done(&pages);
	tree_write(tree, "/proc/7/numa_maps", "%s", ""); /* a kernel thread */
	assert_int_equal(stow_process_pages_read(tree->root, 7, &pages, &err), 0);
	assert_int_equal(pages.n_nodes, 0);
}
