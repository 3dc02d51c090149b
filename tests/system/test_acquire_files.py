# SPDX-License-Identifier: Apache-2.0
"""Files and a container's changes, in the view of who has them; the archives are read by Python's tarfile and GNU
tar."""
import hashlib
import json
import os
import secrets
import socket
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from basics import until
from test_acquire import acquire, notes

UNIFIED = next((path for path in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
                if (path / "cgroup.procs").exists()), None)


def table(folder, name="files"):
    return {row["path"]: row for row in map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines())}


def unpacked(folder, name="files"):
    """What GNU tar makes of it."""
    into = folder / "unpacked"
    into.mkdir()
    subprocess.run(["tar", "--sparse", "--xattrs", "--xattrs-include=*", "-xpf", folder / f"{name}.tar", "-C", into], check=True,
                   capture_output=True, timeout=60)
    return into


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "tree"
    (top / "sub/deep").mkdir(parents=True)
    (top / "plain").write_bytes(b"plain\n" * 1000)
    (top / "empty").touch()
    (top / "sub/deep/new\nline").write_bytes(b"newline")
    (top / os.fsdecode(b"sub/\xff\xfebytes")).write_bytes(b"bytes")
    (top / ("n" * 200)).write_bytes(b"long")
    (top / "out").symlink_to("/etc/passwd")
    (top / "loop").symlink_to(".")
    os.mkfifo(top / "fifo")
    with open(top / "holes", "wb") as f:
        f.seek(5 << 20)
        f.write(b"data" * 2000)
        f.truncate(20 << 20)
    os.setxattr(top / "plain", "user.mark", b"a\0b")
    os.chmod(top / "plain", 0o4751)
    os.chown(top / "plain", 12345, 54321)
    for path in sorted(top.rglob("*")):
        os.utime(path, ns=(10 ** 18 + 5, 10 ** 18 + 7), follow_symlinks=False)
    return top


def test_folder_with_everything_that_the_file_system_knows(tree, tmp_path):
    out = tmp_path / "out"
    before = {path: path.lstat() for path in tree.rglob("*")}
    acquire("files", out, f"path={tree}")
    rows, name = table(out), str(tree)
    assert len(rows) == len(before) + 1
    into = unpacked(out) / name.lstrip("/")
    # But those of symbolic links: there is no way to read one without.
    after = {path: path.lstat() for path in before if not path.is_symlink()}
    assert {path: (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns) for path, s in after.items() if not path.is_dir()} == \
        {path: (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns) for path, s in before.items()
         if path in after and not path.is_dir()}
    for path, stat in before.items():
        got = (into / path.relative_to(tree)).lstat()
        assert (got.st_mode, got.st_uid, got.st_gid) == (stat.st_mode, stat.st_uid, stat.st_gid), path
        assert got.st_mtime_ns == stat.st_mtime_ns or path.is_dir(), path
        if path.is_file() and not path.is_symlink():
            assert (into / path.relative_to(tree)).read_bytes() == path.read_bytes(), path
    assert os.getxattr(into / "plain", "user.mark") == b"a\0b"
    assert os.readlink(into / "out") == "/etc/passwd"
    assert rows[name + "/plain"]["sha256"] == hashlib.sha256((tree / "plain").read_bytes()).hexdigest()
    assert rows[name + "/holes"]["sha256"] == hashlib.sha256((tree / "holes").read_bytes()).hexdigest()
    assert (out / "files.tar").stat().st_size < 1 << 20, "holes stay holes"


def test_python_reads_it_too(tree, tmp_path):
    acquire("files", tmp_path / "out", f"path={tree}")
    with tarfile.open(tmp_path / "out/files.tar") as archive:
        members = {member.name: member for member in archive.getmembers()}
        for member in members.values():
            assert not member.name.startswith("/") and ".." not in member.name.split("/")
        assert archive.extractfile(f"{tree}/holes".lstrip("/")).read() == (tree / "holes").read_bytes()


def test_patterns(tree, tmp_path):
    acquire("files", tmp_path / "out", f"path={tree}/p*", f"path={tree}/s*/d*/*", f"path={tree}/none*",
            f"path={tree}/nothing", f"path={tree}/loop/empty")
    rows = table(tmp_path / "out")
    assert set(rows) == {f"{tree}/plain", f"{tree}/sub/deep/new\nline", f"{tree}/none*", f"{tree}/nothing", f"{tree}/loop/empty"}
    assert rows[f"{tree}/none*"]["not_taken"] == "nothing matches"
    assert "No such file" in rows[f"{tree}/nothing"]["not_taken"]
    said, _ = notes(tmp_path / "out")
    assert (said["files.taken"], said["files.not_taken"]) == (3, 2)


def test_files_of_proc_have_no_size_and_are_read(tmp_path):
    acquire("files", tmp_path / "out", "path=/proc/version", "path=/proc/sys/kernel/ostype")
    into = unpacked(tmp_path / "out")
    assert (into / "proc/version").read_text() == Path("/proc/version").read_text()
    assert (into / "proc/sys/kernel/ostype").read_text() == "Linux\n"


def test_socket_is_told_of(tmp_path):
    (tmp_path / "d").mkdir()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "d/sock"))
        acquire("files", tmp_path / "out", f"path={tmp_path}/d")
    assert "socket" in table(tmp_path / "out")[f"{tmp_path}/d/sock"]["not_taken"]


def test_limit_ends_it_with_what_there_is(tree, tmp_path):
    (tree / "zz").write_bytes(os.urandom(3 << 20))
    acquire("files", tmp_path / "out", f"path={tree}", "max-bytes=1000000")
    assert "not all files were taken" in (tmp_path / "out/notes.jsonl").read_text()
    assert table(tmp_path / "out")[f"{tree}/plain"]["sha256"]
    assert "limits" in table(tmp_path / "out")[f"{tree}/zz"]["not_taken"]


def test_file_that_changes_or_shrinks_is_recorded(tmp_path):
    path = tmp_path / "growing"
    path.write_bytes(bytes(1 << 20) + os.urandom(40 << 20))
    writer = subprocess.Popen(["/usr/bin/python3", "-c", f"""
import time
while True:
    with open({str(path)!r}, "r+b") as f: f.write(b"x")
    time.sleep(0.001)"""])
    try:
        time.sleep(0.3)
        acquire("files", tmp_path / "out", f"path={path}")
    finally:
        writer.kill()
        writer.wait()
    assert table(tmp_path / "out")[str(path)]["changed_while_read"] is True


@pytest.mark.parametrize("words, says", [(["path=/etc/hosts", "pid=4194303"], "does not exist"),
                                         (["path=/etc/hosts", "container=" + "0" * 64], "no process runs in the container"),
                                         (["path=etc/hosts"], "no absolute path")])
def test_target_that_is_not_there(tmp_path, words, says):
    told = acquire("files", tmp_path / "out", *words, status=1)
    assert says in told and len(told.splitlines()) == 1


def test_deleted_but_open(tmp_path):
    path = tmp_path / "gone"
    path.write_bytes(b"still here" * 100)
    with open(path, "rb"):
        path.unlink()
        memory = os.memfd_create("in-memory")
        os.write(memory, b"memfd content")
        acquire("files", tmp_path / "out", f"pid={os.getpid()}", "deleted=1")
        os.close(memory)
    rows = {row["path"].rsplit("/", 1)[1]: row for row in table(tmp_path / "out").values() if row["kind"] == "deleted"}
    assert rows["gone"]["sha256"] == hashlib.sha256(b"still here" * 100).hexdigest()
    assert rows["memfd:in-memory"]["sha256"] == hashlib.sha256(b"memfd content").hexdigest()


# ---- a container: an overlay, a mount namespace, a cgroup with an id -----------------------------------

INSIDE = r"""
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
merged, cgroup = sys.argv[1:]
open(cgroup + "/cgroup.procs", "w").write(str(os.getpid()))
assert libc.unshare(0x00020000) == 0
assert libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None) == 0
os.chroot(merged); os.chdir("/")
open("added", "w").write("new")
open("modified", "a").write("more")
os.unlink("removed")
os.rename("folder/kept", "moved")
os.symlink("/host-secret", "link-out")
print("ready", flush=True)
time.sleep(120)
"""


@pytest.fixture
def container(tmp_path):
    if os.geteuid() != 0 or UNIFIED is None:
        pytest.skip("mounting takes root, and a container a cgroup")
    lower, upper, work, merged = (tmp_path / name for name in ("lower", "upper", "work", "merged"))
    for path in (lower / "folder", upper, work, merged):
        path.mkdir(parents=True)
    for name in ("modified", "removed", "unchanged", "folder/kept"):
        (lower / name).write_text(name)
    made = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", merged],
                          capture_output=True, text=True, timeout=20, check=False)
    if made.returncode != 0:
        pytest.skip(f"no overlay here: {made.stderr.strip()}")
    name = secrets.token_hex(32)
    cgroup = UNIFIED / "docker" / name
    cgroup.mkdir(parents=True)
    inside = subprocess.Popen(["/usr/bin/python3", "-c", INSIDE, merged, cgroup], stdout=subprocess.PIPE, text=True)
    try:
        assert inside.stdout.readline() == "ready\n"
        yield name, inside.pid
    finally:
        inside.kill()
        inside.wait()
        subprocess.run(["umount", "-l", merged], check=True, timeout=20)
        until(lambda: not (cgroup / "cgroup.procs").read_text(), 10)
        cgroup.rmdir()
        try:
            cgroup.parent.rmdir()
        except OSError:
            pass  # somebody else's containers


def test_files_as_a_container_sees_them(container, tmp_path):
    name, pid = container
    Path("/host-secret").unlink(missing_ok=True)
    for words in ([f"container={name}"], [f"pid={pid}"]):
        out = tmp_path / words[0].split("=", maxsplit=1)[0]
        acquire("files", out, *words, "path=/added", "path=/link-out", "path=/etc/passwd")
        rows = table(out)
        assert rows["/added"]["sha256"] == hashlib.sha256(b"new").hexdigest()
        assert rows["/link-out"]["type"] == "symlink" and rows["/link-out"]["target"] == "/host-secret"
        assert "No such file" in rows["/etc/passwd"]["not_taken"], "the host's own is not the container's"


def test_changes_of_a_container(container, tmp_path):
    name, _ = container
    acquire("changes", tmp_path / "out", f"container={name}")
    kinds = {path: row["kind"] for path, row in table(tmp_path / "out", "changes").items()}
    assert kinds == {"/added": "added", "/modified": "modified", "/removed": "deleted", "/moved": "added",
                     "/folder": "modified", "/folder/kept": "deleted", "/link-out": "added"}
    into = unpacked(tmp_path / "out", "changes")
    assert (into / "modified").read_text() == "modifiedmore"
    said, _ = notes(tmp_path / "out")
    assert (said["changes.added"], said["changes.modified"], said["changes.deleted"]) == (3, 2, 2)


def test_changes_need_a_container_on_an_overlay(tmp_path):
    assert "name one" in acquire("changes", tmp_path / "a", status=1)
    assert "no overlay" in acquire("changes", tmp_path / "b", f"pid={os.getpid()}", status=1)
