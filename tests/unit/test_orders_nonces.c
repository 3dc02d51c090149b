/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/orders_nonces.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "proto/base/files.h"
#include "rows.h"

#define HOUR (3600 * (int64_t)NSEC_PER_SEC)
#define DAY (24 * HOUR)
#define NOW (1800000000 * (int64_t)NSEC_PER_SEC)
#define ANN "spiffe://d/t/responder/ann"
#define BOB "spiffe://d/t/responder/bob"

static char dir[40], path[64];
static struct error e;

static int setup(void **state)
{
	(void)state;
	memcpy(dir, "/tmp/test-nonces-XXXXXX", 24);
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/nonces", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(dir);
}

static struct nonces *open_at(int64_t now_ns)
{
	struct nonces *n = NULL;

	assert_int_equal(nonces_open(path, now_ns, &n, &e), 0);
	return n;
}

static const uint8_t *id(uint8_t k)
{
	static uint8_t ids[256][ORDER_ID_LEN];

	ids[k][0] = k;
	return ids[k];
}

static void test_once(void **state)
{
	struct nonces *n = open_at(NOW);

	(void)state;
	assert_false(nonces_known(n, id(1)));
	assert_int_equal(nonces_take(n, id(1), NOW + HOUR, NOW, ANN, &e), 0);
	assert_true(nonces_known(n, id(1)));
	assert_int_equal(nonces_take(n, id(1), NOW + HOUR, NOW, ANN, &e), -EEXIST);
	assert_string_equal(e.text, "the order was taken before: it cannot be repeated");
	assert_int_equal(nonces_take(n, id(2), NOW + HOUR, NOW, ANN, &e), 0);
	nonces_free(n);
	/* Also after a restart, and with the clock set back. */
	n = open_at(NOW - 30 * DAY);
	assert_int_equal(nonces_take(n, id(1), NOW + HOUR, NOW, ANN, &e), -EEXIST);
	assert_int_equal(nonces_take(n, id(2), NOW + HOUR, NOW, ANN, &e), -EEXIST);
	nonces_free(n);
}

/* What is forgotten cannot come again, whatever the clock says later. */
static void test_forgotten(void **state)
{
	struct nonces *n = open_at(NOW);

	(void)state;
	assert_int_equal(nonces_take(n, id(1), NOW + HOUR, NOW, ANN, &e), 0);
	nonces_free(n);
	nonces_free(open_at(NOW + HOUR + DAY - 1));
	n = open_at(NOW + HOUR + DAY);
	assert_true(nonces_known(n, id(1)));
	nonces_free(n);
	n = open_at(NOW + HOUR + DAY + 1);
	assert_false(nonces_known(n, id(1)));
	nonces_free(n);
	n = open_at(NOW);
	assert_int_equal(nonces_take(n, id(1), NOW + HOUR, NOW, ANN, &e), -EKEYEXPIRED);
	assert_int_equal(nonces_take(n, id(1), NOW + HOUR + 1, NOW, ANN, &e), 0);
	nonces_free(n);
}

static void test_count(void **state)
{
	struct nonces *n = open_at(NOW);

	(void)state;
	assert_int_equal(nonces_take(n, id(1), NOW + DAY, NOW, ANN, &e), 0);
	assert_int_equal(nonces_take(n, id(2), NOW + DAY, NOW + HOUR, ANN, &e), 0);
	assert_int_equal(nonces_take(n, id(3), NOW + DAY, NOW + HOUR, BOB, &e), 0);
	nonces_free(n);
	n = open_at(NOW + HOUR);
	assert_int_equal(nonces_since(n, NOW, NULL), 3);
	assert_int_equal(nonces_since(n, NOW + 1, NULL), 2);
	assert_int_equal(nonces_since(n, NOW, ANN), 2);
	assert_int_equal(nonces_since(n, NOW + 1, BOB), 1);
	nonces_free(n);
}

static void flip(off_t at)
{
	AUTO(close_fd) int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void make_three(void)
{
	struct nonces *n = open_at(NOW);

	for (uint8_t k = 1; k <= 3; k++)
		assert_int_equal(nonces_take(n, id(k), NOW + HOUR, NOW, ANN, &e), 0);
	nonces_free(n);
}

static void test_damaged(void **state)
{
	static const off_t places[] = { 0, 8, 17, 20, 36, 63 };
	struct nonces *n = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		(void)unlink(path);
		make_three();
		flip(places[i]);
		assert_int_equal(nonces_open(path, NOW, &n, &e), -EBADMSG);
		flip(places[i]);
		nonces_free(open_at(NOW));
	}
}

static void test_torn(void **state)
{
	(void)state;
	for (off_t cut = 1; cut <= 44; cut++) {
		(void)unlink(path);
		make_three();
		assert_int_equal(truncate(path, 20 + 3 * 44 - cut), 0);
		struct nonces *n = open_at(NOW);

		assert_true(nonces_known(n, id(2)));
		assert_false(nonces_known(n, id(3)));
		assert_int_equal(nonces_take(n, id(3), NOW + HOUR, NOW, ANN, &e), 0);
		nonces_free(n);
		n = open_at(NOW);
		assert_true(nonces_known(n, id(2)) && nonces_known(n, id(3)));
		nonces_free(n);
	}
}

/* A full disk: the order does not run, and may be given again once there is room. */
static void test_full_disk(void **state)
{
	struct nonces *n = open_at(NOW);
	struct rlimit small = { 20 + 44 + 10, RLIM_INFINITY },
		      all = { RLIM_INFINITY, RLIM_INFINITY };

	(void)state;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(nonces_take(n, id(1), NOW + HOUR, NOW, ANN, &e), 0);
	assert_true(nonces_take(n, id(2), NOW + HOUR, NOW, ANN, &e) < 0); /* ten bytes of it fit */
	assert_non_null(strstr(e.text, "cannot remember the order"));
	assert_false(nonces_known(n, id(2)));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
	assert_int_equal(nonces_take(n, id(2), NOW + HOUR, NOW, ANN, &e), 0);
	nonces_free(n);
	n = open_at(NOW);
	assert_true(nonces_known(n, id(1)) && nonces_known(n, id(2)));
	nonces_free(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_count, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
	};

	return cmocka_run_group_tests_name("orders_nonces", tests, NULL, NULL);
}
