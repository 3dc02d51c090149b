# SPDX-License-Identifier: Apache-2.0
"""A reader that knows only the documents reads what the agent's journal writes, sees every flipped bit,
and agrees with the journal about what is left after damage."""
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import exhibit_reader
from test_journal_powercut import BUDGET, DRIVER, Dump, key  # noqa: F401

FLIPS = 400 if os.environ.get("EXHIBIT_FULL") == "1" else 40
GOLDEN = Path(__file__).parent.parent / "unit/golden/v1"


def public(key):  # noqa: F811
    return load_pem_private_key(key.read_bytes(), None).public_key()


def fill(folder, key, seed, count=120):  # noqa: F811
    result = subprocess.run([DRIVER, "append", folder, key, str(BUDGET), str(count), str(seed)], capture_output=True,
                            text=True, timeout=60)
    return [line.split() for line in result.stdout.splitlines()]


@pytest.mark.parametrize("seed", [101, 102, 103, 104])
def test_reader_and_driver_see_the_same(tmp_path, key, seed):  # noqa: F811
    folder = tmp_path / "journal"
    marks = fill(folder, key, seed)
    frames = exhibit_reader.check_journal(folder, public(key))
    assert frames
    acks = {mark[3] for mark in marks if mark[0] == "ack"}
    gone = {mark[2] for mark in marks if mark[0] == "gone"}
    batches = {f.hash.hex() for f in frames if f.kind == exhibit_reader.BATCH}
    assert batches <= acks
    dropped = {d.header_hash.hex() for f in frames if f.kind == exhibit_reader.TOMBSTONE
               for d in exhibit_reader.read_tombstone(f.body).dropped}
    assert dropped <= gone
    result = subprocess.run([DRIVER, "dump", folder, key, str(BUDGET)], capture_output=True, text=True, timeout=60)
    lines = result.stdout.splitlines()
    found = Dump(line for line in lines if line.startswith(("recovery", "frame", "dropped")))
    assert found.hashes() == batches and set(found.dropped) == dropped
    assert len(exhibit_reader.read_epoch(folder)) == 16
    assert max(f.position for f in frames) >= exhibit_reader.read_acks(folder)[1] > 0 or not any(
        mark[0] == "release" for mark in marks)


def test_a_flipped_bit_is_seen_and_costs_one_frame(tmp_path, key):  # noqa: F811
    base = tmp_path / "base"
    tried = {mark[2] for mark in fill(base, key, 101, 60) if mark[0] == "try"}
    before = {f.hash.hex() for f in exhibit_reader.check_journal(base, public(key)) if f.kind == exhibit_reader.BATCH}
    files = sorted(p.name for p in base.iterdir() if p.stat().st_size > 32)
    rng = random.Random(5)
    for i in range(FLIPS):
        folder = tmp_path / f"flip{i}"
        shutil.copytree(base, folder)
        path = folder / rng.choice(files)
        data = bytearray(path.read_bytes())
        bit = rng.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(exhibit_reader.Damaged):
            exhibit_reader.check_journal(folder, public(key))
        result = subprocess.run([DRIVER, "dump", folder, key, str(BUDGET)], capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, f"{path.name} bit {bit}: {result.stderr}"
        found = Dump(line for line in result.stdout.splitlines() if line.startswith(("recovery", "frame", "dropped")))
        assert found.hashes() <= tried
        if path.suffix == ".jrn":
            assert len(before - found.hashes()) <= 1, f"{path.name} bit {bit}"
        # The damage is said: set aside, or a new epoch. A torn write is cut without that, but here all was durable.
        if path.name == "marks":
            assert before <= found.hashes() and not found.damaged and not found.new_epoch
        else:
            assert found.damaged or found.new_epoch, f"{path.name} bit {bit}"
        assert not found.torn, f"{path.name} bit {bit}"
        shutil.rmtree(folder)


def newest_frames(folder):
    """The newest file of each lane, and where its last frame begins."""
    for lane in ("critical", "bulk"):
        path = max(folder.glob(f"{lane}-*.jrn"))
        frames = list(exhibit_reader.read_file(path))
        yield path, path.stat().st_size - len(frames[-1].body) - exhibit_reader.FRAME_HEADER.size


def test_the_newest_frame_is_never_taken_for_a_torn_write(tmp_path, key):  # noqa: F811
    """A bit in it, or an end that is gone: both readers see a loss, not the write that the power cut short."""
    base = tmp_path / "base"
    fill(base, key, 101, 60)
    rng = random.Random(6)
    for n, (path, start) in enumerate(newest_frames(base)):
        size = path.stat().st_size
        for i, at in enumerate([None] + [rng.randrange(start, size) for _ in range(FLIPS // 10)]):
            folder = tmp_path / f"newest{n}-{i}"
            shutil.copytree(base, folder)
            data = bytearray(path.read_bytes())
            if at is None:
                del data[start:]
            else:
                data[at] ^= 1 << rng.randrange(8)
            (folder / path.name).write_bytes(data)
            with pytest.raises(exhibit_reader.Damaged):
                exhibit_reader.check_journal(folder, public(key))
            result = subprocess.run([DRIVER, "dump", folder, key, str(BUDGET)], capture_output=True, text=True,
                                    timeout=60)
            found = Dump(line for line in result.stdout.splitlines() if line.startswith("recovery"))
            assert found.damaged == 1 and found.new_epoch and not found.torn, (path.name, at)
            shutil.rmtree(folder)


def test_golden_files_read_without_our_code():
    private = b"".join(bytes([i]) for i in range(32))
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    key_ = Ed25519PrivateKey.from_private_bytes(private).public_key()
    header, _, entries = exhibit_reader.read_batch((GOLDEN / "batch.bin").read_bytes(), key_)
    assert (header.number, header.count, len(entries), bytes(header.tenant)) == (2, 4, 4, b"default")
    assert exhibit_reader.read_tombstone((GOLDEN / "tombstone.bin").read_bytes(), key_).dropped[0].number == 9
