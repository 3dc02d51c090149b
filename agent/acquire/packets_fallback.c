/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_fallback.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <string.h>

#include "agent/acquire/packets_cbpf.h"
#include "agent/acquire/proc_text.h"
#include "agent/acquire/socket_table.h"
#include "proto/base/files.h"

#define FILES_MAX 1024
#define PATH_LEN 320
#define TABLE_MAX MiB(64)
#define LEFT_OUT_MAX 1024
#define SYN_SENT 2 /* connected or about to be: net/tcp_states.h */

/* ---- what is left out ---------------------------------------------------------------------------------------- */

struct inodes {
	uint64_t of[FILES_MAX];
	size_t n;
};

static void find_sockets(const char *proc, uint32_t pid, struct inodes *ret)
{
	char path[PATH_LEN], name[64];
	struct dirent *entry;

	(void)snprintf(path, sizeof(path), "%s/%" PRIu32 "/fd", proc, pid);
	DIR *dir = opendir(path);

	while (dir != NULL && ret->n < FILES_MAX && (entry = readdir(dir)) != NULL) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, name, sizeof(name) - 1);

		name[n < 0 ? 0 : n] = '\0';
		if (strncmp(name, "socket:[", 8) == 0)
			ret->of[ret->n++] = strtoull(name + 8, NULL, 10);
	}
	if (dir != NULL)
		(void)closedir(dir);
}

static bool has(const struct inodes *in, uint64_t inode)
{
	for (size_t i = 0; i < in->n; i++)
		if (in->of[i] == inode)
			return true;
	return false;
}

/* By the other end, which stays when it is connected anew. */
static void add_peer(const struct socket_row *row, char buf[static LEFT_OUT_MAX])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool four = row->ip_len == 4 || memcmp(row->remote_ip, mapped, sizeof(mapped)) == 0;
	const uint8_t *ip = row->ip_len == 16 && four ? row->remote_ip + 12 : row->remote_ip;
	char address[INET6_ADDRSTRLEN], one[INET6_ADDRSTRLEN + 64];
	size_t len = strlen(buf);

	if (inet_ntop(four ? AF_INET : AF_INET6, ip, address, sizeof(address)) == NULL)
		return;
	int n = snprintf(one, sizeof(one), "(tcp port %u and host %s)",
			 (unsigned int)row->remote_port, address);

	if (strstr(buf, one) == NULL && len + (size_t)n + 5 < LEFT_OUT_MAX)
		(void)snprintf(buf + len, LEFT_OUT_MAX - len, "%s%s", len > 0 ? " or " : "", one);
}

static void find_peers(const char *proc, uint32_t pid, const struct inodes *sockets,
		       char buf[static LEFT_OUT_MAX])
{
	static const char *const tables[] = { "tcp", "tcp6" };
	char path[PATH_LEN];

	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		AUTO(free_ptr) uint8_t *text = NULL;
		size_t len = 0;

		(void)snprintf(path, sizeof(path), "%s/%" PRIu32 "/net/%s", proc, pid, tables[i]);
		if (files_read(path, TABLE_MAX, &text, &len, NULL) < 0)
			continue;
		struct reader r = reader_init(text, len);
		struct socket_row row;

		while (r.left > 0)
			if (socket_row_internet(proc_line(&r), &row) && row.state >= 1 &&
			    row.state <= SYN_SENT && has(sockets, row.inode))
				add_peer(&row, buf);
	}
}

/* A stream must not feed itself: what the agent's own processes are connected to. */
static int find_left_out(const struct capture *c, char buf[static LEFT_OUT_MAX], struct error *e)
{
	AUTO(free_ptr) struct inodes *sockets = calloc(1, sizeof(*sockets));

	buf[0] = '\0';
	if (sockets == NULL)
		return error_set(e, -ENOMEM, "cannot capture packets: out of memory");
	for (size_t i = 0; i < c->n_skip; i++) {
		sockets->n = 0;
		find_sockets(c->r->proc, c->skip[i], sockets);
		find_peers(c->r->proc, c->skip[i], sockets, buf);
	}
	return 0;
}

/* ---- the socket ------------------------------------------------------------------------------------------------ */

static int open_with(struct capture *c, const struct sock_filter *filter, size_t n, struct error *e)
{
	return packets_socket_open(
		&(struct packets_socket_config){ .net_fd = c->target.net_fd,
						 .net_ns = c->target.net_ns,
						 .ifindex = c->target.ifindex,
						 .cooked = c->target.link_type == PCAPNG_COOKED,
						 .filter = filter,
						 .n_filter = n,
						 .wall_less_boot_ns = c->clock.wall_ns -
								      (int64_t)c->clock.boot_ns },
		&c->socket, e);
}

/* Where the kernel cannot be asked, the file asks alone. */
static int open_socket(struct capture *c, uint32_t bytes, struct error *e)
{
	AUTO(free_ptr) struct sock_filter *filter = calloc(PACKETS_CBPF_MAX, sizeof(*filter));
	const struct bpf_insn *from = NULL;
	size_t n = packets_file_filter(c->file, &from);

	_Static_assert(sizeof(*from) == sizeof(*filter), "libpcap's are the kernel's");
	if (filter == NULL)
		return error_set(e, -ENOMEM, "cannot capture packets: out of memory");
	n = packets_cbpf((const struct sock_filter *)(const void *)from, n,
			 c->target.link_type == PCAPNG_COOKED, bytes, filter);
	c->kernel_filters = n > 1;
	int r = n > 0 ? open_with(c, filter, n, e) : -EINVAL;

	if (r != -EINVAL)
		return r;
	c->kernel_filters = false;
	return open_with(c, filter, packets_cbpf(NULL, 0, true, bytes, filter), e);
}

static int say_why(struct capture *c, const struct error *why, const char *left_out,
		   struct error *e)
{
	int r = output_note(c->o, "packets.engine_reason", why->text, e);

	if (r == 0)
		r = output_warn(
			c->o, false, e,
			"no packet names its process: a packet socket captured them, since %s",
			why->text);
	return r == 0 && *left_out != '\0' ? output_note(c->o, "packets.left_out", left_out, e) : r;
}

static int refuse(int r, const struct error *why, const struct error *socket_why, struct error *e)
{
	(void)error_set(e, r, "%s; and %s", why->text, socket_why->text);
	if (why->hint[0] != '\0')
		error_hint(e, "%s", why->hint);
	return r;
}

int packets_fallback_start(struct capture *c, const struct error *why, struct error *e)
{
	char left_out[LEFT_OUT_MAX] = "";
	struct error own = { 0 };
	int r = packets_target_place(&c->target, &own);

	if (r == 0)
		r = find_left_out(c, left_out, &own);
	if (r == 0)
		r = packets_file_ownerless(c->file,
					   packets_target_is_host(&c->target) ? "host" : "netns",
					   c->target.link_type == PCAPNG_COOKED, left_out, &own);
	if (r == 0)
		r = open_socket(c,
				c->copy_bytes != 0 && c->copy_bytes < PACKETS_BYTES_MAX ?
					c->copy_bytes :
					PACKETS_BYTES_MAX,
				&own);
	if (r == 0)
		r = packets_socket_start(c->socket, &own);
	return r < 0 ? refuse(r, why, &own, e) : say_why(c, why, left_out, e);
}
