/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/grab_live.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "collector/cli/session.h"
#include "collector/cli/vault_call.h"
#include "proto/base/clock.h"

#define ITEM "capture.pcapng" /* agent/acquire/packets_file.c */
#define AGAIN_MS 300
#define AWAY_S 300 /* how long a collector may be away */

struct live {
	struct order_watch *watch;
	uint8_t exhibit[VAULT_ID_LEN];
	uint64_t shown; /* bytes on standard output */
	uint64_t came_ns; /* monotonic: when the collector answered last */
	bool reader_left;
};

int grab_live_check(const struct args *a, size_t n_hosts, struct error *e)
{
	if (a->json)
		return error_set(e, -EINVAL,
				 "--stdout gives standard output to the packets; leave out --json");
	if (n_hosts != 1)
		return error_set(e, -EINVAL,
				 "--stdout shows the packets of one host; name one with --host");
	if (isatty(STDOUT_FILENO) != 1)
		return 0;
	(void)error_set(e, -EINVAL, "packets are not for a terminal");
	error_hint(e, "add | tshark -r -, or | wireshark -k -i -, or > FILE");
	return -EINVAL;
}

/* ---- standard output ------------------------------------------------------------------------------------- */

static bool has_left(int events)
{
	struct pollfd p = { .fd = STDOUT_FILENO, .events = (short)events };

	return poll(&p, 1, events ? 200 : 0) == 1 && (p.revents & POLLERR);
}

/* 0 also when the reader left, or somebody pressed Ctrl-C while it does not read. */
static int show(struct live *l, const uint8_t *data, size_t len, struct error *e)
{
	while (len > 0 && !session_interrupted()) {
		ssize_t n = write(STDOUT_FILENO, data, len);

		if (n < 0 && errno == EPIPE) {
			l->reader_left = true;
			return 0;
		}
		if (n < 0 && errno == EAGAIN)
			l->reader_left = has_left(POLLOUT);
		else if (n < 0 && errno != EINTR)
			return error_set(e, -EIO, "cannot write to standard output: %s",
					 strerror(errno));
		if (l->reader_left)
			return 0;
		if (n <= 0)
			continue;
		data += n;
		len -= (size_t)n;
		l->shown += (uint64_t)n;
	}
	return 0;
}

/* ---- the collector's side --------------------------------------------------------------------------------- */

static int take_reply(struct live *l, const uint8_t *data, size_t len, struct error *e)
{
	Exhibit__V1__FetchReply *reply = exhibit__v1__fetch_reply__unpack(NULL, len, data);
	int r;

	if (!reply || reply->kind_case != EXHIBIT__V1__FETCH_REPLY__KIND_DATA)
		r = error_set(e, -EBADMSG,
			      "the collector's answer cannot be read; is it of another version?");
	else
		r = show(l, reply->data.data, reply->data.len, e);
	if (reply)
		exhibit__v1__fetch_reply__free_unpacked(reply, NULL);
	return r;
}

/* 0: that was all, or the viewing is over. */
static int view_once(struct live *l, struct error *e)
{
	Exhibit__V1__FetchRequest q = EXHIBIT__V1__FETCH_REQUEST__INIT;
	AUTO(session_free_ptr) struct session *s = NULL;
	int r;

	q.exhibit_id = (ProtobufCBinaryData){ sizeof(l->exhibit), l->exhibit };
	q.name = (ProtobufCBinaryData){ sizeof(ITEM) - 1, (uint8_t *)(uintptr_t)ITEM };
	q.offset = l->shown;
	q.follow = true;
	r = session_open(l->watch->args, VAULT_PATH_FETCH, &q, &s, e);
	while (r >= 0 && !l->reader_left) {
		AUTO(free_ptr) uint8_t *data = NULL;
		size_t len;

		r = session_look(s, &data, &len, e);
		if (r <= 0)
			return r;
		l->came_ns = clock_monotonic_ns();
		if (r == SESSION_NOTHING)
			l->reader_left = has_left(0);
		else
			r = take_reply(l, data, len, e);
	}
	return r < 0 ? r : 0;
}

/* Whoever asks again is answered the same. -ENOENT: the host has not begun to send. */
static bool is_final(int code)
{
	return code == -EACCES || code == -EINVAL || code == -EBADMSG || code == -EIO ||
	       code == -E2BIG;
}

/* How far the order is. Whatever goes wrong with that, the packets count more. */
static void look_at_order(struct live *l)
{
	struct error e = { 0 };

	if (order_watch_again(l->watch, false, &e) < 0)
		return;
}

static int view(struct live *l, struct error *e)
{
	bool told = false;
	int r;

	l->came_ns = clock_monotonic_ns();
	while ((r = view_once(l, e)) < 0 && !is_final(r) && !session_interrupted()) {
		bool waits = r == -ENOENT;

		if (!waits && !told)
			(void)fprintf(stderr,
				      "the collector is away, the capture is not; asking again\n");
		told |= !waits;
		if (!waits && clock_monotonic_ns() - l->came_ns > AWAY_S * NSEC_PER_SEC)
			return r;
		look_at_order(l);
		/* It ended without an exhibit: its last step says why. */
		if (waits && order_watch_over(l->watch))
			return 0;
		(void)usleep(AGAIN_MS * 1000);
		*e = (struct error){ 0 };
	}
	return session_interrupted() ? 0 : r;
}

/* ---- its end ---------------------------------------------------------------------------------------------- */

static void say_left(struct live *l, const char *why)
{
	char order[ORDER_ID_TEXT];

	session_go_on();
	look_at_order(l);
	(void)order_id_text(&l->watch->order->order_id, order);
	if (order_watch_over(l->watch))
		(void)fprintf(stderr, "%s; the capture has ended\n", why);
	else
		(void)fprintf(
			stderr,
			"%s; the capture goes on until its limits end it, and the vault keeps it: "
			"'exhibit orders %.8s --follow' shows it\n",
			why, order);
}

static const Exhibit__V1__OrderStep *step_with_exhibit(const struct order_watch *w)
{
	const Exhibit__V1__OrderStep *step = w->n ? w->hosts[0].last : NULL;

	return step && step->exhibit_id.len == VAULT_ID_LEN ? step : NULL;
}

static int show_packets(struct live *l, const Exhibit__V1__OrderStep *step, struct error *e)
{
	char id[ORDER_ID_TEXT];
	int r;

	/* Steps do not outlive the next. */
	memcpy(l->exhibit, step->exhibit_id.data, sizeof(l->exhibit));
	(void)fprintf(stderr, "exhibit %s: its packets follow on standard output\n",
		      order_id_text(&step->exhibit_id, id));
	r = view(l, e);
	if (l->reader_left)
		say_left(l, "the reader of standard output has left");
	else if (session_interrupted())
		say_left(l, "interrupted");
	else if (r < 0)
		say_left(l, "the packets can no longer be shown");
	else
		r = order_watch_again(l->watch, true, e);
	return r;
}

int grab_live_run(struct order_watch *w, const char *path, const void *order, struct error *e)
{
	struct live l = { .watch = w };
	int r = order_watch_run(w, path, order, ORDER_WATCH_STARTED, e);

	if (r < 0)
		return r;
	const Exhibit__V1__OrderStep *step = step_with_exhibit(w);

	if (step && !session_interrupted())
		return show_packets(&l, step, e);
	if (session_interrupted() && w->made)
		say_left(&l, "interrupted");
	return 0;
}
