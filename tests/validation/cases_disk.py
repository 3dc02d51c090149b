# SPDX-License-Identifier: Apache-2.0
"""Block devices: loop devices over files whose bytes we know."""
import os
import random
import subprocess

from report import Skip, case
from tools import BUILD, acquire, check_full, count, digest, folder, forget, need, notes, rows, stats, writes

SHIM = BUILD / "tests/shim_badsector.so"


class Loop:
    """A read-only loop device over a file of so many bytes, in part holes."""

    def __init__(self, size, sector=512):
        need("losetup")
        self.backing = folder() / "backing"
        rng = random.Random(size)
        with open(self.backing, "wb") as f:
            for at in range(0, size, 1 << 20):
                if rng.random() < 0.6:
                    f.seek(at)
                    f.write(rng.randbytes(min(1 << 20, size - at)))
            f.truncate(size)
        self.sector, self.size = sector, size // sector * sector

    def __enter__(self):
        done = subprocess.run(["losetup", "--find", "--show", "--read-only", "--sector-size", str(self.sector), self.backing],
                              capture_output=True, text=True, timeout=20, check=False)
        if done.returncode != 0:
            raise Skip(f"no loop device here: {done.stderr.strip()}")
        self.device = done.stdout.strip()
        return self

    def __exit__(self, *_):
        subprocess.run(["losetup", "--detach", self.device], check=True, timeout=20)
        self.backing.unlink()


def sizes():
    """In sectors: around every border of the reader, and any."""
    rng = random.Random(4)
    some = [1, 2, 7, 8, 9, 63, 64, 2047, 2048, 2049, 4095, 6144, 12289]
    return some + [rng.randrange(1, 20000) for _ in range(count(7, 187))]


@case("disk", "DISK-01", "CFTT AM-06, AM-08", "all visible sectors are acquired, accurately",
      "SHA-256 of the image is that of the source, for sectors of 512 and 4,096 bytes and odd sizes")
def every_sector(trials):
    for i, n in enumerate(sizes()):
        sector = 512 if i % 3 else 4096
        with Loop(n * sector, sector) as loop:
            out = acquire("disk", f"device={loop.device}", keep=i < 10)
            got = digest(out / "disk.raw")
            trials.check(got == digest(loop.backing), f"{n} sectors of {sector}: {got}")
            said = notes(out)
            trials.check(said["disk.bytes"] == said["disk.read_bytes"] == loop.size and said["disk.sector_bytes"] == sector and
                         not rows(out, "disk.unreadable.jsonl"), f"{n} sectors of {sector}: {said}")
            if i >= 10:
                forget(out)
    return f"{len(sizes())} devices"


@case("disk", "DISK-02", "CFTT AM-09, AM-10", "unreadable sectors are reported with their place and filled with zeros",
      "every other byte equal; the list is exactly the sectors that could not be read")
def unreadable(trials):
    if not SHIM.exists():
        raise Skip("tests/system/shim_badsector.c is not built")
    rng = random.Random(9)
    for i in range(count(20, 200)):
        n = rng.randrange(64, 9000)
        bad = sorted({0: [0], 1: [n - 1], 2: list(range(8, 71)), 3: [0, n - 1]}.get(i) or
                     {rng.randrange(n) for _ in range(rng.choice([1, 8, 63]))})
        bad = [s for s in bad if s < n]
        with Loop(n * 512) as loop:
            want = bytearray(loop.backing.read_bytes())
            for s in bad:
                want[s * 512:(s + 1) * 512] = bytes(512)
            out = acquire("disk", f"device={loop.device}", keep=False,
                          env={"LD_PRELOAD": str(SHIM), "BAD_SECTORS": ",".join(map(str, bad))})
            trials.check((out / "disk.raw").read_bytes() == want, f"{n} sectors, bad {bad}: other bytes")
            listed = [s for row in rows(out, "disk.unreadable.jsonl")
                      for s in range(row["first_byte"] // 512, (row["first_byte"] + row["bytes"]) // 512)]
            trials.check(listed == bad, f"{n} sectors, bad {bad}: listed {listed}")
            trials.check(notes(out)["disk.unreadable_bytes"] == 512 * len(bad), f"noted {notes(out)}")
    return "errors injected at the read call"


@case("disk", "DISK-03", "CFTT AO-24; HWB", "the source is not changed",
      "hash and all times of the backing file are the same before and after; no write-capable open, no modifying ioctl")
def unchanged(trials):
    for n in (4096, 9001):
        with Loop(n * 512) as loop:
            before, hashed = stats(loop.backing.parent), digest(loop.backing)
            before = stats(loop.backing.parent)
            acquire("disk", f"device={loop.device}")
            trials.check(stats(loop.backing.parent) == before, "the file system knows of a change")
            trials.check(digest(loop.backing) == hashed, "other bytes")
            found = writes("disk", f"device={loop.device}")
            trials.check(not found, found)
    return "also under strace"


@case("disk", "DISK-04", "CFTT AO-04, AO-05", "a full target is told, and nothing half passes for whole",
      "one sentence; no item that is told as whole is short")
def full(trials):
    with Loop(8 << 20) as loop:
        check_full(trials, "disk", f"device={loop.device}")


@case("disk", "DISK-05", "CFTT AO-05", "a limit gives what fitted, and says what is not there",
      "a prefix of the source; the exhibit says that it is not whole")
def limited(trials):
    rng = random.Random(3)
    with Loop(5 << 20) as loop:
        whole = loop.backing.read_bytes()
        for _ in range(count(5, 50)):
            limit = rng.randrange(1, 5 << 20)
            out = acquire("disk", f"device={loop.device}", f"max-bytes={limit}")
            got = (out / "disk.raw").read_bytes()
            trials.check(got == whole[:len(got)] and len(got) <= limit, f"{limit}: {len(got)} bytes")
            trials.check(any(row.get("lacking") or row.get("status") for row in rows(out)), f"{limit}: nothing is said")


@case("disk", "DISK-06", "HWB", "what is no block device is refused", "one sentence, no item")
def refuses(trials):
    for device in ("/etc/passwd", "/dev/null", "/dev/none", "/", "dev/sda"):
        told = acquire("disk", f"device={device}", status=1)
        trials.check(len(told.splitlines()) == 1, told)
    fifo = folder() / "fifo"
    os.mkfifo(fifo)
    trials.check("no block device" in acquire("disk", f"device={fifo}", status=1), "a pipe")
