# SPDX-License-Identifier: Apache-2.0
"""From the responder's command to the exhibit in the vault and back, with the shipped programs alone; and what
happens when one of them is killed on the way."""
import hashlib
import json
import random
import subprocess
import time
from pathlib import Path

import pytest

from basics import BIN, count, until
from daemons import field
from orders import PersonCli, person
from test_host_orders import MiB, BlockDevice

pytestmark = pytest.mark.usefixtures("need_bpf")


class World:
    def __init__(self, lab, **options):
        self.lab, self.site = lab, lab.site
        self.collector = lab.collector()
        self.host = lab.host_identity()
        self.agent = lab.agent(self.collector, self.host, **options)
        self.cli = PersonCli(self.site, person(self.site, "ann-g", "viewer,acquirer"), self.collector.address, lab.dir)
        self.devices = []

    def disk(self, megabytes):
        self.devices.append(BlockDevice(self.lab.dir / f"disk{len(self.devices)}", megabytes))
        return self.devices[-1]

    def grab(self, kind, *args):
        return self.cli.command("grab", kind, "--host", self.host.host_id, "--case", "INC-7", "--reason", "a test",
                                *args)

    def end(self):
        for device in self.devices:
            device.close()


@pytest.fixture
def world(lab):
    w = World(lab)
    yield w
    w.end()


def image(folder):
    """The largest file that fetch wrote."""
    return max((p for p in Path(folder).rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for part in iter(lambda: f.read(MiB), b""):
            digest.update(part)
    return digest.digest()


def fetched(world, exhibit_id):
    """An exhibit in a folder."""
    out = world.lab.dir / f"out-{exhibit_id}"
    answer = world.cli.run("fetch", exhibit_id, "--out", out, seconds=120)
    assert answer.code == 0, answer.err
    return out


def test_a_disk_from_command_to_file(world):
    disk = world.disk(9)
    done = subprocess.run(world.grab("disk", "--device", disk.device, "--wait", "--json"), capture_output=True,
                          text=True, timeout=120, env=world.cli.env)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert field(rows[-1], "exhibit.order.state") == "done" and field(rows[-1], "exhibit.manifest.complete") is True
    out = fetched(world, field(rows[-1], "exhibit.order.exhibit"))
    assert sha256_of(image(out)) == disk.sha256
    checked = subprocess.run([BIN / "exhibit", "verify", out], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    # Each step is an event of the host.
    until(lambda: {"started", "done"} <= {field(row, "exhibit.order.state")
                                          for row in world.cli.events("--action", "order")}, 20, "the events")


def interrupted(world, megabytes, rate, times, strike):
    """A grab during which strike() is called again and again; the image's hash is the source's."""
    rng = random.Random(11)
    disk = world.disk(megabytes)
    made = subprocess.run(world.grab("disk", "--device", disk.device, "--rate", f"{rate}MiB", "--json"),
                          capture_output=True, text=True, timeout=60, env=world.cli.env)
    assert made.returncode == 0, made.stderr
    order_id = field(json.loads(made.stdout.splitlines()[-1]), "exhibit.order.id")
    for _ in range(times):
        time.sleep(rng.uniform(0.2, megabytes / rate / times))
        strike()

    def done():
        answer = world.cli.run("orders", order_id, "--json", seconds=60)
        return next((row for row in answer.rows if field(row, "exhibit.order.state") in ("done", "failed")), None)
    row = until(done, count(300, 840), "the order's end")
    assert field(row, "exhibit.order.state") == "done", row
    assert sha256_of(image(fetched(world, field(row, "exhibit.order.exhibit")))) == disk.sha256


def test_a_collector_that_is_killed_again_and_again(world):
    def strike():
        world.collector.kill()
        world.collector.start()
    interrupted(world, count(48, 2048), count(8, 64), count(3, 20), strike)


def test_a_collector_that_is_gone_for_minutes(world):
    def strike():
        world.collector.kill()
        time.sleep(count(10, 180))
        world.collector.start()
    interrupted(world, 48, 8, 1, strike)


def test_an_agent_that_is_killed_again_and_again(world):
    def strike():
        world.agent.kill()
        world.agent.start()
    interrupted(world, count(48, 2048), count(8, 64), count(3, 20), strike)
