/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_comment.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/writer.h"

#define CONTAINER_SHOWN 12 /* as container tools show ids */

static bool is_plain(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("._-/:+@,", c) != NULL);
}

const char *packets_name(const char comm[static PACKETS_COMM_LEN],
			 char buf[static PACKETS_NAME_MAX])
{
	char *at = buf;

	for (size_t i = 0; i < PACKETS_COMM_LEN && comm[i] != '\0'; i++) {
		unsigned char c = (unsigned char)comm[i];

		if (is_plain(c))
			*at++ = (char)c;
		else
			at += snprintf(at, 5, "\\x%02x", c);
	}
	*at = '\0';
	return buf;
}

static bool is_same(const struct packets_user *a, const struct packets_user *b)
{
	return a->pid == b->pid && a->start_ns == b->start_ns;
}

const char *packets_comment(const struct packets_users *users, const char *container,
			    char buf[static PACKETS_COMMENT_MAX])
{
	char name[PACKETS_NAME_MAX], creator[PACKETS_NAME_MAX];
	int n = 0;

	if (users->last.how == PACKETS_UNKNOWN)
		n = snprintf(buf, PACKETS_COMMENT_MAX, "owner=none;");
	else
		n = snprintf(buf, PACKETS_COMMENT_MAX, "pid=%" PRIu32 ";name=%s;", users->last.pid,
			     packets_name(users->last.comm, name));
	if (*container != '\0')
		n += snprintf(buf + n, PACKETS_COMMENT_MAX - (size_t)n, "container=%.*s;",
			      CONTAINER_SHOWN, container);
	if (users->last.how != PACKETS_UNKNOWN && !is_same(&users->creator, &users->last))
		n += snprintf(buf + n, PACKETS_COMMENT_MAX - (size_t)n,
			      "shared;creator=%" PRIu32 ";creator_name=%s;", users->creator.pid,
			      packets_name(users->creator.comm, creator));
	if (users->last.how == PACKETS_FOUND)
		(void)snprintf(buf + n, PACKETS_COMMENT_MAX - (size_t)n, "how=found;");
	return buf;
}

void packets_custom(const struct packets_head *h, uint8_t ret[static PACKETS_CUSTOM_LEN])
{
	struct writer w = writer_init(ret, PACKETS_CUSTOM_LEN);

	writer_bytes(&w, "EXHP", 4);
	writer_u32(&w, h->users.last.pid);
	writer_u64(&w, h->users.last.start_ns);
	writer_u32(&w, h->users.last.exec_id);
	writer_u32(&w, h->users.creator.pid);
	writer_u64(&w, h->users.creator.start_ns);
	writer_u32(&w, h->users.creator.exec_id);
	writer_u8(&w, (uint8_t)h->users.last.how);
	writer_u8(&w, (uint8_t)h->users.creator.how);
	writer_u16(&w, 0);
	writer_u64(&w, h->socket);
}
