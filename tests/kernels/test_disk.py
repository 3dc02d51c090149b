# SPDX-License-Identifier: Apache-2.0
"""A disk with sectors that the kernel cannot read (device-mapper's error target): they are listed exactly, and all
the rest is in the image."""
import hashlib
import json
import os
import shutil

import pytest

import kernels
from kernels import BUILD, tail
from test_memory import needed

SECTOR = 512
BAD = [(8192, 8), (24585, 1), (32767, 1)]  # in guest_disk.sh's table: first sector, how many
SCENARIO = kernels.Scenario("disk", "guest_disk.sh", {
    "/usr/bin/bash": "bash", "/usr/sbin/dmsetup": "dmsetup", "/x/bin/driver_acquire": BUILD / "tests/driver_acquire",
}, memory_mib=256, disk=200 << 20, modules=("dm-mod",))
KERNELS = list(kernels.SUITES) if os.environ.get("EXHIBIT_FULL") == "1" else ["6.1"]


@pytest.fixture(scope="module", params=KERNELS)
def out(request):
    needed()
    if not shutil.which("dmsetup", path=kernels.PATH):
        pytest.skip("dmsetup is not installed; run 'make kernels' as root")
    folder = kernels.boot(request.param, SCENARIO, seconds=200)
    assert (folder / "disk.status").read_text() == "0\n", \
        (folder / "disk.log").read_text() + (folder / "said").read_text() + tail(folder.parent / "console")
    yield folder
    for image in folder.rglob("*.raw"):
        image.unlink()


def test_the_kernel_has_the_error_targets(out):
    table = [line.split()[:3] for line in (out / "table").read_text().splitlines()]
    assert [(int(first), int(n)) for first, n, target in table if target == "error"] == BAD


def test_unreadable_sectors_are_listed_exactly(out):
    rows = [json.loads(line) for line in (out / "disk/disk.unreadable.jsonl").read_text().splitlines()]
    assert [(row["first_byte"], row["bytes"]) for row in rows] == [(first * SECTOR, n * SECTOR) for first, n in BAD]
    assert all(row["reason"] for row in rows)


def test_the_rest_is_equal_by_hash(out):
    source = bytearray((out / "source.raw").read_bytes())
    assert len(source) == 32768 * SECTOR and source.count(0) < len(source) // 100
    for first, n in BAD:
        source[first * SECTOR:(first + n) * SECTOR] = bytes(n * SECTOR)
    image = (out / "disk/disk.raw").read_bytes()
    assert hashlib.sha256(image).digest() == hashlib.sha256(source).digest()


def test_the_exhibit_says_that_it_lacks_something(out):
    said = [json.loads(line) for line in (out / "disk/notes.jsonl").read_text().splitlines()]
    assert any(row.get("lacking") for row in said), said
