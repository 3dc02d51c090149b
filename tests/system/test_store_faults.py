# SPDX-License-Identifier: Apache-2.0
"""The store when the power goes at any moment, and again while it recovers; when any allocation or file
operation fails: what was acknowledged is there exactly once or was removed lawfully, nothing else is,
chains hold, check finds no fault, and every stream goes on."""
import os
import random
import shutil
import subprocess

import pytest

import powercut
from failing import Server, fail_each

FULL = os.environ.get("EXHIBIT_FULL") == "1"
CUTS = 1000 if FULL else 40
SEEDS = 20 if FULL else 4  # runs of the driver that the cuts are spread over
GROUPS = 150
DRIVER = powercut.BUILD / "tests/driver_store"


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "seal.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True, timeout=30)
    return path


class Truth:
    """What the marks say: everything that was tried, and what was acknowledged."""

    def __init__(self, marks):
        self.tried, self.acked = set(), []
        for line in marks:
            what, *rest = line.split()
            assert what != "unexpected", line
            if what == "try":
                self.tried.add(rest[0])
            elif what == "ack":
                self.acked.append((rest[0], rest[1], int(rest[2]), rest[3]))


class Dump:
    """What the recovered store holds."""

    def __init__(self, lines):
        self.batches, self.streams, self.tombstones, self.faults, self.sentences = [], {}, set(), None, []
        for line in lines:
            what, *rest = line.split()
            assert what != "unfound", line
            if what == "batch":
                self.batches.append((rest[0], rest[1], int(rest[2])))
            elif what == "tombstone":
                self.tombstones.add((rest[0], int(rest[1])))
            elif what == "stream":
                self.streams[rest[0]] = dict(contiguous=int(rest[1]), removed=int(rest[2]), breaks=int(rest[4]),
                                             conflicts=int(rest[6]), holes=int(rest[8]))
            elif what == "faults":
                self.faults = int(rest[0])
            elif what == "fault":
                self.sentences.append(line)


def dump(folder, key):
    result = subprocess.run([DRIVER, "find", folder, key], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return Dump(result.stdout.splitlines())


def check(truth, found, whole=True):
    hashes = [hash for hash, _, _ in found.batches]
    assert len(set(hashes)) == len(hashes), "stored twice"
    assert set(hashes) <= truth.tried, "nobody sent this"
    for hash, stream, number, kind in truth.acked:
        state = found.streams.get(stream)
        assert state, f"stream {stream} is lost"
        assert number <= state["contiguous"], f"{stream} {number} is lost"
        assert (hash in hashes if kind == "batch" else (stream, number) in found.tombstones) or \
            number <= state["removed"], f"{stream} {number} is lost"
    for stream, state in found.streams.items():
        assert state["breaks"] == 0 and state["conflicts"] == 0 and state["holes"] == 0, (stream, state)
    if whole:
        assert found.faults == 0, found.sentences


def test_every_cut_keeps_what_was_acknowledged(ram_path, key):
    """Cuts of storing, then of the recovery from it, then a whole recovery."""
    rng = random.Random(1)
    cuts = 0
    for seed in range(SEEDS):
        base = ram_path / f"store{seed}"
        log = powercut.run([DRIVER, "put", base, key, GROUPS, 100 + seed], base, ram_path)
        assert len(log.marks()) > GROUPS
        for _ in range(CUTS // SEEDS):
            cut = rng.randint(0, len(log.ops))
            disk, again = ram_path / f"cut{cuts}", ram_path / f"again{cuts}"
            log.materialise(cut, rng, disk)
            truth = Truth(log.marks(cut))
            recovery = powercut.run([DRIVER, "dump", disk, key], disk, ram_path, check=False)
            assert recovery.result.returncode == 0, f"seed {seed} cut {cut}: {recovery.result.stderr.decode()}"
            second = rng.randint(0, len(recovery.ops))
            recovery.materialise(second, rng, again)
            both = Truth(log.marks(cut) + [m for m in recovery.marks(second) if m.startswith(("try", "ack"))])
            both.tried |= Truth(m for m in recovery.marks() if m.startswith("try")).tried
            try:
                check(truth, Dump(recovery.marks()))
                check(both, dump(again, key))
            except AssertionError as e:
                raise AssertionError(f"seed {100 + seed} cut {cut} of {len(log.ops)}, second {second}: {e}") from e
            shutil.rmtree(disk)
            shutil.rmtree(again)
            cuts += 1
    assert cuts == CUTS // SEEDS * SEEDS


def test_the_model_finds_a_store_that_does_not_sync(ram_path, key):
    """The test can fail: without the syncs in the log, batches are lost."""
    base = ram_path / "store"
    log = powercut.run([DRIVER, "put", base, key, 60, 101], base, ram_path)
    log.ops = [op for op in log.ops if op.kind != powercut.SYNC]
    rng = random.Random(2)
    failures = 0
    for n in range(10):
        disk = ram_path / f"cut{n}"
        log.materialise(len(log.ops), rng, disk)
        try:
            check(Truth(log.marks()), dump(disk, key))
        except AssertionError:
            failures += 1
    assert failures > 5


@pytest.mark.parametrize("kind,errno", [("malloc", 12), ("file", 5), ("file", 28)])
@pytest.mark.parametrize("what", ["put", "dump"])
def test_any_call_may_fail_once(ram_path, key, kind, errno, what):
    # Allocations are many: fewer groups, which still seal.
    put = [DRIVER, "put", ".", key, 40 if kind == "file" else 16, 101]
    look, recover = [DRIVER, "find", ".", key], [DRIVER, "dump", ".", key]
    filled, marks = None, []
    if what == "dump":
        filled = ram_path / "filled"
        filled.mkdir()
        with Server(put) as server:
            marks = server.run(filled).out.splitlines()
        # Something to recover from: a torn end, an index lost.
        newest = max(filled.glob("acme/open-*.seg"))
        newest.write_bytes(newest.read_bytes() + b"EXHFtorn")
        max(filled.glob("acme/*.idx")).unlink()

    def verify(result, seen):
        if result.status == 1:
            assert "driver_store: " in result.err
        said = [m for m in result.out.splitlines() if m.startswith(("try", "ack"))]
        check(Truth(marks + said), Dump(seen.out.splitlines()))

    done, errors = fail_each(recover if what == "dump" else put, look, kind, errno,
                             53 if kind == "malloc" else 7, ram_path, verify, filled)
    assert done > 20 and errors > 0
