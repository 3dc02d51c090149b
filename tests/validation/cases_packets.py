# SPDX-License-Identifier: Apache-2.0
"""Packets of a network namespace of our own, each marked with a number."""
import os
import re
import subprocess
import time

import pcapng_reader
from report import Skip, case
from tools import DRIVER, Small, acquire, check_told, count, folder, made, need, refused

SEND = """
import socket, sys, time
address, port, mark, n, size = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), int(sys.argv[4]), int(sys.argv[5])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(n):
    s.sendto(b"%s-%07d-" % (mark, i) + bytes(size), (address, port))
    if i % 20 == 19:
        time.sleep(0.005)
"""


class Nets:
    """Two pairs of namespaces: one is captured, the other must not be seen."""

    def __enter__(self):
        need("ip", "tshark", "tcpdump", "editcap", "nsenter")
        from test_packets import Net
        self.nets = []
        try:
            for name in "xy":
                self.nets.append(Net(f"exv{os.getpid()}{name}"))
        except subprocess.CalledProcessError as why:
            self.__exit__()
            raise Skip(f"no network namespaces here: {why.stderr.strip()}") from why
        return self

    def __exit__(self, *_):
        for net in self.nets:
            net.close()

    def send(self, which, mark, n, size=40):
        from test_packets import V4
        sender = self.nets[which].start(0, "/usr/bin/python3", "-c", SEND, V4[1], 9000, mark, n, size)
        if sender.wait(120) != 0:
            raise AssertionError("the sender failed")

    def capture(self, *words):
        from test_packets import Capture
        return Capture(folder() / "out", f"net-ns={self.nets[0].inode(0)}", *words)


def marks(path, mark):
    """Numbers of the marked packets in the order of the file."""
    return [int(number) for packet in pcapng_reader.read(path).packets
            for number in re.findall(b"%s-(\\d{7})-" % mark.encode(), packet[3])]


@case("packets", "PACKETS-01", "CFTT AM-06, AM-08 (by analogy)", "every packet of the target is captured once, in order, and no other's",
      "marked packets in the file are exactly those that were sent; none of another namespace")
def complete(trials):
    n = count(1000, 20000)
    with Nets() as nets:
        with nets.capture() as capture:
            nets.send(0, "ours", n)
            nets.send(1, "theirs", 100)
        got = marks(capture.file, "ours")
        made.setdefault("packets", []).append(capture.folder)
        lost = capture.said["packets.lost"]
        missing = set(range(n)) - set(got)
        trials.add(n, max(0, len(missing) - lost), f"missing and not counted as lost: {sorted(missing)[:10]}")
        trials.check(len(got) == len(set(got)), "a packet stands twice")
        trials.check(got == sorted(got), "not in order")
        trials.check(not marks(capture.file, "theirs"), "another namespace's packets")
    return f"{len(got)} of {n}, {lost} counted as lost"


@case("packets", "PACKETS-02", "pcapng: ifrecv, ifdrop, usrdeliv", "what the kernel saw is what is written, lost or over the limit",
      "seen = written + lost + after the limit, exactly; the file holds as many as it says, and capinfos finds no fault")
def exact(trials):
    need("capinfos")
    with Nets() as nets:
        for words in ((), ("max-bytes=60000",), ("snap=60",), ("filter=udp port 9000",)):
            with nets.capture(*words) as capture:
                nets.send(0, "ours", 500, 100)
            said = capture.said
            trials.check(said["packets.written"] > 0, f"{words}: nothing was captured")
            made.setdefault("packets", []).append(capture.folder)
            trials.check(said["packets.written"] + said["packets.after_limit"] + said["packets.lost"] == said["packets.seen"], f"{words}: {said}")
            trials.check(len(pcapng_reader.read(capture.file).packets) == said["packets.written"], f"{words}: another number in the file")
            done = subprocess.run(["capinfos", "-c", capture.file], capture_output=True, text=True, timeout=60, check=False)
            trials.check(done.returncode == 0 and "cut" not in done.stderr, done.stderr)


HEADERS = {1: 14, 101: 0, 113: 16, 276: 20}  # bytes of a link type's header (tcpdump.org/linktypes)


@case("packets", "PACKETS-03", "CFTT AM-08 (by analogy)", "a cut packet keeps its length on the wire",
      "each says the length that was sent, and holds the first bytes up to the limit")
def lengths(trials):
    with Nets() as nets:
        with nets.capture("snap=64") as capture:
            nets.send(0, "ours", 200, 500)
        file = pcapng_reader.read(capture.file)
        ours = [packet for packet in file.packets if b"ours-" in packet[3]]
        trials.check(len(ours) == 200, f"{len(ours)} packets")
        for interface, _, length, data, _ in ours:
            header = HEADERS[file.interfaces[interface][0]]
            trials.check(length - header == 20 + 8 + 13 + 500 and 64 <= len(data) <= 64 + header, f"length {length}, {len(data)} bytes")


@case("packets", "PACKETS-04", "CFTT AM-01", "a false filter is refused", "one sentence")
def refuses(trials):
    for text in ("port", "host (", "ether proto xyzzy", "\x1b[2J"):
        trials.check(len(acquire("packets", f"pid={os.getpid()}", f"filter={text}", "seconds=1", status=1).splitlines()) == 1, text)


def capture_into(nets, small):
    """What a capture said whose target has no room for what is sent meanwhile."""
    from basics import until
    clock = small / "out/capture.clock.jsonl"
    with subprocess.Popen([DRIVER, "packets", small / "out", f"net-ns={nets.nets[0].inode(0)}", "seconds=60"],
                          stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: clock.exists() or process.poll() is not None, 20, "the capture")
            time.sleep(1)  # the file is there before the programs are
            nets.send(0, "ours", 1500, 1000)
            process.terminate()
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
    return process.returncode, told


@case("packets", "PACKETS-05", "CFTT AO-04", "a full target is told, and no packet is false",
      "one sentence; what is in the file was sent, in order; the network goes on, and so does the next capture")
def full(trials):
    cut = 0
    with Nets() as nets:
        for i in range(count(4, 32)):
            with Small(64 + 100 * (i % 8) + 4 * (i // 8)) as small:
                status, told = capture_into(nets, small)
                trials.check(status == 1, f"exit {status}")
                refused.setdefault("packets", []).append(told)
                check_told(trials, small, told)
                raw = (small / "out/capture.pcapng").read_bytes()
            got = [int(number) for number in re.findall(rb"ours-(\d{7})-", raw)]
            trials.check(got == sorted(set(got)) and all(number < 1500 for number in got), f"{len(got)} packets, not in order")
            cut += len(got)
        trials.check(cut > 0, "no target was full of packets")
        with nets.capture() as capture:
            nets.send(0, "after", 100)
        trials.check(marks(capture.file, "after") == list(range(100)), "the next capture is not whole")
    return f"{cut} packets in the files that were cut"
