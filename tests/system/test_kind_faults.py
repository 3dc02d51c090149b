# SPDX-License-Identifier: Apache-2.0
"""What is killed or runs full while something is acquired that cannot be read again: nothing stays held, what arrived
is sealed as incomplete with the reason, and no later read is spliced to it. (A block device resumes:
test_host_orders.py, test_grab_faults.py.)"""
import hashlib
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

import order_pb2
from basics import until
from daemons import descendants
from orders import signed
from test_core import V1, V2, frozen, remove, runs
from test_disk import fill, small_disk
from test_host_orders import DONE, FAILED, STARTED, MiB, World, acquirers, world

assert small_disk and world  # fixtures
pytestmark = pytest.mark.usefixtures("need_bpf")

HOLDER = """
import os, sys, time
held = os.urandom(1 << 20) * int(sys.argv[1])
print(id(held), flush=True)
while True:
    time.sleep(0.01)
"""


class CoreTarget:
    """A container of one process that holds so much noise."""

    def __init__(self, megabytes=40):
        self.version, root = ("v2", V2) if V2 is not None else ("v1", V1)
        if root is None or not root.is_dir():
            pytest.skip("no cgroup to freeze")
        self.name = secrets.token_hex(32)
        self.top = root / f"exhibit-test-{self.name[:8]}" / self.name
        self.top.mkdir(parents=True)
        self.process = subprocess.Popen(["/usr/bin/python3", "-c", HOLDER, str(megabytes)], stdout=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: (self.top / "cgroup.procs").write_text(str(os.getpid())))
        self.process.stdout.readline()

    def fill(self, order):
        order.kind, order.container_id = order_pb2.ORDER_CORE, self.name.encode()
        order.core.SetInParent()
        order.limits.bytes_per_second = 4 * MiB

    def check_free(self):
        until(lambda: not frozen(self.version, self.top) and runs(self.process.pid), 15, "it goes on")

    def check_whole(self, upload):
        core = max(upload.items.values(), key=len)
        assert upload.said["complete"] is True, upload.said
        assert core[:4] == b"\x7fELF" and len(core) > 40 * MiB

    def close(self):
        self.process.kill()
        self.process.communicate(timeout=10)
        until(lambda: not (self.top / "cgroup.procs").read_text(), 10, "it is empty")
        remove(self.top.parent)


class PacketsTarget:
    """Numbered datagrams on the loopback device, some hundred a second."""

    def __init__(self):
        self.over = threading.Event()
        self.at = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.at.bind(("127.0.0.1", 0))
        self.sender = threading.Thread(target=self.send)
        self.sender.start()

    def send(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while not self.over.wait(0.002):
                out.sendto(os.urandom(1000), self.at.getsockname())

    def fill(self, order):
        order.kind = order_pb2.ORDER_PACKETS
        order.packets.seconds = 12
        order.packets.filter = f"udp port {self.at.getsockname()[1]}".encode()

    def check_free(self):
        pass

    def check_whole(self, upload):
        """Without a collector and beside other work a buffer may run over: then that is what it says."""
        assert any(len(data) > 1000 * 100 for data in upload.items.values())
        told = [str(warning) for warning in upload.said["warnings"]]
        assert upload.said["complete"] or any("packets were lost" in text for text in told), upload.said

    def close(self):
        self.over.set()
        self.sender.join(10)
        self.at.close()


@pytest.fixture(params=[CoreTarget, PacketsTarget], ids=["core", "packets"])
def target(request):
    it = request.param()
    yield it
    it.close()


def begin(world, target):
    """An order of which something has arrived."""
    order = world.order("/dev/null")
    order.ClearField("disk")
    target.fill(order)
    world.collector.say(order=signed(order, world.ann))
    world.collector.step(order.order_id, STARTED)
    until(lambda: any(len(d) > MiB for u in list(world.collector.uploads.values()) for d in u.items.values()), 60,
          "something")
    return order


@pytest.mark.parametrize("victim,why", [("exhibit-agent", "the agent ended while the acquisition ran"),
                                        ("exhibit-acquire", "the acquirer was ended by signal 9")])
def test_killed_it_is_incomplete_and_nothing_is_held(victim, why, target, world):
    world.agent()
    order = begin(world, target)
    pids = acquirers(world.daemon)
    if victim == "exhibit-agent":
        world.daemon.kill()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10, "the acquirer's end")
        target.check_free()
        world.daemon.start()
    else:
        os.kill(next(pid for pid, name in descendants(world.daemon.pid) if name == victim[:15]), signal.SIGKILL)
    target.check_free()
    failed = world.collector.step(order.order_id, FAILED, 60)
    assert failed.reason.decode() == why
    upload = world.collector.upload_of(order.order_id)
    assert (upload.said["complete"], upload.said["failure"]) == (False, why)
    assert failed.manifest_sha256 == hashlib.sha256(upload.manifest.manifest).digest()
    assert len(world.collector.uploads) == 1, "nothing was read again"


def test_the_agent_is_killed_while_it_holds_a_container(world):
    """With it goes the acquirer, whose watchdog thaws."""
    world.agent()
    target = CoreTarget(220)
    try:
        for _ in range(8):
            order = world.order("/dev/null")
            order.ClearField("disk")
            target.fill(order)
            world.collector.say(order=signed(order, world.ann))
            world.collector.step(order.order_id, STARTED)
            end = time.monotonic() + 20
            while not frozen(target.version, target.top) and time.monotonic() < end:
                pass
            world.daemon.kill()
            caught = frozen(target.version, target.top)
            target.check_free()
            world.daemon.start()
            world.collector.step(order.order_id, FAILED, 60)
            if caught:
                return
    finally:
        target.close()
    raise AssertionError("never caught it while it held")


def test_a_killed_collector_resumes(target, world):
    world.agent()
    order = begin(world, target)
    world.collector.restart()
    world.collector.step(order.order_id, DONE, 120)
    target.check_free()
    upload = world.collector.upload_of(order.order_id)
    assert len(world.collector.uploads) == 1 and not upload.said.get("failure")
    target.check_whole(upload)
    assert set(upload.ended) == set(upload.items), "each item's end, whose hash was that of what arrived"


def test_no_room_on_the_host(small_disk, lab):
    """While nothing can be stored there a grab ends well or with the reason; with room again all goes on."""
    world = World(lab)
    try:
        world.agent(state__dir=small_disk / "state")
        disk = world.disk(24)
        order = world.order(disk.device)
        order.limits.bytes_per_second = 6 * MiB
        world.collector.say(order=signed(order, world.ann))
        until(lambda: any(len(d) > MiB for u in list(world.collector.uploads.values()) for d in u.items.values()), 60,
              "something")
        ballast = fill(small_disk)
        order_2 = world.order(world.disk(1).device)
        world.collector.say(order=signed(order_2, world.ann))

        def ends(of):
            return [s for s in list(world.collector.steps) if s.order_id == of.order_id and s.state in (
                DONE, FAILED, order_pb2.ORDER_REFUSED)]
        until(lambda: ends(order) and ends(order_2), 90, "their ends")
        for one in (ends(order)[0], ends(order_2)[0]):
            assert one.state == DONE or b"No space" in one.reason, one.reason
        if ends(order)[0].state == DONE:
            upload = world.collector.upload_of(order.order_id)
            assert any(hashlib.sha256(data).digest() == disk.sha256 for data in upload.items.values())
        assert world.daemon.running(), world.daemon.tail()
        ballast.unlink()
        last = world.order(world.disk(1).device)
        world.collector.say(order=signed(last, world.ann))
        world.collector.step(last.order_id, DONE)
    finally:
        world.end()
