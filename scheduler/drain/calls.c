// SPDX-License-Identifier: Apache-2.0
/* DrainMemory and CancelDrain. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "rpc/copy.h"
#include "rpc/log.h"
#include "rpc/texts.h"
#include "scheduler/drain/drain_internal.h"

#define TIME_MAX (30 * 24 * 3600 * STOW_SECOND)

static int check_time(const char *key, uint64_t value, struct stow_err *err)
{
	return value <= TIME_MAX
		       ? 0
		       : stow_err_set(err, EINVAL, "spec: %s: %" PRIu64 " ns; at most 30 days", key,
				      value);
}

/* Check what the scheduler knows. The agent checks the rest, and gives better reasons. */
static int check_spec(const struct stow_machine *machine, const PbDrainSpec *spec,
		      struct stow_err *err)
{
	int r;

	switch (spec->what_case) {
	case PB_DRAIN_SPEC__WHAT_NUMA_NODE:
		if (spec->numa_node >= STOW_NUMA_MAX ||
		    stow_machine_numa(machine, spec->numa_node) < 0)
			return stow_err_set(err, EINVAL,
					    "spec: numa_node: node %s has no NUMA node %" PRIu32,
					    machine->name, spec->numa_node);
		break;
	case PB_DRAIN_SPEC__WHAT_BLOCKS:
		if (!spec->blocks[0] || strlen(spec->blocks) > 4096 ||
		    strspn(spec->blocks, "0123456789,-") != strlen(spec->blocks))
			return stow_err_set(
				err, EINVAL,
				"spec: blocks: \"%.64s\" is not a list of memory blocks, "
				"as in 48-55",
				spec->blocks);
		if (spec->size)
			return stow_err_set(err, EINVAL,
					    "spec: size: goes with a NUMA node or a "
					    "device, not with blocks");
		break;
	case PB_DRAIN_SPEC__WHAT_DEVICE:
		if (!spec->device[0] || strlen(spec->device) > 64)
			return stow_err_set(err, EINVAL,
					    "spec: device: \"%.80s\" is not a device name",
					    spec->device);
		break;
	default:
		return stow_err_set(err, EINVAL, "spec: numa_node, blocks or device is missing");
	}
	r = check_time("block_timeout", spec->block_timeout, err);
	if (r == 0)
		r = check_time("timeout", spec->timeout, err);
	return r < 0 ? r : check_time("removal_timeout", spec->removal_timeout, err);
}

/* Check that the machine has reported lately and would carry out a drain. */
static int check_machine(const struct stow_machine *machine, bool dry, struct stow_err *err)
{
	if (!machine->n_numa || machine->stale)
		return stow_err_set(err, EBUSY, "node: %s is not ready: it has not reported %s",
				    machine->name, machine->n_numa ? "for too long" : "yet");
	if (!machine->enforces && !dry)
		return stow_err_set(err, EBUSY,
				    "node: %s is not ready: its mode is observe or disabled",
				    machine->name);
	return 0;
}

static int check_room(const struct scheduler *s, const struct stow_machine *machine, bool dry,
		      struct stow_err *err)
{
	size_t tries = 0;

	for (size_t i = 0; dry && i < s->drains->n_under_way; i++)
		tries +=
			s->drains->under_way[i]->dry && s->drains->under_way[i]->machine == machine;
	if (tries >= SCHEDULER_TRIES_MAX)
		return stow_err_set(err, ENOBUFS, "%zu plans for node %s are being made", tries,
				    machine->name);
	if (s->drains->n_under_way >= SCHEDULER_DRAINS_MAX)
		return stow_err_set(err, ENOBUFS, "%d drains are running", SCHEDULER_DRAINS_MAX);
	return 0;
}

static PbDrain *make_message(const struct stow_machine *machine, const PbDrainMemoryRequest *in,
			     uint64_t id)
{
	PbDrainProgress progress = PB_DRAIN_PROGRESS__INIT;
	PbDrain drain = PB_DRAIN__INIT, *out;
	char text[17];

	drain.id = progress.id = (char *)(uintptr_t)stow_id_format(id, text);
	drain.node = machine->name;
	drain.spec = in->spec;
	drain.progress = &progress;
	drain.created = drain.updated = stow_now().wall;
	if (machine->domain)
		drain.failure_domain = machine->domain;
	progress.step = PB_DRAIN_STEP_WAITING;
	out = stow_rpc_message_copy(&drain);
	if (out)
		stow_texts_clean(&out->base, 4096);
	return out;
}

static bool same_spec(const PbDrainSpec *a, const PbDrainSpec *b)
{
	size_t len = pb_drain_spec__get_packed_size(a);
	_cleanup_free_ uint8_t *x = malloc(len + 1), *y = malloc(len + 1);

	if (!x || !y || pb_drain_spec__get_packed_size(b) != len)
		return false;
	pb_drain_spec__pack(a, x);
	pb_drain_spec__pack(b, y);
	return memcmp(x, y, len) == 0;
}

static int check_same(const struct scheduler_drain *d, const PbDrainMemoryRequest *in,
		      struct stow_err *err)
{
	bool revoke = d->flags & SCHEDULER_DRAIN_REVOKE;

	if (strcmp(d->message->node, in->node) == 0 && revoke == in->revoke &&
	    same_spec(d->message->spec, in->spec))
		return 0;
	return stow_err_set(err, EINVAL, "request_id: \"%.64s\" was used for another drain, %s",
			    in->request_id, d->message->id);
}

/* Follow a drain of an earlier call: the first message has its present progress. */
static int follow_old(struct scheduler_drain *d, const PbDrainMemoryRequest *in,
		      struct scheduler_follower *f, struct stow_err *err)
{
	int r = check_same(d, in, err);

	if (r < 0)
		return r;
	if (d->n_followers >= SCHEDULER_FOLLOWERS_MAX)
		return stow_err_set(err, ENOBUFS, "%d calls follow drain %s already",
				    SCHEDULER_FOLLOWERS_MAX, d->message->id);
	if (scheduler_drain_ended(d) && !d->notify_due) {
		scheduler_drain_send_one(d, f, true);
		stow_rpc_close(f->call, NULL);
		return 0;
	}
	scheduler_drain_follow(d, f);
	if (d->known && !d->notify_due)
		scheduler_drain_send_one(d, f, true);
	return 0;
}

static int begin(struct scheduler *s, const PbDrainMemoryRequest *in, struct scheduler_follower *f,
		 struct stow_err *err)
{
	struct stow_machine *machine = stow_fleet_find(s->fleet, in->node);
	struct scheduler_drain *d;
	PbDrain *message;
	uint64_t id;
	int r;

	if (!machine)
		return stow_err_set(err, ENOENT, "node: there is no node \"%.64s\"", in->node);
	r = check_machine(machine, in->dry_run, err);
	if (r == 0)
		r = check_spec(machine, in->spec, err);
	if (r == 0)
		r = check_room(s, machine, in->dry_run, err);
	if (r < 0)
		return r;
	id = scheduler_drain_new_id(s);
	message = make_message(machine, in, id);
	if (!message)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = scheduler_drain_add(s, machine, id, message, &d, err);
	if (r < 0) {
		stow_rpc_message_free(message);
		return r;
	}
	d->dry = in->dry_run;
	d->flags = in->revoke ? SCHEDULER_DRAIN_REVOKE : 0;
	if (in->request_id[0] && !d->dry) {
		d->request_id = strdup(in->request_id);
		if (!d->request_id) {
			scheduler_drain_remove(s, d);
			return stow_err_set(err, ENOMEM, "out of memory");
		}
	}
	scheduler_drain_follow(d, f);
	if (d->dry) {
		scheduler_drain_go_on(s, d, stow_now());
		return 0;
	}
	stow_log(STOW_LOG_NOTICE, "a drain was requested", stow_text("drain", d->message->id),
		 stow_text("node", machine->name), stow_text("by", stow_rpc_peer(f->call)->name));
	d->notify_due = true;
	scheduler_drain_save(s, d, NULL);
	return 0;
}

static int opened(struct stow_rpc_call *call, void *ctx, const void *request, struct stow_err *err)
{
	const PbDrainMemoryRequest *in = request;
	struct scheduler_follower *f;
	struct scheduler_drain *old;
	struct scheduler *s = ctx;
	int r;

	if (!in->spec)
		return stow_err_set(err, EINVAL, "spec: missing");
	if (strlen(in->request_id) > 128)
		return stow_err_set(err, EINVAL, "request_id: over 128 characters");
	f = calloc(1, sizeof(*f));
	if (!f)
		return stow_err_set(err, ENOMEM, "out of memory");
	f->call = call;
	stow_rpc_set_data(call, f);
	stow_lock_take(&s->fleet->lock);
	old = in->request_id[0] && !in->dry_run ? scheduler_drain_by_request(s, in->request_id)
						: NULL;
	if (atomic_load(&s->stopping))
		r = stow_err_set(err, ESHUTDOWN, "the scheduler is stopping");
	else
		r = old ? follow_old(old, in, f, err) : begin(s, in, f, err);
	stow_lock_give(&s->fleet->lock);
	if (r < 0)
		free(f);
	return r;
}

static void closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct scheduler_follower *f = stow_rpc_data(call);
	struct scheduler *s = ctx;
	struct scheduler_drain *d;

	stow_lock_take(&s->fleet->lock);
	d = f->drain;
	if (d) {
		scheduler_drain_unfollow(d, f);
		/* A dry run ends with its last follower. */
		if (d->dry && !d->followers) {
			if (d->asked)
				scheduler_directive_forget_drain(s, d->machine, d->message->id);
			scheduler_drain_remove(s, d);
		}
	}
	stow_lock_give(&s->fleet->lock);
	free(f);
}

const struct stow_rpc_stream_ops scheduler_drain_ops = { .open = opened, .closed = closed };

/* Find the running drain with that prefix of an id. */
static int find(struct scheduler *s, const char *id, struct scheduler_drain **ret,
		struct stow_err *err)
{
	struct scheduler_drain *found = NULL;

	if (strlen(id) > 16 || strspn(id, "0123456789abcdef") != strlen(id))
		return stow_err_set(err, EINVAL,
				    "id: \"%.32s\" is not a prefix of a drain's id: up to 16 "
				    "hexadecimal digits",
				    id);
	for (size_t i = 0; i < s->drains->n_under_way; i++) {
		struct scheduler_drain *d = s->drains->under_way[i];

		if (d->dry || strncmp(d->message->id, id, strlen(id)) != 0)
			continue;
		if (found)
			return stow_err_set(err, EINVAL, "id: \"%s\" matches several: %s, %s", id,
					    found->message->id, d->message->id);
		found = d;
	}
	if (found) {
		*ret = found;
		return 0;
	}
	for (size_t i = 0; i < s->drains->n_ended && id[0]; i++)
		if (strncmp(s->drains->ended[i]->message->id, id, strlen(id)) == 0)
			return stow_err_set(
				err, ENOENT, "id: drain %s has ended: %s",
				s->drains->ended[i]->message->id,
				scheduler_step_name(s->drains->ended[i]->message->progress->step));
	if (!id[0])
		return stow_err_set(err, ENOENT, "no drain is running");
	return stow_err_set(err, ENOENT, "id: no drain \"%s\" is running", id);
}

int scheduler_cancel_drain(struct stow_rpc_call *call, void *ctx, const void *request,
			   void *response, struct stow_err *err)
{
	const PbCancelDrainRequest *in = request;
	struct scheduler_drain *d = NULL;
	struct scheduler *s = ctx;
	int r;

	stow_lock_take(&s->fleet->lock);
	if (atomic_load(&s->stopping))
		r = stow_err_set(err, ESHUTDOWN, "the scheduler is stopping");
	else
		r = find(s, in->id, &d, err);
	if (d) {
		stow_log(STOW_LOG_NOTICE, "a drain is cancelled",
			 stow_text("drain", d->message->id), stow_text("node", d->message->node),
			 stow_text("by", stow_rpc_peer(call)->name));
		scheduler_drain_cancel(s, d, call);
	}
	stow_lock_give(&s->fleet->lock);
	return r < 0 ? r : STOW_RPC_LATER;
}
