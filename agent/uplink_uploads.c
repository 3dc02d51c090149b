/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/uplink_uploads.h"

#include <errno.h>

#include "agent/upload.h"
#include "exhibit.pb-c.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define BURST_NS (NSEC_PER_SEC / 4) /* of the rate limit */
#define TICK_BYTES MiB(4) /* without one: then events have their turn */

struct uplink_uploads {
	struct uplink_wire *wire;
	uint64_t bytes_per_second, filled_ns, tokens;
	size_t n;
	struct upload *at[UPLOADS_MAX];
};

int uplink_uploads_new(struct uplink_wire *wire, uint64_t bytes_per_second,
		       struct uplink_uploads **ret, struct error *e)
{
	struct uplink_uploads *u = calloc(1, sizeof(*u));

	if (u == NULL)
		return error_set(e, -ENOMEM, "cannot upload exhibits: out of memory");
	u->wire = wire;
	u->bytes_per_second = bytes_per_second;
	u->filled_ns = clock_monotonic_ns();
	*ret = u;
	return 0;
}

void uplink_uploads_free(struct uplink_uploads *u)
{
	if (u == NULL)
		return;
	for (size_t i = 0; i < u->n; i++)
		upload_free(u->at[i]);
	free(u);
}

static struct upload *find(const struct uplink_uploads *u, const uint8_t *id)
{
	for (size_t i = 0; i < u->n; i++)
		if (memcmp(upload_id(u->at[i]), id, LINK_ID_LEN) == 0)
			return u->at[i];
	return NULL;
}

static void drop(struct uplink_uploads *u, const struct upload *which)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->at[i] == which) {
			upload_free(u->at[i]);
			u->at[i] = u->at[--u->n];
			return;
		}
}

/* The same exhibit again: its acquirer was started anew. */
static void begin(struct uplink_uploads *u, const struct link_message *m, int fd)
{
	Exhibit__V1__UploadStart *start = exhibit__v1__upload_start__unpack(NULL, m->len, m->body);
	struct error e = { 0 };

	if (start == NULL || start->exhibit_id.len != LINK_ID_LEN || fd < 0) {
		log_error("sense sent an upload that is none");
		close_fd(&fd);
	} else {
		drop(u, find(u, start->exhibit_id.data));
		if (u->n == UPLOADS_MAX)
			close_fd(&fd); /* sense has no more at a time */
		else if (upload_new(u->wire, start->exhibit_id.data, m->body, m->len, fd,
				    &u->at[u->n], &e) < 0)
			log_failure(LOG_LEVEL_ERROR, "an exhibit is given up", &e);
		else
			u->n++;
	}
	if (start != NULL)
		exhibit__v1__upload_start__free_unpacked(start, NULL);
}

void uplink_uploads_take(struct uplink_uploads *u, const struct link_message *m, int fd)
{
	if (m->kind == LINK_UPLOAD) {
		begin(u, m, fd);
		return;
	}
	struct upload *upload = find(u, m->body);

	if (upload != NULL)
		upload_manifest(upload, m->body + LINK_ID_LEN, m->len - LINK_ID_LEN);
}

size_t uplink_uploads_poll(const struct uplink_uploads *u, struct pollfd fds[static UPLOADS_MAX])
{
	for (size_t i = 0; i < u->n; i++)
		fds[i] = (struct pollfd){ .fd = upload_fd(u->at[i]), .events = POLLIN };
	return u->n;
}

bool uplink_uploads_inbox(struct uplink_uploads *u, struct inbox_item *item)
{
	for (size_t i = 0; i < u->n; i++)
		if (upload_inbox(u->at[i], item))
			return true;
	return false;
}

static uint64_t allowance(struct uplink_uploads *u)
{
	uint64_t now = clock_monotonic_ns(), passed = now - u->filled_ns;

	if (u->bytes_per_second == 0)
		return TICK_BYTES;
	passed = passed < BURST_NS ? passed : BURST_NS;
	u->tokens += (uint64_t)((double)u->bytes_per_second * (double)passed / 1e9);
	uint64_t most = u->bytes_per_second / 4 + 1;

	u->tokens = u->tokens < most ? u->tokens : most;
	u->filled_ns = now;
	return u->tokens;
}

/* Round about, so that none starves another. */
static void rotate(struct uplink_uploads *u)
{
	if (u->n < 2)
		return;
	struct upload *first = u->at[0];

	memmove(&u->at[0], &u->at[1], (u->n - 1) * sizeof(u->at[0]));
	u->at[u->n - 1] = first;
}

void uplink_uploads_tick(struct uplink_uploads *u, bool connected, bool idle)
{
	uint64_t allowed = idle ? allowance(u) : 0;

	for (size_t i = 0; i < u->n; i++) {
		if (upload_fd(u->at[i]) >= 0)
			upload_readable(u->at[i]);
		upload_tick(u->at[i], connected, &allowed);
	}
	if (idle && u->bytes_per_second != 0)
		u->tokens = allowed;
	for (size_t i = u->n; i > 0; i--)
		if (upload_over(u->at[i - 1]))
			drop(u, u->at[i - 1]);
	rotate(u);
}

bool uplink_uploads_busy(const struct uplink_uploads *u)
{
	for (size_t i = 0; i < u->n; i++)
		if (upload_wants_to_send(u->at[i]))
			return u->bytes_per_second == 0 || u->tokens > 0;
	return false;
}
