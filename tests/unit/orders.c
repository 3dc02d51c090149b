/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/orders.h"

#include <stdio.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/sha.h>

#include "proto/certs.h"
#include "proto/openssl_util.h"
#include "tests/unit/rows.h"

ProtobufCBinaryData orders_text(const char *text)
{
	return (ProtobufCBinaryData){ .len = strlen(text), .data = (uint8_t *)(uintptr_t)text };
}

void orders_init(struct order_kit *t)
{
	static uint8_t id[ORDER_ID_LEN] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
	int64_t now = ORDERS_NOW * (int64_t)NSEC_PER_SEC;

	memset(t, 0, sizeof(*t));
	exhibit__v1__order__init(&t->o);
	exhibit__v1__process_target__init(&t->process);
	exhibit__v1__order_limits__init(&t->limits);
	exhibit__v1__memory_order__init(&t->memory);
	exhibit__v1__core_order__init(&t->core);
	exhibit__v1__packets_order__init(&t->packets);
	exhibit__v1__files_order__init(&t->files);
	exhibit__v1__changes_order__init(&t->changes);
	exhibit__v1__triage_order__init(&t->triage);
	exhibit__v1__disk_order__init(&t->disk);
	exhibit__v1__arrest_order__init(&t->arrest);
	exhibit__v1__file_id__init(&t->file);
	t->o.version = 1;
	t->o.tenant = orders_text(FIXTURE_TENANT);
	t->o.order_id = (ProtobufCBinaryData){ sizeof(id), id };
	t->hosts[0] = orders_text(ORDERS_HOST);
	t->o.hosts = t->hosts;
	t->o.n_hosts = 1;
	t->o.case_id = orders_text("INC-7");
	t->o.reason = orders_text("beacon seen");
	t->o.requester =
		orders_text("spiffe://" FIXTURE_DOMAIN "/" FIXTURE_TENANT "/responder/ann");
	t->o.made_ns = now;
	t->o.expires_ns = now + 3600 * (int64_t)NSEC_PER_SEC;
	t->process.pid = 42;
	t->files.paths = t->paths;
	orders_kind(t, EXHIBIT__V1__ORDER_KIND__ORDER_CORE);
}

static void set_detail(struct order_kit *t, Exhibit__V1__OrderKind kind)
{
	Exhibit__V1__Order *o = &t->o;

	switch (kind) {
	case EXHIBIT__V1__ORDER_KIND__ORDER_MEMORY:
		o->memory = &t->memory;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_CORE:
		o->core = &t->core;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_PACKETS:
		o->packets = &t->packets;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_FILES:
		t->paths[0] = orders_text("/etc/passwd");
		t->files.n_paths = 1;
		o->files = &t->files;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_CHANGES:
		o->changes = &t->changes;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_TRIAGE:
		o->triage = &t->triage;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_DISK:
		t->disk.device = orders_text("/dev/sda1");
		o->disk = &t->disk;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_ARREST:
		t->arrest.pattern_case = EXHIBIT__V1__ARREST_ORDER__PATTERN_PATH;
		t->arrest.path = orders_text("/tmp/miner");
		o->arrest = &t->arrest;
		break;
	case EXHIBIT__V1__ORDER_KIND__ORDER_UNKNOWN:
	case _EXHIBIT__V1__ORDER_KIND_IS_INT_SIZE:
		break;
	}
}

void orders_kind(struct order_kit *t, Exhibit__V1__OrderKind kind)
{
	t->o.kind = kind;
	t->o.detail_case = (Exhibit__V1__Order__DetailCase)((int)kind + 19);
	t->o.process = kind == EXHIBIT__V1__ORDER_KIND__ORDER_CORE ? &t->process : NULL;
	t->o.container_id = orders_text(
		kind == EXHIBIT__V1__ORDER_KIND__ORDER_CHANGES ? "0123456789abcdef" : "");
	set_detail(t, kind);
}

uint8_t *orders_pack(const struct order_kit *t, size_t *ret_len)
{
	uint8_t *data;

	*ret_len = exhibit__v1__order__get_packed_size(&t->o);
	data = malloc(*ret_len);
	assert_non_null(data);
	(void)exhibit__v1__order__pack(&t->o, data);
	return data;
}

static void add_roles(struct identity *id, const char *roles)
{
	while (*roles != '\0') {
		size_t len = strcspn(roles, ",");

		assert_true(len < sizeof(id->roles[0]));
		memcpy(id->roles[id->n_roles++], roles, len);
		roles += len + (roles[len] == ',');
	}
}

void orders_person_at(const struct pki *p, const char *authority, const char *person,
		      const char *name, const char *roles, int64_t now_s, uint64_t seconds)
{
	struct certs_leaf leaf = { .id = { .domain = FIXTURE_DOMAIN,
					   .tenant = FIXTURE_TENANT,
					   .kind = IDENTITY_RESPONDER },
				   .seconds = seconds,
				   .signs_orders = true };
	AUTO(certs_authority_free_ptr) struct certs_authority *a = NULL;
	struct error e = { 0 };

	(void)snprintf(leaf.id.name, sizeof(leaf.id.name), "%s", person);
	add_roles(&leaf.id, roles);
	if (certs_authority_load(pki_path(p, authority, ""), &a, &e) < 0 ||
	    certs_issue(a, &leaf, now_s, pki_path(p, name, ".sign"), &e) < 0)
		fail_msg("%s", e.text);
}

void orders_person(const struct pki *p, const char *name, const char *roles)
{
	orders_person_at(p, "order", name, name, roles, ORDERS_NOW, 12 * 3600);
}

/* ---- signatures, apart from the code under test ------------------------------------------------ */

static EVP_PKEY *read_key(const char *path)
{
	AUTO(bio_free_ptr) BIO *bio = BIO_new_file(path, "r");
	EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	assert_non_null(key);
	return key;
}

static ProtobufCBinaryData read_der(const char *path)
{
	AUTO(bio_free_ptr) BIO *bio = BIO_new_file(path, "r");
	AUTO(x509_free_ptr)
	X509 *cert = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	uint8_t *at;
	int len;

	assert_non_null(cert);
	len = i2d_X509(cert, NULL);
	assert_true(len > 0);
	ProtobufCBinaryData ret = { .len = (size_t)len, .data = malloc((size_t)len) };

	assert_non_null(ret.data);
	at = ret.data;
	assert_int_equal(i2d_X509(cert, &at), len);
	return ret;
}

void orders_signature(const struct pki *p, const char *name, const char *domain, const void *data,
		      size_t len, Exhibit__V1__OrderSignature *ret)
{
	AUTO(pkey_free_ptr) EVP_PKEY *key = read_key(pki_path(p, name, ".sign.key"));
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const EVP_MD *digest = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
	uint8_t text[128];
	size_t domain_len = strlen(domain) + 1, signature_len = 128;

	assert_true(domain_len + 32 <= sizeof(text));
	memcpy(text, domain, domain_len);
	assert_non_null(SHA256(data, len, text + domain_len));
	exhibit__v1__order_signature__init(ret);
	ret->certificate = read_der(pki_path(p, name, ".sign.crt"));
	ret->signature.data = malloc(signature_len);
	assert_non_null(ret->signature.data);
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, digest, NULL, key), 1);
	assert_int_equal(
		EVP_DigestSign(ctx, ret->signature.data, &signature_len, text, domain_len + 32), 1);
	ret->signature.len = signature_len;
}

uint8_t *orders_sign(const struct pki *p, const struct order_kit *t, const char *requester,
		     const char *const *approvers, size_t *ret_len)
{
	Exhibit__V1__SignedOrder s = EXHIBIT__V1__SIGNED_ORDER__INIT;
	Exhibit__V1__OrderSignature signature[ORDER_APPROVALS_MAX + 2];
	Exhibit__V1__OrderSignature *approvals[ORDER_APPROVALS_MAX + 2];
	uint8_t *data;

	s.order.data = orders_pack(t, &s.order.len);
	orders_signature(p, requester, ORDER_DOMAIN, s.order.data, s.order.len, &signature[0]);
	s.requester = &signature[0];
	s.approvals = approvals;
	for (; approvers != NULL && approvers[s.n_approvals] != NULL; s.n_approvals++) {
		assert_true(s.n_approvals < ORDER_APPROVALS_MAX + 1);
		approvals[s.n_approvals] = &signature[s.n_approvals + 1];
		orders_signature(p, approvers[s.n_approvals], ORDER_DOMAIN_APPROVAL, s.order.data,
				 s.order.len, approvals[s.n_approvals]);
	}
	*ret_len = exhibit__v1__signed_order__get_packed_size(&s);
	data = malloc(*ret_len);
	assert_non_null(data);
	(void)exhibit__v1__signed_order__pack(&s, data);
	for (size_t i = 0; i <= s.n_approvals; i++)
		order_signature_release(&signature[i]);
	free(s.order.data);
	return data;
}
