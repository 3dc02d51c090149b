/* SPDX-License-Identifier: Apache-2.0 */
/* Drives collector/orders_store.h for tests that cut the power under it or kill it.
 *
 * driver_orders put DIR COUNT SEED: COUNT random writes. Marks: "try NUMBER" before each, "ack NUMBER" after it
 *	returned; NUMBER stands in what is written.
 * driver_orders dump DIR: opens, prints "order NUMBER OPEN", "signed NUMBER", "step NUMBER" of all that is there and
 *	"list NUMBER", writes one more, closes, opens again.
 * An error is one sentence on standard error and exit status 1. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/orders_store.h"
#include "tests/system/marks.h"

#define ORDERS_MAX 100000
#define FILL 700 /* bytes behind a number, at most */

struct driver {
	const char *dir;
	struct orders_store *store;
	struct batch_name tenant;
	uint64_t rng, number;
	int64_t seqs[ORDERS_MAX];
	size_t n;
	bool failed;
};

/* The number first: whoever dumps tells the writes apart by it. */
static size_t text_of(struct driver *d, char out[static FILL + 32])
{
	size_t len = (size_t)snprintf(out, 32, "%" PRIu64 " ", ++d->number);
	size_t more = next_random(&d->rng) % FILL;

	memset(out + len, 'x', more);
	return len + more;
}

static int put_order(struct driver *d, const char *text, size_t len, struct error *e)
{
	struct orders_row row = {
		.tenant = d->tenant, .signed_order = (const uint8_t *)text, .len = len, .open = true
	};
	int r;

	memcpy(row.id, &d->number, sizeof(d->number));
	r = orders_store_put(d->store, &row, "case", 4, (const uint8_t *)text, len, &d->seqs[d->n],
			     e);
	d->n += r == 0;
	return r;
}

static int put_step(struct driver *d, const char *text, size_t len, struct error *e)
{
	return orders_store_step(d->store, d->seqs[next_random(&d->rng) % d->n], "web-1", 5,
				 EXHIBIT__V1__ORDER_STATE__ORDER_SENT, (const uint8_t *)text, len,
				 next_random(&d->rng) % 2 == 0, e);
}

static int put_approval(struct driver *d, const char *text, size_t len, struct error *e)
{
	return orders_store_approve(d->store, d->seqs[next_random(&d->rng) % d->n],
				    (const uint8_t *)text, len, (const uint8_t *)text, len, e);
}

static int put_list(struct driver *d, const char *text, size_t len, struct error *e)
{
	return orders_store_put_list(d->store, &d->tenant, (const uint8_t *)text, len, e);
}

static void put_one(struct driver *d)
{
	static int (*const writes[])(struct driver *, const char *, size_t,
				     struct error *) = { put_order, put_step, put_approval,
							 put_list };
	bool first = d->n == 0 || d->n == ORDERS_MAX;
	size_t which = first ? 0 : next_random(&d->rng) % ARRAY_LEN(writes);
	char text[FILL + 32];
	struct error e = { 0 };
	size_t len = text_of(d, text);

	say("try %" PRIu64 "\n", d->number);
	int r = writes[which](d, text, len, &e);

	report(r, &e, &d->failed);
	if (r == 0)
		say("ack %" PRIu64 "\n", d->number);
}

/* ---- what is there --------------------------------------------------------------------------------------- */

/* What is written next has a number of its own. */
static uint64_t number_of(struct driver *d, const uint8_t *data, size_t len)
{
	uint64_t n = 0;

	for (size_t i = 0; i < len && data[i] >= '0' && data[i] <= '9'; i++)
		n = n * 10 + (uint64_t)(data[i] - '0');
	if (n > d->number)
		d->number = n;
	return n;
}

static int take_row(void *ctx, const struct orders_row *row)
{
	struct driver *d = ctx;
	uint64_t number;

	memcpy(&number, row->id, sizeof(number));
	say("order %" PRIu64 " %d\n", number, row->open);
	say("signed %" PRIu64 "\n", number_of(d, row->signed_order, row->len));
	if (d->n == ORDERS_MAX)
		return -E2BIG;
	d->seqs[d->n++] = row->seq;
	return 0;
}

static int take_step(void *ctx, const uint8_t *step, size_t len)
{
	say("step %" PRIu64 "\n", number_of(ctx, step, len));
	return 0;
}

static int take_list(void *ctx, const struct batch_name *tenant, const uint8_t *list, size_t len)
{
	(void)tenant;
	say("list %" PRIu64 "\n", number_of(ctx, list, len));
	return 0;
}

static int show(struct driver *d, struct error *e)
{
	int r = orders_store_each(d->store, &(struct orders_which){ 0 }, take_row, d, e);

	for (size_t i = 0; r == 0 && i < d->n; i++)
		r = orders_store_steps(d->store, d->seqs[i], take_step, d, e);
	return r == 0 ? orders_store_lists(d->store, take_list, d, e) : r;
}

static int dump(struct driver *d, struct error *e)
{
	int r = show(d, e);

	if (r < 0)
		return r;
	d->rng = d->number;
	put_one(d);
	orders_store_close(d->store);
	d->store = NULL;
	return orders_store_open(d->dir, &d->store, e);
}

int main(int argc, char **argv)
{
	struct driver d = { .tenant = { 4, "acme" } };
	struct error e = { 0 };
	bool puts = argc == 5 && strcmp(argv[1], "put") == 0;

	if (!puts && !(argc == 3 && strcmp(argv[1], "dump") == 0))
		return 2;
	d.dir = argv[2];
	int r = orders_store_open(d.dir, &d.store, &e);

	if (r == 0 && puts) {
		d.rng = strtoull(argv[4], NULL, 10);
		d.number = 1000000000 * d.rng;
		for (uint64_t i = strtoull(argv[3], NULL, 10); i > 0; i--)
			put_one(&d);
	} else if (r == 0) {
		r = dump(&d, &e);
	}
	report(r, &e, &d.failed);
	orders_store_close(d.store);
	return d.failed ? 1 : 0;
}
