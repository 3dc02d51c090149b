/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if_arp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "agent/acquire/pcapng.h"
#include "agent/procfs.h"
#include "agent/workload.h"
#include "proto/base/files.h"

#define PATH_LEN 512
#define WALK_MAX 65536
#define HOST 1 /* whose network namespace is the host's */

/* ---- /proc --------------------------------------------------------------------------------------------- */

/* The host's is that of its first process, or ours where that may not be looked at (host_root.h). */
static int open_net_ns(const struct acquire_request *r, uint32_t pid)
{
	char path[PATH_LEN];

	(void)snprintf(path, sizeof(path), "%s/%u/ns/net", r->proc, pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 && pid == HOST ? open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC) : fd;
}

static uint32_t net_ns_of(const struct acquire_request *r, uint32_t pid)
{
	char path[PATH_LEN];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%u/ns/net", r->proc, pid);
	if (stat(path, &st) < 0 && (pid != HOST || stat("/proc/self/ns/net", &st) < 0))
		return 0;
	return (uint32_t)st.st_ino;
}

static bool is_in_container(const struct acquire_request *r, uint32_t pid, struct bytes container)
{
	char path[PATH_LEN];
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/%u/cgroup", r->proc, pid);
	if (files_read(path, KiB(64), &text, &len, NULL) < 0)
		return false;
	struct bytes id =
		workload_parse(workload_of_proc_cgroup((struct bytes){ .at = text, .len = len }))
			.container_id;

	return id.len == container.len && memcmp(id.at, container.at, id.len) == 0;
}

/* The first process that is so; 0: none. */
static uint32_t find_process(const struct acquire_request *r,
			     bool (*is)(const struct acquire_request *r, uint32_t pid,
					const void *what),
			     const void *what)
{
	DIR *dir = opendir(r->proc);
	struct dirent *entry;
	uint32_t found = 0;

	while (dir != NULL && found == 0 && (entry = readdir(dir)) != NULL) {
		uint32_t pid = (uint32_t)strtoul(entry->d_name, NULL, 10);

		if (pid != 0 && is(r, pid, what))
			found = pid;
	}
	if (dir != NULL)
		(void)closedir(dir);
	return found;
}

static bool has_net_ns(const struct acquire_request *r, uint32_t pid, const void *what)
{
	return net_ns_of(r, pid) == *(const uint32_t *)what;
}

static bool has_container(const struct acquire_request *r, uint32_t pid, const void *what)
{
	return is_in_container(r, pid, *(const struct bytes *)what);
}

/* ---- devices --------------------------------------------------------------------------------------------- */

int packets_within(int fd, int (*fn)(void *ctx), void *ctx)
{
	AUTO(close_fd) int back = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (back < 0 || setns(fd, CLONE_NEWNET) < 0)
		return -errno;
	int r = fn(ctx);

	return setns(back, CLONE_NEWNET) < 0 ? -errno : r;
}

struct device {
	uint32_t ifindex;
	char name[IF_NAMESIZE];
	uint32_t link_type;
};

static int ask_name(void *ctx)
{
	struct device *d = ctx;

	return if_indextoname(d->ifindex, d->name) == NULL ? -errno : 0;
}

/* What has an Ethernet header: libpcap's list for AF_PACKET is longer, these are what hosts have. */
static int ask_device(void *ctx)
{
	struct device *d = ctx;
	struct ifreq ask = { 0 };
	AUTO(close_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(ask.ifr_name, d->name, sizeof(ask.ifr_name));
	d->ifindex = if_nametoindex(d->name);
	if (d->ifindex == 0 || fd < 0 || ioctl(fd, SIOCGIFHWADDR, &ask) < 0)
		return -errno;
	d->link_type = ask.ifr_hwaddr.sa_family == ARPHRD_ETHER ||
				       ask.ifr_hwaddr.sa_family == ARPHRD_LOOPBACK ?
			       PCAPNG_ETHERNET :
			       PCAPNG_COOKED;
	return 0;
}

const char *packets_device_name(const struct acquire_request *r, uint32_t net_ns, uint32_t ifindex,
				uint32_t pid, char buf[static IF_NAMESIZE])
{
	struct device d = { .ifindex = ifindex };

	(void)snprintf(buf, IF_NAMESIZE, "if%u", ifindex);
	if (pid == 0 || net_ns_of(r, pid) != net_ns)
		pid = has_net_ns(r, HOST, &net_ns) ? HOST : find_process(r, has_net_ns, &net_ns);
	AUTO(close_fd) int fd = pid == 0 ? -1 : open_net_ns(r, pid);

	if (fd >= 0 && packets_within(fd, ask_name, &d) == 0)
		memcpy(buf, d.name, IF_NAMESIZE);
	return buf;
}

static int find_interface(struct packets_target *t, const ProtobufCBinaryData *name, uint32_t pid,
			  struct error *e)
{
	struct device d = { 0 };

	if (name->len >= sizeof(d.name) || memchr(name->data, '\0', name->len) != NULL)
		return error_set(e, -EINVAL, "'%.*s' cannot be the name of a device",
				 (int)name->len, (const char *)name->data);
	memcpy(d.name, name->data, name->len);
	t->net_fd = open_net_ns(t->r, pid);
	if (t->net_fd < 0)
		return error_set(e, -errno, "cannot open the network namespace of process %u: %m",
				 pid);
	int r = packets_within(t->net_fd, ask_device, &d);

	if (r < 0)
		return error_set(e, r, "cannot find the device '%s': %m", d.name);
	memcpy(t->interface, d.name, sizeof(t->interface));
	t->ifindex = d.ifindex;
	t->link_type = d.link_type;
	t->net_ns = net_ns_of(t->r, pid);
	return 0;
}

/* ---- the target -------------------------------------------------------------------------------------------- */

static int find_pid(struct packets_target *t, const Exhibit__V1__ProcessTarget *p, struct error *e)
{
	char path[PATH_LEN];
	AUTO(free_ptr) uint8_t *text = NULL;
	struct procfs_stat stat;
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/%u/stat", t->r->proc, p->pid);
	if (files_read(path, KiB(4), &text, &len, NULL) < 0 ||
	    !procfs_parse_stat((struct bytes){ .at = text, .len = len }, &stat))
		return error_set(e, -ESRCH, "there is no process %u", p->pid);
	t->pid = p->pid;
	t->start_ns = p->start_ns != 0 ? p->start_ns : stat.start_ticks * PROCFS_TICK_NS;
	t->start_span_ns = p->start_ns != 0 ? 1 : PROCFS_TICK_NS;
	if (p->start_ns != 0 && p->start_ns / PROCFS_TICK_NS != stat.start_ticks)
		return error_set(e, -ESRCH, "process %u has ended: another one has its number now",
				 p->pid);
	return 0;
}

struct collect {
	struct packets_target *t;
	bool v1, changed;
};

static void collect_cgroup(void *ctx, uint64_t id, struct bytes path)
{
	struct collect *c = ctx;
	struct packets_target *t = c->t;
	struct bytes found = workload_parse(path).container_id;
	uint64_t key = packets_cgroup_key(id, c->v1);

	if (found.len != t->container.len || memcmp(found.at, t->container.at, found.len) != 0)
		return;
	for (size_t i = 0; i < t->n_cgroups; i++)
		if (t->cgroups[i] == key)
			return;
	if (t->n_cgroups == PACKETS_CGROUPS_MAX)
		return;
	t->cgroups[t->n_cgroups++] = key;
	c->changed = true;
}

bool packets_target_refresh(struct packets_target *t)
{
	struct collect c = { .t = t };

	for (int kind = 0; t->container.len > 0 && kind < CGROUP_KINDS; kind++) {
		c.v1 = kind == CGROUP_V1;
		if (t->trees[kind].fd >= 0)
			(void)cgroup_tree_walk(&t->trees[kind], WALK_MAX, collect_cgroup, &c);
	}
	return c.changed;
}

static int find_container(struct packets_target *t, uint32_t *ret_pid, struct error *e)
{
	(void)cgroup_trees_open(t->r->cgroup, t->trees);
	(void)packets_target_refresh(t);
	*ret_pid = find_process(t->r, has_container, &t->container);
	if (t->n_cgroups == 0)
		return error_set(e, -ESRCH, "there is no container %.*s on this host",
				 (int)t->container.len, (const char *)t->container.at);
	uint32_t net_ns = *ret_pid == 0 ? 0 : net_ns_of(t->r, *ret_pid);

	/* Packets without a user are a container's when it has a network of its own. */
	t->net_ns = net_ns == net_ns_of(t->r, HOST) ? 0 : net_ns;
	return 0;
}

static int find_net_ns(struct packets_target *t, uint32_t net_ns, uint32_t *ret_pid,
		       struct error *e)
{
	*ret_pid = find_process(t->r, has_net_ns, &net_ns);
	if (*ret_pid == 0)
		return error_set(e, -ESRCH, "no process is in a network namespace %u", net_ns);
	t->net_ns = net_ns;
	t->only_net_ns = true;
	return 0;
}

static int find_all(struct packets_target *t, struct error *e)
{
	const Exhibit__V1__Order *order = t->r->order;
	const Exhibit__V1__PacketsOrder *p = order->packets;
	uint32_t pid = HOST; /* whose network namespace has the device */
	int r = 0;

	if (order->process != NULL) {
		r = find_pid(t, order->process, e);
		pid = order->process->pid;
	} else if (order->container_id.len > 0) {
		t->container = (struct bytes){ .at = order->container_id.data,
					       .len = order->container_id.len };
		r = find_container(t, &pid, e);
	}
	if (r == 0 && p->net_ns != 0)
		r = find_net_ns(t, p->net_ns, &pid, e);
	t->inside = pid;
	if (r == 0 && p->interface.len > 0)
		r = find_interface(t, &p->interface, pid, e);
	return r;
}

int packets_target_open(const struct acquire_request *r, struct packets_target *ret,
			struct error *e)
{
	*ret = (struct packets_target){ .r = r, .net_fd = -1, .link_type = PCAPNG_COOKED };
	for (int kind = 0; kind < CGROUP_KINDS; kind++)
		ret->trees[kind].fd = -1;
	int result = find_all(ret, e);

	if (result < 0)
		packets_target_close(ret);
	return result;
}

/* A process's packets are among all those of its namespace, and so are a container's that shares the host's, or
 * of which another namespace than its own may be asked for. */
int packets_target_place(struct packets_target *t, struct error *e)
{
	bool shared = t->container.len > 0 &&
		      (t->net_ns == 0 || t->only_net_ns || packets_target_is_host(t));

	if (t->pid != 0 || shared)
		return error_set(
			e, -ENOTSUP,
			"a packet socket cannot tell the packets of %s from others in its network namespace",
			t->pid != 0 ? "a process" : "a container that has no network of its own");
	if (t->net_fd < 0)
		t->net_fd = open_net_ns(t->r, t->inside == 0 ? HOST : t->inside);
	if (t->net_fd < 0)
		return error_set(e, -errno, "cannot open the network namespace: %m");
	if (t->net_ns == 0)
		t->net_ns = net_ns_of(t->r, HOST);
	return 0;
}

bool packets_target_is_host(const struct packets_target *t)
{
	return net_ns_of(t->r, HOST) == t->net_ns;
}

bool packets_target_is_there(const struct packets_target *t)
{
	return packets_target_is_host(t) || net_ns_of(t->r, t->inside) == t->net_ns ||
	       find_process(t->r, has_net_ns, &t->net_ns) != 0;
}

void packets_target_close(struct packets_target *t)
{
	cgroup_trees_close(t->trees);
	close_fd(&t->net_fd);
	t->net_fd = -1;
}

static bool has_cgroup(const struct packets_target *t, const struct packets_user *u)
{
	for (size_t i = 0; i < t->n_cgroups; i++)
		if (t->cgroups[i] == packets_cgroup_key(u->cgroup_id, false) ||
		    (u->cgroup_v1_id != 0 &&
		     t->cgroups[i] == packets_cgroup_key(u->cgroup_v1_id, true)))
			return true;
	return false;
}

static bool is_process(const struct packets_target *t, const struct packets_user *u)
{
	return u->pid == t->pid && u->start_ns - t->start_ns < t->start_span_ns;
}

bool packets_target_wants(const struct packets_target *t, const struct packets_head *h)
{
	bool used = h->users.last.how != PACKETS_UNKNOWN;

	if ((t->only_net_ns || t->ifindex != 0) && h->net_ns != t->net_ns)
		return false;
	if (t->ifindex != 0 && h->ifindex != t->ifindex)
		return false;
	if (t->pid != 0)
		return used && (is_process(t, &h->users.creator) || is_process(t, &h->users.last));
	if (t->container.len == 0)
		return true;
	if (!used)
		return t->net_ns != 0 && h->net_ns == t->net_ns;
	return has_cgroup(t, &h->users.creator) || has_cgroup(t, &h->users.last);
}
