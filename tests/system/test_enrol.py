# SPDX-License-Identifier: Apache-2.0
"""A host that holds a token gets an identity: what is refused, with which sentence, and that it works."""
import hashlib
import os
import socket
import struct
import subprocess

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from basics import BIN, BUILD, until
from daemons import Agent, Cli, Collector
from pki import HostIdentity, Site

import service_pb2

PATH = "/exhibit.v1.Enrolment/Enroll"
OTHER_CURVE = ec.generate_private_key(ec.SECP384R1())


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Place:
    """A collector that enrols, and its tokens."""

    def __init__(self, folder):
        self.site = Site(folder / "site")
        self.enrol = f"127.0.0.1:{free_port()}"
        self.collector = Collector(self.site, folder / "collector", enrol__listen=self.enrol,
                                   enrol__authority=self.site.dir / "fleet-ca").start()

    def tokens(self, verb, *args):
        return subprocess.run([BIN / "exhibit-collector", "tokens", verb, "--store.dir", self.collector.store, *args],
                              capture_output=True, text=True, timeout=60)

    def token(self, *args, tenant="acme"):
        done = self.tokens("make", "--tenant", tenant, *args)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def newest(self):
        return self.tokens("list").stdout.splitlines()[-1].split()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("enrol"))
    yield place
    place.collector.stop()


def request(secret, key=None, seal=None, subject="root", **fields):
    """An EnrollRequest as proto/enrol.h describes it, made with another library."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    seal = seal or ed25519.Ed25519PrivateKey.generate()
    csr = (x509.CertificateSigningRequestBuilder()
           .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
           .add_extension(x509.SubjectAlternativeName(
               [x509.UniformResourceIdentifier("spiffe://exhibit.internal/acme/host/chosen")]), False)
           .add_extension(x509.BasicConstraints(True, None), True)
           .sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    raw = bytes.fromhex(secret)
    proof = hashlib.sha256(csr).digest() + raw
    public = seal.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return service_pb2.EnrollRequest(**{
        "version": 1, "token": raw, "csr": csr, "sealing_key": public, "host_name": b"web-1",
        "sealing_signature": seal.sign(b"exhibit/enroll/v1\0" + hashlib.sha256(proof).digest()), **fields})


BUSY = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)


def ask(place, message):
    """The reply, or the refusal; again when the tests' one address asked too often."""
    def answered():
        answer = once(place, message)
        return None if isinstance(answer, grpc.RpcError) and answer.code() in BUSY else answer
    return until(answered, 60, "an answer")


def once(place, message):
    channel = grpc.secure_channel(place.enrol, grpc.ssl_channel_credentials(place.site.order_ca.read_bytes()))
    stub = channel.unary_stream(PATH, request_serializer=service_pb2.EnrollRequest.SerializeToString,
                                response_deserializer=service_pb2.EnrollReply.FromString)
    try:
        return list(stub(message, timeout=60))[0]
    except grpc.RpcError as e:
        return e
    finally:
        channel.close()


def refused(answer, sentence, code=grpc.StatusCode.PERMISSION_DENIED):
    assert isinstance(answer, grpc.RpcError), "was enrolled"
    assert answer.code() == code and sentence in answer.details(), answer.details()


# Only the end of its signature is another.
FORGED = request("00" * 16).csr
FORGED = FORGED[:-1] + bytes([FORGED[-1] ^ 1])

FALSE = {
    "another version": ({"version": 2}, "its version is not 1"),
    "short token": ({"token": b"short"}, "a token has 16 bytes"),
    "no csr": ({"csr": b""}, "the certificate request cannot be read"),
    "csr of a key that it does not hold": ({"csr": FORGED}, "is not signed by its own key"),
    "not signed by the sealing key": ({"sealing_signature": bytes(64)}, "the sealing key did not sign it"),
    "another curve": ({}, "not of P-256"),
    "long name": ({"host_name": b"x" * 254}, "the host's name is too long"),
    "cloud document above its size": ({"cloud_document": bytes(65537)}, "the cloud document is too long"),
}


@pytest.mark.parametrize("what", FALSE)
def test_a_false_request_is_refused_and_burns_nothing(place, what):
    fields, sentence = FALSE[what]
    token = place.token()
    key = OTHER_CURVE if what == "another curve" else None
    refused(ask(place, request(token, key=key, **fields)), sentence, grpc.StatusCode.INVALID_ARGUMENT)
    assert place.newest()[1:3] == ["open", "0"]


def test_each_token_that_may_not_be_used_is_refused_with_its_reason(place):
    refused(ask(place, request("00" * 16)), "is not known to this collector")
    used = place.token()
    assert ask(place, request(used)).certificate
    refused(ask(place, request(used)), "has been used as often as it may be")
    revoked = place.token()
    assert place.tokens("revoke", "--id", place.newest()[0]).returncode == 0
    refused(ask(place, request(revoked)), "is revoked")
    refused(ask(place, request(place.token(tenant="other"), tenant=b"acme")), "is for another tenant")
    bound = place.token("--cloud-instance", "i-1")
    refused(ask(place, request(bound, cloud_instance=b"i-2")), "is bound to another cloud instance")
    assert ask(place, request(bound, cloud_instance=b"i-1")).certificate
    short = place.token("--lifetime", "1s")
    until(lambda: place.newest()[1] == "expired", 60, "the token's end")
    refused(ask(place, request(short)), "has expired")
    assert "already" in place.tokens("revoke", "--id", "3000").stderr or "no enrolment token 3000" in \
        place.tokens("revoke", "--id", "3000").stderr


def test_names_that_were_asked_for_are_ignored_and_the_same_keys_get_the_same_answer(place):
    token, key, seal = place.token(), ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    reply = ask(place, request(token, key, seal))
    cert = x509.load_pem_x509_certificate(reply.certificate)
    uris = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    name = uris.get_values_for_type(x509.UniformResourceIdentifier)
    assert len(name) == 1 and name[0].startswith("spiffe://exhibit.internal/acme/host/") and "chosen" not in name[0]
    assert not cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert (cert.not_valid_after - cert.not_valid_before).total_seconds() == 30 * 86400 + 300
    assert cert.public_key().public_numbers() == key.public_key().public_numbers()
    place.site.fleet().cert.public_key().verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    assert ask(place, request(token, key, seal)) == reply  # it was killed before it kept the answer
    assert place.newest()[1:3] == ["used", "1"]
    assert token not in place.collector.log and not any(
        bytes.fromhex(token) in f.read_bytes() for f in (place.collector.store / ".enrol").iterdir())


def test_the_port_serves_nothing_else_and_nobody_who_asks_too_often(place):
    def other_method():
        channel = grpc.secure_channel(place.enrol, grpc.ssl_channel_credentials(place.site.order_ca.read_bytes()))
        stub = channel.unary_stream("/exhibit.v1.Query/Hosts", request_serializer=None, response_deserializer=None)
        with pytest.raises(grpc.RpcError) as e:
            list(stub(b"", timeout=60))
        channel.close()
        return None if e.value.code() in BUSY else e.value.code()
    assert until(other_method, 60, "an answer") == grpc.StatusCode.UNIMPLEMENTED
    message = request("00" * 16)

    def cut():
        return any(once(place, message).code() in BUSY for _ in range(15))
    until(cut, 60, "the limit of an address")


# ---- the agent -------------------------------------------------------------------------------------------------

class Joining:
    """The files of a host that has none yet."""

    def __init__(self, place, folder, token=None):
        self.place, self.dir = place, folder
        self.identity = HostIdentity(folder / "a.crt", folder / "a.key", "acme", "", folder / "a.seal", folder / "a.rec")
        self.token = folder / "token"
        if token:
            self.token.write_text(token + "\n")

    def options(self):
        d = self.dir
        return {"tls.cert": d / "a.crt", "tls.key": d / "a.key", "tls.fleet-ca": d / "fleet.crt",
                "seal.key": d / "a.seal", "seal.host-record": d / "a.rec", "state.dir": d / "state"}

    def command(self, collector=None, order_ca=None):
        flags = [f"--{k}={v}" for k, v in self.options().items()]
        return [BIN / "exhibit-agent", "enroll", "--collector", collector or self.place.enrol, "--order-authority",
                order_ca or self.place.site.order_ca, "--token-file", self.token, *flags]

    def enroll(self, *args, **kwargs):
        return subprocess.run(self.command(*args), capture_output=True, text=True, timeout=120, **kwargs)


def test_the_agent_says_in_one_sentence_why_it_is_not_enrolled(place, tmp_path):
    host = Joining(place, tmp_path)
    for token, collector, order_ca, code, sentence in (
            (None, None, None, 2, "cannot use enrol.token-file"),
            ("not a token", None, None, 2, "does not hold an enrolment token"),
            ("00" * 16, None, None, 3, "is not known to this collector"),
            ("00" * 16, f"127.0.0.1:{free_port()}", None, 4, "no connection to the collector"),
            ("00" * 16, "no-such-host.invalid:7444", None, 4, "no connection to the collector"),
            ("00" * 16, None, place.site.fleet_ca, 4, "is the order authority's file the one")):
        if token:
            host.token.write_text(token)
        done = host.enroll(collector, order_ca)
        said = [line for line in done.stderr.splitlines() if line.startswith("exhibit-agent enroll: ")]
        assert (done.returncode, len(said)) == (code, 1) and sentence in said[0], done.stderr
        assert not host.identity.cert.exists()


@pytest.mark.parametrize("years", (-1, 1))
def test_a_clock_that_is_a_year_off_is_named_and_costs_no_token(place, tmp_path, years):
    shift = tmp_path / "shift"
    shift.write_bytes(struct.pack("=q", years * 365 * 86400))
    host = Joining(place, tmp_path, place.token())
    done = host.enroll(env={**os.environ, "LD_PRELOAD": str(BUILD / "tests" / "shim_clock.so"), "CLOCK_SHIM": str(shift)})
    assert done.returncode == 4 and "is this machine's clock right?" in done.stderr, done.stderr
    assert place.newest()[1:3] == ["open", "0"] and not host.identity.cert.exists()
    assert host.enroll().returncode == 0


def test_killed_at_any_moment_it_holds_no_identity_or_a_whole_one(place, tmp_path):
    token = place.token()
    host = Joining(place, tmp_path, token)
    for n in range(12):
        child = subprocess.Popen(host.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            child.wait(0.01 + 0.03 * n)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(60)
        if host.identity.cert.exists():
            break
    if not host.identity.cert.exists():
        until(lambda: host.enroll().returncode != 4, 60, "a collector that lets us in again")
    assert place.newest()[1:3] == ["used", "1"]
    cert = x509.load_pem_x509_certificate(host.identity.cert.read_bytes())
    key = serialization.load_pem_private_key(host.identity.key.read_bytes(), None)
    assert cert.public_key().public_numbers() == key.public_key().public_numbers()
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in ("a.key", "a.seal"))
    again = host.enroll()
    assert again.returncode == 2 and "has an identity already" in again.stderr


def test_an_agent_with_a_token_enrols_at_its_start_and_a_copy_of_it_does_not_run(place, tmp_path):
    host = Joining(place, tmp_path, place.token())
    agent = Agent(place.site, host.identity, tmp_path / "agent", place.collector.address)
    agent.options.update({"tls.fleet-ca": tmp_path / "fleet.crt", "enrol.address": place.enrol,
                          "enrol.token-file": host.token})
    agent.start()
    cli = Cli(place.site, place.site.responder(), place.collector.address, tmp_path)
    name = x509.load_pem_x509_certificate(host.identity.cert.read_bytes()).subject.get_attributes_for_oid(
        x509.NameOID.COMMON_NAME)[0].value
    row = until(lambda: next((r for r in cli.run("hosts", "--json").rows
                              if name in str(r) and '"connected": true' in str(r).replace("'", '"').replace(
                                  "True", "true")), None), 60, "the host, connected")
    assert row and not host.token.exists()
    agent.stop()
    (agent.state / "enrolled").write_text("machine-id")
    agent.start()
    assert "nobody can tell whether this machine is a copy" in agent.log
    agent.stop()
    keys = {path: path.read_bytes() for path in (host.identity.key, host.identity.seal_key)}
    (agent.state / "enrolled").write_text("machine-id=00000000000000000000000000000000\n")
    agent.spawn()
    assert agent.process.wait(60) == 2
    assert "was made on another machine: the machine-id is another" in agent.log
    for n in (1, 2):  # a copy, then a copy of the copy
        (agent.state / "enrolled").write_text("machine-id=00000000000000000000000000000000\n")
        host.token.write_text(place.token())
        agent.start()
        assert "enrols anew" in agent.log and (agent.state / f"journal.of-original-{n}").exists()
        agent.stop()
    other = x509.load_pem_x509_certificate(host.identity.cert.read_bytes()).subject.get_attributes_for_oid(
        x509.NameOID.COMMON_NAME)[0].value
    assert other != name and all(path.read_bytes() != before for path, before in keys.items())


def test_what_became_of_tokens_stands_in_the_ledger(place):
    token = place.token()
    assert ask(place, request(token)).certificate
    refused(ask(place, request(token)), "has been used")

    def told():
        return "0" == subprocess.run(
            ["/usr/bin/python3", "-c", "import sqlite3,sys; print(sqlite3.connect(sys.argv[1]).execute("
             "'SELECT count(*) FROM notes WHERE told = 0').fetchone()[0])",
             place.collector.store / ".enrol" / "tokens.sqlite"],
            capture_output=True, text=True, timeout=60).stdout.strip()
    until(told, 60, "a leaf for each note")
    leaves = b"".join(f.read_bytes() for f in (place.collector.store / ".ledger").rglob("*") if f.is_file())
    assert b"enrolled with token" in leaves and b"was made for 1 uses" in leaves and b"was refused" in leaves
