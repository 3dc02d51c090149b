# SPDX-License-Identifier: Apache-2.0
"""Each kind of order through the shipped agent: what its acquirer may do (capabilities, seccomp) is enough, and what is
written on the way is nothing."""
import io
import os
import shutil
import socket
import subprocess
import tarfile
import time

import pytest

import order_pb2
from basics import until
from orders import an_order, signed
from test_host_orders import DONE, World, acquirers

pytestmark = pytest.mark.usefixtures("need_bpf")


@pytest.fixture(scope="module")
def shared(module_lab):
    w = World(module_lab)
    w.agent()
    yield w
    w.end()


def run(world, kind, fill=lambda order: None, **fields):
    """An order of this kind, carried out; its exhibit."""
    order = an_order(world.ann, [world.host.host_id], kind=kind, **fields)
    order.ClearField("memory")
    fill(order)
    world.collector.say(order=signed(order, world.ann))
    done = world.collector.step(order.order_id, DONE, 60)
    upload = world.collector.upload_of(order.order_id)
    until(lambda: acquirers(world.daemon) == [], 10, "the acquirer's end")
    return upload, done


def begun(world, order):
    """Carried out, or of a kind that this build of the agent has not."""
    steps = world.collector.wait(lambda: [s for s in world.collector.steps if s.order_id == order.order_id], "a step")
    if b"cannot do orders of kind" in steps[0].reason:
        pytest.skip(steps[0].reason.decode())
    world.collector.step(order.order_id, order_pb2.ORDER_STARTED)


def test_files(shared, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"hello")
    (tmp_path / "new\nline").write_bytes(b"odd")

    def fill(order):
        order.files.paths.append(f"{tmp_path}/*".encode())
    upload, _ = run(shared, order_pb2.ORDER_FILES, fill)
    name = next(i["name"] for i in upload.said["items"] if i["format"] == "tar")
    with tarfile.open(fileobj=io.BytesIO(upload.data(name))) as tar:
        found = {os.path.basename(m.name): tar.extractfile(m).read() for m in tar if m.isfile()}
    assert found == {"a.txt": b"hello", "new\nline": b"odd"}
    assert upload.said["complete"] is True


def test_core(shared):
    marker = os.urandom(24).hex()
    target = subprocess.Popen(["/usr/bin/python3", "-c", f"import time; x = '{marker}'; print(x, flush=True); time.sleep(600)"],
                              stdout=subprocess.PIPE, text=True)
    try:
        assert target.stdout.readline().strip() == marker

        def fill(order):
            order.core.SetInParent()
            order.process.pid = target.pid
        upload, _ = run(shared, order_pb2.ORDER_CORE, fill)
        cores = [i for i in upload.said["items"] if i["format"] == "elf-core"]
        assert len(cores) == 1 and marker.encode() in upload.data(cores[0]["name"])
        assert "T" not in open(f"/proc/{target.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()[0]
    finally:
        target.kill()
        target.wait(10)


def test_packets(shared):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]

        def fill(order):
            order.packets.interface = b"lo"
            order.packets.filter = f"udp port {port}".encode()
            order.packets.seconds = 3
        order = an_order(shared.ann, [shared.host.host_id], kind=order_pb2.ORDER_PACKETS)
        order.ClearField("memory")
        fill(order)
        shared.collector.say(order=signed(order, shared.ann))
        begun(shared, order)
        end = time.monotonic() + 60
        while DONE not in shared.collector.states(order.order_id) and time.monotonic() < end:
            s.sendto(b"seen-by-the-capture", ("127.0.0.1", port))
            time.sleep(0.1)
        shared.collector.step(order.order_id, DONE)
    upload = shared.collector.upload_of(order.order_id)
    name = next(i["name"] for i in upload.said["items"] if i["format"] == "pcapng")
    assert b"seen-by-the-capture" in upload.data(name)


def test_arrest(shared, tmp_path):
    program = tmp_path / "dropper"
    shutil.copy("/bin/true", program)
    order = an_order(shared.ann, [shared.host.host_id], kind=order_pb2.ORDER_ARREST)
    order.ClearField("memory")
    order.arrest.path = str(program).encode()
    order.limits.max_seconds = 30
    shared.collector.say(order=signed(order, shared.ann))
    begun(shared, order)
    end = time.monotonic() + 60
    while DONE not in shared.collector.states(order.order_id) and time.monotonic() < end:
        assert subprocess.run([program], timeout=60, check=False).returncode == 0
        time.sleep(0.1)
    shared.collector.step(order.order_id, DONE)
    upload = shared.collector.upload_of(order.order_id)
    assert any(i["format"] == "elf-core" for i in upload.said["items"])
