/* SPDX-License-Identifier: Apache-2.0 */
/* S3 over a transport of the test's: what a server answers, and what becomes of it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "tests/unit/fake_bucket.h"
#include "tests/unit/rows.h"

#define ABC_SHA256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

struct scene {
	struct fake_bucket *f;
	struct s3 *s;
	int fd; /* "abc" */
	struct s3_lock lock;
	char version[S3_WORD_MAX];
	struct error e;
};

static struct scene begin(void)
{
	struct scene c = { .f = fake_bucket_new(), .fd = memfd_create("abc", MFD_CLOEXEC) };
	struct s3_config config = { .bucket = "b", .run = fake_bucket_run, .run_ctx = c.f };

	assert_non_null(c.f);
	assert_true(c.fd >= 0);
	assert_int_equal(files_write_all(c.fd, "abc", 3, NULL), 0);
	assert_int_equal(s3_new(&config, &c.s, NULL), 0);
	c.lock = (struct s3_lock){ S3_LOCK_COMPLIANCE,
				   clock_wall_ns() / (int64_t)NSEC_PER_SEC + 86400 };
	return c;
}

static void end(struct scene *c)
{
	s3_free(c->s);
	fake_bucket_free(c->f);
	close_fd(&c->fd);
}

static int put(struct scene *c, const char *key)
{
	c->e = (struct error){ 0 };
	return s3_put(c->s, key, c->fd, 3, ABC_SHA256, &c->lock, c->version, &c->e);
}

static const struct fault_row {
	const char *name;
	struct fake_faults faults;
	int want;
	const char *why;
} faults[] = {
	{ "503", { .status = 503 }, -EAGAIN, "with 503 (Injected)" },
	{ "429", { .status = 429 }, -EAGAIN, "with 429" },
	{ "403", { .status = 403 }, -EACCES, "with 403 (Injected)" },
	{ "404", { .status = 404 }, -ENOENT, "with 404" },
	{ "a status of nobody's", { .status = 299 + 1 }, -EBADMSG, "with 300" },
	{ "slow", { .error = -ETIMEDOUT }, -EAGAIN, "S3 cannot be reached" },
	{ "nobody there", { .error = -EHOSTUNREACH }, -EAGAIN, "S3 cannot be reached" },
	{ "a wrong ETag", { .wrong_etag = true }, -EBADMSG, "S3 stored something else" },
	{ "no lock", { .forgets_lock = true }, -ENOTSUP, "the lock cannot be read back" },
};

static void put_fails(void **state)
{
	const struct fault_row *row = *state;
	struct scene c = begin();

	fake_bucket_fail(c.f, &row->faults);
	assert_int_equal(put(&c, "k"), row->want);
	if (strstr(c.e.text, row->why) == NULL)
		fail_msg("'%s' is not in: %s", row->why, c.e.text);
	fake_bucket_fail(c.f, NULL);
	assert_int_equal(put(&c, "k"), 0);
	end(&c);
}

static void get_compares(void **state)
{
	struct scene c = begin();
	AUTO(close_fd) int to = memfd_create("to", MFD_CLOEXEC);
	char hash[65], text[4] = "";

	(void)state;
	assert_int_equal(put(&c, "k"), 0);
	assert_int_equal(s3_get(c.s, "k", c.version, to, 10, ABC_SHA256, hash, &c.e), 0);
	assert_string_equal(hash, ABC_SHA256);
	assert_int_equal(pread(to, text, 3, 0), 3);
	assert_string_equal(text, "abc");
	fake_bucket_find(c.f, "k", 0)->data[1] ^= 1;
	assert_int_equal(s3_get(c.s, "k", c.version, to, 10, ABC_SHA256, NULL, &c.e), -EBADMSG);
	assert_non_null(strstr(c.e.text, "'k' is damaged in the bucket"));
	assert_int_equal(s3_get(c.s, "k", c.version, to, 2, NULL, NULL, &c.e), -EBADMSG);
	assert_int_equal(s3_get(c.s, "k", "v77", to, 10, NULL, NULL, &c.e), -ENOENT);
	fake_bucket_fail(c.f, &(struct fake_faults){ .status = 503 });
	assert_int_equal(s3_get(c.s, "k", c.version, to, 10, NULL, NULL, &c.e), -EAGAIN);
	end(&c);
}

static void hold_is_read_back(void **state)
{
	struct scene c = begin();

	(void)state;
	assert_int_equal(put(&c, "k"), 0);
	/* Nobody ever held it. */
	assert_int_equal(s3_hold(c.s, "k", c.version, false, &c.e), 0);
	assert_int_equal(s3_hold(c.s, "k", c.version, true, &c.e), 0);
	assert_true(fake_bucket_find(c.f, "k", 0)->hold);
	assert_int_equal(s3_hold(c.s, "k", c.version, false, &c.e), 0);
	assert_false(fake_bucket_find(c.f, "k", 0)->hold);
	fake_bucket_fail(c.f, &(struct fake_faults){ .forgets_hold = true });
	assert_int_equal(s3_hold(c.s, "k", c.version, true, &c.e), -ENOTSUP);
	assert_non_null(strstr(c.e.text, "S3 does not keep the legal hold of /b/k"));
	fake_bucket_fail(c.f, &(struct fake_faults){ .status = 403 });
	assert_int_equal(s3_hold(c.s, "k", c.version, true, &c.e), -EACCES);
	end(&c);
}

struct listed {
	size_t n;
	char all[1024];
};

static int take(void *ctx, const struct s3_version *v, struct error *e)
{
	struct listed *l = ctx;

	(void)e;
	l->n++;
	(void)snprintf(l->all + strlen(l->all), sizeof(l->all) - strlen(l->all), "%s=%s/%llu ",
		       v->key, v->version, (unsigned long long)v->size);
	return 0;
}

static void lists_every_version(void **state)
{
	struct scene c = begin();
	struct listed l = { 0 };
	char key[32];

	(void)state;
	/* More than one answer holds, and several versions of one name across its end. */
	for (int i = 0; i < FAKE_PAGE - 1; i++) {
		(void)snprintf(key, sizeof(key), "p/%02d", i);
		assert_int_equal(put(&c, key), 0);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(put(&c, "p/x"), 0);
	assert_int_equal(put(&c, "q/other"), 0);
	assert_int_equal(s3_list(c.s, "p/", take, &l, &c.e), 0);
	assert_int_equal(l.n, FAKE_PAGE + 2);
	assert_non_null(strstr(l.all, "p/x=v9/3 p/x=v8/3 p/x=v7/3"));
	assert_null(strstr(l.all, "other"));
	end(&c);
}

static void a_listing_that_does_not_move_on_ends(void **state)
{
	struct scene c = begin();
	struct listed l = { 0 };

	(void)state;
	for (int i = 0; i < FAKE_PAGE + 1; i++)
		assert_int_equal(put(&c, "k"), 0);
	fake_bucket_fail(c.f, &(struct fake_faults){ .stuck_listing = true });
	assert_int_equal(s3_list(c.s, "", take, &l, &c.e), -EBADMSG);
	assert_non_null(strstr(c.e.text, "does not move on"));
	end(&c);
}

static void locks_are_extended(void **state)
{
	struct scene c = begin();
	struct s3_lock longer;

	(void)state;
	assert_int_equal(put(&c, "k"), 0);
	longer = c.lock;
	longer.until_s += 86400;
	assert_int_equal(s3_verify(c.s, "k", c.version, 3, &longer, &c.e), -ENOTSUP);
	assert_int_equal(s3_extend(c.s, "k", c.version, &longer, &c.e), 0);
	assert_int_equal(s3_verify(c.s, "k", c.version, 3, &longer, &c.e), 0);
	end(&c);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, put_fails, faults);
	ADD_TEST(&t, get_compares);
	ADD_TEST(&t, hold_is_read_back);
	ADD_TEST(&t, lists_every_version);
	ADD_TEST(&t, a_listing_that_does_not_move_on_ends);
	ADD_TEST(&t, locks_are_extended);
	return tests_run(&t, "s3");
}
