# SPDX-License-Identifier: Apache-2.0
"""Authorities and certificates: the product's own, and false ones made with another library."""
import datetime
import ipaddress
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import basics
import batch_pb2

DOMAIN = "exhibit.internal"
TENANT = "acme"
ROLES_OID = x509.ObjectIdentifier("1.3.6.1.4.1.58888.1.1")


@dataclass(frozen=True)
class Identity:
    """A certificate and its key as files."""
    cert: Path
    key: Path

    def serial(self):
        return f"{x509.load_pem_x509_certificate(self.cert.read_bytes()).serial_number:x}"


@dataclass(frozen=True)
class HostIdentity(Identity):
    """What a host owns beside its certificate."""
    tenant: str
    host_id: str
    seal_key: Path
    record: Path


def spiffe(kind, name, tenant=TENANT, domain=DOMAIN):
    return f"spiffe://{domain}/{tenant}/{kind}/{name}"


def write_key(path, key):
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))
    path.chmod(0o600)


def write_cert(path, cert):
    path.write_bytes(cert.public_bytes(serialization.Encoding.PEM))


class Authority:
    """One authority's key and certificate; issues whatever it is asked, lawful or not."""

    def __init__(self, cert, key):
        self.cert, self.key = cert, key

    @classmethod
    def load(cls, base):
        return cls(x509.load_pem_x509_certificate(Path(f"{base}.crt").read_bytes()),
                   serialization.load_pem_private_key(Path(f"{base}.key").read_bytes(), None))

    @classmethod
    def make(cls, common_name):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        now = datetime.datetime.utcnow()
        cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(minutes=5))
                .not_valid_after(now + datetime.timedelta(days=2))
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
                .sign(key, hashes.SHA256()))
        return cls(cert, key)

    def issue(self, uris, key=None, begins=-300, ends=3600, sans=(), server=False, roles=()):
        """A certificate with these URI names, valid from begins to ends seconds from now."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.utcnow()
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        for san in sans:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(san)))
            except ValueError:
                names.append(x509.DNSName(san))
        use = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if server else [])
        builder = (x509.CertificateBuilder()
                   .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")]))
                   .issuer_name(self.cert.subject).public_key(key.public_key())
                   .serial_number(x509.random_serial_number())
                   .not_valid_before(now + datetime.timedelta(seconds=begins))
                   .not_valid_after(now + datetime.timedelta(seconds=ends))
                   .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                   .add_extension(x509.ExtendedKeyUsage(use), critical=False))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if roles:
            builder = builder.add_extension(x509.UnrecognizedExtension(ROLES_OID, roles_value(roles)),
                                            critical=False)
        return builder.sign(self.key, hashes.SHA256()), key

    def issue_files(self, base, uris, **kwargs):
        cert, key = self.issue(uris, **kwargs)
        identity = Identity(Path(f"{base}.crt"), Path(f"{base}.key"))
        write_cert(identity.cert, cert)
        write_key(identity.key, key)
        return identity


def roles_value(roles):
    """ExhibitRoles of proto/certs.h as DER: a SEQUENCE of UTF8Strings."""
    words = b"".join(b"\x0c" + bytes([len(role)]) + role.encode() for role in roles)
    return b"\x30" + bytes([len(words)]) + words


def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def host_record(fleet, tenant, host_id, sealing_public, host_name=b"testhost"):
    """A SignedHostRecord as proto/README.md writes it."""
    record = batch_pb2.HostRecord(version=1, tenant=tenant.encode(), host_id=host_id.encode(),
                                  host_name=host_name, sealing_key=sealing_public,
                                  key_id=key_id(sealing_public),
                                  valid_from_ns=1_700_000_000_000_000_000).SerializeToString()
    signature = fleet.key.sign(b"exhibit/host-record/v1\0" + record, ec.ECDSA(hashes.SHA256()))
    return batch_pb2.SignedHostRecord(record=record, signature=signature).SerializeToString()


def key_id(public):
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public)
    return digest.finalize()[:8]


class Site:
    """One customer: two authorities and a collector's certificate in one folder, by `certs`."""

    def __init__(self, folder, tenant=TENANT):
        self.dir, self.tenant = Path(folder), tenant
        self.certs("init")
        self.certs("collector", "--tenant", tenant, "--name", "collector", "--san", "localhost,127.0.0.1,::1")
        self.collector = Identity(self.dir / "collector-collector.crt", self.dir / "collector-collector.key")
        self.fleet_ca, self.order_ca = self.dir / "fleet-ca.crt", self.dir / "order-ca.crt"
        self.ledger_key = self.dir / "ledger.key"
        self.hosts = self.dir / "hosts"
        self.hosts.mkdir(exist_ok=True)

    def certs(self, verb, *args):
        subprocess.run([basics.BIN / "exhibit-collector", "certs", verb, "--dir", self.dir, *args],
                       check=True, capture_output=True, text=True, timeout=30)

    def fleet(self):
        return Authority.load(self.dir / "fleet-ca")

    def order(self):
        return Authority.load(self.dir / "order-ca")

    def host(self, host_id, tenant=None):
        """A host as `certs host` makes it."""
        tenant = tenant or self.tenant
        self.certs("host", "--tenant", tenant, "--id", host_id)
        base = self.dir / f"host-{host_id}"
        return HostIdentity(Path(f"{base}.crt"), Path(f"{base}.key"), tenant, host_id,
                            Path(f"{base}.seal.key"), Path(f"{base}.record"))

    def many_hosts(self, names, tenant=None):
        """The same made here, without a process per host; one sealing key for all is enough."""
        tenant = tenant or self.tenant
        fleet, seal = self.fleet(), ed25519.Ed25519PrivateKey.generate()
        key = ec.generate_private_key(ec.SECP256R1())
        folder = self.dir / "many"
        folder.mkdir(exist_ok=True)
        write_key(folder / "seal.key", seal)
        public = seal.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        made = []
        for name in names:
            base = folder / name
            files = fleet.issue_files(base, [spiffe("host", name, tenant)], key=key)
            record = Path(f"{base}.record")
            record.write_bytes(host_record(fleet, tenant, name, public, name.encode()))
            made.append(HostIdentity(files.cert, files.key, tenant, name, folder / "seal.key", record))
        return made

    def responder(self, name="ann", tenant=None, roles="viewer"):
        self.certs("responder", "--tenant", tenant or self.tenant, "--name", name, "--roles", roles)
        return Identity(self.dir / f"responder-{name}.crt", self.dir / f"responder-{name}.key")
