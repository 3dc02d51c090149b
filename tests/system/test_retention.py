# SPDX-License-Identifier: Apache-2.0
"""Old segments are removed whole, by size and by age; what is left says so under the ledger's signature."""
import os
import re
import time

import pytest

import event_pb2
from basics import until
from wire import CRITICAL, Client, event, exec_process


def write(host, client, batches, age_ns=0):
    """Batches that zstd cannot shrink, each about 100 KiB."""
    for _ in range(batches):
        events = [event(event_pb2.ACTION_CREATE, file=event_pb2.File(path=b"/r/" + os.urandom(300)),
                        **{"class": event_pb2.CLASS_FILE_OPEN}) for _ in range(300)]
        client.put(host.batch(events, [exec_process(7, b"w", [b"w"], start_ns=7)], age_ns=age_ns))


def start_child(host, client):
    """init, and a child that it runs now; the child's pid."""
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    child = exec_process(300, b"child", [b"child"], start_ns=now)
    child.parent.CopyFrom(event_pb2.ImageKey(pid=1, start_ns=1000, exec_id=1))
    exec_class = {"class": event_pb2.CLASS_EXEC}
    client.put(host.batch([event(event_pb2.ACTION_PROCESS, 1, flags=1, **exec_class),
                           event(event_pb2.ACTION_EXEC, 2, exec=event_pb2.Exec(filename=b"/bin/child"), **exec_class)],
                          [exec_process(1, b"init", [b"init"], start_ns=1000), child], lane=CRITICAL))
    return 300


def segments(collector):
    return sorted(path.name for path in collector.store.rglob("*.seg") if not path.name.startswith("open-"))


def told_with_the_rest(cli, by):
    """Lawful, and still not there: an answer that reaches so far back says so, once."""
    answer = cli.run("events", "--action", "create", "--limit", "0", "--json")
    assert answer.code == 3
    told = re.findall(rf"removed by retention \({by}\), (\d+) events between \S+Z and \S+Z", answer.err)
    assert len(told) == 1, answer.err
    assert int(told[0]) + len(answer.rows) == 61 * 300


@pytest.mark.parametrize("by", ["size", "age"])
def test_removes_whole_segments_and_signs_for_it(by, lab):
    collector = lab.collector(store__segment_bytes="1MiB")
    host = lab.host()
    with Client(host, collector.address, lab.site.order_ca) as client:
        write(host, client, 60)
    before = segments(collector)
    assert len(before) >= 4
    collector.stop()
    if by == "age":
        time.sleep(1.5)
        collector.options["store.retain-age"] = "1s"
    else:
        collector.options["store.retain-bytes"] = "3MiB"
    collector.start()
    until(lambda: before[0] not in segments(collector), 60, "a segment to be removed")
    left = set(segments(collector)) & set(before)
    assert left == set(before[len(before) - len(left):]), "the oldest go first"
    cli = lab.cli(collector)
    with Client(host, collector.address, lab.site.order_ca) as client:
        write(host, client, 1)
        client.send(host.idle(CRITICAL))
        # Removed lawfully, and the newest five are all here: nothing is missing.
        answer = until(lambda: a if (a := cli.run("events", "--action", "create", "--limit", "5", "--json")).code != 3
                       else None, 20, "a complete answer")
        began_after = start_child(host, client)
        tree = until(lambda: a if (a := cli.run("tree", "--host", host.identity.host_id, "--pid", str(began_after),
                                                "--json")).code != 3 else None, 20, "a complete tree")
        assert tree.code == 0 and len(tree.rows) == 2, tree.err
        # Of what lived all the time something may be gone.
        assert cli.run("tree", "--host", host.identity.host_id, "--pid", "1").code == 3
    assert answer.code == 0, answer.err
    assert len(answer.rows) == 5
    told_with_the_rest(cli, by)
    collector.stop()  # what was removed is known after a start, too
    collector.start()
    told_with_the_rest(cli, by)
    if by == "size":
        until(lambda: sum(p.stat().st_size for p in collector.store.rglob("*.seg")) <= 4.2 * (1 << 20), 60, "3 MiB")
    collector.stop()
    collector.check()


def test_removal_without_a_record_is_damage(lab):
    """Who deletes a segment by hand is found out."""
    collector = lab.collector(store__segment_bytes="1MiB")
    host = lab.host()
    with Client(host, collector.address, lab.site.order_ca) as client:
        write(host, client, 40)
    collector.stop()
    victim = next(collector.store.rglob(segments(collector)[1]))
    victim.unlink()
    done = collector.offline("check")
    assert done.returncode == 1
    assert "missing" in done.stdout
