/* SPDX-License-Identifier: Apache-2.0 */
/* What an examiner should find in an image of this guest's memory: one process with marks of every kind. It
 * prints what it is as one JSON object, makes FILE when all is there, and waits to be killed. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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

/* A child that stands still under our ptrace. */
static pid_t make_traced(void)
{
	pid_t child = fork();

	if (child == 0) {
		(void)prctl(PR_SET_NAME, "traced");
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
			(void)raise(SIGSTOP);
		_exit(1);
	}
	return child > 0 && waitpid(child, NULL, __WALL) == child ? child : -1;
}

/* A BPF program that an event of ours would run, once in a thousand seconds. */
static int make_program(void)
{
	struct bpf_insn code[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K },
				   { .code = BPF_JMP | BPF_EXIT } };
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_PERF_EVENT,
				.insn_cnt = 2,
				.insns = (__u64)(unsigned long)code,
				.license = (__u64)(unsigned long)"GPL",
				.prog_name = "planted_prog" };
	struct perf_event_attr event = { .type = PERF_TYPE_SOFTWARE,
					 .size = sizeof(event),
					 .config = PERF_COUNT_SW_CPU_CLOCK,
					 .sample_period = 1000000000000 };
	int program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
	int on = (int)syscall(SYS_perf_event_open, &event, 0, -1, -1, 0);

	return program < 0 || on < 0 ? -1 : ioctl(on, PERF_EVENT_IOC_SET_BPF, program);
}

int main(int argc, char **argv)
{
	char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int memory = memfd_create("planted-memfd", 0);

	if (argc < 2 || code == MAP_FAILED || memory < 0 || write(memory, "planted", 7) != 7 ||
	    make_sockets() < 0 || make_program() < 0) {
		printf("{\"error\": true}\n");
		return 1;
	}
	pid_t traced = make_traced();

	memset(code, 0x90, 4096);
	memcpy(code, "PLANTEDPLANTED", 14);
	printf("{\"pid\": %d, \"ppid\": %d, \"port\": %d, \"code\": %llu, \"memfd\": %d, \"traced\": %d}\n",
	       getpid(), getppid(), PORT, (unsigned long long)(unsigned long)code, memory, traced);
	fflush(stdout);
	FILE *ready = fopen(argv[1], "w");

	if (ready != NULL)
		fclose(ready);
	for (;;)
		pause();
}
