/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit fetch ID --out DIR: items, manifest.json, manifest.sig, SHA256SUMS. The collector is believed in
 * nothing that can be checked: names are plain, lengths and hashes are compared with the manifest that the
 * host signed ('exhibit verify' checks that signature). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#include "collector/cli/fetch_file.h"
#include "collector/cli/session.h"
#include "collector/cli/vault_call.h"
#include "collector/derive.h"
#include "collector/vault_manifest.h"
#include "collector/vault_record.h"
#include "proto/base/files.h"
#include "proto/json.h"

#define SUMS "SHA256SUMS"

struct fetch {
	const struct args *args;
	const Exhibit__V1__ExhibitInfo *info;
	struct screen screen;
	struct table *table;
	int dirfd;
	struct outcome *outcome;
};

static const char *const headers[] = { "FILE", "BYTES", "SHA-256", "", NULL };

/* ---- what is said ---------------------------------------------------------------------------------------- */

static void say_file(struct fetch *f, const char *name, uint64_t bytes, const uint8_t *sha256,
		     const char *how)
{
	char hash[2 * SEAL_HASH_LEN + 1] = "";

	for (size_t i = 0; i < SEAL_HASH_LEN; i++)
		(void)snprintf(hash + 2 * i, 3, "%02x", sha256[i]);
	f->outcome->rows++;
	if (f->table) {
		table_add(f->table, COLOR_BOLD, "%s", name);
		table_add(f->table, COLOR_NONE, "%" PRIu64, bytes);
		table_add(f->table, COLOR_NONE, "%s", hash);
		table_add(f->table, COLOR_NONE, "%s", how);
		return;
	}
	struct json j = json_init(f->screen.out);

	json_open(&j, NULL, 0, '{');
	json_open(&j, "file", 4, '{');
	json_text(&j, "path", name);
	json_u64(&j, "size", bytes);
	json_open(&j, "hash", 4, '{');
	json_text(&j, "sha256", hash);
	json_close(&j, '}');
	json_close(&j, '}');
	json_text(&j, "outcome", how);
	json_close(&j, '}');
	json_line(&j);
}

/* ---- the manifest ---------------------------------------------------------------------------------------- */

static int take_reply(const uint8_t *data, size_t len, Exhibit__V1__FetchReply **ret,
		      struct error *e)
{
	*ret = exhibit__v1__fetch_reply__unpack(NULL, len, data);
	return *ret ? 0 :
		      error_set(e, -EBADMSG,
				"the collector's answer cannot be read; is it of another version?");
}

static int put_small(struct fetch *f, const char *name, const ProtobufCBinaryData *b, bool said,
		     struct error *e)
{
	AUTO(fetch_file_free_ptr) struct fetch_file *file = NULL;
	uint8_t hash[SEAL_HASH_LEN];
	unsigned int n = sizeof(hash);
	uint64_t offset = 0;
	int r;

	if (EVP_Digest(b->data, b->len, hash, &n, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash '%s'", name);
	r = fetch_file_open(f->dirfd, name, b->len, hash, &file, &offset, e);
	if (r == 0)
		r = fetch_file_write(file, b->data + offset, b->len - offset, e);
	if (r == 0)
		r = fetch_file_finish(file, e);
	if (r >= 0 && said)
		say_file(f, name, b->len, hash, r == 1 ? "there already" : "fetched");
	return r < 0 ? r : 0;
}

/* The manifest's items must be those that are fetched. An incomplete exhibit says why it is one. */
static int compare(const struct fetch *f, const Exhibit__V1__SignedManifest *m, struct error *e)
{
	AUTO(free_ptr) struct vault_manifest *manifest = NULL;
	uint8_t hash[SEAL_HASH_LEN];
	unsigned int n = sizeof(hash);
	int r;

	if (EVP_Digest(m->manifest.data, m->manifest.len, hash, &n, EVP_sha256(), NULL) != 1 ||
	    f->info->manifest_sha256.len != SEAL_HASH_LEN ||
	    memcmp(hash, f->info->manifest_sha256.data, SEAL_HASH_LEN) != 0)
		return error_set(
			e, -EBADMSG,
			"the manifest that came does not have the SHA-256 of the exhibit's");
	if (f->info->state != EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_SEALED)
		return 0;
	r = vault_manifest_read(m->manifest.data, m->manifest.len, &manifest, e);
	return r == 0 ? vault_manifest_compare(manifest, f->info, e) : r;
}

static int fetch_manifest(struct fetch *f, struct error *e)
{
	Exhibit__V1__FetchRequest q = EXHIBIT__V1__FETCH_REQUEST__INIT;
	AUTO(session_free_ptr) struct session *s = NULL;
	AUTO(free_ptr) uint8_t *data = NULL;
	Exhibit__V1__FetchReply *reply = NULL;
	size_t len = 0;
	int r;

	if (f->info->manifest_sha256.len == 0)
		return 0; /* sealed without one: the exhibit's reason says so */
	q.exhibit_id = f->info->exhibit_id;
	r = session_open(f->args, VAULT_PATH_FETCH, &q, &s, e);
	if (r == 0)
		r = session_next(s, &data, &len, e);
	if (r == 0)
		return error_set(e, -EBADMSG, "the collector sent no manifest");
	if (r > 0)
		r = take_reply(data, len, &reply, e);
	if (r == 0 && reply->kind_case != EXHIBIT__V1__FETCH_REPLY__KIND_MANIFEST)
		r = error_set(e, -EBADMSG, "the collector sent no manifest");
	if (r == 0)
		r = compare(f, reply->manifest, e);
	if (r == 0)
		r = put_small(f, "manifest.json", &reply->manifest->manifest, true, e);
	if (r == 0)
		r = put_small(f, "manifest.sig", &reply->manifest->signature, true, e);
	if (reply)
		exhibit__v1__fetch_reply__free_unpacked(reply, NULL);
	return r;
}

/* ---- items ----------------------------------------------------------------------------------------------- */

static int receive(struct session *s, struct fetch_file *file, struct error *e)
{
	int r = 1;

	while (r > 0) {
		AUTO(free_ptr) uint8_t *data = NULL;
		Exhibit__V1__FetchReply *reply = NULL;
		size_t len;

		r = session_next(s, &data, &len, e);
		if (r <= 0)
			break;
		r = take_reply(data, len, &reply, e);
		if (r == 0 && reply->kind_case != EXHIBIT__V1__FETCH_REPLY__KIND_DATA)
			r = error_set(e, -EBADMSG, "the collector sends what is no item");
		if (r == 0)
			r = fetch_file_write(file, reply->data.data, reply->data.len, e);
		if (reply)
			exhibit__v1__fetch_reply__free_unpacked(reply, NULL);
		if (r == 0)
			r = 1;
	}
	if (r == 0 && session_interrupted()) {
		(void)error_set(e, -EINTR, "interrupted");
		error_hint(e, "the same command goes on where it stopped");
		return -EINTR;
	}
	return r;
}

static int fetch_item(struct fetch *f, const Exhibit__V1__ItemInfo *item, struct error *e)
{
	Exhibit__V1__FetchRequest q = EXHIBIT__V1__FETCH_REQUEST__INIT;
	AUTO(session_free_ptr) struct session *s = NULL;
	AUTO(fetch_file_free_ptr) struct fetch_file *file = NULL;
	char name[VAULT_NAME_MAX + 1] = "";
	uint64_t offset = 0;
	int r;

	memcpy(name, item->name.data, item->name.len);
	r = fetch_file_open(f->dirfd, name, item->bytes, item->sha256.data, &file, &offset, e);
	if (r == 1) {
		say_file(f, name, item->bytes, item->sha256.data, "there already");
		return 0;
	}
	if (r < 0)
		return r;
	q.exhibit_id = f->info->exhibit_id;
	q.name = item->name;
	q.offset = offset;
	r = session_open(f->args, VAULT_PATH_FETCH, &q, &s, e);
	if (r == 0)
		r = receive(s, file, e);
	if (r == 0)
		r = fetch_file_finish(file, e);
	if (r == 0)
		say_file(f, name, item->bytes, item->sha256.data,
			 offset ? "gone on with" : "fetched");
	return r;
}

static int check_info(const Exhibit__V1__ExhibitInfo *info, struct error *e)
{
	if (info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING) {
		(void)error_set(e, -EAGAIN, "the exhibit is still arriving");
		error_hint(e, "'exhibit exhibits' shows when it is sealed");
		return -EAGAIN;
	}
	for (size_t i = 0; i < info->n_items; i++)
		if (!vault_name_valid(info->items[i]->name.data, info->items[i]->name.len) ||
		    vault_name_reserved(info->items[i]->name.data, info->items[i]->name.len) ||
		    info->items[i]->sha256.len != SEAL_HASH_LEN)
			return error_set(e, -EBADMSG,
					 "the collector names an item that no exhibit can have");
	return 0;
}

static int write_sums(struct fetch *f, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return error_set(e, -ENOMEM, "cannot write " SUMS ": out of memory");
	for (size_t i = 0; i < f->info->n_items; i++) {
		const Exhibit__V1__ItemInfo *item = f->info->items[i];

		for (size_t k = 0; k < SEAL_HASH_LEN; k++)
			(void)fprintf(out, "%02x", item->sha256.data[k]);
		(void)fprintf(out, "  %.*s\n", (int)item->name.len, (const char *)item->name.data);
	}
	if (f->info->manifest_sha256.len == SEAL_HASH_LEN) {
		for (size_t k = 0; k < SEAL_HASH_LEN; k++)
			(void)fprintf(out, "%02x", f->info->manifest_sha256.data[k]);
		(void)fprintf(out, "  manifest.json\n");
	}
	if (fclose(out) != 0)
		return error_set(e, -ENOMEM, "cannot write " SUMS ": out of memory");
	return put_small(f, SUMS, &(ProtobufCBinaryData){ len, (uint8_t *)text }, false, e);
}

static int fetch_all(struct fetch *f, struct error *e)
{
	int r = check_info(f->info, e);

	if (r == 0)
		r = fetch_manifest(f, e);
	for (size_t i = 0; r == 0 && i < f->info->n_items; i++)
		r = fetch_item(f, f->info->items[i], e);
	if (r == 0)
		r = write_sums(f, e);
	if (r == 0 && fsync(f->dirfd) < 0)
		r = error_set(e, -errno, "cannot sync '%s': %m", f->args->out);
	return r;
}

/* What examiners' tools want beside the items. It is no evidence, so an exhibit that it cannot be made of has been
 * fetched all the same. */
static void derive(const struct fetch *f)
{
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	struct error e = { 0 };

	if (f->info->kind != EXHIBIT__V1__ORDER_KIND__ORDER_MEMORY)
		return;
	if (derive_memory(f->args->out, &e) < 0)
		(void)fprintf(stderr, "no symbol file for Volatility: %s\n",
			      error_format(&e, sentence, sizeof(sentence)));
	else
		(void)fprintf(stderr, "for Volatility: %s/" DERIVE_VOLATILITY "/README.txt\n",
			      f->args->out);
}

static int open_out(const char *path, int *ret, struct error *e)
{
	int r;

	if (!path || !path[0]) {
		(void)error_set(e, -EINVAL, "no folder is given");
		error_hint(e, "give --out DIR; it is made when it is not there");
		return -EINVAL;
	}
	r = files_mkdirs(path, 0700, e);
	if (r < 0)
		return r;
	*ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret < 0 ? error_set(e, -errno, "cannot open '%s': %m", path) : 0;
}

static void say_incomplete(const struct fetch *f)
{
	const struct screen s = { .out = stderr };

	(void)fflush(stdout);
	(void)fputs("INCOMPLETE exhibit: ", stderr);
	(void)screen_cell(&s, f->info->reason.data, f->info->reason.len, SIZE_MAX, false,
			  COLOR_NONE);
	(void)fputc('\n', stderr);
	f->outcome->incomplete = true;
}

int verb_fetch(const struct args *a)
{
	AUTO(exhibit_list_release) struct exhibit_list l = { 0 };
	AUTO(table_free_ptr) struct table *t = NULL;
	AUTO(close_fd) int dirfd = -1;
	struct outcome o = { 0 };
	struct error e = { 0 };
	struct fetch f = { .args = a, .outcome = &o };
	int r = exhibit_find(a, a->object, &l, &e);

	if (r == 0)
		r = open_out(a->out, &dirfd, &e);
	if (r == 0) {
		screen_init(&f.screen, a);
		t = f.screen.table ? table_new(headers) : NULL;
		f.table = t;
		f.info = l.at[0];
		f.dirfd = dirfd;
		r = fetch_all(&f, &e);
	}
	if (t && o.rows)
		table_print(t, &f.screen);
	if (r < 0 || !f.info)
		return outcome_failure(&e);
	derive(&f);
	if (f.info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_INCOMPLETE)
		say_incomplete(&f);
	return outcome_exit(&o);
}
