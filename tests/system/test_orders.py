# SPDX-License-Identifier: Apache-2.0
"""Orders at the collector: who may give them, what is refused and with which sentence. Orders are signed by another
library."""
import time

import grpc
import pytest

import order_pb2
import service_pb2
from orders import ORDER, Orders, Person, SECOND, an_order, person, signature, signed
from orders_world import REFUSED, false_signer, shared  # noqa: F401  (fixtures)
from wire import Refused


def by_fleet(w, order):
    return signed(order, w.ann, sign=false_signer(w.site, w.ann.name, "fleet"))


def by_stranger(w, order):
    return signed(order, w.ann, sign=false_signer(w.site, w.ann.name, "other"))


def by_tls_key(w, order):
    return signed(order, w.ann, sign=w.ann.tls)


def by_expired(w, order):
    return signed(order, w.ann, sign=false_signer(w.site, w.ann.name, "order", begins=-7200, ends=-3600))


def by_another(w, order):
    return signed(order, w.ann, sign=w.bob.sign)


def without_role(w, order):
    return signed(order, w.ann, sign=false_signer(w.site, w.ann.name, "order", roles=("viewer",)))


def altered(w, order):
    s = signed(order, w.ann)
    order.reason = b"another"
    s.order = order.SerializeToString()
    return s


def expired(w, order):
    order.made_ns -= 7200 * SECOND
    order.expires_ns -= 7200 * SECOND
    return signed(order, w.ann)


def too_long(w, order):
    order.expires_ns = order.made_ns + 25 * 3600 * SECOND
    return signed(order, w.ann)


def of_tomorrow(w, order):
    order.made_ns += 3600 * SECOND
    order.expires_ns += 3600 * SECOND
    return signed(order, w.ann)


def other_tenant(w, order):
    order.tenant = b"evil"
    return signed(order, w.ann)


def self_approved(w, order):
    ann = Person(w.ann.name, w.ann.tls, false_signer(w.site, w.ann.name, "order", roles=("approver",)))
    return signed(order, w.ann, [ann])


def approved_by_viewer(w, order):
    return signed(order, w.ann, [w.dora])


def unsigned(w, order):
    return order_pb2.SignedOrder(order=order.SerializeToString())


def command_line(w, order):
    """A field that nobody knows: were there a later version with a command line, it would not run here."""
    s = order_pb2.SignedOrder(order=order.SerializeToString() + b"\xfa\x0f\x07rm -rf/")
    s.requester.CopyFrom(signature(w.ann.sign, ORDER, s.order))
    return s


@pytest.mark.parametrize("spoil,code,text", [
    (by_fleet, "PERMISSION_DENIED", "fleet authority may not issue a certificate for a responder"),
    (by_stranger, "PERMISSION_DENIED", "neither the fleet nor the order authority"),
    (by_tls_key, "PERMISSION_DENIED", "not one for signing orders"),
    (by_expired, "FAILED_PRECONDITION", "expired"),
    (by_another, "PERMISSION_DENIED", "in the name of"),
    (without_role, "PERMISSION_DENIED", "does not hold the role 'acquirer'"),
    (altered, "INVALID_ARGUMENT", "signature is false"),
    (expired, "FAILED_PRECONDITION", "the order expired"),
    (too_long, "INVALID_ARGUMENT", "longer than 24 hours"),
    (of_tomorrow, "FAILED_PRECONDITION", "not valid for another"),
    (other_tenant, "PERMISSION_DENIED", "of tenant 'evil'"),
    (self_approved, "PERMISSION_DENIED", "cannot approve an order of their own"),
    (approved_by_viewer, "PERMISSION_DENIED", "does not hold the role 'approver'"),
    (unsigned, "INVALID_ARGUMENT", "not signed"),
    (command_line, "INVALID_ARGUMENT", "does not know"),
])
def test_an_order_is_refused(shared, spoil, code, text):
    """With one sentence, and no host hears of it."""
    host = shared.host()
    order = an_order(shared.ann, [host.host.host_id])
    with pytest.raises(Refused) as refused:
        shared.orders(shared.ann).submit(spoil(shared, order))
    assert refused.value.code.name == code and text in refused.value.sentence
    time.sleep(0.7)  # longer than the collector takes to look at what it could send
    assert not host.orders


def test_a_refused_order_is_listed_with_its_reason(shared):
    order = an_order(shared.ann, ["nobody"])
    with pytest.raises(Refused):
        shared.orders(shared.ann).submit(self_approved(shared, order))
    (step,) = shared.orders(shared.dora).steps(order.order_id)
    assert step.state == REFUSED and b"of their own" in step.reason


@pytest.mark.parametrize("name,method,request_", [
    ("dora", "Submit", order_pb2.SignedOrder()),
    ("bob", "Submit", order_pb2.SignedOrder()),
    ("ann", "Approve", service_pb2.ApproveRequest()),
    ("dora", "Approve", service_pb2.ApproveRequest()),
])
def test_a_method_takes_its_role(shared, name, method, request_):
    with pytest.raises(Refused) as refused:
        shared.orders(getattr(shared, name)).all(method, request_)
    assert refused.value.code == grpc.StatusCode.PERMISSION_DENIED and "takes the role" in refused.value.sentence


def test_hosts_may_not_order(shared):
    host = shared.lab.host_identity()
    client = Orders(shared.site, host, shared.server.address)
    with pytest.raises(Refused) as refused:
        client.all("List", service_pb2.OrdersQuery())
    assert refused.value.code == grpc.StatusCode.PERMISSION_DENIED
    client.close()


def test_somebody_elses_order_is_not_taken(shared):
    eve = person(shared.site, "eve-acq", "acquirer")
    with pytest.raises(Refused) as refused:
        shared.orders(eve).submit(signed(an_order(shared.ann, ["h"]), shared.ann))
    assert "'eve-acq' brings it" in refused.value.sentence


def test_a_signing_certificate_does_not_open_tls(shared):
    """The key for orders is of no use on the network, were it stolen from a token's host."""
    client = Orders(shared.site, false_signer(shared.site, shared.ann.name, "order"), shared.server.address)
    with pytest.raises(Refused) as refused:
        client.all("List", service_pb2.OrdersQuery())
    assert refused.value.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)
    client.close()
