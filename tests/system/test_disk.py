# SPDX-License-Identifier: Apache-2.0
"""Disks that are full, torn or wrong, on either side: said in one sentence, and nothing acknowledged is lost."""
import os
import shutil
import subprocess
import time

import pytest

import event_pb2
from activity import markers, outside_gaps, run
from basics import until
from daemons import field
from wire import Client, Refused, event, exec_process

MiB = 1 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Take all that is left; the file to remove again."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(65536))
        except OSError:
            pass
        try:
            while True:
                f.write(bytes(512))
        except OSError:
            pass
    return ballast


@pytest.mark.parametrize("reserve", ["0", "4MiB"])
def test_collector_disk_full(reserve, lab, small_disk):
    """Nothing is acknowledged that is not stored; when there is room again, all comes in once."""
    collector = lab.collector(store__dir=small_disk / "store", store__reserve=reserve)
    host = lab.host()
    with Client(host, collector.address, lab.site.order_ca) as client:
        client.put(host.execs(5, b"room"))
    ballast = fill(small_disk)
    refused = host.execs(5, b"room", first=5)
    with Client(host, collector.address, lab.site.order_ca) as client:
        with pytest.raises(Refused) as ended:
            client.put(refused)
        assert client.acks == []
    assert "the collector cannot store" in ended.value.sentence
    assert collector.running()
    assert "the collector cannot store" in collector.log
    ballast.unlink()
    with Client(host, collector.address, lab.site.order_ca) as client:
        client.put(refused)
        client.put(host.execs(5, b"room", first=10))
    assert markers(lab.cli(collector), "room") == {f"room-{i}": 1 for i in range(15)}
    collector.stop()
    collector.check()


def test_agent_disk_full(need_bpf, lab, small_disk):
    """No room for the journal: the agent lives on, the loss is a gap that covers it, and later events flow."""
    collector = lab.collector()
    agent = lab.agent(collector, state__dir=small_disk / "state")
    cli = lab.cli(collector)
    run("before-0")
    until(lambda: markers(cli, "before"), 30, "the first exec")
    collector.stop()
    ballast = fill(small_disk)
    times = []
    for i in range(300):
        began = time.time()
        run(f"during-{i}")
        times.append((began, time.time()))
    time.sleep(3)
    assert agent.running(), agent.tail()
    assert "No space left" in agent.log, agent.tail()
    ballast.unlink()
    time.sleep(2)
    run("after-0")
    collector.start()
    until(lambda: markers(cli, "after"), 60, f"the exec after there was room:\n{agent.tail()}")
    stored = markers(cli, "during")
    missing = [each for i, each in enumerate(times) if f"during-{i}" not in stored]
    assert missing, "all of it had room somewhere: this test measures nothing"
    assert outside_gaps(cli, missing, "journal") == [], f"of {len(missing)} missing execs"


# ---- damaged files ------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def good_store(module_lab):
    """A store with sealed segments, their indexes, an open segment and a catalog."""
    collector = module_lab.collector(store__segment_bytes="1MiB")
    host = module_lab.host()
    with Client(host, collector.address, module_lab.site.order_ca) as client:
        for i in range(40):
            client.put(host.batch([event(event_pb2.ACTION_CREATE, file=event_pb2.File(path=os.urandom(300)),
                                         **{"class": event_pb2.CLASS_FILE_OPEN}) for _ in range(400)],
                                  [exec_process(9, b"writer", [b"writer"], start_ns=5)]))
    collector.stop()
    collector.check()
    return collector


def store_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 0
                  and path.name != "lock" and not path.name.endswith(("-wal", "-shm")))


def flip(path, at):
    """Change one bit."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x10]))
    path.chmod(mode)


@pytest.mark.parametrize("suffix", [".seg", ".idx"])
@pytest.mark.parametrize("where", [0.0, 0.3, 0.999])
def test_check_names_a_flipped_bit(suffix, where, good_store, lab, tmp_path):
    collector = lab.collector(start=False)
    shutil.copytree(good_store.store, collector.store)
    victims = [path for path in store_files(collector.store)
               if path.suffix == suffix and not path.name.startswith("open-")]
    assert len(victims) > 2
    for victim in victims[:2] + victims[-1:]:
        at = min(int(victim.stat().st_size * where), victim.stat().st_size - 1)
        flip(victim, at)
        done = collector.offline("check")
        assert done.returncode == 1, f"{victim.name} at {at}: {done.stdout}{done.stderr}"
        named = [line for line in done.stdout.splitlines() if victim.name in line]
        assert named, done.stdout
        # An index can be built anew, so its name is enough; in a segment the first bad byte counts.
        assert suffix == ".idx" or any(char.isdigit() for char in named[0].split(victim.name)[1]), named[0]
        flip(victim, at)
    assert collector.offline("check").returncode == 0


def test_flipped_bit_in_the_newest_frame_shows(lab):
    """The newest frame of the open segment was acknowledged, so a bit that flips in it is no torn write: the
    check and the log name it, it keeps its place, and what it held is missed by its number."""
    collector, host = lab.collector(), lab.host()
    batches = [host.execs(5, b"newest", first=5 * i) for i in range(3)]
    with Client(host, collector.address, lab.site.order_ca) as client:
        client.put(batches[0])
        client.put(batches[1])
    collector.stop()
    opened = next(path for path in store_files(collector.store) if path.name.startswith("open-"))
    flip(opened, opened.stat().st_size - 100)
    done = collector.offline("check")
    assert done.returncode == 1, done.stdout
    assert f"{opened.name}': byte " in done.stdout
    collector.start()
    collector.wait_log("stored segment damaged")
    assert "torn end" not in collector.log
    with Client(host, collector.address, lab.site.order_ca) as client:
        client.put(batches[2])
    cli = lab.cli(collector)
    answer = cli.run("events", "--action", "exec", "--json")
    assert answer.code == 3
    assert "has not arrived" in answer.err or "have not arrived" in answer.err
    assert markers(cli, "newest") == {f"newest-{i}": 1 for i in (0, 1, 2, 3, 4, 10, 11, 12, 13, 14)}
    status = cli.run("status", "--json").rows[0]["exhibit"]["collector"]
    assert status["damaged"] == 1 and status["cut_files"] == 0
    collector.stop()
    done = collector.offline("check")
    assert done.returncode == 1 and ".seg': byte " in done.stdout, done.stdout


def test_damaged_catalog_and_indexes_are_rebuilt(good_store, lab):
    """Everything but the segments can be made again from them."""
    collector = lab.collector(start=False)
    shutil.copytree(good_store.store, collector.store)
    for path in store_files(collector.store):
        if path.suffix == ".idx":
            path.unlink()
        if path.name.startswith("catalog"):
            path.write_bytes(os.urandom(5000))
    done = collector.offline("reindex")
    assert done.returncode == 0, done.stderr
    collector.start()
    rows = lab.cli(collector).events("--action", "create", "--limit", "5")
    assert len(rows) == 5
    collector.stop()
    collector.check()


def test_torn_end_of_the_open_segment(lab):
    """A torn frame is cut off at the start; what was acknowledged before it is all there, and the agent's
    copy of the rest comes in again."""
    collector, host = lab.collector(), lab.host()
    batches = [host.execs(5, b"torn", first=5 * i) for i in range(4)]
    with Client(host, collector.address, lab.site.order_ca) as client:
        for batch in batches[:3]:
            client.put(batch)
    collector.kill()
    opened = [path for path in store_files(collector.store) if path.name.startswith("open-")]
    assert len(opened) == 1
    with open(opened[0], "ab") as f:
        f.write(os.urandom(777))
    collector.start()
    with Client(host, collector.address, lab.site.order_ca) as client:
        client.put(batches[3])
    assert markers(lab.cli(collector), "torn") == {f"torn-{i}": 1 for i in range(20)}
    status = lab.cli(collector).run("status", "--json").rows[0]["exhibit"]["collector"]
    assert status["cut_files"] == 1 and status["cut_bytes"] == 777 and status["damaged"] == 0
    kept = [path for path in store_files(collector.store) if path.suffix == ".cut"]
    assert len(kept) == 1 and kept[0].stat().st_size == 777
    collector.stop()
    collector.check()
    assert f"{kept[0].name}': 777 bytes" in collector.offline("check").stdout


def journal_with_batches(lab):
    """An agent that ended with batches in its journal that no collector has."""
    collector = lab.collector()
    agent = lab.agent(collector)
    run("journal-known")
    until(lambda: markers(lab.cli(collector), "journal"), 30, "the first exec")
    collector.stop()
    for i in range(30):
        run(f"journal-{i}")
    time.sleep(2)
    agent.kill()
    return collector, agent


def newest_journal_file(agent):
    return max((agent.state / "journal").glob("*.jrn"), key=lambda path: path.stat().st_mtime_ns)


def test_journal_torn_frame(need_bpf, lab):
    """The next frame half written when the power went: the agent starts, cuts it off, sends the rest."""
    collector, agent = journal_with_batches(lab)
    newest = newest_journal_file(agent)
    frame = newest.read_bytes()[64:64 + 90]
    with open(newest, "ab") as file:
        file.write(frame)
    agent.start()
    assert "torn" in agent.log and "ALARM" not in agent.log
    collector.start()
    run("after-torn")
    cli = lab.cli(collector)
    until(lambda: markers(cli, "after"), 60, f"the agent to go on:\n{agent.tail()}")
    gaps = {field(gap, "exhibit.gap.where") for gap in cli.events("--action", "gap")}
    assert gaps and "journal" not in gaps


def test_journal_end_that_was_durable(need_bpf, lab):
    """The last frame was synced, and somebody cut it off: that is a loss, counted and told, and nothing is cut."""
    collector, agent = journal_with_batches(lab)
    newest = newest_journal_file(agent)
    os.truncate(newest, newest.stat().st_size - 5)
    size = newest.stat().st_size
    agent.start()
    assert "ALARM journal files are damaged" in agent.log and "torn" not in agent.log
    assert newest.stat().st_size == size
    collector.start()
    run("after-loss")
    cli = lab.cli(collector)
    until(lambda: markers(cli, "after"), 60, f"the agent to go on:\n{agent.tail()}")
    told = [gap for gap in cli.events("--action", "gap") if field(gap, "exhibit.gap.where") == "journal"]
    assert any("1 of them not known to be at the collector" in field(gap, "exhibit.gap.reason") for gap in told), told


JOURNAL_KINDS = ["critical-*.jrn", "bulk-*.jrn", "bulk-*.tomb", "epoch", "acks", "marks"]


@pytest.fixture(scope="module")
def full_journal(module_lab):
    """A journal with every kind of file in it, of which the collector has only the beginning: its folder, its host,
    and which markers it holds."""
    lab = module_lab
    collector = lab.collector()
    agent = lab.agent(collector, journal__max_bytes="2MiB")
    run("flips-0")
    until(lambda: markers(lab.cli(collector), "flips"), 30, "the first exec")
    collector.stop()
    for i in range(1, 20):
        run(f"flips-{i}")
    folder = agent.state / "journal"

    def full():
        for i in range(2000):
            (agent.dir / ".." / f"written-{i}-{os.urandom(8).hex()}").resolve().write_bytes(b"x")
        return list(folder.glob("bulk-*.tomb"))
    until(full, 120, "a tombstone")
    agent.stop()
    assert all(list(folder.glob(kind)) for kind in JOURNAL_KINDS), list(folder.iterdir())
    return folder, agent.host, {f"flips-{i}" for i in range(1, 20)}


@pytest.mark.parametrize("kind", JOURNAL_KINDS)
def test_journal_flipped_bit(need_bpf, kind, full_journal, lab):
    """One bit in the middle of each kind of file: what cannot be read is named, kept aside and told as a gap, what
    can be read arrives once, and the agent goes on."""
    folder, host, known = full_journal
    collector = lab.collector()
    agent = lab.agent(collector, host=host, start=False, journal__max_bytes="2MiB")
    shutil.copytree(folder, agent.state / "journal")
    victim = max((agent.state / "journal").glob(kind), key=lambda path: path.stat().st_size)
    flip(victim, victim.stat().st_size // 2)
    agent.start()
    run("after-flip-0")
    cli = lab.cli(collector)
    until(lambda: markers(cli, "after-flip"), 60, f"the agent to go on:\n{agent.tail()}")
    found = markers(cli, "flips")
    assert set(found.values()) <= {1}, "nothing twice"
    if victim.suffix in (".jrn", ".tomb"):
        assert "ALARM journal files are damaged" in agent.log or "torn" in agent.log, agent.tail()
        gaps = cli.events("--action", "gap")
        assert any(field(gap, "exhibit.gap.where") == "journal" for gap in gaps) or "torn" in agent.log, gaps
    if not kind.startswith("critical"):
        assert known <= set(found), f"{known - set(found)} is lost by a bit in {victim.name}"
