/* SPDX-License-Identifier: Apache-2.0 */
/* libpcap's programs as the kernel is to run them. */
#include "agent/acquire/packets_cbpf.h"

#include <pcap/pcap.h>
#include <string.h>

#include "tests/unit/rows.h"

#define PASS 96
#define TAGGED 3 /* instructions for packets with a tag */

struct row {
	const char *name; /* an expression */
	bool cooked;
	bool here; /* the kernel cannot be asked */
};

static const struct row rows[] = {
	{ "udp port 53", false, false },
	{ "udp port 53", true, false },
	{ "tcp[tcpflags] & tcp-syn != 0", true, false },
	{ "ip6 and icmp6", true, false },
	{ "arp", true, false },
	{ "greater 100", false, false },
	{ "greater 100", true, true }, /* the header of ours counts */
	{ "ether[0] = 1", false, false },
	{ "ether[6] = 2", true, true }, /* bytes of that header */
};

static size_t compile(const struct row *row, struct bpf_program *ret)
{
	pcap_t *p = pcap_open_dead(row->cooked ? DLT_LINUX_SLL : DLT_EN10MB, 262144);

	assert_non_null(p);
	assert_int_equal(pcap_compile(p, ret, row->name, 1, PCAP_NETMASK_UNKNOWN), 0);
	pcap_close(p);
	return ret->bf_len;
}

static bool is_load(const struct sock_filter *at)
{
	return (BPF_CLASS(at->code) == BPF_LD || BPF_CLASS(at->code) == BPF_LDX) &&
	       (BPF_MODE(at->code) == BPF_ABS || BPF_MODE(at->code) == BPF_IND ||
		BPF_MODE(at->code) == BPF_MSH);
}

/* Each load is where it was, less the header that the kernel does not have; protocol and type come from beside. */
static void check_load(const struct sock_filter *was, const struct sock_filter *is, bool cooked)
{
	if (!cooked)
		assert_int_equal(is->k, was->k);
	else if (was->k >= 16)
		assert_int_equal(is->k, was->k - 16);
	else
		assert_int_equal(is->k, (uint32_t)(SKF_AD_OFF + (was->k == 14 ? SKF_AD_PROTOCOL :
										SKF_AD_PKTTYPE)));
}

static void test_converted(void **state)
{
	const struct row *row = *state;
	static struct sock_filter out[PACKETS_CBPF_MAX];
	struct bpf_program program;
	size_t n = compile(row, &program), refusing = 0;
	const struct sock_filter *in = (const struct sock_filter *)(const void *)program.bf_insns;

	assert_int_equal(packets_cbpf(in, n, row->cooked, PASS, out), row->here ? 0 : n + TAGGED);
	for (size_t i = 0; !row->here && i < n; i++) {
		const struct sock_filter *is = &out[i + TAGGED];

		assert_int_equal(is->code, in[i].code);
		assert_int_equal(is->jt, in[i].jt);
		assert_int_equal(is->jf, in[i].jf);
		if (is_load(is))
			check_load(&in[i], is, row->cooked);
		else if (BPF_CLASS(is->code) == BPF_RET)
			assert_int_equal(is->k, in[i].k == 0 ? 0 : PASS);
		else
			assert_int_equal(is->k, in[i].k);
		refusing += BPF_CLASS(is->code) == BPF_RET && is->k == 0;
	}
	assert_int_equal(refusing, row->here ? 0 : 1);
	pcap_freecode(&program);
}

static void test_bounds(void **state)
{
	static struct sock_filter in[PACKETS_CBPF_MAX + 1], out[PACKETS_CBPF_MAX];
	const struct sock_filter by_a = BPF_STMT(BPF_RET | BPF_A, 0);
	const struct sock_filter below = BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0xfffff000);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(in); i++)
		in[i] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 1);
	assert_int_equal(packets_cbpf(in, PACKETS_CBPF_MAX - TAGGED, true, PASS, out),
			 PACKETS_CBPF_MAX);
	assert_int_equal(packets_cbpf(in, PACKETS_CBPF_MAX - TAGGED + 1, true, PASS, out), 0);
	assert_int_equal(packets_cbpf(in, ARRAY_LEN(in), true, PASS, out), 0);
	assert_int_equal(packets_cbpf(&by_a, 1, false, PASS, out), 0);
	assert_int_equal(packets_cbpf(&below, 1, true, PASS, out), 0);
	assert_int_equal(packets_cbpf(NULL, 0, true, PASS, out), 1);
	assert_int_equal(out[0].k, PASS);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, test_converted, rows);
	ADD_TEST(&t, test_bounds);
	return tests_run(&t, "packets_cbpf");
}
