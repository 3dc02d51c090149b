/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "agent/privilege.h"

/* Refused whatever the arguments. Reading needs none of them; a memfd and an anonymous mapping are enough
 * for what has to be kept for a moment. */
static const int refused[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(creat),
	SCMP_SYS(mkdir),
	SCMP_SYS(mkdirat),
	SCMP_SYS(mknod),
	SCMP_SYS(mknodat),
	SCMP_SYS(link),
	SCMP_SYS(linkat),
	SCMP_SYS(symlink),
	SCMP_SYS(symlinkat),
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	SCMP_SYS(rmdir),
	SCMP_SYS(rename),
	SCMP_SYS(renameat),
	SCMP_SYS(renameat2),
	SCMP_SYS(truncate),
	SCMP_SYS(chmod),
	SCMP_SYS(fchmod),
	SCMP_SYS(fchmodat),
	SCMP_SYS(chown),
	SCMP_SYS(fchown),
	SCMP_SYS(lchown),
	SCMP_SYS(fchownat),
	SCMP_SYS(setxattr),
	SCMP_SYS(lsetxattr),
	SCMP_SYS(fsetxattr),
	SCMP_SYS(removexattr),
	SCMP_SYS(lremovexattr),
	SCMP_SYS(fremovexattr),
	SCMP_SYS(utime),
	SCMP_SYS(utimes),
	SCMP_SYS(futimesat),
	SCMP_SYS(utimensat),
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(move_mount),
	SCMP_SYS(fsopen),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(reboot),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(settimeofday),
	SCMP_SYS(clock_settime),
	SCMP_SYS(adjtimex),
	SCMP_SYS(sethostname),
	SCMP_SYS(quotactl),
	SCMP_SYS(acct),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(add_key),
	SCMP_SYS(keyctl),
};

static void release_filter(scmp_filter_ctx *ctx)
{
	if (*ctx != NULL)
		seccomp_release(*ctx);
}

static int refuse(scmp_filter_ctx ctx, int call)
{
	return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), call, 0);
}

/* Opening for writing is how a cgroup is frozen; a file is not made or emptied. openat2's flags cannot be
 * seen by a filter: without the right to write (CAP_DAC_OVERRIDE is in no row) it makes nothing either. */
static int refuse_making(scmp_filter_ctx ctx)
{
	static const struct {
		int call;
		unsigned int arg;
	} opens[] = { { SCMP_SYS(open), 1 }, { SCMP_SYS(openat), 2 } };
	static const uint64_t making[] = { O_CREAT, O_TRUNC };
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(opens); i++)
		for (size_t k = 0; r == 0 && k < ARRAY_LEN(making); k++)
			r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), opens[i].call, 1,
					     SCMP_CMP(opens[i].arg, SCMP_CMP_MASKED_EQ, making[k],
						      making[k]));
	return r;
}

/* Every family but these; see privilege.c for the upper 32 bits. */
static int refuse_sockets(scmp_filter_ctx ctx, bool packets)
{
	int r = 0;

	for (unsigned int family = AF_UNSPEC; r == 0 && family <= AF_PACKET; family++)
		if (family != AF_UNIX && family != AF_NETLINK && !(family == AF_PACKET && packets))
			r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
					     SCMP_A0(SCMP_CMP_EQ, family));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_GT, AF_PACKET));
	return r;
}

static int filter(const struct acquire_kind *kind, struct error *e)
{
	AUTO(release_filter) scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r = ctx == NULL ? -ENOMEM : 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(refused); i++)
		r = refuse(ctx, refused[i]);
	if (r == 0)
		r = refuse_making(ctx);
	if (r == 0)
		r = refuse_sockets(ctx, (kind->capabilities & (1ULL << CAP_NET_RAW)) != 0);
	if (r == 0)
		r = seccomp_load(ctx);
	return r == 0 ? 0 : error_set(e, r, "cannot confine the acquirer with seccomp: %m");
}

int confine(const struct acquire_kind *kind, struct error *e)
{
	int r = privilege_keep(kind->capabilities, e);

	if (r < 0)
		return r;
	/* Not dumpable: a core file would hold evidence. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_set(e, -errno, "cannot renounce new privileges: %m");
	return filter(kind, e);
}
