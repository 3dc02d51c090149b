# SPDX-License-Identifier: Apache-2.0
"""Orders made with another library, a host that the test plays, and people with both their certificates."""
import hashlib
import os
import queue
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import hashes

import basics
import order_pb2
import service_pb2
from basics import BIN
from daemons import Cli
from pki import TENANT, Identity, spiffe
from wire import CHANNEL_OPTIONS, Refused, credentials

ORDER, APPROVAL = b"exhibit/order/v1", b"exhibit/approval/v1"
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Person:
    name: str
    tls: Identity
    sign: Identity


def authority(site, *args, check=True):
    return subprocess.run([BIN / "exhibit", "authority", *map(str, args), "--dir", site.dir, "--tenant", TENANT],
                          capture_output=True, text=True, timeout=30, check=check)


def person(site, name, roles, **more):
    """Both certificates, by `exhibit authority issue`."""
    flags = [x for key, value in more.items() for x in (f"--{key.replace('_', '-')}", value)]
    authority(site, "issue", "--name", name, "--roles", roles, *flags)
    base = site.dir / f"responder-{name}"
    return Person(name, Identity(Path(f"{base}.crt"), Path(f"{base}.key")),
                  Identity(Path(f"{base}.sign.crt"), Path(f"{base}.sign.key")))


class PersonCli(Cli):
    """The CLI of somebody who may sign."""

    def __init__(self, site, who, address, folder, key=None):
        folder = Path(folder) / f"cli-{who.name}"
        folder.mkdir(exist_ok=True)
        super().__init__(site, who.tls, address, folder)
        config = yaml.safe_load(self.config.read_text())
        config.update({"signing-key": str(key or who.sign.key), "signing-cert": str(who.sign.cert)})
        self.config.write_text(yaml.safe_dump(config))


def an_order(who, host_ids, **fields):
    """A memory order that counts now, if nothing else is said."""
    now = time.time_ns()
    order = order_pb2.Order(version=1, tenant=TENANT.encode(), order_id=os.urandom(16), kind=order_pb2.ORDER_MEMORY,
                            hosts=[h.encode() for h in host_ids], case_id=b"INC-7", reason=b"a test",
                            requester=spiffe("responder", who.name).encode(), made_ns=now,
                            expires_ns=now + 3600 * SECOND, memory=order_pb2.MemoryOrder())
    for name, value in fields.items():
        setattr(order, name, value)
    return order


def signature(sign, domain, data):
    """As proto/order.proto writes it, by Python's cryptography."""
    key = serialization.load_pem_private_key(sign.key.read_bytes(), None)
    text = domain + b"\0" + hashlib.sha256(data).digest()
    cert = x509.load_pem_x509_certificate(sign.cert.read_bytes())
    made = key.sign(text, ec.ECDSA(hashes.SHA256())) if isinstance(key, ec.EllipticCurvePrivateKey) else key.sign(text)
    return order_pb2.OrderSignature(certificate=cert.public_bytes(serialization.Encoding.DER), signature=made)


def signed(order, who, approvers=(), sign=None):
    data = order.SerializeToString()
    return order_pb2.SignedOrder(order=data, requester=signature(sign or who.sign, ORDER, data),
                                 approvals=[signature(a.sign, APPROVAL, data) for a in approvers])


class Orders:
    """exhibit.v1.Orders as one person."""

    def __init__(self, site, identity, address):
        self.channel = grpc.secure_channel(address, credentials(identity.cert, identity.key, site.order_ca),
                                           CHANNEL_OPTIONS)

    def _call(self, method, request, answer, seconds=20):
        call = self.channel.unary_stream(f"/exhibit.v1.Orders/{method}",
                                         request_serializer=lambda r: r.SerializeToString(),
                                         response_deserializer=answer.FromString)
        return call(request, timeout=seconds)

    def submit(self, request, seconds=20):
        """The steps up to the first that concerns a host, or why it was refused."""
        steps = []
        call = self._call("Submit", request, service_pb2.OrderAnswer, seconds)
        try:
            for answer in call:
                steps.append(answer.step)
                if answer.step.host_id:
                    call.cancel()
                    break
        except grpc.RpcError as e:
            if not steps:
                raise Refused(e.code(), e.details() or "") from e
        return steps

    def all(self, method, request, answer=service_pb2.OrderAnswer):
        try:
            return list(self._call(method, request, answer))
        except grpc.RpcError as e:
            raise Refused(e.code(), e.details() or "") from e

    def steps(self, order_id):
        return [a.step for a in self.all("List", service_pb2.OrdersQuery(order_id=order_id))
                if a.WhichOneof("kind") == "step"]

    def states(self, order_id):
        return [order_pb2.OrderState.Name(s.state) for s in self.steps(order_id)]

    def close(self):
        self.channel.close()


class OrdersHost:
    """One Agent.Orders stream, played by the test."""

    def __init__(self, host, address, order_ca, revocations=0, checkpoint_size=0, hello=True):
        self.host = host
        self.channel = grpc.secure_channel(address, credentials(host.cert, host.key, order_ca), CHANNEL_OPTIONS)
        self.requests, self.changed = queue.Queue(), threading.Condition()
        self.hello = self.ended = None
        self.orders, self.lists, self.ledger, self.goodbyes = [], [], [], []
        self.call = self.channel.stream_stream(
            "/exhibit.v1.Agent/Orders", request_serializer=lambda r: r.SerializeToString(),
            response_deserializer=service_pb2.OrdersReply.FromString)(iter(self.requests.get, None))
        threading.Thread(target=self._read, daemon=True).start()
        if hello:
            self.say(hello=service_pb2.OrdersHello(
                hello=service_pb2.Hello(protocol_min=1, protocol_max=1, version=b"test"), revocations=revocations,
                checkpoint_size=checkpoint_size))
            self.wait(lambda: self.hello, "the hello's answer")

    def _read(self):
        kept = {"order": self.orders, "revocations": self.lists, "ledger": self.ledger, "goodbye": self.goodbyes}
        try:
            for reply in self.call:
                kind = reply.WhichOneof("kind")
                with self.changed:
                    if kind == "hello":
                        self.hello = reply.hello
                    else:
                        kept[kind].append(getattr(reply, kind))
                    self.changed.notify_all()
            ended = Refused(grpc.StatusCode.OK, "")
        except (grpc.RpcError, ValueError) as e:
            ended = Refused(e.code(), e.details() or "") if isinstance(e, grpc.RpcError) else e
        with self.changed:
            self.ended = ended
            self.changed.notify_all()

    def say(self, **kind):
        self.requests.put(service_pb2.OrdersRequest(**kind))

    def step(self, order_id, state, **more):
        self.say(step=order_pb2.OrderStep(order_id=order_id, state=state, wall_ns=time.time_ns(), **more))

    def wait(self, check, what, seconds=20):
        with self.changed:
            if not self.changed.wait_for(lambda: check() or self.ended, seconds):
                raise basics.TooLate(f"waited {seconds} s for {what}")
            if not check():
                raise self.ended
            return check()

    def close(self):
        self.requests.put(None)
        self.channel.close()
