/* SPDX-License-Identifier: Apache-2.0 */
/* A case as one bundle: what is signed or logged, and what is derived from that. Export makes it from a collector's
 * answers, verify from files; both derive the rest with the same functions, so that no byte of a bundle is without
 * a check. Files: collector/README.md, "Bundles". */
#ifndef CLI_BUNDLE_H
#define CLI_BUNDLE_H

#include "collector/vault_manifest.h"
#include "proto/ledger_cert.h"
#include "proto/note.h"
#include "proto/tlog.h"
#include "service.pb-c.h"

#define BUNDLE_FOLDER "exhibit-bundle"
#define BUNDLE_CHUNK MiB(1) /* damage of an item is named to such a piece */
#define BUNDLE_PATH_MAX 320
#define BUNDLE_MANIFEST_DOMAIN "exhibit/manifest/v1"
#define BUNDLE_LEAVES_MAX 1000000
#define BUNDLE_EXHIBITS_MAX 65536

/* Bytes with an owner. */
struct blob {
	uint8_t *data;
	size_t len;
};
void blob_release(struct blob *b);
/* -ENOMEM. */
MUST_CHECK int blob_set(struct blob *b, const void *data, size_t len);

struct bundle_leaf {
	uint64_t index;
	struct blob bytes; /* a LedgerEntry, as hashed */
	Exhibit__V1__LedgerEntry *entry; /* NULL: cannot be read */
	size_t n;
	struct seal_hash proof[TLOG_PROOF_MAX];
};

struct bundle_exhibit {
	char id[2 * VAULT_ID_LEN + 1];
	struct blob manifest, signature;
	struct vault_manifest *parsed; /* NULL: none, or not readable */
};

struct bundle_host {
	char id[BATCH_NAME_MAX + 1];
	struct blob record; /* SignedHostRecord */
	uint8_t key[SEAL_PUBLIC_LEN];
	bool readable;
};

struct bundle_order {
	char id[33];
	struct blob bytes; /* SignedOrder */
};

struct bundle_events {
	char id[2 * VAULT_ID_LEN + 1]; /* of the exhibit */
	struct blob bytes; /* bundle_events.h */
	bool readable;
	Exhibit__V1__EventsQuery *question;
	size_t n_answers;
	Exhibit__V1__EventsAnswer **answers;
};

struct bundle {
	struct blob note; /* the checkpoint */
	struct blob certificate; /* DER, of the ledger's key */
	struct blob authority; /* PEM */
	struct note_key key; /* of the certificate; name empty: not readable */
	size_t n_leaves, max_leaves;
	struct bundle_leaf *leaves; /* ascending */
	size_t n_exhibits;
	struct bundle_exhibit *exhibits;
	size_t n_hosts;
	struct bundle_host *hosts;
	size_t n_orders;
	struct bundle_order *orders;
	size_t n_events;
	struct bundle_events *events; /* of exhibits' targets, around their orders */
};
void bundle_release(struct bundle *b);
/* One more, zeroed; NULL: out of memory, or too many. */
struct bundle_leaf *bundle_add_leaf(struct bundle *b);
struct bundle_exhibit *bundle_add_exhibit(struct bundle *b);
struct bundle_host *bundle_add_host(struct bundle *b);
struct bundle_order *bundle_add_order(struct bundle *b);
struct bundle_events *bundle_add_event(struct bundle *b);
/* Read what the members' bytes say: entries, manifests, records, the certificate's key. */
void bundle_understand(struct bundle *b);
/* "batch", "order", ...; "unknown". */
const char *bundle_kind_name(unsigned int kind);
const struct bundle_host *bundle_host_of(const struct bundle *b, const ProtobufCBinaryData *id);

/* A host id as part of a file's name; only [A-Za-z0-9._-]. */
MUST_CHECK bool bundle_name_valid(const char *name);

typedef int (*bundle_emit)(void *ctx, const char *path, const void *data, size_t len,
			   struct error *e);
/* What is signed or logged, as files. */
MUST_CHECK int bundle_primary(const struct bundle *b, bundle_emit emit, void *ctx, struct error *e);
/* What follows from it, as files. */
MUST_CHECK int bundle_derived(const struct bundle *b, bundle_emit emit, void *ctx, struct error *e);
/* The documents among these, each written to out. */
void bundle_write_custody(const struct bundle *b, FILE *out);
/* -ENOMEM: nothing was written. */
MUST_CHECK int bundle_write_timeline(const struct bundle *b, FILE *out);
void bundle_write_case(const struct bundle *b, FILE *out);
void bundle_write_readme(const struct bundle *b, FILE *out);
/* DOMAIN || NUL || SHA-256(manifest): what the host signed. ret: BUNDLE_SIGNED_LEN bytes. -ENOMEM. */
#define BUNDLE_SIGNED_LEN (sizeof(BUNDLE_MANIFEST_DOMAIN) + SEAL_HASH_LEN)
MUST_CHECK int bundle_signed_text(const struct blob *manifest, uint8_t *ret);

#endif
