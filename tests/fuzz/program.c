// SPDX-License-Identifier: Apache-2.0
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grpc/grpc.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "scheduler/store/store.h"

/* Not from rpc/internal.h, which has another struct stow_rpc_call. */
bool rpc_message_is_sound(const ProtobufCMessage *message);
grpc_byte_buffer *rpc_packed_buffer(const struct stow_rpc_packed *packed);
int rpc_unpack(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *type,
	       ProtobufCMessage **ret_message, struct stow_err *err);

struct chunk {
	struct chunk *next;
	max_align_t data[];
};

struct stow_rpc_call {
	atomic_int refs;
	atomic_int answers;
	atomic_bool closed;
	const ProtobufCMessageDescriptor *sends;
	struct stow_rpc_peer peer;
	struct chunk *chunks;
	void *data;
};

/* --- calls -------------------------------------------------------------------------------------- */

struct stow_rpc_call *__wrap_stow_rpc_ref(struct stow_rpc_call *call);
void __wrap_stow_rpc_unref(struct stow_rpc_call *call);
void __wrap_stow_rpc_reply(struct stow_rpc_call *call, const void *response,
			   const struct stow_err *err);
int __wrap_stow_rpc_send(struct stow_rpc_call *call, const void *message);
int __wrap_stow_rpc_send_packed(struct stow_rpc_call *call, const struct stow_rpc_packed *packed);
bool __wrap_stow_rpc_is_written(struct stow_rpc_call *call);
size_t __wrap_stow_rpc_backlog(struct stow_rpc_call *call);
void __wrap_stow_rpc_close(struct stow_rpc_call *call, const struct stow_err *err);
void __wrap_stow_rpc_set_data(struct stow_rpc_call *call, void *data);
void *__wrap_stow_rpc_data(const struct stow_rpc_call *call);
const struct stow_rpc_peer *__wrap_stow_rpc_peer(const struct stow_rpc_call *call);
bool __wrap_stow_rpc_cancelled(const struct stow_rpc_call *call);
void *__wrap_stow_rpc_alloc(struct stow_rpc_call *call, size_t size);
char *__wrap_stow_rpc_printf(struct stow_rpc_call *call, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
int __wrap_stow_rpc_loop_new(unsigned int n_threads, struct stow_rpc_loop **ret_loop,
			     struct stow_err *err);
void __wrap_stow_rpc_loop_free(struct stow_rpc_loop *loop);
int __wrap_stow_rpc_server_new(struct stow_rpc_loop *loop,
			       const struct stow_rpc_server_options *options,
			       struct stow_rpc_server **ret_server, struct stow_err *err);
int __wrap_stow_rpc_server_add(struct stow_rpc_server *server,
			       const struct stow_rpc_service *service, void *ctx,
			       struct stow_err *err);
int __wrap_stow_rpc_server_start(struct stow_rpc_server *server, struct stow_err *err);
int __wrap_stow_rpc_server_listen_unix(struct stow_rpc_server *server, int fd,
				       struct stow_err *err);
void __wrap_stow_rpc_server_stop(struct stow_rpc_server *server, uint64_t grace);
void __wrap_stow_rpc_server_free(struct stow_rpc_server *server);
void __wrap_stow_store_commit(struct stow_store *store, struct stow_writes *writes,
			      void (*done)(void *ctx, const struct stow_err *err), void *ctx);
uint64_t __wrap_stow_store_epoch(const struct stow_store *store);
uint64_t __wrap_stow_store_time(const struct stow_store *store);
void __wrap_stow_store_standbys(struct stow_store *store, struct stow_store_standbys *ret);
void __wrap_stow_rpc_note(struct stow_rpc_call *call, const char *fmt, ...);

struct stow_rpc_call *fuzz_call_new(const ProtobufCServiceDescriptor *service, const char *name)
{
	struct stow_rpc_call *call = calloc(1, sizeof(*call));

	if (!call)
		abort();
	call->refs = 1;
	if (service)
		call->sends =
			protobuf_c_service_descriptor_get_method_by_name(service, name)->output;
	call->peer = (struct stow_rpc_peer){ .local = true, .same_namespaces = true };
	snprintf(call->peer.address, sizeof(call->peer.address), "unix:");
	return call;
}

struct stow_rpc_call *__wrap_stow_rpc_ref(struct stow_rpc_call *call)
{
	call->refs++;
	return call;
}

void __wrap_stow_rpc_unref(struct stow_rpc_call *call)
{
	if (!call || --call->refs > 0)
		return;
	while (call->chunks) {
		struct chunk *chunk = call->chunks;

		call->chunks = chunk->next;
		free(chunk);
	}
	free(call);
}

void fuzz_call_free(struct stow_rpc_call *call)
{
	__wrap_stow_rpc_unref(call);
}

int fuzz_call_answers(const struct stow_rpc_call *call)
{
	return call->answers + call->closed;
}

/* Check that the receiver could read the message. */
static void check_message(const struct stow_rpc_call *call, const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = malloc(len + 1);
	ProtobufCMessage *again;

	if (!bytes)
		abort();
	FUZZ_CHECK(!call->sends || message->descriptor == call->sends);
	FUZZ_CHECK(protobuf_c_message_pack(message, bytes) == len);
	again = protobuf_c_message_unpack(message->descriptor, NULL, len, bytes);
	free(bytes);
	FUZZ_CHECK(again);
	protobuf_c_message_free_unpacked(again, NULL);
}

static void check_error(const struct stow_err *err)
{
	FUZZ_CHECK(err->code > 0 && fuzz_one_line(err->msg));
}

void __wrap_stow_rpc_reply(struct stow_rpc_call *call, const void *response,
			   const struct stow_err *err)
{
	if (err)
		check_error(err);
	else
		check_message(call, response);
	FUZZ_CHECK(call->answers++ == 0);
	__wrap_stow_rpc_unref(call); /* held for the pending answer */
}

int __wrap_stow_rpc_send(struct stow_rpc_call *call, const void *message)
{
	check_message(call, message);
	return call->closed ? -EPIPE : 0;
}

int __wrap_stow_rpc_send_packed(struct stow_rpc_call *call, const struct stow_rpc_packed *packed)
{
	ProtobufCMessage *message;
	struct stow_err err;

	FUZZ_CHECK(rpc_unpack(rpc_packed_buffer(packed), call->sends, &message, &err) == 0);
	protobuf_c_message_free_unpacked(message, NULL);
	return call->closed ? -EPIPE : 0;
}

bool __wrap_stow_rpc_is_written(struct stow_rpc_call *call)
{
	return true;
}

size_t __wrap_stow_rpc_backlog(struct stow_rpc_call *call)
{
	return 0;
}

void __wrap_stow_rpc_close(struct stow_rpc_call *call, const struct stow_err *err)
{
	if (err)
		check_error(err);
	call->closed = true;
}

void __wrap_stow_rpc_set_data(struct stow_rpc_call *call, void *data)
{
	call->data = data;
}

void *__wrap_stow_rpc_data(const struct stow_rpc_call *call)
{
	return call->data;
}

const struct stow_rpc_peer *__wrap_stow_rpc_peer(const struct stow_rpc_call *call)
{
	return &call->peer;
}

bool __wrap_stow_rpc_cancelled(const struct stow_rpc_call *call)
{
	return false;
}

void *__wrap_stow_rpc_alloc(struct stow_rpc_call *call, size_t size)
{
	struct chunk *chunk = calloc(1, sizeof(*chunk) + size);

	if (!chunk)
		abort();
	chunk->next = call->chunks;
	call->chunks = chunk;
	return chunk->data;
}

char *__wrap_stow_rpc_printf(struct stow_rpc_call *call, const char *fmt, ...)
{
	char *text, *copy;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	copy = __wrap_stow_rpc_alloc(call, strlen(text) + 1);
	strcpy(copy, text);
	free(text);
	return copy;
}

int fuzz_unary(struct stow_rpc_call *call, stow_rpc_unary_fn method,
	       const ProtobufCMessageDescriptor *answer, void *ctx, const void *request)
{
	ProtobufCMessage *response = __wrap_stow_rpc_alloc(call, answer->sizeof_message);
	struct stow_err err = { 0 };
	int r;

	protobuf_c_message_init(answer, response);
	__wrap_stow_rpc_ref(call);
	r = method(call, ctx, request, response, &err);
	FUZZ_CHECK_ERR(r, &err);
	FUZZ_CHECK(r == STOW_RPC_LATER || call->answers == 0);
	if (r == 0)
		__wrap_stow_rpc_reply(call, response, NULL);
	else if (r < 0)
		__wrap_stow_rpc_reply(call, NULL, &err);
	return r;
}

/* --- the server --------------------------------------------------------------------------------- */

static const struct stow_rpc_service *the_service;
static void *the_ctx;

const struct stow_rpc_service *fuzz_service(void **ret_ctx)
{
	*ret_ctx = the_ctx;
	return the_service;
}

int __wrap_stow_rpc_loop_new(unsigned int n_threads, struct stow_rpc_loop **ret_loop,
			     struct stow_err *err)
{
	*ret_loop = NULL;
	return 0;
}

void __wrap_stow_rpc_loop_free(struct stow_rpc_loop *loop)
{
}

int __wrap_stow_rpc_server_new(struct stow_rpc_loop *loop,
			       const struct stow_rpc_server_options *options,
			       struct stow_rpc_server **ret_server, struct stow_err *err)
{
	*ret_server = NULL;
	return 0;
}

int __wrap_stow_rpc_server_add(struct stow_rpc_server *server,
			       const struct stow_rpc_service *service, void *ctx,
			       struct stow_err *err)
{
	the_service = service;
	the_ctx = ctx;
	return 0;
}

int __wrap_stow_rpc_server_start(struct stow_rpc_server *server, struct stow_err *err)
{
	return 0;
}

int __wrap_stow_rpc_server_listen_unix(struct stow_rpc_server *server, int fd, struct stow_err *err)
{
	close(fd);
	return 0;
}

void __wrap_stow_rpc_server_stop(struct stow_rpc_server *server, uint64_t grace)
{
}

void __wrap_stow_rpc_server_free(struct stow_rpc_server *server)
{
}

/* --- the store ---------------------------------------------------------------------------------- */

struct commit {
	struct commit *next;
	struct stow_writes *writes;
	void (*done)(void *ctx, const struct stow_err *err);
	void *ctx;
};

static struct commit *commits, **commits_end = &commits;

void __wrap_stow_store_commit(struct stow_store *store, struct stow_writes *writes,
			      void (*done)(void *ctx, const struct stow_err *err), void *ctx)
{
	struct commit *commit = calloc(1, sizeof(*commit));

	if (!commit)
		abort();
	*commit = (struct commit){ .writes = writes, .done = done, .ctx = ctx };
	*commits_end = commit;
	commits_end = &commit->next;
}

void __wrap_stow_rpc_note(struct stow_rpc_call *call, const char *fmt, ...)
{
}

uint64_t __wrap_stow_store_epoch(const struct stow_store *store)
{
	return 1;
}

uint64_t __wrap_stow_store_time(const struct stow_store *store)
{
	return stow_clock_wall();
}

void __wrap_stow_store_standbys(struct stow_store *store, struct stow_store_standbys *ret)
{
	*ret = (struct stow_store_standbys){ 0 };
}

void fuzz_store_run(bool fail)
{
	struct stow_err err;

	stow_err_set(&err, EIO, "the store: writing: disk I/O error");
	while (commits) {
		struct commit *commit = commits;

		commits = commit->next;
		if (!commits)
			commits_end = &commits;
		if (commit->done)
			commit->done(commit->ctx, fail ? &err : NULL);
		stow_writes_free(commit->writes);
		free(commit);
	}
}

/* --- inputs and files --------------------------------------------------------------------------- */

bool fuzz_step(const uint8_t **data, size_t *size, struct fuzz_step *ret)
{
	if (*size < 3)
		return false;
	ret->kind = (*data)[0];
	ret->len = (size_t)((*data)[1] | (*data)[2] << 8);
	*data += 3;
	*size -= 3;
	ret->data = *data;
	if (ret->len > *size)
		ret->len = *size;
	*data += ret->len;
	*size -= ret->len;
	return true;
}

void *fuzz_unpack(const struct fuzz_step *step, const ProtobufCMessageDescriptor *type)
{
	ProtobufCMessage *message = protobuf_c_message_unpack(type, NULL, step->len, step->data);

	if (message && !rpc_message_is_sound(message)) {
		protobuf_c_message_free_unpacked(message, NULL);
		message = NULL;
	}
	return message;
}

static char folder[PATH_MAX];
static pid_t owner;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void remove_folder(void)
{
	if (getpid() == owner)
		nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_folder(void)
{
	const char *tmp = getenv("TMPDIR");

	if (folder[0])
		return folder;
	snprintf(folder, sizeof(folder), "%s/numastow-fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(folder))
		abort();
	owner = getpid();
	atexit(remove_folder);
	return folder;
}

void fuzz_file(const char *path, const void *data, size_t len)
{
	char whole[PATH_MAX];
	int fd;

	snprintf(whole, sizeof(whole), "%.2048s%s", fuzz_folder(), path);
	for (char *p = whole + strlen(fuzz_folder()) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (mkdir(whole, 0755) < 0 && errno != EEXIST)
			abort();
		*p = '/';
	}
	fd = open(whole, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		abort();
	close(fd);
}
