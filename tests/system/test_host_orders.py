# SPDX-License-Identifier: Apache-2.0
"""Orders on the host: the real agent, and a collector in a thief's hands that has the real one's certificate, key and
process. What people signed runs; what the collector made up, altered or repeats does not, and raises an alarm."""
import hashlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

import basics
import order_pb2
from basics import count, until
from daemons import descendants
from orders import APPROVAL, ORDER, SECOND, an_order, authority, person, signature, signed
from pki import Identity, spiffe
from stolen_collector import MiB, StolenCollector

DONE, FAILED, STARTED, REFUSED = (order_pb2.ORDER_DONE, order_pb2.ORDER_FAILED, order_pb2.ORDER_STARTED,
                                  order_pb2.ORDER_REFUSED)
pytestmark = pytest.mark.usefixtures("need_bpf")


class BlockDevice:
    """A loop device over a file of random bytes and holes."""

    def __init__(self, path, megabytes):
        self.path = Path(path)
        with open(path, "wb") as f:
            for i in range(megabytes):
                f.write(os.urandom(MiB) if i % 4 else bytes(MiB))
        self.device = subprocess.run(["losetup", "-r", "-f", "--show", self.path], check=True, capture_output=True,
                                     text=True).stdout.strip()

    @property
    def sha256(self):
        digest = hashlib.sha256()
        with open(self.path, "rb") as f:
            for part in iter(lambda: f.read(MiB), b""):
                digest.update(part)
        return digest.digest()

    def close(self):
        subprocess.run(["losetup", "-d", self.device], check=False)


class World:
    def __init__(self, lab):
        self.lab, self.site = lab, lab.site
        self.ann = person(self.site, "ann-h", "acquirer")
        self.bob = person(self.site, "bob-h", "approver")
        self.eve = person(self.site, "eve-h", "viewer")
        self.collector = StolenCollector(self.site)
        self.devices = []

    def agent(self, **options):
        self.host = self.lab.host_identity()
        self.daemon = self.lab.agent(None, self.host, address=self.collector.address, **options)
        self.collector.wait(lambda: self.collector.hellos, "the agent")
        return self.daemon

    def disk(self, megabytes=8):
        self.devices.append(BlockDevice(self.lab.dir / f"disk{len(self.devices)}", megabytes))
        return self.devices[-1]

    def order(self, device, who=None, **fields):
        order = an_order(who or self.ann, [self.host.host_id], **{"kind": order_pb2.ORDER_DISK, **fields})
        order.ClearField("memory")
        if order.kind == order_pb2.ORDER_DISK:
            order.disk.device = str(device).encode()
        return order

    def end(self):
        self.collector.stop()
        for device in self.devices:
            device.close()


@pytest.fixture
def world(lab):
    w = World(lab)
    yield w
    w.end()


@pytest.fixture(scope="module")
def shared(module_lab):
    """One agent for what leaves no mark on it."""
    w = World(module_lab)
    w.agent()
    w.device = w.disk(1)
    yield w
    w.end()


def acquirers(daemon):
    return [pid for pid, name in descendants(daemon.pid) if name == "exhibit-acquire"]


# ---- what people signed ---------------------------------------------------------------------------------------------


def test_an_order_runs_and_its_exhibit_arrives(world):
    world.agent()
    disk = world.disk()
    order = world.order(disk.device)
    world.collector.say(order=signed(order, world.ann))
    done = world.collector.step(order.order_id, DONE)
    upload = world.collector.upload_of(order.order_id)
    image = next(name for name, data in upload.items.items() if len(data) == 8 * MiB)
    assert hashlib.sha256(upload.data(image)).digest() == disk.sha256
    said = upload.said
    assert said["complete"] is True, said
    assert (said["exhibit_id"], said["order_id"]) == (upload.start.exhibit_id.hex(), order.order_id.hex())
    assert (said["case_id"], said["reason"], said["kind"]) == ("INC-7", "a test", "disk")
    assert said["order"]["requester"]["name"] == spiffe("responder", "ann-h")
    assert said["order"]["sha256"] == hashlib.sha256(order.SerializeToString()).hexdigest()
    assert said["order"]["parameters"] == {"device": disk.device}
    assert said["host"]["id"] == world.host.host_id
    assert said["host"]["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    assert said["tool"]["sha256"] == hashlib.sha256((basics.BIN / "exhibit-agent").read_bytes()).hexdigest()
    assert said["host"]["btf_sha256"] == hashlib.sha256(Path("/sys/kernel/btf/vmlinux").read_bytes()).hexdigest()
    assert {b["name"] for b in said["tool"]["bpf"]} >= {"t1_proc", "t1_net"}
    assert {i["name"]: i["sha256"] for i in said["items"]} == {
        name: hashlib.sha256(data).hexdigest() for name, data in upload.items.items()}
    for moment in ("started", "ended"):
        assert abs(said[moment]["realtime_ns"] - time.time_ns()) < 120 * SECOND
        assert said[moment]["monotonic_ns"] and said[moment]["boottime_ns"]
        assert "synchronised" in said[moment]["adjtimex"]
        assert "collector_clock" not in said[moment], "this collector answers nothing about its clock"
    assert said["footprint"]["rss_bytes"] > 0 and said["footprint"]["agent_rss_bytes"] > 0
    assert re.fullmatch("unknown|[0-9a-f]{40}(-dirty)?", said["tool"]["commit"])
    cert = x509.load_pem_x509_certificate(world.ann.sign.cert.read_bytes())
    assert said["order"]["requester"]["certificate_sha256"] == cert.fingerprint(hashes.SHA256()).hex()
    for item in said["items"]:
        assert said["started"]["time"] <= item["started"] <= item["ended"] <= said["ended"]["time"]
    assert done.manifest_sha256 == hashlib.sha256(upload.manifest.manifest).digest()
    key = serialization.load_pem_private_key(world.host.seal_key.read_bytes(), None).public_key()
    key.verify(upload.manifest.signature,
               b"exhibit/manifest/v1\0" + hashlib.sha256(upload.manifest.manifest).digest())
    until(lambda: {e.order.state for e in world.collector.order_events()} >= {STARTED, DONE}, 20, "events")
    assert world.collector.alarms() == []
    assert not list((world.daemon.state / "orders").glob("run-*"))


def test_what_fails_is_reported_with_a_manifest(shared):
    order = shared.order("/dev/exhibit-does-not-exist")
    shared.collector.say(order=signed(order, shared.ann))
    failed = shared.collector.step(order.order_id, FAILED)
    assert b"exhibit-does-not-exist" in failed.reason
    said = shared.collector.upload_of(order.order_id).said
    assert said["complete"] is False and "exhibit-does-not-exist" in said["failure"]


def test_a_limit_of_bytes_cuts(shared):
    order = shared.order(shared.device.device)
    order.limits.max_bytes = 1000
    shared.collector.say(order=signed(order, shared.ann))
    shared.collector.step(order.order_id, DONE)
    upload = shared.collector.upload_of(order.order_id)
    assert upload.said["complete"] is False
    image = next(i for i in upload.said["items"] if i["format"] == "raw")
    assert image["bytes"] == 1000 and image["status"]


def test_each_manifest_names_the_one_before(shared):
    manifests = []
    for _ in range(2):
        order = shared.order("/dev/null")
        shared.collector.say(order=signed(order, shared.ann))
        manifests.append(shared.collector.upload_of(order.order_id))
        shared.collector.step(order.order_id, FAILED)
    assert manifests[1].said["previous_manifest_sha256"] == \
        hashlib.sha256(manifests[0].manifest.manifest).hexdigest()


# ---- the stolen collector -------------------------------------------------------------------------------------------


def by_the_fleet_authority(w):
    """The collector can issue host certificates: it tries to make a person."""
    from orders_world import false_signer
    return signed(w.order(w.device.device), w.ann, sign=false_signer(w.site, "ann-h", "fleet"))


def by_another_authority(w):
    from orders_world import false_signer
    return signed(w.order(w.device.device), w.ann, sign=false_signer(w.site, "ann-h", "other"))


def by_the_collector_itself(w):
    """The order authority did sign that certificate, for a collector."""
    return signed(w.order(w.device.device), w.ann, sign=Identity(w.site.collector.cert, w.site.collector.key))


def by_a_viewer(w):
    return signed(w.order(w.device.device, w.eve), w.eve)


def in_anothers_name(w):
    return signed(w.order(w.device.device, w.ann), w.eve)


def altered(w):
    made = signed(w.order("/dev/null"), w.ann)
    made.order = made.order.replace(b"/dev/null", b"/dev/full")
    return made


def another_signature(w):
    made = signed(w.order(w.device.device), w.ann)
    made.requester.signature = signed(w.order("/dev/null"), w.ann).requester.signature
    return made


def for_another_host(w):
    order = w.order(w.device.device)
    del order.hosts[:]
    order.hosts.append(b"another")
    return signed(order, w.ann)


def of_another_tenant(w):
    return signed(w.order(w.device.device, tenant=b"other"), w.ann)


def with_an_approval_as_signature(w):
    order = w.order(w.device.device)
    data = order.SerializeToString()
    return order_pb2.SignedOrder(order=data, requester=signature(w.ann.sign, APPROVAL, data))


def nonsense(_w):
    return order_pb2.SignedOrder(order=b"nonsense")


def with_a_field_from_the_future(w):
    data = w.order(w.device.device).SerializeToString() + b"\xf2\x3f\x01x"  # field 1022
    return order_pb2.SignedOrder(order=data, requester=signature(w.ann.sign, ORDER, data))


FORGED = [by_the_fleet_authority, by_another_authority, by_the_collector_itself, by_a_viewer, in_anothers_name,
          altered, another_signature, for_another_host, of_another_tenant, with_an_approval_as_signature, nonsense,
          with_a_field_from_the_future]


@pytest.mark.parametrize("forge", FORGED, ids=lambda f: f.__name__)
def test_a_stolen_collector_runs_nothing(forge, shared):
    collector, before = shared.collector, len(shared.collector.uploads)
    alarms = len(collector.alarms())
    made = forge(shared)
    collector.say(order=made)
    until(lambda: len(collector.alarms()) > alarms, 20, "an alarm")
    alarm = collector.alarms()[-1]
    assert alarm.order.reason and alarm.error and not alarm.order.requester
    refused = [e for e in collector.order_events() if e.order.state == REFUSED]
    assert refused and refused[-1].order.reason
    assert not [e for e in collector.order_events() if e.order.order_sha256 == hashlib.sha256(made.order).digest()
                and e.order.state in (order_pb2.ORDER_MADE, order_pb2.ORDER_APPROVED)], "nobody signed that"
    assert not {STARTED, DONE} & {s.state for s in collector.steps if s.order_id and s.order_id in made.order}
    assert acquirers(shared.daemon) == [] and len(collector.uploads) == before
    assert "ALARM" in shared.daemon.log


def test_a_repetition_runs_once_also_after_a_restart(world):
    world.agent()
    order = world.order(world.disk(1).device)
    made = signed(order, world.ann)
    world.collector.say(order=made)
    world.collector.step(order.order_id, DONE)
    world.collector.say(order=made)
    until(lambda: len([s for s in world.collector.states(order.order_id) if s == DONE]) == 2, 20,
          "the same step again")
    assert world.collector.states(order.order_id).count(STARTED) == 1
    assert world.daemon.stop() == 0
    n = len(world.collector.hellos)
    world.daemon.start()
    world.collector.wait(lambda: len(world.collector.hellos) > n, "the agent again")
    world.collector.say(order=made)
    refused = world.collector.step(order.order_id, REFUSED)
    assert refused.reason == b"the order was taken before: it cannot be repeated"
    assert len(world.collector.uploads) == 1


# ---- what the host itself refuses -------------------------------------------------------------------------------------


def expired(w):
    now = time.time_ns()
    return signed(w.order(w.device.device, made_ns=now - 7200 * SECOND, expires_ns=now - 3600 * SECOND), w.ann)


def not_yet(w):
    now = time.time_ns()
    return signed(w.order(w.device.device, not_before_ns=now + 1800 * SECOND), w.ann)


@pytest.mark.parametrize("make,sentence", [(expired, "expired"), (not_yet, "not valid for another")],
                         ids=["expired", "not yet"])
def test_times(make, sentence, shared):
    alarms = len(shared.collector.alarms())
    made = make(shared)
    shared.collector.say(order=made)
    refused = shared.collector.step(order_pb2.Order.FromString(made.order).order_id, REFUSED)
    assert sentence in refused.reason.decode()
    assert len(shared.collector.alarms()) == alarms


def test_local_policy(world):
    world.agent(**{"orders.deny": ["memory"], "orders.require-approvals": ["disk=1"], "orders.per-hour": "3"})
    device = world.disk(1).device
    memory = an_order(world.ann, [world.host.host_id])
    world.collector.say(order=signed(memory, world.ann))
    refused = world.collector.step(memory.order_id, REFUSED)
    assert refused.reason == (b"this host's own policy does not allow orders of kind 'memory'; "
                              b"see orders.allow and orders.deny in its agent.yaml")
    alone = world.order(device)
    world.collector.say(order=signed(alone, world.ann))
    assert b"approv" in world.collector.step(alone.order_id, REFUSED).reason
    # The same order again, approved: nothing was used up by the refusal.
    world.collector.say(order=signed(alone, world.ann, approvers=[world.bob]))
    world.collector.step(alone.order_id, DONE)
    said = world.collector.upload_of(alone.order_id).said
    assert [a["name"] for a in said["order"]["approvers"]] == [spiffe("responder", "bob-h")]
    for _ in range(2):
        order = world.order(device)
        world.collector.say(order=signed(order, world.ann, approvers=[world.bob]))
        world.collector.step(order.order_id, DONE)
    order = world.order(device)
    world.collector.say(order=signed(order, world.ann, approvers=[world.bob]))
    assert b"at most 3 orders an hour" in world.collector.step(order.order_id, REFUSED).reason
    assert world.collector.alarms() == []


def test_the_same_target_twice(world):
    world.agent()
    device = world.disk(4).device
    first, second = world.order(device), world.order(device)
    first.limits.bytes_per_second = MiB // 2
    world.collector.say(order=signed(first, world.ann))
    world.collector.step(first.order_id, STARTED)
    world.collector.say(order=signed(second, world.ann))
    assert b"the same target" in world.collector.step(second.order_id, REFUSED).reason
    world.collector.step(first.order_id, DONE)


# ---- what breaks ------------------------------------------------------------------------------------------------------


def test_a_broken_link_resumes(world):
    world.agent()
    disk = world.disk(24)
    world.collector.break_upload_after = 7
    order = world.order(disk.device)
    world.collector.say(order=signed(order, world.ann))
    until(lambda: any(u.calls >= 3 for u in list(world.collector.uploads.values())), 60, "two broken calls")
    world.collector.break_upload_after = None
    world.collector.step(order.order_id, DONE)
    upload = world.collector.upload_of(order.order_id)
    assert upload.said["complete"] is True and upload.calls >= 3
    assert any(hashlib.sha256(data).digest() == disk.sha256 for data in upload.items.values())


def test_a_collector_that_comes_back(world):
    world.agent()
    disk = world.disk(16)
    order = world.order(disk.device)
    order.limits.bytes_per_second = 8 * MiB
    world.collector.say(order=signed(order, world.ann))
    until(lambda: any(len(d) > MiB for u in list(world.collector.uploads.values()) for d in u.items.values()), 60,
          "something")
    world.collector.restart()
    world.collector.step(order.order_id, DONE, 90)
    upload = world.collector.upload_of(order.order_id)
    assert upload.said["complete"] is True
    assert any(hashlib.sha256(data).digest() == disk.sha256 for data in upload.items.values())


@pytest.mark.parametrize("victim", ["agent", "uplink", "acquirer"])
def test_a_killed_process_resumes(victim, world):
    """A block device is read again; only what is missing is sent."""
    world.agent()
    disk = world.disk(16)
    order = world.order(disk.device)
    order.limits.bytes_per_second = 8 * MiB
    world.collector.say(order=signed(order, world.ann))
    until(lambda: any(len(d) > 2 * MiB for u in list(world.collector.uploads.values()) for d in u.items.values()),
          60, "something")
    if victim == "agent":
        world.daemon.kill()
        world.daemon.start()
    else:
        name = {"uplink": "exhibit-uplink", "acquirer": "exhibit-acquire"}[victim]
        os.kill(next(pid for pid, comm in descendants(world.daemon.pid) if comm == name[:15]), signal.SIGKILL)
    world.collector.step(order.order_id, DONE, 90)
    upload = world.collector.upload_of(order.order_id)
    assert len(world.collector.uploads) == 1 and upload.said["complete"] is True
    assert any(hashlib.sha256(data).digest() == disk.sha256 for data in upload.items.values())


@pytest.mark.parametrize("victim,why", [("exhibit-agent", "the agent ended while the acquisition ran"),
                                        ("exhibit-uplink", "the uplink is gone"),
                                        ("exhibit-acquire", "the acquirer was ended by signal 9")])
def test_what_cannot_be_read_again_is_sealed_as_incomplete(victim, why, world, tmp_path):
    """Files change: nothing is spliced with a later read."""
    world.agent()
    big = tmp_path / "big"
    big.write_bytes(os.urandom(16 * MiB))
    order = world.order("/dev/null", kind=order_pb2.ORDER_FILES)
    order.files.paths.append(str(big).encode())
    order.limits.bytes_per_second = 4 * MiB
    world.collector.say(order=signed(order, world.ann))
    until(lambda: any(len(d) > MiB for u in list(world.collector.uploads.values()) for d in u.items.values()), 60,
          "something")
    pids = acquirers(world.daemon)
    if victim == "exhibit-agent":
        world.daemon.kill()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10, "the acquirer's end")
        world.daemon.start()
    else:
        os.kill(next(pid for pid, name in descendants(world.daemon.pid) if name == victim[:15]), signal.SIGKILL)
    failed = world.collector.step(order.order_id, FAILED, 60)
    assert failed.reason.decode() == why
    upload = world.collector.upload_of(order.order_id)
    assert (upload.said["complete"], upload.said["failure"]) == (False, why)
    assert failed.manifest_sha256 == hashlib.sha256(upload.manifest.manifest).digest()
    assert len(world.collector.uploads) == 1 and not upload.ended
    until(lambda: not list((world.daemon.state / "orders").glob("run-*")), 10, "the order's end")


def test_a_flood_of_orders(world):
    """Each is signed and different: the host takes what its policy allows, and answers all."""
    world.agent(**{"orders.per-hour": "3"})
    orders = [world.order("/dev/exhibit-none") for _ in range(count(200, 1000))]
    for order in orders:
        world.collector.say(order=signed(order, world.ann))
    ids = {o.order_id for o in orders}
    until(lambda: {s.order_id for s in list(world.collector.steps)} >= ids, 120, "an answer to each")
    refused = [s for s in world.collector.steps if s.state == REFUSED]
    assert len(orders) - 3 <= len({s.order_id for s in refused}) < len(orders)
    assert all(b"at most 3 orders an hour" in s.reason or b"the same target" in s.reason for s in refused)
    assert world.daemon.running() and world.collector.alarms() == []


def test_a_refused_upload_ends_the_order(world):
    world.agent()
    world.collector.refuse_upload = (grpc.StatusCode.PERMISSION_DENIED, "no order asks this host for an exhibit")
    order = world.order(world.disk(1).device)
    world.collector.say(order=signed(order, world.ann))
    failed = world.collector.step(order.order_id, FAILED)
    assert b"no order asks this host" in failed.reason
    assert acquirers(world.daemon) == []
    until(lambda: not list((world.daemon.state / "orders").glob("run-*")), 10, "the order's end")


def test_a_renewed_certificate_waits_for_exhibits(world):
    world.agent()
    order = world.order(world.disk(8).device)
    order.limits.bytes_per_second = 2 * MiB
    world.collector.say(order=signed(order, world.ann))
    until(lambda: acquirers(world.daemon), 20, "an acquirer")
    uplink = next(pid for pid, name in descendants(world.daemon.pid) if name == "exhibit-uplink")
    world.daemon.signal(signal.SIGHUP)
    world.daemon.wait_log("when no exhibit is on its way any more")
    world.collector.step(order.order_id, DONE)
    assert world.collector.upload_of(order.order_id).calls == 1
    until(lambda: not Path(f"/proc/{uplink}").exists(), 20, "the new uplink")
    world.daemon.wait_log("the uplink is started again with the certificate that is on disk now")


def test_a_stop_leaves_nothing_behind(world):
    world.agent()
    order = world.order(world.disk(16).device)
    order.limits.bytes_per_second = MiB
    world.collector.say(order=signed(order, world.ann))
    world.collector.step(order.order_id, STARTED)
    pids = until(lambda: acquirers(world.daemon), 20, "an acquirer")
    assert world.daemon.stop() == 0
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10, "the acquirer's end")


# ---- what an acquirer may do ------------------------------------------------------------------------------------------


def test_an_acquirer_has_only_what_it_needs(world):
    world.agent()
    order = world.order(world.disk(8).device)
    order.limits.bytes_per_second = MiB
    world.collector.say(order=signed(order, world.ann))
    pid = until(lambda: acquirers(world.daemon), 20, "an acquirer")[0]
    until(lambda: "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text(), 20, "its filter")
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                  if ":\t" in line)
    bits = {bit for bit in range(64) if int(status["CapPrm"], 16) >> bit & 1}
    assert bits <= {2, 19, 21}, bits  # DAC_READ_SEARCH, SYS_PTRACE, SYS_ADMIN: the row of disk
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16)
    assert int(status["CapBnd"], 16) == int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    until(lambda: Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "800", 10, "its priority")
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    assert (stat[16], stat[38]) == ("19", "3")  # the least nice value, SCHED_BATCH
    assert subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True).stdout.strip() == "idle"
    sockets = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    assert len([s for s in sockets if s.startswith("socket:")]) == 2
    world.collector.step(order.order_id, DONE, 60)


# ---- revocations ------------------------------------------------------------------------------------------------------


def test_who_is_revoked_orders_nothing_also_after_a_restart(world):
    world.agent()
    carl = person(world.site, "carl-h", "acquirer")
    authority(world.site, "revoke", "--name", "carl-h")
    path = max(world.site.dir.glob("revocations*"), key=lambda p: p.stat().st_mtime)
    newest = order_pb2.SignedRevocationList.FromString(path.read_bytes())
    world.collector.say(revocations=newest)
    until(lambda: "a list of revocations was taken" in world.daemon.log, 20, "the list")
    assert world.daemon.stop() == 0
    n = len(world.collector.hellos)
    world.daemon.start()
    world.collector.wait(lambda: len(world.collector.hellos) > n, "the agent again")
    assert world.collector.hellos[-1].revocations == order_pb2.RevocationList.FromString(newest.list).number
    order = world.order(world.disk(1).device, carl)
    world.collector.say(order=signed(order, carl))
    assert b"revoked" in world.collector.step(order.order_id, REFUSED).reason


def test_a_list_of_revocations_that_nobody_signed(shared):
    alarms = len(shared.collector.alarms())
    shared.collector.say(revocations=order_pb2.SignedRevocationList(
        list=order_pb2.RevocationList(version=1, tenant=b"acme", number=1 << 40).SerializeToString(),
        signature=b"no"))
    until(lambda: len(shared.collector.alarms()) > alarms, 20, "an alarm")
    order = shared.order(shared.device.device)
    shared.collector.say(order=signed(order, shared.ann))
    shared.collector.step(order.order_id, DONE)
