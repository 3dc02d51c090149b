# SPDX-License-Identifier: Apache-2.0
"""Container images made by hand: no registry, no docker, no network."""
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

PAUSE_C = """
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) {} }
static void end(int s) { (void)s; _exit(0); }
int main(void)
{
	signal(SIGCHLD, reap);
	signal(SIGTERM, end);
	signal(SIGINT, end);
	for (;;)
		pause();
}
"""
APPLETS = ["sh", "true", "false", "sleep", "cat", "echo", "ls", "id", "touch", "mkdir", "rmdir", "mv", "rm", "nc", "wget", "seq",
           "head", "env", "kill", "ps", "test", "setsid"]


def pause_binary(folder):
    """What holds a pod's namespaces open."""
    out = Path(folder) / "pause"
    source = Path(folder) / "pause.c"
    source.write_text(PAUSE_C)
    subprocess.run([os.environ.get("CC", "cc").split()[-1], "-static", "-Os", "-s", "-o", out, source], check=True, timeout=60)
    return out


def busybox_files():
    """{path in the image: path here, or ("link", target)}."""
    here = shutil.which("busybox")
    assert here, "busybox-static is needed to make an image; run 'make test-deps' as root"
    return {"bin/busybox": Path(here), **{f"bin/{name}": ("link", "busybox") for name in APPLETS}}


def _layer(files):
    """files: {path in the image: Path, bytes, or ("link", target)}; the same bytes each time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        folders = {str(p) for name in files for p in Path(name).parents if str(p) != "."} | {"tmp", "proc", "sys", "dev", "etc"}
        for name in sorted(folders):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
        for name, what in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            if isinstance(what, tuple):
                info.type, info.linkname = tarfile.SYMTYPE, what[1]
                tar.addfile(info)
                continue
            data = what if isinstance(what, bytes) else Path(what).read_bytes()
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def archive(path, name, files, entrypoint=(), labels=None):
    """An OCI archive of one layer at path, which `ctr images import` and `podman load` take; name as the runtime knows it.
    Returns the manifest's digest."""
    blobs = {}

    def blob(data, kind):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": len(data)}

    def text(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    layer = blob(_layer(files), "layer.v1.tar")
    config = blob(text({"architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux",
                        "config": {"Entrypoint": list(entrypoint) or None, "Env": ["PATH=/bin"], "Labels": labels or {}},
                        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}), "config.v1+json")
    manifest = blob(text({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                          "config": config, "layers": [layer]}), "manifest.v1+json")
    manifest["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    with tarfile.open(path, "w") as tar:
        def add(member, data):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        add("oci-layout", text({"imageLayoutVersion": "1.0.0"}))
        add("index.json", text({"schemaVersion": 2, "manifests": [manifest]}))
        for digest, data in sorted(blobs.items()):
            add("blobs/sha256/" + digest.split(":")[1], data)
    return manifest["digest"]
