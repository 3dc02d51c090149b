/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sealer_internal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include "agent/frame_id.h"
#include "proto/actions.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define EMPTY_EVERY_NS                                                                             \
	(300 * NSEC_PER_SEC) /* how far we are is made durable, with a sealed empty batch */
#define TOMBSTONE_ARENA_MAX MiB(4)

#define SAY_EVERY_NS (10 * NSEC_PER_SEC) /* the same thing, in the log */

bool sealer_may_say(uint64_t *said_ns)
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
	struct sealer_untold *l = &s->losses;
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
void sealer_count_unread(struct sealer *s, enum batch_lane lane, uint64_t position,
			 const struct error *why)
{
	struct sealer_untold *l = &s->losses;

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
	struct sealer_untold *l = &s->losses;

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
	struct sealer_untold *l = &s->losses;

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
		if (!sealer_may_say(&s->dropped_said_ns))
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
	if (!s->failing && sealer_may_say(&s->failed_said_ns))
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

		sealer_take_links(s);
		for (struct batch_closed *b; (b = queue_pop(s->in, 0)) != NULL;
		     batch_closed_free(b))
			take_batch(s, b);
		sealer_serve_link(s);
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
