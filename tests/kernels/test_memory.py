# SPDX-License-Identifier: Apache-2.0
"""An image of a guest's physical memory, opened by stock Volatility 3 with the symbol file that was made from
the image's own items: what it shows is what the guest's own /proc showed."""
import hashlib
import json
import os
import platform
import shutil
import subprocess

import pytest

import kernels
from kernels import BUILD, CACHE, HERE, tail
from plugins import CHECKS, ROWS

VOL = CACHE / "volatility/bin/vol"
FULL = os.environ.get("EXHIBIT_FULL") == "1"
# Without EXHIBIT_FULL=1: those that the tests below name, and what one command would not miss.
FEW = ["linux.pslist.PsList", "linux.psaux.PsAux", "linux.envars.Envars", "linux.bash.Bash", "linux.lsmod.Lsmod",
       "linux.sockstat.Sockstat", "linux.lsof.Lsof", "linux.proc.Maps", "linux.malware.malfind.Malfind",
       "linux.mountinfo.MountInfo", "linux.ip.Addr", "linux.iomem.IOMem", "linux.boottime.Boottime", "linux.ptrace.Ptrace",
       "linux.ebpf.EBPF"]
PLUGINS = list(CHECKS) if FULL else FEW
PROGRAMS = {
    "/usr/bin/bash": "bash", "/usr/bin/planted": CACHE / "planted", "/x/bin/driver_acquire": BUILD / "tests/driver_acquire",
}
LIME = 32  # bytes of a segment's header
# four, five: levels of page tables; bpf: without /proc/kcore.
GUESTS = [(kernel, "four") for kernel in kernels.SUITES] + [("6.1", "five"), ("newest", "bpf")]

# What Volatility 2.28.2 cannot do, of whoever made the symbols: (kernel or "", plugin) and what it dies of.
NO_KALLSYMS = "TypeError: unsupported operand type(s) for -: 'NoneType' and 'int'"  # their layout changed after 6.3
FAILS = {
    ("newest", "linux.boottime.Boottime"): "VolatilityException: Unsupported",
    ("", "linux.malware.hidden_modules.Hidden_modules"): "SymbolSpaceError: Invalid symbol table, please ensure the ISF table produced by dwarf2json",
    ("5.10", "linux.kallsyms.Kallsyms"): "SymbolError: Unknown symbol: kallsyms_num_syms",  # VMCOREINFO tells it since 6.0
    ("5.10", "linux.pscallstack.PsCallStack"): "SymbolError: Unknown symbol: kallsyms_num_syms",
    ("6.1", "linux.pscallstack.PsCallStack"): "TypeError: unsupported operand type(s) for +: 'NoneType' and 'int'",
    ("newest", "linux.kallsyms.Kallsyms"): NO_KALLSYMS,
    ("newest", "linux.pscallstack.PsCallStack"): NO_KALLSYMS,
}
# Reads what is left of freed sockets, and dies of some: that depends on what lies there.
MAY_FAIL = {"linux.sockscan.Sockscan": "AttributeError: 'NoneType' object has no attribute 'socket'"}


def scenario(kind):
    # The guest's memory, its own disk and the archive of both lie beside each other for a moment.
    return kernels.Scenario(f"memory-{kind}", "guest_memory.sh", PROGRAMS, memory_mib=512,
                            cpu="max" if kind == "five" else "max,la57=off", disk=1600 << 20, result=1200 << 20,
                            words="" if kind in ("four", "five") else "hide_kcore")


class Image:
    """What one boot left behind."""

    def __init__(self, kernel, kind):
        self.kernel, self.kind = kernel, kind
        self.out = kernels.boot(kernel, scenario(kind), seconds=400)
        self.items = self.out / "memory"
        assert (self.out / "memory.status").read_text() == "0\n", (self.out / "memory.log").read_text() + \
            tail(self.out.parent / "console")
        self.planted = json.loads((self.out / "planted").read_text())
        done = subprocess.run([BUILD / "tests/driver_derive", self.items], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        self.add_on = (self.items / "volatility/plugins").exists()
        # One process for all: finding the kernel and reading the symbols is most of the time.
        words = [f"{name}:{ROWS[name]}" if name in ROWS else name for name in PLUGINS]
        done = subprocess.run([VOL.parent / "python", HERE / "volatility_run.py", self.items, self.out / "shown.json", *words],
                              capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        self.shown = json.loads((self.out / "shown.json").read_text())
        mask = (1 << (57 if kind == "five" else 48)) - 1  # as Volatility shows addresses
        self.symbols = {(int(at, 16) & mask, name) for at, _, name, *_ in map(str.split, self.text("kallsyms").splitlines())}

    def text(self, name):
        return (self.out / name).read_text(errors="replace")

    def vol(self, plugin):
        """The rows that a plugin shows."""
        assert self.shown[plugin]["error"] is None, f"{plugin}: {self.shown[plugin]['error']}"
        return self.shown[plugin]["rows"]

    def of_planted(self, plugin):
        return [row for row in self.vol(plugin) if row["PID"] == self.planted["pid"]]


def flat(rows):
    for row in rows:
        yield row
        yield from flat(row.get("__children", []))


def needed():
    if platform.machine() != "x86_64":
        pytest.skip("the guests are x86-64 and run this machine's binaries")
    for program in kernels.NEEDED:
        if not shutil.which(program, path=kernels.PATH):
            pytest.skip(f"{program} is not installed; run 'make kernels' as root")


@pytest.fixture(scope="module", params=GUESTS, ids=lambda param: f"{param[0]}-{param[1]}")
def image(request):
    needed()
    made = Image(*request.param)
    yield made
    shutil.rmtree(made.items)


def test_image_is_all_memory_and_nothing_else(image):
    ram = []
    for line in (image.out / "iomem").read_text().splitlines():
        if not line.startswith(" ") and " : System RAM" in line:
            ram.append(tuple(int(part, 16) for part in line.split(" : ")[0].split("-")))
    pieces = [(gap["first"], gap["last"]) for gap in lines(image, "memory.gaps.jsonl")]
    size = (image.items / "memory.lime").stat().st_size
    with open(image.items / "memory.lime", "rb") as f:
        before = -1
        while f.tell() < size:
            head = f.read(LIME)
            magic, version = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:8], "little")
            first, last = (int.from_bytes(head[at:at + 8], "little") for at in (8, 16))
            assert (magic, version) == (0x4C694D45, 1) and head[24:] == bytes(8) and first > before
            pieces.append((first, last))
            before = last
            f.seek(last - first + 1, 1)
        assert f.tell() == size, "the last segment is whole"
    joined = []
    for first, last in sorted(pieces):
        if joined and joined[-1][1] + 1 == first and not any(start == first for start, _ in ram):
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    assert joined == ram, "image and gaps together are iomem's memory, byte for byte"


def lines(image, name):
    return [json.loads(line) for line in (image.items / name).read_text().splitlines()]


def test_every_chunk_says_when_it_was_read(image):
    chunks = lines(image, "memory.chunks.jsonl")
    assert len(chunks) > 500 and {row["source"] for row in chunks} == {"bpf" if image.kind == "bpf" else "kcore"}
    times = [at for row in chunks for at in (row["from_boottime_ns"], row["to_boottime_ns"])]
    assert times == sorted(times)


def test_every_chunk_has_its_hash_and_flags(image):
    flags = (image.items / "memory.pageflags.bin").read_bytes()
    at = 0
    with open(image.items / "memory.lime", "rb") as f:
        for row in lines(image, "memory.chunks.jsonl"):
            assert row["flags_offset"] == at and f.tell() == row["image_offset"]
            at += row["flags_bytes"]
            assert row["flags_bytes"] == 8 * (row["last"] // 4096 - row["first"] // 4096 + 1)
            digest, got = hashlib.sha256(), 0
            while head := f.read(LIME):
                first, last = (int.from_bytes(head[i:i + 8], "little") for i in (8, 16))
                if first > row["last"]:
                    f.seek(-LIME, 1)
                    break
                digest.update(f.read(last - first + 1))
                got += last - first + 1
            assert row["sha256"] == digest.hexdigest() and row["whole"] == (got == row["last"] - row["first"] + 1)
    assert at == len(flags)
    bits = {bit for i in range(0, len(flags), 8) for bit in range(32) if int.from_bytes(flags[i:i + 8], "little") >> bit & 1}
    assert {7, 10, 12, 26} <= bits, "slab, buddy, anon, page tables: this is a machine that runs"


def test_paging_is_told(image):
    notes = {row["note"]: row["value"] for row in lines(image, "notes.jsonl") if "note" in row}
    assert notes["memory.page_table_levels"] == (5 if image.kind == "five" else 4)
    assert image.add_on == (image.kind == "five")


def test_arguments_environment_and_history(image):
    assert image.of_planted("linux.psaux.PsAux")[0]["ARGS"].endswith("/data/ready planted-argument")
    assert ("PLANTED_ENV", "planted-value") in {(row["KEY"], row["VALUE"]) for row in image.of_planted("linux.envars.Envars")}
    assert "echo planted-history" in {row["Command"] for row in image.vol("linux.bash.Bash")}


def test_sockets_and_files(image):
    rows = image.of_planted("linux.sockstat.Sockstat")
    listening = [row for row in rows if row["State"] == "LISTEN"]
    assert [(row["Source Addr"], row["Source Port"]) for row in listening] == [("127.0.0.1", str(image.planted["port"]))]
    assert len([row for row in rows if row["State"] == "ESTABLISHED"]) == 2, rows
    assert any("planted-memfd" in row["Path"] for row in image.of_planted("linux.lsof.Lsof"))


def test_memory_of_the_process(image):
    code = image.planted["code"]
    maps = image.of_planted("linux.proc.Maps")
    assert any(row["Start"] <= code < row["End"] and "x" in row["Flags"] for row in maps)
    found = image.of_planted("linux.malware.malfind.Malfind")
    assert any(row["Start"] <= code < row["End"] for row in found), found


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugin_shows_what_the_guest_said(image, plugin):
    error = FAILS.get((image.kernel, plugin), FAILS.get(("", plugin)))
    if plugin in MAY_FAIL and image.shown[plugin]["error"]:
        error = MAY_FAIL[plugin]
    if error is None and plugin in MAY_FAIL and not image.shown[plugin]["rows"]:
        pytest.skip("it found nothing, as it may: collector/volatility/README.md")
    if error is None:
        CHECKS[plugin](image, image.vol(plugin))
    else:  # a change is to be seen, and told in collector/volatility/README.md
        assert image.shown[plugin]["error"] and image.shown[plugin]["error"].startswith(error), image.shown[plugin]["error"]


def test_what_fails_is_told_to_users():
    told = (kernels.TOP / "collector/volatility/README.md").read_text()
    for plugin in {plugin for _, plugin in FAILS} | set(MAY_FAIL):
        row = [line for line in told.splitlines() if line.startswith(f"| `{plugin.removeprefix('linux.').rpartition('.')[0]}`")]
        assert len(row) == 1, plugin
        for (_, name), error in FAILS.items():
            assert name != plugin or error[:30] in row[0], f"{plugin}: {error}"


def test_host_without_any_source_refuses_in_one_sentence():
    needed()
    out = kernels.boot("5.10", scenario("refused"), seconds=300)
    assert (out / "memory.status").read_text() == "1\n"
    told = (out / "memory.log").read_text()
    assert len(told.splitlines()) == 1 and "cannot read this host's memory" in told, told
    assert "kcore" in told and "BPF" in told and "hypervisor" in told
    assert not list((out / "memory").glob("*.lime")), "nothing half-made"
