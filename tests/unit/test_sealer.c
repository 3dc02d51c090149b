/* SPDX-License-Identifier: Apache-2.0 */
/* The seal thread with a journal in a temporary folder and this test as its uplink. */
#include "agent/sealer.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/link.h"
#include "proto/actions.h"
#include "proto/base/clock.h"
#include "tests/unit/rows.h"
#include "tests/unit/sealing.h"

#define WAIT_MS 10000
#define BOOT "bootbootbootboo"
#define ENTRIES 400

struct world {
	struct sealing s;
	struct sealer *sealer;
	struct link *link; /* the uplink's end */
	struct mailbox mail;
	uint64_t sequence;
	int epochs;
};

static int fill(void *ctx, void *buf, size_t len)
{
	int *epochs = ctx;

	memset(buf, ++*epochs, len);
	return 0;
}

/* before: what to do with the journal before the sealer has it; or NULL. */
static void begin_with(struct world *w, uint64_t journal_bytes, enum journal_policy policy,
		       void (*before)(struct journal *j))
{
	struct sealer_config c = { .tenant = { .len = 7, .b = "default" },
				   .host_id = { .len = 4, .b = "host" },
				   .host_name = { .len = 3, .b = "web" },
				   .boot_id = BOOT,
				   .mail = &w->mail,
				   .stop_timeout_ms = WAIT_MS };
	char dir[96], key[96];
	struct journal_config j = { .dir = dir,
				    .max_bytes = journal_bytes,
				    .policy = policy,
				    .random = fill,
				    .random_ctx = &w->epochs };
	struct journal_recovery found;

	*w = (struct world){ .sequence = 0 };
	sealing_begin(&w->s);
	assert_int_equal(mailbox_init(&w->mail, NULL), 0);
	(void)snprintf(dir, sizeof(dir), "%s/journal", w->s.dir);
	(void)snprintf(key, sizeof(key), "%s/seal.pem", w->s.dir);
	assert_int_equal(seal_key_load(key, &c.key, NULL), 0);
	assert_int_equal(journal_open(&j, &c.journal, &found, NULL), 0);
	if (before != NULL)
		before(c.journal);
	assert_int_equal(sealer_start(&c, &w->sealer, NULL), 0);
}

static void begin(struct world *w, uint64_t journal_bytes, enum journal_policy policy)
{
	begin_with(w, journal_bytes, policy, NULL);
}

static void connect_uplink(struct world *w)
{
	static const uint8_t connected[1] = { 1 };
	int fds[2];

	link_free(w->link);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	sealer_link(w->sealer, fds[0]);
	assert_int_equal(link_new(fds[1], LINK_UPLINK, &w->link, NULL), 0);
	assert_int_equal(link_send(w->link, &(struct link_message){ .kind = LINK_STATE,
								    .body = connected,
								    .len = 1 }),
			 0);
}

static void end(struct world *w)
{
	sealer_stop(w->sealer);
	mailbox_release(&w->mail);
	link_free(w->link);
	sealing_end(&w->s);
}

/* Put a batch of n events of this class, which do not compress; lost: told by a gap event among them. */
static void put(struct world *w, enum batch_lane lane, uint32_t n, uint64_t watermark_ns,
		uint64_t lost)
{
	struct batch_closed *b = calloc(1, sizeof(*b));
	uint64_t noise = 88172645463325252ULL + w->sequence;

	assert_non_null(b);
	b->raw = malloc(KiB(64));
	assert_non_null(b->raw);
	b->raw_len = sealing_entries(b->raw, KiB(64), n);
	for (size_t at = 0; at < b->raw_len; at += 1U + b->raw[at])
		for (size_t k = 1; k <= b->raw[at]; k++) {
			noise ^= noise << 13;
			noise ^= noise >> 7;
			noise ^= noise << 17;
			b->raw[at + k] = (uint8_t)noise;
		}
	b->lane = lane;
	b->count = b->entries = n;
	b->first_sequence = n > 0 ? w->sequence + 1 : 0;
	b->last_sequence = n > 0 ? w->sequence + n : 0;
	b->first_boottime_ns = n > 0 ? watermark_ns - 1 : 0;
	b->last_boottime_ns = n > 0 ? watermark_ns : 0;
	b->watermark_ns = watermark_ns;
	b->counts[lane == BATCH_LANE_CRITICAL ? CLASS_AGENT : CLASS_FILE_OPEN] = n;
	b->gaps = lost > 0;
	b->lost[CLASS_FILE_OPEN] = lost;
	b->lost_from_ns = lost > 0 ? 1 : 0;
	b->lost_to_ns = lost > 0 ? 2 : 0;
	w->sequence += n;
	sealer_put(w->sealer, b);
}

/* The next message of this kind. */
static struct link_message receive(struct world *w, enum link_kind kind)
{
	uint64_t end_ns = clock_monotonic_ns() + WAIT_MS * NSEC_PER_MSEC;
	struct link_message m;
	int r;

	while (clock_monotonic_ns() < end_ns) {
		struct pollfd fd = { .fd = link_fd(w->link), .events = POLLIN };

		assert_int_equal(link_flush(w->link), 0);
		while ((r = link_receive(w->link, &m)) > 0)
			if (m.kind == kind)
				return m;
		assert_int_equal(r, 0);
		(void)poll(&fd, 1, 100);
	}
	fail_msg("no message of kind %d came", (int)kind);
	return m;
}

static void want(struct world *w, enum batch_lane lane, uint64_t position)
{
	assert_int_equal(link_send(w->link, &(struct link_message){ .kind = LINK_WANT,
								    .lane = (uint8_t)lane,
								    .position = position }),
			 0);
}

static void acknowledge(struct world *w, enum batch_lane lane, uint64_t position,
			const struct seal_hash *hash)
{
	assert_int_equal(link_send(w->link, &(struct link_message){ .kind = LINK_ACK,
								    .lane = (uint8_t)lane,
								    .position = position,
								    .body = hash->b,
								    .len = sizeof(hash->b) }),
			 0);
}

/* The next batch, its signature and hashes checked. */
static struct batch_view next_batch(struct world *w, enum batch_lane lane, uint64_t *position)
{
	struct batch_view v;
	const uint8_t *raw;
	size_t raw_len;

	want(w, lane, *position);
	struct link_message m = receive(w, LINK_BATCH);

	assert_int_equal(m.lane, lane);
	*position = m.position;
	assert_int_equal(batch_parse(m.body, m.len, w->s.arena, &v, NULL), 0);
	assert_int_equal(batch_open(w->s.opener, &v, w->s.verifier, &raw, &raw_len, NULL), 0);
	return v;
}

static void acknowledge_all(struct world *w, enum batch_lane lane, uint64_t n)
{
	uint64_t position = 0;

	for (uint64_t i = 0; i < n; i++) {
		struct batch_view v = next_batch(w, lane, &position);

		acknowledge(w, lane, position, &v.hash);
		position++;
	}
}

static void chains_what_it_seals(void **state)
{
	struct seal_hash previous = { { 0 } };
	uint64_t position = 0;
	struct world w;

	(void)state;
	begin(&w, MiB(4), JOURNAL_DROP_OLDEST_BULK);
	connect_uplink(&w);
	for (uint64_t i = 1; i <= 3; i++)
		put(&w, BATCH_LANE_BULK, 2, 100 * i, 0);
	for (uint64_t i = 1; i <= 3; i++) {
		struct batch_view v = next_batch(&w, BATCH_LANE_BULK, &position);

		assert_int_equal(v.header.number, i);
		assert_int_equal(v.header.first_sequence, 2 * i - 1);
		assert_int_equal(v.header.watermark_ns, 100 * i);
		assert_memory_equal(v.header.boot_id, BOOT, sizeof(BOOT));
		assert_int_equal(v.header.has_previous, i > 1);
		assert_memory_equal(v.header.previous.b, previous.b, sizeof(previous.b));
		previous = v.hash;
		acknowledge(&w, BATCH_LANE_BULK, position, &v.hash);
		position++;
	}
	end(&w);
}

/* All that was put before the stop is sealed, and the stop waits until it is acknowledged. */
static void *stop(void *sealer)
{
	sealer_stop(sealer);
	return NULL;
}

static void stops_after_the_last_acknowledgement(void **state)
{
	struct world w;
	pthread_t thread;

	(void)state;
	begin(&w, MiB(4), JOURNAL_DROP_OLDEST_BULK);
	connect_uplink(&w);
	for (uint64_t i = 1; i <= 40; i++)
		put(&w, BATCH_LANE_CRITICAL, 1, i, 0);
	assert_int_equal(pthread_create(&thread, NULL, stop, w.sealer), 0);
	acknowledge_all(&w, BATCH_LANE_CRITICAL, 40);
	(void)receive(&w, LINK_STOP);
	assert_int_equal(pthread_join(thread, NULL), 0);
	mailbox_release(&w.mail);
	link_free(w.link);
	sealing_end(&w.s);
}

/* Without a connection a stop seals all the same, and does not wait. */
static void seals_what_is_put_just_before_the_stop(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		struct journal_recovery found;
		struct journal_tail tail;
		struct journal *j;
		struct world w;
		char dir[96];

		begin(&w, MiB(4), JOURNAL_DROP_OLDEST_BULK);
		for (uint64_t i = 1; i <= 5; i++)
			put(&w, BATCH_LANE_CRITICAL, 1, i, 0);
		sealer_stop(w.sealer);
		mailbox_release(&w.mail);
		(void)snprintf(dir, sizeof(dir), "%s/journal", w.s.dir);
		assert_int_equal(journal_open(&(struct journal_config){ .dir = dir,
									.max_bytes = MiB(4),
									.random = fill },
					      &j, &found, NULL),
				 0);
		journal_tail(j, BATCH_LANE_CRITICAL, &tail);
		assert_int_equal(tail.number, 5);
		journal_close(j);
		sealing_end(&w.s);
	}
}

static void drops_bulk_under_tombstones(void **state)
{
	struct batch_tombstone t;
	struct sealer_losses lost;
	struct world w;

	(void)state;
	begin(&w, MiB(1), JOURNAL_DROP_OLDEST_BULK);
	for (uint64_t i = 1; i <= 200; i++)
		put(&w, BATCH_LANE_BULK, ENTRIES, i, 0);
	connect_uplink(&w);
	want(&w, BATCH_LANE_BULK, 0);
	struct link_message m = receive(&w, LINK_TOMBSTONE);

	assert_int_equal(batch_open_tombstone(m.body, m.len, w.s.verifier, w.s.arena, &t, NULL), 0);
	assert_int_equal(t.dropped[0].number, 1);
	assert_int_equal(t.dropped[0].counts[CLASS_FILE_OPEN], ENTRIES);
	assert_false(sealer_take_losses(w.sealer, &lost));
	link_free(w.link); /* or the stop would wait for it */
	w.link = NULL;
	end(&w);
}

/* Wait until the drain thread's side is told of n lost events; adds to sum. */
static void wait_for_losses(struct world *w, struct sealer_losses *sum, uint64_t n)
{
	uint64_t end_ns = clock_monotonic_ns() + WAIT_MS * NSEC_PER_MSEC;

	while (sum->counts[CLASS_FILE_OPEN] < n && clock_monotonic_ns() < end_ns) {
		struct sealer_losses more;

		if (sealer_take_losses(w->sealer, &more))
			for (size_t i = 0; i < ARRAY_LEN(sum->counts); i++)
				sum->counts[i] += more.counts[i];
		(void)poll(NULL, 0, 10);
	}
	assert_int_equal(sum->counts[CLASS_FILE_OPEN], n);
}

/* A full journal that may drop nothing: each event is either sealed or counted, also when the batch that
 * tells of losses is lost itself; and no watermark passes a loss that is not told. */
static void counts_what_it_cannot_keep(void **state)
{
	struct sealer_losses sum = { .counts = { 0 } };
	struct batch_idle told;
	struct world w;

	(void)state;
	begin(&w, MiB(1), JOURNAL_DROP_NEW);
	for (uint64_t i = 1; i <= 200; i++)
		put(&w, BATCH_LANE_BULK, ENTRIES, i, 0);
	put(&w, BATCH_LANE_CRITICAL, ENTRIES, 201,
	    1000); /* tells of 1,000, and finds no room either */
	put(&w, BATCH_LANE_BULK, 0, 300, 0); /* nothing happened since */
	connect_uplink(&w);
	struct link_message m = receive(&w, LINK_IDLE);

	while (m.lane != BATCH_LANE_BULK)
		m = receive(&w, LINK_IDLE);
	assert_int_equal(batch_open_idle(m.body, m.len, w.s.verifier, w.s.arena, &told, NULL), 0);
	uint64_t sealed = told.number;

	assert_int_equal(told.watermark_ns, sealed);
	assert_true(sealed > 1 && sealed < 200);
	wait_for_losses(&w, &sum, (200 - sealed) * ENTRIES + 1000);
	assert_int_equal(sum.counts[CLASS_AGENT], ENTRIES - 1);
	link_free(w.link);
	w.link = NULL;
	end(&w);
}

/* Its sum is right, so the journal gives it back; and no collector could take it. */
static void append_nonsense(struct journal *j)
{
	static const uint64_t counts[16] = { 0 };
	struct seal_hash hash = { { 1 } };
	struct batch_header h;

	sealing_header(&h, BATCH_LANE_CRITICAL, 1, 2);
	memcpy(h.boot_id, BOOT, sizeof(h.boot_id));
	memcpy(h.epoch, journal_epoch(j), sizeof(h.epoch));
	assert_int_equal(journal_append(j, &h, &hash, counts, "nonsense", 8, NULL), 0);
}

static void a_frame_that_is_none_is_a_loss_and_stops_no_lane(void **state)
{
	struct sealer_losses lost = { .unread = 0 };
	uint64_t end_ns = clock_monotonic_ns() + WAIT_MS * NSEC_PER_MSEC;
	uint64_t critical = 0, bulk = 0;
	struct world w;

	(void)state;
	begin_with(&w, MiB(4), JOURNAL_DROP_OLDEST_BULK, append_nonsense);
	connect_uplink(&w);
	put(&w, BATCH_LANE_BULK, 2, 100, 0);
	struct batch_view v = next_batch(&w, BATCH_LANE_BULK, &bulk);

	acknowledge(&w, BATCH_LANE_BULK, bulk, &v.hash);
	want(&w, BATCH_LANE_CRITICAL, 0);
	while (!sealer_take_losses(w.sealer, &lost) && clock_monotonic_ns() < end_ns)
		(void)poll(NULL, 0, 10);
	assert_int_equal(lost.unread, 1);
	assert_int_equal(lost.unread_lane, BATCH_LANE_CRITICAL);
	assert_int_equal(lost.unread_position, 1);
	/* The lane goes on, in an epoch of its own: nothing hangs on what nobody can read. */
	put(&w, BATCH_LANE_CRITICAL, 2, 200, 0);
	v = next_batch(&w, BATCH_LANE_CRITICAL, &critical);
	assert_int_equal(critical, 2);
	assert_int_equal(v.header.number, 1);
	assert_false(v.header.has_previous);
	assert_int_equal(w.epochs, 2);
	assert_false(sealer_take_losses(w.sealer, &lost));
	acknowledge(&w, BATCH_LANE_CRITICAL, critical, &v.hash);
	end(&w);
}

static void cuts_off_who_breaks_the_rules(void **state)
{
	struct link_message m;
	struct world w;
	int r = 0;

	(void)state;
	begin(&w, MiB(4), JOURNAL_DROP_OLDEST_BULK);
	connect_uplink(&w);
	put(&w, BATCH_LANE_BULK, 2, 100, 0);
	assert_int_equal(send(link_fd(w.link), "garbage and more of it", 22, 0), 22);
	for (int i = 0; i < WAIT_MS / 10 && r == 0; i++) {
		struct pollfd fd = { .fd = link_fd(w.link), .events = POLLIN };

		(void)poll(&fd, 1, 10);
		r = link_receive(w.link, &m);
	}
	assert_true(r < 0);
	/* The next one is served. */
	uint64_t position = 0;

	connect_uplink(&w);
	struct batch_view v = next_batch(&w, BATCH_LANE_BULK, &position);

	assert_int_equal(v.header.number, 1);
	acknowledge(&w, BATCH_LANE_BULK, position, &v.hash);
	end(&w);
}

static void expect_mail(struct world *w, bool new_link, enum link_kind kind, const char *body)
{
	struct mail *m = queue_pop(w->mail.in, WAIT_MS);

	assert_non_null(m);
	assert_int_equal(m->new_link, new_link);
	if (!new_link) {
		assert_int_equal(m->kind, kind);
		assert_int_equal(m->len, strlen(body));
		assert_memory_equal(m->body, body, m->len);
	}
	mail_free(m);
}

static void send_body(struct world *w, enum link_kind kind, const char *body)
{
	assert_int_equal(link_send(w->link, &(struct link_message){ .kind = kind,
								    .body = (const uint8_t *)body,
								    .len = strlen(body) }),
			 0);
}

/* What is not the sealer's goes on to the orders thread, and back; with its descriptor. */
static void carries_mail(void **state)
{
	struct world w;
	int pipes[2];
	char byte = 0;

	(void)state;
	begin(&w, MiB(2), JOURNAL_DROP_OLDEST_BULK);
	/* Without a link it is of no use to anybody. */
	assert_int_equal(pipe(pipes), 0);
	assert_true(queue_try_push(w.mail.out, mail_new(LINK_UPLOAD, "s", 1, pipes[0])));
	connect_uplink(&w);
	expect_mail(&w, true, LINK_KINDS, "");
	send_body(&w, LINK_ORDER, "order");
	send_body(&w, LINK_REVOCATIONS, "list");
	expect_mail(&w, false, LINK_ORDER, "order");
	expect_mail(&w, false, LINK_REVOCATIONS, "list");
	(void)close(pipes[1]);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(write(pipes[1], "y", 1), 1);
	assert_true(queue_try_push(w.mail.out, mail_new(LINK_STEP, "step", 4, -1)));
	assert_true(queue_try_push(w.mail.out, mail_new(LINK_UPLOAD, "start", 5, pipes[0])));
	assert_memory_equal(receive(&w, LINK_STEP).body, "step", 4);
	assert_memory_equal(receive(&w, LINK_UPLOAD).body, "start", 5);
	int fd = link_take_fd(w.link);

	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal(byte, 'y');
	(void)close(fd);
	(void)close(pipes[1]);
	connect_uplink(&w);
	expect_mail(&w, true, LINK_KINDS, "");
	end(&w);
}

/* A flood of orders holds up nothing: what the orders thread does not take is lost to it. */
static void mail_never_stops_sealing(void **state)
{
	struct world w;

	(void)state;
	begin(&w, MiB(2), JOURNAL_DROP_OLDEST_BULK);
	connect_uplink(&w);
	for (size_t i = 0; i < 4 * MAIL_MAX; i++)
		send_body(&w, LINK_ORDER, "order");
	put(&w, BATCH_LANE_CRITICAL, 1, 9, 0);
	assert_int_equal(link_send(w.link, &(struct link_message){ .kind = LINK_WANT,
								   .lane = BATCH_LANE_CRITICAL }),
			 0);
	assert_int_equal(receive(&w, LINK_BATCH).position, 1);
	assert_int_equal(queue_len(w.mail.in), MAIL_MAX);
	end(&w);
}

static void names_the_checkpoint(void **state)
{
	struct world w;
	struct batch_view v;
	struct seal_hash hash = { { 1, 2, 3 } };
	struct link_message m;

	(void)state;
	begin(&w, MiB(2), JOURNAL_DROP_OLDEST_BULK);
	connect_uplink(&w);
	sealer_checkpoint(w.sealer, &hash);
	put(&w, BATCH_LANE_CRITICAL, 1, 9, 0);
	assert_int_equal(link_send(w.link, &(struct link_message){ .kind = LINK_WANT,
								   .lane = BATCH_LANE_CRITICAL }),
			 0);
	m = receive(&w, LINK_BATCH);
	assert_int_equal(batch_parse(m.body, m.len, w.s.arena, &v, NULL), 0);
	assert_true(v.header.has_checkpoint);
	assert_memory_equal(&v.header.last_checkpoint, &hash, sizeof(hash));
	end(&w);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, counts_what_it_cannot_keep);
	ADD_TEST(&t, drops_bulk_under_tombstones);
	ADD_TEST(&t, a_frame_that_is_none_is_a_loss_and_stops_no_lane);
	ADD_TEST(&t, cuts_off_who_breaks_the_rules);
	ADD_TEST(&t, seals_what_is_put_just_before_the_stop);
	ADD_TEST(&t, mail_never_stops_sealing);
	ADD_TEST(&t, carries_mail);
	ADD_TEST(&t, names_the_checkpoint);
	ADD_TEST(&t, chains_what_it_seals);
	ADD_TEST(&t, stops_after_the_last_acknowledgement);
	return tests_run(&t, "sealer");
}
