/* SPDX-License-Identifier: Apache-2.0 */
/* Where container runtimes keep what they know of a container, and how it is read: below the runtime's folder no
 * symbolic link and no other mount is followed, only plain files are read, none waits, none is larger than its bound.
 * Any thread. */
#ifndef AGENT_CONTAINER_FILES_H
#define AGENT_CONTAINER_FILES_H

#include "agent/container_said.h"
#include "proto/base/options.h"

#define CONTAINER_ROOTS_MAX 16
#define CONTAINER_FILE_MAX MiB(4) /* arguments and environment of a program are 2 MiB at most */

struct container_files;

/* roots: "RUNTIME=DIR" with RUNTIME containerd, crio, podman or docker; none: where they are on ordinary hosts. prefix:
 * set before every DIR ("/host" where the agent runs in a container), or "". -EINVAL: a root that cannot be read so. */
MUST_CHECK int container_files_new(const struct option_list *roots, const char *prefix,
				   struct container_files **ret_f, struct error *e);
void container_files_free(struct container_files *f); /* NULL allowed */
/* As container_files_new, of the roots' form alone. */
MUST_CHECK int container_files_check(const struct option_list *roots, struct error *e);

/* How many of the roots exist now. all: NULL, or where all are named, cut to size. */
size_t container_files_present(const struct container_files *f, char *all, size_t size);

/* What the runtimes say of the container id, whose cgroup is path. Errors: -ENOENT no runtime knows it; -EXDEV one
 * does, and says another cgroup; -EBADMSG the file is no JSON (yet); -EFBIG, -ELOOP, -EINVAL, -ENOMEM, others: it may
 * not be read, with a sentence. *ret is set on success only. */
MUST_CHECK int container_files_read(const struct container_files *f, struct bytes id,
				    struct bytes path, struct container_said *ret, struct error *e);
/* The same where cgroups are named /NAMESPACE/ID and ID may be any name (plain containerd). */
MUST_CHECK int container_files_read_in(const struct container_files *f, struct bytes space,
				       struct bytes id, struct bytes path,
				       struct container_said *ret, struct error *e);

#endif
