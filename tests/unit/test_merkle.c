/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "proto/merkle.h"
#include "tests/unit/rows.h"

/* Leaves and roots that the Certificate Transparency implementations test themselves with. */
static const struct {
	uint8_t b[16];
	size_t len;
} leaves[] = {
	{ { 0 }, 0 },
	{ { 0x00 }, 1 },
	{ { 0x10 }, 1 },
	{ { 0x20, 0x21 }, 2 },
	{ { 0x30, 0x31 }, 2 },
	{ { 0x40, 0x41, 0x42, 0x43 }, 4 },
	{ { 0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57 }, 8 },
	{ { 0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
	    0x6e, 0x6f },
	  16 },
};

static const struct root_row {
	const char *name;
	size_t leaves;
	const char *root;
} root_rows[] = {
	{ "0 leaves", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "1 leaf", 1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d" },
	{ "2 leaves", 2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125" },
	{ "3 leaves", 3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77" },
	{ "4 leaves", 4, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7" },
	{ "5 leaves", 5, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4" },
	{ "6 leaves", 6, "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef" },
	{ "7 leaves", 7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c" },
	{ "8 leaves", 8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328" },
};

static void assert_root(const struct merkle *m, const char *want)
{
	struct seal_hash root;
	char hex[2 * SEAL_HASH_LEN + 1];

	assert_int_equal(merkle_root(m, &root), 0);
	for (size_t i = 0; i < SEAL_HASH_LEN; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", root.b[i]);
	assert_string_equal(hex, want);
}

static void root_is_that_of_the_rfc(void **state)
{
	const struct root_row *row = *state;
	struct merkle *m = merkle_new();

	assert_non_null(m);
	for (size_t i = 0; i < row->leaves; i++)
		assert_int_equal(merkle_add(m, leaves[i].b, leaves[i].len), 0);
	assert_root(m, row->root);
	merkle_free(m);
}

static void tree_goes_on_after_a_root_and_begins_anew_after_reset(void **state)
{
	struct merkle *m = merkle_new();

	(void)state;
	assert_non_null(m);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < 8; i++) {
			assert_root(m, root_rows[i].root);
			assert_int_equal(merkle_add(m, leaves[i].b, leaves[i].len), 0);
		}
		merkle_reset(m);
	}
	merkle_free(m);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, root_is_that_of_the_rfc, root_rows);
	ADD_TEST(&t, tree_goes_on_after_a_root_and_begins_anew_after_reset);
	return tests_run(&t, "merkle");
}
