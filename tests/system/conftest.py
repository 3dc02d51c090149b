# SPDX-License-Identifier: Apache-2.0
"""Fixtures: an authority folder, daemons that end with their test, and the CLI."""
import os
import shutil
import tempfile
from pathlib import Path

import pytest

import basics  # noqa: F401  (first: it finds the generated modules)
import containers
from daemons import Agent, Cli, Collector
from pki import Site
from wire import Client, Host


def pytest_sessionfinish(session, exitstatus):
    """A full run leaves 17 GB behind, and pytest keeps three of them: only one that failed is worth it."""
    factory = getattr(session.config, "_tmp_path_factory", None)
    if exitstatus == 0 and factory is not None and factory._basetemp is not None:
        shutil.rmtree(factory._basetemp, ignore_errors=True)


# Files whose tests touch nothing but processes, folders and ports of their own: they run beside each other
# (make system), the others alone, since they trace this host, measure, or flood it.
BESIDE = {
    "test_cli_help", "test_commit", "test_journal_faults", "test_journal_powercut", "test_journal_reader",
    "test_ledger", "test_ledger_faults", "test_manual", "test_orders", "test_orders_cli", "test_orders_hosts",
    "test_orders_people", "test_query", "test_retention", "test_segments", "test_store_faults", "test_vault",
    "test_vault_check", "test_vault_faults", "test_vault_interrupted", "test_vault_places", "test_vault_powercut",
    "test_vault_refused", "test_vault_s3",
}


def pytest_configure(config):
    config.addinivalue_line("markers", "beside: may run while other tests do")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    # What takes longest begins first, so that nobody waits for it at the end.
    items.sort(key=lambda item: item.path.stem not in ("test_vault_s3", "test_ledger_faults"))
    for item in items:
        name = item.path.stem
        if name not in BESIDE:
            continue
        item.add_marker("beside")
        if not name.endswith("_faults"):  # these share nothing, and are long
            item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Two authorities and a collector's certificate, once for all tests."""
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def responder(site):
    return site.responder("ann")


class Lab:
    """Starts daemons in folders of its own and ends all of them, tidily or not."""

    def __init__(self, site, responder, folder):
        self.site, self.responder, self.dir = site, responder, folder
        self.started, self.hosts, self.clients = [], 0, []

    def _folder(self, name):
        folder = self.dir / f"{name}-{len(self.started)}"
        folder.mkdir()
        return folder

    def collector(self, start=True, **options):
        daemon = Collector(self.site, self._folder("collector"), **options)
        self.started.append(daemon)
        return daemon.start() if start else daemon

    def agent(self, collector, host=None, start=True, address=None, **options):
        host = host or self.host_identity()
        daemon = Agent(self.site, host, self._folder("agent"), address or collector.address, **options)
        daemon.host = host
        self.started.append(daemon)
        return daemon.start() if start else daemon

    def host_identity(self):
        self.hosts += 1
        return self.site.host(f"{self.dir.name[:40]}-{self.hosts}".replace("_", "-"))

    def host(self, identity=None, **kwargs):
        """Sealing state of a host that a test plays itself."""
        return Host(identity or self.host_identity(), **kwargs)

    def client(self, host, collector, **kwargs):
        client = Client(host, collector.address, self.site.order_ca, **kwargs)
        self.clients.append(client)
        return client

    def cli(self, collector, responder=None):
        return Cli(self.site, responder or self.responder, collector.address, collector.dir)

    def end(self):
        for client in self.clients:
            client.close()
        for daemon in reversed(self.started):
            if daemon.running():
                daemon.kill()


@pytest.fixture
def lab(site, responder, tmp_path):
    lab = Lab(site, responder, tmp_path)
    yield lab
    lab.end()


@pytest.fixture(scope="module")
def module_lab(site, responder, tmp_path_factory, request):
    lab = Lab(site, responder, tmp_path_factory.mktemp(request.module.__name__))
    yield lab
    lab.end()


@pytest.fixture(scope="session")
def containerd():
    """A real containerd with runc, spoken to through CRI (containers.py)."""
    runtime = containers.make()
    yield runtime
    containers.unmake(runtime)


@pytest.fixture
def ram_path(tmp_path):
    """A folder in memory where there is one: thousands of small stores need no disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="exhibit-test-", dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def need_bpf():
    """Tracing takes root and a kernel that loads BPF programs."""
    if os.geteuid() != 0:
        pytest.skip("tracing a host takes root")
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        pytest.skip("this kernel has no BTF")
