# SPDX-License-Identifier: Apache-2.0
"""Sealed exhibits go to S3 under Object Lock: to a real server that enforces it (radosgw), and not to one that
ignores it. boto3 looks at what lies there."""
import datetime
import json
import os

import pytest

import radosgw as radosgw_server
from basics import until
from daemons import Cli
from fake_s3 import FakeS3
from vault_agent import Agent, Item, MiB, VaultDriver, asked, noise

@pytest.fixture(scope="module")
def radosgw(tmp_path_factory):
    with radosgw_server.serve(tmp_path_factory.mktemp("rgw"), 20000 + os.getpid() % 10000) as client:
        yield client


@pytest.fixture
def fake():
    fake = FakeS3()
    yield fake
    fake.close()


@pytest.fixture
def vault(site, tmp_path):
    """A driver that archives; not started."""
    drivers = []
    identity = site.host(f"s3-{tmp_path.name[:40]}".replace("_", "-"))

    def make(endpoint, bucket="locked", secret="secret-of-exhibit", **words):
        key = tmp_path / f"key-{len(drivers)}"
        key.write_text(f"AKEXHIBIT\n{secret}\n")
        driver = VaultDriver(site, tmp_path / f"driver-{len(drivers)}", endpoint=endpoint, bucket=bucket, key=key,
                             **{"mode": "compliance", "days": 3, **words})
        driver.agent = Agent(identity, driver, site.order_ca)
        drivers.append(driver)
        return driver
    yield make
    for driver in drivers:
        if driver.running():
            driver.kill()


def sealed(driver, items):
    order_id, exhibit_id = asked(), os.urandom(16)
    driver.agent.once(order_id, exhibit_id, items)
    return exhibit_id


def archived(driver, exhibit_id, seconds=60):
    path = driver.exhibit(exhibit_id) / "archive.json"
    until(path.exists, seconds, f"the exhibit to be archived:\n{driver.log[-1500:]}")
    return json.loads(path.read_text())


def refused(driver):
    """The driver must not start; its sentence."""
    with pytest.raises(AssertionError):
        driver.start()
    assert driver.process.wait(10) == 2
    return driver.log


# ---- radosgw -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", ["compliance", "governance"])
def test_locked_and_read_back(mode, radosgw, vault):
    driver = vault(radosgw.endpoint, mode=mode, part=5 * MiB).start()
    # One part, several parts, nothing at all.
    items = [Item("small.raw", noise(1000, 1)), Item("large.raw", noise(12 * MiB + 3, 2)), Item("empty.txt", b"")]
    exhibit_id = sealed(driver, items)
    archive = archived(driver, exhibit_id)
    assert archive["bucket"] == "locked"
    by_hash = {o["sha256"]: o for o in archive["objects"]}
    record = driver.record(exhibit_id)
    for item in items:
        o = by_hash[item.sha256.hex()]
        assert o["key"] == f"evidence/acme/sha256/{item.sha256.hex()[:2]}/{item.sha256.hex()}"
        got = radosgw.get_object(Bucket="locked", Key=o["key"], VersionId=o["version_id"])
        assert got["Body"].read() == item.data
    for o in archive["objects"]:
        lock = radosgw.get_object_retention(Bucket="locked", Key=o["key"], VersionId=o["version_id"])["Retention"]
        assert lock["Mode"] == mode.upper()
        days = lock["RetainUntilDate"] - datetime.datetime.fromtimestamp(record["sealed_ns"] / 1e9,
                                                                         datetime.timezone.utc)
        assert datetime.timedelta(days=2, hours=23) < days < datetime.timedelta(days=3, hours=1)
        with pytest.raises(radosgw.exceptions.ClientError) as denied:
            radosgw.delete_object(Bucket="locked", Key=o["key"], VersionId=o["version_id"])
        assert denied.value.response["Error"]["Code"] == "AccessDenied"
    names = [o["key"].rsplit("/", 1)[1] for o in archive["objects"]]
    assert names[-4:] == ["chunks.jsonl", "manifest.json", "manifest.sig", "exhibit.json"]
    manifest = radosgw.get_object(Bucket="locked", Key=archive["objects"][-3]["key"])["Body"].read()
    assert manifest == (driver.exhibit(exhibit_id) / "manifest.json").read_bytes()


@pytest.mark.parametrize("bucket", ["plain", "versions", "no-such-bucket"])
def test_bucket_without_lock_is_refused(bucket, radosgw, vault):
    said = refused(vault(radosgw.endpoint, bucket=bucket))
    assert "Object Lock is not proven" in said


def test_false_key(radosgw, vault):
    said = refused(vault(radosgw.endpoint, secret="another"))
    assert "with 403 (SignatureDoesNotMatch)" in said and "check the key's rights" in said


def test_what_waited_is_archived_after_a_restart(radosgw, vault):
    driver = vault(radosgw.endpoint)
    endpoint = driver.words.pop("endpoint")
    exhibit_id = sealed(driver.start(), [Item("a.raw", noise(77, 5))])
    assert not (driver.exhibit(exhibit_id) / "archive.json").exists()
    assert driver.stop() == 0
    driver.words["endpoint"] = endpoint
    driver.start()
    archived(driver, exhibit_id)


# ---- servers that misbehave -------------------------------------------------------------------------------------

@pytest.mark.parametrize("fault, sentence", [
    ("deletes", "S3 let a locked version be deleted"),
    ("forgets", "the lock cannot be read back"),
    ("etag", "S3 stored something else"),
    ("403", "with 403 (AccessDenied)"),
    ("huge", "with more than 65536 bytes"),
])
def test_refused_at_the_start(fault, sentence, fake, vault):
    fake.fault = fault
    said = refused(vault(fake.endpoint))
    assert sentence in said, said
    assert "cannot archive exhibits to S3" in said


@pytest.mark.parametrize("fault, sentence", [
    ("503", "with 503 (SlowDown)"),
    ("403", "with 403 (AccessDenied)"),
    ("slow", "S3 cannot be reached"),
    ("drip", "S3 cannot be reached"),
    ("garbage", "S3 cannot be reached"),
    ("etag", "S3 stored something else"),
    ("short", "instead of"),
    ("complete", "cannot put the parts of"),
    ("forgets", "the lock cannot be read back"),
])
def test_waits_until_the_server_is_well(fault, sentence, fake, vault):
    driver = vault(fake.endpoint, stall=1000, part=5 * MiB).start()
    fake.fault = fault
    item = Item("a.raw", noise(6 * MiB, 6))
    exhibit_id = sealed(driver, [item])
    until(lambda: sentence in driver.log, 40, f"'{sentence}' in the log:\n{driver.log[-1000:]}")
    assert "exhibits wait to be archived" in driver.log
    assert not (driver.exhibit(exhibit_id) / "archive.json").exists()
    # People are served meanwhile, and nothing is lost.
    assert driver.object(item.sha256).read_bytes() == item.data
    fake.fault = None
    archive = archived(driver, exhibit_id)
    o = next(o for o in archive["objects"] if o["sha256"] == item.sha256.hex())
    assert fake.objects[f"/locked/{o['key']}", o["version_id"]] == item.data


def test_a_damaged_exhibit_does_not_keep_the_others(fake, vault):
    """Nor their retention, nor holds: the others are archived, it is named again and again."""
    driver = vault(fake.endpoint).start()
    fake.fault = "503"
    item = Item("a.raw", noise(1000, 8))
    bad, gone = sealed(driver, [item]), sealed(driver, [Item("b.raw", b"gone")])
    good = sealed(driver, [Item("c.raw", b"good")])
    path = driver.object(item.sha256)
    path.chmod(0o644)
    path.write_bytes(bytes(1000))
    driver.object(Item("", b"gone").sha256).unlink()
    fake.fault = None
    archived(driver, good)
    for exhibit_id in (bad, gone):
        assert not (driver.exhibit(exhibit_id) / "archive.json").exists()
    until(lambda: "are damaged on disk: run check" in driver.log, 20, "the damage in the log")
    assert not any(path.endswith(item.sha256.hex()) for path, _ in fake.objects), "damaged bytes were put"


def test_what_is_there_already_is_not_put_again(fake, vault):
    """A version that is locked nobody deletes: a server that fails behind it must not cost another one each time."""
    driver = vault(fake.endpoint).start()
    fake.fault = "record"
    item = Item("a.raw", noise(1000, 9))
    exhibit_id = sealed(driver, [item])
    until(lambda: driver.log.count("exhibits wait to be archived") >= 3, 40, "three tries")
    fake.fault = None
    archive = archived(driver, exhibit_id)
    puts = [path for method, path, query in fake.seen if method == "PUT" and not query]
    assert len([p for p in puts if p.endswith(item.sha256.hex())]) == 1, puts
    o = next(o for o in archive["objects"] if o["sha256"] == item.sha256.hex())
    assert fake.objects[f"/locked/{o['key']}", o["version_id"]] == item.data
    assert len({o["key"] for o in archive["objects"]}) == 5


def test_starts_while_the_server_is_away(fake, vault):
    fake.fault = "503"
    driver = vault(fake.endpoint).start()
    exhibit_id = sealed(driver, [Item("a.raw", b"x")])
    until(lambda: "exhibits wait to be archived" in driver.log, 20, "the warning")
    fake.fault = "deletes"
    until(lambda: "S3 let a locked version be deleted" in driver.log, 40, "the proof to fail")
    assert not (driver.exhibit(exhibit_id) / "archive.json").exists()
    fake.fault = None
    archived(driver, exhibit_id)


def test_retention_waits_for_the_archive(fake, vault):
    driver = vault(fake.endpoint, retain=1000)
    fake.fault = "503"
    exhibit_id = sealed(driver.start(), [Item("a.raw", b"x")])
    until(lambda: driver.log.count("exhibits wait to be archived") >= 2, 40, "two tries")
    assert driver.exhibit(exhibit_id).exists()
    fake.fault = None
    until(lambda: not driver.exhibit(exhibit_id).exists(), 60, "the exhibit to be removed")
    assert any("sha256" in path for method, path, _ in fake.seen if method == "PUT")


# ---- legal hold -------------------------------------------------------------------------------------------------

@pytest.fixture
def held(site, vault, tmp_path):
    """A driver with one archived exhibit, and the CLI of somebody who may hold and release."""
    def make(endpoint, **words):
        driver = vault(endpoint, **words).start()
        exhibit_id = sealed(driver, [Item("a.raw", noise(777, 9)), Item("b.raw", noise(5, 10))])
        archive = archived(driver, exhibit_id)
        cli = Cli(site, site.responder("ann-s3-hold", roles="viewer,acquirer,approver"), driver.address,
                  tmp_path)
        return driver, exhibit_id, archive["objects"], cli
    return make


def shown(cli, exhibit_id):
    return cli.run("exhibits", exhibit_id.hex(), "--json").rows[0]["exhibit"]


def test_hold_is_set_and_released_in_s3(radosgw, held):
    _, exhibit_id, objects, cli = held(radosgw.endpoint)

    def state():
        return {radosgw.get_object_legal_hold(Bucket="locked", Key=o["key"], VersionId=o["version_id"])[
            "LegalHold"]["Status"] for o in objects}
    assert cli.run("hold", exhibit_id.hex(), "--reason", "court").code == 0
    assert len(objects) == 6 and state() == {"ON"}
    assert shown(cli, exhibit_id)["hold"] is True and "hold_pending" not in shown(cli, exhibit_id)
    assert cli.run("hold", exhibit_id.hex(), "--reason", "over", "--release").code == 0
    assert state() == {"OFF"}


@pytest.mark.parametrize("fault, sentence", [
    ("refuses-hold", "with 403 (AccessDenied)"),
    ("forgets-hold", "S3 does not keep the legal hold of"),
    ("503", "with 503 (SlowDown)"),
])
def test_hold_that_s3_does_not_take_is_pending(fault, sentence, fake, held):
    driver, exhibit_id, objects, cli = held(fake.endpoint)
    fake.fault = fault
    answer = cli.run("hold", exhibit_id.hex(), "--reason", "court")
    assert answer.code == 3, answer
    assert "is kept by the collector, S3 does not follow yet" in answer.err and sentence in answer.err
    assert shown(cli, exhibit_id)["hold"] is True and shown(cli, exhibit_id)["hold_pending"] is True
    assert not any(fake.holds.values())
    # It is kept over a restart, and set as soon as S3 takes it.
    assert driver.stop() == 0
    fake.fault = None
    driver.start()
    until(lambda: sum(fake.holds.values()) == len(objects), 60, "the hold in S3")
    until(lambda: "legal hold set in S3" in driver.log, 20, "the line")
