# SPDX-License-Identifier: Apache-2.0
"""The orders at rest when the power goes at any moment, or the process is killed: what was acknowledged is there, each
write whole or not at all, and more can be written."""
import random
import shutil
import signal
import subprocess
import time

import powercut
from basics import count

DRIVER = powercut.BUILD / "tests/driver_orders"


def run(*words, folder, work):
    """The store's folder is one in `folder`: that it is there must be durable too."""
    what, *more = words
    log = powercut.run([DRIVER, what, folder / ".orders", *more], folder, work, check=False)
    assert log.result.returncode == 0, log.result.stderr.decode()
    return log


def check(before, found):
    """before: marks until the power went; found: what dump says after it."""
    seen, tried, acked = {}, set(), []
    for line in found:
        what, number, *_ = line.split()
        seen.setdefault(what, []).append(int(number))
    for line in before:
        what, number = line.split()
        (acked.append if what == "ack" else tried.add)(int(number))
    steps, lists = seen.get("step", []), seen.get("list", [])
    assert set(steps) | set(lists) | set(seen.get("signed", [])) <= tried, "nobody wrote this"
    assert len(set(steps)) == len(steps), "a step twice"
    for number in acked:
        # A list takes the place of the one before it.
        assert number in steps or any(at >= number for at in lists), f"{number} is lost"
    # An order is there with the step that made it, an approval with its step.
    assert set(seen.get("order", [])) | set(seen.get("signed", [])) <= set(steps)


def ours(marks):
    """Of what a dump says: what it wrote."""
    return [m for m in marks if m.startswith(("try", "ack"))]


def told(marks):
    return [m for m in marks if not m.startswith(("try", "ack"))]


def cut_twice(log, low, rng, work):
    first = rng.randint(low, len(log.ops))
    disk, again = work / "disk", work / "again"
    try:
        log.materialise(first, rng, disk)
        before = ours(log.marks(first))
        recovery = run("dump", folder=disk, work=work)
        check(before, told(recovery.marks()))
        second = rng.randint(0, len(recovery.ops))
        recovery.materialise(second, rng, again)
        tried = [m for m in recovery.marks() if m.startswith("try")]
        check(before + tried + ours(recovery.marks(second)), told(run("dump", folder=again, work=work).marks()))
    except AssertionError as e:
        raise AssertionError(f"cut {first} of {len(log.ops)}: {e}") from e
    finally:
        shutil.rmtree(disk, ignore_errors=True)
        shutil.rmtree(again, ignore_errors=True)


def test_every_cut_keeps_what_was_acknowledged(ram_path):
    rng = random.Random(8)
    seeds, cuts = count(2, 20), count(30, 1000)
    for seed in range(seeds):
        log = run("put", "120", str(100 + seed), folder=ram_path / f"put{seed}", work=ram_path)
        assert len(log.marks()) == 240
        for _ in range(cuts // seeds):
            cut_twice(log, 0, rng, ram_path)


def test_a_kill_and_then_a_cut(ram_path):
    rng = random.Random(9)
    log = run("put", "60", "7", folder=ram_path / "put", work=ram_path)
    for _ in range(count(15, 300)):
        dead = rng.randint(0, len(log.ops))
        log.killed(dead, ram_path / "killed")
        both = log.then(dead, run("dump", folder=ram_path / "killed", work=ram_path))
        shutil.rmtree(ram_path / "killed")
        cut_twice(both, dead, rng, ram_path)


def test_the_model_finds_a_store_that_does_not_sync(ram_path):
    log = run("put", "60", "3", folder=ram_path / "put", work=ram_path)
    log.ops = [op for op in log.ops if op.kind != powercut.SYNC]
    rng, failures = random.Random(1), 0
    for _ in range(10):
        try:
            cut_twice(log, len(log.ops), rng, ram_path)
        except AssertionError:
            failures += 1
    assert failures > 5


def test_killed_again_and_again_it_goes_on(ram_path):
    rng, marks = random.Random(10), []
    for n in range(count(6, 100)):
        process = subprocess.Popen([DRIVER, "put", ram_path / ".orders", "100000", str(n + 1)], stdout=subprocess.PIPE)
        time.sleep(0.05 + rng.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=20)
        marks += out.decode().splitlines()[:-1]  # the last line may be cut
        marks.append(f"try {int(marks[-1].split()[1]) + 1}")
    assert len(marks) > 100
    found = subprocess.run([DRIVER, "dump", ram_path / ".orders"], capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    check(marks, told(found.stdout.splitlines()))
