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
	{ "sense makes an order", LINK_SENSE, { .kind = LINK_ORDER, .body = hash, .len = 1 } },
	{ "uplink takes a step", LINK_UPLINK, { .kind = LINK_STEP, .body = hash, .len = 1 } },
	{ "a receipt without an exhibit",
	  LINK_UPLINK,
	  { .kind = LINK_RECEIPT, .body = hash, .len = 15 } },
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

/* More bytes than a socket holds lie between them: each comes out with its own message. */
static void carries_descriptors(void **state)
{
	struct pair p = make_pair();
	struct link_message m, big = { .kind = LINK_MANIFEST, .len = LINK_ID_LEN + MiB(1) };
	AUTO(free_ptr) uint8_t *body = calloc(1, big.len);
	size_t uploads = 0, manifests = 0;
	int r = 0;

	(void)state;
	big.body = body;
	for (uint8_t i = 0; i < 3; i++) {
		int pipes[2];

		assert_int_equal(pipe(pipes), 0);
		assert_int_equal(write(pipes[1], &i, 1), 1);
		(void)close(pipes[1]);
		assert_int_equal(link_send(p.sense, &big), 0);
		assert_int_equal(link_send_fd(p.sense,
					      &(struct link_message){
						      .kind = LINK_UPLOAD, .body = &i, .len = 1 },
					      pipes[0]),
				 0);
	}
	while (uploads + manifests < 6) {
		assert_int_equal(link_flush(p.sense), 0);
		while ((r = link_receive(p.uplink, &m)) > 0) {
			uint8_t byte = 99;

			manifests += m.kind == LINK_MANIFEST;
			if (m.kind != LINK_UPLOAD)
				continue;
			int fd = link_take_fd(p.uplink);

			assert_int_equal(read(fd, &byte, 1), 1);
			assert_int_equal(byte, uploads);
			assert_int_equal(m.body[0], uploads++);
			(void)close(fd);
		}
		assert_int_equal(r, 0);
	}
	assert_int_equal(link_take_fd(p.uplink), -1);
	free_pair(&p);
}

static void bounds_descriptors(void **state)
{
	struct pair p = make_pair();
	struct link_message m = { .kind = LINK_UPLOAD, .body = hash, .len = 1 };
	struct link_message big = { .kind = LINK_MANIFEST, .len = LINK_ID_LEN + MiB(1) };
	AUTO(free_ptr) uint8_t *body = calloc(1, big.len);

	(void)state;
	big.body = body;
	assert_int_equal(link_send(p.sense, &big), 0);
	for (size_t i = 0; i < LINK_FDS_MAX; i++)
		assert_int_equal(link_send_fd(p.sense, &m, dup(0)), 0);
	assert_int_equal(link_send_fd(p.sense, &m, 0), -EAGAIN);
	m.kind = LINK_STEP;
	assert_int_equal(link_send_fd(p.sense, &m, 0), -EINVAL);
	assert_int_equal(link_send_fd(p.uplink, &m, 0), -EINVAL);
	free_pair(&p);
}

/* Sense never gets a descriptor that a stolen uplink sends. */
static void sense_takes_no_descriptor(void **state)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	uint8_t head[16] = { 0, 0, 0, 0, LINK_ORDERS };
	struct iovec iov = { .iov_base = head, .iov_len = sizeof(head) };
	struct msghdr h = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	struct link_message m;
	struct link *l;
	int fds[2], zero = 0;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(link_new(fds[0], LINK_SENSE, &l, NULL), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &zero, sizeof(zero));
	int next = dup(0);

	(void)close(next);
	assert_int_equal(sendmsg(fds[1], &h, 0), sizeof(head));
	assert_int_equal(link_receive(l, &m), 1);
	assert_int_equal(m.kind, LINK_ORDERS);
	assert_int_equal(link_take_fd(l), -1);
	int after = dup(0);

	assert_int_equal(after, next); /* nothing was opened meanwhile */
	(void)close(after);
	(void)close(fds[1]);
	link_free(l);
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
	ADD_TEST(&t, sense_takes_no_descriptor);
	ADD_TEST(&t, bounds_descriptors);
	ADD_TEST(&t, carries_descriptors);
	return tests_run(&t, "link");
}
