/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sealer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include "agent/frame_id.h"
#include "agent/link.h"
#include "proto/actions.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define IDLE_EVERY_NS (5 * NSEC_PER_SEC) /* tell the collector how far we are */
#define EMPTY_EVERY_NS                                                                             \
	(300 * NSEC_PER_SEC) /* ... and make that durable with a sealed empty batch */
#define TOMBSTONE_ARENA_MAX MiB(4)

#define SAY_EVERY_NS (10 * NSEC_PER_SEC) /* the same thing, in the log */
#define RECEIVE_MAX 64 /* messages of the uplink, then sealing has its turn */

struct losses {
	/* Between the seal thread and the drain thread, which both only add and take. */
	pthread_mutex_t lock;
	struct sealer_losses sum;
	bool any;
	uint64_t told_after; /* critical batches that were put when sum was taken last */
};

struct lane_state {
	uint64_t watermark_ns; /* how far all is sealed, or told as a gap that is sealed */
	bool owing; /* something was lost and the gap that tells it is not sealed yet */
	uint64_t sealed_ns, idle_ns; /* when we last sealed, and last told */
	bool wanted; /* the uplink waits for a frame */
	uint64_t want; /* its position; 0: the oldest */
	uint16_t round; /* of that question, for the answer */
};

struct sealer {
	struct sealer_config c;
	struct batch_sealer *seal;
	struct arena *arena, *frame_arena;
	struct batch_dropped *dropped;
	struct queue *in, *links;
	struct link *link;
	struct lane_state lane[BATCH_LANES + 1];
	struct losses losses;
	bool connected, said_up, failing, unread;
	bool more; /* the uplink said more than was taken in this round */
	uint64_t critical_put; /* batches; the drain thread's */
	uint64_t critical_taken; /* ... the seal thread's */
	uint64_t dropped_batches, dropped_said_ns; /* under tombstones, not said yet */
	uint64_t failed_said_ns, state_said_ns, ack_said_ns;
	struct mail *leaving; /* the link has no room for it yet */
	uint64_t mail_said_ns;
	pthread_mutex_t checkpoint_lock; /* what the orders thread sets */
	bool has_checkpoint;
	struct seal_hash checkpoint;
	pthread_t thread;
};

/* The same is said at most once in SAY_EVERY_NS. */
static bool may_say(uint64_t *said_ns)
{
	uint64_t now = clock_monotonic_ns();

	if (*said_ns != 0 && now - *said_ns < SAY_EVERY_NS)
		return false;
	*said_ns = now;
	return true;
}

static void widen(struct sealer_losses *sum, bool first, uint64_t from_ns, uint64_t to_ns)
{
	if (first || from_ns < sum->from_ns)
		sum->from_ns = from_ns;
	if (to_ns > sum->to_ns)
		sum->to_ns = to_ns;
}

/* Its gap events are not lost: what they tell is told again. */
static void count_losses(struct sealer *s, const struct batch_closed *b)
{
	struct losses *l = &s->losses;
	struct sealer_losses *sum = &l->sum;

	(void)pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < ARRAY_LEN(sum->counts); i++)
		sum->counts[i] += b->counts[i] + b->lost[i];
	sum->counts[CLASS_AGENT] -= b->gaps < b->counts[CLASS_AGENT] ? b->gaps :
								       b->counts[CLASS_AGENT];
	sum->unknown = sum->unknown || b->lost_unknown;
	widen(sum, sum->to_ns == 0, b->first_boottime_ns, b->last_boottime_ns);
	if (b->gaps > 0)
		widen(sum, false, b->lost_from_ns, b->lost_to_ns);
	l->any = true;
	(void)pthread_mutex_unlock(&l->lock);
}

/* It was sealed, and nobody will ever see it. */
static void count_unread(struct sealer *s, enum batch_lane lane, uint64_t position,
			 const struct error *why)
{
	struct losses *l = &s->losses;

	(void)pthread_mutex_lock(&l->lock);
	l->sum.unread++;
	l->sum.unread_lane = lane;
	l->sum.unread_position = position;
	l->any = true;
	(void)pthread_mutex_unlock(&l->lock);
	log_error("ALARM a sealed batch of the journal is lost, a gap event tells it",
		  KV_STR("lane", lane == BATCH_LANE_CRITICAL ? "critical" : "bulk"),
		  KV_U64("position", position), KV_STR("error", why->text));
}

bool sealer_take_losses(struct sealer *s, struct sealer_losses *ret)
{
	struct losses *l = &s->losses;

	(void)pthread_mutex_lock(&l->lock);
	bool any = l->any;

	*ret = l->sum;
	if (any)
		l->told_after = s->critical_put;
	l->sum = (struct sealer_losses){ 0 };
	l->any = false;
	(void)pthread_mutex_unlock(&l->lock);
	return any;
}

/* Whether b, the newest critical batch, tells all that was lost so far. */
static bool tells_losses(struct sealer *s, const struct batch_closed *b)
{
	struct losses *l = &s->losses;

	(void)pthread_mutex_lock(&l->lock);
	bool told = !l->any && b->gaps > 0 && s->critical_taken > l->told_after;

	(void)pthread_mutex_unlock(&l->lock);
	return told;
}

/* What the chain demands of the next header of this lane. */
static void continue_chain(const struct sealer *s, enum batch_lane lane, struct batch_header *h)
{
	struct journal_tail tail;

	journal_tail(s->c.journal, lane, &tail);
	bool same_boot = tail.has_hash && memcmp(tail.boot_id, s->c.boot_id, BATCH_BOOT_LEN) == 0;

	h->number = same_boot ? tail.number + 1 : 1;
	h->has_previous = tail.has_hash;
	h->previous = tail.hash;
}

static void fill_header(struct sealer *s, const struct batch_closed *b, struct batch_header *h)
{
	*h = (struct batch_header){
		.tenant = s->c.tenant,
		.host_id = s->c.host_id,
		.host_name = s->c.host_name,
		.lane = b->lane,
		.first_sequence = b->first_sequence,
		.last_sequence = b->last_sequence,
		.count = b->count,
		.entries = b->entries,
		.gaps = b->gaps,
		.first_boottime_ns = b->first_boottime_ns,
		.last_boottime_ns = b->last_boottime_ns,
		.sealed_boottime_ns = clock_boottime_ns(),
		.sealed_wall_ns = clock_wall_ns(),
		.synchronised = clock_synchronised(),
		.watermark_ns = b->watermark_ns,
		.n_rings = b->n_rings,
		.rings = b->rings,
	};
	memcpy(h->boot_id, s->c.boot_id, sizeof(h->boot_id));
	memcpy(h->epoch, journal_epoch(s->c.journal), sizeof(h->epoch));
	(void)pthread_mutex_lock(&s->checkpoint_lock);
	h->has_checkpoint = s->has_checkpoint;
	h->last_checkpoint = s->checkpoint;
	(void)pthread_mutex_unlock(&s->checkpoint_lock);
	continue_chain(s, b->lane, h);
}

/* Drop the oldest bulk frames until len bytes fit, each run under a signed tombstone. */
static int make_room(struct sealer *s, enum batch_lane lane, size_t len, struct error *e)
{
	struct batch_tombstone t = { .reason = "journal full", .dropped = s->dropped };
	size_t n;

	while ((n = journal_must_drop(s->c.journal, lane, len, &t, BATCH_DROPPED_MAX)) > 0) {
		const uint8_t *bytes;
		size_t bytes_len;

		t.wall_ns = clock_wall_ns();
		t.boottime_ns = clock_boottime_ns();
		arena_reset(s->arena);
		int r = batch_seal_tombstone(s->c.key, &t, s->arena, &bytes, &bytes_len, e);

		if (r == 0)
			r = journal_drop(s->c.journal, n, bytes, bytes_len, e);
		if (r < 0)
			return error_wrap(e, r, "cannot make room in the journal");
		s->dropped_batches += n;
		if (!may_say(&s->dropped_said_ns))
			continue;
		log_warn("journal full: oldest bulk batches dropped under a tombstone",
			 KV_U64("batches", s->dropped_batches));
		s->dropped_batches = 0;
	}
	return 0;
}

static int seal(struct sealer *s, const struct batch_closed *b, struct error *e)
{
	struct batch_header h;
	const uint8_t *bytes;
	size_t len;
	struct seal_hash hash;

	fill_header(s, b, &h);
	int r = batch_seal(s->seal, &h, b->raw, b->raw_len, &bytes, &len, &hash, e);

	if (r == 0)
		r = make_room(s, b->lane, len, e);
	if (r == 0)
		r = journal_append(s->c.journal, &h, &hash, b->counts, bytes, len, e);
	return r;
}

static void seal_failed(struct sealer *s, const struct batch_closed *b, const struct error *e)
{
	if (b->count > 0) {
		count_losses(s, b);
		s->lane[b->lane].owing = true;
	}
	if (!s->failing && may_say(&s->failed_said_ns))
		log_failure(LOG_LEVEL_ERROR, "events are lost and counted", e);
	s->failing = true;
}

static void seal_worked(struct sealer *s, struct lane_state *l)
{
	if (s->failing)
		log_debug("the journal takes batches again");
	s->failing = false;
	l->sealed_ns = l->idle_ns = clock_monotonic_ns();
}

/* Seal one closed batch; what cannot be kept is counted, and said once until it works again. */
static void take_batch(struct sealer *s, struct batch_closed *b)
{
	struct lane_state *l = &s->lane[b->lane];
	struct error e = { 0 };
	bool critical = b->lane == BATCH_LANE_CRITICAL;

	s->critical_taken += critical;
	bool tells = critical && tells_losses(s, b);

	if (b->watermark_ns < l->watermark_ns || (l->owing && !tells))
		b->watermark_ns = l->watermark_ns;
	if (b->entries == 0)
		l->watermark_ns = b->watermark_ns;
	if (b->entries == 0 && clock_monotonic_ns() - l->sealed_ns < EMPTY_EVERY_NS)
		return;
	if (seal(s, b, &e) < 0) {
		seal_failed(s, b, &e);
		return;
	}
	seal_worked(s, l);
	l->watermark_ns = b->watermark_ns;
	for (size_t i = 1; tells && i <= BATCH_LANES; i++)
		s->lane[i].owing = false;
}

/* The frame at position, which is one that the uplink can send. */
static int read_frame(struct sealer *s, enum batch_lane lane, uint64_t position,
		      enum journal_kind *ret_kind, const uint8_t **ret_bytes, size_t *ret_len,
		      struct error *e)
{
	struct window_id id;
	struct error why = { 0 };
	int r = journal_read(s->c.journal, lane, position, ret_kind, ret_bytes, ret_len, e);

	if (r < 0)
		return r;
	r = frame_id(*ret_kind, *ret_bytes, *ret_len, s->frame_arena, &id, e);
	if (r != -EBADMSG)
		return r;
	if (journal_lose(s->c.journal, lane, position, &why) < 0)
		log_failure(LOG_LEVEL_WARN, "the journal's new epoch waits", &why);
	return r;
}

/* Give the uplink the frame that it waits for, when there is one. */
static void serve(struct sealer *s, uint8_t lane)
{
	struct lane_state *l = &s->lane[lane];
	struct error e = { 0 };

	while (l->wanted) {
		uint64_t first, last;

		journal_range(s->c.journal, lane, &first, &last);
		uint64_t position =
			journal_next(s->c.journal, lane, l->want < first ? first : l->want);

		if (position > last)
			return;
		enum journal_kind kind;
		const uint8_t *bytes;
		size_t len;
		int r = read_frame(s, lane, position, &kind, &bytes, &len, &e);

		if (r == -EBADMSG)
			count_unread(s, lane, position, &e);
		else if (r < 0 && !s->unread)
			log_failure(LOG_LEVEL_ERROR, "a sealed batch cannot be read back", &e);
		if (r < 0) {
			s->unread = r != -EBADMSG;
			if (r != -EBADMSG && r != -ENOENT)
				return; /* later: an acknowledgement of the next would release it */
			l->want = position + 1;
			continue; /* missing from now on: the journal began a new epoch */
		}
		r = link_send(s->link, &(struct link_message){ .kind = kind == JOURNAL_BATCH ?
									       LINK_BATCH :
									       LINK_TOMBSTONE,
							       .lane = lane,
							       .round = l->round,
							       .position = position,
							       .body = bytes,
							       .len = len });
		if (r < 0)
			return; /* full: when it has drained; broken: the next receive tells */
		s->unread = false;
		l->wanted = false;
	}
}

static void tell_idle(struct sealer *s, enum batch_lane lane)
{
	struct lane_state *l = &s->lane[lane];
	struct journal_tail tail;
	struct error e = { 0 };
	const uint8_t *bytes;
	size_t len;

	journal_tail(s->c.journal, lane, &tail);
	bool same_boot = tail.has_hash && memcmp(tail.boot_id, s->c.boot_id, BATCH_BOOT_LEN) == 0;
	struct batch_idle idle = {
		.tenant = s->c.tenant,
		.host_id = s->c.host_id,
		.lane = lane,
		.number = same_boot ? tail.number : 0,
		.watermark_ns = l->watermark_ns,
		.boottime_ns = clock_boottime_ns(),
		.wall_ns = clock_wall_ns(),
		.synchronised = clock_synchronised(),
		.has_hash = tail.has_hash,
		.header_hash = tail.hash,
	};

	if (!same_boot)
		return; /* nothing of this boot yet: the first batch comes within seconds */
	memcpy(idle.boot_id, s->c.boot_id, sizeof(idle.boot_id));
	memcpy(idle.epoch, journal_epoch(s->c.journal), sizeof(idle.epoch));
	arena_reset(s->arena);
	if (batch_seal_idle(s->c.key, &idle, s->arena, &bytes, &len, &e) < 0)
		log_failure(LOG_LEVEL_ERROR, "cannot sign an idle message", &e);
	else
		(void)!link_send(s->link, &(struct link_message){ .kind = LINK_IDLE,
								  .lane = (uint8_t)lane,
								  .body = bytes,
								  .len = len });
}

static void tell_idle_lanes(struct sealer *s)
{
	uint64_t now = clock_monotonic_ns();

	for (enum batch_lane lane = BATCH_LANE_CRITICAL; s->link != NULL && lane <= BATCH_LANE_BULK;
	     lane++) {
		if (now - s->lane[lane].idle_ns < IDLE_EVERY_NS)
			continue;
		s->lane[lane].idle_ns = now;
		tell_idle(s, lane);
	}
}

static void take_state(struct sealer *s, const struct link_message *m)
{
	bool connected = m->body[0] == 1;

	/* A hostile uplink may say so a thousand times. */
	if (connected && !s->connected && !s->said_up) {
		log_info("connected to the collector");
		s->said_up = true;
	} else if (!connected && may_say(&s->state_said_ns)) {
		log_warn("no connection to the collector, batches stay in the journal",
			 KV_BYTES("error", m->body + 1, m->len - 1));
		s->said_up = false;
	}
	s->connected = connected;
}

static void take_ack(struct sealer *s, const struct link_message *m)
{
	struct seal_hash hash;
	struct error e = { 0 };

	memcpy(hash.b, m->body, sizeof(hash.b));
	int r = journal_ack(s->c.journal, m->lane, m->position, &hash, &e);

	if (r < 0 && r != -ENOENT && may_say(&s->ack_said_ns))
		log_failure(LOG_LEVEL_WARN, "an acknowledgement cannot be kept", &e);
}

static void drop_link(struct sealer *s)
{
	link_free(s->link);
	s->link = NULL;
	s->connected = s->more = false;
	for (size_t i = 1; i <= BATCH_LANES; i++)
		s->lane[i].wanted = false;
}

/* To the orders thread. When it does not keep up, orders are lost here: the collector sends what was not
 * answered again. */
static void pass_on(struct sealer *s, const struct link_message *m)
{
	struct mail *mail = s->c.mail == NULL ? NULL : mail_new(m->kind, m->body, m->len, -1);

	if (mail != NULL && queue_try_push(s->c.mail->in, mail))
		return;
	mail_free(mail);
	if (s->c.mail != NULL && may_say(&s->mail_said_ns))
		log_warn("too many orders at once, some are left to the collector to repeat");
}

/* What was meant for the uplink before is of no use to the new one. */
static void tell_new_link(struct sealer *s)
{
	if (s->c.mail == NULL)
		return;
	for (struct mail *m; (m = queue_pop(s->c.mail->out, 0)) != NULL;)
		mail_free(m);
	mail_free(TAKE(s->leaving));
	struct mail *mail = mail_new(LINK_KINDS, NULL, 0, -1);

	if (mail == NULL)
		return;
	mail->new_link = true;
	if (!queue_try_push(s->c.mail->in, mail))
		mail_free(mail);
}

/* From the orders thread, after what sealing has for the link. */
static void send_mail(struct sealer *s)
{
	while (s->c.mail != NULL) {
		if (s->leaving == NULL)
			s->leaving = queue_pop(s->c.mail->out, 0);
		if (s->leaving == NULL)
			return;
		struct link_message m = { .kind = s->leaving->kind,
					  .body = s->leaving->body,
					  .len = s->leaving->len };
		int r = s->link == NULL    ? -EPIPE :
			s->leaving->fd < 0 ? link_send(s->link, &m) :
					     link_send_fd(s->link, &m, s->leaving->fd);

		if (r == -EAGAIN)
			return;
		if (r == 0)
			s->leaving->fd = -1; /* the link's */
		mail_free(TAKE(s->leaving));
	}
}

static void receive_link(struct sealer *s)
{
	struct link_message m;
	int r = link_flush(s->link);

	s->more = false;
	for (size_t n = 0; r >= 0 && !s->more && (r = link_receive(s->link, &m)) > 0; n++) {
		s->more = n + 1 == RECEIVE_MAX;
		if (m.kind == LINK_STATE)
			take_state(s, &m);
		else if (m.kind == LINK_ACK)
			take_ack(s, &m);
		else if (m.kind == LINK_WANT) {
			s->lane[m.lane].wanted = true;
			s->lane[m.lane].want = m.position;
			s->lane[m.lane].round = m.round;
		} else {
			pass_on(s, &m);
		}
	}
	if (r == -EBADMSG)
		log_error("the uplink broke the link's rules and is cut off");
	if (r < 0)
		drop_link(s);
}

static void take_links(struct sealer *s)
{
	for (int *fd; (fd = queue_pop(s->links, 0)) != NULL; free(fd)) {
		struct error e = { 0 };

		drop_link(s);
		if (link_new(*fd, LINK_SENSE, &s->link, &e) < 0)
			log_failure(LOG_LEVEL_ERROR, "no uplink", &e);
		else
			tell_new_link(s);
	}
}

static bool all_acknowledged(const struct sealer *s)
{
	for (enum batch_lane lane = BATCH_LANE_CRITICAL; lane <= BATCH_LANE_BULK; lane++) {
		uint64_t first, last;

		journal_range(s->c.journal, lane, &first, &last);
		if (first <= last)
			return false;
	}
	return true;
}

static void wait_for_work(struct sealer *s)
{
	struct pollfd fds[4] = { { .fd = queue_fd(s->in), .events = POLLIN },
				 { .fd = queue_fd(s->links), .events = POLLIN },
				 { .fd = s->link == NULL ? -1 : link_fd(s->link),
				   .events = POLLIN },
				 { .fd = -1, .events = POLLIN } };

	if (s->c.mail != NULL && s->leaving == NULL)
		fds[3].fd = queue_fd(s->c.mail->out);

	if (s->link != NULL && link_pending(s->link))
		fds[2].events |= POLLOUT;
	if (queue_closed(s->in)) /* stopping: its descriptor stays readable */
		fds[0].fd = fds[1].fd = -1;
	(void)poll(fds, ARRAY_LEN(fds), s->more ? 0 : queue_closed(s->in) ? 50 : 500);
}

static void *run_sealer(void *arg)
{
	struct sealer *s = arg;
	uint64_t stop_at_ns = 0;

	for (;;) {
		wait_for_work(s);
		bool last = queue_closed(s->in); /* asked first: what was put before is there now */

		take_links(s);
		for (struct batch_closed *b; (b = queue_pop(s->in, 0)) != NULL;
		     batch_closed_free(b))
			take_batch(s, b);
		if (s->link != NULL)
			receive_link(s);
		if (s->link != NULL)
			serve(s, BATCH_LANE_CRITICAL);
		if (s->link != NULL)
			serve(s, BATCH_LANE_BULK);
		send_mail(s);
		tell_idle_lanes(s);
		if (!last)
			continue;
		uint64_t now = clock_monotonic_ns();

		if (stop_at_ns == 0)
			stop_at_ns = now + s->c.stop_timeout_ms * NSEC_PER_MSEC;
		if (!s->connected || now >= stop_at_ns || all_acknowledged(s))
			break;
	}
	if (s->link != NULL)
		(void)!link_send(s->link, &(struct link_message){ .kind = LINK_STOP });
	return NULL;
}

static void release(struct sealer *s)
{
	batch_sealer_free(s->seal);
	arena_free(s->arena);
	arena_free(s->frame_arena);
	free(s->dropped);
	mail_free(s->leaving);
	for (int *fd; s->links != NULL && (fd = queue_pop(s->links, 0)) != NULL; free(fd))
		(void)close(*fd);
	queue_free(s->in);
	queue_free(s->links);
	link_free(s->link);
	(void)pthread_mutex_destroy(&s->losses.lock);
	(void)pthread_mutex_destroy(&s->checkpoint_lock);
	free(s);
}

int sealer_start(const struct sealer_config *c, struct sealer **ret_s, struct error *e)
{
	struct sealer *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return error_set(e, -ENOMEM, "cannot start sealing: out of memory");
	s->c = *c;
	(void)pthread_mutex_init(&s->losses.lock, NULL);
	(void)pthread_mutex_init(&s->checkpoint_lock, NULL);
	s->in = queue_new(SEALER_QUEUE_MAX);
	s->links = queue_new(4);
	s->arena = arena_new(TOMBSTONE_ARENA_MAX, KiB(64));
	s->frame_arena = arena_new(FRAME_ID_ARENA_MAX, KiB(64));
	s->dropped = calloc(BATCH_DROPPED_MAX, sizeof(*s->dropped));
	int r = s->in == NULL || s->links == NULL || s->arena == NULL || s->frame_arena == NULL ||
				s->dropped == NULL ?
			-ENOMEM :
			0;

	if (r == 0)
		r = batch_sealer_new(c->key, &s->seal, e);
	if (r == 0)
		r = -pthread_create(&s->thread, NULL, run_sealer, s);
	if (r < 0) {
		release(s);
		return error_wrap(e, r, "cannot start sealing");
	}
	(void)pthread_setname_np(s->thread, "seal");
	*ret_s = s;
	return 0;
}

void sealer_put(struct sealer *s, struct batch_closed *b)
{
	s->critical_put += b->lane == BATCH_LANE_CRITICAL;
	if (!queue_push(s->in, b))
		batch_closed_free(b); /* closed only by sealer_stop, after the drain thread's end */
}

void sealer_checkpoint(struct sealer *s, const struct seal_hash *hash)
{
	(void)pthread_mutex_lock(&s->checkpoint_lock);
	s->has_checkpoint = true;
	s->checkpoint = *hash;
	(void)pthread_mutex_unlock(&s->checkpoint_lock);
}

void sealer_link(struct sealer *s, int fd)
{
	int *item = malloc(sizeof(*item));

	if (item != NULL)
		*item = fd;
	if (item == NULL || !queue_try_push(s->links, item)) {
		free(item);
		(void)close(fd); /* the uplink sees its end and is started again */
	}
}

void sealer_stop(struct sealer *s)
{
	if (s == NULL)
		return;
	queue_close(s->in);
	(void)pthread_join(s->thread, NULL);
	journal_close(s->c.journal);
	seal_key_free(s->c.key);
	release(s);
}
