# SPDX-License-Identifier: Apache-2.0
"""Targets that end, start another program or give their number away while their memory is taken."""
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from basics import until
from elf_core import Core
from test_acquire import DRIVER, acquire, notes
from test_core import container, frozen, gaps, odd, runs, settle, status

assert container and odd  # fixtures
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="reading other processes takes root")

ENDED = "the process had ended or started another program"
CHANGES = """
import os, signal, sys
held = bytearray(os.urandom(1 << 20) * int(sys.argv[1]))
signal.signal(signal.SIGUSR1, lambda *_: os.execv("/bin/sleep", ["sleep", "60"]))
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def changeable():
    """A process that starts another program when it is told to."""
    made = []

    def start(megabytes):
        made.append(subprocess.Popen(["/usr/bin/python3", "-c", CHANGES, str(megabytes)], stdout=subprocess.PIPE, text=True))
        assert made[-1].stdout.readline() == "ready\n"
        return made[-1]
    yield start
    for one in made:
        one.kill()
        one.communicate(timeout=10)


def lacks(out):
    return [row["warning"] for row in notes(out)[1] if row.get("lacking")]


def size_of(path):
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("how", ["ends", "starts another program"])
def test_while_it_is_read(how, changeable, tmp_path):
    """Not held: what is gone is a gap with its reason, and nothing of the new program stands in for it."""
    for i in range(5):
        it, out = changeable(300), tmp_path / f"out{i}"
        with subprocess.Popen([DRIVER, "core", out, f"pid={it.pid}", "no-freeze=1"]) as reader:
            until(lambda: size_of(out / f"core.{it.pid}.elf") > 16 << 20 or reader.poll() is not None, 30, "it reads")
            it.send_signal(signal.SIGKILL if how == "ends" else signal.SIGUSR1)
            assert reader.wait(60) == 0
        ended = [row for row in gaps(out, it.pid) if row["reason"] == ENDED]
        if ended:
            break
    assert ended and sum(row["last"] + 1 - row["first"] for row in ended) > 1 << 20
    assert any("could not be read" in text for text in lacks(out))
    if how != "ends":
        until(lambda: Path(f"/proc/{it.pid}/comm").read_text() == "sleep\n", 10, "the other program")
        core = (out / f"core.{it.pid}.elf").read_bytes()
        assert b"sleep\x0060\x00" not in core


def opened_memory(reader):
    try:
        return any(os.readlink(fd).endswith("/mem") for fd in Path(f"/proc/{reader.pid}/fd").iterdir())
    except OSError:
        return False


def test_it_starts_another_program_before_it_is_held(changeable, tmp_path):
    """Its memory was opened, and belongs to nobody any more: one sentence, no core of the other program."""
    for i in range(10):
        it, out = changeable(300), tmp_path / f"out{i}"
        with subprocess.Popen([DRIVER, "core", out, f"pid={it.pid}", f"spool-bytes={1 << 30}"], stderr=subprocess.PIPE,
                              text=True) as reader:
            end = time.monotonic() + 20
            while not opened_memory(reader) and reader.poll() is None and time.monotonic() < end:
                pass
            it.send_signal(signal.SIGUSR1)
            told = reader.communicate(timeout=60)[1]
        if reader.returncode != 0:
            break
    assert "started another program before it was held" in told and len(told.splitlines()) == 1
    assert not size_of(out / f"core.{it.pid}.elf")
    until(lambda: Path(f"/proc/{it.pid}/comm").read_text() == "sleep\n", 10, "it runs")


@pytest.mark.parametrize("kind, more, says", [("core", [], "it started at another time"),
                                              ("files", ["path=/etc/hostname"], "another one has its number now")])
def test_a_number_that_was_given_away(kind, more, says, changeable, tmp_path):
    it = changeable(1)
    ticks = int(Path(f"/proc/{it.pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    told = acquire(kind, tmp_path / "other", f"pid={it.pid}", f"start-ns={(ticks - 1) * 10 ** 7}", *more, status=1)
    assert says in told and len(told.splitlines()) == 1
    assert not list((tmp_path / "other").glob("core.*.elf"))
    acquire(kind, tmp_path / "same", f"pid={it.pid}", f"start-ns={ticks * 10 ** 7 + 5}", *more)


def test_a_container_that_ends_while_it_is_read(container, odd, tmp_path):
    """Killed while it is frozen, or just after: all of its processes are told of, and the cgroup can go."""
    version, top, name = container
    made = settle(odd, top, "touch", 60)
    out = tmp_path / "out"
    with subprocess.Popen([DRIVER, "core", out, f"container={name}", "no-freeze=1"]) as reader:
        until(lambda: size_of(out / f"core.{made[0].pid}.elf") > 8 << 20 or reader.poll() is not None, 30, "it reads")
        for one in made:
            one.process.kill()
            one.process.wait(10)
        assert reader.wait(60) == 0
    assert {row["pid"] for row in gaps(out) if row["reason"] == ENDED} >= {made[-1].pid}
    assert any("could not be read" in text for text in lacks(out))
    assert not frozen(version, top)


def test_two_at_once(odd, tmp_path):
    """One process has one tracer: the other core lacks registers and says so. (Two orders for one target are refused:
    test_host_orders.py.)"""
    it = odd("touch", 300)
    readers = [subprocess.Popen([DRIVER, "core", tmp_path / f"out{i}", f"pid={it.pid}", f"spool-bytes={1 << 30}"])
               for i in range(2)]
    assert [reader.wait(60) for reader in readers] == [0, 0]
    for i in range(2):
        core = Core(tmp_path / f"out{i}/core.{it.pid}.elf")
        threads = len([n for n in core.notes() if n[:2] == ("CORE", 1)])
        assert threads == 4 or any("traced by another program" in text for text in lacks(tmp_path / f"out{i}"))
        assert core.read(it.at["none"][0], 12) == b"MARK none 00"
    until(lambda: status(it.pid, "TracerPid") == "0" and runs(it.pid), 10, "it goes on")
