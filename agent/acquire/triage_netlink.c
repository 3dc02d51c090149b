/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/triage_netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "proto/base/reader.h"

#define DATAGRAM_BYTES KiB(64)
#define WAIT_S 5

enum form { FORM_IP, FORM_U32, FORM_TEXT, FORM_LINK_LAYER };

struct attribute {
	uint16_t number;
	enum form form;
	const char *name;
};

#define ATTRIBUTES_MAX 10
/* One row for each kind of object: its message and those attributes that an examiner reads. */
static const struct object {
	uint16_t message, ask;
	uint8_t head_bytes;
	const char *name;
	struct attribute attributes[ATTRIBUTES_MAX];
} objects[] = {
	{ RTM_NEWLINK,
	  RTM_GETLINK,
	  sizeof(struct ifinfomsg),
	  "interface",
	  { { IFLA_IFNAME, FORM_TEXT, "name" },
	    { IFLA_ADDRESS, FORM_LINK_LAYER, "link_layer" },
	    { IFLA_MTU, FORM_U32, "mtu" },
	    { IFLA_LINK, FORM_U32, "link" },
	    { IFLA_MASTER, FORM_U32, "master" },
	    { IFLA_PROMISCUITY, FORM_U32, "promiscuous" } } },
	{ RTM_NEWADDR,
	  RTM_GETADDR,
	  sizeof(struct ifaddrmsg),
	  "address",
	  { { IFA_ADDRESS, FORM_IP, "address" },
	    { IFA_LOCAL, FORM_IP, "local" },
	    { IFA_BROADCAST, FORM_IP, "broadcast" },
	    { IFA_LABEL, FORM_TEXT, "label" } } },
	{ RTM_NEWNEIGH,
	  RTM_GETNEIGH,
	  sizeof(struct ndmsg),
	  "neighbour",
	  { { NDA_DST, FORM_IP, "address" }, { NDA_LLADDR, FORM_LINK_LAYER, "link_layer" } } },
	{ RTM_NEWROUTE,
	  RTM_GETROUTE,
	  sizeof(struct rtmsg),
	  "route",
	  { { RTA_DST, FORM_IP, "destination" },
	    { RTA_GATEWAY, FORM_IP, "gateway" },
	    { RTA_PREFSRC, FORM_IP, "source" },
	    { RTA_OIF, FORM_U32, "interface_index" },
	    { RTA_PRIORITY, FORM_U32, "priority" },
	    { RTA_TABLE, FORM_U32, "table" } } },
	{ RTM_NEWRULE,
	  RTM_GETRULE,
	  sizeof(struct fib_rule_hdr),
	  "rule",
	  { { FRA_DST, FORM_IP, "destination" },
	    { FRA_SRC, FORM_IP, "source" },
	    { FRA_IFNAME, FORM_TEXT, "in_interface" },
	    { FRA_OIFNAME, FORM_TEXT, "out_interface" },
	    { FRA_PRIORITY, FORM_U32, "priority" },
	    { FRA_FWMARK, FORM_U32, "mark" },
	    { FRA_TABLE, FORM_U32, "table" } } },
};

/* ---- a message ---------------------------------------------------------------------------------------- */

static void put_head(struct json *j, const struct object *o, struct reader head)
{
	union {
		struct ifinfomsg link;
		struct ifaddrmsg address;
		struct ndmsg neighbour;
		struct rtmsg route; /* fib_rule_hdr is laid out the same */
	} u;

	memset(&u, 0, sizeof(u));
	reader_copy(&head, &u, o->head_bytes);
	switch (o->message) {
	case RTM_NEWLINK:
		json_u64(j, "index", (uint32_t)u.link.ifi_index);
		json_u64(j, "type", u.link.ifi_type);
		json_u64(j, "flags", u.link.ifi_flags);
		json_bool(j, "up", (u.link.ifi_flags & IFF_UP) != 0);
		break;
	case RTM_NEWADDR:
		json_u64(j, "interface_index", u.address.ifa_index);
		json_u64(j, "prefix_length", u.address.ifa_prefixlen);
		break;
	case RTM_NEWNEIGH:
		json_u64(j, "interface_index", (uint32_t)u.neighbour.ndm_ifindex);
		json_u64(j, "state", u.neighbour.ndm_state);
		break;
	default:
		json_u64(j, "family", u.route.rtm_family);
		json_u64(j, "destination_length", u.route.rtm_dst_len);
		json_u64(j, "source_length", u.route.rtm_src_len);
		json_u64(j, "type", u.route.rtm_type);
	}
}

static void put_attribute(struct json *j, const struct attribute *a, struct reader value)
{
	char text[128] = "";
	size_t len = value.left;
	const uint8_t *at = reader_bytes(&value, len);
	struct reader number = reader_init(at, len);

	switch (a->form) {
	case FORM_IP:
		if (len == 4 || len == 16)
			(void)inet_ntop(len == 4 ? AF_INET : AF_INET6, at, text, sizeof(text));
		if (text[0] != '\0')
			json_text(j, a->name, text);
		break;
	case FORM_U32: /* this machine's order; we build for little-endian ones */
		if (len == 4)
			json_u64(j, a->name, reader_u32(&number));
		break;
	case FORM_TEXT:
		json_bytes(j, a->name, at, strnlen((const char *)at, len));
		break;
	case FORM_LINK_LAYER:
		for (size_t i = 0; i < len && i < 32; i++)
			(void)snprintf(text + 3 * i, 4, i + 1 < len && i < 31 ? "%02x:" : "%02x",
				       at[i]);
		json_text(j, a->name, text);
	}
}

static const struct attribute *find_attribute(const struct object *o, uint16_t number)
{
	for (size_t i = 0; i < ATTRIBUTES_MAX && o->attributes[i].name != NULL; i++)
		if (o->attributes[i].number == (number & NLA_TYPE_MASK))
			return &o->attributes[i];
	return NULL;
}

static size_t aligned(size_t len, size_t left)
{
	size_t up = (len + 3) & ~(size_t)3;

	return up < left ? up : left;
}

static void put_object(struct triage_lines *l, const struct object *o, struct reader body)
{
	struct reader head = reader_sub(&body, aligned(o->head_bytes, body.left));

	if (head.left < o->head_bytes || !triage_row(l))
		return;
	json_text(&l->json, "kind", o->name);
	put_head(&l->json, o, head);
	uint64_t seen = 0; /* a key stands once in a row */

	while (!body.bad && body.left >= 4) {
		uint16_t len = reader_u16(&body), number = reader_u16(&body);

		if (len < 4 || (size_t)(len - 4) > body.left)
			break;
		struct reader padded = reader_sub(&body, aligned(len - 4U, body.left));
		const struct attribute *a = find_attribute(o, number);

		if (a != NULL && !(seen >> (a - o->attributes) & 1))
			put_attribute(&l->json, a, reader_sub(&padded, len - 4U));
		seen |= a != NULL ? 1ULL << (a - o->attributes) : 0;
	}
	triage_row_end(l);
}

static const struct object *find_object(uint16_t message)
{
	for (size_t i = 0; i < ARRAY_LEN(objects); i++)
		if (objects[i].message == message)
			return &objects[i];
	return NULL;
}

bool triage_netlink_rows(const void *datagram, size_t len, struct triage_lines *l)
{
	struct reader all = reader_init(datagram, len);

	while (all.left >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr head;

		reader_copy(&all, &head, sizeof(head));
		if (head.nlmsg_len < sizeof(head) || head.nlmsg_len - sizeof(head) > all.left ||
		    head.nlmsg_type == NLMSG_DONE || head.nlmsg_type == NLMSG_ERROR)
			return false;
		size_t bytes = head.nlmsg_len - sizeof(head);
		struct reader padded = reader_sub(&all, aligned(bytes, all.left));
		const struct object *o = find_object(head.nlmsg_type);

		if (o != NULL)
			put_object(l, o, reader_sub(&padded, bytes));
	}
	return all.left == 0;
}

/* ---- the dumps ---------------------------------------------------------------------------------------- */

static int dump(int fd, const struct object *o, struct triage_lines *l, uint8_t *buf)
{
	struct {
		struct nlmsghdr head;
		struct rtmsg body; /* as long as any of theirs; all zero: everything */
	} ask = { .head = { .nlmsg_len = sizeof(ask),
			    .nlmsg_type = o->ask,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };

	if (send(fd, &ask, sizeof(ask), 0) < 0)
		return -errno;
	for (;;) {
		ssize_t n = recv(fd, buf, DATAGRAM_BYTES, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 || !triage_netlink_rows(buf, (size_t)n, l))
			return 0;
	}
}

static void dump_all(struct triage *t, int fd, struct triage_lines *l, uint8_t *buf)
{
	struct timeval wait = { .tv_sec = WAIT_S };

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
		int r = dump(fd, &objects[i], l, buf);

		if (r < 0)
			triage_tell(t, true, "netlink, %s: %s", objects[i].name, strerror(-r));
	}
}

/* A socket belongs to the namespace that it was made in; we are back in our own afterwards. */
static int open_in(int dir, struct error *e)
{
	AUTO(close_fd) int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	AUTO(close_fd) int theirs = openat(dir, "ns/net", O_RDONLY | O_CLOEXEC);

	if (own < 0 || theirs < 0 || setns(theirs, CLONE_NEWNET) < 0)
		return error_set(e, -errno, "the namespace cannot be entered: %m");
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int failed = errno;

	if (setns(own, CLONE_NEWNET) < 0) {
		if (fd >= 0)
			(void)close(fd);
		return error_set(e, -EIO, "cannot return from a network namespace: %m");
	}
	return fd >= 0 ? fd : error_set(e, -failed, "the namespace has no netlink: %m");
}

int triage_netlink(struct triage *t, int dir, uint32_t space, struct error *e)
{
	AUTO(free_ptr) uint8_t *buf = malloc(DATAGRAM_BYTES);
	AUTO(close_fd) int fd = open_in(dir, e);
	struct triage_lines l;
	char name[128];

	if (fd == -EIO || buf == NULL)
		return buf == NULL ? error_set(e, -ENOMEM, "cannot ask netlink: out of memory") :
				     fd;
	if (fd < 0) {
		triage_tell(t, true, "netlink, namespace %u: %s", space, e->text);
		return 0;
	}
	int r = triage_lines_open(&l, e);

	if (r < 0)
		return r;
	dump_all(t, fd, &l, buf);
	(void)snprintf(name, sizeof(name), "live_response/network/netns-%u/netlink.jsonl", space);
	r = triage_put_lines(t, &l, name, e);
	triage_lines_release(&l);
	return r;
}
