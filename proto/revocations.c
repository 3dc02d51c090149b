/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/order.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/authorities_x509.h"
#include "proto/order_signature.h"

#define SERIALS_MAX 65536

typedef char serial_text[IDENTITY_SERIAL_MAX + 1];

struct revocations {
	char tenant[IDENTITY_PART_MAX + 1];
	uint64_t number;
	serial_text *serials; /* sorted */
	size_t n;
};

int revocations_new(const char *tenant, struct revocations **ret, struct error *e)
{
	struct revocations *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return error_set(e, -ENOMEM, "cannot keep revocations: %m");
	(void)snprintf(r->tenant, sizeof(r->tenant), "%s", tenant);
	*ret = r;
	return 0;
}

void revocations_free(struct revocations *r)
{
	if (r == NULL)
		return;
	free(r->serials);
	free(r);
}

uint64_t revocations_number(const struct revocations *r)
{
	return r->number;
}

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

bool revocations_has(const struct revocations *r, const char *serial)
{
	return r->n > 0 && bsearch(serial, r->serials, r->n, sizeof(*r->serials), compare) != NULL;
}

static int bad(struct error *e, const char *why)
{
	return error_set(e, -EBADMSG, "the revocation list is refused: %s", why);
}

static bool copy_serial(const ProtobufCBinaryData *serial, serial_text out)
{
	if (serial->len == 0 || serial->len > IDENTITY_SERIAL_MAX ||
	    (serial->len > 1 && serial->data[0] == '0'))
		return false;
	for (size_t i = 0; i < serial->len; i++) {
		char c = (char)serial->data[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
		out[i] = c;
	}
	out[serial->len] = '\0';
	return true;
}

static int take_serials(struct revocations *r, const Exhibit__V1__RevocationList *list,
			struct error *e)
{
	AUTO(free_ptr) serial_text *serials = calloc(list->n_serials + 1, sizeof(*serials));

	if (serials == NULL)
		return error_set(e, -ENOMEM, "cannot keep revocations: %m");
	for (size_t i = 0; i < list->n_serials; i++) {
		if (!copy_serial(&list->serials[i], serials[i]))
			return bad(e, "a serial number is not lower-case hex");
	}
	if (list->n_serials > 0)
		qsort(serials, list->n_serials, sizeof(*serials), compare);
	free(r->serials);
	r->serials = TAKE(serials);
	r->n = list->n_serials;
	r->number = list->number;
	return 0;
}

static int take_list(struct revocations *r, const Exhibit__V1__RevocationList *list,
		     struct error *e)
{
	if (list->version != 1 || list->number == 0 || list->n_serials > SERIALS_MAX)
		return bad(e, "its version, number or size is not allowed");
	if (list->tenant.len != strlen(r->tenant) ||
	    memcmp(list->tenant.data, r->tenant, list->tenant.len) != 0)
		return bad(e, "it is of another tenant");
	if (list->number <= r->number)
		return error_set(e, -EALREADY,
				 "revocation list %llu is not newer than %llu, which is here",
				 (unsigned long long)list->number, (unsigned long long)r->number);
	return take_serials(r, list, e);
}

static bool signed_by_order_authority(const struct authorities *a,
				      const Exhibit__V1__SignedRevocationList *s)
{
	X509 *cert;

	for (size_t i = 0; (cert = authorities_certificate(a, IDENTITY_ORDER, i)) != NULL; i++) {
		EVP_PKEY *key = X509_get0_pubkey(cert);

		if (key != NULL &&
		    order_signature_verify(key, ORDER_DOMAIN_REVOCATIONS, s->list.data, s->list.len,
					   s->signature.data, s->signature.len) == 0)
			return true;
	}
	return false;
}

int revocations_take(struct revocations *r, const struct authorities *a, const void *data,
		     size_t len, struct error *e)
{
	Exhibit__V1__SignedRevocationList *s = NULL;
	Exhibit__V1__RevocationList *list = NULL;
	int result;

	if (len > 0 && len <= REVOCATIONS_BYTES_MAX)
		s = exhibit__v1__signed_revocation_list__unpack(NULL, len, data);
	if (s == NULL)
		return bad(e, "it cannot be read");
	/* Before it is unpacked: a list costs many times its bytes. */
	if (!signed_by_order_authority(a, s))
		result = bad(e, "it is not signed by the order authority");
	else if ((list = exhibit__v1__revocation_list__unpack(NULL, s->list.len, s->list.data)) ==
		 NULL)
		result = bad(e, "it cannot be read");
	else
		result = take_list(r, list, e);
	exhibit__v1__revocation_list__free_unpacked(list, NULL);
	exhibit__v1__signed_revocation_list__free_unpacked(s, NULL);
	return result;
}
