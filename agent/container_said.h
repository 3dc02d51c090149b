/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of container runtimes say of one container. Pure: bytes in, struct out. The bytes are what
 * root's runtime wrote of what somebody asked it for: taken for hostile. Sources: OCI runtime spec,
 * config.md; annotations of containerd's CRI plugin (pkg/cri/annotations), of CRI-O (pkg/annotations), of podman;
 * docker's config.v2.json (daemon/container); containers/storage's containers.json. */
#ifndef AGENT_CONTAINER_SAID_H
#define AGENT_CONTAINER_SAID_H

#include "agent/event.h"
#include "proto/base/error.h"

#define CONTAINER_NAME_MAX                                                                         \
	255 /* of a container, a pod, a namespace: Kubernetes' own bound is 253 */
#define CONTAINER_IMAGE_MAX 512
#define CONTAINER_UID_MAX 64
#define CONTAINER_PATH_MAX 1024 /* of a cgroup, as the kernel's tracepoint tells it at most */
/* What one file's JSON may take in memory, whatever stands in it. */
#define CONTAINER_JSON_MEMORY MiB(64)

/* Texts end with a NUL; empty: not said, or longer than its maximum. */
struct container_said {
	char cgroups_path[CONTAINER_PATH_MAX + 1]; /* linux.cgroupsPath, as it stands there */
	char name[CONTAINER_NAME_MAX + 1];
	char image[CONTAINER_IMAGE_MAX + 1];
	char pod_name[CONTAINER_NAME_MAX + 1];
	char pod_namespace[CONTAINER_NAME_MAX + 1];
	char pod_uid[CONTAINER_UID_MAX + 1];
	const char *
		runtime; /* "cri-o", "podman", "docker" by its annotations; NULL: not told by them */
};

/* *said is added to: zeroed by the caller; what a file does not say stays. Errors: -EBADMSG no JSON, or none of
 * the expected form (a file that is being written reads so); -ENOMEM it needs too much memory. */
MUST_CHECK int container_said_config(const uint8_t *json, size_t len, struct container_said *said,
				     struct error *e); /* an OCI bundle's config.json */
MUST_CHECK int container_said_docker(
	const uint8_t *json, size_t len, struct container_said *said,
	struct error *e); /* docker's config.v2.json; after the bundle's, where there is one */
/* containers.json: all containers of a storage, of which one has this id. -ENOENT: none has. */
MUST_CHECK int container_said_list(const uint8_t *json, size_t len, struct bytes id,
				   struct container_said *said, struct error *e);

/* Forget what was said of a pod, where somebody else than a kubelet's runtime may have said it. */
void container_said_no_pod(struct container_said *said);

/* Does linux.cgroupsPath name the cgroup at path? Two forms: a path, and "SLICE:PREFIX:NAME" of the systemd driver.
 * A path that begins with "/.." (seen from another cgroup namespace) need only end like it. */
bool container_said_is_at(const char *cgroups_path, struct bytes path);

#endif
