/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/control.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "proto/base/reader.h"
#include "proto/base/writer.h"

#define KEY_CHARS "abcdefghijklmnopqrstuvwxyz0123456789_."
#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
#define FORMAT_MAX 32
#define KEY_MAX 64

/* One walk over a message's members, for both directions. */
struct codec {
	struct reader r;
	struct writer w;
	bool writing, bad;
};

static void code_u8(struct codec *c, uint8_t *v)
{
	if (c->writing)
		writer_u8(&c->w, *v);
	else
		*v = reader_u8(&c->r);
}

static void code_bool(struct codec *c, bool *v)
{
	uint8_t byte = *v;

	code_u8(c, &byte);
	c->bad |= byte > 1;
	*v = byte == 1;
}

static void code_u32(struct codec *c, uint32_t *v)
{
	if (c->writing)
		writer_u32(&c->w, *v);
	else
		*v = reader_u32(&c->r);
}

static void code_u64(struct codec *c, uint64_t *v)
{
	if (c->writing)
		writer_u64(&c->w, *v);
	else
		*v = reader_u64(&c->r);
}

static void code_bytes(struct codec *c, struct control_bytes *b, size_t max)
{
	uint32_t len = (uint32_t)b->len;

	c->bad |= c->writing && b->len > max;
	if (c->bad)
		return;
	code_u32(c, &len);
	if (c->writing) {
		writer_bytes(&c->w, b->data, b->len);
		return;
	}
	c->bad |= len > max;
	b->data = c->bad ? NULL : reader_bytes(&c->r, len);
	b->len = b->data == NULL ? 0 : len;
}

/* 1..max bytes of these characters. */
static void code_word(struct codec *c, struct control_bytes *b, size_t max, const char *chars)
{
	code_bytes(c, b, max);
	c->bad |= b->len == 0;
	for (size_t i = 0; i < b->len; i++)
		c->bad |= b->data[i] == '\0' || strchr(chars, b->data[i]) == NULL;
}

static void code_hash(struct codec *c, struct seal_hash *h)
{
	if (c->writing)
		writer_bytes(&c->w, h->b, sizeof(h->b));
	else
		reader_copy(&c->r, h->b, sizeof(h->b));
}

static void code_item_number(struct codec *c, uint32_t *item)
{
	code_u32(c, item);
	c->bad |= *item == 0 || *item > OUTPUT_ITEMS_MAX;
}

static void code_request(struct codec *c, struct control_message *m)
{
	struct control_request *q = &m->u.request;

	code_u64(c, &q->max_bytes);
	code_u64(c, &q->max_seconds);
	code_u64(c, &q->bytes_per_second);
	code_u64(c, &q->spool_bytes);
	code_u64(c, &q->freeze_max_ms);
	code_bytes(c, &q->order, ORDER_BYTES_MAX);
}

static void code_item(struct codec *c, struct control_message *m)
{
	struct control_item *i = &m->u.item;

	code_item_number(c, &i->item);
	code_u64(c, &i->expected_bytes);
	code_word(c, &i->name, OUTPUT_NAME_MAX, NAME_CHARS);
	c->bad |= i->name.len > 0 && i->name.data[0] == '.';
	code_word(c, &i->format, FORMAT_MAX, NAME_CHARS);
}

static void code_item_end(struct codec *c, struct control_message *m)
{
	struct control_item_end *i = &m->u.item_end;

	code_item_number(c, &i->item);
	code_u64(c, &i->bytes);
	code_hash(c, &i->hash);
	code_bytes(c, &i->status, CONTROL_TEXT_MAX);
}

static void code_note(struct codec *c, struct control_message *m)
{
	struct control_note *n = &m->u.note;

	code_bool(c, &n->number);
	code_u64(c, &n->value);
	code_word(c, &n->key, KEY_MAX, KEY_CHARS);
	code_bytes(c, &n->text, OUTPUT_NOTE_MAX);
}

static void code_warning(struct codec *c, struct control_message *m)
{
	code_bool(c, &m->u.warning.lacking);
	code_bytes(c, &m->u.warning.text, CONTROL_TEXT_MAX);
}

static void code_progress(struct codec *c, struct control_message *m)
{
	code_u64(c, &m->u.progress.bytes);
	code_u64(c, &m->u.progress.expected_bytes);
}

static void code_end(struct codec *c, struct control_message *m)
{
	struct control_end *end = &m->u.end;

	code_u32(c, &end->code);
	code_u64(c, &end->rss_bytes);
	code_u64(c, &end->cpu_ns);
	code_u64(c, &end->read_bytes);
	code_u64(c, &end->written_bytes);
	code_bytes(c, &end->sentence, CONTROL_TEXT_MAX);
}

static void (*const code[CONTROL_KINDS])(struct codec *c, struct control_message *m) = {
	[CONTROL_REQUEST] = code_request,   [CONTROL_ITEM] = code_item,
	[CONTROL_ITEM_END] = code_item_end, [CONTROL_NOTE] = code_note,
	[CONTROL_WARNING] = code_warning,   [CONTROL_PROGRESS] = code_progress,
	[CONTROL_END] = code_end,
};

int control_encode(const struct control_message *m, uint8_t buf[static CONTROL_MESSAGE_MAX],
		   size_t *ret_len)
{
	struct control_message copy = *m;
	struct codec c = { .writing = true, .w = writer_init(buf, CONTROL_MESSAGE_MAX) };

	writer_u8(&c.w, (uint8_t)m->kind);
	code[m->kind](&c, &copy);
	if (c.bad || c.w.bad)
		return -EMSGSIZE;
	*ret_len = c.w.done;
	return 0;
}

int control_decode(const void *data, size_t len, struct control_message *ret)
{
	struct codec c = { .r = reader_init(data, len) };
	uint8_t kind = reader_u8(&c.r);

	if (kind == 0 || kind >= CONTROL_KINDS)
		return -EBADMSG;
	*ret = (struct control_message){ .kind = (enum control_kind)kind };
	code[kind](&c, ret);
	return c.bad || !reader_done(&c.r) ? -EBADMSG : 0;
}

int control_send(int fd, const struct control_message *m)
{
	AUTO(free_ptr) uint8_t *buf = malloc(CONTROL_MESSAGE_MAX);
	size_t len = 0;
	int r = buf == NULL ? -ENOMEM : control_encode(m, buf, &len);

	while (r == 0 && send(fd, buf, len, MSG_NOSIGNAL) < 0) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };

		if (errno == EAGAIN)
			(void)poll(&p, 1, -1);
		else if (errno != EINTR)
			r = -EPIPE;
	}
	return r;
}

int control_receive(int fd, uint8_t buf[static CONTROL_MESSAGE_MAX], struct control_message *ret)
{
	struct iovec iov = { .iov_base = buf, .iov_len = CONTROL_MESSAGE_MAX };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n = recvmsg(fd, &h, 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
	if (n == 0)
		return -EPIPE;
	if ((h.msg_flags & MSG_TRUNC) != 0)
		return -EBADMSG;
	int r = control_decode(buf, (size_t)n, ret);

	return r < 0 ? r : 1;
}
