/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/disk_use.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/acquire/host_root.h"
#include "proto/base/files.h"

#define TABLE_MAX MiB(8)
#define SOURCE_MAX 512

struct search {
	const struct acquire_request *r;
	char *mounts, *swaps; /* texts; NULL: not to be read */
	char *found; /* DISK_USE_MAX */
};

static void add(struct search *s, const char *name, const char *how, const char *who)
{
	size_t used = strlen(s->found);

	(void)snprintf(s->found + used, DISK_USE_MAX - used, "%s%s %s%s", used > 0 ? ", " : "",
		       name, how, who);
}

/* Whether a name of a table stands for the device; blanks in it are \040 there, and no device has one. */
static bool names_device(const struct search *s, const char *name, size_t len, dev_t device)
{
	char path[HOST_ROOT_MAX + SOURCE_MAX], root[HOST_ROOT_MAX];
	struct stat st;

	if (len == 0 || len >= SOURCE_MAX || name[0] != '/')
		return false;
	(void)snprintf(path, sizeof(path), "%s%.*s", host_root(s->r, root), (int)len, name);
	return stat(path, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == device;
}

/* btrfs mounts have a device number of their own: what they lie on is the line's source alone. */
static bool is_source(const struct search *s, dev_t device)
{
	static const char mark[] = " - btrfs ";

	for (const char *at = s->mounts; at != NULL && (at = strstr(at, mark)) != NULL;) {
		at += strlen(mark);
		if (names_device(s, at, strcspn(at, " \n"), device))
			return true;
	}
	return false;
}

static bool is_mounted(const struct search *s, dev_t device)
{
	char number[32];

	(void)snprintf(number, sizeof(number), " %u:%u ", major(device), minor(device));
	return (s->mounts != NULL && strstr(s->mounts, number) != NULL) || is_source(s, device);
}

static bool is_swap(const struct search *s, dev_t device)
{
	for (const char *line = s->swaps; line != NULL; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (names_device(s, line, strcspn(line, " \t\n"), device))
			return true;
	}
	return false;
}

/* Device-mapper and RAID devices on top of it. */
static void look_holders(struct search *s, const char *folder, const char *name)
{
	char path[PATH_MAX];
	struct dirent *at;

	(void)snprintf(path, sizeof(path), "%s/holders", folder);
	DIR *d = opendir(path);

	while (d != NULL && (at = readdir(d)) != NULL)
		if (at->d_name[0] != '.')
			add(s, name, "belongs to ", at->d_name);
	if (d != NULL)
		(void)closedir(d);
}

static void look_at(struct search *s, const char *folder, const char *name, dev_t device)
{
	if (is_mounted(s, device))
		add(s, name, "is mounted", "");
	if (is_swap(s, device))
		add(s, name, "is swap", "");
	look_holders(s, folder, name);
}

/* "8:1\n" of folder/dev. */
static bool read_number(const char *folder, dev_t *ret)
{
	char path[PATH_MAX];
	AUTO(free_ptr) uint8_t *text = NULL;
	char *end = NULL;
	size_t len = 0;

	if (snprintf(path, sizeof(path), "%s/dev", folder) >= (int)sizeof(path) ||
	    files_read(path, 64, &text, &len, NULL) < 0)
		return false;
	unsigned long first = strtoul((const char *)text, &end, 10);
	unsigned long second = *end == ':' ? strtoul(end + 1, &end, 10) : ULONG_MAX;

	*ret = makedev((unsigned int)first, (unsigned int)second);
	return second <= UINT_MAX && first <= UINT_MAX && *end == '\n';
}

static void look_partitions(struct search *s, const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *at;

	while (d != NULL && (at = readdir(d)) != NULL) {
		char below[PATH_MAX], mark[PATH_MAX];
		dev_t device;

		if (at->d_name[0] == '.' ||
		    snprintf(below, sizeof(below), "%s/%s", folder, at->d_name) >= PATH_MAX - 16)
			continue;
		(void)snprintf(mark, sizeof(mark), "%.*s/partition", PATH_MAX - 16, below);
		if (access(mark, F_OK) == 0 && read_number(below, &device))
			look_at(s, below, at->d_name, device);
	}
	if (d != NULL)
		(void)closedir(d);
}

static char *read_table(const struct acquire_request *r, const char *name)
{
	char path[PATH_MAX];
	uint8_t *text = NULL;
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/%s", r->proc, name);
	return files_read(path, TABLE_MAX, &text, &len, NULL) < 0 ? NULL : (char *)text;
}

void disk_use_find(const struct acquire_request *r, dev_t device, char ret[static DISK_USE_MAX])
{
	AUTO(free_ptr) char *mounts = read_table(r, "1/mountinfo");
	AUTO(free_ptr) char *swaps = read_table(r, "swaps");
	struct search s = { .r = r, .mounts = mounts, .swaps = swaps, .found = ret };
	char folder[PATH_MAX], real[PATH_MAX];

	ret[0] = '\0';
	(void)snprintf(folder, sizeof(folder), "%s/dev/block/%u:%u", r->sys, major(device),
		       minor(device));
	const char *name = realpath(folder, real) != NULL ? strrchr(real, '/') + 1 : "the device";

	look_at(&s, folder, name, device);
	look_partitions(&s, folder);
}
