# SPDX-License-Identifier: Apache-2.0
"""The ledger when the power goes at any moment, or the process is killed: what was acknowledged is a leaf at its
place, every checkpoint that anybody saw is of the beginning of the recovered log, and the log goes on."""
import random
import shutil
import signal
import subprocess
import time

import pytest

import powercut
from basics import count
from failing import Server, fail_each
from wire import sha256

DRIVER = powercut.BUILD / "tests/driver_ledger"


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "ledger.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True, timeout=30)
    return path


def root_of(hashes):
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha256(b"\1" + root_of(hashes[:split]) + root_of(hashes[split:]))


def check(marks, seen):
    """marks: what was said before the end; seen: what dump says after it."""
    tried, acked, checkpoints = set(), {}, []
    for what, *rest in (line.split() for line in marks):
        if what == "try":
            tried.add(rest[0])
        elif what == "ack":
            acked[int(rest[0])] = rest[1]
        elif what == "checkpoint":
            checkpoints.append((int(rest[0]), rest[1]))
    leaves = [line.split()[1:] for line in seen if line.startswith("leaf")]
    assert [int(index) for index, _, _ in leaves] == list(range(len(leaves)))
    numbers = [number for _, number, _ in leaves]
    assert set(numbers) <= tried, "nobody appended this"
    for index, number in acked.items():
        assert index < len(numbers) and numbers[index] == number, f"leaf {index} is lost"
    hashes = [bytes.fromhex(h) for _, _, h in leaves]
    for size, root in checkpoints + [tuple(x.split()[1:]) for x in seen if x.startswith("checkpoint")]:
        assert int(size) <= len(hashes), "the log is shorter than a checkpoint that was seen"
        assert root_of(hashes[:int(size)]).hex() == root, f"another history at {size}"


def dump(folder, key):
    result = subprocess.run([DRIVER, "dump", folder, key], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_every_cut_keeps_what_was_acknowledged(ram_path, key):
    """Cuts of appending, then of the recovery from it, then a whole recovery."""
    rng = random.Random(3)
    seeds, cuts = count(3, 20), count(30, 1000)
    for seed in range(seeds):
        base = ram_path / f"ledger{seed}"
        log = powercut.run([DRIVER, "put", base, key, 40, 100 + seed], base, ram_path)
        assert len(log.marks()) > 1000
        for n in range(cuts // seeds):
            cut = rng.randint(0, len(log.ops))
            disk, again = ram_path / f"cut{n}", ram_path / f"again{n}"
            log.materialise(cut, rng, disk)
            recovery = powercut.run([DRIVER, "dump", disk, key], disk, ram_path, check=False)
            assert recovery.result.returncode == 0, f"seed {seed} cut {cut}: {recovery.result.stderr.decode()}"
            second = rng.randint(0, len(recovery.ops))
            recovery.materialise(second, rng, again)
            more = [m for m in recovery.marks(second) if m.startswith(("ack", "checkpoint"))]
            tried = [m for m in recovery.marks() if m.startswith("try")]
            try:
                check(log.marks(cut), recovery.marks())
                check(log.marks(cut) + more + tried, dump(again, key))
            except AssertionError as e:
                raise AssertionError(f"seed {100 + seed} cut {cut} of {len(log.ops)}, second {second}: {e}") from e
            shutil.rmtree(disk)
            shutil.rmtree(again)


def test_the_model_finds_a_ledger_that_does_not_sync(ram_path, key):
    """The test can fail: without the syncs in the log, leaves are lost."""
    base = ram_path / "ledger"
    log = powercut.run([DRIVER, "put", base, key, 20, 101], base, ram_path)
    log.ops = [op for op in log.ops if op.kind != powercut.SYNC]
    rng, failures = random.Random(2), 0
    for n in range(10):
        disk = ram_path / f"cut{n}"
        log.materialise(len(log.ops), rng, disk)
        try:
            check(log.marks(), dump(disk, key))
        except AssertionError:
            failures += 1
    assert failures > 5


def test_killed_again_and_again_it_goes_on(ram_path, key):
    folder, marks, rng = ram_path / "ledger", [], random.Random(4)
    for n in range(count(8, 100)):
        process = subprocess.Popen([DRIVER, "put", folder, key, "100000", str(n)], stdout=subprocess.PIPE)
        time.sleep(0.05 + rng.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=20)
        marks += out.decode().splitlines()[:-1]  # the last line may be cut
    acked = {}
    for line in marks:
        what, *rest = line.split()
        if what == "ack":
            assert rest[0] not in acked, "an index was given twice"
            acked[rest[0]] = rest[1]
    assert len(acked) > 100
    check(marks, dump(folder, key))


@pytest.mark.parametrize("kind,errno", [("malloc", 12), ("file", 5), ("file", 28)])
@pytest.mark.parametrize("what", ["put", "dump"])
def test_any_call_may_fail_once(ram_path, key, kind, errno, what):
    put, look = [DRIVER, "put", ".", key, "5", "101"], [DRIVER, "dump", ".", key]
    filled, marks = None, []
    if what == "dump":
        filled = ram_path / "filled"
        filled.mkdir()
        with Server(put) as server:
            marks = server.run(filled).out.splitlines()
        # Something to recover: leaves that no checkpoint holds, and a torn end.
        newest = max(filled.glob("pending-*"))
        newest.write_bytes(newest.read_bytes() + b"LXHEtorn")
        (filled / "index.sqlite").unlink()

    def verify(result, seen):
        if result.status == 1:
            assert "driver_ledger: " in result.err
        said = [m for m in result.out.splitlines() if m.startswith(("try", "ack", "checkpoint"))]
        check(marks + said, seen.out.splitlines())

    done, errors = fail_each(look if what == "dump" else put, look, kind, errno, 400 if kind == "malloc" else 40,
                             ram_path, verify, filled)
    assert done > 20 and errors > 0
