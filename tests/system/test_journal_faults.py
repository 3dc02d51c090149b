# SPDX-License-Identifier: Apache-2.0
"""Every allocation and every file operation of the journal fails once; and what people and disks do to
its files: deleted, restored from an old copy, a bit flipped anywhere."""
import os
import random
import shutil
import subprocess

import pytest

from powercut import BUILD
from test_journal_powercut import BUDGET, DRIVER, Dump, Truth, check, dump, key  # noqa: F401

FULL = os.environ.get("EXHIBIT_FULL") == "1"
SHIM = (BUILD / "tests/shim_failnth.so").resolve()


def run(folder, key, n, kind, errno, tmp_path, what, seed=101):
    report = tmp_path / "report"
    report.unlink(missing_ok=True)
    folder.mkdir(exist_ok=True)
    command = [DRIVER, what, folder, key, str(BUDGET)] + (["40", str(seed)] if what == "append" else [])
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env={
        **os.environ, "LD_PRELOAD": str(SHIM), "FAILNTH_KIND": kind, "FAILNTH_N": str(n), "FAILNTH_ERRNO": str(errno),
        "FAILNTH_DIR": str(folder), "FAILNTH_REPORT": str(report)})
    failed = report.read_text().strip() if report.exists() else None
    assert result.returncode in (0, 1), f"{kind} {n} ({failed}): status {result.returncode}: {result.stderr}"
    return result, failed


def steps(limit):
    """Every n in a full run; else the first 25 and a spread over the rest."""
    n = 1
    while n < limit:
        yield n
        n += 1 if FULL or n < 25 else 29


@pytest.mark.parametrize("kind,errno", [("malloc", 12), ("file", 5), ("file", 28)])
@pytest.mark.parametrize("what", ["append", "dump"])
def test_any_call_may_fail_once(tmp_path, key, kind, errno, what):  # noqa: F811
    filled = tmp_path / "filled"
    if what == "dump":
        marks = run(filled, key, 0, "none", 0, tmp_path, "append")[0].stdout.splitlines()
        # Something to recover from: a torn end.
        newest = max(filled.glob("critical-*.jrn"))
        newest.write_bytes(newest.read_bytes() + b"torn")
    sentences, n = 0, 0
    for n in steps(20000):
        folder = tmp_path / f"journal{n}"
        if what == "dump":
            shutil.copytree(filled, folder)
        result, failed = run(folder, key, n, kind, errno, tmp_path, what)
        if failed is None:
            break
        said = [m for m in result.stdout.splitlines() if m.startswith(("try", "ack", "gone", "release"))]
        truth = Truth((marks if what == "dump" else []) + said)
        if result.returncode == 1:
            assert result.stderr.startswith("driver_journal: ")
            sentences += 1
        try:
            check(truth, dump(folder, key))
        except AssertionError as e:
            raise AssertionError(f"{kind} {n} ({failed}), said: {result.stderr}: {e}") from e
        shutil.rmtree(folder)
    assert n > 20 and sentences > 0
