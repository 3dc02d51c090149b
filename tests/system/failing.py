# SPDX-License-Identifier: Apache-2.0
"""Every allocation and every file operation of a driver fails once, by shim_failnth.so.

    done, errors = fail_each([DRIVER, "put", ".", key], look, "malloc", 12, wide, folder, verify)

A driver starts once and waits; each point is a fork of it (shim_failnth.c), in a folder of its own."""
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from basics import BUILD, FULL

SHIM = BUILD / "tests/shim_failnth.so"
WORKERS = 8  # most of a point is waiting: for a checkpoint, for a retry
POINTS_MAX = 50_000


@dataclass
class Result:
    status: int
    out: str
    err: str
    failed: str  # the call that was let fail; None: fewer were made


class Server:
    """A driver that waits just before its work, and does it once for each folder."""

    def __init__(self, command, kind="none", errno=0):
        self.process = subprocess.Popen(
            [str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={
                **os.environ, "LD_PRELOAD": str(SHIM), "FAILNTH_KIND": kind, "FAILNTH_ERRNO": str(errno)})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(70)
        finally:
            self.process.kill()
            self.process.stdout.close()

    def run(self, folder, n=0):
        """The work in this folder, its n-th call failing. The shim answers within a minute."""
        self.process.stdin.write(f"{n} {folder}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the driver's server ended: {self.process.wait(10)}"
        out, err, failed = (take(folder, suffix) for suffix in ("out", "err", "failed"))
        status = os.waitstatus_to_exitcode(int(answer))
        assert status in (0, 1), f"call {n} ({failed}): status {status}: {err}"
        return Result(status, out, err, failed)


def take(folder, suffix):
    path = folder.with_name(f"{folder.name}.{suffix}")
    if not path.exists():
        return None
    text = path.read_text()
    path.unlink()
    return text


def points(wide):
    """Every n in a full run; else the first 25 and a spread over the rest."""
    n = 1
    while n < POINTS_MAX:
        yield n
        n += 1 if n < 25 or FULL else wide
    raise AssertionError(f"more than {POINTS_MAX} calls")


def fail_each(command, look, kind, errno, wide, workdir, verify, filled=None):
    """Run command once for each point, beginning with a copy of filled, or with nothing; then ask look what
    is there, and verify(what the command said, what look said). The points, and how many said an error."""
    def worker(first):
        done = errors = 0
        with Server(command, kind, errno) as server, Server(look) as looking:
            for at, n in enumerate(points(wide)):
                if at % WORKERS != first:
                    continue
                folder = workdir / f"at{n}"
                shutil.copytree(filled, folder) if filled else folder.mkdir()
                result = server.run(folder, n)
                if result.failed is None:
                    return done, errors
                seen = looking.run(folder)
                try:
                    assert seen.status == 0, seen.err
                    verify(result, seen)
                except AssertionError as e:
                    raise AssertionError(f"{kind} {n} ({result.failed}), said: {result.err}: {e}") from e
                shutil.rmtree(folder)
                done, errors = done + 1, errors + result.status

    with ThreadPoolExecutor(WORKERS) as pool:
        each = list(pool.map(worker, range(WORKERS)))
    return sum(done for done, _ in each), sum(errors for _, errors in each)
