# SPDX-License-Identifier: Apache-2.0
"""Triage: what a bundle holds, in which order it came, who can open it, and what a hostile host cannot do to it."""
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path

import pytest

import dissect
from pods import Pod
from test_acquire import acquire, digest, notes

EVIL = b"new\nline|pipe\\\x1b[2J\xff"


class Bundle:
    """One acquisition, read back by Python's tarfile."""

    def __init__(self, folder, *words):
        acquire("triage", folder, *words, seconds=200)
        self.folder, self.path = folder, folder / "triage.tar"
        with tarfile.open(self.path, encoding="utf-8", errors="surrogateescape") as tar:
            self.members = {member.name: member for member in tar.getmembers()}
        self.order = [json.loads(line) for line in (folder / "triage.order.jsonl").read_text().splitlines()]
        self.notes, self.rows = notes(folder)

    def bytes(self, name):
        with tarfile.open(self.path, encoding="utf-8", errors="surrogateescape") as tar:
            return tar.extractfile(name).read()

    def lines(self, name):
        return [json.loads(line) for line in self.bytes(name).splitlines()]

    def done(self):
        return [row for row in self.order if "done" in row]

    def below_root(self):
        return {name.removeprefix("[root]/") for name in self.members if name.startswith("[root]/")}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A listening socket, and a process whose executable is deleted while it runs."""
    folder = tmp_path_factory.mktemp("triage")
    listener = socket.create_server(("127.0.0.1", 0))
    program = folder / "gone"
    shutil.copy(shutil.which("sleep"), program)
    content = program.read_bytes()
    gone = subprocess.Popen([program, "300"], env={"PLANTED": "in-the-environment"})
    program.unlink()
    bundle = Bundle(folder / "out")
    yield bundle, listener.getsockname()[1], gone.pid, content
    gone.kill()
    gone.wait()
    listener.close()


def test_volatile_goes_first(world):
    bundle = world[0]
    planned = [row for row in bundle.order if "planned" in row]
    done = bundle.done()
    assert [row["step"] for row in planned] == [row["step"] for row in done], "the plan was kept"
    assert bundle.order[:len(planned)] == planned, "it was told before"
    held = [row["holds"] for row in done]
    assert max(held.index("network"), len(held) - 1 - held[::-1].index("memory")) < held.index("files") < held.index("disk")
    times = [at for row in done for at in (row["from_boottime_ns"], row["to_boottime_ns"])]
    assert times == sorted(times)
    assert [row["rank"] for row in done] == sorted(row["rank"] for row in done)
    places = list(bundle.members)
    first_file = next(i for i, name in enumerate(places) if name.startswith("[root]/"))
    assert places.index("live_response/process/processes.jsonl") < first_file < places.index("bodyfile/bodyfile.txt")


def test_sockets_name_their_process(world):
    bundle, port = world[:2]
    space = os.readlink("/proc/self/ns/net")[5:-1]
    rows = bundle.lines(f"live_response/network/netns-{space}/sockets.jsonl")
    found = [row for row in rows if row.get("local_port") == port and row["table"] == "tcp"]
    assert [(row["local_ip"], row["state"]) for row in found] == [("127.0.0.1", "listening")]
    assert os.getpid() in found[0]["pids"]
    assert f":{port:04X}".encode() in bundle.bytes(f"live_response/network/netns-{space}/tcp.txt")
    kinds = bundle.lines(f"live_response/network/netns-{space}/netlink.jsonl")
    assert any(row["kind"] == "interface" and row["name"] == "lo" for row in kinds)
    assert any(row["kind"] == "rule" for row in kinds)


def test_process_and_its_deleted_executable(world):
    bundle, _, pid, content = world
    row = [row for row in bundle.lines("live_response/process/processes.jsonl") if row["pid"] == pid][0]
    assert row["executable_sha256"] == hashlib.sha256(content).hexdigest()
    assert row["executable_deleted"] is True and row["parent_pid"] == os.getpid()
    of = f"live_response/process/proc/{pid}"
    assert bundle.bytes(f"{of}/recovered_exe") == content
    assert bundle.members[f"{of}/recovered_exe"].mode == 0o400
    assert bundle.bytes(f"{of}/environ.txt") == b"PLANTED=in-the-environment\0"
    assert bundle.bytes(f"{of}/cmdline.txt").endswith(b"gone\x00300\x00")
    assert {row["fd"] for row in bundle.lines(f"{of}/fd.jsonl")} >= {0, 1, 2}
    assert b"[heap]" in bundle.bytes(f"{of}/maps.txt") or b"[stack]" in bundle.bytes(f"{of}/maps.txt")


def test_host_facts(world):
    bundle = world[0]
    assert bundle.bytes("live_response/system/version.txt") == Path("/proc/version").read_bytes()
    assert any(row["name"] == "kernel/hostname" for row in bundle.lines("live_response/system/sysctl.jsonl"))
    assert bundle.bytes("[root]/etc/passwd") == Path("/etc/passwd").read_bytes()
    assert "etc/shadow" not in bundle.below_root(), "no password hash"
    assert any(row["user"] == "root" for row in bundle.lines("live_response/system/shadow_policy.jsonl"))


def test_dissect_opens_it_packed(world):
    seen = dissect.opened(world[0].path, "/etc/passwd")
    assert (seen["loader"], seen["os"], seen["hostname"]) == ("UacTarSubloader", "linux", socket.gethostname())
    assert "root" in seen["users"] and seen["files"]["/etc/passwd"] == Path("/etc/passwd").read_text()


def test_dissect_opens_it_unpacked(world, tmp_path):
    subprocess.run(["tar", "-xf", world[0].path, "-C", tmp_path, "--no-same-owner"], check=True, timeout=60)
    seen = dissect.opened(tmp_path, "/etc/hostname")
    assert (seen["loader"], seen["os"], seen["hostname"]) == ("UacLoader", "linux", socket.gethostname())


# ---- a container, and a hostile one ------------------------------------------------------------------------


def fill(root):
    """What an attacker who owns a container can leave there."""
    for folder in ("etc", "tmp", "home/eve/.ssh", "root", "run", "proc", "sys", "var/log", "var/spool/cron"):
        (root / folder).mkdir(parents=True)
    (root / "etc/hostname").write_text("inside\n")
    (root / "etc/os-release").write_text("ID=inside\nVERSION_ID=1\nPRETTY_NAME=Inside\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n"
                                     "up:x:1:1::/../../../../etc:/bin/sh\n"
                                     "link:x:2:2::/tmp/elsewhere:/bin/sh\n"
                                     "long:x:3:3::/" + "a" * 5000 + ":/bin/sh\n\xff:::::::\n")
    (root / "etc/shadow").write_text("root:$y$j9T$salt$secrethash:20000:0:99999:7:::\n")
    (root / ".dockerenv").touch()
    (root / "etc/outside").symlink_to("/proc/1/root/etc/hostname")
    (root / "home/eve/.bash_history").write_text("curl evil\n")
    (root / "home/eve/.ssh/authorized_keys").write_text("ssh-ed25519 AAAA eve\n")
    (root / "home/eve/.ssh/id_ed25519").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n")
    (root / "home/bob").symlink_to("/etc")
    (root / "tmp/elsewhere").symlink_to("../../../../../../etc")
    (root / "tmp" / os.fsdecode(EVIL)).write_text("evil name")
    (root / "tmp" / ("n" * 255)).write_text("long name")
    os.mkfifo(root / "tmp/pipe")
    os.mknod(root / "tmp/disk", 0o600 | 0o060000, os.makedev(7, 0))
    deep = root / "tmp"
    for _ in range(40):
        deep = deep / "deep"
        deep.mkdir()
    with open(root / "tmp/big", "wb") as f:
        f.truncate(3 << 40)
    with open(root / "var/log/long.log", "wb") as f:
        for i in range(20000):
            f.write(b"%05d " % i + b"x" * 1000 + b"\n")


@pytest.fixture(scope="module")
def pod(tmp_path_factory):
    root = tmp_path_factory.mktemp("pod-root")
    fill(root)
    made = Pod(root, hold=["/etc/hostname"])
    yield made, root
    made.end()


def stats(root):
    """Everything that the kernel keeps of each file; a link's own access time is left out (see the README)."""
    found = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in [b"."] + folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            link = os.path.islink(path)
            found[path] = (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_nlink, st.st_mtime_ns, st.st_ctime_ns,
                           0 if link else st.st_atime_ns)
    return found


@pytest.fixture(scope="module")
def inside(pod, tmp_path_factory):
    """The bundle of the container, with its files' metadata before and after."""
    made, root = pod
    stats(root)  # this very walk is one that changes access times
    before = stats(root)
    bundle = Bundle(tmp_path_factory.mktemp("inside") / "out", f"container={made.container}")
    return bundle, before, stats(root)


def test_container_is_seen_alone(pod, inside):
    made, bundle = pod[0], inside[0]
    assert [row["pid"] for row in bundle.lines("live_response/process/processes.jsonl")] == [made.pid]
    assert bundle.notes["triage.view_process"] == made.pid
    spaces = {name.split("/")[2] for name in bundle.members if name.startswith("live_response/network/")}
    assert len(spaces) == 1 and f"netns-{os.readlink('/proc/self/ns/net')[5:-1]}" not in spaces
    assert not any(name.startswith("live_response/system/sysctl") for name in bundle.members)
    left_out = [row for row in bundle.order if "left_out" in row]
    assert [row["step"].split(",")[0] for row in left_out] == ["kernel"]
    assert bundle.bytes("[root]/etc/hostname") == b"inside\n"
    assert ".dockerenv" in bundle.below_root(), "a mark of a container runtime"
    assert dissect.opened(bundle.path)["hostname"] == "inside"


def test_process_is_seen_alone(pod, tmp_path):
    bundle = Bundle(tmp_path / "out", f"pid={pod[0].pid}")
    assert [row["pid"] for row in bundle.lines("live_response/process/processes.jsonl")] == [pod[0].pid]
    assert bundle.bytes("[root]/etc/hostname") == b"inside\n"


def test_nothing_leads_out_of_the_container(inside):
    bundle = inside[0]
    for name, member in bundle.members.items():
        assert not name.startswith("/") and ".." not in name.split("/"), name
        if member.isfile() and name.startswith("[root]/"):
            assert Path("/etc/machine-id").read_bytes() not in bundle.bytes(name) if member.size < 1 << 20 else True
    assert bundle.members["[root]/etc/outside"].issym()
    assert "home/bob" not in " ".join(bundle.below_root()), "a link among homes is not gone through"


def test_hostile_names_and_contents(inside):
    bundle = inside[0]
    assert bundle.bytes("[root]/tmp/" + EVIL.decode("utf-8", "surrogateescape")) == b"evil name"
    assert bundle.bytes("[root]/tmp/" + "n" * 255) == b"long name"
    assert bundle.members["[root]/tmp/pipe"].isfifo() and bundle.members["[root]/tmp/disk"].isblk()
    assert "tmp/big" not in bundle.below_root() and b"/tmp/big: 3298534883328 bytes, left out" in bundle.bytes("exhibit.log")
    for row in bundle.bytes("bodyfile/bodyfile.txt").splitlines():
        assert row.count(b"|") == 10 and row.startswith(b"0|/") and b"\x1b" not in row
    for name in ("exhibit.log", "uac.log"):
        assert all(c == 0x0A or 0x20 <= c < 0x7F for c in bundle.bytes(name)), name
    log = bundle.bytes("[root]/var/log/long.log")
    assert len(log) % 1007 == 0 and log.startswith(b"0") and log[-1007:].startswith(b"19999 x"), "the end, from a line's start"
    assert (16 << 20) - 1007 < len(log) <= 16 << 20


def test_no_secret_is_taken_along(inside):
    whole = inside[0].path.read_bytes()
    assert b"secrethash" not in whole and b"PRIVATE KEY" not in whole
    assert b"id_ed25519: a private key, left out" in whole and b"AAAA eve" in whole and b"curl evil" in whole
    policy = inside[0].lines("live_response/system/shadow_policy.jsonl")
    assert [(row["user"], row["password"], row["scheme"]) for row in policy] == [("root", "hash", "y")]


def test_source_is_as_it_was(inside):
    _, before, after = inside
    assert before == after


# ---- ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3000, 100_000, 400_000, 3_000_001])
def test_limit_leaves_a_bundle_that_opens(pod, tmp_path, limit):
    bundle = Bundle(tmp_path / "out", f"container={pod[0].container}", f"max-bytes={limit}")
    assert list(bundle.members)[-1] == "exhibit.log"
    # A long log is not begun when it does not fit; what is shorter still is.
    said = b"the bundle ends here" if limit < 400_000 else b"long.log: 16776620 bytes are more than the order's limit leaves"
    assert said in bundle.bytes("exhibit.log")
    assert any(row.get("lacking") for row in bundle.rows)
    assert sum(row["bytes"] for row in bundle.rows if "item" in row) <= limit + (4 << 20)
    assert subprocess.run(["tar", "-tf", bundle.path], capture_output=True, timeout=60, check=False).returncode == 0
    assert [row for row in bundle.rows if row.get("item") == "triage.tar"][0]["sha256"] == digest(bundle.path)


@pytest.mark.parametrize("word, says", [("container=" + "0" * 64, "no process runs in the container"),
                                        ("pid=4194000", "process 4194000 does not exist")])
def test_target_that_is_not_there(tmp_path, word, says):
    told = acquire("triage", tmp_path / "out", word, status=1)
    assert says in told and len(told.splitlines()) == 1
