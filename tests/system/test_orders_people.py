# SPDX-License-Identifier: Apache-2.0
"""Who approves, and who is revoked."""
import time

import pytest

import order_pb2
import service_pb2
from basics import until
from orders import an_order, authority, person, signature, signed
from orders_world import DONE, false_signer, shared, world  # noqa: F401  (fixtures)
from pki import TENANT
from wire import Refused


def test_approvals_are_waited_for(world):
    world.collector(orders__require_approvals=["memory=2"])
    host = world.host()
    order = an_order(world.ann, [host.host.host_id])
    s = signed(order, world.ann)
    submit = world.orders(world.ann)._call("Submit", s, service_pb2.OrderAnswer, 60)
    assert next(submit).step.state == order_pb2.ORDER_MADE
    data = order.SerializeToString()

    def approve(who, sign=None):
        return world.orders(who).all("Approve", service_pb2.ApproveRequest(
            order_id=order.order_id, approval=signature(sign or who.sign, b"exhibit/approval/v1", data)))

    (shown,) = world.orders(world.bob).all("Approve", service_pb2.ApproveRequest(order_id=order.order_id))
    assert shown.order.order == data
    approve(world.bob)
    for who, sign, text in [(world.bob, None, "approved the order twice"),
                            (world.carl, world.bob.sign, "twice"),
                            (world.carl, false_signer(world.site, "carl-app", "fleet", ("approver",)), "fleet authority"),
                            (world.carl, false_signer(world.site, "carl-app", "order", ("viewer",)), "role 'approver'")]:
        with pytest.raises(Refused) as refused:
            approve(who, sign)
        assert text in refused.value.sentence
    time.sleep(0.7)
    assert not host.orders
    approve(world.carl)
    got = host.wait(lambda: host.orders and host.orders[0], "the order")
    assert got.order == data and len(got.approvals) == 2
    host.step(order.order_id, DONE)
    states = [a.step.state for a in submit]
    assert states == [order_pb2.ORDER_APPROVED, order_pb2.ORDER_APPROVED, order_pb2.ORDER_SENT, DONE]


# ---- revocation ------------------------------------------------------------------------------------------

def test_the_revoked_order_nothing_from_the_next_list_on(world):
    world.collector()
    zoe = person(world.site, "zoe-acq", "viewer,acquirer")
    host = world.host()
    orders = world.orders(zoe)
    orders.submit(signed(an_order(zoe, [host.host.host_id]), zoe))
    tail = world.cli(zoe).popen("tail")
    time.sleep(1)
    authority(world.site, "revoke", "--name", "zoe-acq")
    told = authority(world.site, "publish", "--config", world.cli(world.ann).config)
    assert "the collector holds list" in told.stdout
    got = host.wait(lambda: host.lists and host.lists[0], "the revocation list")
    parsed = order_pb2.RevocationList.FromString(got.list)
    assert {zoe.tls.serial().encode(), zoe.sign.serial().encode()} <= set(parsed.serials)
    with pytest.raises(Refused) as refused:
        orders.submit(signed(an_order(zoe, [host.host.host_id]), zoe))
    assert "is revoked" in refused.value.sentence
    # What was open is cut off, and questions are refused as well.
    _, err = tail.communicate(timeout=20)
    assert tail.returncode == 2 and b"is revoked" in err
    assert "is revoked" in world.cli(zoe).run("hosts").err
    # Whoever still has a good name on the network cannot pass on what a revoked key signed.
    world.server.kill()
    world.server.start()
    late = world.host(host.host, revocations=parsed.number - 1)
    assert late.wait(lambda: late.lists, "the list, after a kill")[0] == got
    knows = world.host(revocations=parsed.number)
    with pytest.raises(Refused):
        world.orders(zoe).all("List", service_pb2.OrdersQuery())
    assert not knows.lists


def test_what_waits_is_refused_when_its_signer_is_revoked(world):
    """A host would take it for the collector's own making, and raise the alarm."""
    world.collector()
    yan = person(world.site, "yan-acq", "viewer,acquirer")
    identity = world.lab.host_identity()
    order = an_order(yan, [identity.host_id])
    world.orders(yan).submit(signed(order, yan))
    authority(world.site, "revoke", "--name", "yan-acq")
    authority(world.site, "publish", "--config", world.cli(world.ann).config)
    host = world.host(identity)
    orders = world.orders(world.ann)
    until(lambda: orders.states(order.order_id)[-1] == "ORDER_REFUSED", what="the refusal")
    assert b"is revoked" in orders.steps(order.order_id)[-1].reason
    assert not host.orders


def test_lists_that_nobody_lawful_signed_are_refused(shared):
    import pki
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    import hashlib
    data = order_pb2.RevocationList(version=1, tenant=TENANT.encode(), number=10**6).SerializeToString()
    text = b"exhibit/revocations/v1\0" + hashlib.sha256(data).digest()
    for issuer in (shared.site.fleet(), pki.Authority.make("other")):
        false = order_pb2.SignedRevocationList(list=data, signature=issuer.key.sign(text, ec.ECDSA(hashes.SHA256())))
        with pytest.raises(Refused) as refused:
            shared.orders(shared.ann).all("Publish", false, service_pb2.PublishReply)
        assert "not signed by the order authority" in refused.value.sentence
