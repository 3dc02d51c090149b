/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_sink.h"

#include <errno.h>

struct writer packets_sink_room(struct packets_sink *s)
{
	return writer_init(s->buffer + s->filled, PACKETS_BLOCK_MAX);
}

/* Everything in the buffer, of which the first `promised` bytes were taken before. 1: nothing was, and nothing is. */
static int write_out(struct packets_sink *s, size_t promised, struct error *e)
{
	uint64_t before = output_bytes(s->o, s->item);
	size_t len = s->filled;
	int r = output_write(s->o, s->item, s->buffer, len, e);

	s->filled = 0;
	if (r != -ECANCELED)
		return r;
	size_t done = (size_t)(output_bytes(s->o, s->item) - before);

	s->full = true;
	if (done == 0 && promised == 0)
		return 1;
	/* What is promised, and what the limit cut, is completed from the reserve for closing. */
	if (done < len && output_write(s->o, s->item, s->buffer + done, len - done, NULL) < 0)
		return error_set(e, -EIO, "the last blocks of the capture were cut");
	return 0;
}

/* Near the limit block by block, so that each that fits is in. */
static bool is_due(const struct packets_sink *s)
{
	return s->filled >= PACKETS_PIECE || output_left(s->o) < 4 * PACKETS_PIECE;
}

static int add(struct packets_sink *s, const struct writer *w, struct error *e)
{
	size_t promised = s->filled;

	if (w->bad)
		return error_set(e, -EMSGSIZE, "a block of the capture does not fit");
	s->filled += w->done;
	return is_due(s) ? write_out(s, promised, e) : 0;
}

int packets_sink_put(struct packets_sink *s, const struct writer *w, struct error *e)
{
	int r = add(s, w, e);

	return r == 1 ? -ECANCELED : r;
}

int packets_sink_close(struct packets_sink *s, const struct writer *w, struct error *e)
{
	int r = add(s, w, e);

	if (r != 1)
		return r;
	s->filled = w->done; /* it is there still */
	return write_out(s, w->done, e);
}

int packets_sink_flush(struct packets_sink *s, struct error *e)
{
	return s->filled == 0 ? 0 : write_out(s, s->filled, e);
}
