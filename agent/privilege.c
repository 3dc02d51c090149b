/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/prctl.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "proto/base/log.h"

#define NOBODY 65534

/* What sensing holds on to. DAC_READ_SEARCH: open_by_handle_at; SYS_PTRACE: other users' /proc;
 * SYS_ADMIN: fanotify on whole file systems, and BPF before 5.8; NET_ADMIN: cgroup programs;
 * SYS_RESOURCE: locked memory before 5.11; SYS_NICE: the drain thread's priority. */
static const cap_value_t sense_caps[] = { CAP_SYS_ADMIN, CAP_SYS_PTRACE,   CAP_DAC_READ_SEARCH,
					  CAP_NET_ADMIN, CAP_SYS_RESOURCE, CAP_BPF,
					  CAP_PERFMON,   CAP_DAC_OVERRIDE, CAP_SYS_NICE };

/* To make the uplink another user's, and to read its key before. */
static const cap_value_t launcher_caps[] = { CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL,
					     CAP_DAC_READ_SEARCH };

/* Without these nothing can be sensed at all (CAP_SYS_ADMIN stands for both on older kernels). */
static const struct needed {
	cap_value_t cap;
	const char *name;
} needed[] = { { CAP_BPF, "CAP_BPF" }, { CAP_PERFMON, "CAP_PERFMON" } };

/* What gRPC core, OpenSSL, glibc's resolver and threads call, whatever the arguments. */
static const int uplink_calls[] = {
	SCMP_SYS(accept4),
	SCMP_SYS(bind),
	SCMP_SYS(brk),
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(close),
	SCMP_SYS(connect),
	SCMP_SYS(dup),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(eventfd2),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(fcntl),
	SCMP_SYS(fstat),
	SCMP_SYS(fstatfs),
	SCMP_SYS(futex),
	SCMP_SYS(getcpu),
	SCMP_SYS(getdents64),
	SCMP_SYS(getegid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getpeername),
	SCMP_SYS(getpid),
	SCMP_SYS(getppid),
	SCMP_SYS(getrandom),
	SCMP_SYS(getrlimit),
	SCMP_SYS(getrusage),
	SCMP_SYS(getsockname),
	SCMP_SYS(getsockopt),
	SCMP_SYS(gettid),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(getuid),
	SCMP_SYS(listen),
	SCMP_SYS(lseek),
	SCMP_SYS(madvise),
	SCMP_SYS(membarrier),
	SCMP_SYS(mmap),
	SCMP_SYS(mprotect),
	SCMP_SYS(mremap),
	SCMP_SYS(munmap),
	SCMP_SYS(nanosleep),
	SCMP_SYS(newfstatat),
	SCMP_SYS(pipe2),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(pread64),
	SCMP_SYS(pselect6),
	SCMP_SYS(read),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(readv),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmmsg),
	SCMP_SYS(recvmsg),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(rseq),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigtimedwait),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_getparam),
	SCMP_SYS(sched_getscheduler),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(set_tid_address),
	SCMP_SYS(setsockopt),
	SCMP_SYS(shutdown),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(signalfd4),
	SCMP_SYS(socketpair),
	SCMP_SYS(stat),
	SCMP_SYS(statx),
	SCMP_SYS(sysinfo),
	SCMP_SYS(tgkill),
	SCMP_SYS(time),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(uname),
	SCMP_SYS(write),
	SCMP_SYS(writev),
};

static int resolve_user(const char *user, uid_t *ret_uid, gid_t *ret_gid, struct error *e)
{
	char *end;
	unsigned long number = strtoul(user, &end, 10);

	if (*user >= '0' && *user <= '9' && *end == '\0') {
		if (number == 0 || number >= UINT32_MAX)
			return error_set(e, -EINVAL, "uplink.user '%s' must not be root", user);
		*ret_uid = (uid_t)number;
		*ret_gid = (gid_t)number;
		return 0;
	}
	const struct passwd *p = getpwnam(user);

	if (p == NULL) { /* the uplink says so when it starts */
		*ret_uid = *ret_gid = NOBODY;
		return 0;
	}
	if (p->pw_uid == 0)
		return error_set(e, -EINVAL, "uplink.user '%s' must not be root", user);
	*ret_uid = p->pw_uid;
	*ret_gid = p->pw_gid;
	return 0;
}

static void release_filter(scmp_filter_ctx *ctx)
{
	if (*ctx != NULL)
		seccomp_release(*ctx);
}

/* Calls of which one argument must be so. */
static int allow_some(scmp_filter_ctx ctx)
{
	static const uint64_t writing = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND;
	static const uint64_t new_thread = CLONE_THREAD;
	static const uint64_t new_anything = CLONE_THREAD | CLONE_NEWNS | CLONE_NEWCGROUP |
					     CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
					     CLONE_NEWPID | CLONE_NEWNET;
	const struct {
		int call;
		struct scmp_arg_cmp arg;
	} rows[] = {
		/* only for reading: resolv.conf, hosts, certificates */
		{ SCMP_SYS(openat), SCMP_A2(SCMP_CMP_MASKED_EQ, writing, 0) },
		/* threads, neither processes nor namespaces */
		{ SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, new_anything, new_thread) },
		/* the network, name services, and the resolver's question for addresses of its own */
		{ SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_INET) },
		{ SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_INET6) },
		{ SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_UNIX) },
		{ SCMP_SYS(socket), SCMP_A0(SCMP_CMP_EQ, AF_NETLINK) },
		/* not TIOCSTI, which types into the terminal that root started us from */
		{ SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, FIONREAD) },
		{ SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_EQ, FIONBIO) },
		/* names of threads, and of malloc's mappings; not PR_SET_DUMPABLE */
		{ SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME) },
		{ SCMP_SYS(prctl), SCMP_A0(SCMP_CMP_EQ, PR_SET_VMA) },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(rows); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, rows[i].call, 1, rows[i].arg);
	return r;
}

static int filter_uplink(struct error *e)
{
	AUTO(release_filter) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	/* All threads: gRPC has made some already. */
	int r = ctx == NULL ? -ENOMEM : seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(uplink_calls); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, uplink_calls[i], 0);
	/* glibc falls back to clone only on ENOSYS; clone3's flags cannot be seen by a filter. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (r == 0)
		r = allow_some(ctx);
	if (r == 0)
		r = seccomp_load(ctx);
	return r == 0 ? 0 : error_set(e, r, "cannot confine the uplink with seccomp: %m");
}

/* Keep exactly keep[0..n) in the permitted and effective set, nothing in the others. */
static int keep_capabilities(const cap_value_t *keep, size_t n, struct error *e)
{
	cap_t caps = cap_init();
	cap_t had = cap_get_proc();
	int r = caps == NULL || had == NULL ? -1 : 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		cap_flag_value_t value = CAP_CLEAR;

		if (cap_get_flag(had, keep[i], CAP_PERMITTED, &value) != 0 || value == CAP_CLEAR)
			continue; /* never had: the loader says what that costs */
		r = cap_set_flag(caps, CAP_PERMITTED, 1, &keep[i], CAP_SET);
		if (r == 0)
			r = cap_set_flag(caps, CAP_EFFECTIVE, 1, &keep[i], CAP_SET);
	}
	if (r == 0)
		r = cap_set_proc(caps);
	int saved = errno;

	(void)cap_free(caps);
	(void)cap_free(had);
	return r == 0 ? 0 : error_set(e, -saved, "cannot give up capabilities: %m");
}

static void drop_bounding_set(void)
{
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		(void)prctl(PR_CAPBSET_DROP, cap, 0, 0,
			    0); /* EPERM without SETPCAP: there is none to keep */
}

/* Room for all. Returns how many. */
static size_t list_capabilities(uint64_t bits, cap_value_t ret[static CAP_LAST_CAP + 1])
{
	size_t n = 0;

	for (cap_value_t cap = 0; cap <= CAP_LAST_CAP; cap++)
		if ((bits & (1ULL << cap)) != 0)
			ret[n++] = cap;
	return n;
}

int privilege_keep(uint64_t capabilities, struct error *e)
{
	cap_value_t keep[CAP_LAST_CAP + 1];
	size_t n = list_capabilities(capabilities, keep);

	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	drop_bounding_set();
	return keep_capabilities(keep, n, e);
}

/* Ambient ones survive an exec of any user; of root those that are permitted do. */
int privilege_hand_down(uint64_t capabilities, struct error *e)
{
	cap_value_t keep[CAP_LAST_CAP + 1];
	int r = keep_capabilities(keep, list_capabilities(capabilities, keep), e);
	cap_t caps = r == 0 ? cap_get_proc() : NULL;

	for (cap_value_t cap = 0; caps != NULL && cap <= CAP_LAST_CAP; cap++) {
		cap_flag_value_t value = CAP_CLEAR;

		if (cap_get_flag(caps, cap, CAP_PERMITTED, &value) == 0 && value == CAP_SET)
			(void)cap_set_flag(caps, CAP_INHERITABLE, 1, &cap, CAP_SET);
	}
	if (caps != NULL && cap_set_proc(caps) < 0)
		r = error_set(e, -errno, "cannot hand down capabilities: %m");
	(void)cap_free(caps);
	for (cap_value_t cap = 0; r == 0 && cap <= CAP_LAST_CAP; cap++)
		if ((capabilities & (1ULL << cap)) != 0)
			(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
	return r;
}

int privilege_check_user(const char *user, struct error *e)
{
	uid_t uid;
	gid_t gid;

	return resolve_user(user, &uid, &gid, e);
}

int privilege_drop_uplink(const char *user, struct error *e)
{
	uid_t uid = NOBODY;
	gid_t gid = NOBODY;
	int r = resolve_user(user, &uid, &gid, e);

	if (r < 0)
		return r;
	if (uid == NOBODY && strcmp(user, "nobody") != 0 && strcmp(user, "65534") != 0)
		log_warn("uplink.user does not exist, using 65534 instead", KV_STR("user", user));
	drop_bounding_set();
	if (getuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
			      setresuid(uid, uid, uid) < 0))
		return error_set(e, -errno, "cannot become uplink.user '%s': %m", user);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_set(e, -errno, "cannot renounce new privileges: %m");
	r = keep_capabilities(NULL, 0, e);
	if (r < 0)
		return r;
	return filter_uplink(e);
}

/* Every family but AF_UNIX and AF_NETLINK is refused. The filter sees 64 bits of a number of which the
 * kernel takes 32: "above AF_NETLINK" covers those who set the upper ones. io_uring makes sockets that
 * no filter sees. */
static int filter_sense(struct error *e)
{
	AUTO(release_filter) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r = ctx == NULL ? -ENOMEM : 0;

	for (unsigned int family = AF_UNSPEC; r == 0 && family < AF_NETLINK; family++)
		if (family != AF_UNIX)
			r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
					     SCMP_A0(SCMP_CMP_EQ, family));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_GT, AF_NETLINK));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0);
	if (r == 0)
		r = seccomp_load(ctx);
	return r == 0 ? 0 : error_set(e, r, "cannot forbid network sockets with seccomp: %m");
}

int privilege_drop_sense(struct error *e)
{
	int r = keep_capabilities(sense_caps, ARRAY_LEN(sense_caps), e);

	if (r < 0)
		return r;
	/* Not dumpable: a core file would hold the sealing key. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_set(e, -errno, "cannot renounce new privileges: %m");
	return filter_sense(e);
}

int privilege_drop_launcher(uint64_t also, struct error *e)
{
	cap_value_t keep[CAP_LAST_CAP + 1];

	for (size_t i = 0; i < ARRAY_LEN(launcher_caps); i++)
		also |= 1ULL << launcher_caps[i];
	int r = keep_capabilities(keep, list_capabilities(also, keep), e);

	if (r < 0)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set(e, -errno, "cannot renounce new privileges: %m");
	return 0;
}

static bool has_capability(cap_t caps, cap_value_t cap)
{
	cap_flag_value_t value = CAP_CLEAR;

	return cap_get_flag(caps, cap, CAP_EFFECTIVE, &value) == 0 && value == CAP_SET;
}

const char *privilege_missing(void)
{
	cap_t caps = cap_get_proc();
	const char *missing = NULL;

	for (size_t i = 0; caps != NULL && missing == NULL && i < ARRAY_LEN(needed); i++)
		if (!has_capability(caps, needed[i].cap) && !has_capability(caps, CAP_SYS_ADMIN))
			missing = needed[i].name;
	(void)cap_free(caps);
	return missing;
}
