# SPDX-License-Identifier: Apache-2.0
"""Cases, trials, and the report of them. A case is a function that is handed its trials; it says of each whether
what came is what was expected. What it cannot try here it skips with a reason, which stands in the report."""
import json
import math
import platform
import time
import traceback
from dataclasses import dataclass, field

CONFIDENCE = 0.95
TOLD_MAX = 20  # failures of a case that are told one by one

CASES = []


class Skip(Exception):
    """Cannot be tried on this machine: the reason."""


@dataclass
class Case:
    kind: str
    name: str
    source: str  # whose assertion it mirrors
    assertion: str
    expected: str
    run: object


@dataclass
class Trials:
    n: int = 0
    failures: int = 0
    told: list = field(default_factory=list)
    got: str = ""
    skipped: str = ""

    def check(self, right, told):
        """One trial."""
        self.add(1, 0 if right else 1, told)
        return right

    def add(self, n, failures, told=""):
        """Many at once: pages, sectors, files."""
        self.n += n
        self.failures += failures
        if failures and len(self.told) < TOLD_MAX:
            self.told.append(str(told)[:500])


def case(kind, name, source, assertion, expected):
    def add(run):
        CASES.append(Case(kind, name, source, assertion, expected, run))
        return run
    return add


def at_most(k, n, p):
    """P(X <= k) of n trials with probability p."""
    if p <= 0:
        return 1.0
    if p >= 1:
        return 1.0 if k >= n else 0.0
    logs = (math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
            for i in range(k + 1))
    return math.fsum(map(math.exp, logs))


def bound(failures, n):
    """The highest error rate that n trials with so many failures leave possible (Clopper and Pearson 1934, one-sided).
    With no failure about 3/n: the rule of three."""
    if n == 0 or failures >= n:
        return 1.0
    low, high = failures / n, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        if at_most(failures, n, middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def run(one):
    trials = Trials()
    begin = time.monotonic()
    try:
        trials.got = one.run(trials) or ""
    except Skip as why:
        trials.skipped = str(why) or "cannot be tried here"
    except Exception as why:  # a case that breaks has failed, and the others go on
        trials.check(False, f"{type(why).__name__}: {why}\n{traceback.format_exc(limit=-3)}")
    if trials.n == 0 and not trials.skipped:
        trials.skipped = "nothing was tried"
    return {"kind": one.kind, "case": one.name, "source": one.source, "assertion": one.assertion, "expected": one.expected,
            "got": trials.got, "trials": trials.n, "failures": trials.failures, "told": trials.told, "skipped": trials.skipped,
            "error_rate": trials.failures / trials.n if trials.n else None,
            "error_rate_bound": bound(trials.failures, trials.n) if trials.n else None,
            "seconds": round(time.monotonic() - begin, 1)}


def rate(x):
    return "" if x is None else "0" if x == 0 else f"{x:.2g}"


def outcome(row):
    return f"skipped: {row['skipped']}" if row["skipped"] else "failed" if row["failures"] else "passed"


def cell(text):
    """Text of a table's cell: what a hostile name put into it stays text."""
    clean = "".join(c if c.isprintable() else " " for c in str(text))
    return clean.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def kinds_of(rows):
    """Per kind: the case that was tried least tells how sure one can be of all of them. Controls are of the oracle."""
    for kind in dict.fromkeys(row["kind"] for row in rows):
        tried = [row for row in rows if row["kind"] == kind and row["trials"]]
        yield {"kind": kind, "cases": len(tried), "skipped": sum(bool(row["skipped"]) for row in rows if row["kind"] == kind),
               "failed": sum(row["failures"] > 0 for row in tried), "trials": sum(row["trials"] for row in tried),
               "failures": sum(row["failures"] for row in tried),
               "worst_bound": max((row["error_rate_bound"] for row in tried if not row["source"].startswith("control")),
                                  default=None)}


def markdown(report):
    lines = ["# Validation report", "",
             f"{report['tool']} on {report['machine']}, {report['made']}; {'full' if report['full'] else 'short'} run. "
             "CFTT-style: the assertions are ours, after NIST's for disk imaging; NIST has not tested this tool.", "",
             f"Error rate: failures / trials. Bound: with {report['confidence']:.0%} confidence it is no higher "
             "(Clopper-Pearson; about 3/trials when none failed). A bound holds for what the trials vary, not for what they "
             "do not: see the limits.", "",
             "| kind | cases | skipped | failed | trials | failures | highest bound of a case |", "| --- | --- | --- | --- | --- | --- | --- |"]
    lines += [f"| {k['kind']} | {k['cases']} | {k['skipped']} | {k['failed']} | {k['trials']} | {k['failures']} | {rate(k['worst_bound'])} |"
              for k in report["kinds"]]
    for kind in dict.fromkeys(row["kind"] for row in report["cases"]):
        lines += ["", f"## {kind}", "", "| case | assertion (after) | expected | got | trials | failures | error rate | bound | |",
                  "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
        lines += ["| " + " | ".join([row["case"], f"{cell(row['assertion'])} ({cell(row['source'])})", cell(row["expected"]),
                                    cell(row["got"]), str(row["trials"]), str(row["failures"]), rate(row["error_rate"]),
                                    rate(row["error_rate_bound"]), cell(outcome(row))]) + " |"
                  for row in report["cases"] if row["kind"] == kind]
        lines += [f"- {row['case']}: {cell(text)}" for row in report["cases"] if row["kind"] == kind for text in row["told"]]
    lines += ["", "## Known limits", ""] + [f"- {limit}" for limit in report["limits"]] + [""]
    return "\n".join(lines)


def write(folder, rows, tool, full, limits):
    report = {"tool": tool, "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
              "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "full": full, "confidence": CONFIDENCE,
              "kinds": list(kinds_of(rows)), "cases": rows, "limits": limits}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "report.md").write_text(markdown(report))
    return report
