/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include <string.h>

#include "agent/workload.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ID2 "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define TASK "0123456789abcdef0123456789abcdef"
#define POD "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0b5f_1.slice"

struct row {
	const char *name, *path, *container, *unit;
};

static const struct row rows[] = {
	/* what must not be taken for a container */
	{ "empty", "", "", "" },
	{ "root", "/", "", "" },
	{ "only slashes", "////", "", "" },
	{ "63 digits", "/docker/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde",
	  "", "" },
	{ "65 digits", "/docker/0" ID, "", "" },
	{ "upper case", "/docker/0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
	  "", "" },
	{ "no separator", "/x/docker" ID, "", "" },
	{ "separator alone", "/x/-" ID, "", "" },
	{ "digits then text", "/docker/" ID "x", "", "" },
	{ "32 digits elsewhere", "/process_api/" TASK, "", "" },
	{ "static pod's own uid", "/kubepods/besteffort/pod" TASK, "", "" },
	{ "podman's conmon", "/machine.slice/libpod-conmon-" ID ".scope", "",
	  "libpod-conmon-" ID ".scope" },
	{ "CRI-O's conmon", "/kubepods/crio-conmon-" ID, "", "" },
	{ "a unit's suffix alone", "/.service/.scope", "", "" },
	/* containers */
	{ "kubelet systemd containerd", POD "/cri-containerd-" ID ".scope", ID,
	  "cri-containerd-" ID ".scope" },
	{ "kubelet systemd CRI-O", POD "/crio-" ID ".scope", ID, "crio-" ID ".scope" },
	{ "crun's child", POD "/crio-" ID ".scope/container", ID, "crio-" ID ".scope" },
	{ "kubelet systemd docker", POD "/docker-" ID ".scope", ID, "docker-" ID ".scope" },
	{ "kubelet cgroupfs", "/kubepods/burstable/pod0b5f-1/" ID, ID, "" },
	{ "kubelet cgroupfs guaranteed", "/kubepods/pod0b5f-1/" ID, ID, "" },
	{ "CRI-O cgroupfs", "/kubepods/besteffort/pod1/crio-" ID, ID, "" },
	{ "colons of a systemd path under cgroupfs", "/kubepods-pod1.slice:cri-containerd:" ID, ID,
	  "" },
	{ "docker cgroupfs", "/docker/" ID, ID, "" },
	{ "docker systemd", "/system.slice/docker-" ID ".scope", ID, "docker-" ID ".scope" },
	{ "podman cgroupfs", "/libpod_parent/libpod-" ID, ID, "" },
	{ "podman systemd", "/machine.slice/libpod-" ID ".scope", ID, "libpod-" ID ".scope" },
	{ "rootless podman",
	  "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID ".scope/container",
	  ID, "libpod-" ID ".scope" },
	{ "plain containerd", "/default/" ID, ID, "" },
	{ "container in a container", "/system.slice/docker-" ID ".scope/kubepods/pod1/" ID2, ID,
	  "docker-" ID ".scope" },
	{ "systemd in a container", "/system.slice/docker-" ID ".scope/system.slice/ssh.service",
	  ID, "docker-" ID ".scope" },
	{ "ECS on EC2", "/ecs/" TASK "/" ID, ID, "" },
	{ "Fargate", "/ecs/" TASK "/" TASK "-2531612879", TASK "-2531612879", "" },
	{ "Fargate without number", "/ecs/" TASK "/" TASK "-", "", "" },
	{ "like Fargate elsewhere", "/x/" TASK "/" TASK "-1", "", "" },
	{ "Fargate of another task", "/ecs/" TASK "/fedcba9876543210fedcba9876543210-1", "", "" },
	{ "name alone", "cri-containerd-" ID ".scope", ID, "cri-containerd-" ID ".scope" },
	{ "private namespace", "/../../../../" ID, ID, "" },
	{ "deleted", "/docker/" ID " (deleted)", ID, "" },
	/* units */
	{ "service", "/system.slice/ssh.service", "", "ssh.service" },
	{ "init", "/init.scope", "", "init.scope" },
	{ "login session", "/user.slice/user-0.slice/session-12.scope", "", "session-12.scope" },
	{ "user manager", "/user.slice/user-1000.slice/user@1000.service/init.scope", "",
	  "init.scope" },
	{ "app of a user", "/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.service",
	  "", "app-x.service" },
	{ "child of a service", "/system.slice/systemd-udevd.service/udev", "",
	  "systemd-udevd.service" },
	{ "slice alone", "/system.slice", "", "" },
};

struct more_row {
	const char *name, *path, *session, *pod_uid, *container;
};

#define UID "b08d8b7e-1111-2222-3333-444455556666"
#define UID_ "b08d8b7e_1111_2222_3333_444455556666"

static const struct more_row more_rows[] = {
	{ "session", "/user.slice/user-0.slice/session-3.scope", "3", "", "" },
	{ "below a session", "/user.slice/user-0.slice/session-c1.scope/x", "c1", "", "" },
	{ "a session's name made by a user",
	  "/user.slice/user-1000.slice/user@1000.service/app.slice/session-3.scope", "", "", "" },
	{ "a session elsewhere", "/system.slice/session-3.scope", "", "", "" },
	{ "a session of nobody", "/user.slice/session-3.scope", "", "", "" },
	{ "a session without number", "/user.slice/user-0.slice/session-.scope", "", "", "" },
	{ "cgroupfs besteffort", "/kubepods/besteffort/pod" UID "/" ID, "", UID,
	  "/kubepods/besteffort/pod" UID "/" ID },
	{ "cgroupfs guaranteed", "/kubepods/pod" UID "/" ID, "", UID, "/kubepods/pod" UID "/" ID },
	{ "static pod", "/kubepods/burstable/pod" TASK "/" ID, "", TASK,
	  "/kubepods/burstable/pod" TASK "/" ID },
	{ "systemd burstable",
	  "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_
	  ".slice/cri-containerd-" ID ".scope",
	  "", UID_,
	  "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID_
	  ".slice/cri-containerd-" ID ".scope" },
	{ "systemd guaranteed",
	  "/kubepods.slice/kubepods-pod" UID_ ".slice/crio-" ID ".scope/container", "", UID_,
	  "/kubepods.slice/kubepods-pod" UID_ ".slice/crio-" ID ".scope" },
	{ "a pod's cgroup itself", "/kubepods/burstable/pod" UID, "", UID, "" },
	{ "private namespace", "/../../kubepods/pod" UID "/" ID, "", UID,
	  "/../../kubepods/pod" UID "/" ID },
	{ "a pod's name elsewhere", "/x/kubepods/pod" UID "/" ID, "", "",
	  "/x/kubepods/pod" UID "/" ID },
	{ "a pod's name below a container", "/docker/" ID "/kubepods/pod" UID, "", "",
	  "/docker/" ID },
	{ "a session below a container", "/docker/" ID "/user.slice/user-0.slice/session-3.scope",
	  "", "", "/docker/" ID },
	{ "a uid that is too long", "/kubepods/pod" UID "0/" ID, "", "",
	  "/kubepods/pod" UID "0/" ID },
	{ "another container below", "/docker/" ID "/" ID2, "", "", "/docker/" ID },
};

static void assert_text(struct bytes b, const char *want)
{
	assert_int_equal(b.len, strlen(want));
	if (b.len)
		assert_memory_equal(b.at, want, b.len);
}

static void parse(void **state)
{
	const struct row *row = *state;
	struct workload w = workload_parse(
		(struct bytes){ .at = (const uint8_t *)row->path, .len = strlen(row->path) });

	assert_text(w.container_id, row->container);
	assert_text(w.unit, row->unit);
}

static void more(void **state)
{
	const struct more_row *row = *state;
	struct bytes path = { .at = (const uint8_t *)row->path, .len = strlen(row->path) };
	struct workload w = workload_parse(path);

	assert_text(w.session, row->session);
	assert_text(w.pod_uid, row->pod_uid);
	assert_text((struct bytes){ .at = path.at, .len = w.container_len }, row->container);
}

struct proc_row {
	const char *name, *file, *want;
};

static const struct proc_row proc_rows[] = {
	{ "empty", "", "" },
	{ "no colon", "x\n\n", "" },
	{ "one colon", "1:/x\n", "" },
	{ "no path", "0::\n", "" },
	{ "unified", "0::/system.slice/a.service\n", "/system.slice/a.service" },
	{ "no newline at the end", "0::/a", "/a" },
	{ "path with colons", "0::/a:b:c\n", "/a:b:c" },
	{ "container wins over unified", "4:memory:/docker/" ID "\n0::/\n", "/docker/" ID },
	{ "unit wins over unified", "1:name=systemd:/system.slice/a.service\n0::/\n",
	  "/system.slice/a.service" },
	{ "unified wins over memory", "4:memory:/a\n0::/\n", "/" },
	{ "memory wins over pids", "8:pids:/b\n4:memory:/a\n", "/a" },
	{ "joint controllers", "3:cpu,cpuacct:/c\n2:pids:/b\n", "/b" },
};

static void proc(void **state)
{
	const struct proc_row *row = *state;
	struct bytes file = { .at = (const uint8_t *)row->file, .len = strlen(row->file) };

	assert_text(workload_of_proc_cgroup(file), row->want);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, parse, rows);
	ADD_ROWS(&t, more, more_rows);
	ADD_ROWS(&t, proc, proc_rows);
	return tests_run(&t, "workload");
}
