/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "proto/base/reader.h"
#include "proto/batch_header.h"
#include "proto/merkle.h"
#include "proto/wire.h"

#define ZSTD_MAGIC_LEN 4

static int take_members(const void *bytes, size_t len, struct batch_view *v, struct error *e)
{
	struct reader r = reader_init(bytes, len);
	struct wire_field f;
	int bad = 0;

	while (bad == 0 && wire_next(&r, &f)) {
		if (f.number == 1)
			bad = wire_once(&f, &v->header_bytes, &v->header_len);
		else if (f.number == 2)
			bad = wire_once(&f, &v->signature, &v->signature_len);
		else if (f.number == 3)
			bad = wire_once(&f, &v->payload, &v->payload_len);
	}
	if (r.bad || bad < 0)
		return error_set(e, -EBADMSG, "false batch: it is not a SignedBatch");
	if (!v->header_bytes || !v->signature || !v->payload)
		return error_set(e, -EBADMSG, "false batch: its %s is absent",
				 !v->header_bytes ? "header" :
				 !v->signature    ? "signature" :
						    "payload");
	return 0;
}

int batch_parse(const void *bytes, size_t len, struct arena *a, struct batch_view *ret_view,
		struct error *e)
{
	struct batch_view v = { 0 };
	int r;

	if (len > BATCH_MESSAGE_MAX)
		return error_set(e, -EBADMSG, "false batch: it has %zu bytes, the most are %u", len,
				 (unsigned int)BATCH_MESSAGE_MAX);
	r = take_members(bytes, len, &v, e);
	if (r < 0)
		return r;
	if (v.signature_len != SEAL_SIGNATURE_LEN)
		return error_set(e, -EBADMSG,
				 "false batch: its signature has %zu bytes instead of %d",
				 v.signature_len, SEAL_SIGNATURE_LEN);
	r = batch_header_parse(v.header_bytes, v.header_len, a, &v.header, e);
	if (r < 0)
		return r;
	if (v.header.compressed_bytes != v.payload_len)
		return error_set(e, -EBADMSG,
				 "false batch header: compressed_bytes is %u, the payload has %zu",
				 v.header.compressed_bytes, v.payload_len);
	if (seal_sha256(v.header_bytes, v.header_len, &v.hash) < 0)
		return error_set(e, -ENOMEM, "cannot hash a batch header: %m");
	*ret_view = v;
	return 0;
}

struct batch_opener {
	ZSTD_DCtx *zstd;
	struct merkle *merkle;
	uint8_t *raw;
	size_t raw_max; /* allocated */
};

int batch_opener_new(struct batch_opener **ret_o, struct error *e)
{
	struct batch_opener *o = calloc(1, sizeof(*o));

	if (!o)
		return error_set(e, -ENOMEM, "cannot prepare for opening batches: %m");
	o->zstd = ZSTD_createDCtx();
	o->merkle = merkle_new();
	if (!o->zstd || !o->merkle) {
		batch_opener_free(o);
		return error_set(e, -ENOMEM, "cannot prepare for opening batches: %m");
	}
	*ret_o = o;
	return 0;
}

void batch_opener_free(struct batch_opener *o)
{
	if (!o)
		return;
	ZSTD_freeDCtx(o->zstd);
	merkle_free(o->merkle);
	free(o->raw);
	free(o);
}

static int check_hash(const void *data, size_t len, const struct seal_hash *want, const char *name,
		      struct error *e)
{
	struct seal_hash hash;

	if (seal_sha256(data, len, &hash) < 0)
		return error_set(e, -ENOMEM, "cannot hash a batch: %m");
	if (memcmp(hash.b, want->b, sizeof(hash.b)) != 0)
		return error_set(e, -EBADMSG, "false batch: its %s does not match", name);
	return 0;
}

/* One frame, of the size that the header names, and nothing after it: a skippable frame or a second
 * one would be bytes that no hash of entries covers. */
static int check_frame(const struct batch_view *view, struct error *e)
{
	static const uint8_t magic[ZSTD_MAGIC_LEN] = { 0x28, 0xb5, 0x2f, 0xfd };

	if (view->payload_len < ZSTD_MAGIC_LEN ||
	    memcmp(view->payload, magic, ZSTD_MAGIC_LEN) != 0 ||
	    ZSTD_findFrameCompressedSize(view->payload, view->payload_len) != view->payload_len)
		return error_set(e, -EBADMSG, "false batch: its payload is not one zstd frame");
	if (ZSTD_getFrameContentSize(view->payload, view->payload_len) != view->header.raw_bytes)
		return error_set(e, -EBADMSG,
				 "false batch: its zstd frame does not hold raw_bytes %u",
				 view->header.raw_bytes);
	return 0;
}

static int make_room(struct batch_opener *o, size_t len, struct error *e)
{
	uint8_t *raw;

	if (len <= o->raw_max && o->raw)
		return 0;
	raw = realloc(o->raw, len > 0 ? len : 1);
	if (!raw)
		return error_set(e, -ENOMEM, "cannot open a batch of %zu bytes: %m", len);
	o->raw = raw;
	o->raw_max = len;
	return 0;
}

static int decompress(struct batch_opener *o, const struct batch_view *view, struct error *e)
{
	size_t want = view->header.raw_bytes;
	size_t n;
	int r = make_room(o, want, e);

	if (r < 0)
		return r;
	n = ZSTD_decompressDCtx(o->zstd, o->raw, want, view->payload, view->payload_len);
	if (ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation)
		return error_set(e, -ENOMEM, "cannot open a batch: %m");
	if (ZSTD_isError(n) || n != want)
		return error_set(e, -EBADMSG, "false batch: its zstd frame is damaged");
	return check_hash(o->raw, want, &view->header.raw_sha256, "raw_sha256", e);
}

static int check_entries(struct batch_opener *o, const struct batch_header *h, struct error *e)
{
	struct reader r = reader_init(o->raw, h->raw_bytes);
	struct seal_hash root;
	const uint8_t *entry;
	uint32_t entries = 0;
	size_t len;

	merkle_reset(o->merkle);
	while (batch_next(&r, &entry, &len)) {
		if (++entries > h->entries)
			break;
		if (merkle_add(o->merkle, entry, len) < 0)
			return error_set(e, -ENOMEM, "cannot hash a batch: %m");
	}
	if (r.bad || entries != h->entries)
		return error_set(e, -EBADMSG, "false batch: it does not hold entries %u",
				 h->entries);
	if (merkle_root(o->merkle, &root) < 0)
		return error_set(e, -ENOMEM, "cannot hash a batch: %m");
	if (memcmp(root.b, h->merkle_root.b, sizeof(root.b)) != 0)
		return error_set(e, -EBADMSG, "false batch: its merkle_root does not match");
	return 0;
}

static int check_signature(const struct batch_view *view, struct seal_verifier *v, struct error *e)
{
	int r = v ? seal_verify(v, SEAL_DOMAIN_BATCH, view->header_bytes, view->header_len,
				view->signature, view->signature_len) :
		    0;

	return r < 0 ? error_set(
			       e, r,
			       "false batch: its signature is not that of the host's sealing key") :
		       0;
}

int batch_open(struct batch_opener *o, const struct batch_view *view, struct seal_verifier *v,
	       const uint8_t **ret_raw, size_t *ret_raw_len, struct error *e)
{
	int r = check_signature(view, v, e);

	if (r == 0)
		r = check_hash(view->payload, view->payload_len, &view->header.compressed_sha256,
			       "compressed_sha256", e);
	if (r == 0)
		r = check_frame(view, e);
	if (r == 0)
		r = decompress(o, view, e);
	if (r == 0)
		r = check_entries(o, &view->header, e);
	if (r < 0)
		return r;
	*ret_raw = o->raw;
	*ret_raw_len = view->header.raw_bytes;
	return 0;
}

bool batch_next(struct reader *r, const uint8_t **ret_entry, size_t *ret_len)
{
	uint64_t len;

	if (r->bad || r->left == 0)
		return false;
	len = reader_varint(r);
	if (len == 0 || len > BATCH_ENTRY_MAX)
		r->bad = true;
	*ret_entry = reader_bytes(r, r->bad ? 0 : (size_t)len);
	*ret_len = (size_t)len;
	return !r->bad;
}
