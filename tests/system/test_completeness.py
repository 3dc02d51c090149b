# SPDX-License-Identifier: Apache-2.0
"""What an answer lacks is told: times that nobody watched, events that this collector does not know, numbers that
came twice."""
import re
import time

import event_pb2
from daemons import field
from wire import BULK, CRITICAL, Client, Host, event, exec_process


def both_lanes(host, client, name):
    """One event in each lane, so that both are known up to now."""
    client.put(host.execs(1, name))
    client.put(host.creates(1, b"/" + name + b"/%d"))


def rfc3339(at_ns):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_ns // 10**9)) + f".{at_ns % 10**9:09}Z"


def began_again(lab, first_boot, second_boot, sentence):
    """The host comes back with other numbers: what lies between is not known."""
    collector, identity = lab.collector(), lab.host().identity
    cli = lab.cli(collector)
    before = Host(identity, boot_id=first_boot)
    with Client(before, collector.address, lab.site.order_ca) as client:
        both_lanes(before, client, b"before")
    time.sleep(0.05)
    after = Host(identity, boot_id=second_boot)
    with Client(after, collector.address, lab.site.order_ca) as client:
        began = time.time_ns()
        both_lanes(after, client, b"after")
        answer = cli.run("events", "--host", identity.host_id)
        assert answer.code == 3 and len(answer.rows) == 4
        told = re.findall(rf"^  {identity.host_id}: (.*)$", answer.err, re.M)
        assert len(told) == 1, answer.err
        assert re.fullmatch(rf"nothing is known from \S+Z to \S+Z, between {sentence}", told[0])
        time.sleep(0.03)
        both_lanes(after, client, b"later")
        since = cli.run("events", "--host", identity.host_id, "--since", rfc3339(began + 20_000_000))
        assert since.code == 0, since.err


def test_the_time_between_two_boots_is_told(lab):
    began_again(lab, b"\1" * 16, b"\2" * 16, "two boots")


def test_the_time_between_two_journals_is_told(lab):
    """As when somebody deleted the journal: the agent cannot know of it."""
    began_again(lab, b"\1" * 16, b"\1" * 16, "two journals of one boot")


def test_a_host_that_joins_later_is_named(lab):
    """It is known from a later time on than the others: no fault, but the line must not claim more."""
    collector = lab.collector()
    first, second = lab.host(), lab.host()
    client = lab.client(first, collector)
    both_lanes(first, client, b"first")
    time.sleep(0.05)
    asked = time.time_ns()
    both_lanes(second, lab.client(second, collector), b"second")
    both_lanes(first, client, b"again")
    answer = lab.cli(collector).run("events", "--since", rfc3339(asked))
    assert answer.code == 0, answer.err
    lines = answer.err.splitlines()
    assert re.fullmatch(r"complete for 2 hosts, \S+Z to \S+Z", lines[0]), answer.err
    assert re.fullmatch(rf"  {second.identity.host_id}: recorded only from 2\S+Z on", lines[1]), answer.err
    assert len(lines) == 2, answer.err


def test_an_unknown_action_is_shown_and_counted(lab):
    collector, host = lab.collector(), lab.host()
    cli = lab.cli(collector)
    with Client(host, collector.address, lab.site.order_ca) as client:
        both_lanes(host, client, b"known")
        assert cli.run("events").code == 0
        client.put(host.batch([event(9999), event(9998)], [exec_process(7, b"new", [b"new"])], lane=BULK))
        answer = cli.run("events")
    assert answer.code == 3
    assert [field(row, "event.action") for row in answer.rows].count("unknown") == 2
    assert "2 stored events have an action that this collector does not know; they are shown as unknown" in answer.err


def test_a_number_that_came_twice_is_marked(lab):
    collector, host = lab.collector(), lab.host()
    cli = lab.cli(collector)
    with Client(host, collector.address, lab.site.order_ca) as client:
        both_lanes(host, client, b"first")
        host.previous[CRITICAL] = b""
        client.send(host.batch([event(event_pb2.ACTION_EXEC, exec=event_pb2.Exec(filename=b"other"),
                                      **{"class": event_pb2.CLASS_EXEC})],
                               [exec_process(8, b"other", [b"other"])], lane=CRITICAL, number=1))
        client.put(host.creates(1, b"/later/%d"))
        answer = cli.run("events")
    marks = {field(row, "process.name"): field(row, "exhibit.conflict") for row in answer.rows}
    assert marks == {"probe": None, "writer": None, "other": True}
    assert answer.code == 3
    assert "1 batches of the critical lane came with a number that was taken and another content" in answer.err
