/* SPDX-License-Identifier: Apache-2.0 */
/* datagrams ADDRESS PORT BYTES PER_SECOND SECONDS: sends numbered datagrams at a steady rate; prints how many were
 * sent, and the CPU nanoseconds of it. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define BURST 64
#define BYTES_MAX 65000
#define SEC 1000000000ULL

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * SEC + (uint64_t)t.tv_nsec;
}

static uint64_t send_burst(int fd, size_t bytes, uint64_t n)
{
	static uint8_t data[BURST][BYTES_MAX];
	struct iovec parts[BURST];
	struct mmsghdr messages[BURST];

	memset(messages, 0, sizeof(messages));
	for (size_t i = 0; i < BURST; i++) {
		uint64_t number = n + i;

		memcpy(data[i], &number, sizeof(number));
		parts[i] = (struct iovec){ .iov_base = data[i], .iov_len = bytes };
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	int sent = sendmmsg(fd, messages, BURST, 0);

	return sent < 0 ? 0 : (uint64_t)sent;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc != 6 || fd < 0 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
		return 2;
	to.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
	size_t bytes = strtoul(argv[3], NULL, 10);
	uint64_t rate = strtoull(argv[4], NULL, 10), n = 0;
	uint64_t length = strtoull(argv[5], NULL, 10) * SEC;

	if (bytes < sizeof(n) || bytes > BYTES_MAX || rate == 0 ||
	    connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
		return 2;
	uint64_t cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID), start = now_ns(CLOCK_MONOTONIC), now;

	while ((now = now_ns(CLOCK_MONOTONIC)) - start < length) {
		uint64_t due = (now - start) * rate / SEC;

		if (n >= due)
			(void)nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
		else
			n += send_burst(fd, bytes, n);
	}
	(void)printf("%" PRIu64 " %" PRIu64 "\n", n, now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu);
	return 0;
}
