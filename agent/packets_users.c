/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/packets_users.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/utsname.h>

#include "agent/hooks_check.h"

#define KERNEL_MIN KERNEL_NUMBER(5, 12, 0) /* atomics that return the old value, sockets of files */

int packets_users_check(struct error *e)
{
	struct utsname kernel;

	if (uname(&kernel) < 0 || hooks_kernel_number(kernel.release) >= KERNEL_MIN)
		return 0;
	(void)error_set(e, -ENOTSUP, "packets can be seen from Linux 5.12 on: this is %s",
			kernel.release);
	error_hint(
		e,
		"without --before, of a host, interface or network namespace, they can be captured "
		"there, but not whose they are");
	return -ENOTSUP;
}

int packets_users_root(int *ret_fd, struct error *e)
{
	char path[PATH_MAX];
	int r = hooks_cgroup_root("/proc/self/mounts", path, sizeof(path));

	if (r < 0) {
		(void)error_set(e, r, "cannot capture packets: cgroup v2 is not mounted");
		error_hint(e, "mount it: mount -t cgroup2 none /sys/fs/cgroup/unified");
		return r;
	}
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_fd < 0 ? error_set(e, -errno, "cannot open '%s': %m", path) : 0;
}

/* After the others: what is made meanwhile has its users already. */
static int find_existing(struct bpf_program *stock, struct error *e)
{
	struct bpf_link *link = bpf_program__attach_iter(stock, NULL);
	AUTO(close_fd) int fd = link == NULL ? -1 : bpf_iter_create(bpf_link__fd(link));
	char buf[256];
	ssize_t n = 0;
	int r = 0;

	if (fd < 0)
		r = error_set(e, -errno, "cannot look for sockets: %m");
	while (r == 0 && ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EAGAIN)))
		;
	if (r == 0 && n < 0)
		r = error_set(e, -errno, "cannot look for sockets: %m");
	(void)bpf_link__destroy(link);
	return r;
}

int packets_users_attach(const struct packets_users_programs *p, struct packets_users_links *ret,
			 struct error *e)
{
	struct bpf_program *const traced[] = { p->sent, p->received };
	AUTO(close_fd) int root = -1;
	int r = packets_users_root(&root, e);

	*ret = (struct packets_users_links){ 0 };
	if (r < 0)
		return r;
	ret->link[0] = bpf_program__attach_cgroup(p->create, root);
	if (ret->link[0] == NULL)
		r = error_set(e, -errno, "cannot see sockets being made: %m");
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(traced) && traced[i] != NULL; i++) {
		ret->link[i + 1] = bpf_program__attach(traced[i]);
		if (ret->link[i + 1] == NULL)
			r = error_set(e, -errno, "cannot see who uses sockets: %m");
	}
	if (r == 0)
		r = find_existing(p->stock, e);
	if (r < 0)
		packets_users_detach(ret);
	return r;
}

void packets_users_detach(struct packets_users_links *l)
{
	for (size_t i = 0; i < PACKETS_USERS_LINKS; i++) {
		(void)bpf_link__destroy(l->link[i]);
		l->link[i] = NULL;
	}
}
