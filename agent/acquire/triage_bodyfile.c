/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata of the folders that matter, as The Sleuth Kit's bodyfile (version 3): MD5|name|inode|mode|uid|gid|size|
 * atime|mtime|ctime|crtime. We hash nothing here (0). A name's control bytes, '|' and '\' are written as \xNN, so
 * that one file stays one row of eleven columns. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "agent/acquire/triage_body.h"
#include "agent/acquire/triage_walk.h"

#define ROWS_MAX 150000 /* of all folders */

/* Those where strangers put things first. */
static const struct {
	const char *path;
	uint64_t rows_max;
} folders[] = {
	{ "dev/shm", 5000 },
	{ "tmp", 20000 },
	{ "var/tmp", 20000 },
	{ "run", 10000 },
	{ "root", 20000 },
	{ "home", 40000 },
	{ "etc", 10000 },
	{ "usr/local", 20000 },
	{ "opt", 20000 },
	{ "srv", 20000 },
	{ "var/www", 20000 },
	{ "var/spool", 5000 },
	{ "boot", 5000 },
	{ "usr/bin", 10000 },
	{ "usr/sbin", 5000 },
	{ "bin", 10000 },
	{ "sbin", 5000 },
	{ "usr/lib/systemd", 5000 },
	{ "usr/lib/modules", 20000 },
	{ "var/log", 10000 },
	{ "var/lib", 20000 },
};

static void put_mode(FILE *f, unsigned int mode)
{
	static const struct {
		unsigned int type;
		char letter;
	} types[] = { { S_IFREG, 'r' }, { S_IFDIR, 'd' }, { S_IFLNK, 'l' }, { S_IFCHR, 'c' },
		      { S_IFBLK, 'b' }, { S_IFIFO, 'p' }, { S_IFSOCK, 'h' } };
	static const char bits[] = "rwxrwxrwx";
	char text[11] = "----------";

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if ((mode & S_IFMT) == types[i].type)
			text[0] = types[i].letter == 'r' ? '-' : types[i].letter;
	for (unsigned int i = 0; i < 9; i++)
		if (mode >> (8 - i) & 1)
			text[1 + i] = bits[i];
	if (mode & S_ISUID)
		text[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		text[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		text[9] = mode & S_IXOTH ? 't' : 'T';
	(void)fprintf(f, "%c/%s", text[0] == '-' ? 'r' : text[0], text);
}

void triage_body_row(FILE *f, const char *path, const struct statx *x)
{
	(void)fputs("0|/", f);
	for (; *path != '\0'; path++) {
		unsigned char c = (unsigned char)*path;

		if (c < ' ' || c == 127 || c == '|' || c == '\\')
			(void)fprintf(f, "\\x%02x", c);
		else
			(void)fputc(c, f);
	}
	(void)fprintf(f, "|%llu|", (unsigned long long)x->stx_ino);
	put_mode(f, x->stx_mode);
	(void)fprintf(f, "|%u|%u|%llu|%lld|%lld|%lld|%lld\n", x->stx_uid, x->stx_gid,
		      (unsigned long long)x->stx_size, (long long)x->stx_atime.tv_sec,
		      (long long)x->stx_mtime.tv_sec, (long long)x->stx_ctime.tv_sec,
		      (long long)(x->stx_mask & STATX_BTIME ? x->stx_btime.tv_sec : 0));
}

struct body {
	FILE *f;
	bool full;
	uint64_t rows;
};

static void visit(void *ctx, int dir, const char *name, const char *path)
{
	struct body *b = ctx;
	struct statx x;

	if ((uint64_t)ftello(b->f) >= TRIAGE_LINES_MAX || b->rows >= ROWS_MAX) {
		b->full = true;
		return;
	}
	if (statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME,
		  &x) < 0)
		return;
	triage_body_row(b->f, path, &x);
	b->rows++;
}

static void put_folder(struct triage *t, struct body *b, struct triage_walk *w, size_t i)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/%s", folders[i].path);
	AUTO(close_fd)
	int there = target_openat(&t->target, path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	/* "/bin" mostly leads to one that has its turn. */
	if (there < 0)
		return;
	(void)snprintf(w->path, sizeof(w->path), "%s", folders[i].path);
	w->left = folders[i].rows_max;
	w->cut = false;
	b->full = false;
	visit(b, t->target.root, folders[i].path, folders[i].path);
	triage_walk(w, triage_open_dir(t, there, ".", 0));
	if (w->cut || b->full)
		triage_tell(t, false, "bodyfile: /%s holds more than the rows that are written",
			    folders[i].path);
}

int triage_bodyfile(struct triage *t, struct error *e)
{
	AUTO(free_ptr) struct triage_walk *w = calloc(1, sizeof(*w));
	char *text = NULL;
	size_t len = 0, i = 0;
	struct body b = { .f = open_memstream(&text, &len) };

	if (b.f == NULL || w == NULL) {
		if (b.f != NULL)
			(void)fclose(b.f);
		free(text);
		return error_set(e, -ENOMEM, "cannot make a bodyfile: out of memory");
	}
	w->t = t;
	w->ctx = &b;
	w->visit = visit;
	for (; i < ARRAY_LEN(folders) && !triage_over(t); i++)
		put_folder(t, &b, w, i);
	for (; i < ARRAY_LEN(folders); i++)
		triage_tell(t, true, "bodyfile: /%s is left out", folders[i].path);
	int r = fclose(b.f) != 0 ? error_set(e, -ENOMEM, "cannot make a bodyfile: out of memory") :
				   triage_put(t, "bodyfile/bodyfile.txt", text, len, e);

	free(text);
	return r;
}
