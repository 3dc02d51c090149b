# SPDX-License-Identifier: Apache-2.0
"""A host that uploads what no order asked it for, to the real collector: refused with one sentence, and nothing of it is
kept."""
import os

import grpc
import pytest

import order_pb2
import service_pb2
from basics import until
from daemons import field
from orders import Orders, OrdersHost, PersonCli, an_order, person, signed
from orders_world import known
from test_ledger import Folder, Key
from vault_agent import Agent, Item, asked
from wire import Refused

MEMORY, DISK = order_pb2.ORDER_MEMORY, order_pb2.ORDER_DISK
ITEM = Item("a.raw", b"not asked for")


class World:
    def __init__(self, lab):
        self.lab, self.site, self.server = lab, lab.site, lab.collector()
        self.ann = person(self.site, "ann-up", "viewer,acquirer")
        self.orders = Orders(self.site, self.ann.tls, self.server.address)
        self.cli = PersonCli(self.site, self.ann, self.server.address, self.server.dir)
        self.opened = [self.orders]

    def host(self):
        return known(self, self.lab.host_identity())

    def stream(self, identity):
        self.opened.append(OrdersHost(identity, self.server.address, self.site.order_ca))
        return self.opened[-1]

    def order(self, identity, **fields):
        """Submitted, with its first step for the host: sent, or waiting for it."""
        order = an_order(self.ann, [identity.host_id], **fields)
        self.orders.submit(signed(order, self.ann))
        return order.order_id

    def sent(self, identity):
        stream = self.stream(identity)
        order_id = self.order(identity)
        stream.wait(lambda: stream.orders, "the order")
        return order_id, stream

    def upload(self, identity, order_id, exhibit_id=None, kind=MEMORY):
        return Agent(identity, self.server, self.site.order_ca).once(order_id, exhibit_id or os.urandom(16), [ITEM],
                                                                    kind=kind)

    def over(self, identity, state):
        order_id, stream = self.sent(identity)
        stream.step(order_id, state)
        name = order_pb2.OrderState.Name(state)
        until(lambda: self.orders.states(order_id)[-1] == name, what="the host's word")
        return order_id

    def exhibits(self):
        return {field(row, "exhibit.id") for row in self.cli.run("exhibits", "--json").rows}


@pytest.fixture(scope="module")
def world(module_lab):
    w = World(module_lab)
    yield w
    for x in w.opened:
        x.close()
    assert w.server.stop() == 0
    w.server.check()
    # Not a leaf of what was refused.
    key = Key((w.site.dir / "ledger.crt").read_bytes(), w.site.order_ca)
    leaves = [e for e in Folder(w.server.store / ".ledger", key).all() if e.kind == service_pb2.LEDGER_EXHIBIT]
    assert sorted(e.exhibit_id for e in leaves) == sorted(w.taken)


World.taken = []


def nobodys(w, host):
    return os.urandom(16), MEMORY


def stand_ins(w, host):
    """What driver_vault takes for an order."""
    return asked(), MEMORY


def never_sent(w, host):
    return w.order(host), MEMORY


def anothers(w, host):
    return w.sent(w.host())[0], MEMORY


def of_another_kind(w, host):
    return w.sent(host)[0], DISK


def refused_by_the_host(w, host):
    return w.over(host, order_pb2.ORDER_REFUSED), MEMORY


def done(w, host):
    return w.over(host, order_pb2.ORDER_DONE), MEMORY


def failed(w, host):
    return w.over(host, order_pb2.ORDER_FAILED), MEMORY


@pytest.mark.parametrize("make, sentence", [
    (nobodys, "no order asks this host"), (stand_ins, "no order asks this host"), (never_sent, "no order asks this host"),
    (anothers, "no order asks this host"), (of_another_kind, "an exhibit of another kind"),
    (refused_by_the_host, "the order is over"), (done, "the order is over"), (failed, "the order is over"),
], ids=lambda x: x.__name__ if callable(x) else "")
def test_what_no_order_asked_for(make, sentence, world):
    host, before = world.host(), world.exhibits()
    order_id, kind = make(world, host)
    with pytest.raises(Refused) as refused:
        world.upload(host, order_id, kind=kind)
    assert refused.value.code == grpc.StatusCode.PERMISSION_DENIED
    assert sentence in refused.value.sentence and "\n" not in refused.value.sentence
    assert world.exhibits() == before


def test_another_tenants_host(world):
    """With the id of an order of ours."""
    host = world.host()
    order_id, _ = world.sent(host)
    with pytest.raises(Refused) as refused:
        world.upload(world.site.host(host.host_id + "-x", tenant="other"), order_id)
    assert refused.value.code == grpc.StatusCode.PERMISSION_DENIED
    assert "no order asks this host" in refused.value.sentence


def test_what_was_asked_for_is_taken_and_its_receipt_given_again(world):
    """Also once the order is done: the host may not have got the first."""
    host, exhibit_id = world.host(), os.urandom(16)
    order_id, stream = world.sent(host)
    receipt = world.upload(host, order_id, exhibit_id)
    world.taken.append(exhibit_id)
    stream.step(order_id, order_pb2.ORDER_DONE, exhibit_id=exhibit_id)
    until(lambda: world.orders.states(order_id)[-1] == "ORDER_DONE", what="the order's end")
    assert world.upload(host, order_id, exhibit_id) == receipt
    with pytest.raises(Refused) as refused:
        world.upload(host, order_id)
    assert "the order is over" in refused.value.sentence
