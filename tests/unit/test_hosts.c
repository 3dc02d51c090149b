/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/hosts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "batch.pb-c.h"
#include "tests/unit/rows.h"

static struct batch_name name(const char *text)
{
	struct batch_name n = { .len = (uint8_t)strlen(text) };

	memcpy(n.b, text, n.len);
	return n;
}

static ProtobufCBinaryData data(const char *text)
{
	return (ProtobufCBinaryData){ .len = strlen(text), .data = (uint8_t *)(uintptr_t)text };
}

/* A SignedHostRecord whose sealing key is key_len bytes of fill. */
static size_t make_record(const char *tenant, const char *host, int fill, size_t key_len,
			  uint8_t *out)
{
	Exhibit__V1__SignedHostRecord s = EXHIBIT__V1__SIGNED_HOST_RECORD__INIT;
	Exhibit__V1__HostRecord r = EXHIBIT__V1__HOST_RECORD__INIT;
	uint8_t key[64];
	uint8_t inner[1024];

	memset(key, fill, sizeof(key));
	r.tenant = data(tenant);
	r.host_id = data(host);
	r.sealing_key = (ProtobufCBinaryData){ .len = key_len, .data = key };
	s.record.len = exhibit__v1__host_record__pack(&r, inner);
	s.record.data = inner;
	return exhibit__v1__signed_host_record__pack(&s, out);
}

/* What hosts_register says; whether it is new goes to ret_new. */
static int add(struct hosts *h, const char *tenant, const char *host, int fill, bool *ret_new)
{
	struct batch_name t, n;
	uint8_t record[1024];
	size_t len = make_record(tenant, host, fill, SEAL_PUBLIC_LEN, record);

	return hosts_register(h, NULL, record, len, ret_new, &t, &n, NULL);
}

static struct hosts *new_hosts(void)
{
	struct hosts *h = NULL;

	assert_int_equal(hosts_new(&h, NULL), 0);
	return h;
}

static const struct bad_row {
	const char *name, *tenant, *host;
	size_t key_len;
} bad_rows[] = {
	{ "no tenant", "", "h", SEAL_PUBLIC_LEN },
	{ "no host", "t", "", SEAL_PUBLIC_LEN },
	{ "no key", "t", "h", 0 },
	{ "key too short", "t", "h", SEAL_PUBLIC_LEN - 1 },
	{ "key too long", "t", "h", SEAL_PUBLIC_LEN + 1 },
};

static void refuses_bad_records(void **state)
{
	const struct bad_row *row = *state;
	struct hosts *h = new_hosts();
	struct batch_name tenant, host;
	struct error e = { 0 };
	uint8_t record[1024];
	bool new;
	size_t len = make_record(row->tenant, row->host, 1, row->key_len, record);

	assert_int_equal(hosts_register(h, NULL, record, len, &new, &tenant, &host, &e), -EBADMSG);
	assert_string_not_equal(e.text, "");
	hosts_free(h);
}

static void refuses_what_is_no_record(void **state)
{
	struct hosts *h = new_hosts();
	struct batch_name tenant, host;
	static const uint8_t garbage[HOST_RECORD_MAX + 1] = { 0xff };
	bool new;

	(void)state;
	for (size_t len = 1; len <= sizeof(garbage); len += HOST_RECORD_MAX)
		assert_int_equal(hosts_register(h, NULL, garbage, len, &new, &tenant, &host, NULL),
				 -EBADMSG);
	hosts_free(h);
}

/* Whatever it brings; and no other host is touched by it. */
static void refuses_a_host_whose_stored_record_is_damaged(void **state)
{
	struct batch_name tenant = name("t"), host = name("h");
	struct hosts *h = new_hosts();
	struct error e = { 0 };
	struct host_info *all;
	bool new = false;
	size_t n;

	(void)state;
	assert_int_equal(hosts_unreadable(h, &tenant, &host, &e), -EUCLEAN);
	assert_non_null(strstr(e.text, "host h of t"));
	assert_int_equal(add(h, "t", "h", 1, &new), -EUCLEAN);
	assert_false(new);
	assert_int_equal(add(h, "t", "i", 1, &new), 0);
	assert_true(new);
	assert_int_equal(add(h, "u", "h", 1, &new), 0);
	/* It counts: completeness is over what is registered. */
	assert_int_equal(hosts_snapshot(h, &tenant, &all, &n, NULL), 0);
	assert_int_equal(n, 2);
	free(all);
	hosts_free(h);
}

/* A store that failed must get the record again with the next hello. */
static void is_new_until_stored(void **state)
{
	struct hosts *h = new_hosts();
	uint8_t record[1024];
	bool new = false;

	(void)state;
	assert_int_equal(add(h, "t", "h", 1, &new), 0);
	assert_true(new);
	assert_int_equal(add(h, "t", "h", 1, &new), 0);
	assert_true(new);
	hosts_stored(h, record, make_record("t", "h", 1, SEAL_PUBLIC_LEN, record), 5);
	assert_int_equal(add(h, "t", "h", 1, &new), 0);
	assert_false(new);
	assert_int_equal(add(h, "t", "h", 2, &new), 0);
	assert_true(new);
	hosts_free(h);
}

static bool has_key(struct hosts *h, const char *host, int fill)
{
	struct batch_name t = name("t"), n = name(host);
	uint8_t public[SEAL_PUBLIC_LEN], got[SEAL_PUBLIC_LEN];
	uint8_t id[SEAL_KEY_ID_LEN];

	memset(public, fill, sizeof(public));
	seal_key_id(public, id);
	return hosts_sealing_key(h, &t, &n, id, got) && memcmp(got, public, sizeof(got)) == 0;
}

static void forgets_the_oldest_key(void **state)
{
	struct hosts *h = new_hosts();
	bool new;

	(void)state;
	for (int fill = 1; fill <= HOST_KEYS_MAX + 1; fill++)
		assert_int_equal(add(h, "t", "h", fill, &new), 0);
	assert_false(has_key(h, "h", 1));
	for (int fill = 2; fill <= HOST_KEYS_MAX + 1; fill++)
		assert_true(has_key(h, "h", fill));
	assert_false(has_key(h, "other", 2));
	hosts_free(h);
}

static void counts_streams(void **state)
{
	struct hosts *h = new_hosts();
	struct batch_name t = name("t"), n = name("h"), unknown = name("unknown");
	bool new;

	(void)state;
	assert_int_equal(add(h, "t", "h", 1, &new), 0);
	hosts_connected(h, &t, &unknown, true, "1");
	assert_int_equal(hosts_connected_total(h), 0);
	hosts_connected(h, &t, &n, true, "1");
	hosts_connected(h, &t, &n, true, "1");
	hosts_connected(h, &t, &n, false, NULL);
	assert_int_equal(hosts_connected_total(h), 1);
	hosts_connected(h, &t, &n, false, NULL);
	hosts_connected(h, &t, &n, false, NULL); /* one too many does no harm */
	assert_int_equal(hosts_connected_total(h), 0);
	hosts_free(h);
}

static void lists_one_tenant_in_order(void **state)
{
	static const char *const all[][2] = { { "b", "2" },  { "a", "9" },  { "b", "1" },
					      { "bb", "0" }, { "b", "10" }, { "c", "5" } };
	static const char *const want[] = { "1", "10", "2" };
	struct batch_name tenant = name("b"), none = name("d");
	struct hosts *h = new_hosts();
	struct host_info *info;
	bool new;
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		assert_int_equal(add(h, all[i][0], all[i][1], 1, &new), 0);
	assert_int_equal(hosts_snapshot(h, &tenant, &info, &n, NULL), 0);
	assert_int_equal(n, ARRAY_LEN(want));
	for (size_t i = 0; i < n; i++) {
		assert_true(info[i].registered);
		assert_int_equal(info[i].host_id.len, strlen(want[i]));
		assert_memory_equal(info[i].host_id.b, want[i], strlen(want[i]));
	}
	free(info);
	assert_int_equal(hosts_snapshot(h, &none, &info, &n, NULL), 0);
	assert_int_equal(n, 0);
	free(info);
	hosts_free(h);
}

static void remembers_what_was_seen(void **state)
{
	struct batch_name t = name("t"), n = name("h"), web = name("web");
	struct hosts *h = new_hosts();
	struct host_info *info;
	uint8_t record[1024];
	bool new;
	size_t count;

	(void)state;
	assert_int_equal(add(h, "t", "h", 1, &new), 0);
	/* Of two keys the first, in whatever order a collector that starts hears of them. */
	hosts_stored(h, record, make_record("t", "h", 1, SEAL_PUBLIC_LEN, record), 8);
	hosts_stored(h, record, make_record("t", "h", 1, SEAL_PUBLIC_LEN, record), 7);
	hosts_stored(h, record, make_record("t", "h", 1, SEAL_PUBLIC_LEN, record), 9);
	hosts_seen(h, &t, &n, 6, NULL);
	hosts_seen(h, &t, &n, 9, &web);
	hosts_kernel(h, &t, &n, "6.18");
	assert_int_equal(hosts_snapshot(h, &t, &info, &count, NULL), 0);
	assert_int_equal(count, 1);
	assert_int_equal(info->first_seen_ns, 7);
	assert_int_equal(info->last_seen_ns, 9);
	assert_int_equal(info->host_name.len, 3);
	assert_string_equal(info->kernel, "6.18");
	free(info);
	hosts_free(h);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, refuses_bad_records, bad_rows);
	ADD_TEST(&t, refuses_what_is_no_record);
	ADD_TEST(&t, refuses_a_host_whose_stored_record_is_damaged);
	ADD_TEST(&t, is_new_until_stored);
	ADD_TEST(&t, forgets_the_oldest_key);
	ADD_TEST(&t, counts_streams);
	ADD_TEST(&t, lists_one_tenant_in_order);
	ADD_TEST(&t, remembers_what_was_seen);
	return tests_run(&t, "hosts");
}
