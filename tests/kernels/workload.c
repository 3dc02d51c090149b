// SPDX-License-Identifier: Apache-2.0
/* What a guest does while Exhibit watches: `workload run FOLDER` does each thing once and prints what
 * it did as one line of JSON; `workload wait` listens and sleeps, to be found as existing. Static:
 * the same in every guest. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/uring.h"

#define LONG_ARGUMENT 20000
#define DEEP 80

static void check(int r, const char *what)
{
	if (r >= 0)
		return;
	printf("{\"error\": \"%s: %s\"}\n", what, strerror(errno));
	exit(2);
}

static pid_t start(const char *const argv[])
{
	pid_t pid = fork();

	check(pid, "fork");
	if (pid == 0) {
		(void)execv("/proc/self/exe", (char *const *)argv);
		_exit(127);
	}
	check(waitpid(pid, NULL, 0), "waitpid");
	return pid;
}

static void processes(void)
{
	static char text[LONG_ARGUMENT + 1];

	memset(text, 'x', LONG_ARGUMENT);
	printf("\"exec\": %d, ",
	       start((const char *[]){ "workload", "exit", "two words", "", "a\nb", text, NULL }));
	printf("\"killed\": %d, ", start((const char *[]){ "workload", "killed", NULL }));
}

static void put(const char *path, int flags, size_t bytes)
{
	static char text[4096];
	int fd = open(path, flags, 0600);

	check(fd, path);
	check(write(fd, text, bytes) == (ssize_t)bytes ? 0 : -1, "write");
	check(close(fd), "close");
}

/* Twice written, renamed, deleted; and one file below many folders. */
static void files(void)
{
	put("first", O_CREAT | O_EXCL | O_WRONLY, 1000);
	put("first", O_WRONLY | O_APPEND, 500);
	check(rename("first", "second"), "rename");
	check(unlink("second"), "unlink");
	for (int i = 0; i < DEEP; i++) {
		check(mkdir("folder", 0700), "mkdir");
		check(chdir("folder"), "chdir");
	}
	put("deep", O_CREAT | O_EXCL | O_WRONLY, 1);
}

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t loopback(int family, union address *a)
{
	memset(a, 0, sizeof(*a));
	a->any.sa_family = (sa_family_t)family;
	if (family == AF_INET6)
		a->v6.sin6_addr = in6addr_loopback;
	else
		a->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return family == AF_INET6 ? sizeof(a->v6) : sizeof(a->v4);
}

/* A socket bound to a free port of the loopback address. */
static int bound(int family, int type, union address *ret)
{
	socklen_t len = loopback(family, ret);
	int fd = socket(family, type, 0);

	check(fd, "socket");
	check(bind(fd, &ret->any, len), "bind");
	check(getsockname(fd, &ret->any, &len), "getsockname");
	return fd;
}

static void say(int fd, size_t bytes)
{
	static char text[4096];

	check(send(fd, text, bytes, 0) == (ssize_t)bytes ? 0 : -1, "send");
}

static void hear(int fd, size_t bytes)
{
	static char text[4096];

	check(recv(fd, text, bytes, MSG_WAITALL) == (ssize_t)bytes ? 0 : -1, "recv");
}

static void tcp(const char *name, int family)
{
	union address to;
	int server = bound(family, SOCK_STREAM, &to);
	int client = socket(family, SOCK_STREAM, 0);

	check(client, "socket");
	check(listen(server, 1), "listen");
	check(connect(client, &to.any, family == AF_INET6 ? sizeof(to.v6) : sizeof(to.v4)),
	      "connect");
	int peer = accept(server, NULL, NULL);

	check(peer, "accept");
	say(client, 1234);
	hear(peer, 1234);
	say(peer, 567);
	hear(client, 567);
	check(close(client), "close");
	check(close(peer), "close");
	check(close(server), "close");
	printf("\"%s\": %d, ", name, ntohs(to.v4.sin_port)); /* the same place in both families */
}

static void udp(const char *name, int family)
{
	union address to;
	int server = bound(family, SOCK_DGRAM, &to);
	int client = socket(family, SOCK_DGRAM, 0);

	check(client, "socket");
	check(connect(client, &to.any, family == AF_INET6 ? sizeof(to.v6) : sizeof(to.v4)),
	      "connect");
	for (int i = 0; i < 3; i++) {
		say(client, 100);
		hear(server, 100);
	}
	check(close(client), "close");
	check(close(server), "close");
	printf("\"%s\": %d, ", name, ntohs(to.v4.sin_port));
}

/* A file created and a connection accepted through io_uring. */
static void ring(const char *path)
{
	union address to;
	int server = bound(AF_INET, SOCK_STREAM, &to);
	int client = socket(AF_INET, SOCK_STREAM, 0);
	struct uring u;

	check(uring_make(&u, 0) == 0 ? 0 : -1, "io_uring_setup");
	check(uring_do(&u, &(struct io_uring_sqe){ .opcode = IORING_OP_OPENAT,
						   .fd = AT_FDCWD,
						   .addr = (uintptr_t)path,
						   .len = 0600,
						   .open_flags = O_CREAT | O_EXCL | O_WRONLY }),
	      "openat of a ring");
	check(listen(server, 1), "listen");
	check(connect(client, &to.any, sizeof(to.v4)), "connect");
	check(uring_do(&u, &(struct io_uring_sqe){ .opcode = IORING_OP_ACCEPT, .fd = server }),
	      "accept of a ring");
	printf("\"ring\": %d, ", ntohs(to.v4.sin_port));
}

static int run(const char *folder)
{
	check(chdir(folder), folder);
	printf("{");
	processes();
	ring("/data/ring");
	files();
	tcp("tcp4", AF_INET);
	tcp("tcp6", AF_INET6);
	udp("udp4", AF_INET);
	udp("udp6", AF_INET6);
	printf("\"pid\": %d}\n", getpid());
	return 0;
}

static int wait_for_end(void)
{
	union address at;
	int fd = bound(AF_INET, SOCK_STREAM, &at);

	check(listen(fd, 1), "listen");
	printf("{\"pid\": %d, \"port\": %d}\n", getpid(), ntohs(at.v4.sin_port));
	(void)fflush(stdout);
	(void)pause();
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "exit") == 0)
		return 42;
	if (argc > 1 && strcmp(argv[1], "killed") == 0)
		return kill(getpid(), SIGKILL);
	if (argc > 1 && strcmp(argv[1], "wait") == 0)
		return wait_for_end();
	return argc > 2 ? run(argv[2]) : 2;
}
