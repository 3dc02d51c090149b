# SPDX-License-Identifier: Apache-2.0
"""An image of a guest's physical memory, opened by stock Volatility 3 with the symbol file that was made from
the image's own items: what it shows is what the guest's own /proc showed."""
import json
import platform
import shutil
import subprocess

import pytest

import kernels
from kernels import BUILD, CACHE, tail

VOL = CACHE / "volatility/bin/vol"
PROGRAMS = {
    "/usr/bin/bash": "bash", "/usr/bin/planted": CACHE / "planted", "/x/bin/driver_acquire": BUILD / "tests/driver_acquire",
}
LIME = 32  # bytes of a segment's header
# four, five: levels of page tables; bpf: without /proc/kcore.
GUESTS = [(kernel, "four") for kernel in kernels.SUITES] + [("6.1", "five"), ("newest", "bpf")]

# What Volatility 2.28.2 cannot do whoever makes the symbols, with the reason.
FAILS = {("newest", "linux.boottime.Boottime"): "an exception of its own, not of the symbols"}


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
        self.shown = {}

    def vol(self, plugin, *words):
        """What a plugin shows, children after their parents."""
        if plugin not in self.shown:
            add_on = ["-p", self.items / "volatility/plugins"] if self.add_on else []
            done = subprocess.run([VOL, "-q", "-r", "json", *add_on, "-s", self.items / "volatility/symbols",
                                   "-f", self.items / "memory.lime", plugin, *words],
                                  capture_output=True, text=True, timeout=400, check=False)
            assert done.returncode == 0, f"{plugin}: {done.stderr[-2000:]}"
            self.shown[plugin] = list(flat(json.loads(done.stdout)))
        return self.shown[plugin]

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


def test_paging_is_told(image):
    notes = {row["note"]: row["value"] for row in lines(image, "notes.jsonl") if "note" in row}
    assert notes["memory.page_table_levels"] == (5 if image.kind == "five" else 4)
    assert image.add_on == (image.kind == "five")


def test_processes(image):
    shown = {(row["PID"], row["COMM"]) for row in image.vol("linux.pslist.PsList")}
    assert (image.planted["pid"], "planted") in shown
    # What lists them has processes of its own, and kernel threads come and go.
    told = {(int(pid), name) for pid, _, name in
            (line.partition(" ") for line in (image.out / "processes").read_text().splitlines())}
    lasting = {row for row in told if row[0] == 1 or row[1] in ("planted", "bash", "kthreadd")}
    assert len(lasting) == 4
    assert lasting <= shown, f"not in the image: {sorted(lasting - shown)}"


def test_arguments_environment_and_history(image):
    assert image.of_planted("linux.psaux.PsAux")[0]["ARGS"].endswith("/data/ready planted-argument")
    assert ("PLANTED_ENV", "planted-value") in {(row["KEY"], row["VALUE"]) for row in image.of_planted("linux.envars.Envars")}
    assert "echo planted-history" in {row["Command"] for row in image.vol("linux.bash.Bash")}


def test_modules(image):
    assert {row["Module Name"] for row in image.vol("linux.lsmod.Lsmod")} == \
        set((image.out / "modules").read_text().split())


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


@pytest.mark.parametrize("plugin", ["linux.pstree.PsTree", "linux.elfs.Elfs", "linux.mountinfo.MountInfo",
                                    "linux.kmsg.Kmsg", "linux.malware.check_syscall.Check_syscall", "linux.boottime.Boottime"])
def test_others_show_something(image, plugin):
    if (image.kernel, plugin) in FAILS:
        with pytest.raises(AssertionError):
            image.vol(plugin)
        return
    rows = image.vol(plugin)
    if plugin == "linux.mountinfo.MountInfo":
        assert "planted-mount" in json.dumps(rows)
    assert rows


def test_host_without_any_source_refuses_in_one_sentence():
    needed()
    out = kernels.boot("5.10", scenario("refused"), seconds=300)
    assert (out / "memory.status").read_text() == "1\n"
    told = (out / "memory.log").read_text()
    assert len(told.splitlines()) == 1 and "cannot read this host's memory" in told, told
    assert "kcore" in told and "BPF" in told and "hypervisor" in told
    assert not list((out / "memory").glob("*.lime")), "nothing half-made"
