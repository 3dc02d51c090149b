# SPDX-License-Identifier: Apache-2.0
"""The core of a process: how long it takes, and how long the process stands still, beside gdb's gcore. The process
tells the longest gap between its own heartbeats."""
import json
import re
import shutil
import subprocess
import time

SPOOL = 3 << 30
ROUNDS = 3


class Target:
    """driver_odd writing into one MiB of many; its threads are idle, its first is never."""

    def __init__(self, build, work, mib):
        self.process = subprocess.Popen([build / "tests/driver_odd", work, "beat", str(mib)], stdout=subprocess.PIPE,
                                        text=True)
        while self.process.stdout.readline() not in ("ready\n", ""):
            pass

    def gap_ms(self):
        """The longest since it was asked before."""
        self.process.send_signal(10)
        found = re.match(r"gap (\d+)", self.process.stdout.readline())
        return int(found[1]) / 1e6

    def end(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()


def once(target, command, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    target.gap_ms()
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
    return time.monotonic() - start, target.gap_ms()


def best(target, command, folder):
    rounds = [once(target, command, folder) for _ in range(ROUNDS)]
    return min(r[0] for r in rounds), min(r[1] for r in rounds)


def notes(folder):
    rows = (json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines())
    return {row["note"]: row["value"] for row in rows if "note" in row}


def measure(table, build, work):
    work.mkdir(parents=True, exist_ok=True)
    table.title("core of a process (beside: gcore)")
    for mib in (256, 1024):
        target = Target(build, work, mib)
        try:
            into = work / "core"
            ours = best(target, [build / "tests/driver_acquire", "core", into, f"pid={target.process.pid}",
                                 f"spool-bytes={SPOOL}"], into)
            said = notes(into)
            shutil.rmtree(into)
            gcore = best(target, ["gcore", "-o", into / "core", str(target.process.pid)], into)
        finally:
            target.end()
            shutil.rmtree(into, ignore_errors=True)
        size = said["core.read_bytes"]
        table.add(f"{mib} MiB: the process stands still, by its own heartbeat", f"{ours[1]:,.0f} ms",
                  beside=f"{gcore[1]:,.0f} ms", aim=f"{500 * mib / 1024:.0f} ms", met=ours[1] <= 500 * mib / 1024)
        table.add(f"{mib} MiB: copied while held", f"{size / said['core.copy_ns']:.2f} GB/s", aim="1 GB/s",
                  met=size >= said["core.copy_ns"])
        table.add(f"{mib} MiB: all, hashed and written to a file", f"{ours[0]:.2f} s", beside=f"{gcore[0]:.2f} s")
