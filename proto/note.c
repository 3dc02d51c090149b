/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/note.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/base64.h"
#include "proto/base/utf8.h"

#define ALGORITHM_ED25519 0x01
#define DASH "\xe2\x80\x94 " /* U+2014 and a blank begin a signature's line */
#define DASH_LEN 4
#define SIGNATURE_LEN (NOTE_KEY_ID_LEN + SEAL_SIGNATURE_LEN)
#define SIGNATURE_MAX 4096 /* of an algorithm that we do not know */

/* ---- keys ---- */

static bool name_valid(const char *name, size_t len)
{
	if (len == 0 || len > NOTE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((uint8_t)name[i] <= ' ' || name[i] == '+' || name[i] == 0x7f)
			return false;
	return utf8_valid((const uint8_t *)name, len);
}

static int key_id(const char *name, const uint8_t public[static SEAL_PUBLIC_LEN],
		  uint8_t ret[static NOTE_KEY_ID_LEN])
{
	uint8_t text[NOTE_NAME_MAX + 2 + SEAL_PUBLIC_LEN];
	size_t len = strlen(name);
	struct seal_hash hash;
	int r;

	memcpy(text, name, len);
	text[len] = '\n';
	text[len + 1] = ALGORITHM_ED25519;
	memcpy(text + len + 2, public, SEAL_PUBLIC_LEN);
	r = seal_sha256(text, len + 2 + SEAL_PUBLIC_LEN, &hash);
	if (r == 0)
		memcpy(ret, hash.b, NOTE_KEY_ID_LEN);
	return r;
}

int note_key_make(const char *name, const uint8_t public[static SEAL_PUBLIC_LEN],
		  struct note_key *ret, struct error *e)
{
	struct note_key k = { 0 };
	int r;

	if (!name_valid(name, strnlen(name, NOTE_NAME_MAX + 1)))
		return error_set(e, -EINVAL,
				 "'%.100s' cannot name a log: no blanks, no '+', at most %d bytes",
				 name, NOTE_NAME_MAX);
	(void)snprintf(k.name, sizeof(k.name), "%s", name);
	memcpy(k.public, public, SEAL_PUBLIC_LEN);
	r = key_id(k.name, public, k.id);
	if (r < 0)
		return error_set(e, r, "cannot hash a key: %m");
	*ret = k;
	return 0;
}

const char *note_key_format(const struct note_key *k, char buf[static NOTE_VKEY_MAX])
{
	uint8_t key[1 + SEAL_PUBLIC_LEN] = { ALGORITHM_ED25519 };
	char text[BASE64_LEN(sizeof(key)) + 1];

	memcpy(key + 1, k->public, SEAL_PUBLIC_LEN);
	(void)base64_encode(key, sizeof(key), text);
	(void)snprintf(buf, NOTE_VKEY_MAX, "%s+%02x%02x%02x%02x+%s", k->name, k->id[0], k->id[1],
		       k->id[2], k->id[3], text);
	return buf;
}

int note_key_parse(const char *text, size_t len, struct note_key *ret, struct error *e)
{
	const char *plus = len > 0 ? memchr(text, '+', len) : NULL;
	size_t name_len = plus ? (size_t)(plus - text) : 0;
	char name[NOTE_NAME_MAX + 1], again[NOTE_VKEY_MAX];
	uint8_t key[1 + SEAL_PUBLIC_LEN];
	size_t n = 0;
	int r;

	if (!name_valid(text, name_len) || len - name_len < 10 ||
	    base64_decode(text + name_len + 10, len - name_len - 10, key, sizeof(key), &n) < 0 ||
	    n != sizeof(key) || key[0] != ALGORITHM_ED25519)
		return error_set(e, -EINVAL, "the key is not of the form NAME+ID+KEY with Ed25519");
	memcpy(name, text, name_len);
	name[name_len] = '\0';
	r = note_key_make(name, key + 1, ret, e);
	if (r < 0)
		return r;
	(void)note_key_format(ret, again);
	if (strlen(again) != len || memcmp(again, text, len) != 0)
		return error_set(e, -EINVAL, "the key's id is not that of its name and bytes");
	return 0;
}

/* ---- signing ---- */

int note_sign(const struct note_key *k, struct seal_key *key, const char *text, size_t len,
	      char *buf, size_t size, size_t *ret_len, struct error *e)
{
	uint8_t signature[SIGNATURE_LEN];
	char encoded[BASE64_LEN(SIGNATURE_LEN) + 1];
	int n, r = seal_sign_text(key, text, len, signature + NOTE_KEY_ID_LEN, e);

	if (r < 0)
		return r;
	memcpy(signature, k->id, NOTE_KEY_ID_LEN);
	(void)base64_encode(signature, sizeof(signature), encoded);
	if (len >= size)
		return error_set(e, -E2BIG, "a note of %zu bytes is too long", len);
	memcpy(buf, text, len);
	n = snprintf(buf + len, size - len, "\n" DASH "%s %s\n", k->name, encoded);
	if (n < 0 || (size_t)n >= size - len)
		return error_set(e, -E2BIG, "a note of %zu bytes is too long", len);
	*ret_len = len + (size_t)n;
	return 0;
}

/* ---- opening ---- */

/* Where the signatures begin: behind the last empty line. 0: nowhere. */
static size_t signatures_at(const char *note, size_t len)
{
	for (size_t i = len; i >= 2; i--)
		if (note[i - 1] == '\n' && note[i - 2] == '\n')
			return i;
	return 0;
}

static bool text_valid(const char *note, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((uint8_t)note[i] < ' ' && note[i] != '\n')
			return false;
	return len > 0 && note[len - 1] == '\n' && utf8_valid((const uint8_t *)note, len);
}

struct signature {
	const char *name;
	size_t name_len, len;
	uint8_t bytes[SIGNATURE_MAX];
};

/* One line "DASH NAME BASE64\n". */
static bool take_signature(const char **at, const char *end, struct signature *ret)
{
	const char *line = *at, *stop = memchr(line, '\n', (size_t)(end - line));
	const char *blank;

	if (!stop || stop - line < DASH_LEN || memcmp(line, DASH, DASH_LEN) != 0)
		return false;
	ret->name = line + DASH_LEN;
	blank = memchr(ret->name, ' ', (size_t)(stop - ret->name));
	if (!blank)
		return false;
	ret->name_len = (size_t)(blank - ret->name);
	*at = stop + 1;
	return name_valid(ret->name, ret->name_len) &&
	       base64_decode(blank + 1, (size_t)(stop - blank - 1), ret->bytes, SIGNATURE_MAX,
			     &ret->len) == 0 &&
	       ret->len > NOTE_KEY_ID_LEN;
}

static bool is_of(const struct signature *s, const struct note_key *k)
{
	return s->name_len == strlen(k->name) && memcmp(s->name, k->name, s->name_len) == 0 &&
	       memcmp(s->bytes, k->id, NOTE_KEY_ID_LEN) == 0;
}

static int check_signature(const struct note_key *k, const struct signature *s, const char *text,
			   size_t len, struct error *e)
{
	struct seal_verifier *v = NULL;
	int r = seal_verifier_new(k->public, &v, e);

	if (r < 0)
		return r;
	r = seal_verify_text(v, text, len, s->bytes + NOTE_KEY_ID_LEN, s->len - NOTE_KEY_ID_LEN);
	seal_verifier_free(v);
	return r < 0 ? error_set(e, r, "the signature of '%s' is false", k->name) : 0;
}

int note_open(const struct note_key *k, const char *note, size_t len, const char **ret_text,
	      size_t *ret_len, struct error *e)
{
	size_t begin = len <= NOTE_MAX ? signatures_at(note, len) : 0;
	const char *at = note + begin;
	bool signed_by_k = false;

	/* The text ends with the newline before the empty line. */
	if (begin < 3 || begin == len || !text_valid(note, len))
		return error_set(e, -EBADMSG,
				 "it is no signed note: text, an empty line, signatures");
	for (size_t n = 0; at < note + len; n++) {
		struct signature s;
		int r;

		if (n == NOTE_SIGNATURES_MAX || !take_signature(&at, note + len, &s))
			return error_set(e, -EBADMSG,
					 "signature %zu of the note is malformed, or one too many",
					 n + 1);
		if (!is_of(&s, k) || signed_by_k)
			continue;
		r = check_signature(k, &s, note, begin - 1, e);
		if (r < 0)
			return r;
		signed_by_k = true;
	}
	if (!signed_by_k)
		return error_set(e, -ENOKEY, "'%s' has not signed the note", k->name);
	*ret_text = note;
	*ret_len = begin - 1;
	return 0;
}

/* ---- checkpoints ---- */

size_t checkpoint_format(const struct checkpoint *c, char buf[static CHECKPOINT_TEXT_MAX])
{
	char root[BASE64_LEN(SEAL_HASH_LEN) + 1];

	(void)base64_encode(c->root.b, SEAL_HASH_LEN, root);
	return (size_t)snprintf(buf, CHECKPOINT_TEXT_MAX, "%s\n%" PRIu64 "\n%s\n", c->origin,
				c->size, root);
}

static const char *take_line(const char **at, const char *end, size_t *ret_len)
{
	const char *line = *at;
	const char *stop = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;

	if (!stop)
		return NULL;
	*ret_len = (size_t)(stop - line);
	*at = stop + 1;
	return line;
}

/* Decimal without leading zeros, below 2^62. */
static bool parse_size(const char *text, size_t len, uint64_t *ret)
{
	*ret = 0;
	if (len == 0 || len > 19 || (text[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		*ret = *ret * 10 + (uint64_t)(text[i] - '0');
	}
	return *ret < (uint64_t)1 << 62;
}

int checkpoint_parse(const char *text, size_t len, struct checkpoint *ret, struct error *e)
{
	const char *at = text, *end = text + len, *line;
	struct checkpoint c = { 0 };
	size_t n, got = 0;

	line = take_line(&at, end, &n);
	if (!line || n == 0 || n > NOTE_NAME_MAX)
		return error_set(e, -EBADMSG, "the checkpoint names no log");
	memcpy(c.origin, line, n);
	line = take_line(&at, end, &n);
	if (!line || !parse_size(line, n, &c.size))
		return error_set(e, -EBADMSG, "the checkpoint's size is not a number");
	line = take_line(&at, end, &n);
	if (!line || base64_decode(line, n, c.root.b, SEAL_HASH_LEN, &got) < 0 ||
	    got != SEAL_HASH_LEN)
		return error_set(e, -EBADMSG, "the checkpoint's root is not 32 bytes of base64");
	*ret = c;
	return 0;
}

int checkpoint_open(const struct note_key *k, const char *note, size_t len, struct checkpoint *ret,
		    struct error *e)
{
	const char *text;
	size_t text_len;
	struct checkpoint c;
	int r = note_open(k, note, len, &text, &text_len, e);

	if (r == 0)
		r = checkpoint_parse(text, text_len, &c, e);
	if (r < 0)
		return r;
	if (strcmp(c.origin, k->name) != 0)
		return error_set(e, -EBADMSG, "the checkpoint is of the log '%.100s', not '%.100s'",
				 c.origin, k->name);
	*ret = c;
	return 0;
}
