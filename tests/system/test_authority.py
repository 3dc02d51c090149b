# SPDX-License-Identifier: Apache-2.0
"""`exhibit authority`: what it makes, whom it certifies, how it takes that back. Checked with other tools."""
import hashlib
import os
import stat
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

import order_pb2
from basics import BIN
from pki import ROLES_OID, roles_value

SIGNING = x509.ObjectIdentifier("1.3.6.1.4.1.58888.1.2")


class Authority:
    def __init__(self, folder):
        self.dir = folder
        self.ok("init")

    def run(self, action, *words):
        return subprocess.run([BIN / "exhibit", "authority", action, "--dir", self.dir, *map(str, words)],
                              capture_output=True, text=True, timeout=30)

    def ok(self, *words):
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refuses(self, text, *words):
        done = self.run(*words)
        assert done.returncode == 2 and text in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert done.stdout == ""

    def cert(self, name):
        return x509.load_pem_x509_certificate((self.dir / f"{name}.crt").read_bytes())

    def revoked(self, tenant="default"):
        """The newest list, its signature checked with the authority's certificate."""
        signed = order_pb2.SignedRevocationList.FromString((self.dir / f"revocations-{tenant}.list").read_bytes())
        text = b"exhibit/revocations/v1\0" + hashlib.sha256(signed.list).digest()
        self.cert("order-ca").public_key().verify(signed.signature, text, ec.ECDSA(hashes.SHA256()))
        return order_pb2.RevocationList.FromString(signed.list)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


def serial(cert):
    return f"{cert.serial_number:x}".encode()


def names(cert):
    return cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.UniformResourceIdentifier)


def uses(cert):
    return list(cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_person_gets_two_certificates_of_one_name(authority):
    authority.ok("issue", "--name", "ann", "--roles", "viewer,acquirer", "--hours", "2")
    tls, sign, ca = authority.cert("responder-ann"), authority.cert("responder-ann.sign"), authority.cert("order-ca")
    assert names(tls) == names(sign) == ["spiffe://exhibit.internal/default/responder/ann"]
    assert uses(tls) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH] and uses(sign) == [SIGNING]
    assert isinstance(tls.public_key(), ec.EllipticCurvePublicKey)
    assert isinstance(sign.public_key(), ed25519.Ed25519PublicKey)
    for cert in (tls, sign):
        ca.public_key().verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
        assert cert.extensions.get_extension_for_oid(ROLES_OID).value.value == roles_value(["viewer", "acquirer"])
        life = cert.not_valid_after - cert.not_valid_before
        assert 7200 <= life.total_seconds() <= 7200 + 301
    for key in authority.dir.glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600, key
    # What is good is kept; the authority is never replaced.
    kept = {p: p.read_bytes() for p in authority.dir.iterdir()}
    authority.ok("issue", "--name", "ann", "--roles", "viewer,acquirer", "--hours", "2")
    authority.ok("init")
    assert {p: p.read_bytes() for p in authority.dir.iterdir()} == kept
    # Other roles are another certificate.
    authority.ok("issue", "--name", "ann", "--roles", "viewer")
    assert serial(authority.cert("responder-ann")) != serial(tls)


@pytest.mark.parametrize("form", ["public key", "request"])
@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_a_persons_own_key_is_certified(authority, tmp_path, kind, form):
    key = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "key"
    if form == "public key":
        path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM,
                                                       serialization.PublicFormat.SubjectPublicKeyInfo))
    else:
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(
            key, None if kind == "ed25519" else hashes.SHA256())
        path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    authority.ok("issue", "--name", "bob", "--roles", "approver", "--signing-key", path)
    sign = authority.cert("responder-bob.sign")
    assert sign.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo) \
        == key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    # A name that the request asked for is not the authority's to give: only ours stands there.
    assert names(sign) == ["spiffe://exhibit.internal/default/responder/bob"]
    assert not (authority.dir / "responder-bob.sign.key").exists()


def test_keys_that_may_not_sign_are_refused(authority, tmp_path):
    path = tmp_path / "key"

    def public(key):
        path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM,
                                                       serialization.PublicFormat.SubjectPublicKeyInfo))
    issue = ("issue", "--name", "bob", "--roles", "approver", "--signing-key", path)
    public(rsa.generate_private_key(65537, 2048))
    assert "neither Ed25519 nor P-256" in authority.run(*issue).stderr
    public(ec.generate_private_key(ec.SECP384R1()))
    assert "neither Ed25519 nor P-256" in authority.run(*issue).stderr
    path.write_bytes(b"nothing")
    assert "neither a public key nor a good certificate request" in authority.run(*issue).stderr
    # A request whose own signature is false: whoever brings it need not hold the key.
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(
        ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    import base64
    path.write_bytes(b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(bytes(der))
                     + b"-----END CERTIFICATE REQUEST-----\n")
    assert "neither a public key nor a good certificate request" in authority.run(*issue).stderr
    assert not (authority.dir / "responder-bob.sign.crt").exists()


def test_revoking_numbers_the_lists(authority):
    authority.ok("issue", "--name", "ann", "--roles", "viewer")
    authority.ok("issue", "--name", "bob", "--roles", "viewer")
    ann = {serial(authority.cert(n)) for n in ("responder-ann", "responder-ann.sign")}
    bob = serial(authority.cert("responder-bob.sign"))
    authority.ok("revoke", "--name", "ann")
    first = authority.revoked()
    assert first.number == 1 and set(first.serials) == ann and first.tenant == b"default"
    assert abs(first.made_ns - time.time_ns()) < 60_000_000_000
    authority.ok("revoke", "--serial", ":".join(bob.decode()[i:i + 2] for i in range(0, len(bob), 2)).upper())
    second = authority.revoked()
    assert second.number == 2 and set(second.serials) == ann | {bob}
    # Revoked again it is nothing new but its number: a list that was lost can be made anew.
    authority.ok("revoke", "--name", "ann")
    assert authority.revoked().number == 3 and set(authority.revoked().serials) == ann | {bob}
    # Whoever comes back gets new certificates.
    authority.ok("issue", "--name", "ann", "--roles", "viewer")
    assert serial(authority.cert("responder-ann")) not in ann and serial(authority.cert("responder-ann.sign")) not in ann
    # Tenants are numbered apart.
    authority.ok("issue", "--name", "ann", "--roles", "viewer", "--tenant", "other")
    authority.ok("revoke", "--name", "ann", "--tenant", "other")
    assert authority.revoked("other").number == 1 and authority.revoked().number == 3


def test_what_is_refused(authority):
    authority.refuses("--name is needed", "issue")
    authority.refuses("--name '../x' must be", "issue", "--name", "../x")
    authority.refuses("there is no role 'root'", "issue", "--name", "a", "--roles", "root")
    authority.refuses("there is no role ''", "issue", "--name", "a", "--roles", "viewer,")
    authority.refuses("is not a value for --hours", "issue", "--name", "a", "--hours", "13")
    authority.refuses("nothing was issued to", "revoke", "--name", "nobody")
    authority.refuses("either --name or --serial", "revoke")
    authority.refuses("either --name or --serial", "revoke", "--name", "a", "--serial", "1")
    authority.refuses("is not a serial number in hex", "revoke", "--serial", "xyz")
    authority.refuses("nothing that an authority does", "destroy")
    (authority.dir / "issued").write_text("garbage\n")
    authority.refuses("issued:1: not a line of this file", "list")
    assert authority.run("revoke", "--name", "ann").returncode == 2
    (authority.dir / "order-ca.key").unlink()
    authority.refuses("make it with 'exhibit authority init", "issue", "--name", "a")


def test_a_list_that_is_not_ours_stops_the_numbering(authority, tmp_path):
    """Else the next list might have a number that hosts hold already, and they would leave it aside."""
    authority.ok("issue", "--name", "ann", "--roles", "viewer")
    authority.ok("revoke", "--name", "ann")
    path = authority.dir / "revocations-default.list"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    authority.refuses("cannot number the list after", "revoke", "--name", "ann")
