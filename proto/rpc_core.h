/* SPDX-License-Identifier: Apache-2.0 */
/* Between the rpc_*.c files only: the one door to gRPC core's headers, completion tags, and how
 * operations are counted on the loop's queue. */
#ifndef PROTO_RPC_CORE_H
#define PROTO_RPC_CORE_H

#include "proto/base/base.h"
#include "proto/rpc_loop.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#if __has_include(<grpc/credentials.h>)
#include <grpc/credentials.h> /* where newer cores moved the credentials' functions */
#endif
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

#define RPC_ARGS_MAX 32

/* What core hands back when an operation has completed. Lives inside the object that started it: one
 * per kind of operation, so that starting one allocates nothing. */
struct rpc_tag {
	void (*fn)(void *owner, bool ok);
	void *owner;
};

grpc_completion_queue *rpc_loop_queue(struct rpc_loop *l);
/* Announce one operation on the queue; core aborts the process when one is started on a queue that
 * was shut down. -ESHUTDOWN: do not start it. */
MUST_CHECK int rpc_loop_begin(struct rpc_loop *l);
/* The announced operation was not started after all (started ones are counted off by the loop). */
void rpc_loop_undo(struct rpc_loop *l);
/* grpc_call_start_batch with both of the above. On an error (negative errno) no tag comes. */
MUST_CHECK int rpc_loop_batch(struct rpc_loop *l, grpc_call *call, const grpc_op *ops, size_t n,
			      struct rpc_tag *tag);

/* Channel arguments being collected. */
struct rpc_args {
	size_t n;
	grpc_arg arg[RPC_ARGS_MAX];
};
void rpc_args_int(struct rpc_args *a, const char *key, int value);
void rpc_args_string(struct rpc_args *a, const char *key, const char *value); /* borrowed */
void rpc_args_quota(struct rpc_args *a, grpc_resource_quota *quota);

#endif
