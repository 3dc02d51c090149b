# SPDX-License-Identifier: Apache-2.0
"""Cores on Debian's kernels: two passes where the kernel keeps soft-dirty bits, odd memory, the freezer, arrest."""
import json
import shutil
import struct
import sys

import pytest

import kernels
from kernels import BUILD
from test_memory import needed

sys.path.insert(0, str(kernels.TOP / "tests/system"))
from elf_core import Core  # noqa: E402

PAGE = 4096
PROGRAMS = {"/usr/bin/bash": "bash", "/x/bin/driver_acquire": BUILD / "tests/driver_acquire",
            "/x/bin/driver_odd": BUILD / "tests/driver_odd"}
RUNS = [f"part{part}-{n}" for part in (1, 16) for n in (1, 2, 3)]


class Guest:
    def __init__(self, kernel):
        self.kernel = kernel
        self.out = kernels.boot(kernel, kernels.Scenario("core", "guest_core.sh", PROGRAMS, memory_mib=768,
                                                         disk=300 << 20, result=400 << 20), seconds=400)

    def odd(self, name):
        rows = (line.split() for line in (self.out / f"{name}.odd").read_text().splitlines() if line != "ready")
        return {row[0]: (int(row[1], 16), int(row[2])) for row in rows if row[1] != "-"}

    def rows(self, name):
        assert (self.out / f"{name}.status").read_text() == "0\n", (self.out / f"{name}.log").read_text()
        return [json.loads(line) for line in (self.out / name / "notes.jsonl").read_text().splitlines()]

    def notes(self, name):
        return {row["note"]: row["value"] for row in self.rows(name) if "note" in row}

    def core(self, name):
        return Core(next((self.out / name).glob("core.*.elf")))


@pytest.fixture(scope="module", params=list(kernels.SUITES))
def guest(request):
    needed()
    made = Guest(request.param)
    yield made
    for core in made.out.rglob("core.*.elf"):
        core.unlink()


@pytest.mark.parametrize("run", RUNS)
def test_one_instant_in_two_passes(guest, run):
    at, size = guest.odd(run.split("-")[0])["touched"]
    core, said = guest.core(run), guest.notes(run)
    assert said["core.passes"] == 2 and said["core.read_later_bytes"] == 0 and said["core.lacking_bytes"] >= 0
    seen = [struct.unpack("<Q", core.read(at + i, 8))[0] for i in range(0, size, PAGE)]
    touched = seen[:len(seen) // int(run.split("-")[0].removeprefix("part"))]
    assert touched == sorted(touched, reverse=True) and touched[0] - touched[-1] <= 1
    assert set(seen[len(touched):]) <= {1}


def test_two_passes_hold_it_for_less(guest, capsys):
    times = {part: sorted(guest.notes(f"part{part}-{n}")["core.copy_ns"] for n in (1, 2, 3))[1] for part in (1, 16)}
    with capsys.disabled():
        print(f" {guest.kernel}: all written {times[1] / 1e6:.1f} ms, 1/16 written {times[16] / 1e6:.1f} ms")
    assert all(times.values())


def test_odd_memory(guest):
    core, at = guest.core("odd-core"), guest.odd("odd")
    assert {"none", "dontdump", "dontfork", "deleted", "beyond", "memfd", "shared", "sysv"} <= set(at)
    for name, (start, size) in at.items():
        if name in ("sparse", "secret", "ring"):
            continue
        for page in range(size // PAGE):
            mark = f"MARK {name} {page:02}".encode()
            assert core.read(start + page * PAGE, len(mark)) == mark, (name, page)
    table = (guest.out / f"odd-core/core.{(guest.out / 'odd.pid').read_text().strip()}.gaps.jsonl").read_text()
    reasons = {row["first"]: row["reason"] for row in map(json.loads, table.splitlines())}
    if "secret" in at:
        assert reasons[at["secret"][0]] == "not readable"
    if "guard" in at:
        assert reasons[at["guard"][0] + 8 * PAGE] in ("guard pages", "not readable")
    assert len([n for n in core.notes() if n[:2] == ("CORE", 1)]) == 4


def test_a_container_is_frozen_and_goes_on(guest):
    said = guest.notes("container")
    assert said["core.processes"] == 1 and "v2" in said["core.held_by"]
    assert "frozen 0" in (guest.out / "container.events").read_text()
    start, _ = guest.odd("odd")["none"]
    assert guest.core("container").read(start, 12) == b"MARK none 00"


def test_arrest(guest):
    assert guest.notes("arrest")["arrest.stops"] == 1
    assert (guest.out / "arrest.victim").read_text() == "137\n" and not (guest.out / "arrest.mark").exists()
    assert len(list((guest.out / "arrest").glob("exe.*"))) == 1


def test_kernel_says_nothing_about_us(guest):
    bad = [line for line in (guest.out / "dmesg").read_text().splitlines() if "BUG:" in line or "WARNING:" in line]
    assert not bad, bad


if not shutil.which("qemu-system-x86_64", path=kernels.PATH):
    pytest.skip("qemu-system-x86 is not installed; run 'make kernels' as root", allow_module_level=True)
