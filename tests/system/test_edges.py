# SPDX-License-Identifier: Apache-2.0
"""The collector's edges: what it does before it serves and while it stops, whom it refuses and how it says so."""
import contextlib
import fcntl
import signal
import sqlite3
import subprocess
import threading
import time

import grpc
import pytest

from basics import BIN, TooLate, until
from wire import CHANNEL_OPTIONS, Client, Refused, credentials

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


def connections_to(port, *state):
    """Sockets of this machine at this port: all but listeners, also ended ones; -l: the listeners."""
    done = subprocess.run(["ss", "-Htn", *(state or ["-a"]), f"( sport = :{port} or dport = :{port} )"],
                          capture_output=True, text=True, check=True, timeout=10)
    return [line for line in done.stdout.splitlines() if state or not line.startswith("LISTEN")]


# ---- one damaged host ---------------------------------------------------------------------------------

def damage_record(collector, host_id):
    """Change the record that the catalog holds of this host."""
    with contextlib.closing(sqlite3.connect(collector.store / "catalog.sqlite")) as db, db:
        changed = db.execute("UPDATE records SET record = x'ff00ff' WHERE host = ?", [host_id.encode()]).rowcount
    assert changed == 1, "the catalog has one record of this host"


def test_one_unreadable_host_record_keeps_no_other_out(lab, site):
    collector = lab.collector(store__segment_age="1s")
    bad, good = lab.host(), lab.host()
    for host in (bad, good):
        with Client(host, collector.address, site.order_ca) as client:
            client.put(host.execs(1, b"before"))
    # With its segment sealed a record goes to the catalog.
    until(lambda: not list(collector.store.glob("*/open-*.seg")), 20, "the sealed segment")
    collector.stop()
    damage_record(collector, bad.identity.host_id)
    checked = collector.offline("check")
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert f"the record of host {bad.identity.host_id}" in checked.stdout
    collector.start()
    assert "a host is refused" in collector.log and bad.identity.host_id in collector.log
    with Client(good, collector.address, site.order_ca) as client:
        client.put(good.execs(1, b"after"))
    client = Client(bad, collector.address, site.order_ca, hello=False)
    client.send(bad.hello())
    ended = client.wait_ended()
    client.close()
    assert ended.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "cannot read the record it stored" in ended.sentence and "reindex" in ended.sentence
    collector.stop()
    assert collector.offline("reindex").returncode == 0
    collector.check()
    collector.start()
    with Client(bad, collector.address, site.order_ca) as client:
        client.put(bad.execs(1, b"healed"))


# ---- refusals in the log ------------------------------------------------------------------------------

def test_a_noisy_host_does_not_hide_another(lab, site):
    collector = lab.collector()
    noisy, quiet = lab.host(), lab.host()
    stop = threading.Event()

    def shout():
        while not stop.is_set():
            client = Client(noisy, collector.address, site.order_ca)
            client.send(noisy.batch(tenant=b"globex"))
            client.wait_ended()
            client.close()
    thread = threading.Thread(target=shout)
    thread.start()
    try:
        until(lambda: "is refused" in collector.log, 20, "a first refusal")
        time.sleep(0.3)  # amid a second that is the noisy one's
        with Client(quiet, collector.address, site.order_ca) as client:
            client.send(quiet.batch(host_id=b"victim"))
            client.wait_ended()
        until(lambda: any("is refused" in line and quiet.identity.host_id in line
                          for line in collector.log.splitlines()), 2, "the quiet host's refusal")
    finally:
        stop.set()
        thread.join(30)
    # What was held back is told, also of a host that says nothing more.
    until(lambda: any("more of a host's messages were refused" in line and noisy.identity.host_id in line
                      for line in collector.log.splitlines()), 10, "the count of what was held back")


# ---- health -------------------------------------------------------------------------------------------

class Health:
    def __init__(self, site, address, responder):
        self.channel = grpc.secure_channel(address, credentials(responder.cert, responder.key, site.order_ca),
                                           CHANNEL_OPTIONS)

    def check(self, service=""):
        question = b"\x0a" + bytes([len(service)]) + service.encode() if service else b""
        return self.channel.unary_unary("/grpc.health.v1.Health/Check")(question, timeout=10)

    def close(self):
        self.channel.close()


def test_health_while_draining(lab, site, responder):
    """SIGTERM with a stream that does not end: NOT_SERVING until it does."""
    collector = lab.collector(stop_timeout="20s")
    host = lab.host()
    client = lab.client(host, collector)
    client.put(host.execs(1, b"open"))
    health = Health(site, collector.address, responder)
    assert health.check() == SERVING
    assert health.check("exhibit.v1.Agent") == SERVING
    collector.signal(signal.SIGTERM)
    until(lambda: health.check() == NOT_SERVING, 10, "NOT_SERVING")
    assert health.check("exhibit.v1.Query") == NOT_SERVING
    assert collector.running()
    client.close()
    assert collector.process.wait(20) == 0
    health.close()


@contextlib.contextmanager
def held_open(file):
    """Whoever opens this file waits until we are done (a lease, fcntl(2); at most 45 s)."""
    old = signal.signal(signal.SIGIO, signal.SIG_IGN)
    with open(file, "rb+") as held:
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        try:
            yield
        finally:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            signal.signal(signal.SIGIO, old)


def test_health_before_the_store_is_ready(lab, site, responder):
    """A start that takes long, held up where it opens the store, says NOT_SERVING and not nothing."""
    collector = lab.collector()
    host = lab.host()
    with Client(host, collector.address, site.order_ca) as client:
        client.put(host.execs(1, b"stored"))
    collector.stop()
    collector.options["listen"] = collector.address
    collector.ready.unlink()
    with held_open(collector.store / "catalog.sqlite"):
        collector.spawn()
        until(lambda: connections_to(collector.port, "-l"), 10, "the port")
        health = Health(site, collector.address, responder)
        assert health.check() == NOT_SERVING
        assert health.check("exhibit.v1.Agent") == NOT_SERVING
        with pytest.raises(Refused) as refused:
            Client(host, collector.address, site.order_ca)
        assert refused.value.code == grpc.StatusCode.UNAVAILABLE and "starting" in refused.value.sentence
        assert not collector.ready.exists()
    until(lambda: health.check() == SERVING, 20, "SERVING")
    health.close()
    with Client(host, collector.address, site.order_ca) as client:
        client.put(host.execs(1, b"served"))


# ---- roles --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("roles", ["janitor", "viewer,janitor", "viewers", "view"])
def test_a_role_that_is_none(roles, site):
    done = subprocess.run([BIN / "exhibit-collector", "certs", "responder", "--dir", site.dir, "--name", "odd",
                           "--roles", roles], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "there is no role" in done.stderr and "viewer, acquirer, approver" in done.stderr
    assert not (site.dir / "responder-odd.crt").exists()


def test_every_role_there_is(site):
    assert site.responder("all", roles="viewer,acquirer,approver").cert.exists()


# ---- an idle port -------------------------------------------------------------------------------------

def test_an_idle_collector_dials_nobody(lab):
    """Not even itself: an agent on this host would record it for ever. Who hangs up first stays in TIME-WAIT for a
    minute, so a dial every ten seconds cannot be missed."""
    collector = lab.collector()
    with pytest.raises(TooLate):
        until(lambda: connections_to(collector.port), 25, "nothing, as it should be")
