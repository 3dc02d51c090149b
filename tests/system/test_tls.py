# SPDX-License-Identifier: Apache-2.0
"""Who gets through the door: every false certificate is refused, with one clear sentence on both sides."""
import signal
import subprocess
from concurrent import futures

import grpc
import pytest

from basics import TooLate, until
from daemons import Cli
from pki import Authority, rsa_key, spiffe
from wire import CHANNEL_OPTIONS, Client, Host, credentials

HOSTS = "/exhibit.v1.Query/Hosts"
EVENTS = "/exhibit.v1.Agent/Events"


@pytest.fixture(scope="module")
def deny(tmp_path_factory):
    return tmp_path_factory.mktemp("deny") / "deny"


@pytest.fixture(scope="module")
def collector(module_lab, deny):
    deny.write_text("# nobody yet\n")
    return module_lab.collector(tls__deny=deny)


def call(collector, site, identity, path=EVENTS, message=b""):
    """Call with this identity (None: without certificate); the refusal. A first answer is a failure."""
    roots = site.order_ca
    channel = grpc.secure_channel(collector.address, credentials(identity and identity.cert,
                                                                 identity and identity.key, roots),
                                  CHANNEL_OPTIONS)
    stub = channel.stream_stream(path, request_serializer=None, response_deserializer=None)
    try:
        for reply in stub(iter([message]), timeout=10):
            pytest.fail(f"was let in and answered {reply!r}")
        pytest.fail("was let in")
    except grpc.RpcError as e:
        return e
    finally:
        channel.close()


def log_after(collector, position, text, again=lambda: None):
    """The log holds lines back when many come in one second: then we provoke another one."""
    for _ in range(3):
        try:
            return until(lambda: text in collector.log[position:], 2)
        except TooLate:
            again()
    return until(lambda: text in collector.log[position:], 5,
                 f"'{text}' in the collector's log:\n{collector.tail()}")


# What TLS itself refuses: the connection breaks, the collector says why.
BY_TLS = {
    "none": (lambda site, base: None, "a peer showed no certificate"),
    "foreign": (lambda site, base: Authority.make("Exhibit fleet authority").issue_files(
        base, [spiffe("host", "h1")]), "a peer's certificate was refused"),
    "expired": (lambda site, base: site.fleet().issue_files(base, [spiffe("host", "h1")], begins=-7200, ends=-60),
                "a peer's certificate was refused"),
    "not yet valid": (lambda site, base: site.fleet().issue_files(base, [spiffe("host", "h1")], begins=3600,
                                                                   ends=7200),
                      "a peer's certificate was refused"),
}


@pytest.mark.parametrize("kind", BY_TLS)
def test_refused_in_the_handshake(kind, collector, site, tmp_path):
    make, said = BY_TLS[kind]
    identity, position = make(site, tmp_path / "id"), len(collector.log)
    refusal = call(collector, site, identity)
    assert refusal.code() == grpc.StatusCode.UNAVAILABLE
    log_after(collector, position, said, lambda: call(collector, site, identity))


# What TLS lets through, because one of our authorities signed it, and the first check stops.
BY_NAME = {
    "two URIs": (lambda site, base: site.fleet().issue_files(base, [spiffe("host", "h1"), spiffe("host", "h2")]),
                 EVENTS, "UNAUTHENTICATED", "the certificate names 2 URIs, one is needed"),
    "no URI": (lambda site, base: site.fleet().issue_files(base, [], sans=["h1.example"]),
               EVENTS, "UNAUTHENTICATED", "the certificate names 0 URIs, one is needed"),
    "odd name": (lambda site, base: site.fleet().issue_files(base, [spiffe("host", "..%2f..%2fh1")]),
                 EVENTS, "UNAUTHENTICATED", "is not a name of the form"),
    "fleet-issued responder": (lambda site, base: site.fleet().issue_files(base, [spiffe("responder", "eve")]),
                               HOSTS, "UNAUTHENTICATED",
                               "the fleet authority may not issue a certificate for a responder"),
    "fleet-issued collector": (lambda site, base: site.fleet().issue_files(base, [spiffe("collector", "c2")],
                                                                           server=True),
                               HOSTS, "UNAUTHENTICATED",
                               "the fleet authority may not issue a certificate for a collector"),
    "order-issued host": (lambda site, base: site.order().issue_files(base, [spiffe("host", "h1")]),
                          EVENTS, "UNAUTHENTICATED", "the order authority may not issue a certificate for a host"),
    "responder without a role that may ask": (
        lambda site, base: site.order().issue_files(base, [spiffe("responder", "jan")], roles=["janitor"]), HOSTS,
        "PERMISSION_DENIED", "no role that may ask: viewer, acquirer or approver"),
    "responder as agent": (lambda site, base: site.responder("bob"), EVENTS, "PERMISSION_DENIED",
                           "a responder may not call /exhibit.v1.Agent/Events"),
    "host as responder": (lambda site, base: site.host("asks"), HOSTS, "PERMISSION_DENIED",
                          "a host may not call /exhibit.v1.Query/Hosts"),
}


@pytest.mark.parametrize("kind", BY_NAME)
def test_refused_by_name(kind, collector, site, tmp_path):
    make, path, status, sentence = BY_NAME[kind]
    identity, position = make(site, tmp_path / "id"), len(collector.log)
    refusal = call(collector, site, identity, path)
    assert refusal.code().name == status
    assert sentence in refusal.details()
    log_after(collector, position, sentence, lambda: call(collector, site, identity, path))


@pytest.mark.parametrize("line", ["serial", "host"])
def test_revoked(line, collector, site, module_lab, deny):
    """Denied after a reload: a live stream ends, a new one is refused; the others go on."""
    denied, other = site.host(f"denied-{line}"), site.host(f"other-{line}")
    with Client(Host(denied), collector.address, site.order_ca) as live, \
            Client(Host(other), collector.address, site.order_ca) as stays:
        deny.write_text(f"serial {denied.serial()}\n" if line == "serial" else f"host {denied.host_id}\n")
        position = len(collector.log)
        collector.signal(signal.SIGHUP)
        live.wait_ended(10)
        refusal = call(collector, site, denied)
        assert refusal.code() == grpc.StatusCode.PERMISSION_DENIED
        assert "this host or its certificate is on the deny list" in refusal.details()
        log_after(collector, position, "is on the deny list")
        stays.put(stays.host.execs(1, b"goes-on"))


def test_unreadable_deny_list_changes_nothing(collector, site, deny):
    """A list that cannot be read must not let anybody in, nor throw anybody out."""
    denied, other = site.host("denied-still"), site.host("other-still")
    deny.write_text(f"host {denied.host_id}\n")
    collector.signal(signal.SIGHUP)
    until(lambda: call(collector, site, denied).code() == grpc.StatusCode.PERMISSION_DENIED, 10, "the deny list")
    deny.write_text("hsot nobody\n")
    position = len(collector.log)
    collector.signal(signal.SIGHUP)
    log_after(collector, position, "nothing is read again")
    assert call(collector, site, denied).code() == grpc.StatusCode.PERMISSION_DENIED
    with Client(Host(other), collector.address, site.order_ca) as client:
        client.put(client.host.execs(1, b"still"))
    deny.write_text("# nobody\n")
    collector.signal(signal.SIGHUP)


def test_another_hosts_record(collector, site):
    """A certificate of one host does not introduce another one."""
    one, two = site.host("one"), site.host("two")
    client = Client(Host(one), collector.address, site.order_ca, hello=False)
    try:
        client.send(client.host.hello(two.record.read_bytes()))
        ended = client.wait_ended()
    finally:
        client.close()
    assert ended.code == grpc.StatusCode.PERMISSION_DENIED
    assert "the host record is another host's than the certificate" in ended.sentence


@pytest.mark.parametrize("name,value,sentence", [
    ("tenant", b"globex", "the message names tenant 'globex', the certificate 'acme'"),
    ("host_id", b"victim", "the message names host 'victim', the certificate 'names'"),
])
def test_batch_of_another_tenant_or_host(name, value, sentence, collector, site):
    host, position = Host(site.host("names")), len(collector.log)

    def lie():
        with Client(host, collector.address, site.order_ca) as client:
            client.send(host.batch(**{name: value}))
            ended = client.wait_ended()
        assert ended.code == grpc.StatusCode.PERMISSION_DENIED
        assert sentence in ended.sentence
    lie()
    log_after(collector, position, sentence, lie)


def openssl(collector, identity, version):
    return subprocess.run(["openssl", "s_client", "-connect", collector.address, "-cert", identity.cert, "-key",
                           identity.key, "-alpn", "h2", version], input=b"", capture_output=True, timeout=20)


def test_only_tls_1_3(collector, site):
    host = site.host("tls")
    good = openssl(collector, host, "-tls1_3")
    assert b"TLSv1.3" in good.stdout and b"Cipher is TLS" in good.stdout
    position = len(collector.log)
    for version in ["-tls1_2", "-tls1_1", "-tls1"]:
        bad = openssl(collector, host, version)
        assert bad.returncode != 0 and b"Cipher is (NONE)" in bad.stdout
    log_after(collector, position, "a peer does not speak TLS 1.3")


def test_rsa_key_is_refused_at_start(lab, site, tmp_path):
    """RSA would bring TLS 1.2 back."""
    identity = site.order().issue_files(tmp_path / "rsa", [spiffe("collector", "collector")], key=rsa_key(),
                                        sans=["localhost", "127.0.0.1"], server=True)
    collector = lab.collector(start=False, tls__cert=identity.cert, tls__key=identity.key)
    assert collector.spawn().process.wait(20) == 2
    assert collector.log.count("\n") == 1
    assert "is not a P-256 key" in collector.log


# ---- the collector is the false one ------------------------------------------------------------------

FALSE_COLLECTORS = {
    "foreign authority": (lambda site, base: Authority.make("Exhibit order authority").issue_files(
        base, [spiffe("collector", "c")], sans=["localhost", "127.0.0.1"], server=True), "order authority"),
    "expired": (lambda site, base: site.order().issue_files(
        base, [spiffe("collector", "c")], sans=["localhost", "127.0.0.1"], server=True, begins=-7200, ends=-60),
        "certificate"),
    "a responder's": (lambda site, base: site.order().issue_files(
        base, [spiffe("responder", "eve")], sans=["localhost", "127.0.0.1"], server=True),
        "it is a responder's certificate, not a collector's"),
    "fleet-issued": (lambda site, base: site.fleet().issue_files(
        base, [spiffe("collector", "c")], sans=["localhost", "127.0.0.1"], server=True), "certificate"),
    "of another address": (lambda site, base: site.order().issue_files(
        base, [spiffe("collector", "c")], sans=["elsewhere.example"], server=True), "certificate"),
}


@pytest.mark.parametrize("kind", FALSE_COLLECTORS)
def test_cli_refuses_false_collector(kind, site, responder, tmp_path):
    make, said = FALSE_COLLECTORS[kind]
    identity = make(site, tmp_path / "server")
    server = grpc.server(futures.ThreadPoolExecutor(2))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(
        [(identity.key.read_bytes(), identity.cert.read_bytes())]))
    server.start()
    try:
        class Address:
            address, dir = f"127.0.0.1:{port}", tmp_path
        answer = Cli(site, responder, Address.address, tmp_path).run("hosts", seconds=60)
    finally:
        server.stop(0)
    assert answer.code == 2
    assert answer.out == ""
    assert said in answer.err
    assert len(answer.err.splitlines()) == 1, answer.err


def test_agent_says_why_it_is_refused(need_bpf, lab, site, tmp_path):
    """The agent's own words for a collector that denies it."""
    host, deny = site.host("denied-agent"), tmp_path / "deny"
    deny.write_text(f"serial {host.serial()}\n")
    collector = lab.collector(tls__deny=deny)
    agent = lab.agent(collector, host)
    agent.wait_log("is on the deny list", 30)
    line = next(line for line in agent.log.splitlines() if "is on the deny list" in line)
    assert collector.address in line
