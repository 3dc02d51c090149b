/* SPDX-License-Identifier: Apache-2.0 */
/* Drives collector/ledger.h for tests that cut the power under it, kill it, or let calls fail.
 *
 * driver_ledger put DIR KEY COUNT SEED: COUNT groups of leaves, each with a number of its own. Marks: "try NUMBER"
 *	before an append, "ack INDEX NUMBER" after it returned, "checkpoint SIZE ROOT" of each that could be seen.
 * driver_ledger dump DIR KEY: opens, takes a checkpoint, prints "leaf INDEX NUMBER HASH" of all that is there and
 *	"checkpoint SIZE ROOT", appends one more leaf, closes, opens again.
 * An error is one sentence on standard error and exit status 1. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/ledger.h"
#include "proto/tlog.h"
#include "tests/system/marks.h"

#define GROUP_MAX 90
#define ORIGIN "example.org/ledger"

struct driver {
	struct ledger_config c;
	struct ledger *l;
	uint64_t rng, number;
	uint64_t seen; /* size of the last checkpoint that was told */
	bool failed;
};

static int open_ledger(struct driver *d, struct error *e)
{
	return ledger_open(&d->c, &d->l, e);
}

static void tell_checkpoint(struct driver *d)
{
	struct checkpoint c;
	char *note = NULL;
	uint64_t size;

	if (ledger_newest(d->l, &note, &size, NULL) < 0)
		return;
	if (checkpoint_open(ledger_key(d->l), note, strlen(note), &c, NULL) == 0 &&
	    c.size != d->seen)
		say("checkpoint %" PRIu64 " %s\n", c.size, hex(&c.root).text);
	d->seen = c.size;
	free(note);
}

static int append(struct driver *d, size_t n, struct error *e)
{
	Exhibit__V1__LedgerEntry entries[GROUP_MAX];
	const Exhibit__V1__LedgerEntry *list[GROUP_MAX];
	char texts[GROUP_MAX][200];
	uint64_t first;
	int r;

	for (size_t i = 0; i < n; i++) {
		int len = snprintf(texts[i], sizeof(texts[i]), "%" PRIu64 " ", d->number + i);
		size_t more = (size_t)len + next_random(&d->rng) % 100;

		memset(texts[i] + len, 'x', more - (size_t)len);
		exhibit__v1__ledger_entry__init(&entries[i]);
		entries[i].wall_ns = 1;
		entries[i].text = (ProtobufCBinaryData){ more, (uint8_t *)texts[i] };
		list[i] = &entries[i];
		say("try %" PRIu64 "\n", d->number + i);
	}
	r = ledger_append(d->l, list, n, &first, e);
	for (size_t i = 0; i < n && r == 0; i++)
		say("ack %" PRIu64 " %" PRIu64 "\n", first + i, d->number + i);
	d->number += n;
	return r;
}

static int put(struct driver *d, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		struct error e = { 0 };

		report(append(d, 1 + next_random(&d->rng) % GROUP_MAX, &e), &e, &d->failed);
		e = (struct error){ 0 };
		/* Some groups share a checkpoint. */
		if (next_random(&d->rng) % 3 == 0)
			report(ledger_checkpoint(d->l, &e), &e, &d->failed);
		tell_checkpoint(d);
	}
	return 0;
}

static int print_leaf(struct driver *d, uint64_t index, struct error *e)
{
	AUTO(free_ptr) uint8_t *bytes = NULL;
	Exhibit__V1__LedgerEntry *m;
	struct seal_hash hash;
	size_t len;
	int r = ledger_entry(d->l, index, &bytes, &len, e);

	if (r == 0)
		r = tlog_leaf_hash(bytes, len, &hash);
	if (r < 0)
		return r;
	m = exhibit__v1__ledger_entry__unpack(NULL, len, bytes);
	if (!m)
		return error_set(e, -EBADMSG, "leaf %" PRIu64 " cannot be read", index);
	say("leaf %" PRIu64 " %.*s %s\n", index, (int)strcspn((char *)m->text.data, " "),
	    (char *)m->text.data, hex(&hash).text);
	exhibit__v1__ledger_entry__free_unpacked(m, NULL);
	return 0;
}

static int dump(struct driver *d, struct error *e)
{
	int r = ledger_checkpoint(d->l, e);

	d->seen = UINT64_MAX;
	if (r == 0)
		tell_checkpoint(d);
	for (uint64_t i = 0; i < d->seen && d->seen != UINT64_MAX && r == 0; i++)
		r = print_leaf(d, i, e);
	d->number = 1000000;
	if (r == 0)
		r = append(d, 1, e);
	ledger_close(d->l);
	d->l = NULL;
	return r == 0 ? open_ledger(d, e) : r;
}

int main(int argc, char **argv)
{
	struct driver d = { 0 };
	struct error e = { 0 };
	bool putting = argc == 6 && strcmp(argv[1], "put") == 0;
	int r;

	if (!putting && (argc != 4 || strcmp(argv[1], "dump") != 0))
		return 2;
	d.c = (struct ledger_config){
		.dir = argv[2], .key_file = argv[3], .origin = ORIGIN, .checkpoint_ms = 100
	};
	d.rng = putting ? strtoul(argv[5], NULL, 10) : 1;
	count_from_here(); /* before there is a second thread */
	r = open_ledger(&d, &e);
	if (r == 0)
		r = putting ? put(&d, strtoul(argv[4], NULL, 10)) : dump(&d, &e);
	report(r, &e, &d.failed);
	ledger_close(d.l);
	return d.failed ? 1 : 0;
}
