// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tree.h"

END_WHEN_A_CHECK_FAILS

TEST(links_do_not_lead_out)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	char buf[64];

	tree_write(t, "/etc/hostname", "inside\n");
	tree_link(t, "/absolute", "/etc/hostname");
	tree_link(t, "/upwards", "../../../../../../etc/hostname");
	tree_link(t, "/gone", "/etc/passwd");
	assert_true(stow_root_read_buf(t->root, buf, sizeof(buf), NULL, "/absolute") > 0);
	assert_string_equal(buf, "inside");
	assert_true(stow_root_read_buf(t->root, buf, sizeof(buf), NULL, "/upwards") > 0);
	assert_string_equal(buf, "inside");
	assert_int_equal(stow_root_read_buf(t->root, buf, sizeof(buf), NULL, "/gone"), -ENOENT);
	assert_int_equal(stow_root_exists(t->root, "/../../etc/passwd"), 0);
}

TEST(a_shorter_value_replaces_the_whole)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_free_ char *now = NULL;

	tree_write(t, "/state", "online_movable\n");
	assert_int_equal(stow_root_write(t->root, "offline", NULL, "/state"), 0);
	now = tree_read(t, "/state");
	assert_string_equal(now, "offline");
	assert_int_equal(stow_root_write(t->root, "1", NULL, "/not-there"), -ENOENT);
	assert_int_equal(stow_root_exists(t->root, "/not-there"), 0);
}

TEST(reads_are_bounded)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_err err = { 0 };
	char buf[8], *text;
	uint64_t v;

	tree_write(t, "/seven", "1234567");
	tree_write(t, "/eight", "12345678");
	tree_write(t, "/word", "12x\n");
	assert_int_equal(stow_root_read_buf(t->root, buf, sizeof(buf), NULL, "/seven"), 7);
	assert_int_equal(stow_root_read_buf(t->root, buf, sizeof(buf), NULL, "/eight"), -E2BIG);
	assert_int_equal(stow_root_read(t->root, 7, &text, NULL, NULL, "/eight"), -E2BIG);
	assert_int_equal(stow_root_read(t->root, 8, &text, NULL, NULL, "/eight"), 0);
	free(text);
	assert_int_equal(stow_root_read_u64(t->root, &v, &err, "/word"), -EINVAL);
	assert_string_equal(err.msg, "/word: \"12x\" is not a whole number");
}

TEST(a_file_that_is_too_long_is_an_error)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_err err = { 0 };
	char buf[8], *text;
	uint64_t v;

	tree_write(t, "/sys/long", "%080d", 1);
	assert_int_equal(stow_root_read_buf(t->root, buf, sizeof(buf), &err, "/sys/long"), -E2BIG);
	assert_string_equal(err.msg, "/sys/long is longer than 7 bytes");
	assert_int_equal(stow_root_read_u64(t->root, &v, &err, "/sys/long"), -E2BIG);
	assert_string_equal(err.msg, "/sys/long is longer than 63 bytes");
	assert_int_equal(stow_root_read(t->root, 79, &text, NULL, &err, "/sys/long"), -E2BIG);
	assert_string_equal(err.msg, "/sys/long is longer than 79 bytes");
}

static void assert_special(int r, const struct stow_err *err, const char *path)
{
	char expected[64];

	snprintf(expected, sizeof(expected), "%s is not a regular file", path);
	assert_int_equal(r, -EINVAL);
	assert_int_equal(err->code, EINVAL);
	assert_string_equal(err->msg, expected);
}

/* Were one of them opened, the test would never end. */
TEST(only_regular_files_are_opened)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	static const char *const paths[] = { "/sys/fifo", "/sys/link", "/sys/socket" };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stow_err err = { 0 };
	struct stow_idset set;
	char buf[64], *text;
	uint64_t v;

	tree_mkdir(t, "/sys");
	snprintf(buf, sizeof(buf), "%s/sys/fifo", t->dir);
	assert_int_equal(mkfifo(buf, 0644), 0);
	tree_link(t, "/sys/link", "/sys/fifo");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/sys/socket", t->dir);
	assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof(address)), 0);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(paths); i++) {
		const char *path = paths[i];

		assert_special(stow_root_read(t->root, 10, &text, NULL, &err, "%s", path), &err,
			       path);
		assert_special(stow_root_read_buf(t->root, buf, sizeof(buf), &err, "%s", path),
			       &err, path);
		assert_special(stow_root_read_u64(t->root, &v, &err, "%s", path), &err, path);
		assert_special(stow_root_read_idset(t->root, &set, &err, "%s", path), &err, path);
		assert_special(stow_root_write(t->root, "1", &err, "%s", path), &err, path);
		assert_special(stow_root_openat(t->root, O_RDONLY, 0, &err, "%s", path), &err,
			       path);
	}
	/* On the live root, too, nothing is waited for: there it is opened without blocking. */
	t->root->live = true;
	assert_special(stow_root_read(t->root, 10, &text, NULL, &err, "/sys/fifo"), &err,
		       "/sys/fifo");
	assert_special(stow_root_read_u64(t->root, &v, &err, "/sys/fifo"), &err, "/sys/fifo");
	assert_special(stow_root_read_buf(t->root, buf, sizeof(buf), &err, "/sys/fifo"), &err,
		       "/sys/fifo");
}

TEST(a_tree_that_may_not_be_read)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_root *root = NULL;
	struct stow_err err = { 0 };
	char expected[128];
	uid_t user = geteuid();
	int r;

	assert_int_equal(chmod(t->dir, 0), 0);
	if (user == 0) /* who may read everything */
		assert_int_equal(seteuid(65534), 0);
	r = stow_root_open(t->dir, &root, &err);
	assert_int_equal(seteuid(user), 0);
	assert_int_equal(chmod(t->dir, 0755), 0);
	assert_int_equal(r, -EACCES);
	snprintf(expected, sizeof(expected), "%s: Permission denied", t->dir);
	assert_string_equal(err.msg, expected);
}

TEST(a_folder_held_open_is_the_same_folder)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_(stow_root_free_ptr) struct stow_root *sub = NULL;
	struct stow_err err = { 0 };
	_cleanup_free_ char *path = NULL;
	uint64_t v;

	tree_write(t, "/cgroup/a/limit", "1\n");
	assert_int_equal(stow_root_sub(t->root, &sub, NULL, "/cgroup/a"), 0);
	path = strdup(t->dir);
	assert_int_equal(stow_root_read_u64(sub, &v, NULL, "limit"), 0);
	assert_int_equal(v, 1);
	assert_int_equal(stow_root_read_u64(sub, &v, &err, "other"), -ENOENT);
	assert_string_equal(err.msg, "/cgroup/a/other: No such file or directory");
}

TEST(state_files)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_free_ char *now = NULL;

	assert_int_equal(stow_root_mkdir(t->root, "/run/numastow/others", NULL), 0);
	assert_int_equal(stow_root_mkdir(t->root, "/run/numastow/others", NULL), 0);
	assert_int_equal(stow_root_replace(t->root, "/run/numastow/x", "one", 0644, NULL), 0);
	assert_int_equal(stow_root_replace(t->root, "/run/numastow/x", "two", 0644, NULL), 0);
	now = tree_read(t, "/run/numastow/x");
	assert_string_equal(now, "two");
	assert_int_equal(stow_root_unlink(t->root, NULL, "/run/numastow/%s", "x"), 0);
	assert_int_equal(stow_root_unlink(t->root, NULL, "/run/numastow/%s", "x"), 0);
	assert_int_equal(stow_root_unlink(t->root, NULL, "/run/nothing/%s", "x"), 0);
}

/* A lock is held against another process, and dies with its holder. */
TEST(locks_die_with_their_holder)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	_cleanup_unlock_ int lock = -EBADF;
	int ready[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		if (stow_root_lock(t->root, NULL, "/lock") < 0)
			_exit(1);
		(void)!write(ready[1], "x", 1);
		pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	kill(pid, SIGKILL);
	lock = stow_root_lock(t->root, NULL, "/lock");
	assert_true(lock >= 0);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(ready[1]);
}

/* Wait for a child's next change; return whether it was stopped. */
static bool is_stopped(pid_t pid, int *ret_status)
{
	assert_int_equal(waitpid(pid, ret_status, WUNTRACED), pid);
	return WIFSTOPPED(*ret_status);
}

/* A terminal cannot stop the holder of a lock; it stops when it has unlocked all. */
TEST(the_holder_of_a_lock_is_not_stopped)
{
	static const int stops[] = { SIGTSTP, SIGTTIN, SIGTTOU };
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();

	for (size_t i = 0; i < STOW_ARRAY_SIZE(stops); i++) {
		int outer, inner, status;
		pid_t pid = fork();

		if (pid == 0) {
			/* In a group of its own, beside its parent's: stop signals have no effect
			 * on orphaned groups. */
			setpgid(0, 0);
			outer = stow_root_lock(t->root, NULL, "/lock");
			inner = stow_root_lock_byte(t->root, 7, "/bytes", NULL);
			raise(stops[i]);
			stow_root_unlock(&outer);
			if (outer >= 0 || inner < 0)
				_exit(1);
			raise(SIGUSR1); /* not reached, if it is stopped before */
			stow_root_unlock(&inner);
			_exit(0);
		}
		(void)setpgid(pid, pid);
		assert_false(is_stopped(pid, &status));
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);

		pid = fork();
		if (pid == 0) {
			setpgid(0, 0);
			outer = stow_root_lock(t->root, NULL, "/lock");
			raise(stops[i]);
			stow_root_unlock(&outer);
			_exit(7);
		}
		(void)setpgid(pid, pid);
		assert_true(is_stopped(pid, &status));
		/* It stopped without the lock. */
		outer = stow_root_lock(t->root, NULL, "/lock");
		assert_true(outer >= 0);
		stow_root_unlock(&outer);
		kill(pid, SIGCONT);
		assert_false(is_stopped(pid, &status));
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	}
}

struct thing {
	struct stow_cached cached;
	int *freed;
};

static void thing_free(struct stow_cached *cached)
{
	__atomic_add_fetch(((struct thing *)cached)->freed, 1, __ATOMIC_RELAXED);
	free(cached);
}

static struct stow_cached *thing_new(int *freed)
{
	struct thing *thing = calloc(1, sizeof(*thing));

	thing->cached.free = thing_free;
	thing->freed = freed;
	return &thing->cached;
}

#define LEARNERS 8

struct learner {
	struct stow_root *root;
	pthread_barrier_t *start;
	struct stow_cached *kept;
	int freed;
};

static void *learn(void *arg)
{
	struct learner *learner = arg;

	pthread_barrier_wait(learner->start);
	learner->kept = stow_root_cache(learner->root, thing_new(&learner->freed));
	return NULL;
}

/* Threads that learn the same at once all go on with one of them, and the others are freed. */
TEST(what_is_cached_first_is_kept)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct learner learners[LEARNERS] = { 0 };
	pthread_t threads[LEARNERS];
	pthread_barrier_t start;
	int freed = 0;

	assert_null(stow_root_cached(t->root));
	pthread_barrier_init(&start, NULL, LEARNERS);
	for (int i = 0; i < LEARNERS; i++) {
		learners[i].root = t->root;
		learners[i].start = &start;
		assert_int_equal(pthread_create(&threads[i], NULL, learn, &learners[i]), 0);
	}
	for (int i = 0; i < LEARNERS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
	for (int i = 0; i < LEARNERS; i++) {
		assert_ptr_equal(learners[i].kept, stow_root_cached(t->root));
		freed += learners[i].freed;
	}
	assert_int_equal(freed, LEARNERS - 1);
	stow_root_free(t->root);
	t->root = NULL;
	freed = 0;
	for (int i = 0; i < LEARNERS; i++)
		freed += learners[i].freed;
	assert_int_equal(freed, LEARNERS);
}

TEST(ids_of_entries)
{
	_cleanup_(tree_free_ptr) struct tree *t = tree_new();
	struct stow_err err = { 0 };
	struct stow_idset set;
	char buf[32];

	tree_mkdir(t, "/d/node0");
	tree_mkdir(t, "/d/node12");
	tree_mkdir(t, "/d/nodes");
	tree_mkdir(t, "/d/memory3");
	assert_int_equal(stow_root_list_ids(t->root, "/d", "node", &set, &err), 0);
	assert_string_equal(stow_idset_format(&set, buf, sizeof(buf)), "0,12");
	assert_int_equal(stow_root_list_ids(t->root, "/none", "node", &set, &err), 0);
	assert_true(stow_idset_empty(&set));
	assert_int_equal(err.code, 0);
}
