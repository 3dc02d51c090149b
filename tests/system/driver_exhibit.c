/* SPDX-License-Identifier: Apache-2.0 */
/* Drives collector/vault.h for tests that let calls fail. One exhibit of two items, in the working folder.
 *
 * driver_exhibit put: begins, uploads, seals, ticks, as often as it fails but at most three times. Marks: "durable
 *	ITEM OFFSET" after each sync, "sealed" with the receipt.
 * driver_exhibit look: goes on with it as an agent would, until it is sealed: "first ITEM OFFSET" or "first sealed";
 *	then "state STATE", "leaves N", and "faults N" of a check, "fault SENTENCE" for each.
 * An error is one sentence on standard error and exit status 1. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "collector/vault_internal.h"
#include "collector/vault_record.h"
#include "tests/system/marks.h"

#define FIRST_BYTES (3 * VAULT_CHUNK_BYTES + 5)
#define SECOND_BYTES 9
#define TRIES 3

static const struct {
	const char *name;
	uint64_t bytes;
} items[] = { { "a.raw", FIRST_BYTES }, { "b.raw", SECOND_BYTES } };

struct driver {
	struct vault *v;
	struct vault_begin begin;
	bool first; /* where it goes on is to be told */
	bool failed;
};

static int64_t now(void)
{
	return 1700000000000000000;
}

/* Leaves are counted in a file of their own: its name is not below the vault, but its writes fail as well. */
static int ledger(void *ctx, const Exhibit__V1__LedgerEntry *entry, uint64_t *ret_index,
		  struct error *e)
{
	FILE *f = fopen("leaves", "a");

	(void)ctx, (void)entry;
	if (f == NULL)
		return error_set(e, -EIO, "cannot append a leaf");
	(void)fputc('\n', f);
	if (ret_index != NULL)
		*ret_index = (uint64_t)ftell(f);
	return fclose(f) == 0 ? 0 : error_set(e, -EIO, "cannot append a leaf");
}

static void fill(uint32_t item, uint64_t offset, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)((offset + i) * 7 + ((offset + i) >> 11) + item);
}

static int hash(uint32_t item, uint64_t offset, uint64_t len, uint8_t *buffer,
		struct seal_hash *ret)
{
	unsigned int n = SEAL_HASH_LEN;

	fill(item, offset, buffer, len);
	return EVP_Digest(buffer, len, ret->b, &n, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

static int sync_all(struct vault_upload *u, struct vault_durable *ret, struct error *e)
{
	int r = vault_upload_sync(u, ret, e);

	if (r == 0)
		say("durable %u %llu\n", ret->item, (unsigned long long)ret->offset);
	return r;
}

static int upload_item(struct vault_upload *u, uint32_t item, uint64_t offset, uint8_t *buffer,
		       struct error *e)
{
	const char *name = items[item - 1].name;
	uint64_t size = items[item - 1].bytes;
	struct vault_durable d;
	struct seal_hash h;
	int r = vault_upload_item(u, item, name, strlen(name), "raw", 3, size, e);

	for (; r == 0 && offset < size; offset += VAULT_CHUNK_BYTES) {
		size_t len = size - offset < VAULT_CHUNK_BYTES ? (size_t)(size - offset) :
								 VAULT_CHUNK_BYTES;

		r = hash(item, offset, len, buffer, &h);
		if (r == 0)
			r = vault_upload_chunk(u, item, offset, buffer, len, &h, e);
		if (r == 0)
			r = sync_all(u, &d, e);
	}
	if (r == 0)
		r = hash(item, 0, size, buffer, &h);
	return r == 0 ? vault_upload_end(u, item, size, &h, e) : r;
}

static int manifest(const struct driver *d, uint8_t *buffer, char out[static 1024])
{
	char id[VAULT_ID_TEXT], order[VAULT_ID_TEXT];
	struct seal_hash a, b;
	int r = hash(1, 0, items[0].bytes, buffer, &a);

	if (r == 0)
		r = hash(2, 0, items[1].bytes, buffer, &b);
	(void)snprintf(out, 1024,
		       "{\"exhibit_id\":\"%s\",\"order_id\":\"%s\",\"items\":["
		       "{\"name\":\"a.raw\",\"bytes\":%llu,\"sha256\":\"%s\"},"
		       "{\"name\":\"b.raw\",\"bytes\":%llu,\"sha256\":\"%s\"}]}",
		       vault_id_text(d->begin.exhibit_id, id),
		       vault_id_text(d->begin.order_id, order), (unsigned long long)items[0].bytes,
		       hex(&a).text, (unsigned long long)items[1].bytes, hex(&b).text);
	return r;
}

static int upload(struct driver *d, struct vault_upload *u, uint8_t *buffer, struct error *e)
{
	static const uint8_t signature[SEAL_SIGNATURE_LEN], key_id[SEAL_KEY_ID_LEN];
	struct vault_receipt receipt;
	struct vault_durable durable;
	char text[1024];
	int r = vault_upload_sync(u, &durable, e);

	if (r == 0 && d->first)
		say("first %u %llu\n", durable.item, (unsigned long long)durable.offset);
	d->first = false;
	for (uint32_t item = durable.item; r == 0 && item <= ARRAY_LEN(items); item++)
		r = upload_item(u, item, item == durable.item ? durable.offset : 0, buffer, e);
	if (r == 0)
		r = manifest(d, buffer, text);
	if (r < 0) {
		vault_upload_leave(u);
		return r;
	}
	return vault_upload_seal(u, text, strlen(text), signature, key_id, &receipt, e);
}

/* One call of an agent. */
static int call(struct driver *d, uint8_t *buffer, struct error *e)
{
	struct vault_upload *u = NULL;
	struct vault_receipt receipt;
	int r = vault_upload_begin(d->v, &d->begin, &u, &receipt, e);

	if (r == 1 && d->first)
		say("first sealed\n");
	if (r == 0)
		r = upload(d, u, buffer, e);
	return r < 0 ? r : 0;
}

static int run(struct driver *d, int tries)
{
	struct vault_config c = { .dir = "vault", .now = now, .ledger = ledger };
	AUTO(free_ptr) uint8_t *buffer = malloc(FIRST_BYTES);
	struct error e = { 0 };
	int r = buffer == NULL ? error_set(&e, -ENOMEM, "out of memory") : -EAGAIN;

	for (int i = 0; buffer != NULL && r < 0 && i < tries; i++) {
		e = (struct error){ 0 };
		r = d->v == NULL ? vault_open(&c, &d->v, &e) : 0;
		if (r == 0)
			r = call(d, buffer, &e);
		report(r, &e, &d->failed);
	}
	if (r == 0)
		say("sealed\n");
	if (d->v != NULL)
		vault_tick(d->v);
	return r;
}

static void print(void *ctx, const char *sentence)
{
	(void)ctx;
	say("fault %s\n", sentence);
}

static void look(struct driver *d)
{
	Exhibit__V1__ExhibitInfo *info = NULL;
	uint64_t faults = 0;
	struct error e = { 0 };
	int r = vault_get(d->v, &d->begin.tenant, d->begin.exhibit_id, &info, &e);

	report(r, &e, &d->failed);
	if (r == 0) {
		say("state %s\n", vault_state_name(info->state));
		exhibit__v1__exhibit_info__free_unpacked(info, NULL);
	}
	vault_close(d->v);
	d->v = NULL;
	report(vault_check("vault", NULL, print, NULL, &faults, &e), &e, &d->failed);
	say("faults %llu\n", (unsigned long long)faults);
}

int main(int argc, char **argv)
{
	bool looks = argc == 2 && strcmp(argv[1], "look") == 0;
	struct driver d = { .first = looks,
			    .begin = { .tenant = { 4, "acme" },
				       .host_id = { 5, "web-1" },
				       .order = { .kind = EXHIBIT__V1__ORDER_KIND__ORDER_DISK } } };
	uint8_t warm[SEAL_HASH_LEN];
	unsigned int n = sizeof(warm);

	memset(d.begin.order_id, 1, VAULT_ID_LEN);
	memset(d.begin.exhibit_id, 2, VAULT_ID_LEN);
	/* What OpenSSL fetches at its first use is not the vault's to lose. */
	if (EVP_Digest("", 0, warm, &n, EVP_sha256(), NULL) != 1)
		return 2;
	count_from_here();
	if (run(&d, looks ? 1 : TRIES) == 0 && looks)
		look(&d);
	vault_close(d.v);
	return d.failed ? 1 : 0;
}
