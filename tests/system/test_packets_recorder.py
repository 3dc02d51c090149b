# SPDX-License-Identifier: Apache-2.0
"""The flight recorder: what was before the order, where it goes over into a capture, what was overwritten."""
import json
import os
import re
import signal
import struct
import subprocess
import time

import pytest

import pcapng_reader
from basics import BUILD, until
from test_acquire import DRIVER, acquire, notes
from test_packets import OURS, V4, Flood, judge, net, pytestmark, sh, tshark

assert net and pytestmark  # its fixture, and where it can run


class Recorder:
    def __init__(self, size, snap=96):
        self.process = subprocess.Popen([BUILD / "tests/driver_recorder", str(size), str(snap)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "recording\n"

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def begin(self, folder, *words):
        quoted = " ".join(f"'{w}'" for w in ("packets", folder, *words))
        self.process.stdin.write(f"shell exec {DRIVER} {quoted}\n")
        self.process.stdin.flush()

    def close(self):
        self.process.communicate(timeout=20)
        assert self.process.returncode == 0


@pytest.fixture
def recorder(request):
    recorder = Recorder(*request.param)
    yield recorder
    recorder.close()


def numbers_of(path, port):
    """Of numbered datagrams as they were sent, in the file's order."""
    found = []
    for _, _, _, data, options in pcapng_reader.read(path).packets:
        if options[2][0] & 3 == 2 and data[25] == 17 and struct.unpack_from(">H", data, 36)[0] == port:
            found.append(struct.unpack_from("<Q", data, 44)[0])
    return found


@pytest.mark.parametrize("recorder", [(256 << 20,)], indirect=True)
def test_no_seam(net, recorder, tmp_path):
    """What was before the order, and on: every number once, in order, and whole once the capture itself sees them."""
    flood = Flood(net, 0, 1 << 40, size=400, rate=40000, seconds=7)
    flood.go()
    time.sleep(3)
    recorder.begin(tmp_path / "out", "before=60", "seconds=2", f"net-ns={net.inode(0)}")
    assert recorder.process.stdout.readline() == "0\n"
    sent = flood.sent()
    flood.end()
    said, _ = notes(tmp_path / "out")
    numbers = numbers_of(tmp_path / "out/capture.pcapng", flood.port)
    assert numbers == list(range(len(numbers))), "gaps or duplicates"
    assert sent > len(numbers) > sent / 7 * 4
    assert said["recorder.lapped"] == 0 and said["recorder.before_ns"] > 2e9
    assert said["packets.engine"] == "recorder, cgroup_skb" and "recorder.seen_by_both" in said
    assert said["packets.seen"] == said["packets.received"] == said["packets.written"] and said["packets.lost"] == 0
    file = pcapng_reader.read(tmp_path / "out/capture.pcapng")
    ids = [pcapng_reader.u64(options[5]) for *_, options in file.packets]
    assert len(set(ids)) == len(ids)
    times = [ns for _, ns, *_ in file.packets]
    assert times == sorted(times) and said["packets.out_of_order"] == 0
    # First what the recorder keeps, then all bytes; where both are seen beginning they alternate for a moment.
    lengths = [len(data) for _, _, length, data, _ in file.packets if length == 16 + 28 + 400]
    assert set(lengths) == {16 + 96, 16 + 28 + 400}
    assert lengths.index(444) > 2 * 40000 and lengths[-2 * 40000:].count(112) == 0
    assert len(lengths) - lengths.index(444) > 2 * 40000 and lengths[lengths.index(444):].count(112) < 4000
    assert {snap for _, snap, _ in file.interfaces} == {262144}


@pytest.mark.parametrize("recorder", [(1 << 20,)], indirect=True)
def test_lapped_is_counted(net, recorder, tmp_path):
    """A reader that is stopped: what it missed is counted exactly."""
    flood = Flood(net, 0, 1 << 40, rate=20000, seconds=6)
    flood.go()
    # Of one device: the recorder's packets alone.
    recorder.begin(tmp_path / "out", "before=1", "seconds=4", f"net-ns={net.inode(0)}", "interface=lo")
    until(lambda: (tmp_path / "out/capture.clock.jsonl").exists(), 10, "the capture")
    child = int(sh("pgrep", "-P", str(recorder.process.pid)).split()[0])
    time.sleep(1)
    os.kill(child, signal.SIGSTOP)
    time.sleep(1)
    os.kill(child, signal.SIGCONT)
    assert recorder.process.stdout.readline() == "0\n"
    flood.sent()
    flood.end()
    said, rows = notes(tmp_path / "out")
    file = pcapng_reader.read(tmp_path / "out/capture.pcapng")
    ids = [pcapng_reader.u64(options[5]) for *_, options in file.packets]
    assert said["recorder.lapped"] > 1000
    assert len(set(ids)) == len(ids) == said["packets.written"]
    # Every number of the host's packets is here, another's or counted, those before the first and after the last too.
    within = max(ids) - min(ids) + 1 - len(ids)
    assert within - said["recorder.others"] <= said["recorder.lapped"] == said["packets.lost"] <= within + 100
    assert sum(pcapng_reader.u64(s[7]) for s in file.statistics.values()) == said["packets.lost"]
    numbers = numbers_of(tmp_path / "out/capture.pcapng", flood.port)
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("recorder", [(16 << 20,)], indirect=True)
def test_its_users_serve_a_capture(net, recorder, tmp_path):
    """A live capture beside a recorder takes the users of sockets from it."""
    server = net.actor(1, "serve", "fork", V4[1])
    port = server.stdout.readline().strip()
    recorder.begin(tmp_path / "out", "seconds=3", f"filter={OURS}")
    time.sleep(1.5)
    client = net.actor(0, "talk", "tcp", V4[1], port)
    truths = [json.loads(line) for line in client.communicate(timeout=20)[0].splitlines() +
              server.communicate(timeout=20)[0].splitlines()]
    assert recorder.process.stdout.readline() == "0\n"
    right, none, wrong = judge(tmp_path / "out/capture.pcapng", truths)
    assert (none, wrong) == (0, []) and right > 20
    assert not any("how=found" in row[0] for row in tshark(tmp_path / "out/capture.pcapng", "frame.comment"))


def test_span_is_told():
    recorder = Recorder(16 << 20)
    assert re.fullmatch(r"reaches back \d+ ms: \d+ packets of 96 bytes at most", recorder.ask("span"))
    recorder.close()


def test_no_recorder_is_said(tmp_path):
    acquire("packets", tmp_path / "out", "before=10", "seconds=1", "filter=host 192.0.2.1")
    _, rows = notes(tmp_path / "out")
    assert any("no flight recorder" in row.get("warning", "") and row["lacking"] for row in rows)
