/* SPDX-License-Identifier: Apache-2.0 */
/* What a network namespace knows of itself: the tables of /proc/PID/net as they are, one table of sockets with the
 * processes that hold them, and what only netlink tells. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "agent/acquire/proc_text.h"
#include "agent/acquire/socket_table.h"
#include "agent/acquire/triage.h"
#include "agent/acquire/triage_netlink.h"
#include "agent/procfs.h"

#define NAMESPACES_MAX 64
#define OWNERS_MAX 262144
#define LINK_MAX 64 /* "socket:[INODE]", "net:[INODE]" */

/* Sockets first: they end soonest. */
static const char *const tables[] = { "tcp",
				      "tcp6",
				      "udp",
				      "udp6",
				      "raw",
				      "raw6",
				      "icmp",
				      "icmp6",
				      "udplite",
				      "udplite6",
				      "unix",
				      "packet",
				      "netlink",
				      "sctp/assocs",
				      "sctp/eps",
				      "vsock",
				      "arp",
				      "route",
				      "ipv6_route",
				      "if_inet6",
				      "fib_trie",
				      "dev",
				      "dev_mcast",
				      "igmp",
				      "igmp6",
				      "nf_conntrack",
				      "wireless",
				      "snmp",
				      "snmp6",
				      "netstat",
				      "sockstat",
				      "sockstat6",
				      "protocols",
				      "ip_tables_names",
				      "ip6_tables_names",
				      "ptype",
				      "softnet_stat",
				      "vlan/config" };

struct owner { /* of a socket */
	uint64_t inode;
	uint32_t pid;
};

struct network {
	struct triage *t;
	uint32_t *pids;
	size_t n_pids;
	struct owner *owners; /* OWNERS_MAX; by inode, then pid */
	size_t n_owners;
	uint32_t spaces[NAMESPACES_MAX]; /* done */
	size_t n_spaces;
};

/* ---- who holds which socket --------------------------------------------------------------------------- */

static uint64_t link_number(int dir, const char *name, const char *prefix)
{
	char text[LINK_MAX];
	ssize_t len = readlinkat(dir, name, text, sizeof(text));
	size_t before = strlen(prefix);

	if (len < 0 || (size_t)len < before || memcmp(text, prefix, before) != 0)
		return 0;
	struct reader r = reader_init(text + before, (size_t)len - before);
	uint64_t v = proc_number(&r, 10);

	proc_expect(&r, ']');
	return reader_done(&r) ? v : 0;
}

static void close_dir(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

static void find_sockets(struct network *n, uint32_t pid)
{
	AUTO(close_fd) int dir = triage_pid_dir(n->t, pid);
	AUTO(close_fd) int fds = openat(dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO(close_dir) DIR *list = fds >= 0 ? fdopendir(fds) : NULL;
	const struct dirent *entry;

	if (list == NULL)
		return;
	(void)take_fd(&fds);
	while ((entry = readdir(list)) != NULL && n->n_owners < OWNERS_MAX) {
		uint64_t inode = link_number(dirfd(list), entry->d_name, "socket:[");

		if (inode != 0)
			n->owners[n->n_owners++] = (struct owner){ inode, pid };
	}
}

static int compare_owners(const void *a, const void *b)
{
	const struct owner *x = a, *y = b;

	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return (x->pid > y->pid) - (x->pid < y->pid);
}

static void find_owners(struct network *n)
{
	for (size_t i = 0; i < n->n_pids && !triage_over(n->t); i++)
		find_sockets(n, n->pids[i]);
	if (n->n_owners == OWNERS_MAX)
		triage_tell(n->t, true, "more than %d open sockets: the others name no process",
			    OWNERS_MAX);
	qsort(n->owners, n->n_owners, sizeof(*n->owners), compare_owners);
}

/* The first of them; n_owners: none. */
static size_t first_owner(const struct network *n, uint64_t inode)
{
	size_t low = 0, high = n->n_owners;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (n->owners[middle].inode < inode)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- one table of sockets ----------------------------------------------------------------------------- */

static void put_address(struct json *j, const char *key, const struct socket_row *row,
			const uint8_t *ip)
{
	char text[INET6_ADDRSTRLEN];

	if (inet_ntop(row->ip_len == 4 ? AF_INET : AF_INET6, ip, text, sizeof(text)) != NULL)
		json_text(j, key, text);
}

static void put_internet(struct json *j, const char *table, const struct socket_row *row)
{
	put_address(j, "local_ip", row, row->local_ip);
	json_u64(j, "local_port", row->local_port);
	put_address(j, "remote_ip", row, row->remote_ip);
	json_u64(j, "remote_port", row->remote_port);
	if (strncmp(table, "tcp", 3) == 0)
		json_text(j, "state", socket_state_name(row->state));
	else
		json_u64(j, "state_number", row->state);
	json_u64(j, "uid", row->uid);
}

static void put_row(struct network *n, struct triage_lines *l, const char *table,
		    const struct socket_row *row)
{
	if (!triage_row(l))
		return;
	json_text(&l->json, "table", table);
	if (row->ip_len > 0) {
		put_internet(&l->json, table, row);
	} else {
		json_u64(&l->json, "type", row->type);
		json_u64(&l->json, "state_number", row->state);
		if (row->path != NULL)
			json_bytes(&l->json, "path", row->path, row->path_len);
	}
	json_u64(&l->json, "inode", row->inode);
	json_open(&l->json, "pids", 4, '[');
	for (size_t i = first_owner(n, row->inode);
	     row->inode != 0 && i < n->n_owners && n->owners[i].inode == row->inode; i++)
		if (i == 0 || n->owners[i - 1].inode != row->inode ||
		    n->owners[i - 1].pid != n->owners[i].pid)
			json_u64(&l->json, NULL, n->owners[i].pid);
	json_close(&l->json, ']');
	triage_row_end(l);
}

static void put_rows(struct network *n, struct triage_lines *l, const char *table,
		     const uint8_t *text, size_t len)
{
	bool unix_sockets = strcmp(table, "unix") == 0;
	struct reader all = reader_init(text, len);
	uint64_t bad = 0;

	for (bool head = true; all.left > 0; head = false) {
		struct reader line = proc_line(&all);
		struct socket_row row;

		if (head)
			continue;
		if (unix_sockets ? socket_row_unix(line, &row) : socket_row_internet(line, &row))
			put_row(n, l, table, &row);
		else
			bad++;
	}
	if (bad > 0)
		triage_tell(n->t, false, "net/%s: %llu lines are no rows (they stand in the copy)",
			    table, (unsigned long long)bad);
}

static bool of_sockets(const char *table)
{
	static const char *const parsed[] = { "tcp",  "tcp6",    "udp",      "udp6", "raw",
					      "raw6", "udplite", "udplite6", "unix", NULL };

	for (size_t i = 0; parsed[i] != NULL; i++)
		if (strcmp(table, parsed[i]) == 0)
			return true;
	return false;
}

/* "sctp/assocs" is one name, not a folder. */
static void entry_name(uint32_t space, const char *table, char buf[static 128])
{
	int before = snprintf(buf, 128, "live_response/network/netns-%u/", space);

	(void)snprintf(buf + before, 128 - (size_t)before, "%s.txt", table);
	for (char *at = buf + before; *at != '\0'; at++)
		if (*at == '/')
			*at = '_';
}

static int put_table(struct network *n, struct triage_lines *l, int dir, uint32_t space,
		     const char *table, struct error *e)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;
	bool cut = false;
	char name[128];

	entry_name(space, table, name);
	if (!triage_read(dir, table, TRIAGE_LINES_MAX, &text, &len, &cut))
		return 0;
	if (cut)
		triage_tell(n->t, true, "%s: only the first %zu bytes", name, len);
	if (of_sockets(table))
		put_rows(n, l, table, text, len);
	return triage_put(n->t, name, text, len, e);
}

/* ---- a namespace -------------------------------------------------------------------------------------- */

static int put_space(struct network *n, uint32_t pid, uint32_t space, struct error *e)
{
	struct triage_lines l;
	char name[128];
	AUTO(close_fd) int dir = triage_pid_dir(n->t, pid);
	AUTO(close_fd) int net = openat(dir, "net", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (net < 0)
		return 0; /* it ended */
	int r = triage_lines_open(&l, e);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(tables); i++)
		r = put_table(n, &l, net, space, tables[i], e);
	(void)snprintf(name, sizeof(name), "live_response/network/netns-%u/sockets.jsonl", space);
	if (r == 0)
		r = triage_put_lines(n->t, &l, name, e);
	triage_lines_release(&l);
	return r == 0 ? triage_netlink(n->t, dir, space, e) : r;
}

static bool is_new(struct network *n, uint32_t space)
{
	for (size_t i = 0; i < n->n_spaces; i++)
		if (n->spaces[i] == space)
			return false;
	if (space == 0)
		return false;
	if (n->n_spaces == NAMESPACES_MAX) {
		triage_tell(n->t, true, "network namespace %u: only %d are read", space,
			    NAMESPACES_MAX);
		return false;
	}
	n->spaces[n->n_spaces++] = space;
	return true;
}

static int put_spaces(struct network *n, struct error *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n->n_pids && !triage_over(n->t); i++) {
		AUTO(close_fd) int dir = triage_pid_dir(n->t, n->pids[i]);
		uint64_t space = dir < 0 ? 0 : link_number(dir, "ns/net", "net:[");

		if (is_new(n, (uint32_t)space))
			r = put_space(n, n->pids[i], (uint32_t)space, e);
	}
	if (r == 0 && n->n_spaces == 0)
		triage_tell(n->t, true, "no network namespace could be looked at");
	return r;
}

int triage_network(struct triage *t, struct error *e)
{
	AUTO(free_ptr) uint32_t *pids = NULL;
	AUTO(free_ptr) struct owner *owners = calloc(OWNERS_MAX, sizeof(*owners));
	struct network n = { .t = t, .owners = owners };

	if (owners == NULL)
		return error_set(e, -ENOMEM, "cannot list sockets: out of memory");
	int r = triage_pids(t, &pids, &n.n_pids, e);

	if (r < 0)
		return r;
	n.pids = pids;
	find_owners(&n);
	return put_spaces(&n, e);
}
