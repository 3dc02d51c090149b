# SPDX-License-Identifier: Apache-2.0
"""A containerd of our own (root, state and socket in one folder, never the system's), driven through CRI as a kubelet does,
and images made here. Pods are on the host's network, so nothing is left in it. `containerd` in conftest.py starts one for
all tests of a session."""
import importlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

import images
from basics import until

CRI_PROTO = Path(__file__).with_name("cri.proto")
NEEDED = ["containerd", "containerd-shim-runc-v2", "ctr", "runc", "busybox", "protoc", "cc"]
PARENT = "/exhibit-test"  # not /kubepods: a kubelet on this host ends what it does not know there


def cri_messages():
    """The generated module of cri.proto."""
    if "cri_pb2" not in sys.modules:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["protoc", f"-I{CRI_PROTO.parent}", f"--python_out={folder}", CRI_PROTO.name], check=True, timeout=60)
            sys.path.insert(0, folder)
            try:
                importlib.import_module("cri_pb2")
            finally:
                sys.path.remove(folder)
    return sys.modules["cri_pb2"]


class Cri:
    """The calls of RuntimeService: cri.call("Version")."""

    def __init__(self, socket):
        import grpc
        self.m = cri_messages()
        self.channel = grpc.insecure_channel(f"unix://{socket}")
        self.methods = self.m.DESCRIPTOR.services_by_name["RuntimeService"].methods_by_name

    def call(self, name, request=None, seconds=120):
        method = self.methods[name]
        kind = {n: getattr(self.m, n) for n in (method.input_type.name, method.output_type.name)}
        send = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{name}",
                                        request_serializer=lambda r: r.SerializeToString(),
                                        response_deserializer=kind[method.output_type.name].FromString)
        return send(request if request is not None else kind[method.input_type.name](), timeout=seconds)

    def close(self):
        self.channel.close()


class Pod:
    """A sandbox that runs; its containers are removed with it."""

    def __init__(self, runtime, config, sandbox):
        self.runtime, self.config, self.id = runtime, config, sandbox
        self.name, self.namespace, self.uid = config.metadata.name, config.metadata.namespace, config.metadata.uid
        self.cgroup_parent = config.linux.cgroup_parent

    def create(self, name, command, image=None, **fields):
        """A container that is not started yet; fields: of ContainerConfig. Its id."""
        m, cri = self.runtime.m, self.runtime.cri
        security = m.LinuxContainerSecurityContext(namespace_options=self.config.linux.security_context.namespace_options)
        config = m.ContainerConfig(metadata=m.ContainerMetadata(name=name),
                                   image=m.ImageSpec(image=image or self.runtime.image), command=list(command),
                                   log_path=f"{name}.log", linux=m.LinuxContainerConfig(security_context=security))
        config.MergeFrom(m.ContainerConfig(**fields))
        return cri.call("CreateContainer", m.CreateContainerRequest(pod_sandbox_id=self.id, config=config,
                                                                    sandbox_config=self.config)).container_id

    def run(self, name, command, image=None, **fields):
        container = self.create(name, command, image, **fields)
        self.start(container)
        return container

    def start(self, container):
        self.runtime.cri.call("StartContainer", self.runtime.m.ContainerRequest(container_id=container))

    def exec(self, container, *command, seconds=60):
        """As `kubectl exec` does it: (exit code, standard output)."""
        said = self.runtime.cri.call("ExecSync", self.runtime.m.ExecSyncRequest(container_id=container, cmd=command,
                                                                                timeout=seconds))
        return said.exit_code, said.stdout

    def wait(self, container, seconds=120):
        """Until it has ended; its exit code."""
        def ended():
            status = self.runtime.status(container)
            return status if status.state == 2 else None
        return until(ended, seconds, f"the end of container {container[:12]}").exit_code

    def stop(self, container, seconds=0):
        self.runtime.cri.call("StopContainer", self.runtime.m.StopContainerRequest(container_id=container, timeout=seconds))

    def log(self, name):
        path = Path(self.config.log_directory) / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def remove(self):
        request = self.runtime.m.PodSandboxRequest(pod_sandbox_id=self.id)
        self.runtime.cri.call("StopPodSandbox", request)
        self.runtime.cri.call("RemovePodSandbox", request)
        self.runtime.pods.remove(self)
        self.runtime.drop_cgroup(self.cgroup_parent)


class Containerd:
    """image: the name of one with busybox; pause: of one that only waits; socket: of CRI; state: containerd's state folder,
    below which the tasks' config.json lie; root: a folder whose run/containerd is the same, as a host's /run is."""

    def __init__(self, folder):
        self.dir = Path(folder)
        self.root = self.dir / "host"
        self.state = self.root / "run" / "containerd"
        self.socket = self.state / "containerd.sock"
        self.log_file = self.dir / "containerd.log"
        self.process, self.cri, self.pods = None, None, []
        self.m = cri_messages()
        self.image, self.pause = "exhibit.test/busybox:1", "exhibit.test/pause:1"
        self.digests = {}

    def config(self):
        return f"""version = 2
root = "{self.dir}/root"
state = "{self.state}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{self.pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{self.dir}/cni/bin"
    conf_dir = "{self.dir}/cni/conf"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""

    def start(self, seconds=90):
        config = self.dir / "containerd.toml"
        config.write_text(self.config())
        self.state.mkdir(parents=True, exist_ok=True)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(["containerd", "--config", config], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        import grpc

        def listening():
            assert self.process.poll() is None, f"containerd ended:\n{self.tail()}"
            with socket.socket(socket.AF_UNIX) as s:
                return s.connect_ex(str(self.socket)) == 0

        def serving():
            assert self.process.poll() is None, f"containerd ended:\n{self.tail()}"
            try:
                return self.cri.call("Version", self.m.VersionRequest(version="v1"), seconds=30)
            except grpc.RpcError:
                return None
        until(listening, seconds, "containerd to listen")
        self.cri = Cri(self.socket)
        until(serving, seconds, "containerd to serve CRI")
        return self

    def tail(self, n=10):
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-n:]) if self.log_file.exists() else ""

    def stop(self):
        """containerd alone: its shims, and what runs in them, go on."""
        if self.cri:
            self.cri.close()
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)
        self.socket.unlink(missing_ok=True)

    def restart(self):
        self.stop()
        return self.start()

    def ctr(self, *args, seconds=120):
        done = subprocess.run(["ctr", "-a", self.socket, *map(str, args)], capture_output=True, text=True, timeout=seconds)
        assert done.returncode == 0, f"ctr {' '.join(map(str, args))}: {done.stderr}"
        return done.stdout

    def add_image(self, name, files, entrypoint=(), labels=None):
        """Made and imported; files as in images.archive. Returns its name."""
        path = self.dir / "image.tar"
        self.digests[name] = images.archive(path, name, files, entrypoint, labels)
        self.import_archive(path, name)
        path.unlink()
        return name

    def import_archive(self, path, name):
        """name: as the archive says it; its repository is what digests are then said of."""
        self.ctr("-n", "k8s.io", "images", "import", "--base-name", name.rpartition(":")[0], "--digests", path)

    def add_images(self):
        self.add_image(self.pause, {"pause": images.pause_binary(self.dir)}, ["/pause"])
        self.add_image(self.image, images.busybox_files())

    def run_pod(self, name=None, namespace="exhibit-test", uid=None, cgroup_parent=None, labels=None, annotations=None, pid="POD"):
        """A pod on the host's network whose sandbox runs."""
        m = self.m
        uid = uid or str(uuid.uuid4())
        name = name or f"pod-{secrets.token_hex(4)}"
        options = m.NamespaceOption(network=m.NODE, pid=getattr(m, pid))
        logs = self.dir / "logs" / uid
        logs.mkdir(parents=True, exist_ok=True)
        config = m.PodSandboxConfig(
            metadata=m.PodSandboxMetadata(name=name, uid=uid, namespace=namespace), log_directory=str(logs),
            labels={"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.uid": uid,
                    **(labels or {})},
            annotations=annotations or {},
            linux=m.LinuxPodSandboxConfig(
                cgroup_parent=cgroup_parent or f"{PARENT}/burstable/pod{uid}",
                security_context=m.LinuxSandboxSecurityContext(namespace_options=options)))
        sandbox = self.cri.call("RunPodSandbox", m.RunPodSandboxRequest(config=config)).pod_sandbox_id
        pod = Pod(self, config, sandbox)
        self.pods.append(pod)
        return pod

    def status(self, container):
        return self.cri.call("ContainerStatus", self.m.ContainerRequest(container_id=container)).status

    def drop_cgroup(self, path):
        """The pod's own cgroup, which a kubelet would remove, and those above it once they are empty."""
        roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
        for root in roots:
            at = root / path.lstrip("/")
            while at != root and at.is_dir():
                try:
                    at.rmdir()
                except OSError:
                    break
                at = at.parent

    def end(self):
        """All pods, then containerd, then what a failure may have left."""
        for pod in list(self.pods):
            try:
                pod.remove()
            except Exception as e:  # noqa: BLE001 (the rest is to go all the same)
                print(f"pod {pod.name} could not be removed: {e}", file=sys.stderr)
        self.stop()
        for pid in self._shims():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for at in sorted((m for m in mounts if m.startswith(f"{self.dir}/")), reverse=True):
            subprocess.run(["umount", "-l", at], check=False, timeout=30)

    def _shims(self):
        """Of this containerd: its address is among a shim's arguments."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                args = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"containerd-shim" in args[0] and str(self.socket).encode() in args:
                yield int(entry.name)


def why_not():
    """Why no container can be run here; None: it can."""
    if os.geteuid() != 0:
        return "running containers takes root"
    missing = [name for name in NEEDED if not shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")]
    return f"not installed: {', '.join(missing)} (run 'make test-deps' as root)" if missing else None


def make():
    """A Containerd that runs, with its two images. The folder is short: a socket's path has 107 bytes."""
    reason = why_not()
    if reason:
        pytest.skip(f"no real containers: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="exh-ctr-"))
    runtime = Containerd(folder)
    try:
        runtime.start()
        runtime.add_images()
    except BaseException:
        runtime.end()
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return runtime


def unmake(runtime):
    runtime.end()
    shutil.rmtree(runtime.dir, ignore_errors=True)
