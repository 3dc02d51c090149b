/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery of a folder. Input: files, each as: which name u8, length u32, bytes. Whatever it holds, the
 * journal opens, can be read to its end, and opens again. */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>

#include "agent/journal.h"
#include "proto/base/reader.h"
#include "tests/fuzz/fuzz.h"

#define FILES_MAX 8

static const char *const names[] = {
	"epoch",
	"acks",
	"critical-0000000000000001.jrn",
	"critical-0000000000000002.jrn",
	"bulk-0000000000000001.jrn",
	"bulk-0000000000000003.jrn",
	"bulk-0000000000000002.tomb",
	"acks.abcdef",
	"marks",
};

static int fill(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	memset(buf, 'e', len);
	return 0;
}

static void make_file(const char *dir, const char *name, const uint8_t *data, size_t len)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, data, len) != (ssize_t)len || close(fd) < 0)
		abort();
}

static void open_and_read(const char *dir)
{
	struct journal_config c = { .dir = dir, .max_bytes = MiB(16), .random = fill };
	struct journal_recovery rec;
	struct journal *j = NULL;

	if (journal_open(&c, &j, &rec, NULL) < 0)
		abort();
	for (enum batch_lane lane = BATCH_LANE_CRITICAL; lane <= BATCH_LANE_BULK; lane++) {
		uint64_t first, last;
		enum journal_kind kind;
		const uint8_t *bytes;
		size_t len;

		journal_range(j, lane, &first, &last);
		for (uint64_t p = journal_next(j, lane, 1); p <= last;
		     p = journal_next(j, lane, p + 1)) {
			if (journal_read(j, lane, p, &kind, &bytes, &len, NULL) < 0)
				abort();
		}
	}
	journal_close(j);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char dir[] = "/dev/shm/exhibit-fuzz.XXXXXX";
	struct reader r = reader_init(data, size);

	if (!mkdtemp(dir))
		abort();
	for (int i = 0; i < FILES_MAX && r.left > 0; i++) {
		const char *name = names[reader_u8(&r) % ARRAY_LEN(names)];
		size_t len = reader_u32(&r);
		const uint8_t *bytes = reader_bytes(&r, len < r.left ? len : r.left);

		if (bytes)
			make_file(dir, name, bytes, (size_t)(r.at - bytes));
	}
	open_and_read(dir);
	open_and_read(dir);
	if (nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) < 0)
		abort();
	return 0;
}
