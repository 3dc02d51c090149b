/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/writer.h"

#include <errno.h>
#include <pthread.h>

#include "collector/ledger_feed.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/queue.h"

#define RETAIN_EVERY_NS NSEC_PER_SEC

struct writer {
	struct store *store;
	struct ledger_feed *feed;
	struct queue *in;
	pthread_t thread;
	uint64_t retained_ns;
	bool failing, retain_failing, pay_failing;
};

void writer_item_free(struct writer_item *w)
{
	free(w->data);
	free(w->tokens);
	free(w->tombstone.dropped);
	free(w);
}

/* What an earlier group still owes the ledger comes first: so a batch that is a duplicate has its leaf. */
static int put_group(struct writer *w, struct store_item *items, size_t n, struct error *e)
{
	int paid, r = w->feed ? ledger_feed_pay(w->feed, e) : 0;

	if (r == 0)
		r = store_put(w->store, items, n, e);
	paid = w->feed ? ledger_feed_pay(w->feed, r == 0 ? e : NULL) : 0;
	return r < 0 ? r : paid;
}

/* One group commit. Idle messages come after it: they name headers that it may hold. */
static void store_group(struct writer *w, struct writer_item **group, size_t n)
{
	struct store_item items[STORE_PUT_MAX];
	struct error e = { 0 };
	size_t n_items = 0;
	int r = 0;

	for (size_t i = 0; i < n; i++)
		if (!group[i]->idle)
			items[n_items++] = group[i]->item;
	if (n_items > 0)
		r = put_group(w, items, n_items, &e);
	if (r < 0 && !w->failing)
		log_failure(LOG_LEVEL_ERROR,
			    "cannot store; nothing is acknowledged until it works again", &e);
	if (r == 0 && n_items > 0 && w->failing)
		log_info("storing works again");
	if (n_items > 0)
		w->failing = r < 0;
	for (size_t i = 0, at = 0; i < n; i++) {
		struct writer_item *item = group[i];

		if (item->idle)
			(void)store_idle(w->store, &item->told, item->item.received_ns);
		else
			item->item.result = items[at++].result;
		item->done(item, item->idle ? 0 : r, &e, item->ctx);
	}
}

static void retain(struct writer *w)
{
	struct error e = { 0 };
	uint64_t now = clock_monotonic_ns();

	if (now - w->retained_ns < RETAIN_EVERY_NS)
		return;
	w->retained_ns = now;
	int r = store_retain(w->store, clock_wall_ns(), &e);

	if (r < 0 && !w->retain_failing)
		log_failure(LOG_LEVEL_ERROR, "cannot seal or remove old segments", &e);
	w->retain_failing = r < 0;
	if (!w->feed)
		return;
	r = ledger_feed_pay(w->feed, &e);
	if (r < 0 && !w->pay_failing)
		log_failure(LOG_LEVEL_ERROR,
			    "the ledger is not written; nothing is stored until it works again",
			    &e);
	w->pay_failing = r < 0;
	ledger_feed_mark(w->feed, false);
}

static void *run_writer(void *arg)
{
	struct writer *w = arg;
	struct writer_item *group[STORE_PUT_MAX];

	for (;;) {
		size_t n = 0;
		bool last = queue_closed(w->in); /* asked first: what was put before is there now */
		struct writer_item *first = queue_pop(w->in, 500);

		if (first == NULL && last)
			break;
		for (struct writer_item *i = first; i != NULL;
		     i = n < STORE_PUT_MAX ? queue_pop(w->in, 0) : NULL)
			group[n++] = i;
		if (n > 0)
			store_group(w, group, n);
		retain(w);
	}
	if (w->feed)
		ledger_feed_mark(w->feed, true);
	return NULL;
}

int writer_start(struct store *s, struct ledger_feed *feed, struct writer **ret_w, struct error *e)
{
	struct writer *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return error_set(e, -ENOMEM, "cannot start the store's writer: out of memory");
	w->store = s;
	w->feed = feed;
	w->in = queue_new(WRITER_QUEUE_MAX);
	int r = w->in == NULL ? -ENOMEM : -pthread_create(&w->thread, NULL, run_writer, w);

	if (r < 0) {
		queue_free(w->in);
		free(w);
		return error_set(e, r, "cannot start the store's writer: %m");
	}
	(void)pthread_setname_np(w->thread, "store");
	*ret_w = w;
	return 0;
}

bool writer_put(struct writer *w, struct writer_item *item)
{
	return queue_push(w->in, item);
}

void writer_stop(struct writer *w)
{
	if (w == NULL)
		return;
	queue_close(w->in);
	(void)pthread_join(w->thread, NULL);
	queue_free(w->in);
	free(w);
}
