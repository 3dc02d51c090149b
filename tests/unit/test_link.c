/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/journal.h"
#include "agent/link.h"
#include "tests/unit/rows.h"

struct pair {
	struct link *sense, *uplink;
};

static struct pair make_pair(void)
{
	struct pair p;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(link_new(fds[0], LINK_SENSE, &p.sense, NULL), 0);
	assert_int_equal(link_new(fds[1], LINK_UPLINK, &p.uplink, NULL), 0);
	return p;
}

static void free_pair(struct pair *p)
{
	link_free(p->sense);
	link_free(p->uplink);
}

static const uint8_t hash[SEAL_HASH_LEN] = { 7 };

static const struct refused_row {
	const char *name;
	enum link_side from;
	struct link_message m;
} refused_rows[] = {
	{ "sense asks", LINK_SENSE, { .kind = LINK_WANT, .lane = 1 } },
	{ "uplink sends a batch",
	  LINK_UPLINK,
	  { .kind = LINK_BATCH, .lane = 1, .body = hash, .len = 1 } },
	{ "no such kind", LINK_UPLINK, { .kind = LINK_KINDS } },
	{ "no lane", LINK_UPLINK, { .kind = LINK_WANT } },
	{ "lane 3", LINK_UPLINK, { .kind = LINK_WANT, .lane = 3 } },
	{ "short hash", LINK_UPLINK, { .kind = LINK_ACK, .lane = 1, .body = hash, .len = 31 } },
	{ "state with a lane",
	  LINK_UPLINK,
	  { .kind = LINK_STATE, .lane = 1, .body = hash, .len = 1 } },
	{ "empty batch", LINK_SENSE, { .kind = LINK_BATCH, .lane = 1 } },
};

static void refuses_to_send(void **state)
{
	const struct refused_row *row = *state;
	struct pair p = make_pair();

	assert_int_equal(link_send(row->from == LINK_SENSE ? p.sense : p.uplink, &row->m), -EINVAL);
	free_pair(&p);
}

static void carries_messages(void **state)
{
	struct pair p = make_pair();
	struct link_message m;

	(void)state;
	assert_int_equal(link_receive(p.sense, &m), 0);
	assert_int_equal(link_send(p.uplink, &(struct link_message){ .kind = LINK_WANT,
								     .lane = 2,
								     .position = 1ULL << 40 }),
			 0);
	assert_int_equal(link_send(p.uplink, &(struct link_message){ .kind = LINK_ACK,
								     .lane = 1,
								     .position = 9,
								     .body = hash,
								     .len = sizeof(hash) }),
			 0);
	assert_int_equal(link_receive(p.sense, &m), 1);
	assert_int_equal(m.kind, LINK_WANT);
	assert_int_equal(m.lane, 2);
	assert_int_equal(m.position, 1ULL << 40);
	assert_int_equal(link_receive(p.sense, &m), 1);
	assert_int_equal(m.kind, LINK_ACK);
	assert_memory_equal(m.body, hash, sizeof(hash));
	assert_int_equal(link_receive(p.sense, &m), 0);
	free_pair(&p);
}

/* Larger than any socket buffer: it arrives in pieces, whichever side is slower. */
static void carries_the_largest_batch(void **state)
{
	struct pair p = make_pair();
	struct link_message m = {
		.kind = LINK_BATCH, .lane = 1, .position = 3, .len = JOURNAL_FRAME_MAX
	};
	uint8_t *body = malloc(JOURNAL_FRAME_MAX);
	struct link_message got;
	int r = 0;

	(void)state;
	assert_non_null(body);
	for (size_t i = 0; i < JOURNAL_FRAME_MAX; i++)
		body[i] = (uint8_t)(i * 31);
	m.body = body;
	assert_int_equal(link_send(p.sense, &m), 0);
	assert_true(link_pending(p.sense));
	for (int i = 0; i < 100000 && r == 0; i++) {
		r = link_receive(p.uplink, &got);
		assert_true(r >= 0);
		assert_int_equal(link_flush(p.sense), 0);
	}
	assert_int_equal(r, 1);
	assert_int_equal(got.len, JOURNAL_FRAME_MAX);
	assert_memory_equal(got.body, body, JOURNAL_FRAME_MAX);
	free(body);
	free_pair(&p);
}

static void is_bounded(void **state)
{
	struct pair p = make_pair();
	uint8_t *body = calloc(1, MiB(1));
	struct link_message m = { .kind = LINK_BATCH, .lane = 1, .body = body, .len = MiB(1) };
	int r = 0;
	int n = 0;

	(void)state;
	while (r == 0 && n++ < 100)
		r = link_send(p.sense, &m);
	assert_int_equal(r, -EAGAIN);
	assert_true(n < 10);
	free(body);
	free_pair(&p);
}

static const struct hostile_row {
	const char *name;
	uint8_t bytes[24];
	size_t len;
	int want;
} hostile_rows[] = {
	{ "half a head", { 0 }, 15, 0 },
	{ "kind 0", { 0 }, 16, -EBADMSG },
	{ "a batch from the uplink", { 1, 0, 0, 0, LINK_BATCH, 1 }, 17, -EBADMSG },
	{ "4 GiB", { 0xff, 0xff, 0xff, 0xff, LINK_STATE }, 16, -EBADMSG },
	{ "an acknowledgement with a round", { 32, 0, 0, 0, LINK_ACK, 1, 1 }, 16, -EBADMSG },
	{ "good", { 0, 0, 0, 0, LINK_WANT, 1 }, 16, 1 },
};

static void judges_what_it_receives(void **state)
{
	const struct hostile_row *row = *state;
	struct link *l;
	struct link_message m;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(link_new(fds[0], LINK_SENSE, &l, NULL), 0);
	assert_int_equal(write(fds[1], row->bytes, row->len), row->len);
	assert_int_equal(link_receive(l, &m), row->want);
	link_free(l);
	(void)close(fds[1]);
}

static void tells_the_end(void **state)
{
	struct pair p = make_pair();
	struct link_message m;

	(void)state;
	link_free(p.uplink);
	p.uplink = NULL;
	assert_int_equal(link_receive(p.sense, &m), -EPIPE);
	assert_int_equal(link_send(p.sense, &(struct link_message){ .kind = LINK_STOP }), -EPIPE);
	free_pair(&p);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, refuses_to_send, refused_rows);
	ADD_ROWS(&t, judges_what_it_receives, hostile_rows);
	ADD_TEST(&t, tells_the_end);
	ADD_TEST(&t, is_bounded);
	ADD_TEST(&t, carries_messages);
	ADD_TEST(&t, carries_the_largest_batch);
	return tests_run(&t, "link");
}
