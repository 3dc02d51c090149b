/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/workload.h"

#include <string.h>

#include "proto/base/reader.h"

#define ID_LEN 64 /* hex digits of a container id */
#define ECS_TASK_LEN 32

static struct bytes slice(struct bytes b, size_t from, size_t len)
{
	return (struct bytes){ .at = b.at + from, .len = len };
}

static bool equals(struct bytes b, const char *text)
{
	return b.len == strlen(text) && !memcmp(b.at, text, b.len);
}

static bool begins(struct bytes b, const char *text)
{
	return b.len >= strlen(text) && !memcmp(b.at, text, strlen(text));
}

static bool ends(struct bytes b, const char *text)
{
	size_t len = strlen(text);

	return b.len >= len && !memcmp(b.at + b.len - len, text, len);
}

static struct bytes without_end(struct bytes b, const char *text)
{
	return ends(b, text) ? slice(b, 0, b.len - strlen(text)) : b;
}

static bool is_hex(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool all(struct bytes b, bool (*is)(uint8_t c))
{
	for (size_t i = 0; i < b.len; i++)
		if (!is(b.at[i]))
			return false;
	return b.len > 0;
}

/* The next component, which r skips; false at the end. */
static bool next_component(struct reader *r, struct bytes *ret)
{
	const uint8_t *slash;
	size_t len;

	while (r->left && r->at[0] == '/')
		reader_skip(r, 1);
	if (!r->left)
		return false;
	slash = memchr(r->at, '/', r->left);
	len = slash ? (size_t)(slash - r->at) : r->left;
	*ret = (struct bytes){ .at = reader_bytes(r, len), .len = len };
	return !r->bad;
}

/* [RUNTIME(-|:)]ID[.scope]; conmon, the process beside a podman or CRI-O container, is none. */
static struct bytes id_of(struct bytes component)
{
	struct bytes c = without_end(component, ".scope");
	struct bytes id, before;

	if (c.len < ID_LEN)
		return (struct bytes){ 0 };
	id = slice(c, c.len - ID_LEN, ID_LEN);
	if (!all(id, is_hex))
		return (struct bytes){ 0 };
	before = slice(c, 0, c.len - ID_LEN);
	if (!before.len)
		return id;
	if (before.at[before.len - 1] != '-' && before.at[before.len - 1] != ':')
		return (struct bytes){ 0 };
	before.len--;
	return !before.len || ends(before, "conmon") ? (struct bytes){ 0 } : id;
}

/* Fargate: /ecs/TASK/TASK-NUMBER, where TASK is 32 hex digits. Elsewhere 32 digits may be anything. */
static struct bytes ecs_id_of(struct bytes task, struct bytes component)
{
	if (task.len != ECS_TASK_LEN || !all(task, is_hex) || component.len < ECS_TASK_LEN + 2 ||
	    memcmp(component.at, task.at, ECS_TASK_LEN) != 0 || component.at[ECS_TASK_LEN] != '-' ||
	    !all(slice(component, ECS_TASK_LEN + 1, component.len - ECS_TASK_LEN - 1), is_digit))
		return (struct bytes){ 0 };
	return component;
}

static bool is_unit(struct bytes c)
{
	return (ends(c, ".service") && c.len > strlen(".service")) ||
	       (ends(c, ".scope") && c.len > strlen(".scope"));
}

/* "pod0b5f-1", "kubepods-burstable-pod0b5f_1.slice"; a container's own name may begin so too. */
static struct bytes pod_uid_of(struct bytes component)
{
	struct bytes c = without_end(component, ".slice");

	if (c.len != component.len) {
		const uint8_t *dash = memrchr(c.at, '-', c.len);
		size_t from = dash ? (size_t)(dash - c.at) + 1 : 0;

		c = slice(c, from, c.len - from);
	}
	if (!begins(c, "pod") || c.len == strlen("pod") || c.len > strlen("pod") + WORKLOAD_UID_LEN)
		return (struct bytes){ 0 };
	return slice(c, strlen("pod"), c.len - strlen("pod"));
}

/* /user.slice/user-1000.slice/session-3.scope: what logind makes, at no other depth. */
static struct bytes session_of(struct bytes component)
{
	struct bytes c = without_end(component, ".scope");
	size_t skip = strlen("session-");

	if (c.len == component.len || !begins(c, "session-") || c.len == skip)
		return (struct bytes){ 0 };
	return slice(c, skip, c.len - skip);
}

enum place { PLACE_OTHER, PLACE_KUBELET, PLACE_USERS, PLACE_USER, PLACE_ECS };

/* Where the component after this one stands. */
static enum place place_after(enum place before, size_t depth, struct bytes c)
{
	if (depth == 0 && (equals(c, "kubepods") || equals(c, "kubepods.slice")))
		return PLACE_KUBELET;
	if (depth == 0 && equals(c, "user.slice"))
		return PLACE_USERS;
	if (equals(c, "ecs"))
		return PLACE_ECS;
	if (before == PLACE_USERS)
		return begins(c, "user-") ? PLACE_USER : PLACE_OTHER;
	return before == PLACE_USER ? PLACE_OTHER : before;
}

struct workload workload_parse(struct bytes path)
{
	enum place place = PLACE_OTHER;
	struct workload w = { 0 };
	struct bytes c, before = { 0 };
	struct reader r;

	path = without_end(path, " (deleted)");
	r = reader_init(path.at, path.len);
	for (size_t depth = 0; !w.container_id.len && next_component(&r, &c); depth++) {
		if (equals(c, "..")) {
			depth--;
			continue;
		}
		w.container_id = id_of(c);
		if (!w.container_id.len && place == PLACE_ECS)
			w.container_id = ecs_id_of(before, c);
		if (w.container_id.len)
			w.container_len = (size_t)(c.at + c.len - path.at);
		else if (place == PLACE_KUBELET && pod_uid_of(c).len)
			w.pod_uid = pod_uid_of(c);
		if (place == PLACE_USER)
			w.session = session_of(c);
		if (is_unit(c))
			w.unit = c;
		place = place_after(place, depth, c);
		before = c;
	}
	return w;
}

/* A line is ID:CONTROLLERS:PATH (cgroups(7)); controllers are empty in the unified hierarchy. */
static bool parse_line(struct bytes line, struct bytes *ret_controllers, struct bytes *ret_path)
{
	const uint8_t *colon = line.len ? memchr(line.at, ':', line.len) : NULL;
	struct bytes rest;

	if (!colon)
		return false;
	rest = slice(line, (size_t)(colon - line.at) + 1, line.len - (size_t)(colon - line.at) - 1);
	colon = rest.len ? memchr(rest.at, ':', rest.len) : NULL;
	if (!colon)
		return false;
	*ret_controllers = slice(rest, 0, (size_t)(colon - rest.at));
	*ret_path = slice(rest, ret_controllers->len + 1, rest.len - ret_controllers->len - 1);
	return ret_path->len > 0;
}

/* More is better: container, unit, then hierarchy. */
static int worth(struct bytes controllers, struct bytes path)
{
	struct workload w = workload_parse(path);
	int value = w.container_id.len ? 16 : (w.unit.len ? 8 : 0);

	if (!controllers.len)
		return value + 4;
	if (begins(controllers, "memory"))
		return value + 3;
	if (begins(controllers, "pids"))
		return value + 2;
	return value + (equals(controllers, "name=systemd") ? 1 : 0);
}

struct bytes workload_of_proc_cgroup(struct bytes file)
{
	struct reader r = reader_init(file.at, file.len);
	struct bytes best = { 0 };
	int best_worth = -1;

	while (r.left) {
		const uint8_t *end = memchr(r.at, '\n', r.left);
		size_t len = end ? (size_t)(end - r.at) : r.left;
		struct bytes line = { .at = reader_bytes(&r, len), .len = len };
		struct bytes controllers, path;

		reader_skip(&r, end ? 1 : 0);
		if (!parse_line(line, &controllers, &path) ||
		    worth(controllers, path) <= best_worth)
			continue;
		best_worth = worth(controllers, path);
		best = path;
	}
	return best;
}
