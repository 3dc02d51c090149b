/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_sockets.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define HOST_MAX 64
#define NUMBERS_MAX (1 << 20)

static void close_dir(DIR **d)
{
	if (*d != NULL)
		(void)closedir(*d);
}

/* ---- endpoints --------------------------------------------------------------------------------- */

static void set_v4(struct rpc_endpoint *ret, const struct in_addr *v4)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	memcpy(ret->address.s6_addr, mapped, sizeof(mapped));
	memcpy(ret->address.s6_addr + sizeof(mapped), v4, sizeof(*v4));
}

static bool parse_port(const char *text, uint16_t *ret)
{
	char *end;
	unsigned long port;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	port = strtoul(text, &end, 10);
	if (errno != 0 || *end != '\0' || port > UINT16_MAX)
		return false;
	*ret = (uint16_t)port;
	return true;
}

/* "[::1%eth0]" or "%5B::1%25eth0%5D" to "::1". */
static bool strip_brackets(const char *host, size_t len, char out[static HOST_MAX])
{
	size_t open = len > 0 && host[0] == '[' ? 1 : strncasecmp(host, "%5B", 3) == 0 ? 3 : 0;
	size_t n = open < len ? strcspn(host + open, "]%") : 0;

	if (open == 0 || open + n > len || n >= HOST_MAX)
		return false;
	memcpy(out, host + open, n);
	out[n] = '\0';
	return true;
}

static bool parse_host(const char *remote, const char *colon, struct rpc_endpoint *ret)
{
	size_t len = (size_t)(colon - remote) - 5;
	char host[HOST_MAX];
	struct in_addr v4;

	if (strncmp(remote, "ipv6:", 5) == 0)
		return strip_brackets(remote + 5, len, host) &&
		       inet_pton(AF_INET6, host, &ret->address) == 1;
	if (len >= sizeof(host))
		return false;
	memcpy(host, remote + 5, len);
	host[len] = '\0';
	if (inet_pton(AF_INET, host, &v4) != 1)
		return false;
	set_v4(ret, &v4);
	return true;
}

bool rpc_endpoint_parse(const char *remote, struct rpc_endpoint *ret)
{
	const char *colon = strrchr(remote, ':');

	*ret = (struct rpc_endpoint){ 0 };
	if ((strncmp(remote, "ipv4:", 5) != 0 && strncmp(remote, "ipv6:", 5) != 0) ||
	    colon < remote + 5)
		return false;
	return parse_port(colon + 1, &ret->port) && parse_host(remote, colon, ret);
}

int rpc_endpoint_compare(const void *a, const void *b)
{
	const struct rpc_endpoint *x = a, *y = b;
	int r = memcmp(&x->address, &y->address, sizeof(x->address));

	return r != 0 ? r : (int)x->port - (int)y->port;
}

bool rpc_endpoint_equal(const struct rpc_endpoint *a, const struct rpc_endpoint *b)
{
	return rpc_endpoint_compare(a, b) == 0;
}

/* ---- our own sockets --------------------------------------------------------------------------- */

static bool endpoint_of(const struct sockaddr_storage *from, struct rpc_endpoint *ret)
{
	const struct sockaddr_in6 *v6 = (const void *)from;
	const struct sockaddr_in *v4 = (const void *)from;

	*ret = (struct rpc_endpoint){ 0 };
	if (from->ss_family == AF_INET) {
		set_v4(ret, &v4->sin_addr);
		ret->port = ntohs(v4->sin_port);
		return true;
	}
	if (from->ss_family != AF_INET6)
		return false;
	ret->address = v6->sin6_addr;
	ret->port = ntohs(v6->sin6_port);
	return true;
}

static bool connected_to(int fd, uint16_t local_port, struct rpc_endpoint *ret)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);
	struct rpc_endpoint own;

	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0 || !endpoint_of(&a, &own) ||
	    own.port != local_port)
		return false;
	len = sizeof(a);
	return getpeername(fd, (struct sockaddr *)&a, &len) == 0 && endpoint_of(&a, ret);
}

/* The descriptor that a name in /proc/self/fd stands for, or -1. */
static int fd_of(const char *name)
{
	char *end;
	long fd;

	if (name[0] < '0' || name[0] > '9')
		return -1;
	errno = 0;
	fd = strtol(name, &end, 10);
	return errno == 0 && *end == '\0' && fd <= INT32_MAX ? (int)fd : -1;
}

/* Without a descriptor left the folder cannot be opened, and that is when we are needed most. */
static int each_number(void (*fn)(int fd, void *arg), void *arg)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	for (int fd = 0; (rlim_t)fd < limit.rlim_cur && fd < NUMBERS_MAX; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			fn(fd, arg);
	}
	return 0;
}

static int each_fd(void (*fn)(int fd, void *arg), void *arg)
{
	AUTO(close_dir) DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	if (dir == NULL)
		return each_number(fn, arg);
	while ((entry = readdir(dir)) != NULL) {
		int fd = fd_of(entry->d_name);

		if (fd >= 0 && fd != dirfd(dir))
			fn(fd, arg);
	}
	return 0;
}

struct walk {
	uint16_t local_port;
	void (*fn)(int fd, uint64_t inode, const struct rpc_endpoint *peer, void *arg);
	void *arg;
};

static void if_connected(int fd, void *arg)
{
	const struct walk *w = arg;
	struct rpc_endpoint peer;
	struct stat st;

	if (connected_to(fd, w->local_port, &peer) && fstat(fd, &st) == 0)
		w->fn(fd, st.st_ino, &peer, w->arg);
}

int rpc_sockets_each(uint16_t local_port,
		     void (*fn)(int fd, uint64_t inode, const struct rpc_endpoint *peer, void *arg),
		     void *arg)
{
	struct walk w = { local_port, fn, arg };

	return each_fd(if_connected, &w);
}

struct cut {
	const struct rpc_endpoint *peer;
	bool done;
};

static void cut_if(int fd, uint64_t inode, const struct rpc_endpoint *peer, void *arg)
{
	struct cut *c = arg;

	(void)inode;
	if (rpc_endpoint_equal(peer, c->peer))
		c->done = shutdown(fd, SHUT_RDWR) == 0 || c->done;
}

bool rpc_sockets_cut(uint16_t local_port, const struct rpc_endpoint *peer)
{
	struct cut c = { .peer = peer };

	return rpc_sockets_each(local_port, cut_if, &c) >= 0 && c.done;
}

struct find {
	const struct rpc_endpoint *peer;
	bool found;
};

static void find_if(int fd, uint64_t inode, const struct rpc_endpoint *peer, void *arg)
{
	struct find *f = arg;

	(void)fd;
	(void)inode;
	f->found = f->found || rpc_endpoint_equal(peer, f->peer);
}

bool rpc_sockets_accepted(uint16_t local_port, int client_fd)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);
	struct rpc_endpoint own;
	struct find f = { .peer = &own };

	return getsockname(client_fd, (struct sockaddr *)&a, &len) == 0 && endpoint_of(&a, &own) &&
	       rpc_sockets_each(local_port, find_if, &f) >= 0 && f.found;
}

struct backlog {
	uint16_t port;
	bool found;
	uint64_t waiting;
};

/* Of a listening socket tcpi_unacked is the length of its accept queue (tcp_get_info in Linux). */
static void add_waiting(int fd, void *arg)
{
	struct backlog *b = arg;
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a), int_len = sizeof(int), info_len = sizeof(struct tcp_info);
	struct rpc_endpoint own;
	struct tcp_info info = { 0 };
	int listening = 0;

	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0 || !endpoint_of(&a, &own) ||
	    own.port != b->port ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &int_len) < 0 || listening == 0 ||
	    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_len) < 0)
		return;
	b->found = true;
	b->waiting += info.tcpi_unacked;
}

bool rpc_sockets_waiting(uint16_t local_port)
{
	struct backlog b = { .port = local_port };

	return each_fd(add_waiting, &b) < 0 || !b.found || b.waiting > 0;
}

static void count_one(int fd, void *arg)
{
	int *n = arg;

	(void)fd;
	(*n)++;
}

int rpc_sockets_count_fds(void)
{
	int n = 0, r = each_fd(count_one, &n);

	return r < 0 ? r : n;
}
