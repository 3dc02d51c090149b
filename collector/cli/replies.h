/* SPDX-License-Identifier: Apache-2.0 */
/* Asks a question whose answer is a message per host, and hands each to the verb. */
#ifndef CLI_REPLIES_H
#define CLI_REPLIES_H

#include "collector/cli/outcome.h"
#include "collector/cli/screen.h"
#include "proto/json.h"

struct replies {
	const struct args *args;
	const char *path;
	const void *question; /* a protobuf-c message */
	const ProtobufCMessageDescriptor *reply;
	/* What one reply says; returns its completeness or NULL. Counts rows in o. */
	const Exhibit__V1__Completeness *(*take)(void *ctx, const void *reply, struct outcome *o);
	void *ctx;
};

/* 0, or the exit code of a failure, which is said. */
MUST_CHECK int replies_run(const struct replies *r, struct outcome *o,
			   Exhibit__V1__Completeness **ret_last);

/* Pieces that hosts, coverage and status share. */
bool replies_seen_between(const struct args *a, int64_t seen_ns);
void replies_host_json(struct json *j, const ProtobufCBinaryData *id,
		       const ProtobufCBinaryData *name);

#endif
