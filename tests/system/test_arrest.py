# SPDX-License-Identifier: Apache-2.0
"""Arrest: a program is stopped before its first instruction, taken, and goes on, dies or stays, as ordered."""
import os
import secrets
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

from basics import until
from elf_core import Core
from test_acquire import DRIVER, acquire, notes
from test_core import V1, remove, status

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="stopping other processes takes root")

PC = {"x86_64": 112 + 16 * 8, "aarch64": 112 + 32 * 8}[os.uname().machine]


class Arrest:
    """An acquirer that waits for its victim."""

    def __init__(self, folder, *words):
        self.out = folder / "out"
        self.process = subprocess.Popen([DRIVER, "arrest", self.out, *words], stderr=subprocess.PIPE, text=True)
        until(lambda: self.process.poll() is not None or self.said("arrest.by"), 30, "it is armed")
        if self.process.poll() is not None:
            told = self.process.stderr.read()
            assert "not permitted" in told or "not supported" in told, told
            pytest.skip(told)

    def said(self, key):
        try:
            return notes(self.out)[0].get(key)
        except (FileNotFoundError, ValueError):
            return None

    def end(self, seconds=30):
        self.process.wait(seconds)
        told = self.process.stderr.read()
        assert self.process.returncode == 0, told
        return notes(self.out)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.process.stderr.close()


@pytest.fixture
def arrest(tmp_path):
    made = []

    def start(*words):
        made.append(Arrest(tmp_path, *words))
        return made[-1]
    yield start
    for one in made:
        one.close()


@pytest.fixture
def bad(tmp_path):
    """A program that leaves a mark as soon as it runs; its folder has it alone."""
    (tmp_path / "place").mkdir()
    path = tmp_path / "place/bad"
    shutil.copy("/usr/bin/touch", path)
    return path


def is_stopped(pid):
    return status(pid, "State")[0] == "T"


def entry(path):
    return struct.unpack_from("<Q", path.read_bytes(), 24)[0]


def at_first_instruction(core):
    """The program counter is the dynamic linker's entry point."""
    found = {}
    for _, number, desc in core.notes():
        found.setdefault(number, desc)
    auxv = dict(struct.unpack_from("<QQ", found[6], i) for i in range(0, len(found[6]), 16))
    linker = Path(next(Path("/lib64").glob("ld-linux*.so*"), None) or next(Path("/lib").glob("ld-linux*.so*")))
    return struct.unpack_from("<Q", found[1], PC)[0] == auxv[7] + entry(linker)


def patterns(bad):
    st = bad.stat()
    return {"path": f"on-exec={bad}", "prefix": f"on-prefix={bad.parent}/", "file": f"on-file={st.st_dev}:{st.st_ino}"}


@pytest.mark.parametrize("by", ["path", "prefix", "file"])
def test_stopped_before_its_first_instruction(arrest, bad, tmp_path, by):
    mark = tmp_path / "mark"
    it = arrest(patterns(bad)[by], "end=stay")
    victim = subprocess.Popen([bad, mark])
    until(lambda: it.said("core.processes") is not None, 30, "it is taken")
    assert is_stopped(victim.pid) and not mark.exists()
    core = Core(it.out / f"core.{victim.pid}.elf")
    assert at_first_instruction(core)
    assert (it.out / f"exe.{victim.pid}").read_bytes() == bad.read_bytes()
    it.process.send_signal(signal.SIGTERM)
    said, _ = it.end()
    assert victim.wait(10) == 0 and mark.exists()
    assert said["arrest.stops"] == 1 and said["arrest.stop.1.pid"] == victim.pid


def test_it_goes_on_and_the_next_is_free(arrest, bad, tmp_path):
    it = arrest(f"on-exec={bad}")
    assert subprocess.run([bad, tmp_path / "a"], timeout=30, check=False).returncode == 0
    assert (tmp_path / "a").exists()
    said, rows = it.end()
    assert subprocess.run([bad, tmp_path / "b"], timeout=30, check=False).returncode == 0
    assert said["arrest.end"] == "continue" and len(list(it.out.glob("core.*.elf"))) == 1
    assert not any(row.get("lacking") for row in rows)


def test_it_dies(arrest, bad, tmp_path):
    it = arrest(f"on-exec={bad}", "end=kill")
    victim = subprocess.Popen([bad, tmp_path / "a"])
    assert victim.wait(30) == -signal.SIGKILL
    it.end()
    assert not (tmp_path / "a").exists()
    assert (it.out / f"exe.{victim.pid}").read_bytes() == bad.read_bytes()


def test_no_more_than_ordered(arrest, bad, tmp_path):
    it = arrest(f"on-prefix={bad.parent}/", "max-stops=2", "end=kill")
    victims = [subprocess.Popen([bad, tmp_path / f"m{i}"]) for i in range(5)]
    codes = [v.wait(30) for v in victims]
    said, _ = it.end()
    assert sorted(codes) == [-9, -9, 0, 0, 0] and said["arrest.stops"] == 2
    assert sum((tmp_path / f"m{i}").exists() for i in range(5)) == 3


def test_what_does_not_match_runs(arrest, bad, tmp_path):
    other = bad.parent / "bad2"
    shutil.copy(bad, other)
    it = arrest(f"on-exec={bad}")
    assert subprocess.run([other, tmp_path / "a"], timeout=20, check=False).returncode == 0
    link = tmp_path / "link"
    link.symlink_to(bad)
    victim = subprocess.Popen([link, tmp_path / "b"])  # resolved: it is the same file
    assert victim.wait(20) == 0
    said, _ = it.end()
    assert said["arrest.stop.1.pid"] == victim.pid


def test_nothing_came(arrest, bad):
    it = arrest(f"on-exec={bad}")
    it.process.send_signal(signal.SIGTERM)
    said, rows = it.end()
    assert said["arrest.stops"] == 0
    assert any("no process started" in row.get("warning", "") and row["lacking"] for row in rows)


@pytest.mark.parametrize("limits", [["max-seconds=2"], ["host-seconds=2"], ["max-seconds=600", "host-seconds=2"]])
def test_a_hard_timeout(arrest, bad, tmp_path, limits):
    it = arrest(f"on-exec={bad}", "end=stay", *limits)
    victim = subprocess.Popen([bad, tmp_path / "a"])
    assert victim.wait(20) == 0 and (tmp_path / "a").exists()
    it.end()


@pytest.mark.parametrize("wait", [0, 0.003, 0.01, 0.05, 0.3])
def test_a_killed_acquirer_lets_go(arrest, bad, tmp_path, wait):
    it = arrest(f"on-exec={bad}", "end=stay")
    victim = subprocess.Popen([bad, tmp_path / "a"])
    time.sleep(wait)
    it.process.kill()
    assert victim.wait(15) == 0 and (tmp_path / "a").exists()


@pytest.mark.parametrize("words, says", [(["on-exec=/usr/bin/runc"], "never stopped"), (["on-exec=/usr/bin/kubelet"], "never stopped"),
                                         (["on-exec=/usr/sbin/exhibit-agent"], "never stopped"),
                                         (["on-prefix=/"], "whatever the host starts next"), (["on-prefix=usr"], "no absolute path"),
                                         (["on-exec=usr/bin/x"], "no absolute path"), ([], "no pattern")])
def test_refuses(tmp_path, words, says):
    told = acquire("arrest", tmp_path / "out", *words, status=1)
    assert says in told and len(told.splitlines()) == 1


def test_a_name_that_protects_is_told(arrest, bad):
    """In a mount namespace of its own anybody may have a kubelet."""
    it = arrest("on-prefix=/usr/local/sbin/kube", "max-seconds=20")
    inside = "mount -t tmpfs none /usr/local/sbin && cp $0 /usr/local/sbin/kubelet && exec /usr/local/sbin/kubelet /dev/null"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", inside, bad], timeout=30, check=False)
    if done.returncode != 0:
        pytest.skip("no mount namespace can be made here")
    it.process.send_signal(signal.SIGTERM)
    said, rows = it.end()
    assert said["arrest.stops"] == 0
    assert any("/usr/local/sbin/kubelet and went on: such a program is never stopped" in row.get("warning", "") for row in rows)


@pytest.mark.parametrize("whose", ["first process", "ourselves"])
def test_never_stops_by_its_file(arrest, whose):
    """Wherever they lie: whoever knows the numbers of the file gets nothing by them."""
    path = DRIVER if whose == "ourselves" else Path("/proc/1/exe")
    try:
        st = path.stat()
        where = path if whose == "ourselves" else path.readlink()
        same = where.stat()
    except OSError as why:
        pytest.skip(f"the first process's program is not to be seen here: {why}")
    if (st.st_dev, st.st_ino) != (same.st_dev, same.st_ino):
        pytest.skip("the first process's program lies elsewhere")
    it = arrest(f"on-file={st.st_dev}:{st.st_ino}", "end=kill")
    done = subprocess.run([where, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    assert done.returncode != -signal.SIGKILL
    it.process.send_signal(signal.SIGTERM)
    said, _ = it.end()
    assert said["arrest.stops"] == 0


@pytest.mark.parametrize("name", ["systemd", "init", "runc", "crun", "containerd", "containerd-shim-runc-v2", "dockerd", "podman",
                                  "conmon", "crio", "kubelet", "k3s", "exhibit-agent"])
def test_never_stops_by_its_place(arrest, name, tmp_path):
    """In a mount namespace of its own, so that nothing but the path in it tells; what lies beside it is stopped."""
    script = f"""
set -e
mount -t tmpfs none /usr/local/sbin
cp /usr/bin/touch /usr/local/sbin/{name}; cp /usr/bin/touch /usr/local/sbin/other
exec >{tmp_path}/ready; read go
/usr/local/sbin/{name} {tmp_path}/protected
/usr/local/sbin/other {tmp_path}/other || true
"""
    inside = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, text=True)
    until(lambda: (tmp_path / "ready").exists() or inside.poll() is not None, 20, "the namespace")
    if inside.poll() is not None:
        pytest.skip("no mount namespace can be made here")
    it = arrest("on-prefix=/usr/local/sbin/", "end=kill")
    inside.communicate("go\n", timeout=30)
    said, _ = it.end()
    assert said["arrest.stops"] == 1 and (tmp_path / "protected").exists() and not (tmp_path / "other").exists()


def test_only_in_the_container(arrest, bad, tmp_path):
    if not V1.is_dir():
        pytest.skip("no cgroup to put it into")
    name = secrets.token_hex(32)
    top = V1 / f"exhibit-test-{name[:8]}" / name
    top.mkdir(parents=True)
    try:
        it = arrest(f"on-exec={bad}", f"container={name}", "end=kill")
        assert subprocess.run([bad, tmp_path / "out-of-it"], timeout=20, check=False).returncode == 0
        victim = subprocess.Popen([bad, tmp_path / "in-it"],
                                  preexec_fn=lambda: (top / "cgroup.procs").write_text(str(os.getpid())))
        assert victim.wait(20) == -signal.SIGKILL
        said, _ = it.end()
        assert said["arrest.stops"] == 1 and said["arrest.stop.1.pid"] == victim.pid
    finally:
        until(lambda: not (top / "cgroup.procs").read_text(), 10, "it is empty")
        remove(top.parent)
