// SPDX-License-Identifier: Apache-2.0
/*
 * Every message that a program of ours receives, as bytes from the wire. The first byte says which.
 * What parses must pack to something that parses to the same: a receiver may keep or pass on what
 * it got (the scheduler does so with reports).
 */
#include "fuzz.h"

#include <grpc/health/v1/health.pb-c.h>
#include <grpc/reflection/v1alpha/reflection.pb-c.h>
#include <numastow/v1/agent.pb-c.h>
#include <numastow/v1/scheduler.pb-c.h>

#include "rpc/internal.h"

static const ProtobufCServiceDescriptor *const services[] = {
	&pb_scheduler__descriptor,
	&pb_agent__descriptor,
	&grpc__health__v1__health__descriptor,
	&grpc__reflection__v1alpha__server_reflection__descriptor,
};

/* Requests and responses by number: servers receive the ones, clients the others. */
static const ProtobufCMessageDescriptor *message(unsigned int number)
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof(services) / sizeof(*services); i++)
		n += 2 * services[i]->n_methods;
	number %= (unsigned int)n;
	for (size_t i = 0;; i++) {
		if (number < 2 * services[i]->n_methods) {
			const ProtobufCMethodDescriptor *method = &services[i]->methods[number / 2];

			return number % 2 ? method->output : method->input;
		}
		number -= 2 * services[i]->n_methods;
	}
}

static uint8_t *pack(const ProtobufCMessage *m, size_t *ret_len)
{
	uint8_t *bytes;

	*ret_len = protobuf_c_message_get_packed_size(m);
	bytes = malloc(*ret_len + 1);
	if (!bytes)
		abort();
	FUZZ_CHECK(protobuf_c_message_pack(m, bytes) == *ret_len);
	return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const ProtobufCMessageDescriptor *type;
	ProtobufCMessage *first, *second;
	uint8_t *once, *twice;
	size_t n_once, n_twice;

	if (size == 0)
		return 0;
	type = message(data[0]);
	first = protobuf_c_message_unpack(type, NULL, size - 1, data + 1);
	if (!first)
		return 0;
	if (!rpc_message_is_sound(first)) { /* as a receiver says */
		protobuf_c_message_free_unpacked(first, NULL);
		return 0;
	}
	once = pack(first, &n_once);
	second = protobuf_c_message_unpack(type, NULL, n_once, once);
	FUZZ_CHECK(second);
	twice = pack(second, &n_twice);
	FUZZ_CHECK(n_once == n_twice && memcmp(once, twice, n_once) == 0);
	protobuf_c_message_free_unpacked(second, NULL);
	free(twice);
	protobuf_c_message_free_unpacked(first, NULL);
	free(once);
	return 0;
}
