# SPDX-License-Identifier: Apache-2.0
"""The journal disappears, comes back from an old copy, or runs full: each shows, nothing is made up."""
import shutil
import subprocess
import time

from activity import arrive, markers, run
from daemons import field
from wire import Client, Host


def epochs(cli):
    """Epochs in the order of their first event; event.id holds them."""
    seen = []
    for row in cli.events("--action", "agent_start"):
        epoch = row["event"]["id"].split("/")[2]
        if epoch not in seen:
            seen.append(epoch)
    return seen


def test_deleted_journal_is_a_new_epoch(need_bpf, lab):
    collector = lab.collector()
    agent, cli = lab.agent(collector), lab.cli(collector)
    arrive(cli, "deleted-0")
    agent.stop()
    shutil.rmtree(agent.state / "journal")
    agent.start()
    arrive(cli, "deleted-1")
    assert len(epochs(cli)) == 2
    assert markers(cli, "deleted") == {"deleted-0": 1, "deleted-1": 1}
    assert field(cli.run("hosts", "--json").rows[0], "exhibit.conflicts") == 0
    agent.stop()
    collector.stop()
    collector.check()


def test_restored_journal_is_a_conflict(need_bpf, lab):
    """Numbers that were used already come again with other contents: both kept, shown, alarm."""
    collector = lab.collector()
    agent, cli = lab.agent(collector), lab.cli(collector)
    arrive(cli, "restored-0")
    agent.stop()
    shutil.copytree(agent.state / "journal", lab.dir / "copy")
    agent.start()
    arrive(cli, "restored-1")
    agent.stop()
    shutil.rmtree(agent.state / "journal")
    shutil.copytree(lab.dir / "copy", agent.state / "journal")
    agent.start()
    arrive(cli, "restored-2")
    assert markers(cli, "restored") == {f"restored-{i}": 1 for i in range(3)}
    collector.wait_log("ALARM two different batches carry one number")
    assert field(cli.run("hosts", "--json").rows[0], "exhibit.conflicts") > 0
    answer = cli.run("events", "--action", "exec", "--json")
    assert answer.code == 3
    assert "came with a number that was taken and another content; both are kept" in answer.err


def test_forged_twin_of_a_batch_is_a_conflict(lab):
    """The same with a client of our own: two batches, one number, both signed."""
    collector, identity = lab.collector(), lab.host_identity()
    one = Host(identity)
    two = Host(identity, boot_id=one.boot_id, epoch=one.epoch)
    with Client(one, collector.address, lab.site.order_ca) as client:
        client.put(one.execs(2, b"twin", first=0))
        client.send(two.execs(2, b"twin", first=2))
        client.wait(lambda: len(client.acks) == 2, "the acknowledgement of the twin")
    assert markers(lab.cli(collector), "twin") == {f"twin-{i}": 1 for i in range(4)}
    assert "ALARM two different batches carry one number" in collector.log
    collector.stop()
    done = collector.offline("check")
    assert done.returncode == 0 or "conflict" in done.stdout, done.stdout


def test_full_journal_drops_the_oldest_bulk_and_says_so(need_bpf, lab, tmp_path):
    """2 MiB for an outage full of file events: every exec arrives, what bulk lost is told, the chain holds."""
    collector = lab.collector()
    agent, cli = lab.agent(collector, journal__max_bytes="2MiB"), lab.cli(collector)
    arrive(cli, "full-0")
    collector.stop()
    folder = tmp_path / "flood"
    folder.mkdir()
    code = (f"import os\nfor i in range(60000):\n"
            f"    p = '{folder}/' + os.urandom(40).hex(); os.close(os.open(p, os.O_CREAT | os.O_WRONLY)); os.unlink(p)")
    flood = subprocess.Popen(["/usr/bin/python3", "-c", code])
    execs = 0
    while flood.poll() is None:
        execs += 1
        run(f"full-{execs}")
        time.sleep(0.1)
    assert flood.returncode == 0
    time.sleep(2)
    collector.start()
    arrive(cli, f"full-{execs + 1}", 90)
    assert markers(cli, "full") == {f"full-{i}": 1 for i in range(execs + 2)}
    stored = len(cli.events("--action", "create", "--path", f"{folder}/*", seconds=120))
    assert stored < 60000, "the journal held it all: this test measures nothing"
    answer = cli.run("events", "--action", "create", "--limit", "1", "--json")
    assert answer.code == 3
    assert "journal" in answer.err, answer.err
    agent.stop()
    collector.stop()
    collector.check()
