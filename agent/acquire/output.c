/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/output.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdarg.h>

#include "agent/acquire/output_internal.h"

#define KEY_MAX 64
#define WARNING_MAX 512

struct item {
	char name[OUTPUT_NAME_MAX + 1];
	EVP_MD_CTX *hash; /* NULL: ended */
	uint64_t bytes;
	uint8_t *buffer; /* OUTPUT_CHUNK_BYTES; made when first needed */
	uint32_t filled; /* of it */
	bool zeros; /* all that is filled so far is zeros, and buffer does not hold them */
};

struct output {
	const struct output_place *place;
	void *ctx;
	uint64_t max_bytes, bytes, closing_bytes;
	bool cancelled, zero_hash_known;
	struct seal_hash zero_hash; /* of a whole chunk of zeros */
	size_t n_items, n_open, n_notes;
	struct item items[OUTPUT_ITEMS_MAX];
	char notes[OUTPUT_NOTES_MAX][KEY_MAX + 1];
};

static const uint8_t zero_chunk[OUTPUT_CHUNK_BYTES];

static void item_release(struct item *i)
{
	EVP_MD_CTX_free(i->hash);
	free(i->buffer);
	i->hash = NULL;
	i->buffer = NULL;
}

int output_new(const struct output_place *place, void *ctx, uint64_t max_bytes, struct output **ret,
	       struct error *e)
{
	struct output *o = calloc(1, sizeof(*o));

	if (o == NULL) {
		place->free(ctx);
		return error_set(e, -ENOMEM, "cannot make an exhibit: out of memory");
	}
	o->place = place;
	o->ctx = ctx;
	o->max_bytes = max_bytes;
	*ret = o;
	return 0;
}

void output_free(struct output *o)
{
	if (o == NULL)
		return;
	for (size_t i = 0; i < o->n_items; i++)
		item_release(&o->items[i]);
	o->place->free(o->ctx);
	free(o);
}

static int check_name(const struct output *o, const char *name, struct error *e)
{
	size_t len = strlen(name);

	if (len == 0 || len > OUTPUT_NAME_MAX || name[0] == '.' ||
	    strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") !=
		    len)
		return error_set(e, -EINVAL, "'%s' cannot be the name of an item", name);
	for (size_t i = 0; i < o->n_items; i++)
		if (strcmp(o->items[i].name, name) == 0)
			return error_set(e, -EINVAL, "the exhibit has an item '%s' already", name);
	return 0;
}

static int item_init(struct item *i, const char *name, struct error *e)
{
	i->hash = EVP_MD_CTX_new();
	if (i->hash == NULL || EVP_DigestInit_ex(i->hash, EVP_sha256(), NULL) != 1) {
		item_release(i);
		return error_set(e, -ENOMEM, "cannot hash an item: out of memory");
	}
	memcpy(i->name, name, strlen(name) + 1);
	return 0;
}

int output_begin(struct output *o, const char *name, const char *format, uint64_t expected_bytes,
		 uint32_t *ret_item, struct error *e)
{
	int r = check_name(o, name, e);

	if (r == 0 && (o->n_items == OUTPUT_ITEMS_MAX || o->n_open == OUTPUT_OPEN_MAX))
		r = error_set(e, -EINVAL, "more than %d items, or %d open at once",
			      OUTPUT_ITEMS_MAX, OUTPUT_OPEN_MAX);
	if (r == 0)
		r = item_init(&o->items[o->n_items], name, e);
	if (r < 0)
		return r;
	uint32_t number = (uint32_t)++o->n_items;

	o->n_open++;
	*ret_item = number;
	return o->place->begin(o->ctx, number, name, format, expected_bytes, e);
}

static struct item *open_item(struct output *o, uint32_t number, struct error *e)
{
	if (number == 0 || number > o->n_items || o->items[number - 1].hash == NULL) {
		(void)error_set(e, -EINVAL, "the exhibit has no open item %u", number);
		return NULL;
	}
	return &o->items[number - 1];
}

static int hash_chunk(struct output *o, struct output_chunk *c, struct error *e)
{
	bool whole_zeros = c->data == NULL && c->len == OUTPUT_CHUNK_BYTES;

	if (whole_zeros && o->zero_hash_known) {
		c->hash = o->zero_hash;
		return 0;
	}
	if (seal_sha256(c->data == NULL ? zero_chunk : c->data, c->len, &c->hash) < 0)
		return error_set(e, -ENOMEM, "cannot hash a chunk: out of memory");
	if (whole_zeros) {
		o->zero_hash = c->hash;
		o->zero_hash_known = true;
	}
	return 0;
}

/* data NULL: zeros. len: 1..OUTPUT_CHUNK_BYTES, the last bytes that the item has so far. The item's hash goes over
 * chunks too: writes may be of few bytes each. */
static int send_chunk(struct output *o, uint32_t number, const uint8_t *data, uint32_t len,
		      struct error *e)
{
	struct item *i = &o->items[number - 1];
	struct output_chunk c = {
		.item = number, .offset = i->bytes - len, .data = data, .len = len
	};

	if (EVP_DigestUpdate(i->hash, data == NULL ? zero_chunk : data, len) != 1)
		return error_set(e, -ENOMEM, "cannot hash an item: out of memory");
	if (data != NULL && memcmp(data, zero_chunk, len) == 0)
		c.data = NULL;
	int r = o->place->wants_hash ? hash_chunk(o, &c, e) : 0;

	return r < 0 ? r : o->place->chunk(o->ctx, &c, e);
}

static int flush_item(struct output *o, uint32_t number, struct error *e)
{
	struct item *i = &o->items[number - 1];
	uint32_t len = i->filled;
	bool zeros = i->zeros;

	i->filled = 0;
	i->zeros = false;
	return len == 0 ? 0 : send_chunk(o, number, zeros ? NULL : i->buffer, len, e);
}

/* The buffer, with what it should hold in it. */
static int need_buffer(struct item *i, struct error *e)
{
	if (i->buffer == NULL)
		i->buffer = malloc(OUTPUT_CHUNK_BYTES);
	if (i->buffer == NULL)
		return error_set(e, -ENOMEM, "cannot hold a chunk: out of memory");
	if (i->zeros)
		memset(i->buffer, 0, i->filled);
	i->zeros = false;
	return 0;
}

/* len fits into the chunk under way. data NULL: zeros. */
static int fill_chunk(struct output *o, uint32_t number, const uint8_t *data, uint32_t len,
		      struct error *e)
{
	struct item *i = &o->items[number - 1];
	int r = 0;

	i->bytes += len;
	if (i->filled == 0 && len == OUTPUT_CHUNK_BYTES)
		return send_chunk(o, number, data, len, e); /* no copy */
	if (data == NULL && (i->filled == 0 || i->zeros)) {
		i->zeros = true;
	} else {
		r = need_buffer(i, e);
		if (r == 0 && data != NULL)
			memcpy(i->buffer + i->filled, data, len);
		else if (r == 0)
			memset(i->buffer + i->filled, 0, len);
	}
	i->filled += len;
	return r == 0 && i->filled == OUTPUT_CHUNK_BYTES ? flush_item(o, number, e) : r;
}

static int put(struct output *o, uint32_t number, const uint8_t *data, uint64_t len,
	       struct error *e)
{
	struct item *i = &o->items[number - 1];
	int r = 0;

	while (r == 0 && len > 0) {
		uint64_t room = OUTPUT_CHUNK_BYTES - i->filled;
		uint32_t n = (uint32_t)(len < room ? len : room);

		r = o->place->ready == NULL || o->cancelled ? 0 : o->place->ready(o->ctx, e);
		if (r == 0)
			r = fill_chunk(o, number, data, n, e);
		if (r < 0)
			break;
		data = data == NULL ? NULL : data + n;
		len -= n;
		o->bytes += n;
	}
	return r;
}

uint64_t output_left(const struct output *o)
{
	if (o->cancelled)
		return 0;
	return o->max_bytes == 0       ? UINT64_MAX :
	       o->bytes > o->max_bytes ? 0 :
					 o->max_bytes - o->bytes;
}

/* How much of len may still be written. */
static uint64_t allowed(struct output *o, uint64_t len)
{
	uint64_t left = output_left(o);

	if (o->cancelled) {
		left = OUTPUT_CLOSING_BYTES - o->closing_bytes;
		left = len <= left ? len : 0;
		o->closing_bytes += left;
	}
	return len < left ? len : left;
}

static int write_some(struct output *o, uint32_t number, const uint8_t *data, uint64_t len,
		      struct error *e)
{
	if (open_item(o, number, e) == NULL)
		return -EINVAL;
	uint64_t n = allowed(o, len);
	int r = put(o, number, data, n, e);

	if (r == 0 && n < len)
		r = error_set(e, -ECANCELED, "the limit of %llu bytes is used up",
			      (unsigned long long)o->max_bytes);
	o->cancelled |= r == -ECANCELED;
	return r;
}

int output_write(struct output *o, uint32_t item, const void *data, size_t len, struct error *e)
{
	return write_some(o, item, data, len, e);
}

int output_flush(struct output *o, uint32_t item, struct error *e)
{
	return open_item(o, item, e) == NULL ? -EINVAL : flush_item(o, item, e);
}

int output_zeros(struct output *o, uint32_t item, uint64_t len, struct error *e)
{
	return write_some(o, item, NULL, len, e);
}

int output_end(struct output *o, uint32_t item, const char *status, struct seal_hash *ret_hash,
	       struct error *e)
{
	struct item *i = open_item(o, item, e);
	struct output_ending end = { .item = item, .status = status };

	if (i == NULL)
		return -EINVAL;
	int r = flush_item(o, item, e);

	end.bytes = i->bytes;
	if (r == 0 && EVP_DigestFinal_ex(i->hash, end.hash.b, NULL) != 1)
		r = error_set(e, -ENOMEM, "cannot hash an item: out of memory");
	item_release(i);
	o->n_open--;
	if (r == 0)
		r = o->place->end(o->ctx, &end, e);
	if (r == 0 && ret_hash != NULL)
		*ret_hash = end.hash;
	return r;
}

uint64_t output_bytes(const struct output *o, uint32_t item)
{
	return item == 0 || item > o->n_items ? 0 : o->items[item - 1].bytes;
}

static int check_note(struct output *o, const struct output_fact *f, struct error *e)
{
	size_t len = strlen(f->key);

	if (len == 0 || len > KEY_MAX ||
	    strspn(f->key, "abcdefghijklmnopqrstuvwxyz0123456789_.") != len)
		return error_set(e, -EINVAL, "'%s' cannot be the name of a note", f->key);
	if (f->len > OUTPUT_NOTE_MAX)
		return error_set(e, -E2BIG, "the note '%s' is longer than %d bytes", f->key,
				 (int)OUTPUT_NOTE_MAX);
	for (size_t i = 0; i < o->n_notes; i++)
		if (strcmp(o->notes[i], f->key) == 0)
			return 0;
	if (o->n_notes == OUTPUT_NOTES_MAX)
		return error_set(e, -E2BIG, "more than %d notes", OUTPUT_NOTES_MAX);
	memcpy(o->notes[o->n_notes++], f->key, len + 1);
	return 0;
}

static int note(struct output *o, const struct output_fact *f, struct error *e)
{
	int r = check_note(o, f, e);

	return r < 0 ? r : o->place->note(o->ctx, f, e);
}

int output_note(struct output *o, const char *key, const char *text, struct error *e)
{
	return note(o, &(struct output_fact){ .key = key, .data = text, .len = strlen(text) }, e);
}

int output_note_bytes(struct output *o, const char *key, const void *data, size_t len,
		      struct error *e)
{
	return note(o,
		    &(struct output_fact){ .key = key, .data = len == 0 ? "" : data, .len = len },
		    e);
}

int output_note_u64(struct output *o, const char *key, uint64_t value, struct error *e)
{
	return note(o, &(struct output_fact){ .key = key, .value = value }, e);
}

int output_warn(struct output *o, bool lacking, struct error *e, const char *format, ...)
{
	char text[WARNING_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return o->place->warn(o->ctx, lacking, text, e);
}
