/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/order.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "proto/authorities_x509.h"
#include "proto/openssl_util.h"
#include "proto/order_signature.h"

static bool is(const ProtobufCBinaryData *bytes, const char *text)
{
	return bytes->len == strlen(text) && memcmp(bytes->data, text, bytes->len) == 0;
}

/* ---- who signed -------------------------------------------------------------------------------- */

static int read_signer(const struct order_context *c, X509 *cert, struct identity *ret,
		       struct error *e)
{
	int64_t early = (c->now_ns - c->clock_skew_ns) / (int64_t)NSEC_PER_SEC;
	int64_t late = (c->now_ns + c->clock_skew_ns) / (int64_t)NSEC_PER_SEC;
	int r = order_certificate_usage(cert, e);

	if (r == 0)
		r = authorities_read_leaf(cert, c->authorities, early, late, ret, e);
	if (r < 0)
		return r;
	/* Collectors' certificates come from the same authority. */
	if (ret->kind != IDENTITY_RESPONDER)
		return error_set(e, -EACCES, "the certificate is a %s's, not a responder's",
				 identity_kind_name(ret->kind));
	if (strcmp(ret->domain, c->domain) != 0 || strcmp(ret->tenant, c->tenant) != 0)
		return error_set(e, -EACCES,
				 "the certificate is of tenant '%s' in '%s', this is '%s' in '%s'",
				 ret->tenant, ret->domain, c->tenant, c->domain);
	/* Whoever lost a key that counts for years would have to be revoked on every host. */
	if (ret->not_after_s - ret->not_before_s >
	    ORDER_CERTIFICATE_HOURS_MAX * 3600 + ORDER_CERTIFICATE_BACKDATE_S)
		return error_set(e, -EACCES,
				 "the certificate of '%s' counts for %" PRId64
				 " hours, at most %d are allowed",
				 ret->name, (ret->not_after_s - ret->not_before_s) / 3600,
				 ORDER_CERTIFICATE_HOURS_MAX);
	if (c->revocations != NULL && revocations_has(c->revocations, ret->serial))
		return error_set(e, -EACCES, "the certificate %s is revoked", ret->serial);
	return 0;
}

/* The certificate first: a signature by whoever is nobody says nothing. what: for sentences. */
static int check_signature(const struct order_context *c, const char *domain, const void *order,
			   size_t len, const Exhibit__V1__OrderSignature *s, const char *what,
			   struct identity *ret, struct error *e)
{
	AUTO(x509_free_ptr)
	X509 *cert = order_certificate_parse(s->certificate.data, s->certificate.len);
	int r;

	if (cert == NULL)
		return error_set(e, -EBADMSG, "the %s's certificate cannot be read", what);
	r = read_signer(c, cert, ret, e);
	if (r < 0)
		return error_wrap(e, r, "the %s's certificate is refused", what);
	r = order_signature_verify(X509_get0_pubkey(cert), domain, order, len, s->signature.data,
				   s->signature.len);
	if (r == -EBADMSG)
		return error_set(e, r,
				 "the %s's signature is false: the order was altered, or '%s' did "
				 "not sign it",
				 what, ret->name);
	return r < 0 ? error_set(e, r, "cannot check a signature: %m") : 0;
}

static int check_role(const struct identity *who, const char *role, int code, struct error *e)
{
	if (identity_has_role(who, role))
		return 0;
	return error_set(e, code, "'%s' does not hold the role '%s'", who->name, role);
}

static int check_requester(const struct order_context *c, const Exhibit__V1__Order *o,
			   const Exhibit__V1__SignedOrder *s, struct identity *ret, struct error *e)
{
	char name[IDENTITY_SPIFFE_MAX];
	int r = check_signature(c, ORDER_DOMAIN, s->order.data, s->order.len, s->requester,
				"requester", ret, e);

	if (r < 0)
		return r;
	if (!is(&o->requester, identity_spiffe(ret, name)))
		return error_set(e, -EACCES,
				 "the order is in the name of '%.*s' and signed by '%s'",
				 (int)o->requester.len, (const char *)o->requester.data, name);
	return check_role(ret, ORDER_ROLE_ACQUIRER, -EACCES, e);
}

static int check_approver(const struct order_context *c, const Exhibit__V1__Order *o,
			  const void *order, size_t len, const Exhibit__V1__OrderSignature *s,
			  struct identity *ret, struct error *e)
{
	char name[IDENTITY_SPIFFE_MAX];
	int r = check_signature(c, ORDER_DOMAIN_APPROVAL, order, len, s, "approver", ret, e);

	if (r == 0)
		r = check_role(ret, ORDER_ROLE_APPROVER, -EPERM, e);
	if (r < 0)
		return r;
	if (is(&o->requester, identity_spiffe(ret, name)))
		return error_set(e, -EPERM, "'%s' cannot approve an order of their own", ret->name);
	return 0;
}

/* ---- what the order says ----------------------------------------------------------------------- */

static bool names_host(const Exhibit__V1__Order *o, const char *host_id)
{
	for (size_t i = 0; i < o->n_hosts; i++) {
		if (is(&o->hosts[i], host_id))
			return true;
	}
	return false;
}

static int check_address(const struct order_context *c, const Exhibit__V1__Order *o,
			 struct error *e)
{
	if (!is(&o->tenant, c->tenant))
		return error_set(e, -EACCES, "the order is of tenant '%.*s', this is '%s'",
				 (int)o->tenant.len, (const char *)o->tenant.data, c->tenant);
	if (c->host_id != NULL && !names_host(o, c->host_id))
		return error_set(e, -EACCES, "the order is for other hosts, this is '%s'",
				 c->host_id);
	return 0;
}

static int check_times(const struct order_context *c, const Exhibit__V1__Order *o, struct error *e)
{
	int64_t early = c->now_ns - c->clock_skew_ns, late = c->now_ns + c->clock_skew_ns;
	int64_t from = c->host_id == NULL || o->not_before_ns < o->made_ns ? o->made_ns :
									     o->not_before_ns;
	int64_t second = (int64_t)NSEC_PER_SEC;

	if (early > o->expires_ns)
		return error_set(e, -EKEYEXPIRED, "the order expired %" PRId64 " s ago",
				 (early - o->expires_ns) / second);
	if (late < from) {
		(void)error_set(e, -EAGAIN,
				"the order is not valid for another %" PRId64 " s, by this clock",
				(from - late) / second + 1);
		error_hint(e, "compare the clocks of both sides");
		return -EAGAIN;
	}
	return 0;
}

static int check_different(const struct order_checked *o, const struct identity *who,
			   struct error *e)
{
	for (size_t i = 0; i < o->n_approvers; i++) {
		if (identity_same_name(&o->approvers[i], who))
			return error_set(e, -EPERM, "'%s' approved the order twice", who->name);
	}
	return 0;
}

static int hash_certificate(const Exhibit__V1__OrderSignature *s, struct seal_hash *ret,
			    struct error *e)
{
	int r = seal_sha256(s->certificate.data, s->certificate.len, ret);

	return r < 0 ? error_set(e, r, "cannot hash a certificate: %m") : 0;
}

static int check_approvals(const struct order_context *c, const Exhibit__V1__SignedOrder *s,
			   struct order_checked *o, struct error *e)
{
	for (size_t i = 0; i < s->n_approvals; i++) {
		struct identity *who = &o->approvers[o->n_approvers];
		int r = check_approver(c, o->order, s->order.data, s->order.len, s->approvals[i],
				       who, e);

		if (r == 0)
			r = check_different(o, who, e);
		if (r == 0)
			r = hash_certificate(s->approvals[i],
					     &o->approver_certificates[o->n_approvers], e);
		if (r < 0)
			return r;
		o->n_approvers++;
	}
	if (o->n_approvers >= c->approvals)
		return 0;
	(void)error_set(e, -EPERM, "an order of '%s' takes %u approvals here, it has %zu",
			order_kind_name(o->order->kind), c->approvals, o->n_approvers);
	error_hint(e, "have approvers run 'exhibit approve ID'");
	return -EPERM;
}

/* ---- together ---------------------------------------------------------------------------------- */

void order_checked_release(struct order_checked *o)
{
	exhibit__v1__order__free_unpacked(o->order, NULL);
	*o = (struct order_checked){ 0 };
}

static int check_signed(const struct order_context *c, const Exhibit__V1__SignedOrder *s,
			struct order_checked *o, struct error *e)
{
	int r;

	if (s->requester == NULL)
		return error_set(e, -EBADMSG, "the order is not signed");
	if (s->n_approvals > ORDER_APPROVALS_MAX)
		return error_set(e, -EBADMSG, "the order bears more than %d approvals",
				 ORDER_APPROVALS_MAX);
	r = order_parse(s->order.data, s->order.len, &o->order, e);
	if (r < 0)
		return r;
	memcpy(o->id, o->order->order_id.data, ORDER_ID_LEN);
	r = seal_sha256(s->order.data, s->order.len, &o->hash);
	if (r < 0)
		return error_set(e, r, "cannot hash an order: %m");
	r = check_address(c, o->order, e);
	if (r == 0)
		r = check_requester(c, o->order, s, &o->requester, e);
	if (r == 0)
		r = hash_certificate(s->requester, &o->requester_certificate, e);
	o->requester_good = r == 0;
	if (r == 0)
		r = check_times(c, o->order, e);
	return r == 0 ? check_approvals(c, s, o, e) : r;
}

/* What is false, or is not meant for whoever checks, says nothing at all. */
static bool worth_keeping(const struct order_checked *o, int r)
{
	return o->requester_good && (r == -EKEYEXPIRED || r == -EAGAIN || r == -EPERM);
}

int order_check_keep(const struct order_context *c, const void *data, size_t len,
		     struct order_checked *ret, struct error *e)
{
	struct order_checked o = { 0 };
	Exhibit__V1__SignedOrder *s = NULL;
	int r;

	*ret = o;
	if (len > 0 && len <= ORDER_SIGNED_MAX)
		s = exhibit__v1__signed_order__unpack(NULL, len, data);
	if (s == NULL)
		return error_set(e, -EBADMSG, "the signed order cannot be read");
	r = check_signed(c, s, &o, e);
	exhibit__v1__signed_order__free_unpacked(s, NULL);
	if (r == 0 || worth_keeping(&o, r))
		*ret = o;
	else
		order_checked_release(&o);
	return r;
}

int order_check(const struct order_context *c, const void *data, size_t len,
		struct order_checked *ret, struct error *e)
{
	int r = order_check_keep(c, data, len, ret, e);

	if (r < 0)
		order_checked_release(ret);
	return r;
}

int order_check_approval(const struct order_context *c, const void *order, size_t len,
			 const Exhibit__V1__OrderSignature *approval, struct identity *ret_approver,
			 struct error *e)
{
	Exhibit__V1__Order *o = NULL;
	struct identity who = { 0 };
	int r = order_parse(order, len, &o, e);

	if (r < 0)
		return r;
	r = check_address(c, o, e);
	if (r == 0)
		r = check_times(c, o, e);
	if (r == 0)
		r = check_approver(c, o, order, len, approval, &who, e);
	if (r == 0)
		*ret_approver = who;
	exhibit__v1__order__free_unpacked(o, NULL);
	return r;
}
