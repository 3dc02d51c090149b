/* SPDX-License-Identifier: Apache-2.0 */
/* What an examiner should find in an image of this guest's memory: one process with marks of every kind. It
 * prints what it is as one JSON object, makes FILE when all is there, and waits to be killed. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT 7777

static int make_sockets(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(PORT),
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int on = socket(AF_INET, SOCK_STREAM, 0), to = socket(AF_INET, SOCK_STREAM, 0);
	int udp = socket(AF_INET6, SOCK_DGRAM, 0);

	if (on < 0 || to < 0 || udp < 0 || bind(on, (void *)&at, sizeof(at)) < 0 ||
	    listen(on, 1) < 0 || connect(to, (void *)&at, sizeof(at)) < 0 ||
	    accept(on, NULL, NULL) < 0)
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int memory = memfd_create("planted-memfd", 0);

	if (argc < 2 || code == MAP_FAILED || memory < 0 || write(memory, "planted", 7) != 7 ||
	    make_sockets() < 0) {
		printf("{\"error\": true}\n");
		return 1;
	}
	memset(code, 0x90, 4096);
	memcpy(code, "PLANTEDPLANTED", 14);
	printf("{\"pid\": %d, \"ppid\": %d, \"port\": %d, \"code\": %llu, \"memfd\": %d}\n",
	       getpid(), getppid(), PORT, (unsigned long long)(unsigned long)code, memory);
	fflush(stdout);
	FILE *ready = fopen(argv[1], "w");

	if (ready != NULL)
		fclose(ready);
	for (;;)
		pause();
}
