/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/container_said.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <string.h>

/* A few bytes of JSON ("[[[[") can take a hundred times as much as values: each parse has a budget, which freeing
 * does not give back. */
static _Thread_local struct {
	size_t left;
	bool exceeded;
} budget;

static void *take_memory(size_t size)
{
	budget.exceeded = budget.exceeded || size > budget.left;
	if (budget.exceeded)
		return NULL;
	budget.left -= size;
	return malloc(size);
}

static void bound_memory(void)
{
	json_set_alloc_funcs(take_memory, free);
}

static void drop(json_t **j)
{
	json_decref(*j);
}

static int parse(const uint8_t *text, size_t len, bool (*is)(const json_t *j), json_t **ret,
		 struct error *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	json_error_t why = { 0 };
	json_t *j;

	(void)pthread_once(&once, bound_memory);
	budget.left = CONTAINER_JSON_MEMORY;
	budget.exceeded = false;
	j = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, &why);
	if (!j && budget.exceeded)
		return error_set(e, -ENOMEM, "its JSON takes more than %zu MiB of memory",
				 (size_t)(CONTAINER_JSON_MEMORY >> 20));
	if (!j)
		return error_set(e, -EBADMSG, "it is no JSON (line %d: %s)", why.line, why.text);
	if (!is(j)) {
		json_decref(j);
		return error_set(e, -EBADMSG, "its JSON is not of the form that it should be");
	}
	*ret = j;
	return 0;
}

static bool is_object(const json_t *j)
{
	return json_is_object(j);
}

static bool is_array(const json_t *j)
{
	return json_is_array(j);
}

/* The first of the keys that is a text; longer than it may be: left out. */
struct source {
	const char *key[4];
	size_t at, max;
};

#define TO(member)                                                                                 \
	offsetof(struct container_said, member), sizeof(((struct container_said *)0)->member) - 1

static const struct source annotations[] = {
	{ { "io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name" },
	  TO(name) },
	{ { "io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName" }, TO(image) },
	{ { "io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name" }, TO(pod_name) },
	{ { "io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace" },
	  TO(pod_namespace) },
	{ { "io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid" }, TO(pod_uid) },
};

static void take_text(const json_t *value, struct container_said *said, size_t at, size_t max)
{
	size_t len = json_string_length(value);

	if (!json_is_string(value) || !len || len > max)
		return;
	memcpy((char *)said + at, json_string_value(value), len + 1);
}

static void take_sources(const json_t *from, struct container_said *said)
{
	for (size_t i = 0; i < ARRAY_LEN(annotations); i++) {
		const struct source *s = &annotations[i];
		const json_t *value = NULL;

		for (size_t k = 0; !value && k < ARRAY_LEN(s->key) && s->key[k]; k++)
			value = json_object_get(from, s->key[k]);
		take_text(value, said, s->at, s->max);
	}
}

static const char *runtime_of(const json_t *from)
{
	const char *manager = json_string_value(json_object_get(from, "io.container.manager"));

	if (manager && strcmp(manager, "cri-o") == 0)
		return "cri-o";
	if (manager && strcmp(manager, "libpod") == 0)
		return "podman";
	return json_object_get(from, "io.kubernetes.cri-o.ContainerType") ? "cri-o" : NULL;
}

void container_said_no_pod(struct container_said *said)
{
	said->pod_name[0] = said->pod_namespace[0] = said->pod_uid[0] = '\0';
}

int container_said_config(const uint8_t *json, size_t len, struct container_said *said,
			  struct error *e)
{
	AUTO(drop) json_t *j = NULL;
	const json_t *from;
	int r = parse(json, len, is_object, &j, e);

	if (r < 0)
		return r;
	from = json_object_get(j, "annotations");
	take_text(json_object_get(json_object_get(j, "linux"), "cgroupsPath"), said,
		  TO(cgroups_path));
	take_sources(from, said);
	said->runtime = runtime_of(from);
	if (!said->runtime || strcmp(said->runtime, "podman") != 0)
		return 0;
	/* podman takes annotations over from the image, whose maker then chose them. */
	container_said_no_pod(said);
	said->name[0] = said->image[0] = '\0';
	return 0;
}

int container_said_docker(const uint8_t *json, size_t len, struct container_said *said,
			  struct error *e)
{
	AUTO(drop) json_t *j = NULL;
	const json_t *config;
	int r = parse(json, len, is_object, &j, e);

	if (r < 0)
		return r;
	config = json_object_get(j, "Config");
	take_text(json_object_get(j, "Name"), said, TO(name));
	if (said->name[0] == '/') /* docker's names do */
		memmove(said->name, said->name + 1, strlen(said->name));
	take_text(json_object_get(config, "Image"), said, TO(image));
	/* Labels are the image's too; below the kubelet's cgroups they are the kubelet's. */
	if (strstr(said->cgroups_path, "kubepods"))
		take_sources(json_object_get(config, "Labels"), said);
	said->runtime = "docker";
	return 0;
}

static void take_listed(const json_t *item, struct container_said *said)
{
	AUTO(drop) json_t *more = NULL;
	const char *metadata = json_string_value(json_object_get(item, "metadata"));

	take_text(json_array_get(json_object_get(item, "names"), 0), said, TO(name));
	/* A text that holds JSON. */
	if (metadata &&
	    parse((const uint8_t *)metadata, strlen(metadata), is_object, &more, NULL) == 0)
		take_text(json_object_get(more, "image-name"), said, TO(image));
}

int container_said_list(const uint8_t *json, size_t len, struct bytes id,
			struct container_said *said, struct error *e)
{
	AUTO(drop) json_t *j = NULL;
	int r = parse(json, len, is_array, &j, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < json_array_size(j); i++) {
		const json_t *item = json_array_get(j, i);
		const json_t *of = json_object_get(item, "id");

		if (json_string_length(of) != id.len ||
		    memcmp(json_string_value(of), id.at, id.len) != 0)
			continue;
		take_listed(item, said);
		return 0;
	}
	return error_set(e, -ENOENT, "it does not list the container");
}

/* ---- where the container is -------------------------------------------------------------------------- */

/* What has been put together of a path; too long: bad. */
struct made {
	char at[CONTAINER_PATH_MAX + 1];
	size_t len;
	bool bad;
};

static void add(struct made *m, const char *text, size_t len)
{
	if (m->len + len >= sizeof(m->at)) {
		m->bad = true;
		return;
	}
	memcpy(m->at + m->len, text, len);
	m->len += len;
	m->at[m->len] = '\0';
}

/* "a-b.slice" lies in "a.slice" (systemd.slice(5)); "-.slice" is the root. */
static void add_slices(struct made *m, const char *slice, size_t len)
{
	static const char suffix[] = ".slice";
	size_t stem = len - (sizeof(suffix) - 1);

	if (len < sizeof(suffix) - 1 || memcmp(slice + stem, suffix, sizeof(suffix) - 1) != 0) {
		m->bad = true;
		return;
	}
	if (stem == 1 && slice[0] == '-')
		return;
	for (size_t i = 0; i < stem; i++) {
		if (slice[i] != '-')
			continue;
		add(m, "/", 1);
		add(m, slice, i);
		add(m, suffix, sizeof(suffix) - 1);
	}
	add(m, "/", 1);
	add(m, slice, len);
}

/* "SLICE:PREFIX:NAME" (runc, libcontainer/cgroups/systemd): SLICE/PREFIX-NAME.scope, or SLICE/NAME when that is a
 * slice; no slice: system.slice. */
static bool expand_systemd(const char *text, struct made *m)
{
	const char *first = strchr(text, ':'), *second = first ? strchr(first + 1, ':') : NULL;

	if (!second || strchr(second + 1, ':'))
		return false;
	if (first == text)
		add_slices(m, "system.slice", strlen("system.slice"));
	else
		add_slices(m, text, (size_t)(first - text));
	add(m, "/", 1);
	if (second > first + 1) {
		add(m, first + 1, (size_t)(second - first - 1));
		add(m, "-", 1);
	}
	add(m, second + 1, strlen(second + 1));
	add(m, ".scope", strlen(".scope"));
	return !m->bad;
}

static bool same(struct bytes path, const struct made *m)
{
	bool elsewhere = path.len >= 3 && memcmp(path.at, "/..", 3) == 0;
	const uint8_t *end;

	if (m->bad || m->len < 2)
		return false;
	if (!elsewhere)
		return path.len == m->len && memcmp(path.at, m->at, m->len) == 0;
	/* How much of it leads out of our own namespace is not known: compare what is below the last "..". */
	while (path.len >= 3 && memcmp(path.at, "/..", 3) == 0) {
		path.at += 3;
		path.len -= 3;
	}
	end = (const uint8_t *)m->at + m->len;
	return path.len > 1 && path.at[0] == '/' && path.len <= m->len &&
	       memcmp(end - path.len, path.at, path.len) == 0;
}

bool container_said_is_at(const char *cgroups_path, struct bytes path)
{
	struct made plain = { 0 }, systemd = { 0 };

	if (!cgroups_path[0])
		return false;
	if (cgroups_path[0] != '/')
		add(&plain, "/", 1);
	add(&plain, cgroups_path, strlen(cgroups_path));
	if (same(path, &plain))
		return true;
	return expand_systemd(cgroups_path, &systemd) && same(path, &systemd);
}
