/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc.reflection.v1alpha.ServerReflection: the list of services, and the .proto files that
 * describe them, from the descriptor set that protoc made at build time.
 */

#include <errno.h>
#include <google/protobuf/descriptor.pb-c.h>
#include <grpc/reflection/v1alpha/reflection.pb-c.h>
#include <grpc/status.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "rpc/server_internal.h"

typedef Google__Protobuf__FileDescriptorProto File;
typedef Grpc__Reflection__V1alpha__ServerReflectionRequest Request;
typedef Grpc__Reflection__V1alpha__ServerReflectionResponse Response;

/* proto/module.mk */
extern const uint8_t stow_rpc_descriptors[], stow_rpc_descriptors_end[];

struct rpc_reflection {
	struct stow_rpc_server *server;
	Google__Protobuf__FileDescriptorSet *set;
	ProtobufCBinaryData *packed; /* of each file */
};

static const File *file_named(const struct rpc_reflection *reflection, const char *name)
{
	for (size_t i = 0; i < reflection->set->n_file; i++)
		if (strcmp(reflection->set->file[i]->name, name) == 0)
			return reflection->set->file[i];
	return NULL;
}

/* Return the rest of `symbol` behind "prefix."; "" when they are equal, NULL when it has another
 * prefix. */
static const char *behind(const char *symbol, const char *prefix)
{
	size_t len = strlen(prefix);

	if (strncmp(symbol, prefix, len) != 0)
		return NULL;
	if (symbol[len] == '\0')
		return symbol + len;
	return symbol[len] == '.' ? symbol + len + 1 : NULL;
}

static bool message_has(const Google__Protobuf__DescriptorProto *message, const char *symbol)
{
	const char *rest = behind(symbol, message->name);

	if (!rest || *rest == '\0')
		return rest != NULL;
	for (size_t i = 0; i < message->n_field; i++)
		if (strcmp(message->field[i]->name, rest) == 0)
			return true;
	for (size_t i = 0; i < message->n_enum_type; i++)
		if (strcmp(message->enum_type[i]->name, rest) == 0)
			return true;
	for (size_t i = 0; i < message->n_nested_type; i++)
		if (message_has(message->nested_type[i], rest))
			return true;
	return false;
}

static bool service_has(const Google__Protobuf__ServiceDescriptorProto *service, const char *symbol)
{
	const char *rest = behind(symbol, service->name);

	if (!rest || *rest == '\0')
		return rest != NULL;
	for (size_t i = 0; i < service->n_method; i++)
		if (strcmp(service->method[i]->name, rest) == 0)
			return true;
	return false;
}

static const File *file_with(const struct rpc_reflection *reflection, const char *symbol)
{
	for (size_t i = 0; i < reflection->set->n_file; i++) {
		const File *file = reflection->set->file[i];
		const char *rest = file->package ? behind(symbol, file->package) : symbol;

		if (!rest || *rest == '\0')
			continue;
		for (size_t j = 0; j < file->n_service; j++)
			if (service_has(file->service[j], rest))
				return file;
		for (size_t j = 0; j < file->n_message_type; j++)
			if (message_has(file->message_type[j], rest))
				return file;
		for (size_t j = 0; j < file->n_enum_type; j++)
			if (strcmp(file->enum_type[j]->name, rest) == 0)
				return file;
	}
	return NULL;
}

/* Add the file and everything that it imports, each once. */
static void add_file(const struct rpc_reflection *reflection, const File *file, bool *added,
		     ProtobufCBinaryData *list, size_t *n)
{
	for (size_t i = 0; i < reflection->set->n_file; i++) {
		if (reflection->set->file[i] != file || added[i])
			continue;
		added[i] = true;
		list[(*n)++] = reflection->packed[i];
		for (size_t j = 0; j < file->n_dependency; j++) {
			const File *import = file_named(reflection, file->dependency[j]);

			if (import)
				add_file(reflection, import, added, list, n);
		}
	}
}

static void send_error(struct stow_rpc_call *call, Response *out, int code, const char *text)
{
	Grpc__Reflection__V1alpha__ErrorResponse error =
		GRPC__REFLECTION__V1ALPHA__ERROR_RESPONSE__INIT;

	error.error_code = code;
	error.error_message = (char *)(uintptr_t)text;
	out->message_response_case =
		GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
	out->error_response = &error;
	stow_rpc_send(call, out);
}

static void send_file(struct stow_rpc_call *call, const struct rpc_reflection *reflection,
		      Response *out, const File *file)
{
	Grpc__Reflection__V1alpha__FileDescriptorResponse files =
		GRPC__REFLECTION__V1ALPHA__FILE_DESCRIPTOR_RESPONSE__INIT;
	_cleanup_free_ bool *added = calloc(reflection->set->n_file, sizeof(*added));
	_cleanup_free_ ProtobufCBinaryData *list = calloc(reflection->set->n_file, sizeof(*list));

	if (!file || !added || !list) {
		send_error(call, out, file ? GRPC_STATUS_RESOURCE_EXHAUSTED : GRPC_STATUS_NOT_FOUND,
			   file ? "out of memory" : "no such file or symbol here");
		return;
	}
	files.file_descriptor_proto = list;
	add_file(reflection, file, added, list, &files.n_file_descriptor_proto);
	out->message_response_case =
		GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
	out->file_descriptor_response = &files;
	stow_rpc_send(call, out);
}

static void send_services(struct stow_rpc_call *call, const struct rpc_reflection *reflection,
			  Response *out)
{
	Grpc__Reflection__V1alpha__ListServiceResponse list =
		GRPC__REFLECTION__V1ALPHA__LIST_SERVICE_RESPONSE__INIT;
	const struct stow_rpc_server *server = reflection->server;
	Grpc__Reflection__V1alpha__ServiceResponse services[RPC_SERVICES_MAX];
	Grpc__Reflection__V1alpha__ServiceResponse *names[RPC_SERVICES_MAX];

	for (size_t i = 0; i < server->n_services; i++) {
		const char *name = server->services[i].service->descriptor->name;

		grpc__reflection__v1alpha__service_response__init(&services[i]);
		services[i].name = (char *)(uintptr_t)name;
		names[i] = &services[i];
	}
	list.service = names;
	list.n_service = server->n_services;
	out->message_response_case =
		GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
	out->list_services_response = &list;
	stow_rpc_send(call, out);
}

static int message(struct stow_rpc_call *call, void *ctx, const void *request, struct stow_err *err)
{
	const struct rpc_reflection *reflection = ctx;
	const Request *in = request;
	Response out = GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__INIT;

	out.valid_host = in->host;
	out.original_request = (Request *)(uintptr_t)in;
	switch (in->message_request_case) {
	case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
		send_services(call, reflection, &out);
		break;
	case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
		send_file(call, reflection, &out, file_named(reflection, in->file_by_filename));
		break;
	case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
		send_file(call, reflection, &out,
			  file_with(reflection, in->file_containing_symbol));
		break;
	default:
		/* numastow's files have no extensions. */
		send_error(call, &out, GRPC_STATUS_NOT_FOUND, "no extensions here");
	}
	return 0;
}

static const struct stow_rpc_stream_ops info = { .message = message };

static const struct stow_rpc_method methods[] = {
	{ "ServerReflectionInfo", .stream = &info },
};

const struct stow_rpc_service rpc_reflection_service = {
	.descriptor = &grpc__reflection__v1alpha__server_reflection__descriptor,
	.methods = methods,
	.n_methods = STOW_ARRAY_SIZE(methods),
};

static int pack_files(struct rpc_reflection *reflection, struct stow_err *err)
{
	size_t n = reflection->set->n_file;

	reflection->packed = calloc(n ? n : 1, sizeof(*reflection->packed));
	if (!reflection->packed)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		const ProtobufCMessage *file = &reflection->set->file[i]->base;

		reflection->packed[i].len = protobuf_c_message_get_packed_size(file);
		reflection->packed[i].data = malloc(reflection->packed[i].len + 1);
		if (!reflection->packed[i].data)
			return stow_err_set(err, ENOMEM, "out of memory");
		protobuf_c_message_pack(file, reflection->packed[i].data);
	}
	return 0;
}

int rpc_reflection_new(struct stow_rpc_server *server, struct rpc_reflection **ret,
		       struct stow_err *err)
{
	struct rpc_reflection *reflection = calloc(1, sizeof(*reflection));

	if (!reflection)
		return stow_err_set(err, ENOMEM, "out of memory");
	*ret = reflection;
	reflection->server = server;
	reflection->set = google__protobuf__file_descriptor_set__unpack(
		NULL, (size_t)(stow_rpc_descriptors_end - stow_rpc_descriptors),
		stow_rpc_descriptors);
	if (!reflection->set)
		return stow_err_set(err, EINVAL, "the descriptors do not parse");
	return pack_files(reflection, err);
}

void rpc_reflection_free(struct rpc_reflection *reflection)
{
	if (!reflection)
		return;
	for (size_t i = 0; reflection->packed && i < reflection->set->n_file; i++)
		free(reflection->packed[i].data);
	free(reflection->packed);
	if (reflection->set)
		google__protobuf__file_descriptor_set__free_unpacked(reflection->set, NULL);
	free(reflection);
}
