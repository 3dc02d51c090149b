# SPDX-License-Identifier: Apache-2.0
"""Cores of processes and containers: real gdb opens them, odd memory is in them or reasoned, and nothing stays held."""
import json
import os
import re
import secrets
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

from basics import BUILD, until
from elf_core import Core
from test_acquire import DRIVER, acquire, notes

ODD = BUILD / "tests/driver_odd"
PAGE = 4096
V2 = next((p for p in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")) if (p / "cgroup.controllers").exists()),
          None)
V1 = Path("/sys/fs/cgroup/freezer")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="reading other processes takes root")


class Odd:
    """The odd program, and where its markers lie."""

    def __init__(self, folder, *args, exe=ODD, **more):
        self.process = subprocess.Popen([exe, folder, *map(str, args)], stdout=subprocess.PIPE, text=True, **more)
        self.pid, self.at = self.process.pid, {}
        for line in self.process.stdout:
            if line == "ready\n":
                break
            name, address, *size = line.split()
            if address != "-":
                self.at[name] = int(address, 16), int(size[0])

    def close(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def odd(tmp_path):
    made = []

    def start(*args, **more):
        made.append(Odd(tmp_path, *args, **more))
        return made[-1]
    yield start
    for one in made:
        one.close()


def gaps(folder, pid=None):
    path = folder / (f"core.{pid}.gaps.jsonl" if pid else "core.gaps.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def reason(rows, address):
    return [row["reason"] for row in rows if row["first"] <= address <= row["last"]]


def gdb(exe, core, *commands):
    done = subprocess.run(["gdb", "-nx", "-batch", *[a for c in commands for a in ("-ex", c)], exe, core],
                          capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


def rollup(pid, field):
    return int(re.search(rf"^{field}:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])


def status(pid, field):
    return re.search(rf"^{field}:\s+(.+)$", Path(f"/proc/{pid}/status").read_text(), re.M)[1]


def runs(pid):
    return status(pid, "State")[0] in "RSI" and all(
        (t / "wchan").read_text() not in ("__refrigerator", "ptrace_stop") for t in Path(f"/proc/{pid}/task").iterdir())


def settled(measure):
    """What it measures once the process's own first steps are over: the same five times in a row."""
    last = []
    until(lambda: last.append(measure()) or (len(last) >= 5 and len(set(last[-5:])) == 1), 20, "it comes to rest")
    return last[-1]


def test_odd_memory_is_there_or_reasoned(odd, tmp_path):
    it = odd()
    before = settled(lambda: (status(it.pid, "VmPTE"), rollup(it.pid, "Anonymous")))
    acquire("core", tmp_path / "out", f"pid={it.pid}")
    assert (status(it.pid, "VmPTE"), rollup(it.pid, "Anonymous")) == before
    until(lambda: runs(it.pid), 10, "it goes on")
    core, rows = Core(tmp_path / f"out/core.{it.pid}.elf"), gaps(tmp_path / "out", it.pid)
    assert core.end == os.path.getsize(tmp_path / f"out/core.{it.pid}.elf")
    for name, (at, size) in it.at.items():
        if name in ("sparse", "secret", "ring"):
            continue
        for page in range(size // PAGE):
            if name == "guard" and page >= 8:
                continue
            mark = f"MARK {name} {page:02}".encode()
            assert core.read(at + page * PAGE, len(mark)) == mark, (name, page)
    assert core.read(it.at["sparse"][0], 8) is None
    assert reason(rows, it.at["sparse"][0] + (512 << 20)) == ["never touched, reads as zeros"]
    if "secret" in it.at:
        assert reason(rows, it.at["secret"][0]) == ["not readable"]
    if "guard" in it.at:
        assert reason(rows, it.at["guard"][0] + 8 * PAGE) in (["guard pages"], ["not readable"])
    if "beyond" in it.at:
        assert reason(rows, sum(it.at["beyond"]))
    if "ring" in it.at:
        assert core.read(*it.at["ring"]) is not None
    for name, address in (("[vvar]", None), ("[vsyscall]", None)):
        address = next((int(line.split("-")[0], 16) for line in Path(f"/proc/{it.pid}/maps").read_text().splitlines()
                        if line.endswith(name)), None)
        assert address is None or reason(rows, address) == ["memory of a device or of the kernel"]


def test_every_byte_is_in_the_core_or_a_gap(odd, tmp_path):
    it = odd()
    acquire("core", tmp_path / "out", f"pid={it.pid}")
    core, rows = Core(tmp_path / f"out/core.{it.pid}.elf"), gaps(tmp_path / "out", it.pid)
    maps = json.loads((tmp_path / "out/maps.jsonl").read_text())["maps"]
    for line in maps.splitlines():
        start, end = (int(x, 16) for x in line.split()[0].split("-"))
        covered = sum(min(end, s[3] + s[6]) - max(start, s[3]) for s in core.segments
                      if s[0] == 1 and s[3] < end and s[3] + s[6] > start)
        assert covered == end - start, line
        absent = [s for s in core.segments if s[0] == 1 and s[5] == 0 and start <= s[3] < end]
        for s in absent:
            told = sum(min(s[3] + s[6], r["last"] + 1) - max(s[3], r["first"]) for r in rows
                       if r["first"] < s[3] + s[6] and r["last"] >= s[3])
            assert told == s[6], line


def test_gdb_opens_it(odd, tmp_path):
    it = odd()
    acquire("core", tmp_path / "out", f"pid={it.pid}")
    said = gdb(ODD, tmp_path / f"out/core.{it.pid}.elf", "info threads", "thread apply all bt", "info proc mappings",
               "info sharedlibrary", "x/s " + hex(it.at["none"][0]))
    assert said.count("(LWP ") >= 4 and "in main (" in said and said.count("in sleeper (") >= 4
    assert "start_thread" in said and "clone3" in said
    assert f"Core was generated by `{f'{ODD} {tmp_path}'[:79]}" in said, "the note has room for so much"
    assert str(ODD) in said and "libc.so.6" in said and "MARK none 00" in said
    assert "corrupt" not in said


def test_notes_are_those_that_the_kernel_writes(odd, tmp_path):
    it = odd()
    acquire("core", tmp_path / "out", f"pid={it.pid}")
    kinds = [(name, number) for name, number, _ in Core(tmp_path / f"out/core.{it.pid}.elf").notes()]
    if os.uname().machine == "x86_64":
        assert kinds[:7] == [("CORE", 1), ("CORE", 3), ("CORE", 0x53494749), ("CORE", 6), ("CORE", 0x46494c45),
                             ("CORE", 2), ("LINUX", 0x202)]
    assert kinds.count(("CORE", 1)) == 4
    first = Core(tmp_path / f"out/core.{it.pid}.elf").notes()[0]
    assert struct.unpack_from("<i", first[2], 32)[0] == it.pid and len(first[2]) == 336


def test_a_forked_pair_stays_shared(odd, tmp_path):
    it = odd("fork")
    shared, private = settled(lambda: (rollup(it.pid, "Shared_Dirty"), rollup(it.pid, "Private_Dirty")))
    assert shared > 64
    acquire("core", tmp_path / "out", f"pid={it.pid}")
    assert rollup(it.pid, "Shared_Dirty") == shared and rollup(it.pid, "Private_Dirty") == private


@pytest.mark.parametrize("how", ["deleted", "memfd"])
def test_an_executable_without_a_file(how, tmp_path):
    copy = tmp_path / "gone"
    shutil.copy(ODD, copy)
    if how == "deleted":
        it = Odd(tmp_path, exe=copy)
        copy.unlink()
    else:
        fd = os.memfd_create("gone", 0)
        os.write(fd, copy.read_bytes())
        it = Odd(tmp_path, exe=f"/proc/self/fd/{fd}", pass_fds=[fd])
    try:
        acquire("core", tmp_path / "out", f"pid={it.pid}")
    finally:
        it.close()
    assert (tmp_path / f"out/exe.{it.pid}").read_bytes() == ODD.read_bytes()
    assert "in main (" in gdb(tmp_path / f"out/exe.{it.pid}", tmp_path / f"out/core.{it.pid}.elf", "bt")
    row = json.loads((tmp_path / "out/processes.jsonl").read_text())
    assert ("(deleted)" in row["executable"]) and row["executable_file"]["links"] == 0


def test_who_it_was_and_what_it_had_open(odd, tmp_path):
    import socket
    with socket.create_server(("127.0.0.1", 0)) as server, open(tmp_path / "a\nb", "w", encoding="ascii") as file:
        it = odd(env={"SECRET": "x y", "BYTES": "\udcff"}, pass_fds=[server.fileno(), file.fileno()])
        os.unlink(tmp_path / "a\nb")
        acquire("core", tmp_path / "out", f"pid={it.pid}")
        port = server.getsockname()[1]
    row = json.loads((tmp_path / "out/processes.jsonl").read_text())
    assert row["pid"] == it.pid and row["args"] == [str(ODD), str(tmp_path)]
    assert "SECRET=x y" in row["environment"] and row["environment_base64"]
    files = {r["fd"]: r for r in map(json.loads, (tmp_path / "out/files.jsonl").read_text().splitlines())}
    sock = files[server_fd(files, "socket")]["socket"]
    assert sock["protocol"] == "tcp" and sock["local"] == f"127.0.0.1:{port}" and sock["state"] == "LISTEN"
    gone = next(r for r in files.values() if r["target"].endswith("a\nb (deleted)"))
    assert gone["deleted"] is True and "flags:" in gone["fdinfo"]


def server_fd(files, what):
    return next(fd for fd, row in files.items() if what in row)


def test_one_instant(odd, tmp_path):
    """A writer goes through its pages in order: held at one instant, there is one step down at most."""
    it = odd("touch", 64)
    acquire("core", tmp_path / "out", f"pid={it.pid}")
    at, size = it.at["touched"]
    core = Core(tmp_path / f"out/core.{it.pid}.elf")
    seen = [struct.unpack("<Q", core.read(at + i, 8) or bytes(8))[0] for i in range(0, size, PAGE)]
    assert seen == sorted(seen, reverse=True) and seen[0] - seen[-1] <= 1 and seen[0] > 0
    said, _ = notes(tmp_path / "out")
    assert 0 < said["core.stop_ns"] < said["core.frozen_ns"] and said["core.read_later_bytes"] == 0


def test_more_than_the_spool_is_told(odd, tmp_path):
    it = odd("touch", 64)
    acquire("core", tmp_path / "out", f"pid={it.pid}", f"spool-bytes={16 << 20}")
    said, rows = notes(tmp_path / "out")
    later = [r for r in gaps(tmp_path / "out", it.pid) if r["reason"] == "read after the target went on"]
    assert said["core.spool_bytes"] == 16 << 20
    assert sum(r["last"] - r["first"] + 1 for r in later) == said["core.read_later_bytes"] >= 48 << 20
    assert any("after the target went on" in r.get("warning", "") and r["lacking"] for r in rows)
    until(lambda: runs(it.pid), 10, "it goes on")


def test_no_freeze(odd, tmp_path):
    it = odd()
    acquire("core", tmp_path / "out", f"pid={it.pid}", "no-freeze=1")
    at, _ = it.at["none"]
    assert Core(tmp_path / f"out/core.{it.pid}.elf").read(at, 12) == b"MARK none 00"
    said, rows = notes(tmp_path / "out")
    assert said["core.held_by"] == "nothing" and any("not held" in r.get("warning", "") for r in rows)


def test_a_traced_process_is_read_without_registers(odd, tmp_path):
    it = odd()
    tracer = subprocess.Popen(["gdb", "-nx", "-q", "-p", str(it.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    try:
        until(lambda: status(it.pid, "TracerPid") != "0", 30, "gdb traces it")
        acquire("core", tmp_path / "out", f"pid={it.pid}")
    finally:
        tracer.kill()
        tracer.communicate(timeout=20)
    assert "traced by another program" in (tmp_path / "out/notes.jsonl").read_text()
    assert Core(tmp_path / f"out/core.{it.pid}.elf").read(it.at["memfd"][0], 13) == b"MARK memfd 00"


def test_stopped_stays_stopped(odd, tmp_path):
    it = odd()
    os.kill(it.pid, signal.SIGSTOP)
    until(lambda: status(it.pid, "State")[0] == "T", 10, "it is stopped")
    acquire("core", tmp_path / "out", f"pid={it.pid}")
    time.sleep(0.1)
    assert status(it.pid, "State")[0] == "T"
    assert "in main (" in gdb(ODD, tmp_path / f"out/core.{it.pid}.elf", "bt")


def test_a_process_whose_main_thread_has_ended(odd, tmp_path):
    it = odd("orphans")
    until(lambda: status(it.pid, "State")[0] == "Z", 10, "the main thread has ended")
    acquire("core", tmp_path / "out", f"pid={it.pid}")
    core = Core(tmp_path / f"out/core.{it.pid}.elf")
    assert core.read(it.at["none"][0], 12) == b"MARK none 00"
    assert len([n for n in core.notes() if n[:2] == ("CORE", 1)]) == 3
    assert (tmp_path / f"out/exe.{it.pid}").read_bytes() == ODD.read_bytes()


@pytest.mark.parametrize("pid, says", [(2, "one of the kernel's"), (2 ** 22 + 5, "there is no process"),
                                       (0, "names no process"), (None, "is this agent, or started it")])
def test_refuses(tmp_path, pid, says):
    told = acquire("core", tmp_path / "out", f"pid={os.getpid() if pid is None else pid}", status=1)
    assert says in told and len(told.splitlines()) == 1


# ---- containers --------------------------------------------------------------------------------------

def remove(top):
    for folder, _, _ in os.walk(top, topdown=False):
        try:
            os.rmdir(folder)
        except OSError:
            pass


@pytest.fixture(params=["v2", "v1"])
def container(request):
    """A cgroup as docker's cgroupfs driver names one, with two below each other."""
    root = V2 if request.param == "v2" else V1
    if root is None or not root.is_dir():
        pytest.skip(f"no freezer of {request.param} here")
    name = secrets.token_hex(32)
    top = root / f"exhibit-test-{name[:8]}" / name
    (top / "a/b").mkdir(parents=True)
    yield request.param, top, name
    for _ in range(100):
        pids = [p for f in (top, top / "a", top / "a/b") for p in (f / "cgroup.procs").read_text().split()]
        for pid in pids:
            os.kill(int(pid), signal.SIGKILL)
        if not pids:
            break
        time.sleep(0.05)
    remove(top.parent)


def frozen(version, top):
    if version == "v2":
        return "frozen 1" in (top / "cgroup.events").read_text()
    return (top / "freezer.state").read_text() != "THAWED\n"


def freeze(version, top, on):
    knob, word = ("cgroup.freeze", "01"[on]) if version == "v2" else ("freezer.state", ["THAWED", "FROZEN"][on])
    (top / knob).write_text(word, encoding="ascii")
    until(lambda: frozen(version, top) == on, 10, "frozen or thawed")


def settle(odd, top, *args):
    """A few processes that share memory, one after the other deeper in."""
    made = []
    for folder in (top, top / "a", top / "a/b"):
        one = odd(*args)
        (folder / "cgroup.procs").write_text(str(one.pid), encoding="ascii")
        made.append(one)
    return made


def test_a_container_at_one_instant(container, odd, tmp_path):
    version, top, name = container
    made = settle(odd, top, "fork")
    acquire("core", tmp_path / "out", f"container={name}")
    said, _ = notes(tmp_path / "out")
    assert said["core.processes"] == 6 or said["core.processes"] == 3  # a child made before the move stays outside
    assert version in said["core.held_by"] and said["core.shared_bytes"] > 0
    for one in made:
        core = Core(tmp_path / f"out/core.{one.pid}.elf")
        for kind in ("none", "shared", "memfd", "sysv"):
            mark = f"MARK {kind} 15".encode()
            assert core.read(one.at[kind][0] + 15 * PAGE, len(mark)) == mark
        assert "in main (" in gdb(ODD, tmp_path / f"out/core.{one.pid}.elf", "bt")
    until(lambda: not frozen(version, top) and all(runs(one.pid) for one in made), 10, "they go on")
    rows = [json.loads(line) for line in (tmp_path / "out/processes.jsonl").read_text().splitlines()]
    assert {row["pid"] for row in rows} >= {one.pid for one in made}
    assert len(list((tmp_path / "out").glob("exe.*"))) == 1


COUNTER = """
import mmap, os, struct, sys
m = mmap.mmap(-1, 4096)
print(hex(id(m)), flush=True)
pids = []
for i in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0:
        while True:
            m[0:8] = struct.pack("<Q", struct.unpack("<Q", m[0:8])[0] + 1)
    pids.append(pid)
print(" ".join(map(str, pids)), flush=True)
os.wait()
"""


def test_a_shared_counter_is_the_same_in_all_cores(container, tmp_path):
    version, top, name = container
    parent = subprocess.Popen(["/usr/bin/python3", "-c", COUNTER, "5"], stdout=subprocess.PIPE, text=True,
                              preexec_fn=lambda: (top / "a/cgroup.procs").write_text(str(os.getpid())))
    parent.stdout.readline()
    pids = list(map(int, parent.stdout.readline().split()))
    try:
        acquire("core", tmp_path / "out", f"container={name}")
    finally:
        for pid in pids + [parent.pid]:
            os.kill(pid, signal.SIGKILL)
        parent.communicate(timeout=20)
    rows = {r["pid"]: r["maps"] for r in map(json.loads, (tmp_path / "out/maps.jsonl").read_text().splitlines())}
    seen = set()
    for pid in pids:
        at = next(int(line.split("-")[0], 16) for line in rows[pid].splitlines()
                  if "/dev/zero (deleted)" in line and "rw-s" in line)
        seen.add(Core(tmp_path / f"out/core.{pid}.elf").read(at, 8))
    assert len(rows) == 6 and len(seen) == 1 and seen != {bytes(8)}
    until(lambda: not frozen(version, top), 10, "it is thawed")


def test_paused_stays_paused(container, odd, tmp_path):
    version, top, name = container
    made = settle(odd, top)
    freeze(version, top, True)
    try:
        acquire("core", tmp_path / "out", f"container={name}")
        assert frozen(version, top)
        core = Core(tmp_path / f"out/core.{made[0].pid}.elf")
        assert core.read(made[0].at["none"][0], 12) == b"MARK none 00"
        registers = [n for n in core.notes() if n[:2] == ("CORE", 1)]
        assert len(registers) == (4 if version == "v2" else 0)
        if version == "v1":
            assert "frozen before by version 1" in (tmp_path / "out/notes.jsonl").read_text()
    finally:
        freeze(version, top, False)
    until(lambda: all(runs(one.pid) for one in made), 10, "they go on")


def test_a_killed_acquirer_leaves_nothing_frozen(container, odd, tmp_path):
    version, top, name = container
    made = settle(odd, top, "touch", 200)
    seen = 0
    for i in range(20):
        acquirer = subprocess.Popen([DRIVER, "core", tmp_path / f"out{i}", f"container={name}",
                                     f"spool-bytes={2 << 30}"], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while not frozen(version, top) and acquirer.poll() is None and time.monotonic() < deadline:
                pass
            caught = frozen(version, top)
        finally:
            acquirer.kill()
            acquirer.wait(10)
        until(lambda: not frozen(version, top) and all(runs(one.pid) for one in made), 6, "thawed")
        shutil.rmtree(tmp_path / f"out{i}", ignore_errors=True)
        seen += caught
        if seen == 2:
            break
    assert seen > 0, "never caught it while it held"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_an_acquirer_that_is_gone_or_hangs_holds_no_process(odd, tmp_path, how):
    it = odd("touch", 400)
    for _ in range(10):
        acquirer = subprocess.Popen([DRIVER, "core", tmp_path / "out", f"pid={it.pid}", f"spool-bytes={1 << 30}",
                                     "freeze-ms=2000"], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while status(it.pid, "TracerPid") == "0" and time.monotonic() < deadline:
                pass
            os.kill(acquirer.pid, how)
            caught = how == signal.SIGKILL or status(it.pid, "TracerPid") != "0"
            if caught:
                until(lambda: status(it.pid, "TracerPid") == "0" and runs(it.pid), 20, "it goes on")
                assert acquirer.wait(20) == -signal.SIGKILL
                return
        finally:
            acquirer.kill()
            acquirer.wait(10)
    raise AssertionError("never caught it while it held")


def test_a_deadline_lets_go(container, odd, tmp_path):
    version, top, name = container
    made = settle(odd, top, "touch", 200)
    acquire("core", tmp_path / "out", f"container={name}", "freeze-ms=20", f"spool-bytes={1 << 30}")
    said, rows = notes(tmp_path / "out")
    assert any("as long as it may be held" in r.get("warning", "") or "may be held for" in r.get("warning", "")
               for r in rows)
    assert said["core.read_later_bytes"] > 0
    until(lambda: not frozen(version, top) and all(runs(one.pid) for one in made), 10, "they go on")


def test_more_executables_than_an_exhibit_has_items(container, tmp_path):
    """Their owner gives each process a file of its own: all cores are taken, and what is left out is told."""
    _, top, name = container
    made = []
    for i in range(130):
        shutil.copy("/usr/bin/sleep", tmp_path / f"sleep{i}")
        made.append(subprocess.Popen([tmp_path / f"sleep{i}", "300"],
                                     preexec_fn=lambda: (top / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")))
    try:
        acquire("core", tmp_path / "out", f"container={name}", seconds=200)
    finally:
        for one in made:
            one.kill()
            one.wait()
    assert len(list((tmp_path / "out").glob("core.*.elf"))) == 130 and len(list((tmp_path / "out").glob("exe.*"))) > 100
    left_out = [row for row in notes(tmp_path / "out")[1] if "is left out: more than 256 items" in row.get("warning", "")]
    assert left_out and all(row["lacking"] for row in left_out)


def test_our_own_cgroup_is_refused(container, tmp_path):
    _, top, name = container
    keeper = subprocess.Popen(["sleep", "60"])
    try:
        (top / "cgroup.procs").write_text(str(keeper.pid), encoding="ascii")
        within = str(top).removeprefix(str(V2 if "unified" in str(top) or V1 not in top.parents else V1))
        told = acquire("core", tmp_path / "out", f"container={name}", f"own-cgroup={within}/a/b", status=1)
        assert "holds this agent" in told
        assert not frozen("v1" if V1 in top.parents else "v2", top)
    finally:
        keeper.kill()
        keeper.wait(10)


def test_no_such_container(tmp_path):
    assert "no process runs in" in acquire("core", tmp_path / "out", f"container={'0' * 64}", status=1)
