/* SPDX-License-Identifier: Apache-2.0 */
/* Between the journal and the uplink: frames and the word that there are none go out, acknowledgements and the state
 * of the connection come in; what concerns orders is passed on. */
#include "agent/sealer_internal.h"

#include <errno.h>
#include <string.h>

#include "agent/frame_id.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define IDLE_EVERY_NS (5 * NSEC_PER_SEC) /* tell the collector how far we are */
#define RECEIVE_MAX 64 /* messages of the uplink, then sealing has its turn */

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
			sealer_count_unread(s, lane, position, &e);
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
	} else if (!connected && sealer_may_say(&s->state_said_ns)) {
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

	if (r < 0 && r != -ENOENT && sealer_may_say(&s->ack_said_ns))
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
	if (s->c.mail != NULL && sealer_may_say(&s->mail_said_ns))
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

void sealer_take_links(struct sealer *s)
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

void sealer_serve_link(struct sealer *s)
{
	if (s->link != NULL)
		receive_link(s);
	if (s->link != NULL)
		serve(s, BATCH_LANE_CRITICAL);
	if (s->link != NULL)
		serve(s, BATCH_LANE_BULK);
	send_mail(s);
	tell_idle_lanes(s);
}
