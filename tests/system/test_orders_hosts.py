# SPDX-License-Identifier: Apache-2.0
"""Where orders go, what hosts say of them, what survives, how many there may be. The host is played by the test."""
import os
import time

import grpc
import pytest

import order_pb2
import service_pb2
from basics import until
from orders import SECOND, an_order, person, signed
from orders_world import DONE, FAILED, STARTED, shared, world  # noqa: F401  (fixtures)
from pki import spiffe
from wire import Refused


def test_an_order_reaches_its_host_byte_for_byte_and_ends(world):
    world.collector()
    host, other = world.host(), world.host()
    order = an_order(world.ann, [host.host.host_id])
    s = signed(order, world.ann)
    orders = world.orders(world.ann)
    steps = orders.submit(s)
    assert [x.state for x in steps] == [order_pb2.ORDER_MADE, order_pb2.ORDER_SENT]
    got = host.wait(lambda: host.orders and host.orders[0], "the order")
    assert got == s
    exhibit, manifest = os.urandom(16), os.urandom(32)
    host.step(order.order_id, STARTED)
    host.step(order.order_id, order_pb2.ORDER_PROGRESS, bytes_done=5, bytes_total=10)
    host.step(order.order_id, DONE, exhibit_id=exhibit, manifest_sha256=manifest, bytes_done=10)
    until(lambda: orders.states(order.order_id)[-1] == "ORDER_DONE", what="the order's end")
    assert orders.states(order.order_id) == ["ORDER_MADE", "ORDER_SENT", "ORDER_STARTED", "ORDER_DONE"]
    last = orders.steps(order.order_id)[-1]
    assert last.exhibit_id == exhibit and last.manifest_sha256 == manifest and last.case_id == b"INC-7"
    assert last.actor.decode() == spiffe("host", host.host.host_id)
    assert not other.orders
    # Handed in again it is the same order: nothing is sent twice.
    assert [x.state for x in orders.submit(s)][0] == order_pb2.ORDER_MADE
    assert len(host.orders) == 1
    # Another order cannot take its name.
    order.reason = b"another reason"
    with pytest.raises(Refused) as refused:
        orders.submit(signed(order, world.ann))
    assert refused.value.code == grpc.StatusCode.ALREADY_EXISTS


def test_a_host_says_nothing_for_another(world):
    """Nor what it may not say, nor anything once it is over."""
    world.collector()
    host, evil = world.host(), world.host()
    order = an_order(world.ann, [host.host.host_id])
    orders = world.orders(world.ann)
    orders.submit(signed(order, world.ann))
    evil.step(order.order_id, DONE, host_id=host.host.host_id.encode())
    host.step(order.order_id, FAILED, reason=b"no room")
    until(lambda: orders.states(order.order_id)[-1] == "ORDER_FAILED", what="the order's end")
    host.step(order.order_id, DONE)
    evil.step(order.order_id, order_pb2.ORDER_APPROVED)
    evil.wait(lambda: evil.ended, "the end of the stream")
    assert evil.ended.code == grpc.StatusCode.INVALID_ARGUMENT
    assert orders.states(order.order_id) == ["ORDER_MADE", "ORDER_SENT", "ORDER_FAILED"]


def test_a_host_keeps_so_many_streams(world):
    """The newest counts; whoever opens more loses its own oldest."""
    world.collector()
    streams = [world.host()]
    streams += [world.host(streams[0].host) for _ in range(4)]
    until(lambda: streams[0].ended, what="the end of the oldest")
    assert streams[0].ended.code == grpc.StatusCode.ABORTED and not any(s.ended for s in streams[1:])
    order = an_order(world.ann, [streams[0].host.host_id])
    world.orders(world.ann).submit(signed(order, world.ann))
    streams[4].wait(lambda: streams[4].orders, "the order")
    assert not any(s.orders for s in streams[1:4])
    streams[4].close()
    again = an_order(world.ann, [streams[0].host.host_id])
    until(lambda: world.orders(world.ann).submit(signed(again, world.ann)), what="the order")
    until(lambda: streams[3].orders or streams[4].orders, what="the order on the next stream")


@pytest.mark.parametrize("sent", [b"\xff\xff", b"", b"\x0a\x00"])
def test_a_hosts_garbage_ends_its_stream(shared, sent):
    host = shared.host(hello=False)
    host.requests.put(type("Raw", (), {"SerializeToString": lambda self: sent})())
    host.step(b"x" * 16, DONE)
    until(lambda: host.ended, what="the end of the stream")
    assert host.ended.code == grpc.StatusCode.INVALID_ARGUMENT


def test_an_order_waits_for_its_host_also_across_a_kill(world):
    world.collector()
    identity = world.lab.host_identity()
    order = an_order(world.ann, [identity.host_id])
    s = signed(order, world.ann)
    steps = world.orders(world.ann).submit(s)
    assert [x.state for x in steps] == [order_pb2.ORDER_MADE, order_pb2.ORDER_WAITING]
    world.server.kill()
    world.server.start()
    host = world.host(identity)
    assert host.wait(lambda: host.orders and host.orders[0], "the order") == s
    host.step(order.order_id, STARTED)
    orders = world.orders(world.ann)
    until(lambda: orders.states(order.order_id)[-1] == "ORDER_STARTED", what="the host's word")
    world.server.kill()
    world.server.start()
    again = world.host(identity)
    time.sleep(6)  # longer than a host is given to say what it knows
    assert not again.orders, "an order that had started was sent again"
    again.step(order.order_id, DONE)
    orders = world.orders(world.ann)
    until(lambda: orders.states(order.order_id)[-1] == "ORDER_DONE", what="the order's end")
    assert orders.states(order.order_id) == ["ORDER_MADE", "ORDER_WAITING", "ORDER_SENT", "ORDER_STARTED",
                                             "ORDER_DONE"]


def test_what_a_host_may_not_have_got_is_sent_again(world):
    world.collector()
    host = world.host()
    order = an_order(world.ann, [host.host.host_id])
    world.orders(world.ann).submit(signed(order, world.ann))
    host.wait(lambda: host.orders, "the order")
    host.close()
    again = world.host(host.host)
    again.wait(lambda: again.orders, "the order, again")
    assert again.orders[0].order == order.SerializeToString()


def test_an_order_expires(world):
    world.collector()
    order = an_order(world.ann, ["nobody"], expires_ns=time.time_ns() + 2 * SECOND)
    orders = world.orders(world.ann)
    orders.submit(signed(order, world.ann))
    until(lambda: orders.states(order.order_id)[-1] == "ORDER_EXPIRED", what="the order's end")
    assert b"did not return in time" in orders.steps(order.order_id)[-1].reason


def test_an_order_is_held_back_until_its_time(world):
    world.collector()
    host = world.host()
    order = an_order(world.ann, [host.host.host_id], not_before_ns=time.time_ns() + 3 * SECOND)
    call = world.orders(world.ann)
    assert len(call.all("List", service_pb2.OrdersQuery())) == 0
    submit = call._call("Submit", signed(order, world.ann), service_pb2.OrderAnswer)
    assert next(submit).step.state == order_pb2.ORDER_MADE
    host.wait(lambda: host.orders, "the order")
    assert time.time_ns() >= order.not_before_ns
    submit.cancel()


# ---- limits ----------------------------------------------------------------------------------------------

def test_a_thousand_orders_a_minute_are_too_many(world):
    world.collector(**{"orders.per-minute": "60"})
    orders = world.orders(world.ann)
    taken = 0
    for _ in range(1000):
        try:
            orders.submit(signed(an_order(world.ann, ["nobody"]), world.ann))
            taken += 1
        except Refused as e:
            refused = e
            break
    assert 60 <= taken < 200
    assert refused.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "more than 60 orders within a minute" in refused.sentence and "wait " in refused.sentence
    # Another person is not held up by it.
    eve = person(world.site, "eve-acq", "acquirer")
    world.orders(eve).submit(signed(an_order(eve, ["nobody"]), eve))


def test_a_host_has_so_many_open_orders(world):
    world.collector(**{"orders.per-host": "2"})
    orders = world.orders(world.ann)
    for _ in range(2):
        orders.submit(signed(an_order(world.ann, ["busy"]), world.ann))
    with pytest.raises(Refused) as refused:
        orders.submit(signed(an_order(world.ann, ["idle", "busy"]), world.ann))
    assert "2 orders for host 'busy' are open already" in refused.value.sentence
    orders.submit(signed(an_order(world.ann, ["idle"]), world.ann))
