/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/tokens.h"

#include <errno.h>
#include <string.h>

#include "batch.pb-c.h"
#include "collector/store.h"
#include "proto/base/reader.h"
#include "proto/base/writer.h"
#include "proto/entity.h"

/* Collects hashes; doubles until COLLECT_MAX, before duplicates are removed. */
struct set {
	struct arena *a;
	uint64_t *items;
	size_t n, cap;
	bool failed;
};

#define COLLECT_MAX (BATCH_ENTRIES_MAX * 16u)

/* wyhash-like mixing would do for speed, but a hash in a file format must be one that others can compute
 * with a library: FNV-1a 64, its bytes finished by the 64-bit mix of MurmurHash3 (public domain), since
 * FNV's low bits alone spread poorly over short values. */
static uint64_t mix(uint64_t h)
{
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ULL;
	return h ^ h >> 33;
}

uint64_t token_hash(enum token_family family, const void *value, size_t len)
{
	const uint8_t *bytes = value;
	uint64_t h = 0xcbf29ce484222325ULL;

	h = (h ^ (uint8_t)family) * 0x100000001b3ULL;
	for (size_t i = 0; i < len; i++)
		h = (h ^ bytes[i]) * 0x100000001b3ULL;
	return mix(h);
}

static void add(struct set *s, enum token_family family, const void *value, size_t len)
{
	if (s->failed || len == 0)
		return;
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 1024;
		uint64_t *items = cap <= COLLECT_MAX ? arena_alloc(s->a, cap * sizeof(*items)) :
						       NULL;

		s->failed = !items;
		if (s->failed)
			return;
		if (s->n)
			memcpy(items, s->items, s->n * sizeof(*items));
		s->items = items;
		s->cap = cap;
	}
	s->items[s->n++] = token_hash(family, value, len);
}

static void add_bytes(struct set *s, enum token_family family, ProtobufCBinaryData b)
{
	add(s, family, b.data, b.len);
}

static void add_u32(struct set *s, enum token_family family, uint32_t v)
{
	uint8_t buf[4];
	struct writer w = writer_init(buf, sizeof(buf));

	writer_u32(&w, v);
	add(s, family, buf, sizeof(buf));
}

static void add_port(struct set *s, uint32_t port)
{
	uint8_t buf[2];
	struct writer w = writer_init(buf, sizeof(buf));

	if (!port || port > UINT16_MAX)
		return;
	writer_u16(&w, (uint16_t)port);
	add(s, TOKEN_PORT, buf, sizeof(buf));
}

static void add_key(struct set *s, enum token_family family, const struct batch_header *h,
		    const Exhibit__V1__ImageKey *key)
{
	uint8_t buf[ENTITY_ENCODED_LEN];
	struct entity id;

	if (!key)
		return;
	id = (struct entity){ .pid = key->pid, .start_ns = key->start_ns, .exec_id = key->exec_id };
	memcpy(id.boot_id, h->boot_id, ENTITY_BOOT_LEN);
	entity_encode(&id, buf);
	add(s, family, buf, sizeof(buf));
}

static void add_process(struct set *s, const struct batch_header *h, const Exhibit__V1__Process *p)
{
	add_key(s, TOKEN_ENTITY, h, p->key);
	add_key(s, TOKEN_PARENT, h, p->parent);
	if (p->key)
		add_u32(s, TOKEN_PID, p->key->pid);
	add_bytes(s, TOKEN_NAME, p->name);
	add_bytes(s, TOKEN_PATH, p->executable);
	add_bytes(s, TOKEN_CONTAINER, p->container_id);
	add_bytes(s, TOKEN_POD, p->pod_name);
	add_bytes(s, TOKEN_NAMESPACE, p->pod_namespace);
	add_bytes(s, TOKEN_IMAGE, p->image_name);
	add_u32(s, TOKEN_USER, p->uid);
}

static void add_event(struct set *s, const Exhibit__V1__Event *e)
{
	add_u32(s, TOKEN_ACTION, (uint32_t)e->action);
	if (e->detail_case == EXHIBIT__V1__EVENT__DETAIL_EXEC)
		add_bytes(s, TOKEN_PATH, e->exec->filename);
	if (e->detail_case == EXHIBIT__V1__EVENT__DETAIL_FILE) {
		add_bytes(s, TOKEN_PATH, e->file->path);
		add_bytes(s, TOKEN_PATH, e->file->old_path);
	}
	if (e->detail_case == EXHIBIT__V1__EVENT__DETAIL_NET) {
		add_bytes(s, TOKEN_IP, e->net->source_ip);
		add_bytes(s, TOKEN_IP, e->net->destination_ip);
		add_port(s, e->net->source_port);
		add_port(s, e->net->destination_port);
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static size_t sort_unique(uint64_t *items, size_t n)
{
	size_t kept = 0;

	if (n == 0)
		return 0;
	qsort(items, n, sizeof(*items), compare);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || items[kept - 1] != items[i])
			items[kept++] = items[i];
	return kept;
}

/* The collector reads entries with an arena of its own, so that the caller's holds tokens only. */
static int collect(const struct batch_header *h, const uint8_t *raw, size_t raw_len,
		   struct arena *scratch, struct set *s, struct error *e)
{
	struct reader r = reader_init(raw, raw_len);
	const uint8_t *bytes;
	size_t len;

	for (uint32_t i = 0; batch_next(&r, &bytes, &len); i++) {
		Exhibit__V1__Entry *entry;

		arena_reset(scratch);
		entry = exhibit__v1__entry__unpack(arena_protobuf(scratch), len, bytes);
		if (!entry)
			return error_set(e, -EBADMSG, "entry %u of the batch is not an Entry",
					 i + 1);
		if (entry->kind_case == EXHIBIT__V1__ENTRY__KIND_PROCESS)
			add_process(s, h, entry->process);
		if (entry->kind_case == EXHIBIT__V1__ENTRY__KIND_EVENT)
			add_event(s, entry->event);
	}
	if (r.bad)
		return error_set(e, -EBADMSG, "the batch's entries are cut short");
	if (s->failed)
		return error_set(e, -EBADMSG, "the batch has too many index tokens");
	return 0;
}

int tokens_extract(const struct batch_header *h, const uint8_t *raw, size_t raw_len,
		   struct arena *a, uint64_t **ret_tokens, size_t *ret_n, struct error *e)
{
	/* An unpacked entry is larger than its bytes: pointers for each argument. */
	AUTO(arena_free_ptr) struct arena *scratch = arena_new(MiB(16), KiB(256));
	struct set s = { .a = a };
	size_t n;
	int r;

	if (!scratch)
		return error_set(e, -ENOMEM, "cannot index a batch: out of memory");
	r = collect(h, raw, raw_len, scratch, &s, e);
	if (r < 0)
		return r;
	n = sort_unique(s.items, s.n);
	if (n > STORE_TOKENS_MAX)
		return error_set(e, -EBADMSG,
				 "the batch has %zu index tokens, at most %d are allowed", n,
				 STORE_TOKENS_MAX);
	*ret_tokens = s.items;
	*ret_n = n;
	return 0;
}
