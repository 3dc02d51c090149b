# SPDX-License-Identifier: Apache-2.0
"""SIGHUP: a customer replaces an authority, or a certificate runs out, and nobody is started anew."""
import shutil
import signal

import pytest
from cryptography.hazmat.primitives import serialization

from activity import settle
from basics import until
from pki import Authority, HostIdentity, Site, host_record, spiffe, write_cert
from wire import Client, Host


@pytest.fixture
def own_site(tmp_path):
    """An authority folder that a test may change."""
    return Site(tmp_path / "site")


@pytest.fixture
def own_lab(own_site, tmp_path):
    from conftest import Lab
    folder = tmp_path / "reload"
    folder.mkdir()
    lab = Lab(own_site, own_site.responder("ann"), folder)
    yield lab
    lab.end()


def second_fleet(site):
    """A new fleet authority that stands beside the old one in the file of authorities."""
    fleet = Authority.make("Exhibit fleet authority 2")
    with open(site.fleet_ca, "ab") as file:
        file.write(fleet.cert.public_bytes(serialization.Encoding.PEM))
    return fleet


def host_of(fleet, site, name, folder):
    """A host that this authority vouches for: its certificate, and its record."""
    old = site.host(name)  # for a sealing key
    files = fleet.issue_files(folder / name, [spiffe("host", name, site.tenant)])
    public = serialization.load_pem_private_key(old.seal_key.read_bytes(), None).public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    record = folder / f"{name}.record"
    record.write_bytes(host_record(fleet, site.tenant, name, public, name.encode()))
    return HostIdentity(files.cert, files.key, site.tenant, name, old.seal_key, record)


def reload(collector):
    position = len(collector.log)
    collector.signal(signal.SIGHUP)
    until(lambda: "are read again" in collector.log[position:] or "nothing is read again" in collector.log[position:],
          10, "the reload")
    return collector.log[position:]


def test_a_new_fleet_authority_vouches_for_hosts_at_once(own_lab, own_site, tmp_path):
    """Not only in the handshake: the hello's host record is signed by it too."""
    collector = own_lab.collector()
    old = own_lab.client(Host(own_site.host("old")), collector)
    fleet = second_fleet(own_site)
    host = Host(host_of(fleet, own_site, "new", tmp_path))
    with pytest.raises(Exception):
        Client(host, collector.address, own_site.order_ca)
    assert "authorities" in reload(collector)
    with Client(host, collector.address, own_site.order_ca) as client:
        client.put(host.execs(1, b"vouched"))
    old.put(old.host.execs(1, b"old-goes-on"))


def test_an_authority_that_was_taken_out_vouches_no_more(own_lab, own_site):
    collector = own_lab.collector()
    host = Host(own_site.host("gone"))
    with Client(host, collector.address, own_site.order_ca) as client:
        client.put(host.execs(1, b"before"))
    write_cert(own_site.fleet_ca, Authority.make("Exhibit fleet authority").cert)
    reload(collector)
    with pytest.raises(Exception):
        Client(host, collector.address, own_site.order_ca)


def test_a_broken_file_of_authorities_changes_nothing(own_lab, own_site):
    collector = own_lab.collector()
    host = Host(own_site.host("kept"))
    own_site.fleet_ca.write_text("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
    assert "nothing is read again" in reload(collector)
    with Client(host, collector.address, own_site.order_ca) as client:
        client.put(host.execs(1, b"still"))


def test_agent_takes_a_new_order_authority(need_bpf, own_lab, own_site):
    """The collector's certificate comes from a new order authority: an agent that was told trusts it."""
    collector = own_lab.collector()
    agent = own_lab.agent(collector)
    agent.wait_log("connected to the collector")
    order = Authority.make("Exhibit order authority 2")
    both = own_site.order_ca.read_bytes() + order.cert.public_bytes(serialization.Encoding.PEM)
    files = order.issue_files(own_site.dir / "second", [spiffe("collector", "collector", own_site.tenant)],
                              sans=["localhost", "127.0.0.1"], server=True)
    own_site.order_ca.write_bytes(both)
    shutil.copy(files.cert, own_site.collector.cert)
    shutil.copy(files.key, own_site.collector.key)
    reload(collector)
    first = agent.uplink()
    agent.signal(signal.SIGHUP)
    until(lambda: agent.running() and agent.uplink() != first, 20, "a new uplink")
    # Its connection is a new one, and was shown the new certificate.
    settle(own_lab.cli(collector))
