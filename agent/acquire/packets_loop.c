/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "agent/acquire/packets_capture.h"
#include "proto/base/clock.h"

#define DRAIN_NS (20 * NSEC_PER_MSEC)
#define BUSY_NS (2 * NSEC_PER_MSEC) /* when a drain found an eighth of the ring full */
#define REFRESH_NS (2 * NSEC_PER_SEC)
#define LIVE_NS (NSEC_PER_SEC / 2) /* between what is sent to whoever watches */
#define SETTLE_NS (20 * NSEC_PER_MSEC) /* programs that still run when they are detached */
#define HOLD_NS (20 * NSEC_PER_MSEC) /* a packet may come so long after one that is later */

struct packets_clock packets_clock_now(void)
{
	uint64_t before = clock_boottime_ns();
	int64_t wall = clock_wall_ns();
	uint64_t after = clock_boottime_ns();

	return (struct packets_clock){ .boot_ns = before + (after - before) / 2, .wall_ns = wall };
}

/* ---- into the file ----------------------------------------------------------------------------------------- */

/* Counting goes on when the limit is used up. */
static int take_packet(struct capture *c, const struct packets_head *h, const uint8_t *data,
		       struct error *e)
{
	int r = packets_file_packet(c->file, h, data, e);

	if (r != -ECANCELED)
		return r;
	if (!c->cancelled)
		(void)snprintf(c->why, sizeof(c->why), "%s", e->text);
	c->cancelled = true;
	return 0;
}

static int take_own(void *ctx, const struct packets_head *h, const uint8_t *data, struct error *e)
{
	struct capture *c = ctx;

	packets_file_numbers(c->file, c->numbers);
	return take_packet(c, h, data, e);
}

static int take_recorded(struct capture *c, const struct packets_head *h, struct error *e)
{
	c->recorded++;
	packets_file_numbers(c->file, 0);
	return take_packet(c, h, (const uint8_t *)(h + 1), e);
}

/* ---- beside packets ------------------------------------------------------------------------------------------ */

static uint64_t seconds_of(const struct capture *c)
{
	const Exhibit__V1__OrderLimits *limits = c->r->order->limits;
	uint64_t asked = c->order->seconds, most = limits == NULL ? 0 : limits->max_seconds;

	return asked == 0 || (most != 0 && most < asked) ? most : asked;
}

static bool is_over(const struct capture *c, uint64_t now_ns)
{
	return c->cancelled || *c->r->stop || (c->until_ns != 0 && now_ns >= c->until_ns);
}

static void pause_for(uint64_t ns)
{
	struct timespec t = { .tv_nsec = (long)ns };

	(void)nanosleep(&t, NULL);
}

/* A socket would keep a namespace that all have left, and its devices. */
static int look_at_target(struct capture *c, struct error *e)
{
	if (c->socket != NULL && !packets_target_is_there(&c->target))
		return error_set(e, -ECANCELED, "no process is in its network namespace any more");
	return packets_target_refresh(&c->target) && c->live != NULL ?
		       packets_live_cgroups(c->live, e) :
		       0;
}

/* What is due beside packets. */
static int look_after(struct capture *c, uint64_t now_ns, struct error *e)
{
	int r = 0;

	if (now_ns - c->refreshed_ns >= REFRESH_NS) {
		c->refreshed_ns = now_ns;
		r = look_at_target(c, e);
	}
	if (r == 0 && now_ns - c->ticked_ns >= PACKETS_TICK_NS) {
		struct packets_clock now = packets_clock_now();

		c->ticked_ns = now_ns;
		r = packets_file_tick(c->file, &now, e);
		if (c->socket != NULL)
			packets_socket_clock(c->socket, now.wall_ns - (int64_t)now.boot_ns);
	}
	if (r == 0 && c->order->live && now_ns - c->flushed_ns >= LIVE_NS) {
		c->flushed_ns = now_ns;
		r = packets_file_flush(c->file, e);
	}
	if (r != -ECANCELED)
		return r;
	(void)snprintf(c->why, sizeof(c->why), "%s", e == NULL ? "" : e->text);
	c->cancelled = true;
	return 0;
}

/* ---- the capture's own ---------------------------------------------------------------------------------------- */

/* What came, in the order of time; the newest wait for what may still be older, unless room gets scarce. */
static int drain_own(struct capture *c, uint64_t now_ns, uint64_t *ret_bytes, struct error *e)
{
	struct packets_ring *ring = packets_live_ring(c->live);
	int r = packets_ring_look(ring, ret_bytes, e);
	bool scarce = r == 0 && *ret_bytes > PACKETS_RING_BYTES / 4;

	return r == 0 ? packets_ring_drain(ring, scarce ? UINT64_MAX : now_ns - HOLD_NS, take_own,
					   c, e) :
			r;
}

static int drain_rest(struct capture *c, struct error *e)
{
	struct packets_ring *ring = packets_live_ring(c->live);
	uint64_t bytes;
	int r = packets_ring_look(ring, &bytes, e);

	return r == 0 ? packets_ring_drain(ring, UINT64_MAX, take_own, c, e) : r;
}

static int loop_own(struct capture *c, struct error *e)
{
	uint64_t bytes = 0;
	int r = 0;

	for (uint64_t now = clock_boottime_ns(); r == 0 && !is_over(c, now);
	     now = clock_boottime_ns()) {
		r = drain_own(c, now, &bytes, e);
		if (r == 0)
			r = look_after(c, now, e);
		if (r == 0)
			pause_for(bytes > PACKETS_RING_BYTES / 8 ? BUSY_NS : DRAIN_NS);
	}
	packets_live_stop(c->live);
	pause_for(SETTLE_NS);
	return r < 0 ? r : drain_rest(c, e);
}

static int loop_socket(struct capture *c, struct error *e)
{
	bool more = false;
	int r = 0;

	for (uint64_t now = clock_boottime_ns(); r == 0 && !is_over(c, now);
	     now = clock_boottime_ns()) {
		r = packets_socket_drain(c->socket, take_own, c, &more, e);
		if (r == 0)
			r = look_after(c, now, e);
		if (r == 0)
			pause_for(more ? BUSY_NS : DRAIN_NS);
	}
	return r < 0 ? r : packets_socket_finish(c->socket, take_own, c, e);
}

/* ---- the recorder's -------------------------------------------------------------------------------------------- */

static bool is_skipped(const struct capture *c, uint32_t pid)
{
	for (size_t i = 0; i < c->n_skip; i++)
		if (c->skip[i] == pid)
			return true;
	return false;
}

static bool is_wanted(const struct capture *c, const struct packets_head *h)
{
	return h->boottime_ns >= c->from_ns && packets_target_wants(&c->target, h) &&
	       !is_skipped(c, h->users.creator.pid);
}

/* The first n that wait. */
static int hand_on(struct capture *c, uint32_t n, struct error *e)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = take_recorded(c, packets_wait_at(c->wait, i), e);
	packets_wait_drop(c->wait, n);
	return r;
}

/* What came since the last round, up to a time: it waits until it is in order. */
static int read_recorder(struct capture *c, uint64_t until_ns, struct error *e)
{
	struct recorder_packet p;
	int r = 0;

	while (r == 0) {
		uint64_t before = c->past.slots.lapped;
		int got = recorder_slots_next(&c->past.slots, clock_boottime_ns(), &p);
		uint64_t lapped = c->past.slots.lapped - before;

		packets_file_lost(c->file, lapped);
		c->lapped += lapped;
		if (got == 0)
			return 0;
		if (p.head.boottime_ns > until_ns)
			continue;
		bool wanted = is_wanted(c, &p.head);

		c->others += !wanted;
		if (!wanted || packets_wait_put(c->wait, &p.head, p.data))
			continue;
		c->seam_full |= c->seam_from_ns != 0;
		r = hand_on(c, packets_wait_count(c->wait) / 2, e);
		if (r == 0 && !packets_wait_put(c->wait, &p.head, p.data))
			r = error_set(e, -EBADMSG, "a recorded packet is longer than any");
	}
	return r;
}

static int loop_recorder(struct capture *c, struct error *e)
{
	uint64_t until_ns = c->until_ns == 0 ? UINT64_MAX : c->until_ns;
	int r = 0;

	for (uint64_t now = clock_boottime_ns(); r == 0; now = clock_boottime_ns()) {
		bool over = is_over(c, now);

		/* Once more after the end: what was recorded until then. */
		r = read_recorder(c, over && now < until_ns ? now : until_ns, e);
		if (r == 0)
			r = hand_on(c,
				    packets_wait_until(c->wait, over ? UINT64_MAX : now - HOLD_NS),
				    e);
		if (over)
			return r;
		if (r == 0)
			r = look_after(c, now, e);
		if (r == 0)
			pause_for(DRAIN_NS);
	}
	return r;
}

/* ---- from one to the other --------------------------------------------------------------------------------------- */

static int add_seen(void *ctx, const struct packets_head *h, const uint8_t *data, struct error *e)
{
	struct capture *c = ctx;

	(void)e;
	if (h->boottime_ns <= c->recorder_end_ns + PACKETS_SEAM_NS)
		c->seam_full |= !packets_seam_add(c->seam, h, data);
	return 0;
}

/* Both in the order of time, each packet once: of those that both saw the capture's, which has all of its bytes. */
static int join(struct capture *c, bool *seen, struct error *e)
{
	struct packets_ring *ring = packets_live_ring(c->live);
	uint32_t n = packets_wait_count(c->wait);
	uint64_t bytes;
	int r = packets_ring_look(ring, &bytes, e);

	if (r == 0)
		r = packets_ring_each(ring, add_seen, c, e);
	for (uint32_t i = n; r == 0 && i-- > 0;) {
		const struct packets_head *h = packets_wait_at(c->wait, i);

		seen[i] = packets_seam_take(c->seam, h, (const uint8_t *)(h + 1));
		c->seen_by_both += seen[i];
	}
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		const struct packets_head *h = packets_wait_at(c->wait, i);

		if (seen[i])
			continue;
		r = packets_ring_drain(ring, h->boottime_ns, take_own, c, e);
		if (r == 0)
			r = take_recorded(c, h, e);
	}
	packets_wait_drop(c->wait, n);
	return r;
}

static uint32_t compared_bytes(const struct capture *c)
{
	return c->copy_bytes != 0 && c->copy_bytes < c->past.state.snap ? c->copy_bytes :
									  c->past.state.snap;
}

/* The recorder is read until the capture has surely begun; what both saw then is written once. */
static int cross(struct capture *c, struct error *e)
{
	AUTO(free_ptr) bool *seen = calloc(PACKETS_WAIT_MAX, sizeof(*seen));
	int r = seen == NULL ? error_set(e, -ENOMEM, "cannot join packets: out of memory") : 0;

	if (r == 0)
		r = packets_seam_new(compared_bytes(c), 2 * PACKETS_WAIT_MAX, &c->seam, e);
	c->seam_from_ns = clock_boottime_ns();
	if (r == 0)
		r = packets_live_start(c->live, e);
	c->recorder_end_ns = clock_boottime_ns() + SETTLE_NS;
	for (uint64_t now = 0; r == 0 && now < c->recorder_end_ns + SETTLE_NS;) {
		pause_for(BUSY_NS);
		now = clock_boottime_ns();
		r = read_recorder(c, c->recorder_end_ns, e);
		if (r == 0)
			r = hand_on(c, packets_wait_until(c->wait, c->seam_from_ns - 1), e);
	}
	c->numbers = c->past.slots.next;
	return r == 0 ? join(c, seen, e) : r;
}

static int loop_both(struct capture *c, struct error *e)
{
	/* All that there is, however long it takes; what comes meanwhile is recorded too. */
	int r = read_recorder(c, UINT64_MAX, e);

	if (r == 0)
		r = cross(c, e);
	return r == 0 ? loop_own(c, e) : r;
}

int packets_loop(struct capture *c, struct error *e)
{
	uint64_t before = c->order->before_seconds * NSEC_PER_SEC;

	c->start_ns = clock_boottime_ns();
	c->from_ns = c->start_ns > before ? c->start_ns - before : 0;
	c->until_ns = seconds_of(c) == 0 ? 0 : c->start_ns + seconds_of(c) * NSEC_PER_SEC;
	if (!c->from_recorder)
		return c->socket != NULL ? loop_socket(c, e) : loop_own(c, e);
	int r = packets_wait_new(c->past.state.snap, PACKETS_WAIT_MAX, &c->wait, e);

	if (r < 0)
		return r;
	recorder_slots_oldest(&c->past.slots);
	return c->live != NULL ? loop_both(c, e) : loop_recorder(c, e);
}
