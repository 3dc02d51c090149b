/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the messages of an answer to Events and Tree and hands them to whoever asked. One owner. */
#ifndef COLLECTOR_ANSWER_H
#define COLLECTOR_ANSWER_H

#include "collector/completeness.h"
#include "collector/row_key.h"
#include "proto/base/base.h"
#include "proto/base/error.h"
#include "service.pb-c.h"

/* Where an answer goes. send: data is malloc'ed and the callee's in any case; it waits while the asker reads
 * slowly, and fails with -ECANCELED (gone), -ETIMEDOUT (reads nothing). */
struct answer_sink {
	int (*send)(void *ctx, uint8_t *data, size_t len);
	bool (*cancelled)(void *ctx); /* gone, or out of time */
	void *ctx;
};

struct answer;

MUST_CHECK int answer_new(const struct answer_sink *sink, struct answer **ret, struct error *e);
void answer_free(struct answer *a); /* NULL allowed */
static inline void answer_free_ptr(struct answer **a)
{
	answer_free(*a);
}

struct answer_row {
	const Exhibit__V1__BatchContext *context; /* all borrowed for the call */
	const uint8_t *event, *process; /* bytes as stored; process NULL: none */
	size_t event_len, process_len;
	const struct row_key *key; /* becomes the page's cursor; NULL: none */
	uint32_t depth;
	bool focus;
	int64_t exited_ns;
	bool ended_unwatched;
};

/* Sends when a message is full. 0, or what the sink said. */
MUST_CHECK int answer_row(struct answer *a, const struct answer_row *row);
MUST_CHECK int answer_flush(struct answer *a);
uint64_t answer_rows(const struct answer *a);
/* What is left, with the completeness: the last message, or one in between in a live tail. */
MUST_CHECK int answer_complete(struct answer *a, const struct completeness *c,
			       const struct missing_list *missing, bool cut);

/* Fill a Completeness message from c and missing. storage: missing->n rows and pointers, borrowed by out. */
struct answer_missing {
	Exhibit__V1__Incomplete *rows;
	Exhibit__V1__Incomplete **pointers;
	Exhibit__V1__RecordBegin *later;
	Exhibit__V1__RecordBegin **later_pointers;
};
MUST_CHECK int answer_completeness(const struct completeness *c, const struct missing_list *missing,
				   struct answer_missing *storage, Exhibit__V1__Completeness *out);
void answer_missing_release(struct answer_missing *m);

#endif
