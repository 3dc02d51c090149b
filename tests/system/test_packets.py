# SPDX-License-Identifier: Apache-2.0
"""Packets as pcapng: whose each is, what is lost, and what the field's own tools read. Traffic stays in network
namespaces of the test's own."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pcapng_reader
from basics import until
from test_acquire import DRIVER, acquire, notes

ACTORS = Path(__file__).parent / "packets_actors.py"
V4 = ("10.231.77.1", "10.231.77.2")
V6 = ("fd31:77::1", "fd31:77::2")
OURS = "net 10.231.77.0/24 or net fd31:77::/64"

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not all(map(shutil.which, ("tshark", "tcpdump", "editcap"))),
                                reason="capturing takes root, judging takes tshark, editcap and tcpdump")


def sh(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout


class Net:
    """Two network namespaces and a pair of devices."""

    def __init__(self, name):
        self.names = (f"{name}a", f"{name}b")
        self.holders = []
        for space in self.names:
            sh("ip", "netns", "add", space)
            sh("ip", "-n", space, "link", "set", "lo", "up")
        sh("ip", "link", "add", "veth0", "netns", self.names[0], "type", "veth", "peer", "name", "veth0",
           "netns", self.names[1])
        for i, space in enumerate(self.names):
            sh("ip", "-n", space, "addr", "add", f"{V4[i]}/24", "dev", "veth0")
            sh("ip", "-n", space, "addr", "add", f"{V6[i]}/64", "dev", "veth0", "nodad")
            sh("ip", "-n", space, "link", "set", "veth0", "up")
            # A network namespace is found through a process in it.
            self.holders.append(self.start(i, "sleep", "600"))

    def start(self, side, *words, **more):
        return subprocess.Popen(["nsenter", f"--net=/var/run/netns/{self.names[side]}", *map(str, words)], **more)

    def inode(self, side):
        return os.stat(f"/var/run/netns/{self.names[side]}").st_ino

    def actor(self, side, *words):
        return self.start(side, sys.executable, ACTORS, *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self):
        for holder in self.holders:
            holder.kill()
            holder.wait()
        for space in self.names:
            subprocess.run(["ip", "netns", "del", space], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture
def net():
    net = Net(f"exh{os.getpid()}")
    yield net
    net.close()


class Capture:
    """driver_acquire under way; leaving ends it."""

    def __init__(self, folder, *words, before=()):
        self.folder, self.words, self.before = folder, words, before

    def __enter__(self):
        self.process = subprocess.Popen([*self.before, DRIVER, "packets", self.folder, *self.words],
                                        stderr=subprocess.PIPE, text=True)
        path = self.folder / "capture.clock.jsonl"
        until(lambda: path.exists() or self.process.poll() is not None, 20, "the capture")
        time.sleep(1)  # the file is there before the programs are
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        _, told = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, told
        self.said, self.rows = notes(self.folder)
        self.file = self.folder / "capture.pcapng"


def tshark(path, *fields, only=None):
    words = ["tshark", "-n", "-r", path, "-T", "fields", *sum((["-e", f] for f in fields), [])]
    if only:
        words += ["-Y", only]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert not re.search("appears to have been cut|isn't a|damaged", done.stderr), done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def tokens(comment):
    return dict(token.split("=", 1) for token in comment.split(";") if "=" in token)


# ---- whose it is ------------------------------------------------------------------------------------------

WAYS = [("tcp", V4), ("tcp", V6), ("udp", V4), ("udp", V6), ("fork", V4), ("prefork", V6), ("pass", V4), ("many", V4),
        ("gone", V4)]


def play(net, way, addresses):
    """One scenario; what its sockets are and whose."""
    server = net.actor(1, "serve", {"gone": "tcp"}.get(way, way), addresses[1])
    port = server.stdout.readline().strip()
    client = net.actor(0, "talk", {"fork": "tcp", "prefork": "tcp", "pass": "tcp"}.get(way, way), addresses[1], port)
    said = client.communicate(timeout=30)[0] + server.communicate(timeout=30)[0]
    truth = [json.loads(line) for line in said.splitlines()]
    assert len(truth) >= 2
    return truth


def judge(path, truths, local=None):
    """Right, unowned and wrong packets. local: addresses of the side that is captured."""
    right, none, wrong = 0, 0, []
    ends = {(t["protocol"], str(t["port"])): t["pids"] for t in truths}
    for row in tshark(path, "frame.number", "frame.packet_flags_direction", "tcp.srcport", "tcp.dstport", "udp.srcport",
                      "udp.dstport", "frame.comment", only="tcp or udp"):
        number, direction, tcp_from, tcp_to, udp_from, udp_to, comment = row
        out = int(direction, 0) == 2
        protocol, port = ("tcp", tcp_from if out else tcp_to) if tcp_from else ("udp", udp_from if out else udp_to)
        assert (protocol, port) in ends, row
        said = tokens(comment)
        if "pid" not in said:
            none += 1
        elif int(said["pid"]) in ends[protocol, port] and int(said.get("creator", said["pid"])) in ends[protocol, port]:
            right += 1
        else:
            wrong.append((number, row, ends[protocol, port]))
    return right, none, wrong


def test_whose_at_the_cgroups(net, tmp_path):
    with Capture(tmp_path / "out", f"filter={OURS}") as capture:
        truths = [t for way, addresses in WAYS for t in play(net, way, addresses)]
    right, none, wrong = judge(capture.file, truths)
    assert wrong == []
    assert right >= 500 and none <= right / 100, (right, none)
    assert capture.said["packets.lost"] == 0


def test_whose_on_a_device(net, tmp_path):
    """The other end's sockets come along with the packets; none of them is named."""
    with Capture(tmp_path / "out", f"net-ns={net.inode(1)}", "interface=veth0") as capture:
        truths = [t for way, addresses in WAYS for t in play(net, way, addresses)]
    right, none, wrong = judge(capture.file, truths)
    assert wrong == []
    assert right >= 250 and none <= right / 50, (right, none)
    rows = tshark(capture.file, "frame.encap_type", "eth.type")
    assert {row[0] for row in rows} == {"1"}
    assert capture.said["packets.engine"] == "tcx"


def test_who_sent_first_and_then(net, tmp_path):
    """Handshake: the parent; data: the child it was handed to."""
    with Capture(tmp_path / "out", f"filter={OURS}") as capture:
        truth = play(net, "fork", V4)
    parent, child = truth[-1]["pids"]
    rows = [(tokens(row[0]), row[1]) for row in tshark(
        capture.file, "frame.comment", "tcp.len",
        only=f"tcp.srcport == {truth[-1]['port']} and frame.packet_flags_direction == 2")]
    assert int(rows[0][0]["pid"]) == parent
    data = [said for said, size in rows if size != "0"]
    # The first send comes before its sender is known.
    assert [int(said["pid"]) for said in data[1:]] == [child] * (len(data) - 1) and len(data) >= 5
    assert all(int(said["creator"]) == parent for said in data[1:])


def test_connections_older_than_the_capture(net, tmp_path):
    server = net.actor(1, "serve", "tcp", V4[1])
    port = server.stdout.readline().strip()
    client = net.actor(0, "talk", "old", V4[1], port)
    truth = json.loads(client.stdout.readline())
    with Capture(tmp_path / "out", f"filter={OURS}") as capture:
        client.communicate("go\n", timeout=20)
        server.wait(20)
    rows = [tokens(row[0]) for row in tshark(capture.file, "frame.comment")]
    assert len(rows) >= 20
    assert {int(said["pid"]) for said in rows} == {truth["pids"][0], server.pid}
    server.stdout.close()


def test_no_socket_no_owner(net, tmp_path):
    """The refusal of a closed port is nobody's."""
    with Capture(tmp_path / "out", f"net-ns={net.inode(1)}", "interface=veth0") as capture:
        done = net.start(0, sys.executable, "-c", f"import socket; socket.create_connection(('{V4[1]}', 9))",
                         stderr=subprocess.DEVNULL)
        assert done.wait(20) != 0
    rows = tshark(capture.file, "tcp.flags.reset", "frame.comment", only="tcp")
    assert sorted(rows) == [["0", "owner=none;"], ["1", "owner=none;"]]


# ---- only what is asked for -------------------------------------------------------------------------------------

FLOOD = """
import socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0)); s.connect(s.getsockname())
print(s.getsockname()[1], flush=True)
sys.stdin.readline()
n, size, rate, ends = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), time.monotonic() + float(sys.argv[4])
s.setblocking(False)
began = time.monotonic()
i = 0
while i < n and time.monotonic() < ends:
    try:
        s.send(struct.pack("<Q", i).ljust(size, b"x"))
    except BlockingIOError:
        pass
    else:
        i += 1
    if rate and i % 50 == 0:
        time.sleep(max(0, began + i / rate - time.monotonic()))
print(i, flush=True)
sys.stdin.readline()
"""


class Flood:
    """Numbered datagrams to itself. Answers of a side that went are not received: that is enough to be seen."""

    def __init__(self, net, side, n, size=32, rate=0, seconds=60, before=None):
        self.process = net.start(side, sys.executable, "-c", FLOOD, n, size, rate, seconds, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True, preexec_fn=before)
        self.port = int(self.process.stdout.readline())

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def sent(self):
        return int(self.process.stdout.readline())

    def end(self):
        self.process.communicate("end\n", timeout=20)


def test_in_the_order_of_time(net, tmp_path):
    """Two CPUs send at once into one ring."""
    floods = [Flood(net, 0, 1 << 40, seconds=3, before=lambda cpu=cpu: os.sched_setaffinity(0, {cpu}))
              for cpu in sorted(os.sched_getaffinity(0))[:2]]
    with Capture(tmp_path / "out", f"net-ns={net.inode(0)}") as capture:
        for flood in floods:
            flood.go()
        sent = sum(flood.sent() for flood in floods)
    for flood in floods:
        flood.end()
    said, file = capture.said, pcapng_reader.read(capture.file)
    assert said["packets.written"] == said["packets.seen"] - said["packets.lost"] > sent
    assert said["packets.out_of_order"] == 0
    times = [ns for _, ns, *_ in file.packets]
    assert times == sorted(times)
    assert tshark(capture.file, "frame.number", only="frame.time_delta < 0") == []
    # As the kernel numbered them, before its clock was read, they were not.
    ids = [pcapng_reader.u64(options[5]) for *_, options in file.packets]
    assert len(set(ids)) == len(ids)
    print(f"{sum(a > b for a, b in zip(ids, ids[1:]))} of {len(ids)} changed places")


def refusal(*words, before=()):
    done = subprocess.run([*before, DRIVER, "packets", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    return done.stderr.strip()


def test_where_it_cannot_be_done(tmp_path):
    """One sentence: neither with programs nor with a socket."""
    weak = refusal(tmp_path / "weak", "seconds=1",
                   before=["capsh", "--drop=cap_bpf,cap_sys_admin,cap_net_admin", "--", "-c", 'exec "$@"', "sh"])
    assert "cannot load the programs that capture packets" in weak and "not permitted" in weak
    assert "cannot open a packet socket there" in weak and "\n" not in weak


def test_one_process(net, tmp_path):
    ours, other = Flood(net, 0, 1000, rate=5000), Flood(net, 0, 1000, rate=5000)
    with Capture(tmp_path / "out", f"pid={ours.process.pid}") as capture:
        for flood in (ours, other):
            flood.go()
        assert ours.sent() == other.sent() == 1000
    for flood in (ours, other):
        flood.end()
    rows = tshark(capture.file, "udp.port", "frame.comment", "frame.packet_flags_direction")
    assert sum(int(row[2], 0) == 2 for row in rows) == 1000
    assert {row[0] for row in rows} == {f"{ours.port},{ours.port}"}
    assert {tokens(row[1])["pid"] for row in rows} == {str(ours.process.pid)}
    assert capture.said["packets.seen"] == capture.said["packets.written"]


@pytest.fixture
def container():
    """A cgroup as a runtime makes it, without one."""
    roots = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()
             if line.split()[2] == "cgroup2"]
    name = f"docker-{os.urandom(32).hex()}.scope"
    made = []
    for root in roots[:1]:
        folder = Path(root) / name
        folder.mkdir()
        made.append(folder)
    if not made:
        pytest.skip("cgroup v2 is not mounted")
    yield made[0], name[7:71]
    made[0].rmdir()


def test_one_container(net, container, tmp_path):
    folder, name = container

    def enter():
        (folder / "cgroup.procs").write_text(str(os.getpid()))
    ours, other = Flood(net, 0, 1000, rate=5000, before=enter), Flood(net, 0, 1000, rate=5000)
    with Capture(tmp_path / "out", f"container={name}", "filter=udp") as capture:
        for flood in (ours, other):
            flood.go()
        assert ours.sent() == other.sent() == 1000
    for flood in (ours, other):
        flood.end()
    rows = tshark(capture.file, "udp.port", "frame.comment", "frame.interface_name", "frame.packet_flags_direction")
    assert sum(int(row[3], 0) == 2 for row in rows) == 1000
    assert {row[0] for row in rows} == {f"{ours.port},{ours.port}"}
    assert {tokens(row[1])["container"] for row in rows} == {name[:12]}
    assert {row[2] for row in rows} == {f"{name[:12]}@lo"}
    owners = [json.loads(line) for line in (tmp_path / "out/capture.owners.jsonl").read_text().splitlines()]
    assert [o["container"] for o in owners] == [name]
    assert owners[0]["pid"] == ours.process.pid


def test_a_network_namespace(net, tmp_path):
    inside, outside = Flood(net, 0, 200, rate=5000), Flood(net, 1, 200, rate=5000)
    with Capture(tmp_path / "out", f"net-ns={net.inode(0)}", "filter=udp") as capture:
        for flood in (inside, outside):
            flood.go()
            assert flood.sent() == 200
    for flood in (inside, outside):
        flood.end()
    rows = tshark(capture.file, "udp.port", "frame.interface_description")
    assert {row[0] for row in rows} == {f"{inside.port},{inside.port}"}
    assert {tokens(row[1])["netns"] for row in rows} == {str(net.inode(0))}


@pytest.mark.parametrize("words, says", [
    (["filter=port port"], "no libpcap expression"), (["filter=vlan 3 and vlan"], "libpcap"), (["pid=4194303"], "no process"),
    (["container=" + "0" * 64], "no container"), (["net-ns=1"], "network namespace"), (["interface=none0"], "device 'none0'"),
    (["interface=" + "x" * 40], "cannot be the name")])
def test_refuses_in_a_sentence(tmp_path, words, says):
    told = acquire("packets", tmp_path / "out", "seconds=1", *words, status=1)
    assert says in told and len(told.splitlines()) == 1


# ---- the file -----------------------------------------------------------------------------------------------------

def test_tools_read_it(net, tmp_path):
    with Capture(tmp_path / "out", f"filter={OURS}") as capture:
        truths = [t for way in ("tcp", "udp") for t in play(net, way, V4)]
    pid, port = truths[0]["pids"][0], truths[0]["port"]
    numbers = tshark(capture.file, "frame.number", only=f'tcp.port == {port} and (tcp.srcport == {port} and '
                     f'frame.packet_flags_direction == 2 or tcp.dstport == {port} and frame.packet_flags_direction == 1)')
    assert len(numbers) >= 10
    assert tshark(capture.file, "frame.number", only=f'frame.comment contains "pid={pid};"') == numbers
    copy = tmp_path / "copy.pcapng"
    sh("editcap", capture.file, copy)
    assert tshark(copy, "frame.number", only=f'frame.comment contains "pid={pid};"') == numbers
    for path in (capture.file, copy):
        done = subprocess.run(["tcpdump", "-nr", path], capture_output=True, text=True, timeout=30, check=True)
        assert len(done.stdout.splitlines()) == len(pcapng_reader.read(path).packets)
        assert "Strict time order" in sh("capinfos", path)
    assert tshark(capture.file, "frame.number", only='frame.interface_name == "host@veth0"') != []
    assert tshark(capture.file, "frame.number", only='frame.interface_description contains "csum=partial;"') != []
    file = pcapng_reader.read(capture.file)
    assert {(link, snap) for link, snap, _ in file.interfaces} == {(113, 262144)} and len(file.interfaces) == 2
    now = time.time_ns()
    assert all(now - 60e9 < ns < now for _, ns, _, _, _ in file.packets)
    assert all(options[2989][4:8] == b"EXHP" for *_, options in file.packets)


def test_valid_at_any_cut(net, tmp_path):
    with Capture(tmp_path / "out", f"filter={OURS}") as capture:
        play(net, "tcp", V4)
    whole, size = pcapng_reader.read(capture.file), capture.file.stat().st_size
    for cut in range(400, size, 611):
        part = tmp_path / "part.pcapng"
        part.write_bytes(capture.file.read_bytes()[:cut])
        there = pcapng_reader.read(capture.file, cut=cut)
        assert there.packets == whole.packets[:len(there.packets)]
        done = subprocess.run(["tshark", "-n", "-r", part], capture_output=True, text=True, timeout=30, check=False)
        assert len(done.stdout.splitlines()) == len(there.packets)


def test_limits(net, tmp_path):
    """The end of room ends the file with a whole block."""
    flood = Flood(net, 0, 20000, size=500, rate=20000)
    started = time.monotonic()
    process = subprocess.Popen([DRIVER, "packets", tmp_path / "out", f"pid={flood.process.pid}", "max-bytes=300000",
                                "snap=64"])
    time.sleep(1.5)
    flood.go()
    assert process.wait(30) == 0
    assert time.monotonic() - started < 25
    flood.sent()
    flood.end()
    said, rows = notes(tmp_path / "out")
    file = pcapng_reader.read(tmp_path / "out/capture.pcapng")
    assert len(file.packets) == said["packets.written"]
    assert {len(data) for _, _, _, data, _ in file.packets} == {16 + 64}
    assert {length for _, _, length, _, _ in file.packets} == {16 + 528}
    assert said["packets.written"] + said["packets.after_limit"] + said["packets.lost"] == said["packets.seen"]
    assert any("300000 bytes is used up" in row.get("warning", "") for row in rows)


def test_losses_are_exact(net, tmp_path):
    """The reader is stopped, the ring runs full: what is missing is counted, in the file and beside it."""
    def pin():
        os.sched_setaffinity(0, {0})
    flood, later = Flood(net, 0, 12000, size=8000, rate=8000, before=pin), Flood(net, 0, 10, before=pin)
    with Capture(tmp_path / "out", f"net-ns={net.inode(0)}") as capture:
        capture.process.send_signal(signal.SIGSTOP)
        flood.go()
        sent = flood.sent()
        capture.process.send_signal(signal.SIGCONT)
        time.sleep(1)
        later.go()
        assert later.sent() == 10
        later.end()
        flood.end()
    file = pcapng_reader.read(capture.file)
    lost = capture.said["packets.lost"]
    ids = sorted(pcapng_reader.u64(options[5]) for *_, options in file.packets)
    assert lost > 0 and sent == 12000
    assert capture.said["packets.seen"] == len(file.packets) + lost >= sent
    assert len(set(ids)) == len(ids) and capture.said["packets.seen"] - len(ids) == lost
    assert sum(pcapng_reader.u64(s[7]) for s in file.statistics.values()) == lost
    # One CPU: what came later on it says how many were lost before.
    assert sum(pcapng_reader.u64(options.get(4, bytes(8))) for *_, options in file.packets) == lost
    assert any(f"{lost} packets were lost" in row.get("warning", "") for row in capture.rows)


# ---- devices --------------------------------------------------------------------------------------------------------

TAGGED = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("veth0", 0))
for frame in sys.argv[1:]:
    s.send(bytes.fromhex(frame))
"""


def test_tags_and_giants(net, tmp_path):
    """The VLAN tag that the kernel takes out is back; frames before segmentation are whole."""
    addresses, ip = "ffffffffffff020000000001", "0800" + "45" + "00" * 60
    frames = [addresses + tags + ip for tags in ("8100a064", "88a80007" + "81000064")]
    with Capture(tmp_path / "out", f"net-ns={net.inode(1)}", "interface=veth0", "filter=tcp or vlan") as capture:
        assert net.start(0, sys.executable, "-c", TAGGED, *frames).wait(20) == 0
        sink = net.start(1, sys.executable, "-c", f"""
import socket
s = socket.socket(); s.bind(("{V4[1]}", 0)); s.listen(); print(s.getsockname()[1], flush=True)
c, _ = s.accept()
while c.recv(1 << 20): pass
""", stdout=subprocess.PIPE, text=True)
        port = sink.stdout.readline().strip()
        source = net.start(0, sys.executable, "-c", f"""
import socket
socket.create_connection(("{V4[1]}", {port})).sendall(bytes(5 << 20))
""")
        assert source.wait(30) == 0 and sink.wait(30) == 0
    file = pcapng_reader.read(capture.file)
    assert [data.hex() for _, _, _, data, _ in file.packets if len(data) < 90 and data[12] != 8] == frames
    assert tshark(capture.file, "vlan.id", only="vlan") == [["100"], ["100"]]
    assert max(length for _, _, length, _, _ in file.packets) > 10000
    assert all(len(data) == length for _, _, length, data, _ in file.packets if length <= 65535)


def test_namespace_goes_away(net, tmp_path):
    with Capture(tmp_path / "out", f"net-ns={net.inode(1)}", "interface=veth0", "filter=udp") as capture:
        play(net, "udp", V4)
        net.holders[1].kill()
        net.holders[1].wait()
        sh("ip", "netns", "del", net.names[1])
        # Its device goes with it, and the other end of the pair: nothing of ours holds it.
        until(lambda: "veth0" not in sh("ip", "-n", net.names[0], "-br", "link"), 10, "the device to go")
    assert len(pcapng_reader.read(capture.file).packets) == 10
