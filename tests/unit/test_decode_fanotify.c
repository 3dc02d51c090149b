/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include <errno.h>
#include <linux/fanotify.h>
#include <string.h>

#include "agent/decode_fanotify.h"
#include "proto/base/writer.h"

/* A rename of "old" to "new" with the file's own handle, as Linux 5.17 and later write it. */
static size_t rename_event(uint8_t *buf, size_t size)
{
	static const struct {
		uint8_t type;
		const char *name;
	} infos[] = {
		{ FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, "old" },
		{ FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, "new" },
		{ FAN_EVENT_INFO_TYPE_FID, NULL },
	};
	struct writer w = writer_init(buf, size);
	uint32_t total;

	writer_u32(&w, 0);
	writer_u8(&w, FANOTIFY_METADATA_VERSION);
	writer_u8(&w, 0);
	writer_u16(&w, FAN_EVENT_METADATA_LEN);
	writer_u64(&w, FAN_RENAME);
	writer_u32(&w, (uint32_t)FAN_NOFD);
	writer_u32(&w, 77);
	for (size_t i = 0; i < sizeof(infos) / sizeof(infos[0]); i++) {
		writer_u8(&w, infos[i].type);
		writer_u8(&w, 0);
		writer_u16(&w, (uint16_t)(4 + 8 + 8 + 8 + (infos[i].name ? 8 : 0)));
		writer_bytes(&w, "FSIDFSID", 8);
		writer_u32(&w, 8);
		writer_u32(&w, 1);
		writer_bytes(&w, "HANDLE!!", 8);
		if (infos[i].name) {
			writer_bytes(&w, infos[i].name, 3);
			writer_zero(&w, 5);
		}
	}
	assert_false(w.bad);
	total = (uint32_t)w.done;
	memcpy(buf, &total, sizeof(total));
	return total;
}

static void rename_says_both_places(void **state)
{
	uint8_t buf[512];
	size_t len = rename_event(buf, sizeof(buf));
	struct reader r = reader_init(buf, len);
	struct fanotify_record rec;

	(void)state;
	assert_int_equal(decode_fanotify(&r, &rec), 1);
	assert_int_equal(rec.mask, FAN_RENAME);
	assert_int_equal(rec.pid, 77);
	assert_int_equal(rec.at.name.len, 3);
	assert_memory_equal(rec.at.name.at, "new", 3);
	assert_memory_equal(rec.old.name.at, "old", 3);
	assert_int_equal(rec.at.dir.bytes.len, 8);
	assert_memory_equal(rec.at.dir.fsid, "FSIDFSID", 8);
	assert_memory_equal(rec.object.bytes.at, "HANDLE!!", 8);
	assert_int_equal(rec.object.type, 1);
	assert_int_equal(decode_fanotify(&r, &rec), 0);
}

static void every_shorter_event_is_refused(void **state)
{
	uint8_t buf[512];
	size_t len = rename_event(buf, sizeof(buf));
	struct fanotify_record rec;

	(void)state;
	for (size_t n = 1; n < len; n++) {
		uint8_t *copy = malloc(n);
		struct reader r;

		assert_non_null(copy);
		memcpy(copy, buf, n);
		r = reader_init(copy, n);
		assert_int_equal(decode_fanotify(&r, &rec), -EBADMSG);
		free(copy);
	}
}

struct row {
	const char *name;
	size_t at, size;
	uint64_t value;
	int want;
};

static const struct row rows[] = {
	{ "version 4", 4, 1, 4, -EBADMSG },
	{ "metadata too short", 6, 2, 23, -EBADMSG },
	{ "metadata longer than the event", 6, 2, 500, -EBADMSG },
	{ "event longer than the buffer", 0, 4, 500, -EBADMSG },
	{ "event of 4 GiB", 0, 4, UINT32_MAX, -EBADMSG },
	{ "event shorter than its parts", 0, 4, 30, -EBADMSG },
	{ "information of 0 bytes", 26, 2, 0, -EBADMSG },
	{ "information longer than the event", 26, 2, 400, -EBADMSG },
	{ "handle longer than allowed", 36, 4, 129, -EBADMSG },
	{ "handle longer than its information", 36, 4, 64, -EBADMSG },
	{ "another type of handle", 40, 4, 9, 1 },
	{ "a later kernel's information", 24, 1, 200, 1 },
};

static void hostile(void **state)
{
	const struct row *row = *state;
	uint8_t buf[512];
	size_t len = rename_event(buf, sizeof(buf));
	struct reader r;
	struct fanotify_record rec;

	memcpy(buf + row->at, &row->value, row->size);
	r = reader_init(buf, len);
	assert_int_equal(decode_fanotify(&r, &rec), row->want);
}

static void name_without_end_is_refused(void **state)
{
	uint8_t buf[512];
	size_t len = rename_event(buf, sizeof(buf));
	struct reader r;
	struct fanotify_record rec;

	(void)state;
	memset(buf + 24 + 4 + 24, 'x', 8);
	r = reader_init(buf, len);
	assert_int_equal(decode_fanotify(&r, &rec), -EBADMSG);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, every_shorter_event_is_refused);
	ADD_ROWS(&t, hostile, rows);
	ADD_TEST(&t, name_without_end_is_refused);
	ADD_TEST(&t, rename_says_both_places);
	return tests_run(&t, "decode_fanotify");
}
