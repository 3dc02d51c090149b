# SPDX-License-Identifier: Apache-2.0
"""The validation report itself: its bounds, and that a case that fails, breaks or is skipped shows as that."""
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "validation"))

import report  # noqa: E402


@pytest.mark.parametrize("failures, n, want", [(0, 1, 0.95), (0, 20, 0.1391), (0, 1000, 0.00299), (1, 20, 0.2161), (5, 100, 0.1023),
                                               (20, 20, 1.0), (0, 0, 1.0)])
def test_bounds_are_those_of_clopper_and_pearson(failures, n, want):
    assert report.bound(failures, n) == pytest.approx(want, abs=5e-5)


def right(trials):
    trials.check(True, "")
    return "all | well"


def wrong(trials):
    trials.add(10, 0)
    trials.check(False, "new\nline|\x1b[2J<b>")


def broken(trials):
    trials.check(True, "")
    raise ValueError("the case itself")


def skipped(trials):
    raise report.Skip("no such device")


def nothing(trials):
    return ""


def made(run):
    return report.run(report.Case("disk", run.__name__, "CFTT", "assertion", "expected", run))


@pytest.mark.parametrize("run, outcome, trials, failures", [
    (right, "passed", 1, 0), (wrong, "failed", 11, 1), (broken, "failed", 2, 1), (skipped, "skipped: no such device", 0, 0),
    (nothing, "skipped: nothing was tried", 0, 0)])
def test_outcomes(run, outcome, trials, failures):
    row = made(run)
    assert (report.outcome(row), row["trials"], row["failures"]) == (outcome, trials, failures)


def test_report_says_all_of_it(tmp_path):
    report.write(tmp_path, [made(run) for run in (right, wrong, broken, skipped)], "exhibit 1", False, ["a limit"])
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["kinds"] == [{"kind": "disk", "cases": 3, "skipped": 1, "failed": 2, "trials": 14, "failures": 2,
                              "worst_bound": report.bound(1, 2)}]
    text = (tmp_path / "report.md").read_text()
    assert "\x1b" not in text and "<b>" not in text and "- a limit" in text and "no such device" in text
    rows = [line for line in text.splitlines() if line.startswith("| right") or line.startswith("| wrong")]
    assert [line.replace("\\|", "").count("|") for line in rows] == [10, 10]
