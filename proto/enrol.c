/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/enrol.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "proto/base/hex.h"
#include "proto/openssl_util.h"

static int bad(struct error *e, const char *why)
{
	return error_set(e, -EBADMSG, "the enrolment request is refused: %s", why);
}

int enrol_token_parse(const char *text, size_t len, uint8_t ret[static ENROL_TOKEN_LEN],
		      struct error *e)
{
	uint8_t token[ENROL_TOKEN_LEN];

	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	while (len > 0 && isspace((unsigned char)*text)) {
		text++;
		len--;
	}
	if (len != 2 * sizeof(token) || !hex_parse(text, token, sizeof(token)))
		return error_set(e, -EINVAL,
				 "it does not hold an enrolment token, which is one line "
				 "of 32 hexadecimal digits");
	memcpy(ret, token, sizeof(token));
	return 0;
}

/* What the sealing key signs. */
static int proof_of(const ProtobufCBinaryData *csr, const ProtobufCBinaryData *token,
		    uint8_t ret[static SEAL_HASH_LEN + ENROL_TOKEN_LEN])
{
	struct seal_hash hash;
	int r = seal_sha256(csr->data, csr->len, &hash);

	memcpy(ret, hash.b, sizeof(hash.b));
	memcpy(ret + sizeof(hash.b), token->data, ENROL_TOKEN_LEN);
	return r;
}

/* ---- the host's side --------------------------------------------------------------------------------- */

static void csr_free_ptr(X509_REQ **p)
{
	X509_REQ_free(*p);
}

static int make_csr(EVP_PKEY *key, ProtobufCBinaryData *ret, struct error *e)
{
	AUTO(csr_free_ptr) X509_REQ *csr = X509_REQ_new();
	AUTO(openssl_free_ptr) unsigned char *der = NULL;
	int len = -1;

	if (csr != NULL && X509_REQ_set_version(csr, X509_REQ_VERSION_1) == 1 &&
	    X509_REQ_set_pubkey(csr, key) == 1 && X509_REQ_sign(csr, key, EVP_sha256()) > 0)
		len = i2d_X509_REQ(csr, &der);
	if (len <= 0)
		return error_set(e, -EIO, "cannot make a certificate request: %s",
				 openssl_reason());
	ret->data = malloc((size_t)len);
	if (ret->data == NULL)
		return error_set(e, -ENOMEM, "cannot make a certificate request: %m");
	memcpy(ret->data, der, (size_t)len);
	ret->len = (size_t)len;
	return 0;
}

int enrol_sign(Exhibit__V1__EnrollRequest *m, EVP_PKEY *tls, struct seal_key *seal, struct error *e)
{
	uint8_t proof[SEAL_HASH_LEN + ENROL_TOKEN_LEN];
	int r = make_csr(tls, &m->csr, e);

	if (r < 0)
		return r;
	m->sealing_signature.data = malloc(SEAL_SIGNATURE_LEN);
	if (m->sealing_signature.data == NULL)
		return error_set(e, -ENOMEM, "cannot sign the enrolment request: %m");
	m->sealing_signature.len = SEAL_SIGNATURE_LEN;
	r = proof_of(&m->csr, &m->token, proof);
	if (r == 0)
		r = seal_sign(seal, ENROL_DOMAIN, proof, sizeof(proof), m->sealing_signature.data,
			      e);
	return r < 0 ? error_set(e, r, "cannot sign the enrolment request: %m") : 0;
}

/* ---- the collector's side ---------------------------------------------------------------------------- */

void enrol_checked_release(struct enrol_checked *c)
{
	if (c->m != NULL)
		exhibit__v1__enroll_request__free_unpacked(c->m, NULL);
	EVP_PKEY_free(c->tls);
	*c = (struct enrol_checked){ 0 };
}

static int check_sizes(const Exhibit__V1__EnrollRequest *m, struct error *e)
{
	const struct {
		const ProtobufCBinaryData *field;
		size_t max;
		const char *why;
	} rows[] = {
		{ &m->csr, ENROL_CSR_MAX, "the certificate request is too long" },
		{ &m->machine_id, ENROL_TEXT_MAX, "the machine id is too long" },
		{ &m->boot_id, ENROL_TEXT_MAX, "the boot id is too long" },
		{ &m->dmi_uuid, ENROL_TEXT_MAX, "the DMI uuid is too long" },
		{ &m->host_name, ENROL_TEXT_MAX, "the host's name is too long" },
		{ &m->cloud_instance, ENROL_TEXT_MAX, "the cloud instance id is too long" },
		{ &m->tenant, ENROL_TEXT_MAX, "the tenant's name is too long" },
		{ &m->cloud_document, ENROL_CLOUD_MAX, "the cloud document is too long" },
	};

	if (m->version != 1)
		return bad(e, "its version is not 1");
	if (m->token.len != ENROL_TOKEN_LEN)
		return bad(e, "a token has 16 bytes");
	if (m->sealing_key.len != SEAL_PUBLIC_LEN)
		return bad(e, "a sealing key has 32 bytes");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].field->len > rows[i].max)
			return bad(e, rows[i].why);
	return 0;
}

/* Names and extensions in it are not looked at. */
static int check_csr(const Exhibit__V1__EnrollRequest *m, EVP_PKEY **ret, struct error *e)
{
	const unsigned char *at = m->csr.data;
	AUTO(csr_free_ptr) X509_REQ *csr = d2i_X509_REQ(NULL, &at, (long)m->csr.len);
	AUTO(pkey_free_ptr) EVP_PKEY *key = csr != NULL ? X509_REQ_get_pubkey(csr) : NULL;
	char group[32] = "";
	int r = 0;

	if (key == NULL || at != m->csr.data + m->csr.len)
		r = bad(e, "the certificate request cannot be read");
	else if (!EVP_PKEY_is_a(key, "EC") ||
		 EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 ||
		 strcmp(group, "prime256v1") != 0)
		r = bad(e, "the certificate request's key is not of P-256");
	else if (X509_REQ_verify(csr, key) != 1)
		r = bad(e, "the certificate request is not signed by its own key");
	ERR_clear_error();
	if (r == 0)
		*ret = TAKE(key);
	return r;
}

static int check_sealing(const Exhibit__V1__EnrollRequest *m, struct error *e)
{
	uint8_t proof[SEAL_HASH_LEN + ENROL_TOKEN_LEN];
	struct seal_verifier *v = NULL;
	int r = proof_of(&m->csr, &m->token, proof);

	if (r == 0)
		r = seal_verifier_new(m->sealing_key.data, &v, NULL);
	if (r == 0)
		r = seal_verify(v, ENROL_DOMAIN, proof, sizeof(proof), m->sealing_signature.data,
				m->sealing_signature.len);
	seal_verifier_free(v);
	return r < 0 ? bad(e, "the sealing key did not sign it") : 0;
}

static int hash_keys(struct enrol_checked *c)
{
	uint8_t text[512], *at = text;
	int len = i2d_PUBKEY(c->tls, NULL);

	if (len <= 0 || (size_t)len > sizeof(text) - SEAL_PUBLIC_LEN ||
	    i2d_PUBKEY(c->tls, &at) != len)
		return -EBADMSG;
	memcpy(at, c->m->sealing_key.data, SEAL_PUBLIC_LEN);
	return seal_sha256(text, (size_t)len + SEAL_PUBLIC_LEN, &c->keys);
}

/* The token is a secret as long as it has uses left: no hash of it may stand in a log that others read. */
static int hash_evidence(struct enrol_checked *c)
{
	ProtobufCBinaryData token = c->m->token;
	AUTO(free_ptr) uint8_t *packed = NULL;
	int r = -ENOMEM;

	c->m->token = (ProtobufCBinaryData){ 0 };
	packed = malloc(exhibit__v1__enroll_request__get_packed_size(c->m) + 1);
	if (packed != NULL)
		r = seal_sha256(packed, exhibit__v1__enroll_request__pack(c->m, packed),
				&c->evidence);
	c->m->token = token;
	return r;
}

int enrol_open(const void *data, size_t len, struct enrol_checked *ret, struct error *e)
{
	struct enrol_checked c = { 0 };
	int r = len <= ENROL_REQUEST_MAX ? 0 : bad(e, "it is too long");

	if (r < 0)
		return r;
	c.m = exhibit__v1__enroll_request__unpack(NULL, len, data);
	if (c.m == NULL)
		return bad(e, "it cannot be read");
	r = check_sizes(c.m, e);
	if (r == 0)
		r = check_csr(c.m, &c.tls, e);
	if (r == 0)
		r = check_sealing(c.m, e);
	if (r == 0 && (hash_keys(&c) < 0 || hash_evidence(&c) < 0))
		r = error_set(e, -ENOMEM, "the enrolment request cannot be checked: out of memory");
	if (r < 0) {
		enrol_checked_release(&c);
		return r;
	}
	*ret = c;
	return 0;
}
