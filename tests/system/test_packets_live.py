# SPDX-License-Identifier: Apache-2.0
"""grab packets --stdout: seen by tshark while the capture runs; who stops watching stops nothing."""
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from basics import until
from test_order_to_exhibit import CASE, Site, field

pytestmark = pytest.mark.skipif(not shutil.which("tshark"), reason="tshark judges")


class Sender:
    """Numbered datagrams to a port of the loopback."""

    def __init__(self):
        self.inbox = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inbox.bind(("127.0.0.1", 0))
        self.port = self.inbox.getsockname()[1]
        self.outbox = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send(self, text):
        self.outbox.sendto(text.encode(), ("127.0.0.1", self.port))


class Lines:
    """What a process says, as it says it."""

    def __init__(self, stream):
        self.seen = []
        threading.Thread(target=self.read, args=(stream,), daemon=True).start()

    def read(self, stream):
        for line in stream:
            self.seen.append(line)

    def text(self):
        return "".join(self.seen)


def grab(site, *words, stdout, **more):
    command = [*site.cli.command("grab"), "packets", "--host", site.host, "--case", CASE, "--reason", "a test", "--stdout",
               *words]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=site.cli.env, **more)


def exhibit_of(told):
    found = re.search(r"exhibit ([0-9a-f]{32}): its packets follow", told)
    return found and found.group(1)


def state_of(site, exhibit):
    return field(site.cli.run("exhibits", exhibit, "--json").rows[0], "exhibit.state")


def test_tshark_sees_packets_while_the_capture_runs(lab, need_bpf, tmp_path):
    site, sender = Site(lab), Sender()
    grabbed = grab(site, "--seconds", "12s", "--filter", f"udp dst port {sender.port}", stdout=subprocess.PIPE)
    shark = subprocess.Popen(["tshark", "-l", "-n", "-r", "-", "-T", "fields", "-e", "udp.payload", "-e", "frame.comment"],
                             stdin=grabbed.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    grabbed.stdout.close()
    told, seen = Lines(grabbed.stderr), Lines(shark.stdout)
    until(lambda: exhibit_of(told.text()), 20, "the exhibit's id on standard error")
    exhibit = exhibit_of(told.text())

    def arrives(text):
        sender.send(text)
        return text.encode().hex() in seen.text()
    until(lambda: arrives("before"), 15, "a packet in tshark")
    sent = time.monotonic()
    sender.send("while it runs")
    until(lambda: b"while it runs".hex() in seen.text(), 10, "the next packet")
    took = time.monotonic() - sent
    # The capture was still running when it was seen, and is still now.
    assert grabbed.poll() is None and state_of(site, exhibit) == "arriving", told.text()
    line = next(l for l in seen.text().splitlines() if b"while it runs".hex() in l)
    assert f"pid={os.getpid()};" in line
    assert grabbed.wait(60) == 0, told.text()
    assert shark.wait(30) == 0
    assert state_of(site, exhibit) == "sealed"
    # What was shown is what is kept, byte for byte: tshark's count of the stored file is the same.
    fetched = site.cli.run("fetch", exhibit, "--out", str(tmp_path / "got"), seconds=60)
    assert fetched.code == 0, fetched.err
    kept = subprocess.run(["tshark", "-n", "-r", next((tmp_path / "got").rglob("capture.pcapng")), "-T", "fields", "-e",
                           "udp.payload", "-e", "frame.comment"], capture_output=True, text=True, timeout=60, check=True)
    assert kept.stdout.splitlines() == seen.text().splitlines()
    print(f"seen {took:.2f} s after it was sent")


def test_a_file_has_the_exhibits_own_bytes(lab, need_bpf, tmp_path):
    site, sender = Site(lab), Sender()
    with open(tmp_path / "shown.pcapng", "wb") as out:
        grabbed = grab(site, "--seconds", "3s", "--filter", f"udp dst port {sender.port}", stdout=out)
        told = Lines(grabbed.stderr)
        until(lambda: exhibit_of(told.text()), 20, "the exhibit")
        for i in range(20):
            sender.send(f"{i}")
            time.sleep(0.1)
        assert grabbed.wait(60) == 0, told.text()
    assert site.cli.run("fetch", exhibit_of(told.text()), "--out", str(tmp_path / "got"), seconds=60).code == 0
    kept = next((tmp_path / "got").rglob("capture.pcapng")).read_bytes()
    assert (tmp_path / "shown.pcapng").read_bytes() == kept
    # Who watched stands in the ledger, before the first byte.
    fetches = [e for e in site.leaves() if b"as it arrives" in e.text]
    assert len(fetches) == 1 and fetches[0].exhibit_id.hex() == exhibit_of(told.text())


def test_a_reader_that_leaves_stops_nothing(lab, need_bpf):
    site, sender = Site(lab), Sender()
    grabbed = grab(site, "--seconds", "8s", "--filter", f"udp dst port {sender.port}", stdout=subprocess.PIPE)
    told = Lines(grabbed.stderr)
    until(lambda: exhibit_of(told.text()), 20, "the exhibit")
    assert len(os.read(grabbed.stdout.fileno(), 8)) == 8
    grabbed.stdout.close()  # and no packet comes that writing could fail with
    assert grabbed.wait(20) == 3, told.text()
    said = told.text()
    assert "the reader of standard output has left; the capture goes on until its limits end it" in said
    assert "Traceback" not in said and "Broken pipe" not in said
    exhibit = exhibit_of(said)
    assert state_of(site, exhibit) == "arriving"
    until(lambda: state_of(site, exhibit) == "sealed", 40, "its sealing")


def test_ctrl_c_stops_watching_alone(lab, need_bpf):
    site, sender = Site(lab), Sender()
    grabbed = grab(site, "--seconds", "8s", "--filter", f"udp dst port {sender.port}", stdout=subprocess.PIPE)
    told = Lines(grabbed.stderr)
    until(lambda: exhibit_of(told.text()), 20, "the exhibit")
    assert len(os.read(grabbed.stdout.fileno(), 8)) == 8
    grabbed.send_signal(signal.SIGINT)
    assert grabbed.wait(20) == 3, told.text()
    assert "interrupted; the capture goes on until its limits end it" in told.text()
    until(lambda: state_of(site, exhibit_of(told.text())) == "sealed", 40, "its sealing")


def test_a_collector_that_comes_back_is_watched_on(lab, need_bpf, tmp_path):
    site, sender = Site(lab), Sender()
    with open(tmp_path / "shown.pcapng", "wb") as out:
        grabbed = grab(site, "--seconds", "20s", "--filter", f"udp dst port {sender.port}", stdout=out)
        told = Lines(grabbed.stderr)
        until(lambda: exhibit_of(told.text()), 20, "the exhibit")
        sender.send("before")
        until(lambda: (tmp_path / "shown.pcapng").stat().st_size > 0, 20, "the first bytes")
        site.collector.kill()
        sender.send("while it is away")
        site.collector.start()
        time.sleep(1)
        sender.send("after")
        assert grabbed.wait(120) == 0, told.text()
    assert told.text().count("the collector is away, the capture is not; asking again") == 1
    assert site.cli.run("fetch", exhibit_of(told.text()), "--out", str(tmp_path / "got"), seconds=60).code == 0
    kept = next((tmp_path / "got").rglob("capture.pcapng")).read_bytes()
    assert (tmp_path / "shown.pcapng").read_bytes() == kept and b"while it is away" in kept


def test_a_terminal_is_refused_before_anything_is_ordered(lab, need_bpf):
    site = Site(lab)
    ours, theirs = pty.openpty()
    try:
        grabbed = grab(site, "--seconds", "2s", stdout=theirs)
        _, told = grabbed.communicate(timeout=30)
    finally:
        os.close(ours)
        os.close(theirs)
    assert grabbed.returncode == 2
    assert told == "exhibit: packets are not for a terminal; add | tshark -r -, or | wireshark -k -i -, or > FILE\n"
    assert site.cli.run("orders", "--json").rows == []


@pytest.mark.parametrize("words, sentence", [
    (("--json",), "--stdout gives standard output to the packets; leave out --json"),
    (("--host", "nobody"), "nobody"),
])
def test_what_cannot_be_shown_is_not_ordered(lab, need_bpf, words, sentence):
    site = Site(lab)
    grabbed = grab(site, "--seconds", "2s", *words, stdout=subprocess.PIPE)
    shown, told = grabbed.communicate(timeout=30)
    assert grabbed.returncode == 2 and shown == "" and sentence in told
    assert site.cli.run("orders", "--json").rows == []


def test_a_refused_order_shows_nothing(lab, need_bpf):
    site = Site(lab, orders__deny=["packets"])
    grabbed = grab(site, "--seconds", "2s", stdout=subprocess.PIPE)
    shown, told = grabbed.communicate(timeout=60)
    assert grabbed.returncode == 2 and shown == ""
    assert "refused" in told
