/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/triage_homes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "agent/acquire/accounts.h"
#include "agent/acquire/proc_text.h"
#include "agent/acquire/triage_walk.h"

#define PASSWD_MAX MiB(4)

static void add(struct triage *t, struct triage_homes *h, const char *path, size_t len)
{
	for (size_t i = 0; i < h->n; i++)
		if (strlen(h->paths[i]) == len && memcmp(h->paths[i], path, len) == 0)
			return;
	if (len >= PATH_MAX)
		return;
	if (h->n == TRIAGE_HOMES_MAX) {
		triage_tell(t, true, "more than %d home directories", TRIAGE_HOMES_MAX);
		return;
	}
	h->paths[h->n] = strndup(path, len);
	h->n += h->paths[h->n] != NULL;
}

static void from_passwd(struct triage *t, struct triage_homes *h)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	AUTO(close_fd) int etc = triage_dir(t, "etc");
	struct stat st;
	AUTO(close_fd) int fd = etc < 0 ? -1 : triage_open(t, etc, "passwd", &st);
	size_t len = 0;

	if (fd < 0)
		return;
	text = malloc(PASSWD_MAX);
	for (ssize_t n = 1; text != NULL && n > 0 && len < PASSWD_MAX; len += (size_t)n) {
		n = pread(fd, text + len, PASSWD_MAX - len, (off_t)len);
		if (n < 0)
			break;
	}
	struct reader all = reader_init(text, len);

	while (all.left > 0) {
		struct account_field home;

		if (account_home(proc_line(&all), &home))
			add(t, h, (const char *)home.at, home.len);
	}
}

static void close_dir(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

void triage_homes_find(struct triage *t, struct triage_homes *ret)
{
	AUTO(close_fd) int there = triage_dir(t, "home");
	AUTO(close_fd) int fd = there < 0 ? -1 : triage_open_dir(t, there, ".", 0);
	AUTO(close_dir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	*ret = (struct triage_homes){ 0 };
	from_passwd(t, ret);
	if (dir == NULL)
		return;
	(void)take_fd(&fd);
	while ((entry = readdir(dir)) != NULL && !triage_over(t)) {
		char path[8 + NAME_MAX];

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    entry->d_type == DT_REG || entry->d_type == DT_LNK)
			continue;
		(void)snprintf(path, sizeof(path), "/home/%s", entry->d_name);
		add(t, ret, path, strlen(path));
	}
}

void triage_homes_release(struct triage_homes *h)
{
	for (size_t i = 0; i < h->n; i++)
		free(h->paths[i]);
	h->n = 0;
}
