# SPDX-License-Identifier: Apache-2.0
"""A container as the kernel sees it, without a runtime: a process in a cgroup named like one, with a root directory
and a network namespace of its own."""
import ctypes
import os
import secrets
import signal
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000
CGROUPS = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup/memory")]


def make_cgroup(container):
    for root in CGROUPS:
        if not (root / "cgroup.procs").exists():
            continue
        made = root / f"cri-containerd-{container}.scope"
        try:
            made.mkdir()
        except OSError:
            continue
        return made
    return pytest.skip("no cgroup can be made here")


class Pod:
    """Runs until end(); its one process sleeps in root, with PATHS held open."""

    def __init__(self, root, hold=()):
        self.container = secrets.token_hex(32)
        self.cgroup = make_cgroup(self.container)
        ready, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                (self.cgroup / "cgroup.procs").write_text("0")
                assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0
                os.chroot(root)
                os.chdir("/")
                for path in hold:
                    os.open(path, os.O_RDONLY)
                os.write(told, b"r")
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        os.close(told)
        with os.fdopen(ready, "rb") as f:
            said = f.read(1)
        if said != b"r":
            self.end()
            pytest.skip("no process with a root directory and a network of its own can be made here")

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.cgroup.rmdir()
