// SPDX-License-Identifier: Apache-2.0
/* numastow top: what comes of two readings, which containers are shown and how, what reading pages
 * may cost, and what fits a screen. */
#include "unit.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fit.h"
#include "cli/view/top_frame.h"
#include "played.h"

#define GIB    (UINT64_C(1) << 30)
#define MIB    (UINT64_C(1) << 20)
#define FOUND  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PODMAN "/var/lib/containers/storage/overlay-containers/containers.json"

static bool near(double value, double wanted)
{
	return value > wanted - 0.01 && value < wanted + 0.01;
}

/* --- arithmetic ------------------------------------------------------------------ */

TEST(rates_and_shares)
{
	assert_true(near(top_rate(100, 350, 5 * STOW_SECOND), 50));
	assert_true(near(top_rate(7, 7, STOW_SECOND), 0));
	assert_true(top_rate(STOW_UNKNOWN, 7, STOW_SECOND) < 0);
	assert_true(top_rate(7, STOW_UNKNOWN, STOW_SECOND) < 0);
	assert_true(top_rate(8, 7, STOW_SECOND) < 0); /* counted anew */
	assert_true(top_rate(7, 8, 0) < 0);
	assert_true(near(top_share(10, 40, 100, 200), 30));
	assert_true(near(top_share(10, 400, 100, 200), 100));
	assert_true(top_share(10, 10, 200, 200) < 0); /* of nothing */
	assert_true(top_share(10, 9, 100, 200) < 0);
	assert_true(top_share(STOW_UNKNOWN, 9, 100, 200) < 0);
	assert_true(top_share(1, 9, 100, STOW_UNKNOWN) < 0);
}

/* --- the machine ------------------------------------------------------------------- */

static void write_counters(struct tree *t, int node, unsigned int hits, unsigned int misses)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/numastat", node);
	tree_write(t, path,
		   "numa_hit %u\nnuma_miss %u\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 1\n"
		   "other_node 1\n",
		   hits, misses);
}

static void write_times(struct tree *t, unsigned int busy, unsigned int idle)
{
	char text[2048];
	int len = snprintf(text, sizeof(text), "cpu  1 1 1 1\n");

	/* Of node 0 as asked for; those of node 1 have never been busy. */
	for (int cpu = 0; cpu < 8; cpu++)
		len += snprintf(text + len, sizeof(text) - (size_t)len,
				"cpu%d %u 0 0 %u 0 0 0 0 5 0\n", cpu, cpu < 4 ? busy : 0,
				cpu < 4 ? idle : busy + idle);
	tree_write(t, "/proc/stat", "%sintr 1 2 3\n", text);
}

TEST(two_readings)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(top_machine_done) struct top_machine a = { 0 }, b = { 0 };

	played_nodes(t);
	write_counters(t, 0, 1000, 5);
	write_counters(t, 1, 2000, 0);
	write_times(t, 100, 100);
	tree_write(t, "/proc/vmstat", "numa_hint_faults 100\nnuma_hint_faults_local 90\n");
	tree_write(t, "/proc/sys/kernel/numa_balancing", "1\n");
	tree_write(t, "/proc/pressure/memory",
		   "some avg10=1.50 avg60=0.00 avg300=0.00 total=5\n"
		   "full avg10=0.25 avg60=0.00 avg300=0.00 total=1\n");
	assert_int_equal(top_machine_read(t->root, NULL, &a, NULL), 0);
	write_counters(t, 0, 1500, 55);
	write_times(t, 175, 125);
	tree_write(t, "/proc/vmstat", "numa_hint_faults 200\nnuma_hint_faults_local 115\n");
	assert_int_equal(top_machine_read(t->root, NULL, &b, NULL), 0);

	assert_int_equal(b.n_nodes, 2);
	assert_int_equal(b.nodes[1].node, 1);
	assert_int_equal(b.nodes[1].n_cpus, 4);
	assert_true(b.nodes[0].total == 16 * GIB);
	assert_true(b.nodes[0].free == 16000000 * UINT64_C(1024));
	assert_true(near(
		top_share(a.nodes[0].busy, b.nodes[0].busy, a.nodes[0].all, b.nodes[0].all), 75));
	assert_true(near(
		top_share(a.nodes[1].busy, b.nodes[1].busy, a.nodes[1].all, b.nodes[1].all), 0));
	assert_true(near(top_rate(a.nodes[0].counters[STOW_NUMA_HIT],
				  b.nodes[0].counters[STOW_NUMA_HIT], 10 * STOW_SECOND),
			 50));
	assert_true(near(top_share(a.counters[STOW_NUMA_HINT_FAULTS_LOCAL],
				   b.counters[STOW_NUMA_HINT_FAULTS_LOCAL],
				   a.counters[STOW_NUMA_HINT_FAULTS],
				   b.counters[STOW_NUMA_HINT_FAULTS]),
			 25));
	assert_true(b.balancing == 1 && b.counted && b.memory.known && !b.cpu.known);
	assert_int_equal(b.memory.psi.some.avg10, 150);
	assert_true(b.nodes[0].remote == STOW_UNKNOWN);
	assert_ptr_equal(top_machine_node(&b, 1), &b.nodes[1]);
	assert_null(top_machine_node(&b, 7));
}

TEST(a_machine_with_few_files_is_read)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(top_machine_done) struct top_machine machine = { 0 };
	struct top_pmu pmu;

	assert_int_equal(top_machine_read(t->root, NULL, &machine, NULL), -ENODATA);
	tree_mkdir(t, "/sys/devices/system/node/node3");
	tree_write(t, "/proc/stat", "cpux 1\n");
	assert_int_equal(top_machine_read(t->root, NULL, &machine, NULL), 0);
	assert_int_equal(machine.n_nodes, 1);
	assert_true(machine.nodes[0].total == STOW_UNKNOWN && machine.nodes[0].all == 0);
	assert_true(machine.nodes[0].counters[STOW_NUMA_HIT] == STOW_UNKNOWN);
	assert_true(machine.balancing == STOW_UNKNOWN);
	assert_int_equal(machine.nodes[0].pressure, STOW_PRESSURE_UNKNOWN);
	top_pmu_open(t->root, &machine.cpus, &pmu);
	assert_string_equal(pmu.why, "a copied tree has none");
	assert_true(top_pmu_read(&pmu, &machine.cpus) == STOW_UNKNOWN);
	top_pmu_done(&pmu);
}

/* --- containers ---------------------------------------------------------------------- */

static void write_memory(struct tree *t, const char *cgroup, uint64_t n0, uint64_t n1)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/memory.numa_stat", cgroup);
	tree_write(t, path, "anon N0=%llu N1=%llu\nfile N0=0 N1=0\nanon_thp N0=9 N1=9\n",
		   (unsigned long long)n0, (unsigned long long)n1);
}

static void write_used(struct tree *t, const char *cgroup, unsigned int us)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/cpu.stat", cgroup);
	tree_write(t, path, "usage_usec %u\nuser_usec 1\n", us);
}

/* A container that no hook has seen; Podman gives it a name that wants to move the cursor. */
static void write_found(struct tree *t)
{
	const char *base = "/sys/fs/cgroup/machine.slice/libpod-" FOUND ".scope";
	char path[256];

	snprintf(path, sizeof(path), "%s/cgroup.events", base);
	tree_write(t, path, "populated 1\n");
	snprintf(path, sizeof(path), "%s/cgroup.procs", base);
	tree_write(t, path, "%s", "");
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/cpuset.%s", base, i ? "mems" : "cpus");
		tree_write(t, path, "\n");
		snprintf(path, sizeof(path), "%s/cpuset.%s.effective", base, i ? "mems" : "cpus");
		tree_write(t, path, i ? "0-1\n" : "0-7\n");
	}
	snprintf(path, sizeof(path), "%s/memory.max", base);
	tree_write(t, path, "max\n");
	write_memory(t, "machine.slice/libpod-" FOUND ".scope", 64 * MIB, 0);
	tree_write(t, PODMAN, "[{\"id\":\"" FOUND "\",\"names\":[\"a\\u001b[2Jb\"]}]\n");
}

static struct played *machine_with_containers(struct top_view *view)
{
	struct played *p = played_new();

	*view = (struct top_view){ .sort = TOP_MEMORY, .delay = STOW_SECOND };
	/* The kernel's sign of the memory controller. */
	tree_write(p->t, "/sys/fs/cgroup/web/memory.max", "max\n");
	tree_write(p->t, "/sys/fs/cgroup/db/memory.max", "max\n");
	played_container(p, 100, "web", 0, 2, GIB, true);
	played_container(p, 101, "db", 1, 1, 2 * GIB, false);
	write_memory(p->t, "web", 300 * MIB, 100 * MIB);
	write_memory(p->t, "db", 0, GIB);
	write_used(p->t, "web", 1000);
	write_found(p->t);
	view->source.root = p->t->root;
	top_pmu_open(p->t->root, &(struct stow_idset){ 0 }, &view->pmu);
	assert_int_equal(top_view_read(view, NULL), 0);
	return p;
}

static void end(struct played *p, struct top_view *view)
{
	top_view_done(view);
	played_free(p);
}

static const struct top_container *container(const struct top_view *view, const char *id)
{
	for (size_t i = 0; i < view->source.n; i++)
		if (strcmp(view->source.list[i].it.id, id) == 0)
			return &view->source.list[i];
	return NULL;
}

TEST(containers_are_read)
{
	struct top_view view;
	struct played *p = machine_with_containers(&view);
	const struct top_container *web = container(&view, "web"), *db = container(&view, "db");
	const struct top_container *found = container(&view, FOUND);
	char label[13];

	assert_int_equal(view.source.n, 3);
	assert_true(web->granted && web->exclusive && web->cpus == 2 && web->memory == GIB);
	assert_true(stow_idset_has(&web->nodes, 0) && !stow_idset_has(&web->nodes, 1));
	assert_true(web->total == 400 * MIB && web->off == 100 * MIB);
	assert_true(near(top_container_off(web), 25));
	assert_true(db->granted && !db->exclusive && db->total == GIB);
	assert_true(near(top_container_off(db), 0));
	/* Without a grant: where it may have memory. */
	assert_true(!found->granted && found->memory == STOW_UNKNOWN);
	assert_true(found->total == 64 * MIB && near(top_container_off(found), 0));
	assert_string_equal(cli_container_label(&found->it, label, sizeof(label)), "a?[2Jb");
	assert_string_equal(cli_container_label(&web->it, label, sizeof(label)), "web");
	assert_true(top_container_busy(web) < 0); /* of one reading */
	end(p, &view);
}

/* What was read before is kept as long as a container is the same one. */
TEST(containers_come_and_go)
{
	struct top_view view;
	struct played *p = machine_with_containers(&view);

	write_used(p->t, "web", 501000);
	write_memory(p->t, "web", 0, 100 * MIB);
	assert_int_equal(top_view_read(&view, NULL), 0);
	assert_true(container(&view, "web")->cpu_us_before == 1000);
	assert_true(top_container_busy(container(&view, "web")) > 0);
	assert_true(near(top_container_off(container(&view, "web")), 100));
	assert_true(top_container_busy(container(&view, "db")) < 0); /* has no such file */

	played_container(p, 102, "new", 1, 1, GIB, false);
	assert_int_equal(top_view_read(&view, NULL), 0);
	assert_int_equal(view.source.n, 4);
	assert_non_null(container(&view, "new"));
	assert_true(container(&view, "web")->cpu_us_before == 501000);

	tree_write(p->t, "/sys/fs/cgroup/machine.slice/libpod-" FOUND ".scope/cgroup.events",
		   "populated 0\n");
	tree_remove(p->t, "/sys/fs/cgroup/machine.slice");
	assert_int_equal(top_view_read(&view, NULL), 0);
	assert_null(container(&view, FOUND));
	assert_int_equal(view.source.n, 3);
	end(p, &view);
}

static void order_is(const struct top_view *view, const char *wanted)
{
	_cleanup_free_ const struct top_container **list = NULL;
	char text[256] = "";
	size_t n;

	list = top_view_order(view, &n);
	assert_non_null(list);
	for (size_t i = 0; i < n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.4s", i ? " " : "",
			 list[i]->it.id);
	assert_string_equal(text, wanted);
}

TEST(containers_are_sorted_and_filtered)
{
	static const struct {
		enum top_sort sort;
		const char *order;
	} wanted[] = {
		{ TOP_MEMORY, "db web 0123" },	 { TOP_NAME, "0123 db web" },
		{ TOP_PROMISED, "db web 0123" }, { TOP_OFF_NODE, "web 0123 db" },
		{ TOP_CPUS, "web db 0123" },	 { TOP_GRANT, "web db 0123" },
		{ TOP_NODES, "0123 web db" },	 { TOP_BUSY, "0123 db web" },
	};
	struct top_view view;
	struct played *p = machine_with_containers(&view);

	for (size_t i = 0; i < STOW_ARRAY_SIZE(wanted); i++) {
		view.sort = wanted[i].sort;
		order_is(&view, wanted[i].order);
	}
	view.sort = TOP_MEMORY;
	view.reverse = true;
	order_is(&view, "0123 web db");
	snprintf(view.filter, sizeof(view.filter), "b");
	order_is(&view, "0123 web db");
	snprintf(view.filter, sizeof(view.filter), "we");
	order_is(&view, "web");
	snprintf(view.filter, sizeof(view.filter), "2Jb"); /* of its name */
	order_is(&view, "0123");
	snprintf(view.filter, sizeof(view.filter), "none");
	order_is(&view, "");
	end(p, &view);
}

/* --- pages ------------------------------------------------------------------------------ */

TEST(credit_is_a_twentieth)
{
	struct top_pages pages = { 0 };

	top_pages_earn(&pages, 100 * STOW_SECOND);
	assert_true(pages.credit == 0);
	top_pages_earn(&pages, 102 * STOW_SECOND);
	assert_true(pages.credit == (int64_t)(100 * STOW_MILLISECOND));
	pages.credit = -(int64_t)STOW_SECOND;
	top_pages_earn(&pages, 112 * STOW_SECOND);
	assert_true(pages.credit == -(int64_t)(500 * STOW_MILLISECOND));
	/* An hour without a reading does not allow minutes of work. */
	top_pages_earn(&pages, 4000 * STOW_SECOND);
	assert_true(pages.credit == (int64_t)(500 * STOW_MILLISECOND));
}

static int count_maps(void *ctx, const char *path, const char *value)
{
	unsigned int *count = ctx;

	*count += strstr(path, "/numa_maps") != NULL;
	return 0;
}

TEST(only_what_is_selected_is_read)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	unsigned int count = 0;
	const struct stow_root_ops ops = { .ctx = &count, .before = count_maps };
	const int nodes[] = { 0, 1 };
	struct top_pages pages = { 0 };

	t->root->ops = &ops;
	tree_write(t, "/proc/100/numa_maps", "7f00 default anon=3 N0=1 N1=2 kernelpagesize_kB=4\n");
	tree_write(t, "/proc/100/comm", "a\033b\n");
	assert_int_equal(top_pages_read(&pages, t->root, NULL, nodes, 2, NULL), 0);
	assert_int_equal(count, 0);
	top_pages_select(&pages, "", 100);
	pages.credit = -1;
	assert_int_equal(top_pages_read(&pages, t->root, NULL, nodes, 2, NULL), 0);
	assert_int_equal(count, 0); /* in debt */
	pages.credit = 0;
	assert_int_equal(top_pages_read(&pages, t->root, NULL, nodes, 2, NULL), 0);
	assert_int_equal(count, 1);
	assert_true(pages.credit < 0 && pages.whole);
	assert_int_equal(pages.n_shown, 1);
	assert_string_equal(pages.shown[0].command, "a?b");
	assert_true(pages.shown[0].total == 3 * 4096 && pages.shown[0].used[1] == 2 * 4096);
	/* Another selection begins anew. */
	top_pages_select(&pages, "", 101);
	assert_false(pages.whole);
	pages.credit = 0;
	assert_int_equal(top_pages_read(&pages, t->root, NULL, nodes, 2, NULL), -ESRCH);
	top_pages_done(&pages);
}

TEST(pages_of_a_container)
{
	struct top_view view;
	struct played *p = machine_with_containers(&view);

	tree_write(p->t, "/sys/fs/cgroup/web/cgroup.procs", "100\n110\n111\n");
	tree_write(p->t, "/proc/100/numa_maps", "7f00 default anon=1 N0=1 kernelpagesize_kB=4\n");
	tree_write(p->t, "/proc/110/numa_maps", "7f00 default anon=5 N1=5 kernelpagesize_kB=4\n");
	view.details = true;
	top_pages_select(&view.pages, "web", 0);
	/* One process at least with each credit; 111 has ended. */
	for (int i = 0; i < 3 && !view.pages.whole; i++) {
		view.pages.credit = 0;
		assert_int_equal(top_view_read(&view, NULL), 0);
	}
	assert_true(view.pages.whole);
	assert_int_equal(view.pages.n_shown, 2);
	assert_int_equal(view.pages.shown[0].pid, 110);
	assert_int_equal(view.pages.n_unread_shown, 0);
	top_pages_select(&view.pages, "gone", 0);
	assert_int_equal(top_view_read(&view, NULL), 0);
	assert_string_equal(view.message, "the selected container has ended");
	end(p, &view);
}

/* Have each numa_maps take at least COST of processor time, as a large process's does. */
#define COST (2 * STOW_MILLISECOND)

static int take_time(void *ctx, const char *path, const char *value)
{
	uint64_t until = stow_clock_read(CLOCK_THREAD_CPUTIME_ID) + COST;
	unsigned int *count = ctx;

	(void)value;
	if (!strstr(path, "/numa_maps"))
		return 0;
	++*count;
	while (stow_clock_read(CLOCK_THREAD_CPUTIME_ID) < until)
		;
	return 0;
}

/* However many processes there are and however often it is asked: no more are read than a twentieth
 * of the time that has passed pays for, and the one with which that ended. */
TEST(reading_pages_takes_a_twentieth)
{
	enum { PROCESSES = 300, SECONDS = 4, MOST = SECONDS * STOW_SECOND / 20 / COST + 1 };
	_cleanup_free_ char *pids = calloc(PROCESSES, 8);
	const int nodes[] = { 0, 1 };
	struct top_pages pages = { .last_ns = STOW_SECOND };
	unsigned int count = 0;
	const struct stow_root_ops ops = { .ctx = &count, .before = take_time };
	const struct stow_root_ops *own;
	struct top_view view;
	struct played *p = machine_with_containers(&view);
	const struct top_container *web = container(&view, "web");

	assert_non_null(pids);
	for (int i = 0; i < PROCESSES; i++) {
		char path[64];

		snprintf(pids + strlen(pids), 8, "%d\n", 2000 + i);
		snprintf(path, sizeof(path), "/proc/%d/numa_maps", 2000 + i);
		tree_write(p->t, path, "7f00 default anon=1 N0=1 kernelpagesize_kB=4\n");
	}
	tree_write(p->t, "/sys/fs/cgroup/web/cgroup.procs", "%s", pids);
	own = p->t->root->ops;
	p->t->root->ops = &ops;
	top_pages_select(&pages, "web", 0);
	for (int tick = 1; tick <= 10 * SECONDS; tick++) {
		top_pages_earn(&pages, STOW_SECOND + (uint64_t)tick * STOW_SECOND / 10);
		for (int i = 0; i < 3; i++)
			assert_int_equal(top_pages_read(&pages, p->t->root, web->it.cgroup, nodes,
							2, NULL),
					 0);
	}
	p->t->root->ops = own;
	assert_in_range(count, 1, MOST);
	assert_false(pages.whole);
	top_pages_done(&pages);
	end(p, &view);
}

/* --- the screen --------------------------------------------------------------------------- */

static const char *line_with(const struct top_frame *frame, const char *text)
{
	for (size_t i = 0; i < frame->n; i++)
		if (strstr(frame->lines[i].text, text))
			return frame->lines[i].text;
	return NULL;
}

static void fits(struct top_view *view, int width, int height)
{
	struct top_frame frame = { 0 };

	assert_int_equal(top_frame_make(view, width, height, "12:00:00", &frame), 0);
	if (height >= 20)
		assert_in_range(frame.n, 1, height);
	for (size_t i = 0; i < frame.n; i++) {
		const char *text = frame.lines[i].text;

		assert_in_range(stow_fit_columns(text), 0, width);
		assert_null(strchr(text, '\033'));
		for (int k = 0; k < frame.lines[i].n_spans; k++)
			assert_in_range(frame.lines[i].spans[k].from +
						frame.lines[i].spans[k].columns,
					1, width);
	}
	assert_non_null(line_with(&frame, "OFF-NODE%"));
	assert_non_null(line_with(&frame, "web"));
	top_frame_done(&frame);
}

TEST(screens_of_any_size)
{
	struct top_view view;
	struct played *p = machine_with_containers(&view);

	write_counters(p->t, 0, 1, 1);
	assert_int_equal(top_view_read(&view, NULL), 0);
	for (int width = 60; width <= 220; width += 7)
		fits(&view, width, 23);
	fits(&view, 80, 59);
	view.details = true;
	fits(&view, 80, 30);
	/* Smaller than it needs: no crash, and no line is wider. */
	for (int width = 1; width < 60; width++)
		for (int height = 1; height < 20; height += 6) {
			struct top_frame frame = { 0 };

			assert_int_equal(top_frame_make(&view, width, height, "", &frame), 0);
			for (size_t i = 0; i < frame.n; i++)
				assert_in_range(stow_fit_columns(frame.lines[i].text), 0, width);
			top_frame_done(&frame);
		}
	end(p, &view);
}

TEST(the_text_of_a_screen)
{
	struct top_frame frame = { 0 };
	struct top_view view;
	struct played *p = machine_with_containers(&view);

	assert_int_equal(top_frame_make(&view, 80, 0, "12:00:00", &frame), 0);
	assert_string_equal(frame.lines[0].text, "numastow top  2 NUMA nodes, 8 CPUs  12:00:00");
	assert_non_null(line_with(&frame, "Containers: 3, by memory"));
	assert_string_equal(line_with(&frame, "web "),
			    "web          exclusive    2      - 0          1Gi   400Mi      25.0"
			    "   300Mi");
	assert_string_equal(line_with(&frame, "a?[2Jb"),
			    "a?[2Jb       -            -      - 0-1          -    64Mi       0.0"
			    "    64Mi");
	assert_non_null(line_with(&frame, "not available (a copied tree has none)"));
	top_frame_done(&frame);
	end(p, &view);
}

/* The cursor is always among the rows that are shown. */
TEST(the_cursor_is_seen)
{
	struct top_view view;
	struct played *p = machine_with_containers(&view);

	for (int i = 0; i < 40; i++) {
		char name[32];

		snprintf(name, sizeof(name), "more-%02d", i);
		played_container(p, 200 + i, name, 0, 0, MIB, false);
	}
	view.sort = TOP_NAME;
	assert_int_equal(top_view_read(&view, NULL), 0);
	for (int i = 39; i >= 0; i -= 13) {
		struct top_frame frame = { 0 };
		size_t cursors = 0;

		snprintf(view.selected, sizeof(view.selected), "more-%02d", i);
		assert_int_equal(top_frame_make(&view, 80, 23, "", &frame), 0);
		for (size_t k = 0; k < frame.n; k++) {
			if (frame.lines[k].look != TOP_CURSOR)
				continue;
			cursors++;
			assert_non_null(strstr(frame.lines[k].text, view.selected));
		}
		assert_int_equal(cursors, 1);
		top_frame_done(&frame);
	}
	end(p, &view);
}
