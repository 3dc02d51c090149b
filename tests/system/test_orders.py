# SPDX-License-Identifier: Apache-2.0
"""Orders at the collector: who may give them, what is refused and with which sentence, where they go, what
survives. The host is played by the test, orders are signed by another library."""
import json
import os
import subprocess
import time

import grpc
import pytest

import order_pb2
import service_pb2
from basics import until
from daemons import field
from orders import (ORDER, SECOND, Orders, OrdersHost, Person, PersonCli, an_order, authority, person, signature,
                    signed)
from pki import TENANT, Identity, spiffe
from wire import Refused

SIGNING_EKU = "1.3.6.1.4.1.58888.1.2"
DONE, FAILED, STARTED, REFUSED = (order_pb2.ORDER_DONE, order_pb2.ORDER_FAILED, order_pb2.ORDER_STARTED,
                                  order_pb2.ORDER_REFUSED)


class World:
    def __init__(self, lab):
        self.lab, self.site = lab, lab.site
        self.ann = person(self.site, "ann-acq", "viewer,acquirer")
        self.bob = person(self.site, "bob-app", "approver")
        self.carl = person(self.site, "carl-app", "viewer,approver")
        self.dora = person(self.site, "dora-view", "viewer")
        self.opened = []

    def collector(self, **options):
        self.server = self.lab.collector(**{"orders.per-minute": "100000", "orders.per-host": "1024", **options})
        return self.server

    def orders(self, who):
        client = Orders(self.site, who.tls, self.server.address)
        self.opened.append(client)
        return client

    def host(self, identity=None, **more):
        host = OrdersHost(identity or self.lab.host_identity(), self.server.address, self.site.order_ca, **more)
        self.opened.append(host)
        return host

    def cli(self, who, **more):
        return PersonCli(self.site, who, self.server.address, self.server.dir, **more)

    def end(self):
        for x in self.opened:
            x.close()


@pytest.fixture
def world(lab):
    w = World(lab)
    yield w
    w.end()


@pytest.fixture(scope="module")
def shared(module_lab):
    """One collector for what leaves no mark."""
    w = World(module_lab)
    w.collector()
    yield w
    w.end()


def false_signer(site, name, authority_, roles=("acquirer",), use=SIGNING_EKU, **more):
    """A signing certificate in a person's name by whichever authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    import pki
    issuer = {"fleet": site.fleet, "order": site.order, "other": lambda: pki.Authority.make("other")}[authority_]()
    made, key = issuer.issue([spiffe("responder", name)], roles=roles, **more)
    builder = (x509.CertificateBuilder().subject_name(made.subject).issuer_name(made.issuer)
               .public_key(made.public_key()).serial_number(made.serial_number)
               .not_valid_before(made.not_valid_before).not_valid_after(made.not_valid_after))
    for ext in made.extensions:
        if ext.oid == x509.ExtendedKeyUsage.oid:
            ext = x509.Extension(ext.oid, True, x509.ExtendedKeyUsage([x509.ObjectIdentifier(use)]))
        builder = builder.add_extension(ext.value, ext.critical)
    builder = builder.add_extension(x509.KeyUsage(True, *[False] * 8), critical=True)
    base = site.dir / f"false-{name}-{authority_}-{made.serial_number}"
    identity = Identity(base.with_suffix(".crt"), base.with_suffix(".key"))
    pki.write_cert(identity.cert, builder.sign(issuer.key, hashes.SHA256()))
    pki.write_key(identity.key, key)
    return identity


# ---- refusals -------------------------------------------------------------------------------------------------

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


# ---- the way of an order --------------------------------------------------------------------------------------

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


# ---- approvals ------------------------------------------------------------------------------------------------

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


# ---- revocation -----------------------------------------------------------------------------------------------

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


# ---- limits ---------------------------------------------------------------------------------------------------

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


# ---- the CLI --------------------------------------------------------------------------------------------------

def known(world, identity):
    """A host that the collector knows: it has said hello on Events."""
    from wire import Host
    world.lab.client(Host(identity), world.server)
    return identity


GRAB = ("--case", "INC-9", "--reason", "beacon seen")


def test_grab_waits_and_tells_the_end(world):
    world.collector()
    host = world.host(known(world, world.lab.host_identity()))
    cli = world.cli(world.ann)
    grab = cli.popen("grab", "memory", "--host", host.host.host_id, "--wait", "--json", *GRAB)
    got = host.wait(lambda: host.orders and host.orders[0], "the order")
    order = order_pb2.Order.FromString(got.order)
    assert order.kind == order_pb2.ORDER_MEMORY and order.case_id == b"INC-9" and order.reason == b"beacon seen"
    host.step(order.order_id, STARTED)
    host.step(order.order_id, DONE, exhibit_id=b"\1" * 16, manifest_sha256=b"\2" * 32)
    out, err = grab.communicate(timeout=30)
    # This host made its exhibit up: the row lacks the manifest, and says so.
    assert grab.returncode == 3 and b"there is no exhibit" in err, err
    (row,) = [json.loads(line) for line in out.splitlines()]
    assert field(row, "exhibit.order.state") == "done" and field(row, "exhibit.order.exhibit") == "01" * 16
    assert field(row, "exhibit.order.manifest") == "02" * 32 and field(row, "host.id") == host.host.host_id
    for word in (b"made", b"sent", b"started", b"done"):
        assert word in err


def test_grab_fails_with_the_hosts_reason(world):
    world.collector()
    host = world.host(known(world, world.lab.host_identity()))
    grab = world.cli(world.ann).popen("grab", "memory", "--host", host.host.host_id, "--wait", *GRAB)
    got = host.wait(lambda: host.orders and host.orders[0], "the order")
    host.step(order_pb2.Order.FromString(got.order).order_id, REFUSED, reason=b"orders.deny names memory\x1b[2J")
    out, err = grab.communicate(timeout=30)
    assert grab.returncode == 2
    (row,) = [json.loads(line) for line in out.splitlines()]
    assert field(row, "exhibit.order.reason") == "orders.deny names memory\x1b[2J"
    assert b"\x1b" not in out + err


def test_grab_survives_the_collectors_restart(world):
    world.collector()
    host = world.host(known(world, world.lab.host_identity()))
    grab = world.cli(world.ann).popen("grab", "memory", "--host", host.host.host_id, "--wait", *GRAB)
    got = host.wait(lambda: host.orders and host.orders[0], "the order")
    order_id = order_pb2.Order.FromString(got.order).order_id
    host.step(order_id, STARTED)
    until(lambda: "ORDER_STARTED" in world.orders(world.ann).states(order_id), what="the start")
    world.server.kill()
    world.server.start()
    again = world.host(host.host)
    again.step(order_id, DONE, exhibit_id=b"\1" * 16, manifest_sha256=b"\2" * 32)
    out, err = grab.communicate(timeout=60)
    assert grab.returncode == 3 and b"there is no exhibit" in err, err
    assert b"the order is not" in err


def test_grab_without_wait_ends_when_the_order_is_made(world):
    world.collector()
    host = known(world, world.lab.host_identity())
    cli = world.cli(world.ann)
    answer = cli.run("grab", "disk", "--device", "/dev/sdz9", "--host", host.host_id, *GRAB)
    assert answer.code == 0 and "is made" in answer.err
    (row,) = cli.run("orders", "--json").rows
    assert field(row, "exhibit.order.kind") == "disk" and field(row, "exhibit.order.state") == "waiting"
    listed = cli.run("orders", field(row, "exhibit.order.id")[:8]).rows
    assert [field(r, "exhibit.order.state") for r in listed] == ["made", "waiting"]
    assert cli.run("orders", "--case", "nothing").code == 1
    assert len(cli.run("orders", "--host", host.host_id, "--since", "1m").rows) == 1
    assert cli.run("orders", "--until", "1m").code == 1
    assert "cut by --limit: only the newest 1 orders" in cli.run("orders", "--limit", "1").err
    assert "cut" not in cli.run("orders").err
    assert len(cli.run("orders", field(row, "exhibit.order.id").upper()).rows) == 2, "by the whole id"
    other = known(world, world.lab.host_identity())
    assert cli.run("orders", "--host", other.host_id).code == 1
    assert cli.run("orders", "--host", "nobody").code == 2
    assert cli.run("orders", "ffffffff").code == 2


def test_approve_signs_what_it_shows(world):
    world.collector(orders__require_approvals=["all=1"])
    host = world.host(known(world, world.lab.host_identity()))
    cli = world.cli(world.ann)
    assert cli.run("grab", "memory", "--host", host.host.host_id, *GRAB).code == 0
    (row,) = cli.run("orders").rows
    assert field(row, "exhibit.order.state") == "made"
    for said in (b"", b"n\n"):  # silence is no consent, nor is a pipe
        command = world.cli(world.bob).command("approve", field(row, "exhibit.order.id")[:8])
        silent = subprocess.run(command, input=said, capture_output=True, timeout=30, check=False)
        assert silent.returncode == 2 and b"nothing is signed; answer y, or give --yes" in silent.stderr, silent.stderr
    assert not host.orders
    answer = world.cli(world.bob).run("approve", field(row, "exhibit.order.id")[:8], "--yes")
    assert answer.code == 0, answer.err
    for text in ("memory", "the whole host", "INC-9", "beacon seen", "ann-acq", host.host.host_id):
        assert text in answer.err
    got = host.wait(lambda: host.orders and host.orders[0], "the order")
    assert len(got.approvals) == 1
    # The requester holds no role for it; the role alone would not do either.
    both = person(world.site, "both", "viewer,acquirer,approver")
    cli = world.cli(both)
    assert cli.run("grab", "memory", "--host", host.host.host_id, *GRAB).code == 0
    row = cli.run("orders").rows[-1]
    answer = cli.run("approve", field(row, "exhibit.order.id"), "--yes")
    assert answer.code == 2 and "of their own" in answer.err


@pytest.mark.parametrize("words,text", [
    (["memory", *GRAB], "--host is needed"),
    (["memory", "--host", "HOST", "--reason", "x"], "--case is needed"),
    (["memory", "--host", "HOST", "--case", "x"], "--reason is needed"),
    (["memory", "--host", "nobody", *GRAB], "there is no host 'nobody'"),
    (["shell", "--host", "HOST", *GRAB], "nothing that can be grabbed"),
    (["memory", "--host", "HOST", "--filter", "port 53", *GRAB], "takes no --filter"),
    (["core", "--host", "HOST", *GRAB], "'core' cannot be of a whole host"),
    (["core", "--host", "HOST", "--process", "x", *GRAB], "is no process"),
    (["disk", "--host", "HOST", *GRAB], "takes --device"),
    (["disk", "--host", "HOST", "--device", "/etc/shadow", *GRAB], "below /dev"),
    (["memory", "--host", "HOST", "--expires", "25h", *GRAB], "24 hours"),
    (["memory", "--host", "HOST", "--case", "../x", "--reason", "y"], "its case"),
    (["memory", "--host", "HOST", "--rate", "fast", *GRAB], "is not a value for --rate"),
])
def test_grab_refuses_with_a_sentence(shared, words, text):
    if not hasattr(shared, "known"):
        shared.known = known(shared, shared.lab.host_identity()).host_id
    answer = shared.cli(shared.ann).run("grab", *[shared.known if w == "HOST" else w for w in words])
    assert answer.code == 2 and text in answer.err and answer.err.count("\n") == 1, answer.err
    assert answer.out == ""


def test_a_viewer_cannot_grab(shared):
    shared.known = getattr(shared, "known", None) or known(shared, shared.lab.host_identity()).host_id
    answer = shared.cli(shared.dora).run("grab", "memory", "--host", shared.known, *GRAB)
    assert answer.code == 2 and "takes the role 'acquirer'" in answer.err


def test_a_key_on_a_token_orders(world, tmp_path):
    """P-256 in SoftHSM: the authority signs the public half, the CLI signs on the token."""
    world.collector()
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    conf = tmp_path / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {tokens}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(conf)
    run = lambda *words: subprocess.run(words, check=True, capture_output=True, timeout=30)
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "t.pem")
    run("softhsm2-util", "--init-token", "--free", "--label", "tok", "--so-pin", "1357", "--pin", "2468")
    run("softhsm2-util", "--import", tmp_path / "t.pem", "--token", "tok", "--label", "orders", "--id", "01",
        "--pin", "2468")
    (tmp_path / "t.pem").unlink()
    module = run("sh", "-c", "ls /usr/lib/*/softhsm/libsofthsm2.so | head -n 1").stdout.decode().strip()
    uri = f"pkcs11:token=tok;object=orders?pin-value=2468&module-path={module}"
    try:
        tom = person(world.site, "tom-token", "viewer,acquirer", signing_key=uri)
        host = world.host(known(world, world.lab.host_identity()))
        answer = world.cli(tom, key=uri).run("grab", "memory", "--host", host.host.host_id, *GRAB)
        assert answer.code == 0, answer.err
        assert host.wait(lambda: host.orders, "the order")
        wrong = world.cli(tom, key=uri.replace("2468", "9999")).run("grab", "memory", "--host", host.host.host_id,
                                                                    *GRAB)
        assert wrong.code == 2 and "9999" not in wrong.err
    finally:
        del os.environ["SOFTHSM2_CONF"]
