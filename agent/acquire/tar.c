/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/tar.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "proto/base/utf8.h"

#define BLOCK 512
#define RECORDS_MAX MiB(1) /* of one extended header */
#define NAME_FIELD 100
#define OCTAL_SIZE_MAX 077777777777ULL
#define OCTAL_ID_MAX 07777777U

/* POSIX ustar header. */
struct header {
	char name[NAME_FIELD], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
	char type, link[NAME_FIELD], magic[6], version[2], user[32], group[32], major[8], minor[8];
	char prefix[155], pad[12];
};

struct records { /* of an extended header */
	char *text; /* RECORDS_MAX */
	size_t len;
	bool full;
};

struct tar {
	struct output *o;
	uint32_t item;
	struct records records;
	uint64_t left; /* data that the entry wants */
	uint64_t stored; /* of the entry so far, data and map */
	bool open;
	bool cancelled, told; /* the order's limits are used up; the caller knows */
};

static const uint8_t zeros[BLOCK];

int tar_new(struct output *o, const char *name, struct tar **ret, struct error *e)
{
	AUTO(tar_free_ptr) struct tar *t = calloc(1, sizeof(*t));

	if (t != NULL)
		t->records.text = malloc(RECORDS_MAX);
	if (t == NULL || t->records.text == NULL)
		return error_set(e, -ENOMEM, "cannot make an archive: out of memory");
	t->o = o;
	int r = output_begin(o, name, "tar", 0, &t->item, e);

	if (r == 0)
		*ret = TAKE(t);
	return r;
}

void tar_free(struct tar *t)
{
	if (t == NULL)
		return;
	free(t->records.text);
	free(t);
}

/* ---- extended headers ------------------------------------------------------------------------------ */

/* "LENGTH KEY=VALUE\n", whose length counts its own digits. */
static void add_record(struct records *r, const char *key, const void *value, size_t len)
{
	size_t rest = 1 + strlen(key) + 1 + len + 1, total = rest + 1;
	char digits[24];

	while (total != rest + (size_t)snprintf(digits, sizeof(digits), "%zu", total))
		total = rest + strlen(digits);
	if (total > RECORDS_MAX - r->len) {
		r->full = true;
		return;
	}
	char *at = r->text + r->len;

	at = mempcpy(at, digits, strlen(digits));
	*at++ = ' ';
	at = mempcpy(at, key, strlen(key));
	*at++ = '=';
	at = mempcpy(at, value, len);
	*at = '\n';
	r->len += total;
}

static void add_text(struct records *r, const char *key, const char *format, ...) PRINTF(3, 4);
static void add_text(struct records *r, const char *key, const char *format, ...)
{
	char text[64];
	va_list args;

	va_start(args, format);
	int n = vsnprintf(text, sizeof(text), format, args);

	va_end(args);
	add_record(r, key, text, (size_t)n);
}

static void add_time(struct records *r, const char *key, const struct timespec *at)
{
	if (at->tv_nsec == 0)
		add_text(r, key, "%lld", (long long)at->tv_sec);
	else
		add_text(r, key, "%lld.%09ld", (long long)at->tv_sec, at->tv_nsec);
}

/* ---- headers ----------------------------------------------------------------------------------------- */

static void octal(char *field, size_t size, uint64_t value)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%0*llo", (int)size - 1, (unsigned long long)value);
	memcpy(field, text, size - 1);
}

static char type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return '0';
	case S_IFLNK:
		return '2';
	case S_IFCHR:
		return '3';
	case S_IFBLK:
		return '4';
	case S_IFDIR:
		return '5';
	case S_IFIFO:
		return '6';
	default:
		return '\0';
	}
}

/* What was begun is written whole, from what is kept for closing; tell_cancelled says so afterwards. */
static int put(struct tar *t, const void *data, size_t len, struct error *e)
{
	uint64_t before = output_bytes(t->o, t->item);
	int r = output_write(t->o, t->item, data, len, e);

	if (r != -ECANCELED)
		return r;
	size_t done = (size_t)(output_bytes(t->o, t->item) - before);

	if (done < len &&
	    output_write(t->o, t->item, (const uint8_t *)data + done, len - done, NULL) < 0)
		return r;
	t->cancelled = true;
	return 0;
}

/* Once; what follows is for closing. */
static int tell_cancelled(struct tar *t, struct error *e)
{
	if (!t->cancelled || t->told)
		return 0;
	t->told = true;
	return error_set(e, -ECANCELED, "the order's limit is used up, or it was told to stop");
}

static int pad(struct tar *t, uint64_t len, struct error *e)
{
	size_t over = (size_t)(len % BLOCK);

	return over == 0 ? 0 : put(t, zeros, BLOCK - over, e);
}

static int put_header(struct tar *t, struct header *h, struct error *e)
{
	const uint8_t *bytes = (const uint8_t *)h;
	unsigned int sum = 0;

	memcpy(h->magic, "ustar", 6);
	memcpy(h->version, "00", 2);
	memset(h->checksum, ' ', sizeof(h->checksum));
	for (size_t i = 0; i < sizeof(*h); i++)
		sum += bytes[i];
	octal(h->checksum, 7, sum);
	return put(t, h, sizeof(*h), e);
}

static int put_records(struct tar *t, struct error *e)
{
	struct header h = { .name = "PaxHeaders/entry", .type = 'x' };

	octal(h.mode, sizeof(h.mode), 0644);
	octal(h.uid, sizeof(h.uid), 0);
	octal(h.gid, sizeof(h.gid), 0);
	octal(h.size, sizeof(h.size), t->records.len);
	octal(h.mtime, sizeof(h.mtime), 0);
	int r = put_header(t, &h, e);

	if (r == 0)
		r = put(t, t->records.text, t->records.len, e);
	return r == 0 ? pad(t, t->records.len, e) : r;
}

/* ---- an entry ---------------------------------------------------------------------------------------- */

/* A copy without leading slashes. A component ".." would lead out of where the archive is unpacked. */
static int clean_path(const struct tar_entry *entry, const char **ret, size_t *ret_len,
		      struct error *e)
{
	const char *at = entry->path, *end = at + entry->path_len;

	while (at < end && *at == '/')
		at++;
	*ret = at;
	*ret_len = (size_t)(end - at);
	for (const char *part = at; part < end;) {
		const char *slash = memchr(part, '/', (size_t)(end - part));
		const char *stop = slash != NULL ? slash : end;

		if (stop - part == 2 && part[0] == '.' && part[1] == '.')
			return error_set(e, -EINVAL,
					 "a path with '..' does not go into an archive");
		part = stop + 1;
	}
	if (*ret_len == 0 || memchr(at, '\0', *ret_len) != NULL)
		return error_set(e, -EINVAL, "an entry of an archive needs a name");
	return 0;
}

static uint64_t piece_bytes(const struct tar_entry *entry)
{
	uint64_t all = 0;

	for (size_t i = 0; i < entry->n_pieces; i++)
		all += entry->pieces[i].bytes;
	return all;
}

static uint64_t pieces_end(const struct tar_entry *entry)
{
	return entry->n_pieces == 0 ? 0 :
				      entry->pieces[entry->n_pieces - 1].offset +
					      entry->pieces[entry->n_pieces - 1].bytes;
}

/* GNU sparse 1.0: the map is text in front of the data, padded to a block. A hole at the end is an empty piece
 * behind it: GNU tar takes the file's size from the map. malloc'ed. */
static char *make_map(const struct tar_entry *entry, size_t *ret_len)
{
	bool hole_at_end = pieces_end(entry) != (uint64_t)entry->st.st_size;
	size_t room = 24 + 48 * (entry->n_pieces + 1) + BLOCK;
	char *text = calloc(1, room);

	if (text == NULL)
		return NULL;
	size_t len = (size_t)snprintf(text, room, "%zu\n", entry->n_pieces + hole_at_end);

	for (size_t i = 0; i < entry->n_pieces; i++)
		len += (size_t)snprintf(text + len, room - len, "%llu\n%llu\n",
					(unsigned long long)entry->pieces[i].offset,
					(unsigned long long)entry->pieces[i].bytes);
	if (hole_at_end)
		len += (size_t)snprintf(text + len, room - len, "%llu\n0\n",
					(unsigned long long)entry->st.st_size);
	*ret_len = (len + BLOCK - 1) / BLOCK * BLOCK;
	return text;
}

static void make_records(struct tar *t, const struct tar_entry *entry, const char *path,
			 size_t path_len, uint64_t stored)
{
	struct records *r = &t->records;
	char key[300];

	r->len = 0;
	r->full = false;
	if (!utf8_valid((const uint8_t *)path, path_len) ||
	    !utf8_valid(entry->link, entry->link_len))
		add_text(r, "hdrcharset", "BINARY");
	if (entry->pieces != NULL) {
		add_text(r, "GNU.sparse.major", "1");
		add_text(r, "GNU.sparse.minor", "0");
		add_record(r, "GNU.sparse.name", path, path_len);
		add_text(r, "GNU.sparse.realsize", "%llu", (unsigned long long)entry->st.st_size);
	}
	add_record(r, "path", path, path_len);
	if (entry->link_len > 0)
		add_record(r, "linkpath", entry->link, entry->link_len);
	if (stored > OCTAL_SIZE_MAX)
		add_text(r, "size", "%llu", (unsigned long long)stored);
	if (entry->st.st_uid > OCTAL_ID_MAX)
		add_text(r, "uid", "%u", entry->st.st_uid);
	if (entry->st.st_gid > OCTAL_ID_MAX)
		add_text(r, "gid", "%u", entry->st.st_gid);
	add_time(r, "mtime", &entry->st.st_mtim);
	add_time(r, "atime", &entry->st.st_atim);
	add_time(r, "ctime", &entry->st.st_ctim);
	for (size_t i = 0; i < entry->n_xattrs; i++) {
		(void)snprintf(key, sizeof(key), "SCHILY.xattr.%s", entry->xattrs[i].name);
		add_record(r, key, entry->xattrs[i].value, entry->xattrs[i].len);
	}
}

static void make_header(const struct tar_entry *entry, const char *path, size_t path_len,
			uint64_t stored, struct header *h)
{
	*h = (struct header){ .type = type_of(entry->st.st_mode) };
	memcpy(h->name, path, path_len < NAME_FIELD ? path_len : NAME_FIELD);
	memcpy(h->link, entry->link_len > 0 ? entry->link : "",
	       entry->link_len < NAME_FIELD ? entry->link_len : NAME_FIELD);
	octal(h->mode, sizeof(h->mode), entry->st.st_mode & 07777);
	octal(h->uid, sizeof(h->uid), entry->st.st_uid <= OCTAL_ID_MAX ? entry->st.st_uid : 0);
	octal(h->gid, sizeof(h->gid), entry->st.st_gid <= OCTAL_ID_MAX ? entry->st.st_gid : 0);
	octal(h->size, sizeof(h->size), stored <= OCTAL_SIZE_MAX ? stored : 0);
	octal(h->mtime, sizeof(h->mtime),
	      entry->st.st_mtim.tv_sec >= 0 &&
			      (uint64_t)entry->st.st_mtim.tv_sec <= OCTAL_SIZE_MAX ?
		      (uint64_t)entry->st.st_mtim.tv_sec :
		      0);
	if (S_ISCHR(entry->st.st_mode) || S_ISBLK(entry->st.st_mode)) {
		octal(h->major, sizeof(h->major), major(entry->st.st_rdev) & OCTAL_ID_MAX);
		octal(h->minor, sizeof(h->minor), minor(entry->st.st_rdev) & OCTAL_ID_MAX);
	}
}

int tar_entry(struct tar *t, const struct tar_entry *entry, struct error *e)
{
	AUTO(free_ptr) char *map = NULL;
	const char *path = NULL;
	size_t path_len = 0, map_len = 0;
	bool file = S_ISREG(entry->st.st_mode);
	struct header h;

	if (type_of(entry->st.st_mode) == '\0')
		return error_set(e, -EINVAL, "an archive cannot hold a file of this kind");
	int r = clean_path(entry, &path, &path_len, e);

	if (r == 0 && file && entry->pieces != NULL) {
		map = make_map(entry, &map_len);
		if (map == NULL)
			r = error_set(e, -ENOMEM, "cannot list holes: out of memory");
	}
	if (r < 0)
		return r;
	t->left = !file                 ? 0 :
		  entry->pieces != NULL ? piece_bytes(entry) :
					  (uint64_t)entry->st.st_size;
	t->stored = map_len;
	make_records(t, entry, path, path_len, t->left + map_len);
	if (t->records.full)
		return error_set(e, -E2BIG, "the attributes of a file are too long for an archive");
	make_header(entry, path, path_len, t->left + map_len, &h);
	t->open = true;
	r = put_records(t, e);
	if (r == 0)
		r = put_header(t, &h, e);
	if (r == 0 && map_len > 0)
		r = put(t, map, map_len, e);
	return r == 0 ? tell_cancelled(t, e) : r;
}

uint64_t tar_left(const struct tar *t)
{
	return t->left;
}

int tar_data(struct tar *t, const void *data, size_t len, struct error *e)
{
	if (len > t->left)
		return error_set(e, -EINVAL, "an entry of an archive got more than its size");
	t->left -= len;
	t->stored += len;
	int r = put(t, data, len, e);

	return r == 0 ? tell_cancelled(t, e) : r;
}

static int put_zeros(struct tar *t, uint64_t len, struct error *e)
{
	uint64_t before = output_bytes(t->o, t->item);
	int r = output_zeros(t->o, t->item, len, e);

	if (r != -ECANCELED)
		return r;
	len -= output_bytes(t->o, t->item) - before;
	if (len > 0 && output_zeros(t->o, t->item, len, NULL) < 0)
		return r;
	t->cancelled = true;
	return 0;
}

int tar_zeros(struct tar *t, uint64_t len, struct error *e)
{
	if (len > t->left)
		return error_set(e, -EINVAL, "an entry of an archive got more than its size");
	t->left -= len;
	t->stored += len;
	int r = put_zeros(t, len, e);

	return r == 0 ? tell_cancelled(t, e) : r;
}

int tar_close_entry(struct tar *t, struct error *e)
{
	int r = t->left > 0 ? put_zeros(t, t->left, e) : 0;

	t->stored += t->left;
	t->left = 0;
	if (r == 0)
		r = pad(t, t->stored, e);
	if (r == 0)
		t->open = false;
	return r;
}

int tar_finish(struct tar *t, const char *status, struct error *e)
{
	int r = t->open ? 0 : put(t, zeros, BLOCK, e);

	if (r == 0 && !t->open)
		r = put(t, zeros, BLOCK, e);
	return r == 0 ? output_end(t->o, t->item, status, NULL, e) : r;
}

/* ---- what a file has beside its bytes ---------------------------------------------------------------- */

static bool read_xattr(int fd, const char *name, struct tar_xattr *ret)
{
	ssize_t len = fgetxattr(fd, name, NULL, 0);

	if (len < 0 || (uint64_t)len > TAR_XATTR_BYTES_MAX || strlen(name) >= sizeof(ret->name) ||
	    strchr(name, '=') != NULL)
		return false;
	ret->value = malloc((size_t)len + 1);
	if (ret->value == NULL)
		return false;
	len = fgetxattr(fd, name, ret->value, (size_t)len);
	if (len < 0) {
		free(ret->value);
		return false;
	}
	memcpy(ret->name, name, strlen(name) + 1);
	ret->len = (size_t)len;
	return true;
}

size_t tar_read_xattrs(int fd, struct tar_xattr *ret_xattrs, size_t *ret_lost)
{
	ssize_t size = flistxattr(fd, NULL, 0);
	size_t n = 0;

	*ret_lost = 0;
	if (size <= 0)
		return 0;
	AUTO(free_ptr) char *names = malloc((size_t)size);

	size = names != NULL ? flistxattr(fd, names, (size_t)size) : -1;
	for (const char *at = names; size > 0 && at < names + size; at += strlen(at) + 1)
		if (n < TAR_XATTRS_MAX && read_xattr(fd, at, &ret_xattrs[n]))
			n++;
		else
			++*ret_lost;
	return n;
}

void tar_xattrs_release(struct tar_xattr *xattrs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(xattrs[i].value);
}

bool tar_read_pieces(int fd, uint64_t size, struct tar_piece *ret_pieces, size_t *ret_n)
{
	uint64_t at = 0;
	size_t n = 0;

	while (at < size) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);

		if (data < 0 && errno == ENXIO)
			break; /* a hole up to the end */
		off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);

		if (hole <= data || n == TAR_PIECES_MAX)
			return false;
		uint64_t end = (uint64_t)hole < size ? (uint64_t)hole : size;

		if ((uint64_t)data >= size)
			break;
		ret_pieces[n++] = (struct tar_piece){ (uint64_t)data, end - (uint64_t)data };
		at = end;
	}
	*ret_n = n;
	return n != 1 || ret_pieces[0].offset != 0 || ret_pieces[0].bytes != size;
}
