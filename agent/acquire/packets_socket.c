/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "agent/acquire/packets_block.h"
#include "agent/acquire/packets_target.h"

#define BLOCK_BYTES KiB(256)
#define BLOCKS 128 /* 32 MiB */
#define FRAME_BYTES KiB(2) /* only to be divisible: frames have the length of their packet here */
#define RETIRE_MS 20 /* after which a block that is not full is handed over */
#define FINISH_ROUNDS 50 /* of RETIRE_MS: a block that is due may be late on a busy host */

struct packets_socket {
	struct packets_socket_config c;
	int fd;
	uint8_t *ring; /* MAP_FAILED: none */
	uint32_t block; /* the next */
	struct packets_counters counters;
	uint64_t untold; /* lost, not yet told with a packet: */
	uint32_t untold_blocks; /* what lies in so many was there before */
	uint64_t handed, number;
	uint64_t newest_ns, disorder, disorder_ns;
	uint8_t room[PACKETS_COOKED_LEN + PACKETS_BYTES_MAX];
};

/* ---- open ------------------------------------------------------------------------------------------------ */

/* Without a protocol: nothing comes in before the filter and the ring are there. */
static int make(void *ctx)
{
	struct packets_socket *s = ctx;

	s->fd = socket(AF_PACKET, (s->c.cooked ? SOCK_DGRAM : SOCK_RAW) | SOCK_CLOEXEC, 0);
	return s->fd < 0 ? -errno : 0;
}

static int set_filter(int fd, const struct sock_filter *filter, size_t n)
{
	/* The kernel only reads it. */
	const struct sock_fprog program = { .len = (unsigned short)n,
					    .filter = (struct sock_filter *)(uintptr_t)filter };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ?
		       -errno :
		       0;
}

static int map_ring(struct packets_socket *s, struct error *e)
{
	const int version = TPACKET_V3;
	const struct tpacket_req3 ring = { .tp_block_size = BLOCK_BYTES,
					   .tp_block_nr = BLOCKS,
					   .tp_frame_size = FRAME_BYTES,
					   .tp_frame_nr = BLOCKS * (BLOCK_BYTES / FRAME_BYTES),
					   .tp_retire_blk_tov = RETIRE_MS };

	if (setsockopt(s->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) < 0 ||
	    setsockopt(s->fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof(ring)) < 0)
		return error_set(e, -errno, "cannot make the packet socket's ring: %m");
	s->ring = mmap(NULL, (size_t)BLOCKS * BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		       s->fd, 0);
	return s->ring == MAP_FAILED ?
		       error_set(e, -errno, "cannot map the packet socket's ring: %m") :
		       0;
}

int packets_socket_open(const struct packets_socket_config *c, struct packets_socket **ret,
			struct error *e)
{
	struct packets_socket *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return error_set(e, -ENOMEM, "cannot capture packets: out of memory");
	s->c = *c;
	s->fd = -1;
	s->ring = MAP_FAILED;
	int r = packets_within(c->net_fd, make, s);

	if (r < 0)
		(void)error_set(e, r, "cannot open a packet socket there: %m");
	if (r == 0)
		r = set_filter(s->fd, c->filter, c->n_filter);
	if (r < 0 && s->fd >= 0)
		(void)error_set(e, r, "the kernel does not take the filter: %m");
	if (r == 0)
		r = map_ring(s, e);
	if (r < 0)
		packets_socket_close(s);
	else
		*ret = s;
	return r;
}

int packets_socket_start(struct packets_socket *s, struct error *e)
{
	const struct sockaddr_ll all = { .sll_family = AF_PACKET,
					 .sll_protocol = htons(ETH_P_ALL),
					 .sll_ifindex = (int)s->c.ifindex };

	return bind(s->fd, (const struct sockaddr *)&all, sizeof(all)) < 0 ?
		       error_set(e, -errno, "cannot begin to capture with a packet socket: %m") :
		       0;
}

void packets_socket_clock(struct packets_socket *s, int64_t wall_less_boot_ns)
{
	s->c.wall_less_boot_ns = wall_less_boot_ns;
}

void packets_socket_close(struct packets_socket *s)
{
	if (s == NULL)
		return;
	if (s->ring != MAP_FAILED)
		(void)munmap(s->ring, (size_t)BLOCKS * BLOCK_BYTES);
	close_fd(&s->fd);
	free(s);
}

/* ---- read ------------------------------------------------------------------------------------------------ */

static uint32_t *status_of(struct packets_socket *s, uint32_t block)
{
	uint8_t *at = s->ring + (size_t)block * BLOCK_BYTES;

	return &((struct tpacket_block_desc *)(void *)at)->hdr.bh1.block_status;
}

static bool is_ready(struct packets_socket *s, uint32_t block)
{
	return (__atomic_load_n(status_of(s, block), __ATOMIC_ACQUIRE) & TP_STATUS_USER) != 0;
}

static uint32_t count_ready(struct packets_socket *s)
{
	uint32_t n = 0;

	while (n < BLOCKS && is_ready(s, (s->block + n) % BLOCKS))
		n++;
	return n;
}

/* The kernel's counters begin anew with each reading. When the ring is full it is the newest that are lost. */
static void count(struct packets_socket *s)
{
	struct tpacket_stats_v3 n = { 0 };
	socklen_t len = sizeof(n);

	if (getsockopt(s->fd, SOL_PACKET, PACKET_STATISTICS, &n, &len) < 0)
		return;
	s->counters.seen += n.tp_packets;
	s->counters.lost += n.tp_drops;
	s->untold += n.tp_drops;
	if (n.tp_drops > 0)
		s->untold_blocks = count_ready(s);
}

static int hand_over(struct packets_socket *s, struct packets_block_packet *p, packets_take take,
		     void *ctx, struct error *e)
{
	struct packets_head *h = &p->head;

	if (p->after_loss || s->untold_blocks == 0) {
		h->lost_before = s->untold;
		s->untold = 0;
	}
	s->handed++;
	h->number = s->number += h->lost_before + 1;
	if (h->boottime_ns >= s->newest_ns) {
		s->newest_ns = h->boottime_ns;
	} else {
		s->disorder++;
		if (s->newest_ns - h->boottime_ns > s->disorder_ns)
			s->disorder_ns = s->newest_ns - h->boottime_ns;
	}
	return take(ctx, h, p->data, e);
}

static int read_block(struct packets_socket *s, packets_take take, void *ctx, struct error *e)
{
	struct packets_block b = { .facts = { .cooked = s->c.cooked,
					      .net_ns = s->c.net_ns,
					      .wall_less_boot_ns = s->c.wall_less_boot_ns },
				   .at = s->ring + (size_t)s->block * BLOCK_BYTES,
				   .len = BLOCK_BYTES,
				   .room = s->room };
	struct packets_block_packet p;
	int r = packets_block_open(&b, e);

	while (r == 0 && (r = packets_block_next(&b, &p, e)) == 1)
		r = hand_over(s, &p, take, ctx, e);
	return r;
}

int packets_socket_drain(struct packets_socket *s, packets_take take, void *ctx, bool *ret_more,
			 struct error *e)
{
	uint32_t n = 0;
	int r = 0;

	for (; r == 0 && n < BLOCKS && is_ready(s, s->block); n++) {
		count(s);
		r = read_block(s, take, ctx, e);
		s->untold_blocks -= s->untold_blocks > 0;
		__atomic_store_n(status_of(s, s->block), TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		s->block = (s->block + 1) % BLOCKS;
	}
	*ret_more = n > BLOCKS / 8;
	return r;
}

static bool is_complete(struct packets_socket *s)
{
	count(s);
	return s->handed + s->counters.lost >= s->counters.seen;
}

/* A filter that refuses everything ends the counting, and the kernel's timer hands over the block that is not full. */
int packets_socket_finish(struct packets_socket *s, packets_take take, void *ctx, struct error *e)
{
	const struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
	const struct timespec pause = { .tv_nsec = RETIRE_MS * (long)NSEC_PER_MSEC };
	bool more;
	int r = set_filter(s->fd, &none, 1);

	if (r < 0)
		return error_set(e, r, "cannot end the capture: %m");
	for (int i = 0; r == 0 && i < FINISH_ROUNDS; i++) {
		(void)nanosleep(&pause, NULL); /* also for what is under way in the kernel */
		r = packets_socket_drain(s, take, ctx, &more, e);
		if (is_complete(s))
			return r;
	}
	return r;
}

/* ---- what is known ------------------------------------------------------------------------------------------- */

void packets_socket_counters(struct packets_socket *s, struct packets_counters *ret)
{
	count(s);
	*ret = s->counters;
}

uint64_t packets_socket_disorder(const struct packets_socket *s, uint64_t *ret_most_ns)
{
	*ret_most_ns = s->disorder_ns;
	return s->disorder;
}
