# SPDX-License-Identifier: Apache-2.0
"""Either side killed, stopped or cut off: every acknowledged batch is stored exactly once, and at the end
nothing is missing."""
import os
import random
import re
import signal
import subprocess
import time

import pytest

from activity import Execs, markers, outside_gaps, run, settle
from basics import count, until
from daemons import field
from proxy import Proxy
from senders import Sender
from wire import Client


def test_collector_killed_under_load(lab):
    """SIGKILL at random moments while four hosts stream."""
    random.seed(11)
    collector = lab.collector(store__segment_bytes="1MiB")
    senders = [Sender(lab.host(), collector.address, lab.site.order_ca, b"load%d" % i) for i in range(4)]
    for sender in senders:
        sender.start()
    for _ in range(count(3, 30)):
        time.sleep(random.uniform(0.3, 1.5))
        collector.kill()
        time.sleep(random.uniform(0, 0.3))
        collector.start()
    time.sleep(0.5)
    cli = lab.cli(collector)
    for i, sender in enumerate(senders):
        sent = sender.finish()
        assert sender.connections > 1
        found = markers(cli, f"load{i}")
        assert found == {f"load{i}-{n}": 1 for n in range(sent)}
    collector.stop()
    collector.check()


def test_batch_sent_again_is_stored_once(lab):
    """At least once on the wire, once in the store: over one stream, over two, and after a restart."""
    collector, host = lab.collector(), lab.host()
    batches = [host.execs(5, b"again", first=5 * i) for i in range(3)]
    for _ in range(2):
        with Client(host, collector.address, lab.site.order_ca) as client:
            for batch in batches:
                client.put(batch)
            for batch in batches:
                client.send(batch)
            until(lambda: [a.number for a in client.acks].count(3) >= 2, 20, "the second acknowledgement")
            assert all(a.header_hash == batches[a.number - 1].hash for a in client.acks)
        collector.kill()
        collector.start()
    assert markers(lab.cli(collector), "again") == {f"again-{n}": 1 for n in range(15)}


def test_either_side_stopped(lab):
    """SIGSTOP of the collector, then SIGCONT: all that was sealed meanwhile arrives."""
    collector = lab.collector()
    sender = Sender(lab.host(), collector.address, lab.site.order_ca, b"stopped")
    sender.start()
    until(lambda: sender.acknowledged_events > 0, 20, "the first acknowledgement")
    collector.signal(signal.SIGSTOP)
    time.sleep(count(3, 60))
    before = sender.acknowledged_events
    collector.signal(signal.SIGCONT)
    until(lambda: sender.acknowledged_events > before, 60, "an acknowledgement after SIGCONT")
    sent = sender.finish()
    assert markers(lab.cli(collector), "stopped") == {f"stopped-{n}": 1 for n in range(sent)}


# ---- the real agent ----------------------------------------------------------------------------------

def test_agent_killed_under_execs(need_bpf, lab):
    """The record shows every exec, or a gap that covers it."""
    collector = lab.collector()
    agent, cli = lab.agent(collector), lab.cli(collector)
    settle(cli, "begin")
    execs = Execs("killed")
    execs.start()
    for _ in range(count(2, 10)):
        time.sleep(1)
        agent.kill()
        time.sleep(0.3)
        agent.start()
    time.sleep(1)
    n = execs.end()
    settle(cli, "end")
    found = markers(cli, "killed")
    assert set(found.values()) <= {1}
    missing = missing_execs(execs, found)
    assert missing, "the agent was down: something must be missing, or this test measures nothing"
    assert outside_gaps(cli, missing) == [], f"of {n} execs these are neither there nor in a gap"
    assert len(found) > n // 4


def missing_execs(execs, found):
    """When each of those that are not in the record began and ended."""
    return [times for i, times in enumerate(execs.times) if f"{execs.marker}-{i}" not in found]


@pytest.mark.parametrize("who", ["uplink", "sense", "collector"])
def test_agent_goes_on_after_sigstop(who, need_bpf, lab):
    """Nothing is lost while one process stands still: ring, journal and uplink hold it. What a busy host does
    in the meantime may be more than the ring holds: that is a gap."""
    collector = lab.collector()
    agent, cli = lab.agent(collector), lab.cli(collector)
    settle(cli, "begin")
    stopped = {"sense": agent.pid, "collector": collector.pid, "uplink": agent.uplink()}[who]
    execs = Execs(f"stop-{who}", pause=0.005)
    execs.start()
    os.kill(stopped, signal.SIGSTOP)
    time.sleep(count(2, 30))
    os.kill(stopped, signal.SIGCONT)
    time.sleep(0.5)
    n = execs.end()
    settle(cli, "end", 90)
    found, missing = markers(cli, f"stop-{who}"), []
    if who == "sense":
        missing = missing_execs(execs, found)
    assert outside_gaps(cli, missing) == []
    assert set(found.values()) == {1} and len(found) == n - len(missing)


def test_agent_first(need_bpf, lab):
    """The agent starts without a collector, and delivers what it saw once there is one."""
    collector = lab.collector()
    port = collector.port
    collector.stop()
    agent = lab.agent(collector)
    run("before-collector")
    time.sleep(1)
    assert agent.running() and collector.port == port
    collector.start()
    cli = lab.cli(collector)
    until(lambda: markers(cli, "before"), 60, "what happened before the collector was there")


def test_network_cut(need_bpf, lab):
    """Silence on the wire, then connections that break, then the same network again."""
    collector = lab.collector()
    proxy = Proxy(collector.port)
    try:
        agent, cli = lab.agent(collector, address=proxy.address), lab.cli(collector)
        settle(cli, "begin")
        execs = Execs("cut", pause=0.02)
        execs.start()
        proxy.cut()
        time.sleep(count(4, 60))
        proxy.mend()
        time.sleep(0.5)
        proxy.reset()
        time.sleep(1)
        n = execs.end()
        settle(cli, "end", 90)
        assert markers(cli, "cut") == {f"cut-{i}": 1 for i in range(n)}
        assert agent.running()
    finally:
        proxy.close()


def test_stop_delivers_the_last_batch(need_bpf, lab):
    """SIGTERM: the last batch is sealed and sent, the end of the agent is an event, the exit status 0."""
    collector = lab.collector()
    agent, cli = lab.agent(collector), lab.cli(collector)
    settle(cli, "begin")
    run("last-words")
    assert agent.stop() == 0
    assert markers(cli, "last") == {"last-words": 1}
    assert cli.events("--action", "agent_stop")


def test_the_launcher_killed(need_bpf, lab):
    """The agent ends and says why, and from when on nothing is watched."""
    agent = lab.agent(lab.collector())
    os.kill(agent.launcher(), signal.SIGKILL)
    agent.process.wait(30)
    assert re.search(r"the launcher of the uplink ended: killed by signal 9; the agent ends, too, and a gap begins at 2\d{3}-",
                     agent.log), agent.tail()


def test_who_ended_while_the_agent_was_down_does_not_run(need_bpf, lab):
    """Nobody saw it end: the stock that the agent takes when it comes back does not list it."""
    collector = lab.collector()
    agent, cli = lab.agent(collector), lab.cli(collector)
    ends, stays = (subprocess.Popen(["sleep", "600"]) for _ in range(2))
    try:
        def tree(*words):
            answer = cli.run("tree", "--host", agent.host.host_id, "--pid", str(os.getpid()), *words)
            return {field(row, "process.pid"): row for row in answer.rows}
        until(lambda: {ends.pid, stays.pid} <= set(tree()), 30, "both processes in the tree")
        agent.kill()
        ends.kill()
        ends.wait(10)
        agent.start()
        until(lambda: field(tree().get(ends.pid, {}), "exhibit.tree.ended_unwatched"), 30, "its end to be known")
        all_of_them, now = tree(), tree("--at", "0s")
        assert not field(all_of_them[ends.pid], "process.end")
        assert not field(all_of_them[stays.pid], "exhibit.tree.ended_unwatched")
        assert stays.pid in now and ends.pid not in now
    finally:
        for process in (ends, stays):
            process.kill()
            process.wait(10)
