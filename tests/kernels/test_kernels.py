# SPDX-License-Identifier: Apache-2.0
"""The shipped binaries on Debian's kernels: what `make run` shows there is what the workload did."""
import json
import platform
import shutil

import pytest

import kernels
from kernels import tail
from wanted import COVERAGE

LONG_ARGUMENT = 20000
DEEP = 80


def field(row, name):
    """row["process"]["parent"]["pid"] for "process.parent.pid"; None when absent."""
    for part in name.split("."):
        if not isinstance(row, dict) or part not in row:
            return None
        row = row[part]
    return row


class Guest:
    """What one boot left behind."""

    def __init__(self, name):
        self.name, self.out = name, kernels.boot(name)
        assert (self.out / "done").exists(), f"no workload ran on {name}\n{self.logs()}"
        self.did = json.loads((self.out / "done").read_text())
        assert "error" not in self.did, self.did
        self.existed = json.loads((self.out / "existing").read_text())
        self.events = [json.loads(line) for line in (self.out / "events").read_text().splitlines()]

    def logs(self):
        return "\n".join(f"--- {path.name}\n{tail(path, 10)}"
                         for path in [self.out.parent / "console", *sorted(self.out.glob("*.log"))])

    def look(self, action, **where):
        """Events whose fields (. written as __) are these."""
        wanted = {name.replace("__", "."): value for name, value in where.items()}
        return [row for row in self.events if field(row, "event.action") == action and
                all(field(row, name) == value for name, value in wanted.items())]

    def find(self, action, **where):
        """The same, at least one."""
        rows = self.look(action, **where)
        assert rows, f"{self.name}: no {action} with {where}; there is " + \
            json.dumps([row for row in self.events if field(row, "event.action") == action][-3:]) + self.logs()
        return rows


@pytest.fixture(scope="session", params=COVERAGE)
def guest(request):
    if platform.machine() != "x86_64":
        pytest.skip("the guests are x86-64 and run this machine's binaries")
    for program in kernels.NEEDED:
        if not shutil.which(program, path=kernels.PATH):
            pytest.skip(f"{program} is not installed; run 'make kernels' as root")
    return Guest(request.param)


# ---- what it says of itself --------------------------------------------------------------------------

def test_probe_tells_what_this_kernel_can(guest):
    lines = (guest.out / "probe").read_text().splitlines()
    assert (guest.out / "probe.status").read_text().strip() == "0", guest.logs()
    head = lines[0]
    at = [head.index(word) for word in ("CLASS", "EVENTS", "TIER", "HOOK", "STATE", "REASON")]
    rows = [[line[a:b].strip() for a, b in zip(at, [*at[1:], None])] for line in lines[1:]]
    table = {(row[0], row[1]): (row[4], row[2], row[3]) for row in rows}
    assert table == COVERAGE[guest.name], (guest.out / "probe").read_text()
    told = {(row[0], row[1]): row[5] for row in rows if row[4] != "attached"}
    assert all(told.values()), "a class that is not whole gives its reason"


def test_coverage_reaches_the_collector_and_balances(guest):
    """What is lost is told: from 6.19 on the kernel may preempt a program, and skips it for others meanwhile."""
    rows = [json.loads(line)["exhibit"] for line in (guest.out / "coverage").read_text().splitlines()]
    gaps = [json.loads(line)["exhibit"]["gap"] for line in (guest.out / "gaps").read_text().splitlines()]
    assert {row["class"] for row in rows} == {name for name, _ in COVERAGE[guest.name]}
    for row in rows:
        said = row["coverage"]
        if "seen" in said:
            assert said["seen"] == sum(said[name] for name in ("filtered", "aggregated", "sent", "lost")), row
            told = sum(gap.get("count", 0) for gap in gaps if gap.get("class") == row["class"])
            assert said["lost"] <= told and (guest.name == "newest" or not said["lost"]), (row, gaps)


def test_run_ends_cleanly_and_leaves_no_program(guest):
    assert (guest.out / "run.status").read_text().strip() == "0"
    log = (guest.out / "run.log").read_text()
    assert "died" not in log, log
    left = json.loads((guest.out / "left").read_text() or "[]")
    assert [p["name"] for p in left if p["name"].startswith("exh_")] == []


def test_kernel_says_nothing_about_us(guest):
    for line in (guest.out / "dmesg").read_text().splitlines():
        assert "BUG:" not in line and "WARNING:" not in line and "Oops" not in line, line


# ---- processes ---------------------------------------------------------------------------------------

def test_exec_with_exact_arguments(guest):
    row = guest.find("exec", process__pid=guest.did["exec"])[-1]
    assert field(row, "process.args") == ["workload", "exit", "two words", "", "a\nb", "x" * LONG_ARGUMENT]
    assert field(row, "process.executable") == "/usr/bin/workload"
    assert field(row, "process.working_directory") == "/data"
    assert field(row, "process.parent.pid") == guest.did["pid"]
    assert field(row, "process.user.id") == "0"
    assert "CAP_SYS_ADMIN" in field(row, "process.thread.capabilities.effective")
    assert not field(row, "exhibit.truncated")


def test_fork_and_exits(guest):
    for name in ("exec", "killed"):
        row = guest.find("fork", process__pid=guest.did[name])[-1]
        assert field(row, "process.parent.pid") == guest.did["pid"]
    assert field(guest.find("exit", process__pid=guest.did["exec"])[-1], "process.exit_code") == 42
    killed = guest.find("exit", process__pid=guest.did["killed"])[-1]
    assert field(killed, "exhibit.signal") == 9
    assert field(killed, "process.exit_code") is None


def test_existing_process_and_socket(guest):
    row = guest.find("exec", process__pid=guest.existed["pid"])[-1]
    assert field(row, "exhibit.existing") is True
    assert field(row, "process.executable") == "/usr/bin/workload"
    assert field(row, "process.args") == ["workload", "wait"]
    assert field(guest.find("exec", process__pid=1)[0], "exhibit.existing") is True
    listen = guest.find("listen", process__pid=guest.existed["pid"])[-1]
    assert field(listen, "exhibit.existing") is True
    assert field(listen, "source.port") == guest.existed["port"]


# ---- files -------------------------------------------------------------------------------------------

def test_life_of_a_file(guest):
    created = guest.find("create", file__path="/data/first")[-1]
    assert field(created, "process.pid") == guest.did["pid"]
    inode = field(created, "file.inode")
    opened = guest.find("open_write", file__path="/data/first")[-1]
    assert (field(opened, "process.pid"), field(opened, "file.inode")) == (guest.did["pid"], inode)
    assert guest.find("modify", process__pid=guest.did["pid"])
    renamed = guest.find("rename", file__path="/data/second")[-1]
    assert field(renamed, "process.pid") == guest.did["pid"]
    assert guest.find("unlink", file__path="/data/second")


def test_file_below_many_folders(guest):
    path = "/data" + "/folder" * DEEP + "/deep"
    row = guest.find("create", file__path=path)[-1]
    assert not field(row, "exhibit.incomplete")


# ---- network -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("name,address", [("tcp4", "127.0.0.1"), ("tcp6", "::1")])
def test_tcp(name, address, guest):
    port, pid = guest.did[name], guest.did["pid"]
    connect = guest.find("connect", destination__port=port)[-1]
    accept = guest.find("accept", destination__port=port)[-1]
    guest.find("listen", source__port=port, process__pid=pid)
    for row in (connect, accept):
        assert field(row, "process.pid") == pid
        assert field(row, "source.ip") == field(row, "destination.ip") == address
        assert field(row, "network.transport") == "tcp"
    assert field(connect, "source.port") == field(accept, "source.port") > 0
    ends = guest.find("disconnect", destination__port=port)
    assert len(ends) == 2
    for row in ends:
        assert field(row, "process.pid") == pid
        assert (field(row, "source.bytes"), field(row, "destination.bytes")) == (1234, 567)


def test_through_io_uring(guest):
    """Where the kernel says which request was completed; where it does not, nothing false is said either."""
    seen = COVERAGE[guest.name][("file_open", "io_uring: create, open_write")][0] != "failed"
    created = guest.look("create", file__path="/data/ring")
    accepted = guest.look("accept", destination__port=guest.did["ring"])
    assert (len(created), len(accepted)) == ((1, 1) if seen else (0, 0))
    for row in created + accepted:
        assert field(row, "process.pid") == guest.did["pid"]
        assert field(row, "exhibit.via") == "io_uring"


@pytest.mark.parametrize("name", ["udp4", "udp6"])
def test_udp(name, guest):
    rows = [row for row in guest.find("udp_flow", destination__port=guest.did[name])
            if field(row, "process.pid") == guest.did["pid"]]
    assert max(field(row, "source.bytes") or 0 for row in rows) == 300
