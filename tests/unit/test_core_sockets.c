/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_sockets.h"

#include <string.h>

#include "agent/acquire/core_freezer.h"
#include "rows.h"

static const struct socket_row {
	const char *name;
	enum core_socket_form form;
	const char *line;
	bool bad;
	uint64_t inode;
	const char *local, *remote, *state, *path;
} sockets[] = {
	{ "listening", SOCKET_FORM_INET,
	  "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0",
	  false, 4711, "127.0.0.1:8080", "0.0.0.0:0", "LISTEN", NULL },
	{ "six", SOCKET_FORM_INET6,
	  " 12: 00000000000000000000000001000000:0016 B80D01200000000000000000EFBEADDE:FFFF 01 00000000:00000000 02:000A 00000000  1000        0 99 1 x",
	  false, 99, "[::1]:22", "[2001:db8::dead:beef]:65535", "ESTABLISHED", NULL },
	{ "unix with a name", SOCKET_FORM_UNIX,
	  "0000000000000000: 00000002 00000000 00010000 0001 01 15211 /run/a b", false, 15211, "",
	  "", NULL, "/run/a b" },
	{ "unix without", SOCKET_FORM_UNIX, "0: 00000003 00000000 00000000 0001 03 15212", false,
	  15212, "", "", NULL, NULL },
	{ "empty", SOCKET_FORM_INET, "", true, 0, NULL, NULL, NULL, NULL },
	{ "address too short", SOCKET_FORM_INET, "0: 0100:1F90 00000000:0000 0A a b c d e 1", true,
	  0, NULL, NULL, NULL, NULL },
	{ "no hex", SOCKET_FORM_INET, "0: 0100007G:1F90 00000000:0000 0A a b c d e 1", true, 0,
	  NULL, NULL, NULL, NULL },
	{ "port too large", SOCKET_FORM_INET, "0: 0100007F:11F90 00000000:0000 0A a b c d e 1",
	  true, 0, NULL, NULL, NULL, NULL },
	{ "cut before the inode", SOCKET_FORM_INET, "0: 0100007F:1F90 00000000:0000 0A a b c d e ",
	  true, 0, NULL, NULL, NULL, NULL },
	{ "four as six", SOCKET_FORM_INET6, "0: 0100007F:1F90 00000000:0000 0A a b c d e 1", true,
	  0, NULL, NULL, NULL, NULL },
};

static void parses(void **state)
{
	const struct socket_row *row = *state;
	struct core_socket s;

	assert_int_equal(core_socket_parse(row->form, row->line, strlen(row->line), &s), !row->bad);
	if (row->bad)
		return;
	s.protocol = row->form == SOCKET_FORM_UNIX ? "unix" : "tcp";
	assert_int_equal(s.inode, row->inode);
	assert_string_equal(s.local, row->local);
	assert_string_equal(s.remote, row->remote);
	if (row->state != NULL)
		assert_string_equal(core_socket_state(&s), row->state);
	else
		assert_null(core_socket_state(&s));
	assert_int_equal(s.path_len, row->path != NULL ? strlen(row->path) : 0);
	if (row->path != NULL)
		assert_memory_equal(s.path, row->path, s.path_len);
}

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define POD "pod12345678-1234-1234-1234-123456789abc"

static const struct name_row {
	const char *name, *component, *id;
	bool want;
} names[] = {
	{ "cgroupfs", ID, ID, true },
	{ "systemd", "docker-" ID ".scope", ID, true },
	{ "containerd", "cri-containerd:" ID, ID, true },
	{ "conmon", "crio-conmon-" ID ".scope", ID, false },
	{ "another", "f" ID, ID, false },
	{ "a part", ID, "0123", false },
	{ "empty", "", ID, false },
	{ "no id", ID, "", false },
	{ "pod, cgroupfs", POD, POD, true },
	{ "pod, systemd", "kubepods-burstable-pod12345678_1234_1234_1234_123456789abc.slice", POD,
	  true },
	{ "another pod", "kubepods-pod22345678_1234_1234_1234_123456789abc.slice", POD, false },
	{ "the end of a pod's name", "xpod12345678-1234-1234-1234-123456789abc", POD, false },
	{ "pod alone", "pod", "pod", false },
};

static void names_containers(void **state)
{
	const struct name_row *row = *state;

	assert_int_equal(freezer_names(row->component, strlen(row->component), row->id), row->want);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, parses, sockets);
	ADD_ROWS(&t, names_containers, names);
	return tests_run(&t, "core_sockets");
}
