// SPDX-License-Identifier: Apache-2.0
/* What a received message takes in memory: bounded before it is unpacked. */
#include "unit.h"

#include <etcd/rpc.pb-c.h>
#include <grpc/byte_buffer.h>
#include <numastow/v1/scheduler.pb-c.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "rpc/internal.h"

/* Repeat some bytes, after a prefix. */
static size_t fill(uint8_t *to, const char *prefix, size_t n_prefix, const char *unit,
		   size_t n_unit, size_t times)
{
	memcpy(to, prefix, n_prefix);
	for (size_t i = 0; i < times; i++)
		memcpy(to + n_prefix + i * n_unit, unit, n_unit);
	return n_prefix + n_unit * times;
}

static int unpack(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len,
		  struct stow_err *err)
{
	grpc_slice slice = grpc_slice_from_copied_buffer((const char *)bytes, len);
	grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
	ProtobufCMessage *message = NULL;
	int r = rpc_unpack(buffer, type, &message, err);

	grpc_slice_unref(slice);
	assert_true((r == 0) == (message != NULL));
	stow_rpc_message_free(message);
	return r;
}

TEST(few_bytes_that_take_much_memory_are_refused)
{
	static const struct {
		const char *unit;
		size_t n;
	} units[] = {
		{ "\x0a\x00", 2 },		   /* pods, empty */
		{ "\x78\x00", 2 },		   /* an unknown number */
		{ "\x7a\x00", 2 },		   /* an unknown text */
		{ "\x10\x01", 2 },		   /* a known number, again and again */
		{ "\x22\x00", 2 },		   /* ... or text */
		{ "\x0a\x04\x32\x00\x32\x00", 6 }, /* pods with two empty hugepages */
	};
	uint8_t *bytes = malloc(6 << 20);
	struct stow_err err;
	size_t len;

	assert_non_null(bytes);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(units); i++) {
		len = fill(bytes, "", 0, units[i].unit, units[i].n, (4 << 20) / units[i].n);
		assert_int_equal(unpack(&pb_place_request__descriptor, bytes, len, &err), -ENOBUFS);
		assert_non_null(strstr(err.msg, "too many fields for its size"));
		/* Also when it is no message in the end. */
		bytes[len++] = 0xff;
		assert_int_equal(unpack(&pb_place_request__descriptor, bytes, len, &err), -ENOBUFS);
		/* A few are what a newer peer may send. */
		len = fill(bytes, "", 0, units[i].unit, units[i].n, 1000);
		assert_int_equal(unpack(&pb_place_request__descriptor, bytes, len, &err), 0);
	}
	/* A pod that is none, of length 3, does not hide what follows it. */
	len = fill(bytes, "\x0a\x03\x0a\xff\x01", 5, "\x0a\x00", 2, 2 << 20);
	assert_int_equal(unpack(&pb_place_request__descriptor, bytes, len, &err), -ENOBUFS);
	free(bytes);
}

TEST(whatever_is_no_message_is_read_to_its_end_at_most)
{
	static const char *const cut[] = {
		"\x0a", "\x0a\x05zz", "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"\x0b", "\x09\x01",   "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
	};
	struct stow_err err;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(cut); i++) {
		/* Memory of its own, so that a sanitizer sees a read past the end. */
		char *bytes = strdup(cut[i]);

		assert_int_equal(unpack(&pb_place_request__descriptor, (const uint8_t *)bytes,
					strlen(bytes), &err),
				 -EINVAL);
		free(bytes);
	}
}

/* Check that a real message is far from the limit. */
static void passes(const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = malloc(len + 1);
	struct stow_err err = { 0 };

	assert_non_null(bytes);
	protobuf_c_message_pack(message, bytes);
	assert_in_range(rpc_unpacked_size(message->descriptor, bytes, len), len,
			RPC_UNPACKED_MAX(len) * 3 / 4);
	assert_int_equal(unpack(message->descriptor, bytes, len, &err), 0);
	free(bytes);
}

TEST(the_largest_machine_s_report_is_not)
{
	enum { NUMA = 1024, CONTAINERS = 8192 };
	static PbNumaNode nodes[NUMA], *list[NUMA];
	static PbContainer containers[CONTAINERS], *crowd[CONTAINERS];
	static PbHugepagePool pools[2], *both[2] = { &pools[0], &pools[1] };
	static uint32_t distances[NUMA];
	PbNodeReport report = PB_NODE_REPORT__INIT;
	PbContainerPart part = PB_CONTAINER_PART__INIT, *parts[] = { &part };

	part.cpus = 1;
	for (size_t i = 0; i < 2; i++) {
		pb_hugepage_pool__init(&pools[i]);
		pools[i].page_size = (uint64_t)(i ? 1 << 30 : 2 << 20);
	}
	for (uint32_t i = 0; i < NUMA; i++) {
		pb_numa_node__init(&nodes[i]);
		list[i] = &nodes[i];
		nodes[i].id = i;
		nodes[i].n_hugepages = 2;
		nodes[i].hugepages = both;
		nodes[i].n_distances = NUMA;
		nodes[i].distances = distances;
		distances[i] = 20;
	}
	for (size_t i = 0; i < CONTAINERS; i++) {
		pb_container__init(&containers[i]);
		crowd[i] = &containers[i];
		containers[i].id = (char *)"c";
		containers[i].n_parts = 1;
		containers[i].parts = parts;
	}
	report.n_numa_nodes = NUMA;
	report.numa_nodes = list;
	passes(&report.base);
	report.n_containers = CONTAINERS;
	report.containers = crowd;
	passes(&report.base);
}

/* A plan of empty blocks: much struct for few bytes. */
TEST(nor_is_a_drain_of_many_blocks)
{
	enum { MANY = 65536 };
	static PbDrainBlock blocks[MANY], *list[MANY];
	PbDrainPlan plan = PB_DRAIN_PLAN__INIT;

	for (uint32_t i = 0; i < MANY; i++) {
		pb_drain_block__init(&blocks[i]);
		blocks[i].id = i;
		blocks[i].zone = (char *)"Movable";
		list[i] = &blocks[i];
	}
	plan.n_blocks = MANY;
	plan.blocks = list;
	passes(&plan.base);
}

/* Deleted keys: the shortest events there are. */
TEST(nor_are_events_of_etcd)
{
	enum { MANY = 20000 };
	static EtcdEvent event, *events[MANY];
	EtcdWatchResponse response = ETCD_WATCH_RESPONSE__INIT;
	EtcdKeyValue kv = ETCD_KEY_VALUE__INIT;
	uint8_t key[] = "/numastow/r/0123456789abcdef";

	etcd_event__init(&event);
	event.kv = &kv;
	kv.key = (ProtobufCBinaryData){ sizeof(key) - 1, key };
	kv.mod_revision = 1000;
	for (size_t i = 0; i < MANY; i++)
		events[i] = &event;
	response.n_events = MANY;
	response.events = events;
	passes(&response.base);
}
