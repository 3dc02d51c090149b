# SPDX-License-Identifier: Apache-2.0
"""Files and a container's changes, in the view of who has them; the archives are read by Python's tarfile and GNU
tar."""
import base64
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
from test_acquire import DRIVER, acquire, notes

UNIFIED = next((path for path in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
                if (path / "cgroup.procs").exists()), None)


def table(folder, name="files"):
    return {os.fsdecode(base64.b64decode(row["path_base64"])) if "path_base64" in row else row["path"]: row
            for row in map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines())}


def lacks(rows):
    return [row["warning"] for row in rows if row.get("lacking")]


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


def readable(archive):
    """Names, when both read it from end to end."""
    subprocess.run(["tar", "-tf", archive], check=True, capture_output=True, timeout=60)
    with tarfile.open(archive) as opened:
        return {"/" + member.name: opened.extractfile(member).read() if member.isfile() else None
                for member in opened.getmembers()}


@pytest.mark.parametrize("limit", [1, 600, 3000, 10_000, 1_000_000, 2_500_000])
def test_limit_ends_it_with_what_there_is(tree, tmp_path, limit):
    """The archive is one, wherever it is cut; what is not whole says so."""
    (tree / "zz").write_bytes(os.urandom(2 << 20))
    acquire("files", tmp_path / "out", f"path={tree}", f"max-bytes={limit}")
    found, rows = readable(tmp_path / "out/files.tar"), table(tmp_path / "out")
    assert [w for w in lacks(notes(tmp_path / "out")[1]) if "not all files were taken" in w] or limit > 2_200_000
    for path, data in found.items():
        row = rows[path]
        if row["type"] == "file" and "not_taken" in row:
            assert "limits" in row["not_taken"]
            if not path.endswith("/holes"):
                assert data[:row["taken_bytes"]] == Path(path).read_bytes()[:row["taken_bytes"]]
                assert not data[row["taken_bytes"]:].strip(b"\0"), "what was not read is nothing that looks read"
        elif row["type"] == "file":
            assert hashlib.sha256(data).hexdigest() == row["sha256"]
    if limit == 1_000_000:
        assert "sha256" in rows[f"{tree}/plain"] and "not_taken" in rows[f"{tree}/zz"]


def test_limit_far_before_a_files_end(tree, tmp_path):
    """Too many zeros would follow: the archive ends in the middle, and all before it is there."""
    (tree / "zz").write_bytes(os.urandom(16 << 20))
    acquire("files", tmp_path / "out", f"path={tree}", "max-bytes=3000000")
    done = subprocess.run(["tar", "-xOf", tmp_path / "out/files.tar", f"{tree}/plain".lstrip("/")], capture_output=True,
                          timeout=60, check=False)
    assert done.stdout == (tree / "plain").read_bytes() and b"Unexpected EOF" in done.stderr
    said, rows = notes(tmp_path / "out")
    assert [row for row in rows if row.get("item") == "files.tar"][0]["status"]
    row = table(tmp_path / "out")[f"{tree}/zz"]
    assert "limits" in row["not_taken"] and 1 << 20 < row["taken_bytes"] <= 3_000_000 + (4 << 20)
    assert said["files.not_taken"] == 1


def test_file_that_changes_is_recorded(tmp_path):
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


def test_file_that_shrinks_is_recorded(tmp_path):
    path, out = tmp_path / "shrinking", tmp_path / "out"
    data = os.urandom(96 << 20)
    path.write_bytes(data)
    with subprocess.Popen([DRIVER, "files", out, f"path={path}"]) as reader:
        until(lambda: (out / "files.tar").exists() and (out / "files.tar").stat().st_size > 1 << 20, 20, "it reads")
        os.truncate(path, 1 << 20)
        assert reader.wait(60) == 0
    row = table(out)[str(path)]
    assert row["shrank"] is True and row["changed_while_read"] is True and "sha256" not in row
    got = readable(out / "files.tar")[str(path)]
    assert len(got) == len(data), "the archive goes on behind it"
    whole = len(got.rstrip(b"\0"))
    assert got[:whole] == data[:whole] and (1 << 20) - 2000 < whole < len(data)


def test_hostile_names_stay_inert(tmp_path):
    top = tmp_path / "names"
    top.mkdir()
    names = ["new\nline", "\x1b[31mred", "a\\b", "'quote\"", " ", "..x", "...", "*", "-rf", "$(id)", "%s%n", "\u202etxt.exe",
             os.fsdecode(b"\xff\xfe"), "n" * 255]
    for name in names:
        (top / name).write_text(name, errors="surrogateescape")
    (top / "up").symlink_to("../../../../../../etc/passwd")
    (top / "absolute").symlink_to("/etc/passwd")
    # As long as a path may be, and longer.
    deep, fd = str(top), os.open(top, os.O_RDONLY)
    while len(deep) < 5000:
        os.mkdir("d" * 200, dir_fd=fd)
        fd, old = os.open("d" * 200, os.O_RDONLY, dir_fd=fd), fd
        os.close(old)
        deep += "/" + "d" * 200
    os.close(fd)
    acquire("files", tmp_path / "out", f"path={top}")
    rows = table(tmp_path / "out")
    told = (tmp_path / "out/files.jsonl").read_bytes() + (tmp_path / "out/notes.jsonl").read_bytes()
    assert b"\x1b" not in told and b"\n\n" not in told
    into = unpacked(tmp_path / "out")
    for name in names:
        assert (into / str(top / name).lstrip("/")).read_text(errors="surrogateescape") == name
    assert os.readlink(into / str(top / "up").lstrip("/")) == "../../../../../../etc/passwd"
    assert {path for path in (tmp_path / "out").iterdir()} == {tmp_path / "out" / name for name in (
        "files.tar", "files.jsonl", "notes.jsonl", "unpacked")}, "nothing came to lie elsewhere"
    lost = [row for row in rows.values() if "not_taken" in row]
    assert len(lost) == 1 and "too long" in lost[0]["not_taken"], lost
    assert max(len(path) for path in rows if "not_taken" not in rows[path]) > 3800
    subprocess.run(["rm", "-rf", top], check=True, timeout=60)


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
merged, cgroup, own, attack, named = sys.argv[1:]
def mount(what, where, kind, flags=0, options=None):
    if libc.mount(what, os.fsencode(where), kind, flags, options and os.fsencode(options)) != 0:
        sys.exit("cannot mount " + str(where) + ": " + os.strerror(ctypes.get_errno()))
open(cgroup + "/cgroup.procs", "w").write(str(os.getpid()))
assert libc.unshare(0x00020000) == 0
mount(b"none", "/", None, 0x4000 | 0x40000)
if own:
    mount(b"overlay", merged, b"overlay", 0, own)
os.chroot(merged); os.chdir("/")
open("added", "w").write("new")
open("modified", "a").write("more")
os.unlink("removed")
os.rename("folder/kept", "moved")
os.symlink("/host-secret", "link-out")
if attack:
    # A folder that is called here as one of the host's is there.
    top = "/" + named.split("/")[1]
    mount(b"tmpfs", top, b"tmpfs")
    os.makedirs(named); os.mkdir(top + "/work"); os.mkdir(top + "/seen")
    mount(b"overlay", "/" if attack == "cover" else top + "/seen", b"overlay", 0,
          "lowerdir=/folder,upperdir=" + named + ",workdir=" + top + "/work")
    if attack == "chroot":
        os.chroot(top + "/seen"); os.chdir("/")
print("ready", flush=True)
time.sleep(120)
"""

CHANGED = {"/added": "added", "/modified": "modified", "/removed": "deleted", "/moved": "added", "/folder": "modified",
           "/folder/kept": "deleted", "/link-out": "added"}


class Container:
    """layout: where a runtime has its layers and mounts them. attack: the container puts an overlay of its own over
    its root ("cover") or goes into one ("chroot"), and names a folder of it as one of the host's is called."""

    def __init__(self, top, layout, attack=""):
        self.name, self.secret, self.inside = secrets.token_hex(32), top / "secret", None
        self.secret.mkdir()
        (self.secret / "shadow").write_text("of the host alone")
        lower, upper, self.merged = getattr(self, layout)(top)
        work = upper.parent / "work"
        for path in (lower / "folder", lower / top.parts[1], upper, work, self.merged):
            path.mkdir(parents=True)
        for name in ("modified", "removed", "unchanged", "folder/kept"):
            (lower / name).write_text(name)
        # containerd mounts from the folder of its snapshots.
        below = lower.relative_to(upper.parent.parent) if layout == "containerd" else lower
        options = f"lowerdir={below},upperdir={upper},workdir={work}"
        self.mounted = layout != "own"
        if self.mounted:
            made = subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self.merged], cwd=upper.parent.parent,
                                  capture_output=True, text=True, timeout=20, check=False)
            if made.returncode != 0:
                pytest.skip(f"no overlay here: {made.stderr.strip()}")
        self.cgroup = UNIFIED / "docker" / self.name
        self.cgroup.mkdir(parents=True)
        self.inside = subprocess.Popen(["/usr/bin/python3", "-c", INSIDE, self.merged, self.cgroup, "" if self.mounted else options,
                                        attack, self.secret], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.pid = self.inside.pid

    def docker(self, top):
        record = top / "home/image/overlay2/layerdb/mounts" / self.name
        record.mkdir(parents=True)
        (record / "mount-id").write_text("2f")
        return top / "home/overlay2/1e/diff", top / "home/overlay2/2f/diff", top / "home/overlay2/2f/merged"

    def podman(self, top):
        return top / "storage/overlay/1e/diff", top / "storage/overlay/2f/diff", top / "storage/overlay/2f/merged"

    def containerd(self, top):
        return top / "snapshots/9/fs", top / "snapshots/12/fs", top / "run/k8s.io" / self.name / "rootfs"

    def elsewhere(self, top):
        return top / "image", top / "layer/changes", top / "root"

    own = elsewhere

    def start(self):
        assert self.inside.stdout.readline() == "ready\n", self.inside.stderr.read()

    def close(self):
        self.inside.kill()
        self.inside.wait()
        self.inside.stdout.close()
        self.inside.stderr.close()
        if self.mounted:
            subprocess.run(["umount", "-l", self.merged], check=True, timeout=20)
        until(lambda: not (self.cgroup / "cgroup.procs").read_text(), 10)
        self.cgroup.rmdir()
        try:
            self.cgroup.parent.rmdir()
        except OSError:
            pass  # somebody else's containers


@pytest.fixture
def containers(tmp_path):
    if os.geteuid() != 0 or UNIFIED is None:
        pytest.skip("mounting takes root, and a container a cgroup")
    made = []

    def start(*args):
        (tmp_path / "site").mkdir()
        made.append(Container(tmp_path / "site", *args))
        made[-1].start()
        return made[-1]
    yield start
    for one in made:
        one.close()


@pytest.fixture
def container(containers):
    it = containers("docker")
    return it.name, it.pid


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


SOURCES = {"docker": "docker's records", "containerd": "bears the container's id", "podman": "the container's root is",
           "elsewhere": "the container's own mount table", "own": "the container's own mount table"}


@pytest.mark.parametrize("layout", SOURCES)
def test_changes_of_a_container(layout, containers, tmp_path):
    acquire("changes", tmp_path / "out", f"container={containers(layout).name}")
    assert {path: row["kind"] for path, row in table(tmp_path / "out", "changes").items()} == CHANGED
    into = unpacked(tmp_path / "out", "changes")
    assert (into / "modified").read_text() == "modifiedmore"
    said, rows = notes(tmp_path / "out")
    assert (said["changes.added"], said["changes.modified"], said["changes.deleted"]) == (3, 2, 2)
    assert SOURCES[layout] in said["changes.upper_source"]
    only = layout in ("elsewhere", "own")
    assert [w for w in lacks(rows) if "only the container says" in w] == lacks(rows) and bool(lacks(rows)) == only


@pytest.mark.parametrize("attack", ["cover", "chroot"])
@pytest.mark.parametrize("layout", SOURCES)
def test_a_container_names_a_folder_of_the_host(layout, attack, containers, tmp_path):
    """Nothing of that folder is in its exhibit; where somebody else knows its layers, they are taken all the same."""
    it, out = containers(layout, attack), tmp_path / "out"
    known = attack == "cover" or layout in ("docker", "containerd")
    told = acquire("changes", out, f"container={it.name}", status=0 if known else 1)
    assert not any(b"of the host alone" in path.read_bytes() or b"shadow" in path.read_bytes() for path in out.glob("*"))
    if not known:
        assert "only the container names a folder of its changes, and it is not that" in told and len(told.splitlines()) == 1
        return
    assert {path: row["kind"] for path, row in table(out, "changes").items()} == CHANGED
    assert bool([w for w in lacks(notes(out)[1]) if "another mount than its runtime made" in w]) == (attack == "chroot")


def test_changes_need_a_container_on_an_overlay(tmp_path):
    assert "name one" in acquire("changes", tmp_path / "a", status=1)
    assert "no overlay" in acquire("changes", tmp_path / "b", f"pid={os.getpid()}", status=1)
