/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/users.h"

#include <string.h>
#include <sys/stat.h>

#include "proto/base/files.h"
#include "proto/base/reader.h"

#define SLOTS_BITS 15
#define SLOTS (1u << SLOTS_BITS) /* twice USERS_MAX: a free slot ends every search */

_Static_assert(SLOTS >= 2 * USERS_MAX, "a search must end");

struct user {
	uint32_t uid;
	struct bytes name; /* into file; empty: free slot */
};

struct users {
	const char *path;
	uint64_t looked_ns;
	bool looked;
	struct stat seen; /* of the file that is loaded; all zero: none */
	uint8_t *file;
	struct user *slots; /* SLOTS of them, or NULL */
};

static size_t slot_of(const struct user *slots, uint32_t uid)
{
	/* Knuth's multiplier; its high bits keep ranges of uids (65536 apart) apart. */
	size_t i = (uid * 2654435761u) >> (32 - SLOTS_BITS);

	while (slots[i].name.len && slots[i].uid != uid)
		i = (i + 1) & (SLOTS - 1);
	return i;
}

static bool parse_uid(struct bytes field, uint32_t *ret_uid)
{
	uint64_t uid = 0;

	if (!field.len || field.len > 10)
		return false;
	for (size_t i = 0; i < field.len; i++) {
		if (field.at[i] < '0' || field.at[i] > '9')
			return false;
		uid = uid * 10 + (field.at[i] - '0');
	}
	*ret_uid = (uint32_t)uid;
	return uid < UINT32_MAX; /* (uid_t)-1 is nobody's */
}

/* Everything up to the next stop byte, which r skips too; the rest when there is none. */
static struct bytes until(struct reader *r, char stop)
{
	const uint8_t *end = r->left ? memchr(r->at, stop, r->left) : NULL;
	size_t len = end ? (size_t)(end - r->at) : r->left;
	struct bytes b = { .at = reader_bytes(r, len), .len = len };

	if (end)
		reader_skip(r, 1);
	return b;
}

/* NAME:PASSWORD:UID:... */
static bool parse_line(struct bytes line, uint32_t *ret_uid, struct bytes *ret_name)
{
	struct reader r = reader_init(line.at, line.len);

	*ret_name = until(&r, ':');
	(void)until(&r, ':');
	/* + and - begin NIS lines, # comments. */
	return ret_name->len && ret_name->len <= USERS_NAME_MAX &&
	       !memchr("+-#", ret_name->at[0], 3) && parse_uid(until(&r, ':'), ret_uid);
}

void users_parse(struct bytes file, void (*add)(void *ctx, uint32_t uid, struct bytes name),
		 void *ctx)
{
	struct reader r = reader_init(file.at, file.len);
	size_t n = 0;

	while (r.left && n < USERS_MAX) {
		struct bytes line = until(&r, '\n'), name;
		uint32_t uid;

		if (parse_line(line, &uid, &name)) {
			add(ctx, uid, name);
			n++;
		}
	}
}

struct users *users_new(const char *path)
{
	struct users *u = calloc(1, sizeof(*u));

	if (u)
		u->path = path;
	return u;
}

static void forget(struct users *u)
{
	free(u->file);
	free(u->slots);
	u->file = NULL;
	u->slots = NULL;
}

void users_free(struct users *u)
{
	if (!u)
		return;
	forget(u);
	free(u);
}

static void add_user(void *ctx, uint32_t uid, struct bytes name)
{
	struct user *slots = ctx;
	size_t i = slot_of(slots, uid);

	if (!slots[i].name.len)
		slots[i] = (struct user){ .uid = uid, .name = name };
}

/* No file, no memory: no names, and the next change of the file is another chance. */
static void load(struct users *u)
{
	size_t len;

	forget(u);
	if (files_read(u->path, USERS_FILE_MAX, &u->file, &len, NULL) < 0) {
		u->file = NULL;
		return;
	}
	u->slots = calloc(SLOTS, sizeof(*u->slots));
	if (u->slots)
		users_parse((struct bytes){ .at = u->file, .len = len }, add_user, u->slots);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

void users_refresh(struct users *u, uint64_t now_ns)
{
	struct stat st = { 0 };

	if (u->looked && now_ns < u->looked_ns + NSEC_PER_SEC)
		return;
	u->looked = true;
	u->looked_ns = now_ns;
	if (stat(u->path, &st) < 0)
		st = (struct stat){ 0 };
	if (same_file(&st, &u->seen))
		return;
	u->seen = st;
	load(u);
}

struct bytes users_name(const struct users *u, uint32_t uid)
{
	return u->slots ? u->slots[slot_of(u->slots, uid)].name : (struct bytes){ 0 };
}
