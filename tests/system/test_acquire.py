# SPDX-License-Identifier: Apache-2.0
"""Acquirers by themselves: a source that the test makes, read into plain files, judged from outside."""
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from basics import BUILD

DRIVER = BUILD / "tests/driver_acquire"


def acquire(kind, into, *words, status=0, seconds=60, env=None):
    """What stands on standard error; the items lie in the folder."""
    done = subprocess.run([DRIVER, kind, into, *words], capture_output=True, text=True, timeout=seconds, check=False,
                          env={**os.environ, **(env or {})})
    assert done.returncode == status, done.stderr
    return done.stderr


def notes(folder):
    rows = [json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines()]
    return {row["note"]: row["value"] for row in rows if "note" in row}, rows


@pytest.fixture
def loop(tmp_path):
    """A loop device over a file of an odd number of sectors, half of it holes."""
    backing = tmp_path / "backing"
    with open(backing, "wb") as f:
        f.write(os.urandom(3 << 20))
        f.seek(7 << 20)
        f.write(os.urandom((1 << 20) + 3 * 512))
    made = subprocess.run(["losetup", "--find", "--show", "--read-only", backing], capture_output=True, text=True,
                          timeout=20, check=False)
    if made.returncode != 0:
        pytest.skip(f"no loop device here: {made.stderr.strip()}")
    device = made.stdout.strip()
    yield device, backing
    subprocess.run(["losetup", "--detach", device], check=True, timeout=20)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_disk_is_its_source(loop, tmp_path):
    device, backing = loop
    before, stat = digest(backing), backing.stat()
    acquire("disk", tmp_path / "out", f"device={device}")
    assert digest(tmp_path / "out/disk.raw") == before == digest(backing)
    assert backing.stat().st_mtime_ns == stat.st_mtime_ns
    assert (tmp_path / "out/disk.unreadable.jsonl").read_bytes() == b""
    said, rows = notes(tmp_path / "out")
    assert said["disk.bytes"] == said["disk.read_bytes"] == stat.st_size
    assert said["disk.read_only"] == 1 and said["disk.unreadable_bytes"] == 0
    assert [row["sha256"] for row in rows if row.get("item") == "disk.raw"] == [before]


def test_disk_stops_at_a_limit_and_says_so(loop, tmp_path):
    device, backing = loop
    acquire("disk", tmp_path / "out", f"device={device}", "max-bytes=1500000")
    assert (tmp_path / "out/disk.raw").read_bytes() == backing.read_bytes()[:1500000]
    assert "not whole" in (tmp_path / "out/notes.jsonl").read_text()


@pytest.mark.parametrize("part", [False, True], ids=["itself", "its partition"])
def test_a_disk_in_use_is_told(tmp_path, part):
    backing, place, node = tmp_path / "disk", tmp_path / "mounted", tmp_path / "node"
    with open(backing, "wb") as f:
        f.truncate(16 << 20)
    made = subprocess.run(["losetup", "--find", "--show", backing], capture_output=True, text=True, timeout=20, check=False)
    if made.returncode != 0:
        pytest.skip(f"no loop device here: {made.stderr.strip()}")
    device = made.stdout.strip()
    name = Path(device).name + ("p1" if part else "")
    try:
        if part:
            subprocess.run(["addpart", device, "1", "2048", "30720"], check=True, timeout=20)
        acquire("disk", tmp_path / "idle", f"device={device}")
        assert not any("no one instant" in row.get("warning", "") for row in notes(tmp_path / "idle")[1])
        major, minor = map(int, Path(f"/sys/class/block/{name}/dev").read_text().split(":"))
        os.mknod(node, 0o060600, os.makedev(major, minor))  # there may be no udev to make one
        subprocess.run(["mkfs.ext4", "-q", node], check=True, timeout=60)
        place.mkdir()
        subprocess.run(["mount", node, place], check=True, timeout=20)
        acquire("disk", tmp_path / "used", f"device={device}")
        told = [row["warning"] for row in notes(tmp_path / "used")[1] if "no one instant" in row.get("warning", "")]
        assert told == [f"{name} is mounted: what changed while the device was read is of no one instant"]
    finally:
        subprocess.run(["umount", place], timeout=20, check=False)
        if part:
            subprocess.run(["delpart", device, "1"], timeout=20, check=False)
        subprocess.run(["losetup", "--detach", device], check=True, timeout=20)


@pytest.mark.parametrize("device, says", [("/etc/passwd", "no block device"), ("/dev/none", "No such file"),
                                          ("dev/sda", "no absolute path"), ("/dev/null", "no block device")])
def test_disk_refuses_what_is_none(tmp_path, device, says):
    told = acquire("disk", tmp_path / "out", f"device={device}", status=1)
    assert says in told and len(told.splitlines()) == 1


def test_physical_memory_by_bpf_is_what_was_written():
    """Few pages, our own: 16 MiB, each compared."""
    done = subprocess.run([BUILD / "tests/driver_physical", "16"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 1 and "cannot load the BPF program" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["equal"] == said["pages"] == 4096
