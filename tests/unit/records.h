/* SPDX-License-Identifier: Apache-2.0 */
/* Records as the kernel's side writes them, for tests of what reads them. */
#ifndef TESTS_UNIT_RECORDS_H
#define TESTS_UNIT_RECORDS_H

#include "bpf/record.h"

struct record {
	_Alignas(8) uint8_t at[REC_MAX];
	size_t len;
};

#define RECORD_BOOTTIME 5000000000ULL

/* Appends a string to the tail and keeps the header's length right. Returns its length. */
uint16_t record_tail(struct record *r, const char *text);
/* A plain, correct record of each type: pid 100, started at 1000, exec id 2, child of pid 1. */
struct record record_exec(void); /* /usr/bin/true -v x, in /root, cgroup "ssh.service" */
struct record record_process(void); /* the same, existing */
struct record record_fork(void); /* pid 101, started at 2000, of caller 100 */
struct record record_exit(void); /* signal 9 */
struct record record_file_open(void); /* created /tmp/a */
struct record record_tcp(uint8_t op, uint8_t role); /* 10.0.0.1:4000 to 10.0.0.2:443; 7 out, 9 in */
struct record record_udp_flow(uint8_t role); /* ::1:4000 to ::1:53 */
struct record record_socket(uint8_t protocol, uint8_t state);
struct record record_cgroup(void); /* /kubepods/pod1, unified, id 44 */
/* Type REC_EXEC... in its plain form; for loops over all types. */
struct record record_of(uint16_t type);

#endif
