// SPDX-License-Identifier: Apache-2.0
/* Reservations of a scheduler on this machine: leases, the containers that adopt them, fences. */
#include "grant/agent.h"
#include "grant/grant.h"
#include "place/reservation.h"
#include "unit.h"

#include <fcntl.h>
#include <sys/file.h>
#include <time.h>

#include "base/cleanup.h"
#include "grant/lease.h"
#include "played.h"

#define ID    "4c1f8e02a7b35d90"
#define OTHER "00000000000000ff"

struct setup {
	struct tree *t;
	struct stow_config *config;
	struct stow_grant_context context;
	struct stow_cgroup *cgroup;
	struct stow_subject subject; /* process 7 */
};

/* Two nodes of four CPUs and 16 GiB; process 7 is container "c" in /c. */
static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));
	struct tree *t = s->t = tree_new();

	tree_write(t, "/proc/self/mountinfo",
		   "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	tree_write(t, "/proc/7/cgroup", "0::/c\n");
	tree_write(t, "/proc/7/stat",
		   "7 (x) S 1 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99\n");
	tree_write(t, "/sys/fs/cgroup/cpuset.cpus.effective", "0-7\n");
	tree_write(t, "/sys/fs/cgroup/c/cpuset.cpus", "\n");
	tree_write(t, "/sys/fs/cgroup/c/cpuset.mems", "\n");
	tree_write(t, "/sys/fs/cgroup/c/cpuset.cpus.effective", "0-7\n");
	tree_write(t, "/sys/fs/cgroup/c/cpuset.mems.effective", "0-1\n");
	played_nodes(t);
	tree_mkdir(t, "/run");
	assert_int_equal(stow_config_read(t->root, &s->config, NULL), 0);
	s->context.root = t->root;
	s->context.config = s->config;
	s->context.self = (struct stow_pidref){ .pid = 7, .start = 4711 };
	assert_int_equal(stow_ledger_open(t->root, true, &s->context.ledger, NULL), 0);
	assert_int_equal(stow_cgroup_of_pid(t->root, 7, &s->cgroup, NULL), 0);
	s->subject.id = "c";
	s->subject.init = (struct stow_pidref){ .pid = 7, .start = 4711 };
	s->subject.cgroup = s->cgroup;
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	stow_cgroup_free_ptr(&s->cgroup);
	stow_ledger_close(s->context.ledger);
	stow_config_free(s->config);
	tree_free(s->t);
	free(s);
	return 0;
}

#define WITH_SETUP(name) TEST_WITH(name, struct setup *s, set_up, tear_down)

static struct stow_lease lease_of(const char *id, int node, uint32_t cpus, uint64_t memory)
{
	struct stow_lease lease = { .id = id, .cpus = cpus, .memory = memory };

	stow_idset_add(&lease.nodes, node);
	lease.lifetime = 60 * STOW_SECOND;
	return lease;
}

static struct stow_record *held(struct setup *s, const char *id)
{
	struct stow_record *record;

	assert_int_equal(stow_ledger_reservation(s->context.ledger, id, &record, NULL), 0);
	return record;
}

/* Start the container with this request and reservation. */
static int bring(struct setup *s, const char *reservation, struct stow_request request,
		 struct stow_record **ret_record, struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;

	request.nodes_auto = true;
	snprintf(request.reservation, sizeof(request.reservation), "%s", reservation);
	*ret_record = NULL;
	return stow_grant_reserve(&s->context, &s->subject, &request, NULL, 0, ret_record, &refusal,
				  err);
}

TEST(names_of_reservations_are_parsed)
{
	static const char *const bad[] = { "",
					   ID,
					   ID ":0",
					   ID ":@web",
					   ID ":0@",
					   ID ":x@web",
					   ID ":0@a@b",
					   "4C1F8E02A7B35D90:0@web",
					   "4c1f8e02a7b35d9:0@web",
					   ID "0:0@web",
					   "@" ID ":0" };
	struct stow_reservation_name name;
	struct stow_err err;
	char buf[32];

	assert_int_equal(stow_reservation_parse(ID ":0-1,3@web-3", &name, NULL), 0);
	assert_string_equal(name.id, ID);
	assert_string_equal(stow_idset_format(&name.nodes, buf, sizeof(buf)), "0-1,3");
	assert_string_equal(name.machine, "web-3");
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		assert_int_equal(stow_reservation_parse(bad[i], &name, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "numastow.io/reservation"));
	}
}

WITH_SETUP(a_container_gets_what_was_reserved)
{
	struct stow_lease lease = lease_of(ID, 1, 3, UINT64_C(1) << 30);
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL, *again = NULL;
	struct stow_request request = { .cpus = 2 };
	char buf[32];

	assert_int_equal(stow_lease_take(&s->context, &lease, NULL), 0);
	assert_int_equal(stow_lease_take(&s->context, &lease, NULL), 0);
	assert_int_equal(bring(s, ID ":1@web-3", request, &record, NULL), 0);
	assert_string_equal(record->id, "c");
	assert_string_equal(record->reservation, ID);
	assert_int_equal(record->state, STOW_STATE_PENDING);
	assert_string_equal(stow_idset_format(&record->nodes, buf, sizeof(buf)), "1");
	assert_int_equal(record->n_shares, 1);
	assert_int_equal(record->shares[0].cpus, 3);
	assert_int_equal(record->shares[0].memory, UINT64_C(1) << 30);
	/* The grant is not a lease any more: a late message of the scheduler drops nothing. */
	again = held(s, ID);
	assert_string_equal(again->id, "c");
	assert_int_equal(stow_lease_drop(&s->context, ID, NULL), 0);
	assert_int_equal(stow_lease_keep_only(&s->context, NULL, 0, NULL), 0);
	assert_int_equal(stow_lease_take(&s->context, &lease, NULL), 0);
}

WITH_SETUP(a_request_beyond_its_reservation_is_refused)
{
	struct stow_lease lease = lease_of(ID, 1, 2, UINT64_C(1) << 30);
	struct stow_request request = { .cpus = 1 };
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	struct stow_err err;

	assert_int_equal(bring(s, ID ":1@web-3", request, &record, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "there is no " ID " on this machine"));

	assert_int_equal(stow_lease_take(&s->context, &lease, NULL), 0);
	request.cpus = 3;
	assert_int_equal(bring(s, ID ":1@web-3", request, &record, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "numastow.io/cpus: 3 is more than reservation " ID));
	request.cpus = 1;
	request.memory = UINT64_C(2) << 30;
	assert_int_equal(bring(s, ID ":1@web-3", request, &record, &err), -E2BIG);
	request.memory = 0;
	request.cpu_mode = STOW_CPU_EXCLUSIVE;
	assert_int_equal(bring(s, ID ":1@web-3", request, &record, &err), -E2BIG);
	request.cpu_mode = STOW_CPU_SHARED;

	assert_int_equal(bring(s, ID ":1@web-3", request, &record, &err), 0);
	stow_record_free(STOW_TAKE_PTR(record));
	s->subject.id = "second";
	assert_int_equal(bring(s, ID ":1@web-3", request, &record, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "container c has " ID " already"));
}

WITH_SETUP(a_lease_runs_out)
{
	struct stow_lease lease = lease_of(ID, 1, 2, 0);
	struct stow_request request = { .cpus = 1 };
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	struct stow_err err;

	lease.lifetime = 1;
	assert_int_equal(stow_lease_take(&s->context, &lease, NULL), 0);
	assert_int_equal(bring(s, ID ":1@web-3", request, &record, &err), -ESTALE);
	assert_non_null(strstr(err.msg, "has expired"));
}

WITH_SETUP(a_lease_takes_room)
{
	struct stow_lease first = lease_of(ID, 1, 3, 0), second = lease_of(OTHER, 1, 2, 0);
	struct stow_err err;

	assert_int_equal(stow_lease_take(&s->context, &first, NULL), 0);
	assert_int_equal(stow_lease_take(&s->context, &second, &err), -ENOSPC);
	assert_int_equal(stow_lease_drop(&s->context, ID, NULL), 1);
	assert_int_equal(stow_lease_drop(&s->context, ID, NULL), 0);
	assert_int_equal(stow_lease_take(&s->context, &second, &err), 0);
}

WITH_SETUP(leases_that_the_scheduler_does_not_know_are_dropped)
{
	struct stow_lease first = lease_of(ID, 0, 1, 0), second = lease_of(OTHER, 1, 1, 0);
	const char *known[] = { OTHER };

	assert_int_equal(stow_lease_take(&s->context, &first, NULL), 0);
	assert_int_equal(stow_lease_take(&s->context, &second, NULL), 0);
	assert_int_equal(stow_lease_keep_only(&s->context, known, 1, NULL), 1);
	assert_null(held(s, ID));
	_cleanup_(stow_record_free_ptr) struct stow_record *kept = held(s, OTHER);
	assert_non_null(kept);
}

WITH_SETUP(fences_of_all_owners_count)
{
	struct stow_lease lease = lease_of(ID, 1, 1, 0);
	struct stow_idset one = { 0 }, zero = { 0 }, none = { 0 }, fenced;
	struct stow_err err;
	char buf[32];

	stow_idset_add(&one, 1);
	stow_idset_add(&zero, 0);
	assert_int_equal(stow_ledger_fence_set(s->context.ledger, "scheduler", &one, NULL), 0);
	assert_int_equal(stow_ledger_fence_set(s->context.ledger, "drain", &zero, NULL), 0);
	assert_int_equal(stow_ledger_fenced(s->context.ledger, NULL, &fenced, NULL), 0);
	assert_string_equal(stow_idset_format(&fenced, buf, sizeof(buf)), "0-1");
	assert_int_equal(stow_ledger_fence_set(s->context.ledger, "drain", &none, NULL), 0);
	assert_int_equal(stow_ledger_fenced(s->context.ledger, "scheduler", &fenced, NULL), 0);
	assert_string_equal(stow_idset_format(&fenced, buf, sizeof(buf)), "1");

	assert_int_equal(stow_lease_take(&s->context, &lease, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "node 1 is fenced"));
	assert_int_equal(stow_ledger_fence_set(s->context.ledger, "scheduler", &none, NULL), 0);
	assert_int_equal(stow_lease_take(&s->context, &lease, &err), 0);
}

/* Whether an agent runs is read from a lock that only root can hold, without taking it. */
WITH_SETUP(an_agent_holds_its_lock)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_close_ int fd = -EBADF, stranger = -EBADF;

	assert_false(stow_agent_lives(s->t->root));
	fd = stow_root_openat(s->t->root, O_RDWR | O_CREAT, 0600, NULL, "%s", STOW_AGENT_LOCK_PATH);
	assert_true(fd >= 0);
	assert_false(stow_agent_lives(s->t->root));
	stranger = stow_root_openat(s->t->root, O_RDONLY, 0, NULL, "%s", STOW_AGENT_LOCK_PATH);
	assert_int_equal(flock(stranger, LOCK_EX), 0);
	assert_false(stow_agent_lives(s->t->root));
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_true(stow_agent_lives(s->t->root));
	lock.l_type = F_UNLCK;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_false(stow_agent_lives(s->t->root));
}
