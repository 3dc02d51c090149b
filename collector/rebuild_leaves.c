/* SPDX-License-Identifier: Apache-2.0 */
/* What the ledger says there must be: exhibits, their holds and removals, removed segments, orders, the newest copy of
 * the orders. */
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <string.h>

#include "collector/ledger_tiles.h"
#include "collector/rebuild_internal.h"
#include "collector/segment.h"

#define HOLD_SET "legal hold set: "

static int by_exhibit(const void *x, const void *y)
{
	const struct rebuild_exhibit *a = x, *b = y;
	int r = memcmp(a->id, b->id, VAULT_ID_LEN);

	if (r == 0 && a->tenant.len != b->tenant.len)
		return a->tenant.len < b->tenant.len ? -1 : 1;
	return r != 0 ? r : memcmp(a->tenant.b, b->tenant.b, a->tenant.len);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int by_hash(const void *x, const void *y)
{
	const struct rebuild_order *a = x, *b = y;

	return memcmp(a->hash, b->hash, SEAL_HASH_LEN);
}

struct rebuild_exhibit *rebuild_exhibit_of(struct rebuild *b, const struct batch_name *tenant,
					   const uint8_t id[static VAULT_ID_LEN])
{
	struct rebuild_exhibit *x = calloc(1, sizeof(*x));
	struct rebuild_exhibit **at;

	if (!x)
		return NULL;
	x->tenant = *tenant;
	memcpy(x->id, id, VAULT_ID_LEN);
	at = tsearch(x, &b->exhibits, by_exhibit);
	if (!at || *at != x)
		free(x);
	return at ? *at : NULL;
}

static bool starts(const ProtobufCBinaryData *text, const char *with)
{
	return text->len >= strlen(with) && memcmp(text->data, with, strlen(with)) == 0;
}

static void take_hold(struct rebuild_exhibit *x, const Exhibit__V1__LedgerEntry *m)
{
	const char *reason = memchr(m->text.data, ':', m->text.len);
	size_t at = reason ? (size_t)(reason - (const char *)m->text.data) + 2 : m->text.len;

	at = at > m->text.len ? m->text.len : at;
	x->held = starts(&m->text, HOLD_SET);
	x->held_ns = m->wall_ns;
	(void)snprintf(x->by, sizeof(x->by), "%.*s", (int)m->subject.len,
		       m->subject.len ? (const char *)m->subject.data : "");
	(void)snprintf(x->reason, sizeof(x->reason), "%.*s", (int)(m->text.len - at),
		       m->text.len ? (const char *)m->text.data + at : "");
}

static int take_exhibit(struct rebuild *b, uint64_t index, const Exhibit__V1__LedgerEntry *m)
{
	struct batch_name tenant = { .len = (uint8_t)m->tenant.len };
	struct rebuild_exhibit *x;

	if (m->exhibit_id.len != VAULT_ID_LEN || m->tenant.len > BATCH_NAME_MAX)
		return 0;
	memcpy(tenant.b, m->tenant.data, m->tenant.len);
	x = rebuild_exhibit_of(b, &tenant, m->exhibit_id.data);
	if (!x)
		return -ENOMEM;
	if (m->kind == EXHIBIT__V1__LEDGER_KIND__LEDGER_EXHIBIT && m->object.len == SEAL_HASH_LEN) {
		x->leaf = true;
		x->index = index;
		memcpy(x->object, m->object.data, SEAL_HASH_LEN);
	} else if (m->kind == EXHIBIT__V1__LEDGER_KIND__LEDGER_HOLD) {
		take_hold(x, m);
	} else if (m->kind == EXHIBIT__V1__LEDGER_KIND__LEDGER_RETENTION) {
		x->removed = true;
	}
	return 0;
}

/* "... removed by RULE: segment ID", as ledger_leaf.c writes it. */
static int take_removal(struct rebuild *b, const Exhibit__V1__LedgerEntry *m)
{
	static const char word[] = ": segment ";
	const char *at = m->text.len ? memmem(m->text.data, m->text.len, word, sizeof(word) - 1) :
				       NULL;
	size_t left;
	char *name = NULL;
	void *found;

	if (!at)
		return 0;
	at += sizeof(word) - 1;
	left = m->text.len - (size_t)(at - (const char *)m->text.data);
	if (left < SEGMENT_ID_TEXT - 1 || m->tenant.len > BATCH_NAME_MAX)
		return 0;
	if (asprintf(&name, "%.*s/%.*s", (int)m->tenant.len, (const char *)m->tenant.data,
		     SEGMENT_ID_TEXT - 1, at) < 0)
		return -ENOMEM;
	found = tsearch(name, &b->removed_segments, by_text);
	if (!found || *(char **)found != name)
		free(name);
	return found ? 0 : -ENOMEM;
}

static int take_order(struct rebuild *b, uint64_t index, const Exhibit__V1__LedgerEntry *m)
{
	struct rebuild_order *o = calloc(1, sizeof(*o));
	struct rebuild_order **at;

	if (!o)
		return -ENOMEM;
	memcpy(o->hash, m->object.data, SEAL_HASH_LEN);
	o->index = index;
	at = tsearch(o, &b->orders, by_hash);
	if (!at || *at != o)
		free(o);
	return at ? 0 : -ENOMEM;
}

static int take(struct rebuild *b, uint64_t index, const Exhibit__V1__LedgerEntry *m)
{
	bool object = m->object.len == SEAL_HASH_LEN;

	switch ((int)m->kind) {
	case EXHIBIT__V1__LEDGER_KIND__LEDGER_RETENTION:
		return m->exhibit_id.len > 0 ? take_exhibit(b, index, m) : take_removal(b, m);
	case EXHIBIT__V1__LEDGER_KIND__LEDGER_EXHIBIT:
	case EXHIBIT__V1__LEDGER_KIND__LEDGER_HOLD:
		return take_exhibit(b, index, m);
	case EXHIBIT__V1__LEDGER_KIND__LEDGER_ORDER:
		return object ? take_order(b, index, m) : 0;
	case EXHIBIT__V1__LEDGER_KIND__LEDGER_ARCHIVE:
		b->has_orders = object;
		if (object)
			memcpy(b->orders_copy, m->object.data, SEAL_HASH_LEN);
		return 0;
	default:
		return 0;
	}
}

static int take_leaf(void *ctx, uint64_t index, const uint8_t *entry, size_t len, struct error *e)
{
	Exhibit__V1__LedgerEntry *m = exhibit__v1__ledger_entry__unpack(NULL, len, entry);
	int r = m ? take(ctx, index, m) : 0;

	if (m)
		exhibit__v1__ledger_entry__free_unpacked(m, NULL);
	return r < 0 ? error_set(e, r, "cannot read the ledger's leaves: %m") : 0;
}

int rebuild_leaves(struct rebuild *b, struct error *e)
{
	AUTO(close_fd) int dirfd = open(b->ledger_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dirfd < 0)
		return error_set(e, -errno, "cannot open '%s': %m", b->ledger_dir);
	return tiles_each_entry(dirfd, 0, b->checkpoint.size, take_leaf, b, e);
}

void rebuild_leaves_free(struct rebuild *b)
{
	tdestroy(b->exhibits, free);
	tdestroy(b->removed_segments, free);
	tdestroy(b->orders, free);
}
