/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "agent/introduction.h"
#include "batch.pb-c.h"
#include "tests/unit/rows.h"

static const struct record_row {
	const char *name;
	const char *tenant, *host; /* of the record */
	uint8_t key; /* each byte of it */
	size_t cut; /* bytes off the end */
	const char *sentence; /* part of it; NULL: fine */
} record_rows[] = {
	{ "cut short", "acme", "h1", 7, 1, "not a host record" },
	{ "empty", "acme", "h1", 7, 1000, "not a host record" },
	{ "another host", "acme", "h2", 7, 0, "'acme/h2', the certificate 'acme/h1'" },
	{ "another tenant", "acmes", "h1", 7, 0, "'acmes/h1', the certificate 'acme/h1'" },
	{ "another key", "acme", "h1", 8, 0, "another sealing key" },
	{ "all fits", "acme", "h1", 7, 0, NULL },
};

static ProtobufCBinaryData text(const char *s)
{
	return (ProtobufCBinaryData){ .len = strlen(s), .data = (uint8_t *)(uintptr_t)s };
}

static size_t pack(const struct record_row *row, uint8_t *buf)
{
	Exhibit__V1__SignedHostRecord s = EXHIBIT__V1__SIGNED_HOST_RECORD__INIT;
	Exhibit__V1__HostRecord r = EXHIBIT__V1__HOST_RECORD__INIT;
	uint8_t key[SEAL_PUBLIC_LEN], inner[256];

	memset(key, row->key, sizeof(key));
	r.tenant = text(row->tenant);
	r.host_id = text(row->host);
	r.sealing_key = (ProtobufCBinaryData){ sizeof(key), key };
	s.record.len = exhibit__v1__host_record__pack(&r, inner);
	s.record.data = inner;
	s.signature = text("unchecked here");
	return exhibit__v1__signed_host_record__pack(&s, buf);
}

static void records(void **state)
{
	static const struct batch_name tenant = { 4, "acme" }, host = { 2, "h1" };
	const struct record_row *row = *state;
	uint8_t buf[512], key[SEAL_PUBLIC_LEN];
	size_t len = pack(row, buf);
	struct error e = { 0 };

	memset(key, 7, sizeof(key));
	len = row->cut < len ? len - row->cut : 0;
	assert_int_equal(introduction_check(buf, len, &tenant, &host, key, &e),
			 row->sentence ? -EINVAL : 0);
	if (row->sentence)
		assert_non_null(strstr(e.text, row->sentence));
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, records, record_rows);
	return tests_run(&t, "introduction");
}
