# SPDX-License-Identifier: Apache-2.0
"""From the command to the exhibit, with the real daemons: order, host, vault, ledger, events."""
import hashlib
import itertools
import json
import os
import subprocess

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import order_pb2
import service_pb2
from basics import until
from daemons import field
from orders import PersonCli, authority, person
from pki import spiffe
from wire import CHANNEL_OPTIONS, credentials

CASE = "INC-11"


@pytest.fixture
def loop(tmp_path):
    """A loop device over 5 MiB of noise, and the noise's hash."""
    if os.geteuid() != 0:
        pytest.skip("loop devices take root")
    image = tmp_path / "image"
    noise = os.urandom(5 << 20)
    image.write_bytes(noise)
    device = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True,
                            timeout=30).stdout.strip()
    yield device, hashlib.sha256(noise).hexdigest()
    subprocess.run(["losetup", "-d", device], check=True, timeout=30)


class Site:
    def __init__(self, lab, collector=(), **agent):
        self.lab, self.collector = lab, lab.collector(vault__immutable="false", **dict(collector))
        self.ann = person(lab.site, "ann-grab", "viewer,acquirer")
        self.bob = person(lab.site, "bob-grab", "approver")
        self.agent = lab.agent(self.collector, **agent)
        self.host = self.agent.host.host_id
        self.cli = self.cli_of(self.ann)
        until(lambda: [r for r in self.cli.run("hosts", "--json").rows if field(r, "host.id") == self.host
                       and field(r, "exhibit.connected")], 30, "the host")

    def cli_of(self, who):
        return PersonCli(self.lab.site, who, self.collector.address, self.collector.dir)

    def grab(self, *words, seconds=60):
        answer = self.cli.run("grab", *words, "--host", self.host, "--case", CASE, "--reason", "a test", "--wait",
                              "--json", seconds=seconds)
        rows = answer.rows
        assert len(rows) == 1, answer.err
        return answer.code, rows[0], answer.err

    def leaves(self):
        """Of the case, from the ledger."""
        channel = grpc.secure_channel(self.collector.address, credentials(self.ann.tls.cert, self.ann.tls.key,
                                                                          self.lab.site.order_ca), CHANNEL_OPTIONS)
        call = channel.unary_stream("/exhibit.v1.Ledger/Entries",
                                    request_serializer=lambda r: r.SerializeToString(),
                                    response_deserializer=service_pb2.EntriesReply.FromString)
        found = [service_pb2.LedgerEntry.FromString(r.entry)
                 for r in call(service_pb2.EntriesRequest(case_id=CASE.encode()), timeout=20) if r.entry]
        channel.close()
        return found


def test_a_disk_is_grabbed_sealed_and_in_the_ledger(lab, need_bpf, loop):
    device, want = loop
    site = Site(lab)
    code, row, err = site.grab("disk", "--device", device)
    assert code == 0, err
    order_id, exhibit = field(row, "exhibit.order.id"), field(row, "exhibit.order.exhibit")
    manifest = field(row, "exhibit.manifest")
    item = next(i for i in manifest["items"] if i["format"] == "raw")
    assert item["sha256"] == want and manifest["complete"] is True
    assert manifest["exhibit_id"] == exhibit and manifest["order_id"] == order_id
    # Both daemons have the same clock here: the true offset is zero, and within the bound.
    clock = manifest["ended"]["collector_clock"]
    assert abs(clock["offset_ns"]) <= clock["bound_ns"] <= clock["round_trip_ns"], clock
    assert "RFC 5905" in clock["method"] and clock["measured"] <= manifest["ended"]["time"]
    assert manifest["order"]["requester"]["name"] == spiffe("responder", "ann-grab")

    # Every step is an event of the host ...
    states = until(lambda: (lambda s: s if "done" in s else None)(
        [field(e, "exhibit.order.state") for e in site.cli.events("--action", "order")]), 30, "the events")
    assert states[-1] == "done" and "started" in states

    # ... and a leaf of the ledger.
    def whole():
        found = site.leaves()
        return found if any(e.state == order_pb2.ORDER_DONE for e in found) else None
    leaves = until(whole, 30, "the leaves")
    kinds = [service_pb2.LedgerKind.Name(e.kind) for e in leaves]
    assert kinds[0] == "LEDGER_ORDER" and "LEDGER_EXHIBIT" in kinds
    # (Waiting: when the host's orders stream began later than its events'. Progress: when it took long.)
    passing = (order_pb2.ORDER_WAITING, order_pb2.ORDER_PROGRESS)
    assert [e.state for e in leaves if e.kind == service_pb2.LEDGER_STEP and e.state not in passing] == [
        order_pb2.ORDER_SENT, order_pb2.ORDER_STARTED, order_pb2.ORDER_DONE]
    assert "LEDGER_FETCH" in kinds, "the CLI read the manifest"
    assert {(k, e.order_id.hex()) for k, e in zip(kinds, leaves) if k not in ("LEDGER_FETCH", "LEDGER_EXPORT")} == {
        (k, order_id) for k in ("LEDGER_ORDER", "LEDGER_STEP", "LEDGER_EXHIBIT")}
    assert leaves[0].subject.decode() == spiffe("responder", "ann-grab") and leaves[0].text == b"a test"
    sealed = next(e for e in leaves if e.kind == service_pb2.LEDGER_EXHIBIT)
    assert sealed.exhibit_id.hex() == exhibit
    assert sealed.object.hex() == field(row, "exhibit.order.manifest")


def certificate_sha256(who):
    return hashlib.sha256(x509.load_pem_x509_certificate(who.sign.cert.read_bytes()).public_bytes(
        serialization.Encoding.DER)).hexdigest()


def leaf_state(entry):
    """The step that a leaf tells of."""
    if entry.kind == service_pb2.LEDGER_STEP:
        return order_pb2.OrderState.Name(entry.state).removeprefix("ORDER_").lower()
    return {service_pb2.LEDGER_ORDER: "made", service_pb2.LEDGER_APPROVAL: "approved"}.get(entry.kind)


def test_each_step_is_an_event_a_leaf_and_a_row(lab, need_bpf, loop):
    """Made, approved, refused, started, progress, done: each of them in all three places, in the same order."""
    device, _ = loop
    both = {"orders__require_approvals": ["disk=1"]}
    site = Site(lab, collector=both, orders__deny=["memory"], **both)

    def grab(*words):
        answer = site.cli.run("grab", *words, "--host", site.host, "--case", CASE, "--reason", "a test", "--json")
        assert answer.code == 0, answer.err
        return field(answer.rows[0], "exhibit.order.id")

    def places(order, last, steps):
        def over():
            found = {"event": [field(e, "exhibit.order.state") for e in events(order)],
                     "leaf": [leaf_state(e) for e in site.leaves() if e.order_id.hex() == order and leaf_state(e)],
                     "row": [field(r, "exhibit.order.state") for r in site.cli.run("orders", order, "--json").rows]}
            return found if all(last in states for states in found.values()) else None
        found = until(over, 60, last)
        # What only the collector does is no event of the host.
        told = [[s for s in states if s not in ("waiting", "sent")] for states in found.values()]
        assert told[0] == told[1] == told[2] and [s for s, _ in itertools.groupby(told[0])] == steps, found

    def events(order):
        return [e for e in site.cli.events("--action", "order") if field(e, "exhibit.order.id") == order]

    order = grab("disk", "--device", device, "--rate", "1MiB")
    assert site.cli_of(site.bob).run("approve", order, "--yes").code == 0
    places(order, "done", ["made", "approved", "started", "progress", "done"])
    made, approved = events(order)[:2]
    assert field(made, "exhibit.order.actor") == spiffe("responder", "ann-grab")
    assert field(made, "exhibit.order.certificate") == certificate_sha256(site.ann)
    assert field(made, "exhibit.order.reason") == "a test"
    assert field(made, "exhibit.order.signed") < field(made, "@timestamp")
    assert field(approved, "exhibit.order.actor") == spiffe("responder", "bob-grab")
    assert field(approved, "exhibit.order.certificate") == certificate_sha256(site.bob)
    assert field(approved, "exhibit.order.signed") is None
    places(grab("memory"), "refused", ["made", "refused"])
    order = grab("disk", "--device", "/dev/nothing-here")
    assert site.cli_of(site.bob).run("approve", order, "--yes").code == 0
    places(order, "failed", ["made", "approved", "started", "failed"])


def test_a_host_wants_more_than_the_collector(lab, need_bpf, loop):
    """Its own configuration decides: the collector alone would have let the order pass."""
    device, want = loop
    site = Site(lab, orders__require_approvals=["disk=1"], orders__deny=["memory"])
    code, row, err = site.grab("disk", "--device", device)
    assert code == 2 and "takes 1 approvals here, it has 0" in field(row, "exhibit.order.reason"), err
    code, row, err = site.grab("memory")
    assert code == 2 and "orders.deny" in field(row, "exhibit.order.reason")
    refused = [e for e in site.leaves() if e.state == order_pb2.ORDER_REFUSED]
    assert len(refused) == 2 and refused[0].subject.decode() == spiffe("host", site.host)


def test_a_failed_grab_says_why(lab, need_bpf):
    site = Site(lab)
    code, row, err = site.grab("disk", "--device", "/dev/nothing-here")
    assert code == 2 and field(row, "exhibit.order.state") in ("failed", "refused")
    assert "/dev/nothing-here" in field(row, "exhibit.order.reason"), row


def test_an_order_waits_for_an_agent_that_is_down(lab, need_bpf, loop):
    device, want = loop
    site = Site(lab)
    site.agent.stop()
    grab = site.cli.popen("grab", "disk", "--device", device, "--host", site.host, "--case", CASE, "--reason", "x",
                          "--wait", "--json")
    until(lambda: "waiting" in [field(r, "exhibit.order.state") for r in site.cli.run("orders", "--json").rows],
          30, "the order to wait")
    site.agent.start()
    out, err = grab.communicate(timeout=60)
    assert grab.returncode == 0, err
    items = field(json.loads(out), "exhibit.manifest.items")
    assert next(i for i in items if i["format"] == "raw")["sha256"] == want


def test_a_revoked_person_orders_nothing_on_the_host_either(lab, need_bpf):
    """The host holds the list by itself: what the collector let pass would be refused there."""
    site = Site(lab)
    eve = person(lab.site, "eve-grab", "viewer,acquirer")
    authority(lab.site, "revoke", "--name", "eve-grab")
    authority(lab.site, "publish", "--config", site.cli.config)
    site.agent.wait_log("a list of revocations was taken")
    answer = site.cli_of(eve).run("grab", "memory", "--host", site.host, "--case", CASE, "--reason", "x")
    assert answer.code == 2 and "revoked" in answer.err
