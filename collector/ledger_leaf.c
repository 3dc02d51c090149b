/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/ledger_leaf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/retention_record.h"
#include "collector/store_internal.h"

static int of_batch(const uint8_t *body, size_t len, struct arena *a, struct ledger_leaf *ret,
		    struct error *e)
{
	struct batch_view view;
	int r = batch_parse(body, len, a, &view, e);

	if (r < 0)
		return r;
	ret->kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_BATCH;
	ret->host_id = view.header.host_id;
	ret->object = view.hash;
	return 0;
}

static int of_tombstone(const uint8_t *body, size_t len, struct arena *a, struct ledger_leaf *ret,
			struct error *e)
{
	struct batch_tombstone t;
	int r = batch_open_tombstone(body, len, NULL, a, &t, e);

	if (r < 0)
		return r;
	ret->kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_TOMBSTONE;
	ret->host_id = t.host_id;
	return 0;
}

static int of_host_record(const uint8_t *body, size_t len, struct arena *a, struct ledger_leaf *ret,
			  struct error *e)
{
	struct host_record_info info;
	int r = host_record_open(body, len, &info);

	(void)a;
	if (r < 0)
		return error_set(e, r, "a host record cannot be read");
	ret->kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_HOST_RECORD;
	ret->host_id = info.host_id;
	return 0;
}

static int of_retention(const uint8_t *body, size_t len, struct arena *a, struct ledger_leaf *ret,
			struct error *e)
{
	struct retention_info info;
	char id[SEGMENT_ID_TEXT];
	int r = retention_record_open(body, len, NULL, a, &info, e);

	if (r < 0)
		return r;
	ret->kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_RETENTION;
	if (!info.has_segment)
		return 0;
	ret->batches = info.batches;
	(void)snprintf(ret->text, sizeof(ret->text),
		       "%" PRIu64 " batches with %" PRIu64 " events removed by %s: segment %s",
		       (uint64_t)info.batches, (uint64_t)info.events,
		       info.reason ? info.reason : "rule", segment_id_text(&info.segment, id));
	return 0;
}

int ledger_leaf_of(enum frame_kind kind, const struct batch_name *tenant, const uint8_t *body,
		   size_t len, struct arena *a, struct ledger_leaf *ret, struct error *e)
{
	static int (*const of[])(const uint8_t *, size_t, struct arena *, struct ledger_leaf *,
				 struct error *) = {
		[FRAME_BATCH] = of_batch,
		[FRAME_TOMBSTONE] = of_tombstone,
		[FRAME_HOST_RECORD] = of_host_record,
		[FRAME_RETENTION] = of_retention,
	};
	int r;

	*ret = (struct ledger_leaf){ .tenant = *tenant, .size = len };
	if ((size_t)kind >= ARRAY_LEN(of) || !of[kind])
		return 1;
	if (kind != FRAME_BATCH && seal_sha256(body, len, &ret->object) < 0)
		return error_set(e, -ENOMEM, "cannot hash a frame: %m");
	r = of[kind](body, len, a, ret, e);
	return r < 0 ? r : 0;
}

void ledger_leaf_entry(const struct ledger_leaf *leaf, Exhibit__V1__LedgerEntry *ret)
{
	/* protobuf-c has no const; packing only reads. */
	struct ledger_leaf *l = (struct ledger_leaf *)(uintptr_t)leaf;

	exhibit__v1__ledger_entry__init(ret);
	ret->kind = leaf->kind;
	ret->tenant = (ProtobufCBinaryData){ leaf->tenant.len, l->tenant.b };
	ret->host_id = (ProtobufCBinaryData){ leaf->host_id.len, l->host_id.b };
	ret->object = (ProtobufCBinaryData){ SEAL_HASH_LEN, l->object.b };
	ret->size = leaf->size;
	ret->text = (ProtobufCBinaryData){ strlen(leaf->text), (uint8_t *)l->text };
}
