/* SPDX-License-Identifier: Apache-2.0 */
/* One completion queue and the threads that poll it. */

#include <errno.h>
#include <grpc/support/log.h>
#include <stdlib.h>

#include "rpc/internal.h"

static void *run(void *arg)
{
	struct stow_rpc_loop *loop = arg;

	for (;;) {
		grpc_event event = grpc_completion_queue_next(
			loop->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);

		if (event.type == GRPC_QUEUE_SHUTDOWN)
			return NULL;
		if (event.type == GRPC_OP_COMPLETE) {
			struct rpc_tag *tag = event.tag;

			rpc_takes_over(tag);
			tag->fn(tag, event.success != 0);
		}
	}
}

/* Suppress the core's log: it prints every failed handshake of a peer to standard error, in its
 * own format. What matters to the program reaches it as a status. */
static void hush(gpr_log_func_args *args)
{
}

int stow_rpc_loop_new(unsigned int n_threads, struct stow_rpc_loop **ret_loop, struct stow_err *err)
{
	struct stow_rpc_loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return stow_err_set(err, ENOMEM, "out of memory");
	loop->threads = calloc(n_threads, sizeof(*loop->threads));
	if (!loop->threads) {
		free(loop);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	gpr_set_log_function(hush);
	grpc_init();
	loop->queue = grpc_completion_queue_create_for_next(NULL);
	for (; loop->n_threads < n_threads; loop->n_threads++) {
		int r = pthread_create(&loop->threads[loop->n_threads], NULL, run, loop);

		if (r != 0) {
			stow_rpc_loop_free(loop);
			return stow_err_sys(err, r, "cannot start a thread");
		}
	}
	*ret_loop = loop;
	return 0;
}

void stow_rpc_loop_free(struct stow_rpc_loop *loop)
{
	if (!loop)
		return;
	grpc_completion_queue_shutdown(loop->queue);
	for (unsigned int i = 0; i < loop->n_threads; i++)
		pthread_join(loop->threads[i], NULL);
	grpc_completion_queue_destroy(loop->queue);
	grpc_shutdown_blocking();
	free(loop->threads);
	free(loop);
}
