/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/order_shape.h"

#include <errno.h>
#include <string.h>

#define SNAP_MAX 262144 /* libpcap's MAXIMUM_SNAPLEN */
#define DAY_S 86400U
#define PATHS_MAX 256
#define STOPS_MAX 64
#define INTERFACE_MAX 15 /* IFNAMSIZ without the NUL */
#define FILTER_MAX 4096

static int bad(struct error *e, const char *why)
{
	return error_set(e, -EBADMSG, "the order is malformed: %s", why);
}

/* Absolute, no NUL, no ".." component: what stands in it is what is meant, wherever it is resolved. */
static bool path_good(const ProtobufCBinaryData *path)
{
	size_t start = 0;

	if (path->len == 0 || path->len > ORDER_PATH_MAX || path->data[0] != '/' ||
	    memchr(path->data, '\0', path->len) != NULL)
		return false;
	for (size_t i = 0; i <= path->len; i++) {
		if (i < path->len && path->data[i] != '/')
			continue;
		if (i - start == 2 && memcmp(path->data + start, "..", 2) == 0)
			return false;
		start = i + 1;
	}
	return true;
}

static bool begins_with(const ProtobufCBinaryData *text, const char *prefix)
{
	size_t len = strlen(prefix);

	return text->len > len && memcmp(text->data, prefix, len) == 0;
}

static bool interface_good(const ProtobufCBinaryData *name)
{
	if (name->len > INTERFACE_MAX)
		return false;
	for (size_t i = 0; i < name->len; i++) {
		if (name->data[i] <= ' ' || name->data[i] >= 127 || name->data[i] == '/')
			return false;
	}
	return true;
}

static int check_packets(const Exhibit__V1__Order *o, struct error *e)
{
	const Exhibit__V1__PacketsOrder *p = o->packets;

	if (p->filter.len > FILTER_MAX ||
	    (p->filter.len > 0 && memchr(p->filter.data, '\0', p->filter.len) != NULL))
		return bad(e, "the filter is longer than 4096 bytes, or holds a NUL");
	if (p->snap_bytes > SNAP_MAX)
		return bad(e, "more than 262144 bytes of each packet are asked for");
	if (p->seconds > 7 * DAY_S || p->before_seconds > DAY_S)
		return bad(e, "packets may be asked for 7 days after and 1 day before");
	if (!interface_good(&p->interface))
		return bad(e, "the interface's name cannot be one");
	return 0;
}

static int check_files(const Exhibit__V1__Order *o, struct error *e)
{
	const Exhibit__V1__FilesOrder *f = o->files;

	if (f->n_paths == 0 && !f->deleted)
		return bad(e, "it names no file");
	if (f->n_paths > PATHS_MAX)
		return bad(e, "it names more than 256 paths");
	for (size_t i = 0; i < f->n_paths; i++) {
		if (!path_good(&f->paths[i]))
			return bad(e,
				   "a path must be absolute, of at most 4096 bytes, without '..'");
	}
	return 0;
}

static int check_disk(const Exhibit__V1__Order *o, struct error *e)
{
	if (!path_good(&o->disk->device) || !begins_with(&o->disk->device, "/dev/"))
		return bad(e, "a device must be a path below /dev, without '..'");
	return 0;
}

static bool pattern_good(const Exhibit__V1__ArrestOrder *a)
{
	switch (a->pattern_case) {
	case EXHIBIT__V1__ARREST_ORDER__PATTERN_PATH:
		return path_good(&a->path);
	case EXHIBIT__V1__ARREST_ORDER__PATTERN_PREFIX:
		/* "/" would stop whatever the host starts next. */
		return path_good(&a->prefix) && a->prefix.len > 1;
	case EXHIBIT__V1__ARREST_ORDER__PATTERN_FILE:
		return a->file->inode != 0;
	case EXHIBIT__V1__ARREST_ORDER__PATTERN__NOT_SET:
	case _EXHIBIT__V1__ARREST_ORDER__PATTERN__CASE_IS_INT_SIZE:
		break;
	}
	return false;
}

static int check_arrest(const Exhibit__V1__Order *o, struct error *e)
{
	if (!pattern_good(o->arrest))
		return bad(e, "what to stop must be an absolute path without '..', a prefix longer "
			      "than '/', or a device and inode");
	if (o->arrest->max_stops > STOPS_MAX)
		return bad(e, "more than 64 stops are asked for");
	if (o->arrest->end != EXHIBIT__V1__ARREST_END__ARREST_CONTINUE &&
	    o->arrest->end != EXHIBIT__V1__ARREST_END__ARREST_STAY &&
	    o->arrest->end != EXHIBIT__V1__ARREST_END__ARREST_KILL)
		return bad(e, "what follows the stop is unknown");
	return 0;
}

#define KIND(word) EXHIBIT__V1__ORDER_KIND__ORDER_##word
#define DETAIL(word) EXHIBIT__V1__ORDER__DETAIL_##word

static const struct order_shape shapes[] = {
	[KIND(MEMORY)] = { "memory", DETAIL(MEMORY), ORDER_OF_HOST, NULL },
	[KIND(CORE)] = { "core", DETAIL(CORE), ORDER_OF_CONTAINER | ORDER_OF_PROCESS, NULL },
	[KIND(PACKETS)] = { "packets", DETAIL(PACKETS),
			    ORDER_OF_HOST | ORDER_OF_CONTAINER | ORDER_OF_PROCESS, check_packets },
	[KIND(FILES)] = { "files", DETAIL(FILES),
			  ORDER_OF_HOST | ORDER_OF_CONTAINER | ORDER_OF_PROCESS, check_files },
	[KIND(CHANGES)] = { "changes", DETAIL(CHANGES), ORDER_OF_CONTAINER, NULL },
	[KIND(TRIAGE)] = { "triage", DETAIL(TRIAGE),
			   ORDER_OF_HOST | ORDER_OF_CONTAINER | ORDER_OF_PROCESS, NULL },
	[KIND(DISK)] = { "disk", DETAIL(DISK), ORDER_OF_HOST, check_disk },
	[KIND(ARREST)] = { "arrest", DETAIL(ARREST), ORDER_OF_HOST | ORDER_OF_CONTAINER,
			   check_arrest },
};

static const char *const states[] = {
	[EXHIBIT__V1__ORDER_STATE__ORDER_MADE] = "made",
	[EXHIBIT__V1__ORDER_STATE__ORDER_APPROVED] = "approved",
	[EXHIBIT__V1__ORDER_STATE__ORDER_WAITING] = "waiting",
	[EXHIBIT__V1__ORDER_STATE__ORDER_SENT] = "sent",
	[EXHIBIT__V1__ORDER_STATE__ORDER_REFUSED] = "refused",
	[EXHIBIT__V1__ORDER_STATE__ORDER_STARTED] = "started",
	[EXHIBIT__V1__ORDER_STATE__ORDER_PROGRESS] = "progress",
	[EXHIBIT__V1__ORDER_STATE__ORDER_DONE] = "done",
	[EXHIBIT__V1__ORDER_STATE__ORDER_FAILED] = "failed",
	[EXHIBIT__V1__ORDER_STATE__ORDER_EXPIRED] = "expired",
};

const struct order_shape *order_shape(Exhibit__V1__OrderKind kind)
{
	/* From a message: any number. */
	size_t at = (size_t)kind;

	return at < ARRAY_LEN(shapes) && shapes[at].name != NULL ? &shapes[at] : NULL;
}

const char *order_kind_name(Exhibit__V1__OrderKind kind)
{
	const struct order_shape *shape = order_shape(kind);

	return shape != NULL ? shape->name : NULL;
}

bool order_kind_parse(const char *word, Exhibit__V1__OrderKind *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		if (shapes[i].name != NULL && strcmp(shapes[i].name, word) == 0) {
			*ret = (Exhibit__V1__OrderKind)i;
			return true;
		}
	}
	return false;
}

const char *order_state_name(Exhibit__V1__OrderState state)
{
	size_t at = (size_t)state;

	return at < ARRAY_LEN(states) && states[at] != NULL ? states[at] : "unknown";
}
