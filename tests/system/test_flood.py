# SPDX-License-Identifier: Apache-2.0
"""More than the rings can hold: each exec is there, and what is lost is counted to the last event."""
import os
import subprocess
import time
from collections import Counter

import pytest

from activity import Execs, markers, settle
from basics import count, until
from daemons import field

OPENS = count(60_000, 600_000)
PYTHON = "/usr/bin/python3"
COUNTERS = ("seen", "filtered", "aggregated", "sent", "lost")


def coverage(cli):
    """Counters per class, summed over its rows."""
    sums = {}
    for row in cli.run("coverage", "--json").rows:
        counters = {name: field(row, f"exhibit.coverage.{name}") for name in COUNTERS}
        if counters["seen"] is not None:
            sums.setdefault(field(row, "exhibit.class"), Counter()).update(counters)
    return sums


def flood_of_opens(folder, n, workers):
    """n files opened for writing and closed, each an event of its own; nothing is read or printed."""
    code = (f"import os\nfor i in range({n // workers}):\n"
            f"    os.close(os.open('{folder}/%d-%d' % (os.getpid(), i), os.O_CREAT | os.O_WRONLY))\n")
    return [subprocess.Popen([PYTHON, "-c", code]) for _ in range(workers)]


def test_flood_leaves_every_exec(need_bpf, lab, tmp_path):
    """received + reported lost = produced."""
    folder = tmp_path / "flood"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    try:
        collector = lab.collector()
        agent = lab.agent(collector, sense__bulk_ring="64KiB", sense__network="false", sense__fanotify="false")
        cli = lab.cli(collector)
        settle(cli)
        execs = Execs("flood", pause=0.01)
        execs.start()
        workers = flood_of_opens(folder, OPENS, 2)
        pids = {str(worker.pid) for worker in workers}
        # The drain stands still for a moment: the ring is overrun for certain.
        time.sleep(0.5)
        agent.signal(19)
        time.sleep(0.5)
        agent.signal(18)
        assert [worker.wait(300) for worker in workers] == [0, 0]
        n = execs.end()
        settle(cli)
        agent.stop()
        assert markers(cli, "flood") == {f"flood-{i}": 1 for i in range(n)}

        rows = cli.events("--action", "create", "--path", f"{folder}/*", seconds=170)
        received = len({field(row, "file.path") for row in rows})
        assert received == len(rows), "a file was created twice"
        gaps = [row["exhibit"]["gap"] for row in cli.events("--action", "gap")]
        lost = sum(gap["count"] for gap in gaps if gap["class"] == "file_open" and gap["where"] == "ring")
        assert lost > 0, "nothing was lost: this test measures nothing"
        assert all(field(row, "process.pid") is not None for row in rows[:100]) and pids
        # Others on this host open files, too: over all of them it must be exact.
        everybody = cli.events("--action", "create", "--action", "open_write", seconds=170)
        counted = coverage(cli)["file_open"]
        assert counted["lost"] == lost
        assert counted["sent"] == len(everybody)
        assert received + lost >= OPENS
        answer = cli.run("events", "--json", "--action", "create", "--limit", "1")
        assert answer.code == 3 and "file_open" in answer.err or "file" in answer.err, answer.err
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_counters_add_up(need_bpf, lab, tmp_path):
    """seen = filtered + aggregated + sent + lost, per class, after a load."""
    collector = lab.collector()
    agent = lab.agent(collector, sense__bulk_ring="64KiB")
    cli = lab.cli(collector)
    settle(cli)
    (tmp_path / "f").mkdir()
    for worker in flood_of_opens(tmp_path / "f", 20_000, 2):
        worker.wait(60)
    settle(cli)
    agent.stop()
    rows = cli.events("--action", "coverage")
    assert rows, "no coverage was told"
    sums = coverage(cli)
    assert {"exec", "fork", "exit", "file_open"} <= set(sums)
    for name, counters in sums.items():
        assert counters["seen"] == sum(counters[k] for k in ("filtered", "aggregated", "sent", "lost")), name
    assert sums["file_open"]["seen"] >= 20_000


def test_storing_makes_no_events(need_bpf, lab):
    """Exhibit does not feed on itself: while it stores, neither daemon is in the record again and again."""
    collector = lab.collector()
    agent = lab.agent(collector, sense__own_dirs=[str(collector.dir)])
    cli = lab.cli(collector)
    settle(cli)
    time.sleep(count(5, 30))
    settle(cli)
    own = [row for row in cli.events("--path", f"{collector.store}/*", "--path", f"{agent.state}/*")
           if field(row, "file.path")]
    assert own == []
    pids = (agent.pid, agent.uplink(), agent.launcher(), collector.pid)
    said = Counter(row["event"]["action"] for pid in pids for row in cli.events("--where", f"process.pid={pid}")
                   if not field(row, "exhibit.existing"))
    # What begins once, and the connections that our questions are.
    assert sum(n for action, n in said.items() if action not in ("accept", "disconnect")) < 30, said


@pytest.mark.parametrize("kind", ["forks", "unlinks"])
def test_storm_is_survived(kind, need_bpf, lab, tmp_path):
    """A burst of short processes, or of removals: the agent's memory stays, all is there or counted."""
    collector = lab.collector()
    agent, cli = lab.agent(collector), lab.cli(collector)
    settle(cli)
    if kind == "forks":
        code = "import os\nfor _ in range(3000):\n    p = os.fork()\n    p or os._exit(0)\n    os.waitpid(p, 0)"
    else:
        code = (f"import os\nfor i in range(5000):\n    p = '{tmp_path}/%d' % i\n"
                "    os.close(os.open(p, os.O_CREAT | os.O_WRONLY)); os.unlink(p)")
    storm = subprocess.Popen([PYTHON, "-c", code])
    assert storm.wait(120) == 0
    settle(cli)
    action = {"forks": "fork", "unlinks": "create"}[kind]
    wanted = {"forks": 3000, "unlinks": 5000}[kind]
    where = ["--where", f"process.parent.pid={storm.pid}"] if kind == "forks" else ["--path", f"{tmp_path}/*"]

    def there():
        gaps = [row["exhibit"]["gap"] for row in cli.events("--action", "gap")]
        lost = sum(gap.get("count") or 0 for gap in gaps)
        return len(cli.events("--action", action, *where)) + lost >= wanted
    until(there, 60, f"{wanted} of {action}, or a gap")
    for pid in (agent.pid, agent.uplink()):
        peak = next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM"))
        assert int(peak.split()[1]) < 200_000, peak
    assert os.path.exists(f"/proc/{agent.pid}")
