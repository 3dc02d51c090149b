# SPDX-License-Identifier: Apache-2.0
"""The vault when the power goes at any moment, again while it recovers, and after its process alone was killed: what
the host was told is durable is still there, the rest is sent again, and the exhibit is sealed in the end."""
import random
import shutil

import powercut
from basics import count
from test_vault_faults import place

DRIVER = powercut.BUILD / "tests/driver_exhibit"


def run(what, folder, work):
    """The driver works in its working folder."""
    return powercut.run(["sh", "-c", 'cd "$1" && exec "$2" "$3"', "sh", folder, DRIVER.resolve(), what], folder, work,
                        check=False)


def told(marks):
    """How far the host knows that its bytes are safe."""
    places = [(1, 0)]
    for line in marks:
        what, *words = line.split()
        if what in ("durable", "sealed"):
            places.append(place(words if what == "durable" else [what]))
    return max(places)


def check(before, log):
    """before: marks until the power went; log: the driver's after it."""
    found = [line.split() for line in log.marks()]
    assert log.result.returncode == 0, log.result.stderr.decode()
    first = next(place(words[1:]) for words in found if words[0] == "first")
    assert first >= told(before), f"{told(before)} was told, {first} is there"
    assert ["state", "sealed"] in found, found
    assert [words for words in found if words[0] in ("fault", "faults")] == [["faults", "0"]], found


def cut_twice(log, first, rng, work):
    """A cut of the log, and one of the recovery from it."""
    disk, again = work / "disk", work / "again"
    try:
        log.materialise(first, rng, disk)
        recovery = run("look", disk, work)
        check(log.marks(first), recovery)
        second = rng.randint(0, len(recovery.ops))
        recovery.materialise(second, rng, again)
        check(log.marks(first) + recovery.marks(second), run("look", again, work))
    finally:
        shutil.rmtree(disk, ignore_errors=True)
        shutil.rmtree(again, ignore_errors=True)


def cut_anywhere(log, low, rng, work):
    first = rng.randint(low, len(log.ops))
    try:
        cut_twice(log, first, rng, work)
    except AssertionError as e:
        raise AssertionError(f"cut {first} of {len(log.ops)}: {e}") from e


def test_every_cut_keeps_what_was_told(ram_path):
    rng = random.Random(5)
    log = run("put", ram_path / "put", ram_path)
    assert "sealed" in log.marks() and len(log.marks()) > 5
    for _ in range(count(40, 1000)):
        cut_anywhere(log, 0, rng, ram_path)


def test_a_kill_and_then_a_cut(ram_path):
    """What a killed process had written and not synced is there for the next one, until the power goes: what it tells
    the host it must sync itself."""
    rng, ops = random.Random(6), run("put", ram_path / "put", ram_path)
    for n in range(count(40, 1000)):
        dead = rng.randint(0, len(ops.ops))
        ops.killed(dead, ram_path / "killed")
        both = ops.then(dead, run("look", ram_path / "killed", ram_path))
        shutil.rmtree(ram_path / "killed")
        try:
            cut_anywhere(both, dead, rng, ram_path)
        except AssertionError as e:
            raise AssertionError(f"{n}: killed at {dead}, {e}") from e


def test_the_model_finds_a_vault_that_does_not_sync(ram_path):
    """The test can fail: without the syncs in the log, what was told is lost."""
    log = run("put", ram_path / "put", ram_path)
    log.ops = [op for op in log.ops if op.kind != powercut.SYNC]
    rng, failures = random.Random(7), 0
    for _ in range(10):
        try:
            cut_twice(log, len(log.ops), rng, ram_path)
        except AssertionError:
            failures += 1
    assert failures > 5
