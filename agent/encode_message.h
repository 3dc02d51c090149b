/* SPDX-License-Identifier: Apache-2.0 */
/* Inside encode: the generated messages, filled on the encoder's own storage. Nothing outside of
 * encode*.c includes this. */
#ifndef AGENT_ENCODE_MESSAGE_H
#define AGENT_ENCODE_MESSAGE_H

#include "agent/enrich.h"
#include "event.pb-c.h"
#include "proto/base/arena.h"

/* Texts are cut to these before they are packed; see the sum in encode.c. */
#define ENCODE_PATH_MAX (2 * REC_PATH_MAX) /* fanotify: a directory's path and a name */
#define ENCODE_REASON_MAX 1024
#define ENCODE_WORKLOAD_MAX 1024 /* each name of a container, its image, its pod */

/* Where the parts of an event's message live until it is packed. */
struct encode_parts {
	Exhibit__V1__Exec exec;
	Exhibit__V1__ImageKey replaced;
	Exhibit__V1__Exit exit;
	Exhibit__V1__File file;
	Exhibit__V1__Net net;
	Exhibit__V1__Gap gap;
	Exhibit__V1__OrderInfo order;
};

/* Fill m with ev, its details in parts; both valid as long as what ev points to. */
void encode_fill_event(const struct event *ev, Exhibit__V1__Event *m, struct encode_parts *parts);

struct encode_process_parts {
	Exhibit__V1__ImageKey key, parent;
};
/* Fill m with what is known of an image; args in arena a. -ENOMEM. */
MUST_CHECK int encode_fill_process(const struct description *about, Exhibit__V1__Process *m,
				   struct encode_process_parts *parts, struct arena *a);

/* A text as protobuf-c wants it (it does not write through the pointer), cut to max. */
ProtobufCBinaryData encode_bytes(struct bytes b, size_t max);
ProtobufCBinaryData encode_text(const char *text); /* NULL: absent; at most ENCODE_REASON_MAX */

#endif
