/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store_world.h"

#include "tests/unit/rows.h"

#include "batch.pb-c.h"
#include "proto/base/files.h"
#include "proto/base/reader.h"
#include "proto/base/writer.h"
#include "proto/certs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define RAW_MAX KiB(64)

static uint64_t hash_word(const void *word, size_t len)
{
	const uint8_t *p = word;
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
	return h ^ h >> 29;
}

uint64_t world_token(const char *word)
{
	return hash_word(word, strlen(word));
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int world_tokenize(const struct batch_header *h, const uint8_t *raw, size_t raw_len,
		   struct arena *a, uint64_t **ret_tokens, size_t *ret_n, struct error *e)
{
	struct reader r = reader_init(raw, raw_len);
	uint64_t *tokens = arena_alloc(a, (h->entries + 1) * sizeof(*tokens));
	const uint8_t *entry;
	size_t len, n = 0;

	if (!tokens)
		return error_set(e, -ENOMEM, "no memory for tokens");
	while (batch_next(&r, &entry, &len))
		tokens[n++] = hash_word(entry, len);
	qsort(tokens, n, sizeof(*tokens), by_value);
	*ret_n = 0;
	for (size_t i = 0; i < n; i++)
		if (i == 0 || tokens[i] != tokens[i - 1])
			tokens[(*ret_n)++] = tokens[i];
	*ret_tokens = tokens;
	return 0;
}

static void count_stored(void *ctx, const struct store_ref *ref, const struct store_item *item)
{
	struct world *w = ctx;

	assert_int_equal(ref->number, item->view->header.number);
	w->stored++;
}

struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));
	uint8_t public[SEAL_PUBLIC_LEN];
	char key[96];

	assert_non_null(w);
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/exhibit-store-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	(void)snprintf(key, sizeof(key), "%s.key", w->dir);
	assert_int_equal(certs_sealing_key(key, public, NULL), 0);
	assert_int_equal(seal_key_load(key, &w->key, NULL), 0);
	assert_int_equal(batch_sealer_new(w->key, &w->sealer, NULL), 0);
	assert_int_equal(unlink(key), 0);
	w->config = (struct store_config){
		.dir = w->dir,
		.segment_bytes = MiB(16),
		.segment_age_ms = 1000,
		.ledger_key = w->key,
		.tokenize = world_tokenize,
		.on_stored = count_stored,
		.ctx = w,
	};
	w->now_ns = 5000LL * 1000000000;
	return w;
}

static void remove_tree(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *entry;
	char below[512];

	while (d && (entry = readdir(d))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		(void)snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
		if (unlink(below) < 0)
			remove_tree(below);
	}
	if (d)
		(void)closedir(d);
	(void)rmdir(path);
}

static void drop_items(struct world *w)
{
	for (size_t i = 0; i < w->n; i++) {
		free(w->behind[i].bytes);
		arena_free(w->behind[i].arena);
	}
	w->n = 0;
}

void world_free(struct world *w)
{
	world_close(w);
	drop_items(w);
	batch_sealer_free(w->sealer);
	seal_key_free(w->key);
	remove_tree(w->dir);
	free(w);
}

void world_open(struct world *w)
{
	if (store_open(&w->config, &w->store, &w->error))
		fail_msg("%s", w->error.text);
}

void world_close(struct world *w)
{
	store_close(w->store);
	w->store = NULL;
}

void world_reopen(struct world *w)
{
	world_close(w);
	world_open(w);
}

static struct batch_name name_of(const char *text)
{
	struct batch_name n = { .len = (uint8_t)strlen(text) };

	memcpy(n.b, text, n.len);
	return n;
}

struct world_stream world_stream(const char *host, uint8_t boot, enum batch_lane lane)
{
	return (struct world_stream){
		.tenant = "acme", .host = host, .boot = boot, .epoch = 1, .lane = lane
	};
}

static struct world_item *next_item(struct world *w, enum store_kind kind)
{
	struct world_item *b;

	assert_true(w->n < WORLD_ITEMS_MAX);
	b = &w->behind[w->n];
	*b = (struct world_item){ .arena = arena_new(MiB(16), 0) };
	assert_non_null(b->arena);
	w->items[w->n++] = (struct store_item){ .kind = kind, .received_ns = w->now_ns };
	return b;
}

static void take_bytes(struct world *w, struct world_item *b, const void *bytes, size_t len)
{
	b->bytes = malloc(len);
	assert_non_null(b->bytes);
	memcpy(b->bytes, bytes, len);
	w->items[w->n - 1].bytes = b->bytes;
	w->items[w->n - 1].len = len;
}

static uint32_t write_words(struct writer *w, const char *words)
{
	uint32_t n = 0;

	while (*words) {
		size_t len = strcspn(words, " ");

		writer_varint(w, len);
		writer_bytes(w, words, len);
		words += len + (words[len] == ' ');
		n++;
	}
	assert_false(w->bad);
	return n;
}

size_t world_batch(struct world *w, struct world_stream *s, uint64_t boottime_s, const char *words)
{
	static uint8_t raw[RAW_MAX];
	struct writer out = writer_init(raw, sizeof(raw));
	uint32_t n = write_words(&out, words);
	uint64_t at = boottime_s * NSEC_PER_SEC;
	struct batch_header h = {
		.tenant = name_of(s->tenant),
		.host_id = name_of(s->host),
		.host_name = name_of(s->host),
		.lane = s->lane,
		.number = ++s->number,
		.count = n,
		.entries = n,
		.first_boottime_ns = at,
		.last_boottime_ns = at,
		.sealed_boottime_ns = at,
		.sealed_wall_ns = (int64_t)at + WORLD_OFFSET,
		.synchronised = true,
		.watermark_ns = at,
		.has_previous = s->has_previous,
		.previous = s->previous,
	};
	struct world_item *b = next_item(w, STORE_BATCH);
	struct store_item *item = &w->items[w->n - 1];
	const uint8_t *bytes;
	size_t len;

	memset(h.boot_id, s->boot, sizeof(h.boot_id));
	memset(h.epoch, s->epoch, sizeof(h.epoch));
	h.first_sequence = n ? s->sequence + 1 : 0;
	h.last_sequence = n ? s->sequence + n : 0;
	s->sequence += n;
	if (batch_seal(w->sealer, &h, raw, out.done, &bytes, &len, &b->hash, &w->error))
		fail_msg("%s", w->error.text);
	take_bytes(w, b, bytes, len);
	s->has_previous = true;
	s->previous = b->hash;
	if (batch_parse(b->bytes, len, b->arena, &b->view, &w->error) ||
	    world_tokenize(&b->view.header, raw, out.done, b->arena, &b->tokens, &b->n_tokens,
			   &w->error))
		fail_msg("%s", w->error.text);
	item->view = &b->view;
	item->tokens = b->tokens;
	item->n_tokens = b->n_tokens;
	return w->n - 1;
}

size_t world_tombstone(struct world *w, struct world_stream *s, uint64_t boottime_s, size_t n)
{
	struct world_item *b = next_item(w, STORE_TOMBSTONE);
	struct batch_tombstone t = { .tenant = name_of(s->tenant),
				     .host_id = name_of(s->host),
				     .lane = s->lane,
				     .offset_ns = WORLD_OFFSET,
				     .wall_ns = WORLD_OFFSET,
				     .reason = "journal full",
				     .boottime_ns = boottime_s * NSEC_PER_SEC,
				     .n_dropped = n };
	const uint8_t *bytes;
	size_t len;

	memset(t.boot_id, s->boot, sizeof(t.boot_id));
	memset(t.epoch, s->epoch, sizeof(t.epoch));
	t.dropped = arena_zalloc(b->arena, n * sizeof(*t.dropped));
	assert_non_null(t.dropped);
	for (size_t i = 0; i < n; i++) {
		struct batch_dropped *d = &t.dropped[i];

		*d = (struct batch_dropped){ .number = ++s->number,
					     .first_sequence = s->sequence + 1,
					     .last_sequence = s->sequence + 3,
					     .has_previous = s->has_previous,
					     .previous = s->previous,
					     .first_boottime_ns = boottime_s * NSEC_PER_SEC,
					     .last_boottime_ns = boottime_s * NSEC_PER_SEC };
		d->counts[1] = 3;
		memset(d->header_hash.b, (int)(0xd0 + i), SEAL_HASH_LEN);
		s->sequence += 3;
		s->has_previous = true;
		s->previous = d->header_hash;
	}
	if (batch_seal_tombstone(w->key, &t, b->arena, &bytes, &len, &w->error))
		fail_msg("%s", w->error.text);
	take_bytes(w, b, bytes, len);
	if (batch_open_tombstone(b->bytes, len, NULL, b->arena, &b->tombstone, &w->error))
		fail_msg("%s", w->error.text);
	w->items[w->n - 1].tombstone = &b->tombstone;
	return w->n - 1;
}

size_t world_host_record(struct world *w, const char *tenant, const char *host, uint8_t variant)
{
	Exhibit__V1__HostRecord m = EXHIBIT__V1__HOST_RECORD__INIT;
	Exhibit__V1__SignedHostRecord s = EXHIBIT__V1__SIGNED_HOST_RECORD__INIT;
	struct world_item *b = next_item(w, STORE_HOST_RECORD);
	uint8_t public[SEAL_PUBLIC_LEN], record[512], out[1024];
	struct batch_name *names = arena_alloc(b->arena, 2 * sizeof(*names));

	assert_non_null(names);
	names[0] = name_of(tenant);
	names[1] = name_of(host);
	seal_key_public(w->key, public);
	m.version = 1;
	m.tenant = (ProtobufCBinaryData){ names[0].len, names[0].b };
	m.host_id = (ProtobufCBinaryData){ names[1].len, names[1].b };
	m.sealing_key = (ProtobufCBinaryData){ sizeof(public), public };
	m.valid_from_ns = 1 + variant;
	s.record = (ProtobufCBinaryData){ exhibit__v1__host_record__pack(&m, record), record };
	s.signature = (ProtobufCBinaryData){ 1, &variant };
	take_bytes(w, b, out, exhibit__v1__signed_host_record__pack(&s, out));
	w->items[w->n - 1].tenant = &names[0];
	w->items[w->n - 1].host_id = &names[1];
	return w->n - 1;
}

int world_put(struct world *w)
{
	int r = store_put(w->store, w->items, w->n, &w->error);

	drop_items(w);
	return r;
}

void world_put_all(struct world *w, enum store_result result)
{
	size_t n = w->n;

	if (world_put(w))
		fail_msg("%s", w->error.text);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(w->items[i].result, result);
}

void world_store(struct world *w, struct world_stream *s, uint64_t boottime_s, const char *words)
{
	(void)world_batch(w, s, boottime_s, words);
	world_put_all(w, STORE_STORED);
}

static void compare(struct world *w, const struct store_ref *ref)
{
	AUTO(free_ptr) uint8_t *bytes = NULL;
	struct arena *a = arena_new(MiB(16), 0);
	struct batch_view view;
	size_t len;

	if (store_read(w->store, ref, &bytes, &len, &w->error))
		fail_msg("%s", w->error.text);
	assert_int_equal(len, ref->len);
	if (ref->kind == STORE_BATCH) {
		if (batch_parse(bytes, len, a, &view, &w->error))
			fail_msg("%s", w->error.text);
		assert_int_equal(view.header.number, ref->number);
		assert_int_equal(view.header.count, ref->count);
		assert_memory_equal(view.header.boot_id, ref->boot_id, BATCH_BOOT_LEN);
	}
	arena_free(a);
}

size_t world_find(struct world *w, const char *tenant, const char *host, const char *word)
{
	struct batch_name t = name_of(tenant), h = name_of(host ? host : "");
	uint64_t token = word ? world_token(word) : 0;
	struct store_group group = { &token, 1 };
	struct store_question q = { .tenant = &t,
				    .hosts = &h,
				    .n_hosts = host ? 1 : 0,
				    .since_ns = INT64_MIN,
				    .until_ns = INT64_MAX,
				    .groups = &group,
				    .n_groups = word ? 1 : 0,
				    .max = 1000000 };
	AUTO(free_ptr) struct store_ref *refs = NULL;
	size_t n = 0;

	if (store_find(w->store, &q, &refs, &n, &w->error))
		fail_msg("%s", w->error.text);
	for (size_t i = 0; i < n; i++) {
		assert_true(i == 0 || refs[i].first_wall_ns >= refs[i - 1].first_wall_ns);
		compare(w, &refs[i]);
	}
	return n;
}

struct store_stream world_view(struct world *w, const struct world_stream *s)
{
	struct batch_name t = name_of(s->tenant), h = name_of(s->host);
	AUTO(free_ptr) struct store_stream *all = NULL;
	struct store_stream found = { 0 };
	size_t n = 0;

	if (store_streams(w->store, &t, &h, &all, &n, &w->error))
		fail_msg("%s", w->error.text);
	for (size_t i = 0; i < n; i++)
		if (all[i].boot_id[0] == s->boot && all[i].epoch[0] == s->epoch &&
		    all[i].lane == s->lane)
			found = all[i];
	return found;
}

static void keep_first(void *ctx, const char *sentence)
{
	char *first = ctx;

	if (!first[0])
		(void)snprintf(first, 1024, "%s", sentence);
}

uint64_t world_check(struct world *w, char first[static 1024])
{
	uint64_t faults = 0;

	first[0] = '\0';
	assert_null(w->store);
	if (store_check(&w->config, keep_first, first, &faults, &w->error))
		fail_msg("%s", w->error.text);
	return faults;
}

static int is_file(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static size_t walk(struct world *w, const char *tenant, const char *suffix, size_t n, char *path)
{
	struct dirent **all;
	char folder[128];
	size_t found = 0;
	int count;

	(void)snprintf(folder, sizeof(folder), "%s/%s", w->dir, tenant);
	count = scandir(folder, &all, is_file, alphasort);
	for (int i = 0; i < count; i++) {
		size_t len = strlen(all[i]->d_name);

		if (len >= strlen(suffix) &&
		    strcmp(all[i]->d_name + len - strlen(suffix), suffix) == 0) {
			if (found++ == n && path)
				(void)snprintf(path, 256, "%s/%.100s", folder, all[i]->d_name);
		}
		free(all[i]);
	}
	if (count >= 0)
		free(all);
	return found;
}

bool world_file(struct world *w, const char *tenant, const char *suffix, size_t n,
		char path[static 256])
{
	return walk(w, tenant, suffix, n, path) > n;
}

size_t world_files(struct world *w, const char *tenant, const char *suffix)
{
	return walk(w, tenant, suffix, 0, NULL);
}

void world_flip(const char *path, long offset, uint8_t bits)
{
	struct stat st;
	uint8_t byte;
	int fd;

	assert_int_equal(chmod(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	if (offset < 0)
		offset += st.st_size;
	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	byte ^= bits;
	assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
	assert_int_equal(close(fd), 0);
}

void world_cut(const char *path, long bytes)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(truncate(path, st.st_size - bytes), 0);
}

void world_play(void **state)
{
	const struct world_scene *s = *state;
	struct world *w = world_new();

	s->play(w);
	world_free(w);
}
