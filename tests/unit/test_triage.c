/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/triage.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after those */
#include <cmocka.h>

#include "agent/acquire/triage_body.h"
#include "agent/acquire/triage_netlink.h"

static void plans_by_volatility(void **state)
{
	static const char *const order[] = { "network", "memory", "temporary files",
					     "files",   "disk",   "logs" };
	unsigned int rank = 0;
	size_t at = 0;

	(void)state;
	for (size_t i = 0; triage_step_at(i) != NULL; i++) {
		const struct triage_step *s = triage_step_at(i);

		assert_true(s->rank >= rank);
		assert_true(s->seconds > 0);
		rank = s->rank;
		while (at < ARRAY_LEN(order) && strcmp(order[at], s->holds) != 0)
			at++;
		assert_true(at < ARRAY_LEN(order)); /* nothing earlier comes again */
	}
	assert_int_equal(at, ARRAY_LEN(order) - 1);
}

static void keeps_bodyfile_rows_whole(void **state)
{
	struct statx x = { .stx_mask = STATX_BTIME,
			   .stx_mode = S_IFREG | S_ISUID | 0755,
			   .stx_ino = 7,
			   .stx_uid = 1,
			   .stx_gid = 2,
			   .stx_size = 3 };
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	x.stx_atime.tv_sec = 4;
	x.stx_mtime.tv_sec = -5;
	x.stx_ctime.tv_sec = 6;
	x.stx_btime.tv_sec = 7;
	assert_non_null(f);
	triage_body_row(f, "tmp/a|b\n0|/etc\\\x1b[2J\xc3\xa9", &x);
	assert_int_equal(fclose(f), 0);
	assert_string_equal(
		text,
		"0|/tmp/a\\x7cb\\x0a0\\x7c/etc\\x5c\\x1b[2J\xc3\xa9|7|r/-rwsr-xr-x|1|2|3|4|-5|6|7\n");
	free(text);
}

struct neighbour {
	struct nlmsghdr head;
	struct ndmsg body;
	struct {
		uint16_t len, type;
		uint8_t value[4];
	} destination;
	struct {
		uint16_t len, type;
		uint8_t value[8]; /* 6 and padding */
	} link_layer;
};

static struct neighbour make_neighbour(void)
{
	return (struct neighbour){
		.head = { .nlmsg_len = sizeof(struct neighbour), .nlmsg_type = RTM_NEWNEIGH },
		.body = { .ndm_ifindex = 3, .ndm_state = 2 },
		.destination = { 8, NDA_DST, { 10, 0, 0, 1 } },
		.link_layer = { 10, NDA_LLADDR, { 1, 2, 3, 4, 5, 255 } },
	};
}

static char *rows_of(const void *data, size_t len, bool *ret_more)
{
	struct triage_lines l;

	assert_int_equal(triage_lines_open(&l, NULL), 0);
	*ret_more = triage_netlink_rows(data, len, &l);
	assert_int_equal(fclose(l.out), 0);
	return l.text;
}

static void reads_netlink(void **state)
{
	struct neighbour two[2] = { make_neighbour(), make_neighbour() };
	bool more = false;

	(void)state;
	two[1].head.nlmsg_type = NLMSG_DONE;
	AUTO(free_ptr) char *text = rows_of(two, sizeof(two), &more);

	assert_string_equal(text,
			    "{\"kind\":\"neighbour\",\"interface_index\":3,\"state\":2,"
			    "\"address\":\"10.0.0.1\",\"link_layer\":\"01:02:03:04:05:ff\"}\n");
	assert_false(more);
}

/* A kernel would not: every length that a message may lie about, under ASan. */
static void survives_bad_netlink(void **state)
{
	(void)state;
	for (size_t cut = 0; cut < sizeof(struct neighbour); cut++) {
		struct neighbour n = make_neighbour();
		bool more = false;
		AUTO(free_ptr) uint8_t *exact = malloc(cut + 1);

		memcpy(exact, &n, cut);
		AUTO(free_ptr) char *text = rows_of(exact, cut, &more);

		assert_string_equal(text, "");
	}
	for (uint32_t len = 0; len < 64; len++) {
		struct neighbour n = make_neighbour();
		bool more = false;

		n.head.nlmsg_len = len;
		n.destination.len = (uint16_t)(len * 3);
		n.link_layer.len = (uint16_t)(len * 5);
		free(rows_of(&n, sizeof(n), &more));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plans_by_volatility),
		cmocka_unit_test(keeps_bodyfile_rows_whole),
		cmocka_unit_test(reads_netlink),
		cmocka_unit_test(survives_bad_netlink),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
