/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the targets share that run a whole service: calls without a network, a store without a
 * thread, a folder for files. The linker puts these in the place of lib/rpc's and the store's own
 * functions (module.mk, fuzz_WRAP): what a program sends is checked and dropped.
 */

#include "rpc/rpc.h"

/* A call with one reference. `service` and `name` find what it sends; both NULL: anything. */
struct stow_rpc_call *fuzz_call_new(const ProtobufCServiceDescriptor *service, const char *name);
/* Drops the reference, after the callbacks of a stream that it never got. */
void fuzz_call_free(struct stow_rpc_call *call);
/* How many answers it got so far; of a stream: whether it was closed. */
int fuzz_call_answers(const struct stow_rpc_call *call);

/* A unary method as a server calls it: fails a check unless it is answered once or says that it
 * will be. */
int fuzz_unary(struct stow_rpc_call *call, stow_rpc_unary_fn method,
	       const ProtobufCMessageDescriptor *answer, void *ctx, const void *request);

/* Calls back whoever waits for the store: durable, or (with `fail`) not. */
void fuzz_store_run(bool fail);

/* The service that the program gave to its server. */
const struct stow_rpc_service *fuzz_service(void **ret_ctx);

/* One step of an input: a byte that says what, two for the length, and a message. NULL: the end. */
struct fuzz_step {
	uint8_t kind;
	const uint8_t *data;
	size_t len;
};

bool fuzz_step(const uint8_t **data, size_t *size, struct fuzz_step *ret);

/* Its message as a receiver takes it, to be freed with stow_rpc_message_free(); or NULL. */
void *fuzz_unpack(const struct fuzz_step *step, const ProtobufCMessageDescriptor *type);

/* A folder that goes with the process, and files in it; a path's folders are made. */
const char *fuzz_folder(void);
void fuzz_file(const char *path, const void *data, size_t len);
