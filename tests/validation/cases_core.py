# SPDX-License-Identifier: Apache-2.0
"""Dumps of a running program, or of a container of three, whose memory tells when each of its bytes was read
(counters.c)."""
import os
import secrets
import statistics
import struct
import subprocess
import time

from elf_core import Core
from report import Skip, case
from tools import BUILD, acquire, check_full, count, forget, notes, writes

PAGE = 4096


class Counters:
    def __init__(self, pages=1024, processes=0, **more):
        self.process = subprocess.Popen([BUILD / "validation/counters", str(pages), str(processes)], stdout=subprocess.PIPE,
                                        text=True, **more)
        self.pid = self.process.pid
        at, self.pages, constants, self.n_constants, rounds, *pids = self.process.stdout.readline().split()
        self.at, self.constants, self.rounds = int(at, 16), int(constants, 16), int(rounds, 16)
        self.pages, self.n_constants, self.pids = int(self.pages), int(self.n_constants), list(map(int, pids))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()

    def memory(self, address, size):
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as f:
            f.seek(address)
            return f.read(size)

    def values(self, data):
        return [struct.unpack_from("<Q", data, i * PAGE)[0] for i in range(self.pages)]

    def dump(self, *words, keep=False):
        out = acquire("core", f"pid={self.pid}", *words, keep=keep)
        core = Core(next(path for path in out.iterdir() if path.name.startswith("core") and not path.suffix == ".jsonl"))
        counted = core.read(self.at, self.pages * PAGE)
        constant = core.read(self.constants, self.n_constants * PAGE)
        core.file.close()
        return out, counted, constant


def one_instant(values):
    """g...g, g-1...g-1"""
    return values[0] - values[-1] in (0, 1) and all(a >= b for a, b in zip(values, values[1:]))


@case("core", "CORE-01", "Voemel and Freiling 2012; Gruhn and Freiling 2016", "atomicity: a frozen dump is of one instant",
      "counters of two threads in 1,024 pages have values g...g, g-1...g-1 in every dump")
def atomic(trials):
    frozen = []
    with Counters() as program:
        for _ in range(count(20, 1000)):
            out, counted, _ = program.dump()
            values = program.values(counted)
            trials.check(one_instant(values), f"values {values[0]} to {values[-1]}, {len(set(values))} different")
            frozen += [value for key, value in notes(out).items() if key.endswith("frozen_ns") or key.endswith("held_ns")]
            forget(out)
    return f"{trials.n} dumps" + (f", held {statistics.median(frozen) / 1e6:.1f} ms in the middle" if frozen else "")


@case("core", "CORE-02", "control of CORE-01", "the counters show it when a dump is not of one instant",
      "dumps that were ordered without freezing hold pages of different instants at least once")
def smeared(trials):
    seen, tried = 0, count(10, 100)
    with Counters() as program:
        for _ in range(tried):
            out, counted, _ = program.dump("no-freeze=1")
            seen += not one_instant(program.values(counted))
            forget(out)
    trials.check(seen > 0, "no smear was seen: CORE-01 proves nothing")
    return f"{seen} of {tried} dumps without freezing are smeared"


@case("core", "CORE-03", "Voemel and Freiling 2012: correctness, integrity", "what does not change is dumped as it is",
      "constant pages equal those that /proc/PID/mem shows before and after, byte for byte; counters lie between")
def correct(trials):
    with Counters() as program:
        size = program.n_constants * PAGE
        for i in range(count(5, 100)):
            before = program.memory(program.constants, size)
            low = min(program.values(program.memory(program.at, program.pages * PAGE)))
            out, counted, constant = program.dump(keep=i < 3)
            after = program.memory(program.constants, size)
            high = max(program.values(program.memory(program.at, program.pages * PAGE)))
            wrong = sum(constant[at:at + PAGE] != before[at:at + PAGE] for at in range(0, size, PAGE))
            trials.add(program.n_constants, wrong, f"{wrong} constant pages differ")
            trials.check(before == after, "the target's own memory was changed")
            values = program.values(counted)
            trials.check(low <= values[-1] and values[0] <= high, f"{values[0]}..{values[-1]} outside {low}..{high}")
            if i >= 3:
                forget(out)


@case("core", "CORE-04", "ACPO 1; safe for hosts", "the target runs on", "its counters go on within a second after each dump")
def goes_on(trials):
    with Counters() as program:
        for _ in range(count(5, 100)):
            out, counted, _ = program.dump()
            forget(out)
            dumped = program.values(counted)[0]
            end = time.monotonic() + 1
            while (now := program.values(program.memory(program.at, program.pages * PAGE))[0]) <= dumped and time.monotonic() < end:
                time.sleep(0.01)
            trials.check(now > dumped, f"still {now}")


@case("core", "CORE-05", "CFTT AO-04", "a full target is told, and nothing stays held", "one sentence; the target runs on")
def full(trials):
    with Counters() as program:
        check_full(trials, "core", f"pid={program.pid}")
        before = program.values(program.memory(program.at, PAGE * program.pages))[0]
        time.sleep(0.2)
        trials.check(program.values(program.memory(program.at, PAGE * program.pages))[0] > before, "the target stands still")


@case("core", "CORE-06", "HWB", "nothing is written but the output", "no write-capable open of a file (freezers apart)")
def writes_nothing(trials):
    with Counters() as program:
        for _ in range(count(4, 40)):
            found = [call for call in writes("core", f"pid={program.pid}") if "cgroup" not in call and "memfd" not in call]
            trials.check(not found, found)


@case("core", "CORE-07", "CFTT AM-01", "a process that is not there is refused", "one sentence, no item")
def refuses(trials):
    for pid in (4194000, 4194303):
        trials.check(len(acquire("core", f"pid={pid}", status=1).splitlines()) == 1, pid)


class Container:
    """A cgroup as docker names one, with three processes that count one after the other, each in pages of its own."""

    def __init__(self, version):
        from test_core import V1, V2
        root = V2 if version == "v2" else V1
        if root is None or not root.is_dir():
            raise Skip(f"no freezer of {version} here")
        self.version, self.name = version, secrets.token_hex(32)
        self.top = root / f"exhibit-validation-{self.name[:8]}" / self.name

    def __enter__(self):
        self.top.mkdir(parents=True)
        self.program = Counters(1023, 3, preexec_fn=lambda: (self.top / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii"))
        return self

    def __exit__(self, *_):
        from basics import until
        from test_core import remove
        self.program.__exit__()
        until(lambda: not (self.top / "cgroup.procs").read_text(), 20, "its processes have ended")
        remove(self.top.parent)

    def dump(self, *words):
        """The counters' pages in order, each part from its own process; and the shared rounds as each core has them."""
        out, program, values, rounds = acquire("core", f"container={self.name}", *words, keep=False), self.program, [], []
        part = program.pages // len(program.pids)
        for i, pid in enumerate(program.pids):
            core = Core(out / f"core.{pid}.elf")
            data = core.read(program.at + i * part * PAGE, part * PAGE)
            values += [struct.unpack_from("<Q", data, at)[0] for at in range(0, part * PAGE, PAGE)]
            rounds.append(struct.unpack("<3Q", core.read(program.rounds, 24)))
            core.file.close()
        return out, values, rounds


def containers():
    """One of each freezer that is here."""
    there = []
    for version in ("v2", "v1"):
        try:
            there.append(Container(version))
        except Skip:
            pass
    if not there:
        raise Skip("no freezer of cgroups here")
    return there


def agrees(values, rounds):
    """All cores show the same rounds, each part's between its first and its last page."""
    part = len(values) // 3
    return all(one == rounds[0] for one in rounds) and all(
        values[i * part] - 1 <= done <= values[(i + 1) * part - 1] for i, done in enumerate(rounds[0]))


@case("core", "CORE-08", "Voemel and Freiling 2012; Gruhn and Freiling 2016", "atomicity: a frozen dump of a container is of one instant",
      "counters of three processes in private pages have values g...g, g-1...g-1 across their cores; all cores show the same shared page")
def container_atomic(trials):
    there = containers()
    for one in there:
        with one:
            for _ in range(count(10, 1000) // len(there)):
                out, values, rounds = one.dump()
                held_by = notes(out)["core.held_by"]
                trials.check(one_instant(values) and agrees(values, rounds) and one.version in held_by,
                             f"{one.version}, held by {held_by}: values {values[0]} to {values[-1]}, "
                             f"{len(set(values))} different, rounds {rounds}")
                forget(out)
    return f"{trials.n} dumps of three processes, freezers: {', '.join(one.version for one in there)}"


@case("core", "CORE-09", "control of CORE-08", "the counters show it when the processes are not dumped at one instant",
      "dumps that were ordered without freezing hold pages of different instants at least once")
def container_smeared(trials):
    seen, tried = 0, count(5, 50)
    with containers()[0] as one:
        for _ in range(tried):
            out, values, rounds = one.dump("no-freeze=1")
            seen += not (one_instant(values) and agrees(values, rounds))
            forget(out)
    trials.check(seen > 0, "no smear was seen: CORE-08 proves nothing")
    return f"{seen} of {tried} dumps without freezing are smeared"
