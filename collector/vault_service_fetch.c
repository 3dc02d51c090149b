/* SPDX-License-Identifier: Apache-2.0 */
/* Fetch: an item's bytes, of a sealed exhibit or while it arrives, or the manifest. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/vault_follow.h"
#include "collector/vault_service_internal.h"
#include "proto/envelope.h"

#define FOLLOW_MS 100 /* how often it is looked for what came */
#define REPLY_DATA 1 /* FetchReply's fields */
#define REPLY_MANIFEST 2

/* ---- what is sealed -------------------------------------------------------------------------------------- */

static int fetch_leaf(struct call *c, const Exhibit__V1__ExhibitInfo *info,
		      const ProtobufCBinaryData *object, uint64_t size, const char *text,
		      struct error *e)
{
	return vault_fetched(vault_of(c), &c->tenant, info, c->subject, object, size, text, e);
}

/* A reply's head and room for len bytes behind it. */
static uint8_t *reply_of(uint32_t field, size_t len, size_t *ret_head)
{
	uint8_t head[ENVELOPE_HEAD_MAX];
	uint8_t *data;

	*ret_head = envelope_head(head, field, len);
	data = malloc(*ret_head + len + 1);
	if (data != NULL)
		memcpy(data, head, *ret_head);
	return data;
}

static int send_range(struct call *c, int fd, uint64_t offset, uint64_t size, struct error *e)
{
	int r = 0;

	while (r == 0 && offset < size && !call_over(c)) {
		size_t len = size - offset < VAULT_CHUNK_BYTES ? (size_t)(size - offset) :
								 VAULT_CHUNK_BYTES;
		size_t head;
		uint8_t *data = reply_of(REPLY_DATA, len, &head);

		if (data == NULL)
			return error_set(e, -ENOMEM, "the collector is out of memory");
		ssize_t n = pread(fd, data + head, len, (off_t)offset);

		if (n != (ssize_t)len) {
			free(data);
			return error_set(e, -EIO, "the item's bytes %llu to %llu cannot be read",
					 (unsigned long long)offset,
					 (unsigned long long)(offset + len - 1));
		}
		r = call_send(c, data, head + len);
		offset += len;
	}
	return r;
}

static int fetch_item(struct call *c, const Exhibit__V1__FetchRequest *q,
		      const Exhibit__V1__ExhibitInfo *info, struct error *e)
{
	AUTO(close_fd) int fd = -1;
	Exhibit__V1__ItemInfo *item = NULL;
	char text[VAULT_NAME_MAX + 64];
	int r = vault_open_item(vault_of(c), &c->tenant, q->exhibit_id.data, q->name.data,
				q->name.len, &fd, &item, e);

	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text), "item '%.*s' from byte %llu on", (int)item->name.len,
		       (const char *)item->name.data, (unsigned long long)q->offset);
	if (q->offset > item->bytes)
		r = error_set(e, -EINVAL, "the item has %llu bytes only",
			      (unsigned long long)item->bytes);
	if (r == 0)
		r = fetch_leaf(c, info, &item->sha256, item->bytes - q->offset, text, e);
	if (r == 0)
		r = send_range(c, fd, q->offset, item->bytes, e);
	exhibit__v1__item_info__free_unpacked(item, NULL);
	return r;
}

static int fetch_manifest(struct call *c, const Exhibit__V1__FetchRequest *q,
			  const Exhibit__V1__ExhibitInfo *info, struct error *e)
{
	Exhibit__V1__SignedManifest *m = NULL;
	int r = vault_manifest(vault_of(c), &c->tenant, q->exhibit_id.data, &m, e);
	size_t len, head;
	uint8_t *data;

	if (r < 0)
		return r;
	r = fetch_leaf(c, info, &info->manifest_sha256, m->manifest.len, "manifest", e);
	len = exhibit__v1__signed_manifest__get_packed_size(m);
	data = r == 0 ? reply_of(REPLY_MANIFEST, len, &head) : NULL;
	if (data != NULL) {
		(void)exhibit__v1__signed_manifest__pack(m, data + head);
		r = call_send(c, data, head + len);
	} else if (r == 0) {
		r = error_set(e, -ENOMEM, "the collector is out of memory");
	}
	exhibit__v1__signed_manifest__free_unpacked(m, NULL);
	return r;
}

/* ---- while it arrives ------------------------------------------------------------------------------------ */

static int send_followed(struct call *c, struct vault_follow *f, uint64_t at, struct error *e)
{
	bool end = false;
	int r = 0;

	while (r == 0 && !call_over(c)) {
		uint64_t bytes = 0;

		r = vault_follow_look(f, &bytes, &end, e);
		if (r == 0 && bytes > at) {
			r = send_range(c, vault_follow_fd(f), at, bytes, e);
			at = bytes;
		}
		if (r == 0 && end)
			return 0;
		if (r == 0)
			(void)usleep(FOLLOW_MS * 1000);
	}
	return r < 0 ? r : -ECANCELED;
}

/* What will be its hash nobody knows yet: the leaf names the item. */
static int follow(struct call *c, struct vault_follow *f, const Exhibit__V1__FetchRequest *q,
		  const Exhibit__V1__ExhibitInfo *info, struct error *e)
{
	const ProtobufCBinaryData none = { 0 };
	char text[VAULT_NAME_MAX + 64];

	(void)snprintf(text, sizeof(text), "item '%.*s' from byte %llu on, as it arrives",
		       (int)q->name.len, (const char *)q->name.data, (unsigned long long)q->offset);
	int r = fetch_leaf(c, info, &none, 0, text, e);

	return r == 0 ? send_followed(c, f, q->offset, e) : r;
}

/* 0: it is sealed and can be opened. -EAGAIN: between arriving and sealed, where it is neither. */
static int try_sealed(struct call *c, const Exhibit__V1__FetchRequest *q, struct error *e)
{
	Exhibit__V1__ItemInfo *item = NULL;
	AUTO(close_fd) int fd = -1;
	int r = vault_open_item(vault_of(c), &c->tenant, q->exhibit_id.data, q->name.data,
				q->name.len, &fd, &item, e);

	if (r == 0)
		exhibit__v1__item_info__free_unpacked(item, NULL);
	return r;
}

/* Waits until the item has begun. ret: NULL when it is sealed. */
static int open_either(struct call *c, const Exhibit__V1__FetchRequest *q,
		       struct vault_follow **ret, struct error *e)
{
	for (;;) {
		int r = vault_follow_open(vault_of(c), &c->tenant, q->exhibit_id.data, q->name.data,
					  q->name.len, ret, e);

		if (r == 1)
			r = try_sealed(c, q, e);
		if (r != -EAGAIN)
			return r;
		*e = (struct error){ 0 };
		if (call_over(c))
			return -ECANCELED;
		(void)usleep(FOLLOW_MS * 1000);
	}
}

static int fetch_following(struct call *c, const Exhibit__V1__FetchRequest *q,
			   const Exhibit__V1__ExhibitInfo *info, struct error *e)
{
	struct vault_service *s = vault_service_of(c);
	struct vault_follow *f = NULL;
	int r;

	if (atomic_fetch_add(&s->followers, 1) >= VAULT_FOLLOWERS_MAX)
		r = error_set(e, -ENOSPC, "%d exhibits are followed already; try again",
			      VAULT_FOLLOWERS_MAX);
	else
		r = open_either(c, q, &f, e);
	if (r == 0)
		r = f != NULL ? follow(c, f, q, info, e) : fetch_item(c, q, info, e);
	vault_follow_free(f);
	(void)atomic_fetch_sub(&s->followers, 1);
	return r;
}

/* ---- either ---------------------------------------------------------------------------------------------- */

int vault_call_fetch(struct call *c, struct error *e)
{
	const Exhibit__V1__FetchRequest *q = (const void *)c->question;
	Exhibit__V1__ExhibitInfo *info = NULL;
	int r;

	if (q->exhibit_id.len != VAULT_ID_LEN)
		return error_set(e, -EINVAL, "an exhibit's id has %d bytes", VAULT_ID_LEN);
	r = vault_get(vault_of(c), &c->tenant, q->exhibit_id.data, &info, e);
	if (r < 0)
		return r;
	if (q->name.len == 0)
		r = fetch_manifest(c, q, info, e);
	else
		r = q->follow ? fetch_following(c, q, info, e) : fetch_item(c, q, info, e);
	exhibit__v1__exhibit_info__free_unpacked(info, NULL);
	return r;
}
