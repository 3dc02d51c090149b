# SPDX-License-Identifier: Apache-2.0
"""No room left for orders, the ledger, the vault, or what a responder fetches: one clear sentence, nothing half done,
and all of it goes on where it stopped once there is room."""
import os
import subprocess

import grpc
import pytest

import order_pb2
import service_pb2
from basics import until
from daemons import field
from orders import Orders, OrdersHost, PersonCli, an_order, person, signed
from orders_world import known
from test_disk import fill, small_disk  # noqa: F401  (a fixture)
from test_ledger import Folder, Key
from vault_agent import Agent, Item, MiB, noise
from wire import Refused

DONE, STARTED = order_pb2.ORDER_DONE, order_pb2.ORDER_STARTED


class World:
    """Everything of a collector's on a file system of 16 MiB."""

    def __init__(self, lab, folder):
        self.lab, self.site, self.disk = lab, lab.site, folder
        self.server = lab.collector(store__dir=folder / "store", vault__immutable="false")
        self.ann = person(self.site, "ann-full", "viewer,acquirer")
        self.orders = Orders(self.site, self.ann.tls, self.server.address)
        self.cli = PersonCli(self.site, self.ann, self.server.address, self.server.dir)
        self.identity = known(self, lab.host_identity())
        self.host = OrdersHost(self.identity, self.server.address, self.site.order_ca)
        self.agent = Agent(self.identity, self.server, self.site.order_ca)

    def sent(self):
        order = an_order(self.ann, [self.identity.host_id])
        n = len(self.host.orders)
        self.orders.submit(signed(order, self.ann))
        self.host.wait(lambda: len(self.host.orders) > n, "the order")
        return order.order_id

    def leaves(self):
        """Of a collector that has ended."""
        key = Key((self.site.dir / "ledger.crt").read_bytes(), self.site.order_ca)
        return Folder(self.server.store / ".ledger", key).all()

    def close(self):
        self.orders.close()
        self.host.close()


@pytest.fixture
def world(lab, small_disk):  # noqa: F811
    w = World(lab, small_disk)
    yield w
    w.close()
    if w.server.running():
        w.server.kill()


def test_an_order_that_cannot_be_kept_is_not_given(world):
    before = world.sent()
    ballast = fill(world.disk)
    order = an_order(world.ann, [world.identity.host_id])
    with pytest.raises(Refused) as refused:
        world.orders.submit(signed(order, world.ann))
    assert refused.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED, refused.value
    assert "cannot" in refused.value.sentence and "\n" not in refused.value.sentence
    assert len(world.host.orders) == 1
    # Questions are answered meanwhile.
    assert "ORDER_SENT" in world.orders.states(before)
    ballast.unlink()
    # The very same order counts now, once.
    world.orders.submit(signed(order, world.ann))
    world.host.wait(lambda: len(world.host.orders) == 2, "the order")
    assert world.host.orders[1].order == order.SerializeToString()
    assert world.server.stop() == 0
    world.server.check()


def test_a_hosts_word_is_taken_once_there_is_room(world):
    order_id = world.sent()
    ballast = fill(world.disk)
    world.host.step(order_id, STARTED)
    until(lambda: world.host.ended, what="the end of the stream: what it said is not kept")
    ballast.unlink()
    world.host = OrdersHost(world.identity, world.server.address, world.site.order_ca)
    world.host.step(order_id, STARTED)
    world.host.step(order_id, DONE)
    until(lambda: world.orders.states(order_id)[-1] == "ORDER_DONE", what="the order's end")
    assert world.orders.states(order_id) == ["ORDER_MADE", "ORDER_SENT", "ORDER_STARTED", "ORDER_DONE"]
    assert world.server.stop() == 0
    world.server.check()


def test_an_exhibit_goes_on_once_there_is_room(world):
    order_id, exhibit_id, item = world.sent(), os.urandom(16), Item("a.raw", noise(6 * MiB + 7))
    ballast = world.disk / "ballast"
    with open(ballast, "wb") as f:
        while True:
            s = os.statvfs(world.disk)
            if s.f_bavail * s.f_bsize < 4 * MiB:
                break
            f.write(bytes(MiB))
            f.flush()
    with pytest.raises(Refused) as refused:
        world.agent.once(order_id, exhibit_id, [item])
    assert refused.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED, refused.value
    assert "\n" not in refused.value.sentence
    ballast.unlink()
    world.agent.stubborn(order_id, exhibit_id, [item])
    row, = world.cli.run("exhibits", exhibit_id.hex(), "--json").rows
    assert field(row, "exhibit.state") == "sealed", row
    assert world.server.stop() == 0
    world.server.check()
    assert [e.exhibit_id for e in world.leaves() if e.kind == service_pb2.LEDGER_EXHIBIT] == [exhibit_id]


@pytest.fixture
def sealed(lab, small_disk):  # noqa: F811
    """An exhibit of 20 MiB on a disk that has room; what is fetched goes to one of 16."""
    (small_disk / "none").mkdir()
    w = World(lab, lab.dir / "roomy")
    w.small, w.exhibit, w.item = small_disk, os.urandom(16), Item("a.raw", noise(20 * MiB))
    w.agent.once(w.sent(), w.exhibit, [w.item])
    yield w
    w.close()


def test_fetch_goes_on_elsewhere_or_with_more_room(sealed):
    answer = sealed.cli.run("fetch", sealed.exhibit.hex(), "--out", sealed.small / "out", seconds=60)
    assert answer.code == 2 and "No space left on device" in answer.err and answer.err.count("\n") == 1, answer.err
    assert not (sealed.small / "out" / "a.raw").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", sealed.small], check=True, timeout=20)
    answer = sealed.cli.run("fetch", sealed.exhibit.hex(), "--out", sealed.small / "out", "--json", seconds=60)
    assert answer.code == 0, answer.err
    assert [r["outcome"] for r in answer.rows if r["file"]["path"] == "a.raw"] == ["gone on with"]
    assert (sealed.small / "out" / "a.raw").read_bytes() == sealed.item.data


def test_export_leaves_nothing_half(sealed):
    answer = sealed.cli.run("export", "INC-7", "--out", sealed.small / "case.tar", seconds=60)
    assert answer.code == 2 and "No space left on device" in answer.err and answer.err.count("\n") == 1, answer.err
    assert [p.name for p in sealed.small.iterdir()] == ["none"]
