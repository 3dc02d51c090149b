/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/hooks_check.h"

#include <errno.h>
#include <mntent.h>
#include <sys/capability.h>
#include <sys/resource.h>
#include <sys/utsname.h>

static const struct {
	cap_value_t cap;
	const char *name;
} needed[] = {
	/* Each is also implied by CAP_SYS_ADMIN, see has_capability. */
	{ CAP_BPF, "CAP_BPF" },
	{ CAP_PERFMON, "CAP_PERFMON" },
	{ CAP_NET_ADMIN, "CAP_NET_ADMIN" },
};

uint32_t hooks_kernel_number(const char *release)
{
	unsigned long part[3] = { 0 };
	const char *at = release;

	for (size_t i = 0; i < ARRAY_LEN(part); i++) {
		char *end;

		if (*at < '0' || *at > '9')
			return i < 2 ? 0 : KERNEL_NUMBER(part[0], part[1], 0);
		part[i] = strtoul(at, &end, 10);
		if (part[i] > 255)
			part[i] = 255;
		if (*end != '.')
			return i < 1 ? 0 : KERNEL_NUMBER(part[0], part[1], part[2]);
		at = end + 1;
	}
	return KERNEL_NUMBER(part[0], part[1], part[2]);
}

static int check_version(uint32_t version, struct error *e)
{
	struct utsname name;

	if (!version) {
		if (uname(&name) < 0)
			return error_set(e, -errno, "cannot ask for the kernel's version: %m");
		version = hooks_kernel_number(name.release);
	}
	if (version >= HOOKS_KERNEL_MIN)
		return 0;
	error_set(e, -ENOTSUP,
		  "kernel %u.%u is too old: 5.10 is the oldest that can run the sensors",
		  version >> 16, version >> 8 & 0xff);
	error_hint(e, "update the kernel of this host");
	return -ENOTSUP;
}

static int check_btf(const char *path, struct error *e)
{
	if (access(path, R_OK) == 0)
		return 0;
	error_set(e, -ENOTSUP, "cannot read the kernel's type information '%s': %s", path,
		  strerror(errno));
	error_hint(e,
		   "the kernel must be built with CONFIG_DEBUG_INFO_BTF, and /sys be visible here");
	return -ENOTSUP;
}

static bool has_capability(cap_t caps, cap_value_t cap)
{
	cap_flag_value_t set = CAP_CLEAR;

	return cap_get_flag(caps, cap, CAP_EFFECTIVE, &set) == 0 && set == CAP_SET;
}

static void free_caps(cap_t *caps)
{
	(void)cap_free(*caps);
}

static int check_capabilities(struct error *e)
{
	AUTO(free_caps) cap_t caps = cap_get_proc();

	if (!caps)
		return error_set(e, -errno, "cannot ask for this process's capabilities: %m");
	for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
		if (has_capability(caps, needed[i].cap) ||
		    (needed[i].cap != CAP_NET_ADMIN && has_capability(caps, CAP_SYS_ADMIN)))
			continue;
		error_set(e, -EPERM, "cannot load the sensors: this process lacks %s",
			  needed[i].name);
		error_hint(
			e,
			"run as root, or with CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN");
		return -EPERM;
	}
	return 0;
}

int hooks_check(const char *btf_path, uint32_t version, struct error *e)
{
	int r = check_version(version, e);

	if (r < 0)
		return r;
	r = check_capabilities(e);
	return r < 0 ? r : check_btf(btf_path ? btf_path : HOOKS_BTF_PATH, e);
}

void hooks_lift_memlock(void)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	(void)setrlimit(RLIMIT_MEMLOCK, &unlimited);
}

static void end_mounts(FILE **f)
{
	if (*f)
		(void)endmntent(*f);
}

int hooks_cgroup_root(const char *mounts, char *ret, size_t size)
{
	AUTO(end_mounts) FILE *f = setmntent(mounts, "re");
	char text[8192];
	struct mntent entry;

	if (!f)
		return -ENOENT;
	while (getmntent_r(f, &entry, text, sizeof(text))) {
		if (strcmp(entry.mnt_type, "cgroup2") != 0)
			continue;
		if ((size_t)snprintf(ret, size, "%s", entry.mnt_dir) >= size)
			return -ENAMETOOLONG;
		return 0;
	}
	return -ENOENT;
}
