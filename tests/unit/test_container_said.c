/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include <errno.h>
#include <string.h>

#include "agent/container_said.h"

#define ID "0123456789abcdef"
#define CRI                                                                                        \
	"\"io.kubernetes.cri.container-name\":\"main\",\"io.kubernetes.cri.image-name\":\"a:1\","  \
	"\"io.kubernetes.cri.sandbox-name\":\"web-0\",\"io.kubernetes.cri.sandbox-namespace\":"    \
	"\"shop\",\"io.kubernetes.cri.sandbox-uid\":\"0b5f\""
#define CRIO                                                                                       \
	"\"io.container.manager\":\"cri-o\",\"io.kubernetes.container.name\":\"main\","            \
	"\"io.kubernetes.cri-o.ImageName\":\"a:1\",\"io.kubernetes.pod.name\":\"web-0\","          \
	"\"io.kubernetes.pod.namespace\":\"shop\",\"io.kubernetes.pod.uid\":\"0b5f\""
#define BOTH(annotations) "{\"annotations\":{" annotations "},\"linux\":{\"cgroupsPath\":\"/a/b\"}}"

enum file { CONFIG, DOCKER, DOCKER_KUBE, LIST };

static const struct row {
	const char *name;
	enum file file;
	const char *json;
	int want;
	const char *said[5]; /* name, image, pod, namespace, uid */
	const char *runtime; /* NULL: not told */
} rows[] = {
	{ "empty", CONFIG, "", -EBADMSG, { 0 }, NULL },
	{ "half-written", CONFIG, "{\"annotations\":{\"io.kub", -EBADMSG, { 0 }, NULL },
	{ "an array", CONFIG, "[]", -EBADMSG, { 0 }, NULL },
	{ "two of one key", CONFIG, "{\"linux\":{},\"linux\":{}}", -EBADMSG, { 0 }, NULL },
	{ "a NUL in a name",
	  CONFIG,
	  "{\"annotations\":{\"io.kubernetes.cri.container-name\":\"a\\u0000b\"}}",
	  -EBADMSG,
	  { 0 },
	  NULL },
	{ "nothing said", CONFIG, "{}", 0, { "", "", "", "", "" }, NULL },
	{ "of other types",
	  CONFIG,
	  "{\"annotations\":{\"io.kubernetes.cri.container-name\":7},\"linux\":[]}",
	  0,
	  { "", "", "", "", "" },
	  NULL },
	{ "annotations are a text",
	  CONFIG,
	  "{\"annotations\":\"x\",\"linux\":\"y\"}",
	  0,
	  { "", "", "", "", "" },
	  NULL },
	{ "containerd", CONFIG, BOTH(CRI), 0, { "main", "a:1", "web-0", "shop", "0b5f" }, NULL },
	{ "CRI-O", CONFIG, BOTH(CRIO), 0, { "main", "a:1", "web-0", "shop", "0b5f" }, "cri-o" },
	{ "an image's annotations under podman",
	  CONFIG,
	  BOTH(CRI ",\"io.container.manager\":\"libpod\""),
	  0,
	  { "", "", "", "", "" },
	  "podman" },
	{ "docker",
	  DOCKER,
	  "{\"Name\":\"/web\",\"Config\":{\"Image\":\"nginx:1\"}}",
	  0,
	  { "web", "nginx:1", "", "", "" },
	  "docker" },
	{ "an image's labels under docker",
	  DOCKER,
	  "{\"Name\":\"/web\",\"Config\":{\"Image\":\"i\",\"Labels\":{\"io.kubernetes.pod.name\":\"p\"}}}",
	  0,
	  { "web", "i", "", "", "" },
	  "docker" },
	{ "the kubelet's labels",
	  DOCKER_KUBE,
	  "{\"Name\":\"/k8s_x\",\"Config\":{\"Image\":\"i\",\"Labels\":{\"io.kubernetes.pod.name\":\"p\"}}}",
	  0,
	  { "k8s_x", "i", "p", "", "" },
	  "docker" },
	{ "not in the list", LIST, "[{\"id\":\"0123456789abcdee\"},{},7]", -ENOENT, { 0 }, NULL },
	{ "podman's list",
	  LIST,
	  "[{\"id\":\"x\",\"names\":[\"no\"]},{\"id\":\"" ID "\",\"names\":[\"web\"],"
	  "\"metadata\":\"{\\\"image-name\\\":\\\"nginx:1\\\"}\"}]",
	  0,
	  { "web", "nginx:1", "", "", "" },
	  NULL },
	{ "metadata that is no JSON",
	  LIST,
	  "[{\"id\":\"" ID "\",\"names\":[\"web\"],\"metadata\":\"{\"}]",
	  0,
	  { "web", "", "", "", "" },
	  NULL },
};

static int say(const struct row *row, struct container_said *said, struct error *e)
{
	const uint8_t *json = (const uint8_t *)row->json;
	size_t len = strlen(row->json);
	struct bytes id = { .at = (const uint8_t *)ID, .len = strlen(ID) };

	switch (row->file) {
	case CONFIG:
		return container_said_config(json, len, said, e);
	case DOCKER_KUBE:
		(void)snprintf(said->cgroups_path, sizeof(said->cgroups_path), "/kubepods/podx/y");
		return container_said_docker(json, len, said, e);
	case DOCKER:
		return container_said_docker(json, len, said, e);
	case LIST:
		return container_said_list(json, len, id, said, e);
	}
	return -1;
}

static void parse(void **state)
{
	const struct row *row = *state;
	struct container_said said = { 0 };
	struct error e = { 0 };
	int r = say(row, &said, &e);
	const char *got[] = { said.name, said.image, said.pod_name, said.pod_namespace,
			      said.pod_uid };

	assert_int_equal(r, row->want);
	assert_int_equal(r < 0, e.text[0] != 0);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(got); i++)
		assert_string_equal(got[i], row->said[i]);
	if (r == 0 && row->runtime)
		assert_string_equal(said.runtime, row->runtime);
	else
		assert_null(said.runtime);
}

/* 4 MiB of brackets would take a hundred times as much. */
static void memory_is_bounded(void **state)
{
	size_t len = MiB(4);
	char *json = malloc(len + 1);
	struct container_said said = { 0 };
	struct error e = { 0 };

	(void)state;
	assert_non_null(json);
	json[0] = '[';
	for (size_t i = 1; i + 3 <= len; i += 3)
		memcpy(json + i, "[],", 3);
	assert_int_equal(container_said_config((uint8_t *)json, len, &said, &e), -ENOMEM);
	assert_non_null(strstr(e.text, "64 MiB"));
	free(json);
}

static void a_long_name_is_left_out(void **state)
{
	char name[CONTAINER_NAME_MAX + 2], json[1024];
	struct container_said said = { 0 };

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	(void)snprintf(json, sizeof(json), "{\"annotations\":{\"io.kubernetes.pod.name\":\"%s\"}}",
		       name);
	assert_int_equal(container_said_config((uint8_t *)json, strlen(json), &said, NULL), 0);
	assert_string_equal(said.pod_name, "");
	(void)snprintf(json, sizeof(json), "{\"annotations\":{\"io.kubernetes.pod.name\":\"%s\"}}",
		       name + 1);
	assert_int_equal(container_said_config((uint8_t *)json, strlen(json), &said, NULL), 0);
	assert_string_equal(said.pod_name, name + 1);
}

static const struct at_row {
	const char *name, *cgroups_path, *path;
	bool want;
} at_rows[] = {
	{ "nothing said", "", "/a/b", false },
	{ "the root", "/", "/", false },
	{ "another", "/a/b", "/a/c", false },
	{ "below it", "/a/b", "/a/b/c", false },
	{ "ends like it", "/a/b", "/x/a/b", false },
	{ "the same", "/a/b", "/a/b", true },
	{ "relative", "a/b", "/a/b", true },
	{ "systemd's form under cgroupfs", "x.slice:p:n", "/x.slice:p:n", true },
	{ "slices", "kubepods-burstable-pod1_2.slice:cri-containerd:n",
	  "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-n.scope",
	  true },
	{ "another slice", "kubepods-burstable-pod1_2.slice:cri-containerd:n",
	  "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_3.slice/cri-containerd-n.scope",
	  false },
	{ "no slice", ":docker:n", "/system.slice/docker-n.scope", true },
	{ "root slice", "-.slice:docker:n", "/docker-n.scope", true },
	{ "no prefix", "machine.slice::n", "/machine.slice/n.scope", true },
	{ "no suffix", "machine:libpod:n", "/machine/libpod-n.scope", false },
	{ "four parts", "machine.slice:a:b:c", "/machine.slice/a-b:c.scope", false },
	{ "from another namespace", "/kubepods/pod1/n", "/../../pod1/n", true },
	{ "from another namespace, another", "/kubepods/pod1/n", "/../../pod2/n", false },
	{ "from another namespace, a part of a name", "/kubepods/pod1/n", "/../1/n", false },
	{ "from another namespace, nothing", "/kubepods/pod1/n", "/../..", false },
	{ "from another namespace, the root", "/kubepods/pod1/n", "/../../", false },
};

static void at(void **state)
{
	const struct at_row *row = *state;
	struct bytes path = { .at = (const uint8_t *)row->path, .len = strlen(row->path) };

	assert_int_equal(container_said_is_at(row->cgroups_path, path), row->want);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, parse, rows);
	ADD_ROWS(&t, at, at_rows);
	ADD_TEST(&t, memory_is_bounded);
	ADD_TEST(&t, a_long_name_is_left_out);
	return tests_run(&t, "container_said");
}
