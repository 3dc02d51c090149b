/* SPDX-License-Identifier: Apache-2.0 */
/* A text that several process images share: counted references, never changed. One thread. */
#ifndef AGENT_PROCESS_TEXT_H
#define AGENT_PROCESS_TEXT_H

#include "agent/event.h"

struct process_text;

/* Copies len bytes; one reference. NULL: out of memory. */
struct process_text *process_text_new(const void *at, size_t len);
/* One more reference; returns text. NULL allowed. */
struct process_text *process_text_share(struct process_text *text);
/* One reference less. Returns the bytes of memory given back: 0 as long as others refer to it, or NULL. */
size_t process_text_drop(struct process_text *text);
size_t process_text_size(const struct process_text *text); /* bytes of memory; NULL: 0 */
struct bytes process_text_bytes(const struct process_text *text); /* NULL: empty */

#endif
