# SPDX-License-Identifier: Apache-2.0
"""A container on an overlay, whose changes against its image are known: made by the same seed each time."""
import ctypes
import os
import random
import secrets
import signal
import subprocess

from pods import make_cgroup
from report import Skip
from tools import folder

CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 0x4000, 0x40000


class Container:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.top = folder()
        self.changes, self.contents, self.folders = {}, {}, set()

    def __enter__(self):
        # As podman lays them out.
        lower, upper, work, self.merged = (self.top / name for name in ("lower", "layer/diff", "layer/work", "layer/merged"))
        for path in (lower, upper, work, self.merged):
            path.mkdir(parents=True)
        names = [f"{'abc'[i % 3]}/file{i}" for i in range(30)]
        for name in names:
            (lower / name).parent.mkdir(exist_ok=True)
            (lower / name).write_bytes(self.rng.randbytes(self.rng.randrange(5000)))
        made = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}",
                               self.merged], capture_output=True, text=True, timeout=20, check=False)
        if made.returncode != 0:
            raise Skip(f"no overlay here: {made.stderr.strip()}")
        self.change(names)
        self.start()
        return self

    def change(self, names):
        for name in names:
            path, what = self.merged / name, self.rng.choice(["leave", "leave", "modify", "delete"])
            if what == "modify":
                self.contents[f"/{name}"] = path.read_bytes() + b"more"
                with open(path, "ab") as f:
                    f.write(b"more")
                self.changes[f"/{name}"] = "modified"
            elif what == "delete":
                path.unlink()
                self.changes[f"/{name}"] = "deleted"
            if what != "leave":
                self.folders.add("/" + name.split("/")[0])
        for i in range(self.rng.randrange(1, 8)):
            name = f"b/new\n|{i}"
            self.contents[f"/{name}"] = self.rng.randbytes(3000)
            (self.merged / name).write_bytes(self.contents[f"/{name}"])
            self.changes[f"/{name}"] = "added"
            self.folders.add("/b")

    def start(self):
        self.container = secrets.token_hex(32)
        self.cgroup = make_cgroup(self.container)
        ready, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                libc = ctypes.CDLL(None)
                (self.cgroup / "cgroup.procs").write_text("0")
                if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
                    os._exit(1)
                os.chroot(self.merged)
                os.chdir("/")
                os.write(told, b"r")
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        os.close(told)
        with os.fdopen(ready, "rb") as f:
            if f.read(1) != b"r":
                self.__exit__()
                raise Skip("no mount namespace can be made here")

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        subprocess.run(["umount", "-l", self.merged], check=True, timeout=20)
        self.cgroup.rmdir()
