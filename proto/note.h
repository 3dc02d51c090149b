/* SPDX-License-Identifier: Apache-2.0 */
/* Signed notes (C2SP signed-note v1.0.0, Ed25519 only) and the checkpoints of logs that they carry (C2SP
 * tlog-checkpoint v1.0.0). Pure but for the key; any thread, a seal_key belongs to one. */
#ifndef PROTO_NOTE_H
#define PROTO_NOTE_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/seal.h"

#define NOTE_NAME_MAX 320 /* bytes */
#define NOTE_KEY_ID_LEN 4
#define NOTE_VKEY_MAX (NOTE_NAME_MAX + 64)
#define NOTE_MAX KiB(16) /* of a whole note */
#define NOTE_SIGNATURES_MAX 32

/* Whose signature counts. */
struct note_key {
	char name[NOTE_NAME_MAX + 1];
	uint8_t id[NOTE_KEY_ID_LEN]; /* SHA-256(name || 0x0A || 0x01 || public)[:4] */
	uint8_t public[SEAL_PUBLIC_LEN];
};

/* name: without blanks, '+' and control characters. -EINVAL. */
MUST_CHECK int note_key_make(const char *name, const uint8_t public[static SEAL_PUBLIC_LEN],
			     struct note_key *ret, struct error *e);
/* "NAME+HEXID+base64(0x01 || public)", which Go's sumdb/note reads too. Returns buf. */
const char *note_key_format(const struct note_key *k, char buf[static NOTE_VKEY_MAX]);
/* len bytes of text, without a line end. -EINVAL. */
MUST_CHECK int note_key_parse(const char *text, size_t len, struct note_key *ret, struct error *e);

/* text: len bytes that end with a newline. buf: size bytes, NUL-terminated. -E2BIG, -EIO. */
MUST_CHECK int note_sign(const struct note_key *k, struct seal_key *key, const char *text,
			 size_t len, char *buf, size_t size, size_t *ret_len, struct error *e);
/* The text of a note that k signed; inside note. Signatures of others are ignored. -EBADMSG: malformed, or k's
 * signature is false; -ENOKEY: k did not sign it. */
MUST_CHECK int note_open(const struct note_key *k, const char *note, size_t len,
			 const char **ret_text, size_t *ret_len, struct error *e);

/* What a log says of itself. */
struct checkpoint {
	char origin[NOTE_NAME_MAX + 1];
	uint64_t size; /* leaves */
	struct seal_hash root;
};
#define CHECKPOINT_TEXT_MAX (NOTE_NAME_MAX + 100)

/* ORIGIN, size and base64 root, a line each. Returns the length. */
size_t checkpoint_format(const struct checkpoint *c, char buf[static CHECKPOINT_TEXT_MAX]);
/* len bytes of a note's text; lines after the third are of extensions and ignored. -EBADMSG. */
MUST_CHECK int checkpoint_parse(const char *text, size_t len, struct checkpoint *ret,
				struct error *e);
/* note_open and checkpoint_parse, and the origin is the key's name. */
MUST_CHECK int checkpoint_open(const struct note_key *k, const char *note, size_t len,
			       struct checkpoint *ret, struct error *e);

#endif
