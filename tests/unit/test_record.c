/* SPDX-License-Identifier: Apache-2.0 */
/* The record layout as a reader in another language would write it down: a change here is a change
 * of REC_LAYOUT. The header's own assertions hold for the compiler of the kernel side, too. */
#include "bpf/record.h"

#include "tests/unit/rows.h"

#define AT(type, member, offset_)                                                                  \
	{                                                                                          \
		.name = #type "." #member, .got = offsetof(struct type, member), .want = (offset_) \
	}
#define SIZE(type, size_)                                                                          \
	{                                                                                          \
		.name = "size of " #type, .got = sizeof(struct type), .want = (size_)              \
	}

static const struct layout_row {
	const char *name;
	size_t got, want;
} rows[] = {
	SIZE(rec_image, 16),
	SIZE(rec_actor, 96),
	SIZE(rec_header, 128),
	SIZE(rec_exec, 200),
	SIZE(rec_fork, 144),
	SIZE(rec_exit, 144),
	SIZE(rec_file_open, 192),
	SIZE(rec_tcp, 208),
	SIZE(rec_udp_flow, 224),
	SIZE(rec_flow_key, 32),
	SIZE(rec_socket, 200),
	SIZE(rec_cgroup, 144),
	SIZE(rec_counters, 48),
	AT(rec_header, len, 0),
	AT(rec_header, type, 4),
	AT(rec_header, flags, 6),
	AT(rec_header, seq, 8),
	AT(rec_header, boottime_ns, 16),
	AT(rec_header, cpu, 24),
	AT(rec_header, layout, 28),
	AT(rec_header, ring, 30),
	AT(rec_header, class, 31),
	AT(rec_header, actor, 32),
	AT(rec_actor, parent, 16),
	AT(rec_actor, cgroup_id, 32),
	AT(rec_actor, tid, 48),
	AT(rec_actor, comm, 80),
	AT(rec_exec, replaced, 128),
	AT(rec_exec, args_bytes, 176),
	AT(rec_exec, args_len, 184),
	AT(rec_exec, path_len, 188),
	AT(rec_exec, exe_flags, 198),
	AT(rec_fork, caller, 128),
	AT(rec_exit, exit_code, 128),
	AT(rec_exit, signal, 132),
	AT(rec_file_open, path_len, 180),
	AT(rec_file_open, size_before_known, 183),
	AT(rec_tcp, local, 160),
	AT(rec_tcp, error, 200),
	AT(rec_udp_flow, local, 184),
	AT(rec_socket, state, 190),
};

static void layout_is(void **state)
{
	const struct layout_row *row = *state;

	assert_int_equal(row->got, row->want);
}

static void longest_record_fits(void **state)
{
	(void)state;
	size_t tail = 3 * REC_PATH_MAX + 2 * REC_NAME_MAX + REC_ARGS_MAX;

	assert_true(sizeof(struct rec_exec) + tail <= REC_MAX);
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, layout_is, rows);
	ADD_TEST(&t, longest_record_fits);
	return tests_run(&t, "record");
}
