# SPDX-License-Identifier: Apache-2.0
"""What an operator or an environment gets wrong: one clear sentence, status 2, nothing half started."""
import os
import subprocess

import pytest

from activity import settle
from basics import BIN
from wire import Client

PROGRAMS = ["exhibit-agent", "exhibit-collector"]


def start(program, *args, wrap=(), **kwargs):
    return subprocess.run([*wrap, BIN / program, *args], capture_output=True, text=True, errors="replace",
                          stdin=subprocess.DEVNULL, timeout=60, **kwargs)


def refuses(done, *words):
    """One sentence on standard error, status 2."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


# ---- the file ----------------------------------------------------------------------------------------

BROKEN = {
    "not YAML": ("tls: [a, b\nlisten: x\n", "{file}:2:"),
    "a tab": ("log:\n\tlevel: info\n", "{file}:2:1"),
    "unknown key": ("log:\n  level: info\n  colour: red\n", "{file}:3:3: unknown key 'log.colour'"),
    "unknown group": ("# c\n\nlgo:\n  level: info\n", "{file}:3:1: unknown key 'lgo'"),
    "not a number": ("stop-timeout: soon\n", "{file}:1:15"),
    "a list where none belongs": ("log:\n  level: [info]\n", "{file}:2:10"),
    "out of range": ("stop-timeout: 100d\n", "{file}:1:15"),
    "twice": ("stop-timeout: 1s\nstop-timeout: 2s\n", "{file}:2:1"),
    "two documents": ("stop-timeout: 1s\n---\nstop-timeout: 2s\n", "{file}:"),
    "NUL": ("stop-timeout: 1s\0\n", "{file}:1"),
    "bomb": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "{file}:1:"),
    "a level that is none": ("log:\n  level: loud\n", "loud"),
}


@pytest.mark.parametrize("check", [["--check"], []], ids=["--check", "start"])
@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("program", PROGRAMS)
def test_broken_file(program, kind, check, tmp_path):
    text, words = BROKEN[kind]
    file = tmp_path / "c.yaml"
    file.write_text(text)
    refuses(start(program, "--config", file, *check), words.format(file=file))


ADDRESSES = ["foo", "", "host:99999", "host:0", ":7443", "host:", "host:x", "a b:1", "unix:/tmp/x", "::1:7443",
             "[::g]:7443", "http://host:7443"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_is_none(address, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(f"log:\n  level: info\ncollector:\n  address: '{address}'\n")
    refuses(start("exhibit-agent", "--config", file, "--check"), f"{file}:4:12: collector.address:")
    refuses(start("exhibit-agent", "--collector.address", address, "--check"), "--collector.address:")
    if address != "host:0":  # which stands for any free port
        file.write_text(f"listen: '{address}'\n")
        refuses(start("exhibit-collector", "--config", file, "--check"), f"{file}:1:9: listen:")


@pytest.mark.parametrize("address", ["c1.example:7443", "10.0.0.5:1", "[::1]:65535", "localhost:7443"])
def test_an_address_that_is_one(address, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(f"collector:\n  address: '{address}'\n")
    done = start("exhibit-agent", "--config", file, "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_missing_and_unreadable_file(program, tmp_path):
    refuses(start(program, "--config", tmp_path / "none.yaml"), str(tmp_path / "none.yaml"), "No such file")
    refuses(start(program, "--config", tmp_path), str(tmp_path), "s a directory")
    file = tmp_path / "secret.yaml"
    file.write_text("stop-timeout: 1s\n")
    file.chmod(0)
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    refuses(start(program, "--config", file, "--check", wrap=other), str(file), "Permission denied")


@pytest.mark.parametrize("program", PROGRAMS)
def test_good_file_passes_the_check(program, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("log:\n  level: debug\n  json: true\nstop-timeout: 7s\n")
    done = start(program, "--config", file, "--check")
    assert done.returncode == 0, done.stderr


# ---- what the file names -----------------------------------------------------------------------------

@pytest.mark.parametrize("key", ["tls.cert", "tls.key", "tls.fleet-ca", "tls.order-ca", "store.ledger-key"])
def test_collector_without_one_of_its_files(key, lab, tmp_path):
    collector = lab.collector(start=False)
    collector.options[key] = tmp_path / "nowhere" / "file"
    assert collector.spawn().process.wait(30) == 2
    assert str(tmp_path / "nowhere" / "file") in collector.log
    assert len(collector.log.splitlines()) == 1, collector.log
    if key == "tls.fleet-ca":
        assert "exhibit-collector certs" in collector.log and "make run" in collector.log


def test_key_of_another_certificate(lab, site):
    collector = lab.collector(start=False, tls__key=site.host("other-key").key)
    assert collector.spawn().process.wait(30) == 2
    assert "does not belong to the certificate" in collector.log


@pytest.mark.parametrize("verb", ["check", "reindex"])
@pytest.mark.parametrize("folder", ["missing", "no store"])
def test_no_store_is_not_an_intact_one(verb, folder, tmp_path):
    place = tmp_path / folder
    if folder == "no store":
        place.mkdir()
    done = start("exhibit-collector", verb, "--store.dir", place)
    refuses(done, f"there is no store in '{place}'", "--store.dir")
    assert not place.exists() or not list(place.iterdir())


def test_two_collectors(lab):
    """On one store, and on one port: the second says which, the first goes on."""
    first = lab.collector()
    second = lab.collector(start=False, store__dir=first.store)
    assert second.spawn().process.wait(30) == 2
    assert str(first.store) in second.log
    third = lab.collector(start=False, listen=first.address)
    assert third.spawn().process.wait(30) == 2
    assert first.address in third.log
    host = lab.host()
    with Client(host, first.address, lab.site.order_ca) as client:
        client.put(host.execs(1, b"goes-on"))


def agent_refuses(lab, *words, **options):
    # A number: this host may not have the default user, which is another line of the log.
    agent = lab.agent(None, start=False, address="127.0.0.1:9", uplink__user="65534", **options)
    assert agent.spawn().process.wait(60) == 2, agent.log
    for word in words:
        assert word in agent.log, agent.log
    assert len(agent.log.splitlines()) == 1, agent.log


@pytest.mark.parametrize("key", ["tls__cert", "tls__fleet_ca", "tls__order_ca", "seal__key", "seal__host_record"])
def test_agent_without_one_of_its_files(key, need_bpf, lab, tmp_path):
    agent_refuses(lab, str(tmp_path / "nowhere"), **{key: tmp_path / "nowhere"})


def test_agent_without_certificates_says_who_makes_them(need_bpf, lab, tmp_path):
    agent_refuses(lab, "exhibit-collector certs", "make run", tls__fleet_ca=tmp_path / "nowhere")


def test_two_agents_on_one_journal(need_bpf, lab):
    collector = lab.collector()
    first = lab.agent(collector)
    agent_refuses(lab, str(first.state), state__dir=first.state)
    assert first.running()


# ---- the host ----------------------------------------------------------------------------------------

def test_no_btf(need_bpf, lab):
    """Hidden in a mount namespace of its own."""
    agent_refuses(lab, "cannot read the kernel's type information '/sys/kernel/btf/vmlinux'",
                  wrap=["unshare", "--mount", "--propagation", "private", "sh", "-c",
                        'mount -t tmpfs none /sys/kernel/btf && exec "$0" "$@"'])


@pytest.mark.parametrize("missing,named", [("cap_bpf,cap_sys_admin", "CAP_BPF"),
                                           ("cap_perfmon,cap_sys_admin", "CAP_PERFMON"),
                                           ("cap_net_admin", "CAP_NET_ADMIN")])
def test_missing_capability(missing, named, need_bpf, lab):
    agent_refuses(lab, named, wrap=["capsh", f"--drop={missing}", "--", "-c", 'exec "$0" "$@"'])


def test_kernel_too_old(need_bpf, lab):
    """uname(2) that says 2.6, as personality(2) lets it."""
    agent_refuses(lab, "is too old: 5.10 is the oldest", wrap=["setarch", "--uname-2.6"])


# ---- the environment ---------------------------------------------------------------------------------

@pytest.fixture
def hostile(tmp_path):
    """Variables that would redirect, downgrade, log or break what reads them."""
    broken = tmp_path / "openssl.cnf"
    broken.write_text("openssl_conf = nothing\n[nothing\nMinProtocol = None\n")
    keys = tmp_path / "keys"
    return keys, {**os.environ, "GRPC_TRACE": "all", "GRPC_VERBOSITY": "DEBUG", "https_proxy": "http://127.0.0.1:1",
                  "http_proxy": "http://127.0.0.1:1", "grpc_proxy": "http://127.0.0.1:1", "ALL_PROXY": "socks5://x",
                  "OPENSSL_CONF": str(broken), "OPENSSL_MODULES": "/nonexistent", "SSL_CERT_FILE": str(broken),
                  "SSL_CERT_DIR": "/nonexistent", "SSLKEYLOGFILE": str(keys), "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH":
                  str(broken), "GRPC_SSL_CIPHER_SUITES": "NULL", "GRPC_DNS_RESOLVER": "nonsense",
                  "GRPC_POLL_STRATEGY": "none", "GRPC_XDS_BOOTSTRAP": str(broken), "LC_ALL": "tr_TR.UTF-8",
                  "TZ": ":/etc/passwd"}


def test_hostile_environment_changes_nothing(hostile, need_bpf, lab):
    keys, env = hostile
    collector = lab.collector(env=env)
    agent = lab.agent(collector, env=env)
    cli = lab.cli(collector)
    cli.env.update(env)
    settle(cli, "environment")
    assert not keys.exists(), "TLS keys were logged"
    for daemon in (agent, collector):
        assert len(daemon.log.splitlines()) < 20, daemon.tail()
    bad = subprocess.run(["openssl", "s_client", "-connect", collector.address, "-tls1_2"], input=b"",
                         capture_output=True, timeout=20)
    assert b"Cipher is (NONE)" in bad.stdout


@pytest.mark.parametrize("kind", ["no file", "broken", "unknown key", "no certificate"])
def test_cli_configuration(kind, lab, tmp_path):
    collector = lab.collector()
    cli = lab.cli(collector)
    good = cli.config.read_text()
    text, word = {
        "no file": (None, str(cli.config)), "broken": (good + "\ntls: [", f"{cli.config}:"),
        "unknown key": (good + "colour: red\n", "unknown key 'colour'"),
        "no certificate": (good.replace(".crt", ".gone"), ".gone"),
    }[kind]
    cli.config.unlink()
    if text:
        cli.config.write_text(text)
    answer = cli.run("hosts")
    assert answer.code == 2 and answer.out == ""
    assert word in answer.err
    assert len(answer.err.splitlines()) == 1, answer.err


def test_cli_without_collector(lab):
    collector = lab.collector()
    cli = lab.cli(collector)
    collector.stop()
    answer = cli.run("hosts", seconds=60)
    assert answer.code == 2
    assert "is the collector running, and is this its address?" in answer.err
    assert len(answer.err.splitlines()) == 1
