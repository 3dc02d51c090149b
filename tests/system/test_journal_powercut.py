# SPDX-License-Identifier: Apache-2.0
"""The journal when the power goes at any moment, and again while it recovers: what was appended is
there, dropped under a tombstone, or acknowledged; nothing else is; the chain has no break."""
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

import powercut

FULL = os.environ.get("EXHIBIT_FULL") == "1"
CUTS = 1000 if FULL else 40
SEEDS = 20 if FULL else 4  # runs of the driver that the cuts are spread over
BUDGET = 250_000
DRIVER = powercut.BUILD / "tests/driver_journal"


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "seal.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True, timeout=30)
    return path


class Truth:
    """What the marks before the cut say."""

    def __init__(self, marks):
        self.tried, self.acked, self.gone = set(), {}, set()
        self.released = {"critical": 0, "bulk": 0}
        for line in marks:
            what, lane, *rest = line.split()
            if what == "try":
                self.tried.add(rest[0])
            elif what == "ack":
                self.acked[rest[1]] = (lane, int(rest[0]))
            elif what == "gone":
                self.gone.add(rest[0])
            elif what == "release":
                self.released[lane] = max(self.released[lane], int(rest[0]))


class Dump:
    """What the recovered journal holds."""

    def __init__(self, lines):
        self.frames, self.dropped = {"critical": [], "bulk": []}, {}
        for line in lines:
            what, *rest = line.split()
            if what == "recovery":
                self.new_epoch, self.torn, self.damaged = (int(n) for n in rest)
            elif what == "frame":
                self.frames[rest[0]].append((int(rest[1]), rest[2], rest[3]))
            elif what == "dropped":
                self.dropped[rest[2]] = int(rest[1])

    def hashes(self):
        return {hash for frames in self.frames.values() for _, hash, _ in frames}


def dump(folder, key):
    result = subprocess.run([DRIVER, "dump", folder, key, str(BUDGET)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return Dump(result.stdout.splitlines())


def check(truth, found):
    assert found.damaged == 0
    # Nothing false: whatever is there, somebody tried to append.
    assert found.hashes() <= truth.tried
    assert set(found.dropped) <= truth.tried & truth.gone
    # Nothing lost.
    kept = found.hashes() | set(found.dropped)
    for hash, (lane, position) in truth.acked.items():
        assert hash in kept or position <= truth.released[lane], f"{lane} {position} is lost"
    # The chain goes from frame to frame, across tombstones.
    for frames in found.frames.values():
        for (position, hash, _), (after, _, previous) in zip(frames, frames[1:]):
            assert previous == hash or previous in found.dropped or after > position + 1
    # Begun anew only when nothing had been appended in the old epoch.
    assert not found.new_epoch or not truth.acked


def test_every_cut_keeps_what_was_appended(ram_path, key):
    """Cuts of appending, then of the recovery from it, then a whole recovery."""
    rng = random.Random(1)
    cuts = 0
    for seed in range(SEEDS):
        base = ram_path / f"journal{seed}"
        log = powercut.run([DRIVER, "append", base, key, BUDGET, 120, 100 + seed], base, ram_path, check=False)
        assert log.marks(), log.result.stderr.decode()
        for _ in range(CUTS // SEEDS):
            cut = rng.randint(0, len(log.ops))
            disk, again = ram_path / f"cut{cuts}", ram_path / f"again{cuts}"
            log.materialise(cut, rng, disk)
            truth = Truth(log.marks(cut))
            recovery = powercut.run([DRIVER, "dump", disk, key, BUDGET], disk, ram_path, check=False)
            second = rng.randint(0, len(recovery.ops))
            recovery.materialise(second, rng, again)
            both = Truth(log.marks(cut) + [m for m in recovery.marks(second) if m.startswith(("try", "ack", "gone"))])
            assert recovery.result.returncode == 0, f"seed {seed} cut {cut}: {recovery.result.stderr.decode()}"
            try:
                # What the first recovery printed before it appended.
                check(truth, Dump(m for m in recovery.marks() if not m.startswith(("try", "ack", "gone"))))
                check(both, dump(again, key))
            except AssertionError as e:
                raise AssertionError(f"seed {100 + seed} cut {cut} of {len(log.ops)}, second {second}: {e}") from e
            shutil.rmtree(disk)
            shutil.rmtree(again)
            cuts += 1
    assert cuts == CUTS // SEEDS * SEEDS


def test_the_model_finds_a_journal_that_does_not_sync(ram_path, key):
    """The test can fail: without the syncs in the log, frames are lost."""
    base = ram_path / "journal"
    log = powercut.run([DRIVER, "append", base, key, BUDGET, 60, 101], base, ram_path, check=False)
    log.ops = [op for op in log.ops if op.kind != powercut.SYNC]
    rng = random.Random(2)
    failures = 0
    for i in range(10):
        disk = ram_path / f"cut{i}"
        log.materialise(len(log.ops), rng, disk)
        try:
            check(Truth(log.marks()), dump(disk, key))
        except AssertionError:
            failures += 1
    assert failures > 5
