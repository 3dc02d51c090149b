/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/archive_world.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "collector/archive.h"
#include "collector/archive_index.h"
#include "collector/ledger_feed.h"
#include "collector/rebuild.h"
#include "collector/rebuilt.h"
#include "collector/vault_parts.h"
#include "proto/base/files.h"
#include "proto/certs.h"
#include "proto/ledger_cert.h"
#include "tests/unit/fake_bucket.h"
#include "tests/unit/rows.h"
#include "tests/unit/rpc_fixture.h"
#include "tests/unit/store_world.h"

#define WAIT_MS 20000

struct pki aw_pki;
static struct ledger_feed *feed;
struct ledger *aw_log;
struct archive *aw_archive;
struct fake_bucket *aw_fake;
static struct collector_config config; /* of the collector that is rebuilt */
static char key[200], cert[200], folder[200];
char aw_target[100];

void aw_must(int r, const struct error *e)
{
	if (r < 0)
		fail_msg("%s", e->text);
}

static void on_frame(void *ctx, enum store_kind kind, const struct batch_name *tenant,
		     const uint8_t *body, size_t len)
{
	(void)ctx;
	if (feed)
		ledger_feed_owe(feed, kind, tenant, body, len);
}

/* A ledger key with the order authority's certificate: NAME.key, NAME.crt. */
void aw_key(const char *dir, const char *name)
{
	struct certs_authority *a = NULL;
	uint8_t public[SEAL_PUBLIC_LEN];
	struct error e = { 0 };

	(void)snprintf(key, sizeof(key), "%s/%s.key", dir, name);
	(void)snprintf(cert, sizeof(cert), "%s/%s.crt", dir, name);
	aw_must(certs_sealing_key(key, public, &e), &e);
	aw_must(certs_authority_load(pki_path(&aw_pki, "order", ""), &a, &e), &e);
	aw_must(ledger_cert_make(a, "exhibit.internal", "acme", public, time(NULL), cert, &e), &e);
	certs_authority_free(a);
}

static struct bucket_config aw_bucket(void)
{
	return (struct bucket_config){ .name = "b",
				       .prefix = "p",
				       .lock_mode = "compliance",
				       .retain_days = 3,
				       .run = fake_bucket_run,
				       .run_ctx = aw_fake };
}

void aw_open(struct world *w)
{
	struct ledger_config c = { .dir = folder, .key_file = key, .cert_file = cert };

	aw_key(aw_pki.dir, "first");
	(void)snprintf(folder, sizeof(folder), "%s/" LEDGER_FOLDER, w->dir);
	w->config.on_frame = on_frame;
	world_open(w);
	aw_must(ledger_open(&c, &aw_log, &w->error), &w->error);
	aw_must(ledger_feed_open(aw_log, w->store, folder, &feed, &w->error), &w->error);
	aw_must(archive_start(&(struct archive_config){ .bucket = aw_bucket(),
							.store_dir = w->dir,
							.cert_file = cert,
							.ledger = aw_log,
							.store = w->store,
							.age_ms = 3600000,
							.leaves = 1000000,
							.segments = true },
			      &aw_archive, &w->error),
		&w->error);
}

void aw_close(struct world *w)
{
	archive_stop(aw_archive);
	ledger_feed_free(feed);
	ledger_close(aw_log);
	aw_archive = NULL;
	feed = NULL;
	aw_log = NULL;
	world_close(w);
}

void aw_store(struct world *w, struct world_stream *s, const char *words)
{
	world_store(w, s, 10 + s->number, words);
	aw_must(ledger_feed_pay(feed, &w->error), &w->error);
}

uint64_t aw_newest(void)
{
	struct error e = { 0 };
	char *note = NULL;
	uint64_t size;

	aw_must(ledger_checkpoint(aw_log, &e), &e);
	aw_must(ledger_newest(aw_log, &note, &size, &e), &e);
	free(note);
	return size;
}

/* Everything stored so far lies in the aw_fake; leaves of the checkpoint that says so. */
uint64_t aw_archived(void)
{
	uint64_t want = aw_newest();
	struct archive_status s = { 0 };

	for (unsigned int ms = 0; ms < WAIT_MS; ms += 10) {
		archive_poke(aw_archive);
		archive_status(aw_archive, &s);
		if (s.size >= want)
			return s.size;
		(void)usleep(10000);
	}
	fail_msg("not archived within %d ms: %s", WAIT_MS, s.why);
	return 0;
}

/* ---- the other collector ------------------------------------------------------------------------------------- */

int aw_rebuild(uint64_t *faults, uint64_t *size, struct error *e)
{
	struct bucket_config b = aw_bucket();

	config.store_dir = aw_target;
	config.vault_dir = (char *)"";
	config.ledger_key = key;
	config.ledger_cert = cert;
	config.tls_order_ca = (char *)(uintptr_t)pki_path(&aw_pki, "order", ".crt");
	config.segment_bytes = MiB(64);
	*e = (struct error){ 0 };
	return rebuild_from(&config, &b, faults, size, e);
}

uint64_t aw_batches(void)
{
	struct store_config c = { .dir = aw_target, .tokenize = world_tokenize };
	struct store_totals totals;
	struct store *s = NULL;
	struct error e = { 0 };

	aw_must(store_open(&c, &s, &e), &e);
	store_totals(s, &totals);
	store_close(s);
	return totals.batches;
}

struct ledger *aw_ledger(void)
{
	char dir[200];
	struct ledger_config c = { .dir = dir, .key_file = key, .cert_file = cert };
	struct ledger *l = NULL;
	struct error e = { 0 };

	(void)snprintf(dir, sizeof(dir), "%s/" LEDGER_FOLDER, aw_target);
	aw_must(ledger_open(&c, &l, &e), &e);
	return l;
}

Exhibit__V1__LedgerEntry *aw_leaf(struct ledger *l, uint64_t index)
{
	Exhibit__V1__LedgerEntry *m;
	uint8_t *bytes = NULL;
	size_t len;
	struct error e = { 0 };

	aw_must(ledger_entry(l, index, &bytes, &len, &e), &e);
	m = exhibit__v1__ledger_entry__unpack(NULL, len, bytes);
	free(bytes);
	assert_non_null(m);
	return m;
}

/* The archived root, as the rebuilt log gives it for that many leaves; the leaf behind says what happened. */
void aw_follows(uint64_t size)
{
	struct ledger *l = aw_ledger();
	const struct fake_object *o;
	struct checkpoint c;
	struct seal_hash root, hash;
	char name[64];
	struct error e = { 0 };
	Exhibit__V1__LedgerEntry *m;

	(void)snprintf(name, sizeof(name), "checkpoint/%020llu", (unsigned long long)size);
	o = fake_bucket_find(aw_fake, name, 0);
	assert_non_null(o);
	assert_int_equal(checkpoint_parse((char *)o->data, o->len, &c, NULL), 0);
	assert_int_equal(c.size, size);
	aw_must(ledger_root(l, size, &root, &e), &e);
	assert_memory_equal(root.b, c.root.b, SEAL_HASH_LEN);
	m = aw_leaf(l, size);
	assert_int_equal(m->kind, EXHIBIT__V1__LEDGER_KIND__LEDGER_REBUILD);
	assert_int_equal(m->size, size);
	assert_int_equal(seal_sha256(o->data, o->len, &hash), 0);
	assert_memory_equal(m->object.data, hash.b, SEAL_HASH_LEN);
	exhibit__v1__ledger_entry__free_unpacked(m, NULL);
	ledger_close(l);
}
