# SPDX-License-Identifier: Apache-2.0
"""Files on what only another mount namespace has mounted, as containers do."""
import os
import subprocess
import sys

import pytest

from basics import until
from daemons import field

# What a runtime does: a namespace, a root of layers with a tmpfs in it, pivot_root, a first process.
CONTAINER = """
import ctypes, os, sys
folder, libc = sys.argv[1], ctypes.CDLL(None, use_errno=True)
def do(what, *args):
    if getattr(libc, what)(*args):
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")
do("unshare", 0x20000)
do("mount", b"none", b"/", None, 0x44000, None)
root = f"{folder}/root".encode()
do("mount", b"overlay", root, b"overlay", 0,
   f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work".encode())
do("mount", b"shm", root + b"/shm", b"tmpfs", 0, b"size=1m")
os.chdir(root)
do("syscall", 155, b".", b".")
do("umount2", b".", 2)
os.chdir("/")
open("/shm/first", "w").close()  # the sign of life that leads us in
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.readline()
open("/etc/new", "w").write("12345")
os.rename("/etc/new", "/etc/newer")
os.unlink("/etc/newer")
os.unlink("/etc/below")
open("/shm/x", "w").write("123")
os.rename("/shm/x", "/shm/y")
os.unlink("/shm/y")
sys.stdout.write("done\\n"); sys.stdout.flush()
sys.stdin.readline()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="tracing a host takes root")
def test_files_of_a_container(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("container")
    for name in ("lower/etc", "lower/shm", "upper", "work", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "lower/etc/below").write_text("x")
    collector = lab.collector()
    agent = lab.agent(collector)
    cli = lab.cli(collector)
    container = subprocess.Popen([sys.executable, "-c", CONTAINER, folder], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True)
    try:
        assert container.stdout.readline() == "ready\n"

        def marked():
            rows = cli.events("--where", f"process.pid={container.pid}", "--path", "/shm/first")
            return [row for row in rows if field(row, "event.action") in ("create", "open_write")]
        until(marked, 30, "the container's first file")
        container.stdin.write("\n")
        container.stdin.flush()
        assert container.stdout.readline() == "done\n"

        def told():
            rows = cli.events("--where", f"process.pid={container.pid}", "--action", "modify", "--action",
                              "rename", "--action", "unlink")
            rows.sort(key=lambda row: field(row, "event.sequence"))
            # What the kernel tries out in the work folder during mount(2) may be read before the overlay is known.
            found = [(field(row, "event.action"), field(row, "file.path"), field(row, "file.size")) for row in rows
                     if not field(row, "file.path").startswith((str(folder / "work"), "/shm/first"))]
            return found if ("unlink", "/shm/y", None) in found else None
        found = until(told, 30, "what the container did")
    finally:
        container.stdin.close()
        container.wait(20)
    assert agent.running()
    writes = os.uname().release
    if tuple(map(int, writes.split("-")[0].split(".")[:2])) >= (6, 5):
        assert any(what == ("modify", "/etc/new", size) for what in found for size in (5, None)), found
    assert ("unlink", "/etc/newer", None) in found, found
    assert ("unlink", "/etc/below", None) in found, found
    assert any(action == "rename" and path == "/etc/newer" for action, path, _ in found), found
    assert any(action == "modify" and path == "/shm/x" for action, path, _ in found), found
    assert any(action == "rename" and path == "/shm/y" for action, path, _ in found), found
    assert len(found) == 7, found
