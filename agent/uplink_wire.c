/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/uplink_wire.h"

#include <sys/random.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

struct rpc_stream *uplink_open(struct uplink_wire *w, const char *path, size_t max_message,
			       uint64_t *ret_no)
{
	struct inbox_call *c = inbox_call_new(w->inbox, w->stream_no + 1, max_message);
	struct rpc_stream *stream = NULL;
	struct error e = { 0 };

	if (c == NULL)
		return NULL;
	w->stream_no++;
	if (rpc_client_open(
		    w->client,
		    &(struct rpc_call){
			    .path = path, .ops = &inbox_ops, .ctx = c, .wait_for_ready = true },
		    &stream, &e) < 0) {
		log_failure(LOG_LEVEL_WARN, "cannot begin a call to the collector", &e);
		inbox_call_free(c);
		return NULL;
	}
	*ret_no = w->stream_no;
	return stream;
}

static uint64_t random_below(uint64_t n)
{
	uint64_t v = 0;

	if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != (ssize_t)sizeof(v))
		v = clock_monotonic_ns();
	return v % n;
}

uint64_t uplink_later(uint64_t *backoff_ms, uint64_t max_ms)
{
	uint64_t at = clock_monotonic_ns() + (1 + random_below(*backoff_ms)) * NSEC_PER_MSEC;

	*backoff_ms = *backoff_ms * 2 > max_ms ? max_ms : *backoff_ms * 2;
	return at;
}
