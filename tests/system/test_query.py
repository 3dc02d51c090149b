# SPDX-License-Identifier: Apache-2.0
"""Questions through the CLI: what is found, how complete it is, exit codes, tables and JSON lines. The host is
played by the test, which knows what it sent."""
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time

import pytest

import event_pb2
from basics import until
from daemons import Cli, field
from wire import BULK, CRITICAL, event, exec_process

ESCAPE = b"\x1b]0;owned\x07"
HOSTILE = b"/tmp/" + ESCAPE + b"\xff\nx"


def key(pid, start_ns, exec_id=1):
    return event_pb2.ImageKey(pid=pid, start_ns=start_ns, exec_id=exec_id)


def process(pid, start_ns, parent, name, args, **more):
    p = exec_process(pid, name, args, start_ns)
    if parent:
        p.parent.CopyFrom(parent)
    for k, v in more.items():
        setattr(p, k, v)
    return p


def classed(action, number, cls, **fields):
    return event(action, number, **{"class": cls}, **fields)


class Story:
    """init(1) runs sshd(20), which runs sh(30), which writes a file of a hostile name and connects out."""

    def __init__(self, lab):
        self.lab, self.collector = lab, lab.collector()
        self.cli = lab.cli(self.collector)
        self.host = lab.host()
        self.name = self.host.identity.host_id
        self.client = lab.client(self.host, self.collector)
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        init, sshd, self.sh = key(1, 1000), key(20, 2000), key(30, now - 1000)
        processes = [process(1, 1000, None, b"init", [b"/sbin/init"], uid=0),
                     process(20, 2000, init, b"sshd", [b"sshd", b"-D"], uid=0, unit=b"ssh.service"),
                     process(30, now - 1000, sshd, b"sh", [b"sh", b"-c", b"curl \xff"], user_name=b"ann",
                             container_id=b"3f" * 32)]
        self.client.put(self.host.batch(
            [classed(event_pb2.ACTION_PROCESS, 1, event_pb2.CLASS_EXEC, flags=1),
             classed(event_pb2.ACTION_PROCESS, 2, event_pb2.CLASS_EXEC, flags=1),
             classed(event_pb2.ACTION_EXEC, 3, event_pb2.CLASS_EXEC, exec=event_pb2.Exec(filename=b"/bin/sh"))],
            processes, lane=CRITICAL))
        net = event_pb2.Net(transport=6, source_ip=bytes([10, 0, 0, 1]), source_port=40000,
                            destination_ip=bytes([203, 0, 113, 7]), destination_port=443)
        self.client.put(self.host.batch(
            [classed(event_pb2.ACTION_CREATE, 1, event_pb2.CLASS_FILE_OPEN, file=event_pb2.File(path=HOSTILE, size=0)),
             classed(event_pb2.ACTION_CONNECT, 1, event_pb2.CLASS_TCP, net=net)],
            processes[2:], lane=BULK))

    def ask(self, verb, *args, **kwargs):
        return self.cli.run(verb, "--host", self.name, *args, **kwargs)

    def terminal(self, verb, *args):
        """The same with a terminal as standard output."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 250, 0, 0))
        env = {**self.cli.env, "NO_COLOR": "1", "TERM": "xterm"}
        done = subprocess.Popen(self.cli.command(verb, "--host", self.name, *args), stdout=slave,
                                stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=env)
        os.close(slave)
        out = b""
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # the other side has ended
                break
            if not data:
                break
            out += data
        os.close(master)
        return done.wait(30), out


@pytest.fixture(scope="module")
def story(module_lab):
    return Story(module_lab)


def test_refusals_are_one_sentence_and_2(story):
    for words, sentence in [
            (["--where", "proces.name=x"], r"there is no field 'proces\.name'; did you mean 'process\.name'\?"),
            (["--action", "exek"], r"there is no event\.action 'exek'; did you mean 'exec'\?"),
            (["--address", "10.0.0"], r"'10\.0\.0' is not a value for source\.ip; give an address"),
            (["--limit", "999999999"], r"a limit of 999999999 is too large"),
            (["--since", "1h", "--until", "2h"], r"the time asked for ends before it begins")]:
        answer = story.ask("events", *words)
        assert (answer.code, answer.out) == (2, "")
        assert re.search(sentence, answer.err) and answer.err.count("\n") == 1
    answer = story.cli.run("events", "--host", "nobody")
    assert answer.code == 2
    assert answer.err == "exhibit: no host is called 'nobody'; 'exhibit hosts' lists ids and names\n"


def test_a_host_may_not_ask(story):
    cli = Cli(story.lab.site, story.host.identity, story.collector.address, story.lab.dir)
    answer = cli.run("events")
    assert answer.code == 2 and answer.out == ""
    assert "a host may not call" in answer.err


def test_nothing_listens(story, tmp_path):
    cli = Cli(story.lab.site, story.lab.responder, "127.0.0.1:1", tmp_path)
    answer = cli.run("hosts")
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert "127.0.0.1:1" in answer.err


def test_found_is_0_and_complete(story):
    answer = story.ask("events")
    assert answer.code == 0
    assert [r["event"]["action"] for r in answer.rows].count("exec") == 3
    assert re.fullmatch(r"complete for 1 host, from the beginning to 2\d{3}-\S+Z\n", answer.err)


def test_none_is_1(story):
    answer = story.ask("events", "--process", "nosuch")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("complete for 1 host")


@pytest.mark.parametrize("words, actions", [
    (["--action", "connect"], ["connect"]),
    (["--process", "sshd"], ["exec"]),
    (["--exe", "/usr/bin/in*"], ["exec"]),
    (["--path", "/bin/sh"], ["exec"]),
    (["--path", "/tmp/*"], ["create"]),
    (["--address", "203.0.113.0/24"], ["connect"]),
    (["--address", "10.0.0.1", "--port", "443"], ["connect"]),
    (["--port", "22"], []),
    (["--container", "3f3f", "--action", "create"], ["create"]),
    (["--user", "ann", "--action", "exec"], ["exec"]),
    (["--user", "0"], ["exec", "exec"]),
    (["--text", "sh -c curl"], ["connect", "create", "exec"]),
    (["--action", "create", "--action", "connect"], ["connect", "create"]),
    (["--where", "service.name=ssh.service"], ["exec"]),
    (["--where", "exhibit.existing=true"], ["exec", "exec"]),
    (["--where", "process.parent.pid=20", "--action", "exec"], ["exec"]),
    (["--since", "1h", "--until", "30m"], []),
])
def test_filters(story, words, actions):
    answer = story.ask("events", *words)
    assert sorted(r["event"]["action"] for r in answer.rows) == actions, answer.err


def test_json_is_exact(story):
    row = story.ask("events", "--action", "create").rows[0]
    assert field(row, "host.id") == story.name
    assert field(row, "process.entity_id") == f"{story.host.boot_id.hex()}-30-{story.sh.start_ns}-1"
    assert field(row, "process.args") == ["sh", "-c", "curl \ufffd"]
    assert field(row, "process.args_base64") == [None, None, "Y3VybCD/"]
    assert field(row, "process.command_line") == "sh -c curl \ufffd"
    assert field(row, "process.parent.pid") == 20
    assert field(row, "file.path") == "/tmp/\x1b]0;owned\x07\ufffd\nx"
    assert field(row, "file.size") == 0
    assert field(row, "event.category") == ["file"]
    assert field(row, "event.id").endswith("/bulk/1")
    assert ESCAPE not in story.ask("events").out.encode()


def test_a_hostile_name_cannot_drive_the_terminal(story):
    code, out = story.terminal("events")
    assert code == 0
    assert b"\x1b" not in out and b"\x07" not in out
    assert rb"/tmp/\x1b]0;owned\x07" + "\ufffd".encode() + rb"\x0ax" in out
    assert out.splitlines()[0].split()[:3] == [b"TIME", b"HOST", b"ACTION"]
    assert len(out.splitlines()) == 6


def test_limit_shows_the_newest_and_says_so(story):
    answer = story.ask("events", "--limit", "2")
    assert answer.code == 0
    assert answer.rows == story.ask("events").rows[-2:]
    assert "cut by --limit: only the newest 2 rows are shown, more match" in answer.err


def test_tree(story):
    by_pid = story.ask("tree", "--pid", "30")
    assert by_pid.code == 0, by_pid.err
    assert [(field(r, "process.pid"), field(r, "exhibit.tree.depth")) for r in by_pid.rows] == [(1, 0), (20, 1), (30, 2)]
    assert [field(r, "exhibit.tree.focus") for r in by_pid.rows] == [None, None, True]
    by_id = story.cli.run("tree", field(by_pid.rows[1], "process.entity_id"))
    assert [field(r, "process.pid") for r in by_id.rows] == [1, 20, 30]
    code, out = story.terminal("tree", "--pid", "20")
    assert [line.split(b"(")[0].strip() for line in out.splitlines()] == [b"init", "└─sshd".encode(), "└─sh".encode()]
    then = story.ask("tree", "--pid", "30", "--at", "7d")
    assert then.code == 1 and then.out == "" and then.err.startswith("no such process is recorded for that time\n")


def test_hosts_and_status(story):
    (row,) = story.ask("hosts").rows
    assert field(row, "exhibit.connected") is True
    assert field(row, "exhibit.events") == 5
    assert field(row, "host.os.kernel") == "6.1.0-test"
    rows = story.ask("status").rows
    assert field(rows[0], "exhibit.collector.batches") == 2
    assert field(rows[1], "host.id") == story.name
    # Nothing comes of this host by itself: it lags from the first second on.
    assert 0 < field(rows[1], "exhibit.lag_ns") < 600 * 10**9
    assert b" LAG " in story.terminal("status")[1]


def test_status_is_of_the_hosts_asked_for(story):
    other = story.lab.host()
    with story.lab.client(other, story.collector) as client:
        client.put(other.execs(1, b"there"))
    until(lambda: not field(story.cli.run("hosts", "--host", other.identity.host_id).rows[0], "exhibit.connected"),
          what="the other host to be away")
    answer = story.cli.run("status", "--host", "nosuch")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "exhibit: no host is called 'nosuch'; 'exhibit hosts' lists ids and names\n"
    mine, its = story.ask("status"), story.cli.run("status", "--host", other.identity.host_id)
    assert len(mine.rows) == len(its.rows) == 2
    assert other.identity.host_id not in mine.err and other.identity.host_id in its.err


def test_first_seen_stays(story):
    first = field(story.ask("hosts").rows[0], "exhibit.first_seen")
    story.client.close()
    story.collector.stop()
    story.collector.start()
    assert field(story.ask("hosts").rows[0], "exhibit.first_seen") == first
    story.client = story.lab.client(story.host, story.collector)
    until(lambda: field(story.ask("hosts").rows[0], "exhibit.connected"), what="the host to be back")
    assert field(story.ask("hosts").rows[0], "exhibit.first_seen") == first


def test_later_than_what_is_known_is_3(story):
    answer = story.ask("events", "--since", "0s")
    assert (answer.code, answer.out) == (3, "")
    assert re.search(r"its critical lane is known only up to \S+Z; nothing of the time asked for is known yet", answer.err)


def test_coverage(story):
    assert "has not told its coverage" in story.ask("coverage").out
    row = event_pb2.CoverageRow(tier=1, hook=b"tp_btf/x", state=event_pb2.COVERAGE_FAILED, reason=b"no BTF",
                                **{"class": event_pb2.CLASS_EXEC})
    story.client.put(story.host.batch([classed(event_pb2.ACTION_COVERAGE, 0, event_pb2.CLASS_AGENT,
                                               coverage=event_pb2.Coverage(rows=[row]))], lane=CRITICAL))
    (row,) = story.ask("coverage").rows
    assert field(row, "exhibit.class") == "exec"
    assert field(row, "exhibit.coverage.state") == "failed"
    assert field(row, "exhibit.coverage.reason") == "no BTF"


def test_a_tail_shows_what_arrives(story):
    tail = story.cli.popen("tail", "--host", story.name, "--process", "probe")
    shown = []
    try:
        # The tail is open when what is sent comes out of it; what was sent before is not for it.
        for i in range(100):
            story.client.put(story.host.execs(1, b"live", first=i))
            os.set_blocking(tail.stdout.fileno(), False)
            until_line = time.monotonic() + 0.3
            while time.monotonic() < until_line and not shown:
                shown += tail.stdout.readlines()
                time.sleep(0.02)
            if shown:
                break
        assert shown and b"live-" in shown[0]
        # The other lane is known from then on, too.
        story.client.put(story.host.creates(1, b"/live/%d"))
    finally:
        tail.send_signal(signal.SIGINT)
        _, said = tail.communicate(timeout=20)
    assert tail.returncode == 0
    assert re.fullmatch(rb"complete for 1 host, 2\d{3}-\S+Z to 2\d{3}-\S+Z\n", said), said


def test_a_tail_without_rows_is_1(story):
    """Stopped before anything came: it says for which time that is the whole truth, which does not reach back
    before the host's record begins."""
    began = min(field(row, "@timestamp") for row in story.ask("events", "--limit", "0").rows)[:19].encode()
    tail = story.cli.popen("tail", "--host", story.name, "--process", "nosuch", "--since", "10m")
    time.sleep(1)
    tail.send_signal(signal.SIGTERM)
    out, said = tail.communicate(timeout=20)
    assert (tail.returncode, out) == (1, b""), said
    assert said.startswith(b"complete for 1 host, " + began), said


def test_a_reader_that_leaves_ends_it_quietly(story):
    command = " ".join(map(str, story.cli.command("events", "--host", story.name, "--limit", "0")))
    done = subprocess.run(["bash", "-c", f"{command} 2>&1 >/dev/full; echo $?"], capture_output=True, text=True, timeout=30)
    assert "cannot write to standard output" in done.stdout and done.stdout.endswith("2\n")
    for _ in range(5):
        story.client.put(story.host.creates(400, b"/many/%d"))
    done = subprocess.run(["bash", "-c", f"{command} 2>err.txt | head -n 1 | wc -l; cat err.txt"], capture_output=True,
                          text=True, timeout=30, cwd=story.lab.dir)
    assert done.stdout.splitlines()[0] == "1"
    assert "cannot" not in done.stdout


def test_gaps_are_3_where_they_matter(story):
    gap = event_pb2.Gap(where=event_pb2.GAP_RING, count=12, from_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                        to_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME), cpu=1, **{"class": event_pb2.CLASS_EXEC})
    story.client.put(story.host.batch([classed(event_pb2.ACTION_GAP, 0, event_pb2.CLASS_AGENT, gap=gap)], lane=CRITICAL, gaps=1))
    answer = story.ask("events", "--action", "exec")
    assert answer.code == 3 and answer.rows
    assert re.search(rf"^  {story.name}: 12 exec events lost in the kernel's ring, \S+Z to \S+Z$", answer.err, re.M)
    assert story.ask("events", "--action", "exec", "--process", "nosuch").code == 3
    assert story.ask("events", "--action", "connect").code == 0
    (row,) = story.ask("hosts").rows
    assert (field(row, "exhibit.gaps"), field(row, "exhibit.lost")) == (1, 12)


def test_a_listing_beside_a_gap_is_3(story):
    """A gap of the last day, or of the time asked for, belongs to what a listing says of its hosts."""
    told = rf"^  {story.name}: 12 exec events lost in the kernel's ring, \S+Z to \S+Z$"
    for verb in ("hosts", "coverage", "status"):
        answer = story.ask(verb)
        assert answer.code == 3 and answer.rows, verb
        assert re.search(told, answer.err, re.M), answer.err
        assert story.ask(verb, "--since", "2h").code == 3
    soon = story.ask("hosts", "--since", "0s")
    assert soon.code == 3 and "nothing of the time asked for is known yet" in soon.err and not re.search(told, soon.err, re.M)
    before = story.ask("hosts", "--until", "2h")
    assert before.code == 1, before.err
    assert re.fullmatch(r"complete for 0 hosts, \S+ to \S+Z; no host was recorded then\n", before.err), before.err


def test_a_tail_tells_of_the_gaps_of_its_time(story):
    tail = story.cli.popen("tail", "--host", story.name, "--action", "exec", "--since", "1h")
    assert tail.stdout.readline()
    tail.send_signal(signal.SIGINT)
    _, said = tail.communicate(timeout=20)
    assert tail.returncode == 3
    assert b": 12 exec events lost in the kernel's ring" in said, said


def test_a_silent_host_is_3(story):
    """Last: the host leaves."""
    past = story.ask("events", "--action", "connect", "--until", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600)))
    assert past.code == 1, past.err
    story.client.close()
    until(lambda: field(story.ask("hosts").rows[0], "exhibit.connected") is False, what="the host to be away")
    answer = story.ask("events", "--action", "connect")
    assert answer.code == 3 and len(answer.rows) == 1
    assert re.search(r"the host is not connected: its bulk lane is known only up to \S+Z", answer.err)
