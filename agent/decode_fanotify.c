/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/decode_fanotify.h"

#include <errno.h>
#include <linux/fanotify.h>
#include <string.h>

#ifndef FAN_EVENT_INFO_TYPE_OLD_DFID_NAME /* before Linux 5.17's headers */
#define FAN_EVENT_INFO_TYPE_OLD_DFID_NAME 10
#define FAN_EVENT_INFO_TYPE_NEW_DFID_NAME 12
#endif

/* struct file_handle without its flexible array. */
struct handle_head {
	uint32_t bytes;
	int32_t type;
};

static void read_handle(struct reader *r, struct fanotify_handle *ret)
{
	struct handle_head head;

	reader_copy(r, ret->fsid, sizeof(ret->fsid));
	reader_copy(r, &head, sizeof(head));
	if (head.bytes > FANOTIFY_HANDLE_MAX)
		r->bad = true;
	ret->type = head.type;
	ret->bytes.at = reader_bytes(r, r->bad ? 0 : head.bytes);
	ret->bytes.len = ret->bytes.at ? head.bytes : 0;
}

/* Ends with a NUL and is padded with more of them. */
static void read_name(struct reader *r, struct bytes *ret)
{
	const uint8_t *end = r->left ? memchr(r->at, 0, r->left) : NULL;
	size_t len = end ? (size_t)(end - r->at) : 0;

	if (!end)
		r->bad = true;
	ret->at = reader_bytes(r, len);
	ret->len = ret->at ? len : 0;
	reader_skip(r, r->left);
}

static void read_place(struct reader *r, struct fanotify_place *ret)
{
	read_handle(r, &ret->dir);
	read_name(r, &ret->name);
}

static void read_info(uint8_t type, struct reader *r, struct fanotify_record *ret)
{
	switch (type) {
	case FAN_EVENT_INFO_TYPE_FID:
		read_handle(r, &ret->object);
		break;
	case FAN_EVENT_INFO_TYPE_DFID:
		read_handle(r, &ret->at.dir);
		break;
	case FAN_EVENT_INFO_TYPE_DFID_NAME:
	case FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
		read_place(r, &ret->at);
		break;
	case FAN_EVENT_INFO_TYPE_OLD_DFID_NAME:
		read_place(r, &ret->old);
		break;
	default: /* a later kernel's */
		break;
	}
}

/* The event's information records, which r holds exactly. */
static bool read_infos(struct reader *r, struct fanotify_record *ret)
{
	while (r->left && !r->bad) {
		struct fanotify_event_info_header head;
		struct reader body;

		reader_copy(r, &head, sizeof(head));
		if (head.len < sizeof(head))
			return false;
		body = reader_sub(r, head.len - sizeof(head));
		read_info(head.info_type, &body, ret);
		if (body.bad)
			return false;
	}
	return !r->bad;
}

int decode_fanotify(struct reader *r, struct fanotify_record *ret)
{
	struct fanotify_event_metadata meta;
	struct reader body;

	if (!r->left)
		return 0;
	reader_copy(r, &meta, sizeof(meta));
	if (r->bad || meta.vers != FANOTIFY_METADATA_VERSION || meta.metadata_len < sizeof(meta) ||
	    meta.event_len < meta.metadata_len)
		return -EBADMSG;
	reader_skip(r, meta.metadata_len - sizeof(meta));
	body = reader_sub(r, meta.event_len - meta.metadata_len);
	*ret = (struct fanotify_record){ .mask = meta.mask, .pid = meta.pid };
	return !body.bad && read_infos(&body, ret) ? 1 : -EBADMSG;
}
