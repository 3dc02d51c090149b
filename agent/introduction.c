/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/introduction.h"

#include <errno.h>

#include "batch.pb-c.h"

static bool same(const ProtobufCBinaryData *a, const void *b, size_t len)
{
	return a->len == len && memcmp(a->data, b, len) == 0;
}

static int check(const Exhibit__V1__HostRecord *r, const struct batch_name *tenant,
		 const struct batch_name *host_id, const uint8_t *sealing_key, struct error *e)
{
	int code = 0;

	if (!same(&r->tenant, tenant->b, tenant->len) ||
	    !same(&r->host_id, host_id->b, host_id->len))
		code = error_set(e, -EINVAL,
				 "the host record is '%.*s/%.*s', the certificate '%.*s/%.*s'",
				 (int)r->tenant.len, (const char *)r->tenant.data,
				 (int)r->host_id.len, (const char *)r->host_id.data, tenant->len,
				 (const char *)tenant->b, host_id->len, (const char *)host_id->b);
	else if (!same(&r->sealing_key, sealing_key, SEAL_PUBLIC_LEN))
		code = error_set(e, -EINVAL,
				 "the host record names another sealing key than seal.key holds");
	if (code < 0)
		error_hint(e,
			   "seal.host-record, seal.key and tls.cert must come from one enrolment");
	return code;
}

int introduction_check(const void *record, size_t len, const struct batch_name *tenant,
		       const struct batch_name *host_id,
		       const uint8_t sealing_key[static SEAL_PUBLIC_LEN], struct error *e)
{
	Exhibit__V1__SignedHostRecord *s =
		exhibit__v1__signed_host_record__unpack(NULL, len, record);
	Exhibit__V1__HostRecord *r =
		s == NULL ? NULL :
			    exhibit__v1__host_record__unpack(NULL, s->record.len, s->record.data);
	int code;

	if (r == NULL || r->sealing_key.len == 0)
		code = error_set(e, -EINVAL, "the file seal.host-record is not a host record");
	else
		code = check(r, tenant, host_id, sealing_key, e);
	if (r != NULL)
		exhibit__v1__host_record__free_unpacked(r, NULL);
	if (s != NULL)
		exhibit__v1__signed_host_record__free_unpacked(s, NULL);
	return code;
}
