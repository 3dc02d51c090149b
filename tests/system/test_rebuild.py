# SPDX-License-Identifier: Apache-2.0
"""The collector's machine is gone: everything is made again from the bucket, up to the last archived checkpoint, and what
was lost, damaged or came later is named. Against a real S3 server that enforces Object Lock."""
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess

import pytest

import radosgw as radosgw_server
import service_pb2
from basics import BIN, until
from daemons import field
from test_host_ledger import held
from test_order_to_exhibit import CASE, Site, loop  # noqa: F401 (a fixture)
from tlog import Key, ask_update, open_checkpoint

pytestmark = pytest.mark.usefixtures("need_bpf")


@pytest.fixture(scope="module")
def radosgw(tmp_path_factory):
    with radosgw_server.serve(tmp_path_factory.mktemp("rgw"), 20001 + os.getpid() % 10000) as client:
        yield client


@pytest.fixture
def bucket(radosgw, tmp_path):
    """Options of a collector that archives below a prefix of its own."""
    key = tmp_path / "s3.key"
    key.write_text(f"{radosgw_server.ACCESS_KEY}\n{radosgw_server.SECRET_KEY}\n")
    return {"vault__s3__endpoint": radosgw.endpoint, "vault__s3__bucket": "locked",
            "vault__s3__prefix": tmp_path.name, "vault__s3__access_key_file": key,
            "vault__s3__lock_mode": "governance", "vault__s3__retain_days": "3"}


def versions(radosgw, prefix):
    pages = radosgw.get_paginator("list_object_versions").paginate(Bucket="locked", Prefix=prefix)
    return [v for page in pages for v in page.get("Versions", [])]


def objects(radosgw, bucket, part=""):
    """Keys below the collector's prefix that hold part."""
    return sorted({v["Key"] for v in versions(radosgw, bucket["vault__s3__prefix"] + "/") if part in v["Key"]})


def status(site):
    return field(site.cli.run("status", "--json").rows[0], "exhibit.collector")


def archived(site, leaves=0, seconds=60):
    """Everything that waits is in the bucket."""
    def done():
        now = status(site)["archive"]
        return now if now["leaves"] > leaves and not now["exhibits_waiting"] else None
    return until(done, seconds, "the archive")


def newest_checkpoint(radosgw, bucket, site_key):
    key = objects(radosgw, bucket, "/checkpoint/")[-1]
    note = radosgw.get_object(Bucket="locked", Key=key)["Body"].read()
    return open_checkpoint(note, site_key)


def disaster(site):
    """SIGKILL, and nothing of the state is left."""
    site.collector.kill()
    shutil.rmtree(site.collector.store)


def rebuild(site, seconds=120):
    site.collector.write_config()
    return subprocess.run([BIN / "exhibit-collector", "rebuild", "--config", site.collector.config], capture_output=True,
                          text=True, timeout=seconds)


def grab(site, device):
    code, row, err = site.grab("disk", "--device", device)
    assert code == 0, err
    return field(row, "exhibit.order.exhibit"), field(row, "exhibit.order.id")


def connected(site):
    until(lambda: [r for r in site.cli.run("hosts", "--json").rows if field(r, "host.id") == site.host
                   and field(r, "exhibit.connected")], 60, "the host")


def said(text):
    """Leaves and root of what was rebuilt."""
    found = re.search(r"^rebuilt: (\d+) leaves, root (\S+), of the log (\S+)$", text, re.M)
    return int(found[1]), found[2], found[3]


def test_the_same_collector_again(lab, radosgw, bucket, loop, tmp_path):  # noqa: F811
    device, want = loop
    site = Site(lab, {**bucket, "vault__s3__archive_age": "1h"})
    exhibit, order = grab(site, device)
    archived(site)
    assert site.cli.run("hold", exhibit, "--reason", "court order 12").code == 0
    for o in json.loads(next(site.collector.store.glob(f".vault/*/exhibits/{exhibit}/archive.json")).read_text())["objects"]:
        hold = radosgw.get_object_legal_hold(Bucket="locked", Key=o["key"], VersionId=o["version_id"])
        assert hold["LegalHold"]["Status"] == "ON", o["key"]
    # With one more exhibit comes one more checkpoint.
    before = archived(site)["leaves"]
    second, _ = grab(site, device)
    archived(site, before)
    key = Key((lab.site.dir / "ledger.crt").read_bytes(), lab.site.order_ca)
    last = until(lambda: (lambda c: c if c.size == status(site)["archive"]["leaves"] else None)(
        newest_checkpoint(radosgw, bucket, key)), 60, "the newest checkpoint")
    # The agent sees a later one than the bucket has.
    until(lambda: subprocess.run(["/bin/true"], check=True) and held(site.agent)[0] > last.size, 90, "a later checkpoint")
    before = held(site.agent)[0]
    disaster(site)

    done = rebuild(site)
    assert done.returncode == 0, done.stdout + done.stderr
    size, root, log = said(done.stdout)
    assert size == last.size and log == key.name
    assert base64.b64decode(root) == last.root
    again = rebuild(site)
    assert again.returncode == 2 and "is not empty: a rebuild replaces nothing" in again.stderr

    site.collector.start()
    connected(site)
    # The log goes on from the archived one, and says so itself.
    update = ask_update(site.collector.address, site.ann.tls, lab.site.order_ca, last.size)
    assert open_checkpoint(update.checkpoint, key).size > last.size
    entry = service_pb2.LedgerEntry.FromString(update.rebuild.entry)
    assert entry.kind == service_pb2.LEDGER_REBUILD and entry.size == last.size and update.rebuild.index == last.size

    # The exhibit, its hold, its order, the case.
    out = tmp_path / "out"
    assert site.cli.run("fetch", exhibit, "--out", out).code == 0
    image = next(p for p in out.rglob("*") if p.is_file() and p.stat().st_size == 5 << 20)
    assert hashlib.sha256(image.read_bytes()).hexdigest() == want
    rows = {r["exhibit"]["id"]: r["exhibit"] for r in site.cli.run("exhibits", "--json").rows}
    assert set(rows) == {exhibit, second}
    assert rows[exhibit]["hold"] and not rows[second]["hold"]
    assert order in site.cli.run("orders", "--json").out
    bundle = tmp_path / "case.tar"
    assert site.cli.run("export", CASE, "--out", bundle, seconds=60).code == 0
    verified = subprocess.run([BIN / "exhibit", "verify", bundle, "--authority", lab.site.order_ca], capture_output=True,
                              text=True, timeout=60)
    assert verified.returncode == 0, verified.stdout + verified.stderr

    # What came later: the host says it once, the collector records and shows it.
    site.agent.wait_log(f"was rebuilt from its archive's checkpoint of {size} entries; this host holds one of {before}", 60)
    lost = until(lambda: status(site).get("rebuilt", {}).get("lost_leaves") and status(site)["rebuilt"], 30, "status")
    assert lost["from_leaves"] == size and lost["lost_leaves"] == before - size
    assert [h["id"] for h in lost["hosts"]] == [site.host] and lost["contradictions"] == 0
    site.collector.wait_log(f"leaves {size} to {before - 1} were lost", 30)
    # Batches that were acknowledged and not archived are missing, and answers say which.
    shown = site.cli.run("events", "--since", "1h", "--host", site.host)
    assert shown.code == 3 and re.search(r"batch \d+ and perhaps others up to \d+ of the \w+ lane have not arrived", shown.err)
    assert site.collector.stop() == 0
    site.collector.check()


def test_with_a_new_key_hosts_follow(lab, radosgw, bucket, loop, tmp_path):  # noqa: F811
    site = Site(lab, {**bucket, "vault__s3__archive_age": "1h"})
    grab(site, loop[0])
    size = archived(site)["leaves"]
    until(lambda: subprocess.run(["/bin/true"], check=True) and held(site.agent)[0] > size, 90, "a later checkpoint")
    before = held(site.agent)[0]
    disaster(site)
    # The key went too: the order authority certifies another.
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("order-ca.key", "order-ca.crt", "fleet-ca.key", "fleet-ca.crt"):
        shutil.copy(lab.site.dir / name, keys / name)
    subprocess.run([BIN / "exhibit-collector", "certs", "init", "--dir", keys], check=True, timeout=30,
                   capture_output=True)
    site.collector.options["store.ledger-key"] = keys / "ledger.key"
    done = rebuild(site)
    assert done.returncode == 0, done.stdout + done.stderr
    rebuilt_to = said(done.stdout)[0]
    assert rebuilt_to >= size
    site.collector.start()
    connected(site)
    site.agent.wait_log(f"entries {rebuilt_to} to {before - 1} were lost", 90)
    new = Key((keys / "ledger.crt").read_bytes(), lab.site.order_ca)
    until(lambda: new.name.encode() in held(site.agent)[1], 60, "the new log to be held")
    assert (site.agent.state / "orders" / f"checkpoint.lost-{before}").exists()
    assert status(site)["rebuilt"]["lost_leaves"] == before - rebuilt_to
    # From now on without alarms, also after both start again.
    assert site.collector.stop() == 0
    assert site.agent.stop() == 0
    site.collector.start()
    alarms = site.agent.log.count("ALARM")
    site.agent.start()
    connected(site)
    at = held(site.agent)[0]
    until(lambda: subprocess.run(["/bin/true"], check=True) and held(site.agent)[0] > at, 60, "the ledger to grow")
    assert site.agent.log.count("ALARM") == alarms
    assert status(site)["rebuilt"]["contradictions"] == 0


def test_what_the_bucket_lost_is_named(lab, radosgw, bucket, loop):  # noqa: F811
    site = Site(lab, {**bucket, "vault__s3__archive_age": "1h"})
    exhibit, _ = grab(site, loop[0])
    archived(site)
    until(lambda: objects(radosgw, bucket, "/checkpoint/"), 60, "a checkpoint")
    disaster(site)
    prefix = bucket["vault__s3__prefix"] + "/"
    # Whoever may put and delete, but not break the lock: new versions, markers of deletion. They do not count.
    for key in objects(radosgw, bucket):
        radosgw.put_object(Bucket="locked", Key=key, Body=b"nonsense")
        radosgw.delete_object(Bucket="locked", Key=key)
    done = rebuild(site)
    assert done.returncode == 0, done.stdout + done.stderr
    # Who may break it: the image goes, and another takes its place; a piece of a segment goes.
    hashes = [v for v in versions(radosgw, prefix) if "/sha256/" in v["Key"] and v["Size"] == 5 << 20]
    pieces = [v for v in versions(radosgw, prefix + ".segments/") if v["Size"] != 8]
    for v in [*hashes, pieces[0]]:
        radosgw.delete_object(Bucket="locked", Key=v["Key"], VersionId=v["VersionId"], BypassGovernanceRetention=True)
    shutil.rmtree(site.collector.store)
    done = rebuild(site)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"damaged: exhibit {exhibit}: '{re.escape(hashes[0]['Key'])}' is damaged in the bucket", done.stdout)
    assert re.search(rf"damaged: '{re.escape(pieces[0]['Key'])}' is damaged in the bucket", done.stdout)
    assert "was stored, and is not there" in done.stdout or "damaged" in done.stdout
    assert said(done.stdout)[0] > 0
