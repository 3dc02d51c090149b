# SPDX-License-Identifier: Apache-2.0
"""A collector that takes orders, the people who give them, and false ones."""
import pytest

import order_pb2
from orders import Orders, OrdersHost, PersonCli, person
from pki import Identity, spiffe


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


def known(world, identity):
    """A host that the collector knows: it has said hello on Events."""
    from wire import Host
    world.lab.client(Host(identity), world.server)
    return identity
