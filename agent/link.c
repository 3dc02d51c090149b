/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/link.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "agent/journal.h"
#include "proto/base/reader.h"
#include "proto/base/writer.h"
#include "proto/order.h"

#define HEAD_LEN 16
#define STATE_MAX 513

/* Who may send what, how long its body must be, and whether it names a lane. */
static const struct rule {
	enum link_side from;
	size_t min, max;
	bool lane;
} rules[LINK_KINDS] = {
	[LINK_WANT] = { LINK_UPLINK, 0, 0, true },
	[LINK_ACK] = { LINK_UPLINK, SEAL_HASH_LEN, SEAL_HASH_LEN, true },
	[LINK_STATE] = { LINK_UPLINK, 1, STATE_MAX, false },
	[LINK_BATCH] = { LINK_SENSE, 1, JOURNAL_FRAME_MAX, true },
	[LINK_TOMBSTONE] = { LINK_SENSE, 1, JOURNAL_FRAME_MAX, true },
	[LINK_IDLE] = { LINK_SENSE, 1, KiB(4), true },
	[LINK_STOP] = { LINK_SENSE, 0, 0, false },
	[LINK_ORDERS] = { LINK_UPLINK, 0, 0, false },
	[LINK_ORDER] = { LINK_UPLINK, 1, ORDER_SIGNED_MAX, false },
	[LINK_REVOCATIONS] = { LINK_UPLINK, 1, REVOCATIONS_BYTES_MAX, false },
	[LINK_LEDGER] = { LINK_UPLINK, 1, KiB(32), false },
	[LINK_RECEIPT] = { LINK_UPLINK, LINK_ID_LEN, LINK_ID_LEN + 128, false },
	[LINK_UPLOAD_FAILED] = { LINK_UPLINK, LINK_ID_LEN, LINK_ID_LEN + 512, false },
	[LINK_HELD] = { LINK_SENSE, 0, KiB(32), false },
	[LINK_STEP] = { LINK_SENSE, 1, KiB(8), false },
	[LINK_UPLOAD] = { LINK_SENSE, 1, 512, false },
	[LINK_MANIFEST] = { LINK_SENSE, LINK_ID_LEN, LINK_ID_LEN + MiB(1) + 512, false },
	[LINK_CONTRADICTION] = { LINK_SENSE, 1, KiB(40), false },
	[LINK_CLOCK] = { LINK_UPLINK, LINK_CLOCK_LEN, LINK_CLOCK_LEN, false },
};

struct buffer {
	uint8_t *at;
	size_t size, start, end; /* what is in use: start..end */
};

/* Descriptors, oldest first, each with the place in the stream of the byte that it goes with. */
struct fds {
	size_t n;
	struct {
		uint64_t position;
		int fd;
	} at[LINK_FDS_MAX];
};

struct link {
	int fd;
	enum link_side side;
	struct buffer in, out;
	uint64_t sent; /* bytes */
	struct fds leaving, arrived;
};

int link_new(int fd, enum link_side side, struct link **ret_l, struct error *e)
{
	struct link *l = calloc(1, sizeof(*l));
	int flags = fcntl(fd, F_GETFL);

	if (l == NULL || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		int r = l == NULL ? -ENOMEM : -errno;

		free(l);
		(void)close(fd);
		return error_set(e, r, "cannot use the socket between sense and uplink: %m");
	}
	l->fd = fd;
	l->side = side;
	*ret_l = l;
	return 0;
}

void link_free(struct link *l)
{
	if (l == NULL)
		return;
	(void)close(l->fd);
	while (l->leaving.n > 0)
		(void)close(l->leaving.at[--l->leaving.n].fd);
	while (l->arrived.n > 0)
		(void)close(l->arrived.at[--l->arrived.n].fd);
	free(l->in.at);
	free(l->out.at);
	free(l);
}

int link_fd(const struct link *l)
{
	return l->fd;
}

bool link_pending(const struct link *l)
{
	return l->out.end > l->out.start;
}

/* Room for more bytes behind what is in use: by moving it to the front, then by growing. */
static int buffer_reserve(struct buffer *b, size_t more)
{
	size_t used = b->end - b->start;

	if (b->size - b->end >= more)
		return 0;
	if (b->start > 0) {
		memmove(b->at, b->at + b->start, used);
		b->start = 0;
		b->end = used;
	}
	if (b->size - b->end >= more)
		return 0;
	size_t size = used + more < KiB(64) ? KiB(64) : used + more;
	uint8_t *at = realloc(b->at, size);

	if (at == NULL)
		return -ENOMEM;
	b->at = at;
	b->size = size;
	return 0;
}

static bool message_allowed(const struct link_message *m, enum link_side from)
{
	if (m->kind < LINK_WANT || m->kind >= LINK_KINDS)
		return false;
	const struct rule *rule = &rules[m->kind];
	bool lane_ok = rule->lane ? (m->lane == BATCH_LANE_CRITICAL || m->lane == BATCH_LANE_BULK) :
				    m->lane == 0;

	bool round_ok = m->round == 0 || m->kind == LINK_WANT || m->kind == LINK_BATCH ||
			m->kind == LINK_TOMBSTONE;

	return rule->from == from && lane_ok && round_ok && m->len >= rule->min &&
	       m->len <= rule->max;
}

int link_send(struct link *l, const struct link_message *m)
{
	if (!message_allowed(m, l->side))
		return -EINVAL;
	if (l->out.end - l->out.start > LINK_QUEUE_MAX)
		return -EAGAIN;
	int r = buffer_reserve(&l->out, HEAD_LEN + m->len);

	if (r < 0)
		return r;
	struct writer w = writer_init(l->out.at + l->out.end, HEAD_LEN + m->len);

	writer_u32(&w, (uint32_t)m->len);
	writer_u8(&w, (uint8_t)m->kind);
	writer_u8(&w, m->lane);
	writer_u16(&w, m->round);
	writer_u64(&w, m->position);
	writer_bytes(&w, m->body, m->len);
	l->out.end += w.done;
	return link_flush(l);
}

static bool full_of_fds(const struct link *l)
{
	return l->leaving.n == LINK_FDS_MAX;
}

int link_send_fd(struct link *l, const struct link_message *m, int fd)
{
	uint64_t position = l->sent + (l->out.end - l->out.start);

	if (m->kind != LINK_UPLOAD)
		return -EINVAL;
	if (full_of_fds(l))
		return -EAGAIN;
	/* In the list before the bytes are written, and out of it when they are not even queued. */
	l->leaving.at[l->leaving.n].position = position;
	l->leaving.at[l->leaving.n++].fd = fd;
	int r = link_send(l, m);

	if (r == -EINVAL || r == -EAGAIN || r == -ENOMEM)
		l->leaving.n--;
	else if (r < 0)
		return 0; /* the other side is gone, which the next receive tells; the link owns fd */
	return r;
}

static void drop_first(struct fds *f)
{
	f->n--;
	memmove(&f->at[0], &f->at[1], f->n * sizeof(f->at[0]));
}

/* Up to the next descriptor, or with it. */
static ssize_t send_some(struct link *l)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct buffer *b = &l->out;
	struct iovec iov = { .iov_base = b->at + b->start, .iov_len = b->end - b->start };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	bool along = l->leaving.n > 0 && l->leaving.at[0].position == l->sent;

	if (along) {
		h.msg_control = &control;
		h.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &l->leaving.at[0].fd, sizeof(int));
	}
	size_t next = along ? 1 : 0;

	if (l->leaving.n > next && l->leaving.at[next].position - l->sent < iov.iov_len)
		iov.iov_len = l->leaving.at[next].position - l->sent;
	ssize_t n = sendmsg(l->fd, &h, MSG_NOSIGNAL);

	if (n > 0 && along) {
		(void)close(l->leaving.at[0].fd);
		drop_first(&l->leaving);
	}
	return n;
}

int link_flush(struct link *l)
{
	struct buffer *b = &l->out;

	while (b->end > b->start) {
		ssize_t n = send_some(l);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -EPIPE;
		b->start += (size_t)n;
		l->sent += (uint64_t)n;
	}
	b->start = b->end = 0;
	return 0;
}

/* Bytes, and the uplink's descriptors. */
static ssize_t receive_some(struct link *l)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = l->in.at + l->in.end, .iov_len = l->in.size - l->in.end };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (l->side == LINK_SENSE)
		return recv(l->fd, iov.iov_base, iov.iov_len, 0);
	h.msg_control = &control;
	h.msg_controllen = sizeof(control);
	ssize_t n = recvmsg(l->fd, &h, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&h) : NULL;

	if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return n;
	int fd;

	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	if (l->arrived.n == LINK_FDS_MAX)
		(void)close(fd);
	else
		l->arrived.at[l->arrived.n++].fd = fd;
	return n;
}

int link_take_fd(struct link *l)
{
	if (l->arrived.n == 0)
		return -1;
	int fd = l->arrived.at[0].fd;

	drop_first(&l->arrived);
	return fd;
}

/* Parse the message at the front of the input. 1, 0 (needs *ret_need bytes in all) or -EBADMSG. */
static int parse_front(struct link *l, struct link_message *ret_m, size_t *ret_need)
{
	size_t used = l->in.end - l->in.start;

	*ret_need = HEAD_LEN;
	if (used < HEAD_LEN)
		return 0;
	struct reader r = reader_init(l->in.at + l->in.start, used);
	struct link_message m = { .len = reader_u32(&r) };

	m.kind = (enum link_kind)reader_u8(&r);
	m.lane = reader_u8(&r);
	m.round = reader_u16(&r);

	m.position = reader_u64(&r);
	if (!message_allowed(&m, l->side == LINK_SENSE ? LINK_UPLINK : LINK_SENSE))
		return -EBADMSG;
	*ret_need = HEAD_LEN + m.len;
	if (r.left < m.len)
		return 0;
	m.body = reader_bytes(&r, m.len);
	*ret_m = m;
	return 1;
}

int link_receive(struct link *l, struct link_message *ret_m)
{
	for (;;) {
		size_t need;
		int r = parse_front(l, ret_m, &need);

		if (r < 0)
			return r;
		if (r > 0) {
			l->in.start += need;
			return 1;
		}
		size_t used = l->in.end - l->in.start;

		r = buffer_reserve(&l->in, need - used);
		if (r < 0)
			return r;
		ssize_t n = receive_some(l);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -EPIPE;
		if (n == 0)
			return -EPIPE;
		l->in.end += (size_t)n;
	}
}
