# SPDX-License-Identifier: Apache-2.0
"""Packets where BPF sees none: a packet socket captures them, without whose they are, and says so."""
import os
import signal
import subprocess
import sys
import time

import pytest

import pcapng_reader
from basics import until
from test_acquire import acquire
from test_packets import (TAGGED, V4, Capture, Flood, container, net, pytestmark, play, refusal, sh,
                          tokens, tshark)

SOCKET = "engine=socket"


def warnings(capture):
    return [row["warning"] for row in capture.rows if "warning" in row]


def balance(said):
    return said["packets.written"] + said["packets.filtered"] + said["packets.lost"] + said["packets.after_limit"]


class Here:
    """In place of two network namespaces: the host's own, of which only loopback is used."""
    @staticmethod
    def start(_, *words, **more):
        return subprocess.Popen([*map(str, words)], **more)


def test_host(tmp_path):
    flood, other = Flood(Here, 0, 500, rate=5000), Flood(Here, 0, 500, rate=5000)
    with Capture(tmp_path / "out", SOCKET, f"filter=udp port {flood.port}") as capture:
        for each in (flood, other):
            each.go()
            assert each.sent() == 500
    for each in (flood, other):
        each.end()
    rows = tshark(capture.file, "udp.port", "frame.packet_flags_direction", "frame.comment", "frame.interface_name",
                  "frame.interface_description")
    assert {row[0] for row in rows} == {f"{flood.port},{flood.port}"}
    assert sorted(int(row[1], 0) for row in rows) == [1] * 500 + [2] * 500
    assert {row[2] for row in rows} == {"owner=unknown;"} and {row[3] for row in rows} == {"host@lo"}
    assert {tokens(row[4])["netns"] for row in rows} == {str(os.stat("/proc/self/ns/net").st_ino)}
    said = capture.said
    assert said["packets.engine"] == "af_packet" and said["packets.owners"] == 0
    # What the filter refuses never comes out of the kernel.
    assert said["packets.filtered_by"] == "kernel"
    assert said["packets.seen"] == said["packets.written"] == 1000
    assert warnings(capture) == ["no packet names its process: a packet socket captured them, since it was asked for"]


def test_a_network_namespace(net, tmp_path):
    """All that passes its devices, also what no socket is behind; tools read it."""
    inside, outside = Flood(net, 0, 200, rate=5000), Flood(net, 1, 200, rate=5000)
    with Capture(tmp_path / "out", SOCKET, f"net-ns={net.inode(0)}") as capture:
        before = time.time_ns()
        for flood in (inside, outside):
            flood.go()
            assert flood.sent() == 200
        truths = [t for way in ("tcp", "udp") for t in play(net, way, V4)]
        after = time.time_ns()
    for flood in (inside, outside):
        flood.end()
    assert len(tshark(capture.file, "frame.number", only=f"udp.port == {inside.port}")) == 400
    assert tshark(capture.file, "frame.number", only=f"udp.port == {outside.port}") == []
    for truth in truths:
        assert len(tshark(capture.file, "frame.number", only=f"{truth['protocol']}.port == {truth['port']}")) >= 10
    assert {row[0] for row in tshark(capture.file, "sll.etype", only="arp")} == {"0x0806"}
    assert {row[0] for row in tshark(capture.file, "frame.interface_name")} == {"netns@lo", "netns@veth0"}
    file = pcapng_reader.read(capture.file)
    assert {(link, snap) for link, snap, _ in file.interfaces} == {(113, 262144)}
    # The network itself has things to say before and after.
    assert sum(before < ns < after for _, ns, *_ in file.packets) >= 420
    done = subprocess.run(["tcpdump", "-nr", capture.file], capture_output=True, text=True, timeout=30, check=True)
    assert len(done.stdout.splitlines()) == len(file.packets) == capture.said["packets.seen"] == balance(capture.said)


def test_a_container_with_a_network_of_its_own(net, container, tmp_path):
    folder, name = container

    def enter():
        (folder / "cgroup.procs").write_text(str(os.getpid()))
    flood = Flood(net, 0, 100, rate=5000, before=enter)
    with Capture(tmp_path / "out", SOCKET, f"container={name}", "filter=udp") as capture:
        flood.go()
        assert flood.sent() == 100
    assert len(tshark(capture.file, "frame.number", only=f"udp.port == {flood.port}")) == 200
    assert capture.said["packets.net_ns"] == net.inode(0)
    assert any("other containers in its network namespace" in text for text in warnings(capture))
    # Not whatever namespace is named beside it.
    told = acquire("packets", tmp_path / "beside", SOCKET, "seconds=1", f"container={name}", f"net-ns={net.inode(1)}", status=1)
    assert "cannot tell the packets of a container" in told
    flood.end()


def test_what_takes_owners_is_refused(container, tmp_path):
    folder, name = container
    inside = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: (folder / "cgroup.procs").write_text(str(os.getpid())))
    told = {words: acquire("packets", tmp_path / words.replace("=", "-")[:12], SOCKET, "seconds=1", words, status=1)
            for words in (f"pid={os.getpid()}", f"container={name}", "before=5")}
    shared = acquire("packets", tmp_path / "lo", SOCKET, "seconds=1", f"container={name}", "interface=lo", status=1)
    inside.kill()
    inside.wait()
    assert "cannot tell the packets of a process from others" in told[f"pid={os.getpid()}"]
    for text in (told[f"container={name}"], shared):
        assert "cannot tell the packets of a container that has no network of its own from others" in text
    assert "it was asked for" in told["before=5"]
    assert all(len(text.splitlines()) == 1 for text in told.values())


def test_when_there_is_no_other_way(tmp_path):
    """An old kernel, and a host without cgroup v2: the reason stands in the manifest."""
    for name, before, reason in (
            ("old", ["setarch", "--uname-2.6"], "packets can be seen from Linux 5.12 on: this is 2.6."),
            ("bare", ["unshare", "-m", "sh", "-c", 'umount -R /sys/fs/cgroup && exec "$@"', "sh"],
             "cannot capture packets: cgroup v2 is not mounted")):
        flood = Flood(Here, 0, 50, rate=100)
        with Capture(tmp_path / name, f"filter=udp port {flood.port}", before=before) as capture:
            flood.go()
            assert flood.sent() == 50
        flood.end()
        assert capture.said["packets.engine"] == "af_packet" and capture.said["packets.written"] == 100
        assert capture.said["packets.engine_reason"].startswith(reason)
        assert f"no packet names its process: a packet socket captured them, since {reason}" in warnings(capture)[0]
    text = refusal(tmp_path / "pid", "seconds=1", f"pid={os.getpid()}", before=["setarch", "--uname-2.6"])
    assert "this is 2.6." in text and "cannot tell the packets of a process" in text and "\n" not in text
    text = refusal(tmp_path / "past", "seconds=1", "before=5", before=["setarch", "--uname-2.6"])
    assert "packets can be seen from Linux 5.12 on" in text and "without --before" in text and "\n" not in text


def test_snap(net, tmp_path):
    flood = Flood(net, 0, 100, size=500, rate=5000)
    with Capture(tmp_path / "out", SOCKET, f"net-ns={net.inode(0)}", "filter=udp", "snap=64") as capture:
        flood.go()
        assert flood.sent() == 100
    flood.end()
    file = pcapng_reader.read(capture.file)
    assert len(file.packets) == 200
    assert {(len(data), length) for _, _, length, data, _ in file.packets} == {(16 + 64, 16 + 528)}


@pytest.mark.parametrize("expression, filtered_by, written", [
    ("udp and greater 300", "acquirer", 200), ("udp and less 200", "acquirer", 0), ("udp[8] = 7", "kernel", 2)])
def test_filters_in_the_kernel_and_here(net, tmp_path, expression, filtered_by, written):
    """A filter that the kernel would understand otherwise is asked here."""
    flood = Flood(net, 0, 100, size=300, rate=5000)
    with Capture(tmp_path / "out", SOCKET, f"net-ns={net.inode(0)}", f"filter={expression}") as capture:
        flood.go()
        assert flood.sent() == 100
    flood.end()
    said = capture.said
    assert len(pcapng_reader.read(capture.file).packets) == said["packets.written"]
    assert said["packets.written"] == written
    assert said["packets.filtered_by"] == filtered_by and said["packets.seen"] == balance(said)
    if filtered_by == "kernel":
        assert said["packets.filtered"] == 0


def test_tags_and_giants(net, tmp_path):
    """The VLAN tag that the kernel takes out is back, where an expression asks for it too; frames before segmentation are
    whole."""
    addresses, ip = "ffffffffffff020000000001", "0800" + "45" + "00" * 60
    frames = [addresses + tags + ip for tags in ("8100a064", "88a80007" + "81000064")]
    with Capture(tmp_path / "out", SOCKET, f"net-ns={net.inode(1)}", "interface=veth0", "filter=tcp or vlan") as capture:
        assert net.start(0, sys.executable, "-c", TAGGED, *frames).wait(20) == 0
        play(net, "tcp", V4)
        play(net, "udp", V4)
    file = pcapng_reader.read(capture.file)
    assert {link for link, _, _ in file.interfaces} == {1}
    assert [data.hex() for _, _, _, data, _ in file.packets if data[12] in (0x81, 0x88)] == frames
    assert tshark(capture.file, "vlan.id", only="vlan") == [["100"], ["100"]]
    assert tshark(capture.file, "frame.number", only="udp") == []
    assert len(tshark(capture.file, "frame.number", only="tcp")) >= 10
    assert capture.said["packets.seen"] == balance(capture.said)


def test_losses_are_exact(net, tmp_path):
    """The reader is stopped, the ring runs full: what is missing is counted, in the file and beside it."""
    flood, later = Flood(net, 0, 6000, size=8000, rate=8000), Flood(net, 0, 10)
    with Capture(tmp_path / "out", SOCKET, f"net-ns={net.inode(0)}", "filter=udp") as capture:
        capture.process.send_signal(signal.SIGSTOP)
        flood.go()
        sent = flood.sent()
        capture.process.send_signal(signal.SIGCONT)
        time.sleep(1)
        later.go()
        assert later.sent() == 10
        later.end()
        flood.end()
    file, lost = pcapng_reader.read(capture.file), capture.said["packets.lost"]
    assert lost > 0 and sent == 6000
    assert capture.said["packets.seen"] == len(file.packets) + lost == 2 * (sent + 10)
    assert sum(pcapng_reader.u64(s[7]) for s in file.statistics.values()) == lost
    drops = [(at, pcapng_reader.u64(options[4])) for at, (*_, options) in enumerate(file.packets) if 4 in options]
    assert sum(n for _, n in drops) == lost
    # It keeps the oldest: the loss stands with what came when there was room again.
    assert drops[0][0] == len(file.packets) - 20
    ids = [pcapng_reader.u64(options[5]) for *_, options in file.packets]
    assert ids[-1] == capture.said["packets.seen"] and len(set(ids)) == len(ids)
    assert any(f"{lost} packets were lost" in text for text in warnings(capture))


def test_namespace_goes_away(net, tmp_path):
    """The socket would keep it, and the other end of its pair of devices: it is closed when nobody is left."""
    with Capture(tmp_path / "out", SOCKET, f"net-ns={net.inode(1)}", "filter=udp") as capture:
        play(net, "udp", V4)
        net.holders[1].kill()
        net.holders[1].wait()
        sh("ip", "netns", "del", net.names[1])
        until(lambda: "veth0" not in sh("ip", "-n", net.names[0], "-br", "link"), 10, "the device to go")
    assert len(pcapng_reader.read(capture.file).packets) == 10
    assert any("no process is in its network namespace any more" in text for text in warnings(capture))
