/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit export CASE --out FILE: one self-contained tar. Written as FILE.part and renamed when it is whole. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/cli/bundle_events.h"
#include "collector/cli/bundle_tar.h"
#include "collector/cli/export_ask.h"
#include "collector/cli/export_events.h"
#include "collector/cli/place.h"
#include "proto/base/clock.h"
#include "proto/json.h"
#include "proto/openssl_util.h"

struct export
{
	const struct args *args;
	struct bundle bundle;
	struct exhibit_list list;
	struct tar_out tar;
	FILE *sums; /* into sums_text */
	char *sums_text;
	size_t sums_len;
	/* The item that is being written. */
	EVP_MD_CTX *whole, *chunk;
	uint64_t at;
	FILE *chunks;
	bool found; /* the collector knows the case */
};

static void put_hex(FILE *out, const uint8_t hash[static SEAL_HASH_LEN])
{
	for (size_t i = 0; i < SEAL_HASH_LEN; i++)
		(void)fprintf(out, "%02x", hash[i]);
}

static void note_sum(struct export *x, const char *path, const uint8_t hash[static SEAL_HASH_LEN])
{
	put_hex(x->sums, hash);
	(void)fprintf(x->sums, "  %s\n", path);
}

static int put_file(struct export *x, const char *path, const void *data, size_t len,
		    struct error *e)
{
	int r = tar_begin(&x->tar, path, len, e);

	if (r == 0)
		r = tar_data(&x->tar, data, len, e);
	return r == 0 ? tar_end_file(&x->tar, e) : r;
}

static int emit(void *ctx, const char *path, const void *data, size_t len, struct error *e)
{
	struct seal_hash hash;

	if (seal_sha256(data, len, &hash) < 0)
		return error_set(e, -ENOMEM, "cannot hash '%s'", path);
	note_sum(ctx, path, hash.b);
	return put_file(ctx, path, data, len, e);
}

/* ---- items ---- */

static int end_chunk(struct export *x, uint64_t end, struct error *e)
{
	uint64_t begin = end == 0 ? 0 : (end - 1) / BUNDLE_CHUNK * BUNDLE_CHUNK;
	struct seal_hash hash;

	if (EVP_DigestFinal_ex(x->chunk, hash.b, NULL) != 1 ||
	    EVP_DigestInit_ex(x->chunk, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash an item: %s", openssl_reason());
	(void)fprintf(x->chunks, "%" PRIu64 " %" PRIu64 " ", begin, end - begin);
	put_hex(x->chunks, hash.b);
	(void)fputc('\n', x->chunks);
	return 0;
}

static int item_bytes(void *ctx, const void *data, size_t len, struct error *e)
{
	struct export *x = ctx;
	const uint8_t *at = data;
	int r = tar_data(&x->tar, data, len, e);

	if (r == 0 && EVP_DigestUpdate(x->whole, data, len) != 1)
		r = error_set(e, -ENOMEM, "cannot hash an item: %s", openssl_reason());
	while (r == 0 && len > 0) {
		uint64_t room = BUNDLE_CHUNK - x->at % BUNDLE_CHUNK;
		size_t n = len < room ? len : (size_t)room;

		if (EVP_DigestUpdate(x->chunk, at, n) != 1)
			return error_set(e, -ENOMEM, "cannot hash an item: %s", openssl_reason());
		x->at += n;
		at += n;
		len -= n;
		if (x->at % BUNDLE_CHUNK == 0)
			r = end_chunk(x, x->at, e);
	}
	return r;
}

static int begin_item(struct export *x, char **chunks, size_t *len, struct error *e)
{
	x->at = 0;
	x->chunks = open_memstream(chunks, len);
	if (!x->chunks || EVP_DigestInit_ex(x->whole, EVP_sha256(), NULL) != 1 ||
	    EVP_DigestInit_ex(x->chunk, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash an item: %s", openssl_reason());
	return 0;
}

/* Pad it, compare it, and put the hashes of its pieces behind it. */
static int end_item(struct export *x, const char *path, const Exhibit__V1__ItemInfo *item,
		    struct error *e)
{
	struct seal_hash hash;
	int r = tar_end_file(&x->tar, e);

	if (r == 0 && (x->at % BUNDLE_CHUNK > 0 || x->at == 0))
		r = end_chunk(x, x->at, e);
	if (r == 0 && EVP_DigestFinal_ex(x->whole, hash.b, NULL) != 1)
		r = error_set(e, -ENOMEM, "cannot hash an item: %s", openssl_reason());
	if (r == 0 && memcmp(hash.b, item->sha256.data, SEAL_HASH_LEN) != 0)
		r = error_set(e, -EBADMSG,
			      "what the collector sent of '%s' does not have its SHA-256", path);
	if (r == 0)
		note_sum(x, path, hash.b);
	return r;
}

static int put_item(struct export *x, const char *id, const Exhibit__V1__ExhibitInfo *info,
		    const Exhibit__V1__ItemInfo *item, struct error *e)
{
	AUTO(free_ptr) char *chunks = NULL;
	char path[BUNDLE_PATH_MAX];
	size_t len = 0;
	int r;

	if (!vault_name_valid(item->name.data, item->name.len) || item->sha256.len != SEAL_HASH_LEN)
		return error_set(e, -EBADMSG,
				 "the collector names an item that no exhibit can have");
	(void)snprintf(path, sizeof(path), "exhibits/%s/items/%.*s", id, (int)item->name.len,
		       (const char *)item->name.data);
	r = tar_begin(&x->tar, path, item->bytes, e);
	if (r == 0)
		r = begin_item(x, &chunks, &len, e);
	if (r == 0)
		r = export_item(x->args, info, item, item_bytes, x, e);
	if (r == 0)
		r = end_item(x, path, item, e);
	if (x->chunks && fclose(x->chunks) != 0 && r == 0)
		r = error_set(e, -ENOMEM, "cannot write the pieces of '%s'", path);
	x->chunks = NULL;
	(void)snprintf(path, sizeof(path), "exhibits/%s/chunks/%.*s", id, (int)item->name.len,
		       (const char *)item->name.data);
	return r == 0 ? emit(x, path, chunks, len, e) : r;
}

static int put_items(struct export *x, struct error *e)
{
	int r = 0;

	/* Exhibits of list and bundle stand in the same order. */
	for (size_t i = 0; i < x->list.n && r == 0; i++)
		for (size_t k = 0; k < x->list.at[i]->n_items && r == 0; k++)
			r = put_item(x, x->bundle.exhibits[i].id, x->list.at[i],
				     x->list.at[i]->items[k], e);
	return r;
}

static int put_all(struct export *x, struct error *e)
{
	int r = bundle_derived(&x->bundle, emit, x, e);

	if (r == 0)
		r = bundle_primary(&x->bundle, emit, x, e);
	if (r == 0)
		r = put_items(x, e);
	if (r == 0 && fflush(x->sums) != 0)
		r = error_set(e, -ENOMEM, "cannot write SHA256SUMS: out of memory");
	if (r == 0)
		r = put_file(x, "SHA256SUMS", x->sums_text, x->sums_len, e);
	return r == 0 ? tar_finish(&x->tar, e) : r;
}

/* ---- the file ---- */

static int write_out(struct export *x, const char *part, struct error *e)
{
	/* What somebody has may be another bundle, or half of one: it is not overwritten. */
	int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = 0;

	x->tar.out = fd < 0 ? NULL : fdopen(fd, "w");
	if (!x->tar.out) {
		r = error_set(e, -errno, "cannot make '%s': %m", part);
		close_fd(&fd);
		return r;
	}
	x->tar.mtime_s = clock_wall_ns() / (int64_t)NSEC_PER_SEC;
	r = put_all(x, e);
	if (r == 0 && (fflush(x->tar.out) != 0 || fsync(fileno(x->tar.out)) < 0))
		r = error_set(e, -errno, "cannot write '%s': %m", part);
	if (fclose(x->tar.out) != 0 && r == 0)
		r = error_set(e, -errno, "cannot write '%s': %m", part);
	return r;
}

/* A file of this name is somebody's. */
static int finish(const char *part, const char *out, struct error *e)
{
	int r = place_file(AT_FDCWD, part, out, e);

	if (r < 0)
		error_hint(e, "the bundle is whole and stays as '%s'", part);
	return r;
}

static int run(struct export *x, struct error *e)
{
	AUTO(free_ptr) char *part = NULL;
	const struct args *a = x->args;
	int r;

	if (!a->object || !a->object[0]) {
		(void)error_set(e, -EINVAL, "no case is given");
		error_hint(e, "exhibit export CASE --out FILE");
		return -EINVAL;
	}
	if (!a->out || !a->out[0]) {
		(void)error_set(e, -EINVAL, "no file is given");
		error_hint(e, "give --out FILE; it must not be there yet");
		return -EINVAL;
	}
	if (access(a->out, F_OK) == 0)
		return error_set(e, -EEXIST, "'%s' is there already", a->out);
	if (asprintf(&part, "%s.part", a->out) < 0) {
		part = NULL;
		return error_set(e, -ENOMEM, "cannot make the bundle: %m");
	}
	x->sums = open_memstream(&x->sums_text, &x->sums_len);
	x->whole = EVP_MD_CTX_new();
	x->chunk = EVP_MD_CTX_new();
	if (!x->sums || !x->whole || !x->chunk)
		return error_set(e, -ENOMEM, "cannot make the bundle: %m");
	r = export_ask(a, a->object, &x->bundle, &x->list, e);
	x->found = r == 0;
	if (r == 0)
		r = write_out(x, part, e);
	if (r == 0)
		r = finish(part, a->out, e);
	else
		(void)unlink(part);
	return r;
}

static void release(struct export *x)
{
	bundle_release(&x->bundle);
	exhibit_list_release(&x->list);
	EVP_MD_CTX_free(x->whole);
	EVP_MD_CTX_free(x->chunk);
	if (x->sums)
		(void)fclose(x->sums);
	free(x->sums_text);
}

static uint64_t count_events(const struct bundle *b)
{
	uint64_t n = 0;

	for (size_t i = 0; i < b->n_events; i++)
		n += bundle_events_rows(&b->events[i]);
	return n;
}

static void show_json(const struct export *x, FILE *out)
{
	const struct bundle *b = &x->bundle;
	struct json j = json_init(out);
	struct stat st;

	json_open(&j, NULL, 0, '{');
	json_open(&j, "file", strlen("file"), '{');
	json_bytes(&j, "path", x->args->out, strlen(x->args->out));
	if (stat(x->args->out, &st) == 0)
		json_u64(&j, "size", (uint64_t)st.st_size);
	json_close(&j, '}');
	json_open(&j, "exhibit", strlen("exhibit"), '{');
	json_bytes(&j, "case", x->args->object, strlen(x->args->object));
	json_u64(&j, "exhibits", b->n_exhibits);
	json_u64(&j, "orders", b->n_orders);
	json_u64(&j, "leaves", b->n_leaves);
	if (!x->args->no_events) {
		json_open(&j, "events", strlen("events"), '{');
		json_u64(&j, "rows", count_events(b));
		json_bool(&j, "complete", export_events_complete(b));
		json_close(&j, '}');
	}
	json_close(&j, '}');
	json_close(&j, '}');
	json_line(&j);
}

/* What was written; the evidence is whole whatever the events around it lack, which is said and no failure. */
static int show(const struct export *x)
{
	const struct outcome o = { .rows = 1 };
	struct screen s;

	screen_init(&s, x->args);
	(void)fprintf(stderr,
		      "wrote '%s': %zu exhibits, %zu leaves of the ledger, %" PRIu64 " events\n",
		      x->args->out, x->bundle.n_exhibits, x->bundle.n_leaves,
		      count_events(&x->bundle));
	export_events_say(&x->bundle);
	if (!s.table)
		show_json(x, s.out);
	return outcome_exit(&o);
}

int verb_export(const struct args *a)
{
	struct export x = { .args = a };
	struct error e = { 0 };
	int r = run(&x, &e);
	int shown = r == 0 ? show(&x) : EXIT_ERROR;

	release(&x);
	if (r == -ENOENT && !x.found) {
		(void)outcome_failure(&e);
		return EXIT_NONE;
	}
	if (r < 0)
		return outcome_failure(&e);
	return shown;
}
