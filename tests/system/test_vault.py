# SPDX-License-Identifier: Apache-2.0
"""Exhibits come in from an agent of ours, rest, and go out through the CLI."""
import json
import os
import subprocess

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import basics
import service_pb2
from basics import until
from daemons import Cli
from vault_agent import (Agent, Item, MiB, RAW, VaultDriver, ZERO, ZSTD, asked, chunk, item_end, item_start,
                         noise, start)
from vault_world import shared, three_items, world  # noqa: F401  (fixtures)
from wire import CHANNEL_OPTIONS, credentials, sha256


def test_whole_way(shared):
    items, order_id, exhibit_id = three_items(), asked(), os.urandom(16)
    receipt = shared.agent.once(order_id, exhibit_id, items)
    folder, record = shared.driver.exhibit(exhibit_id), shared.driver.record(exhibit_id)
    assert record["state"] == "sealed" and record["kind"] == "memory" and record["case_id"] == "case-1"
    manifest = (folder / "manifest.json").read_bytes()
    assert receipt.manifest_sha256 == sha256(manifest)
    assert record["manifest_sha256"] == sha256(manifest).hex()
    assert record["ledger_index"] == receipt.ledger_index
    # The host's own signature, checked by another library.
    key = load_pem_private_key(shared.identity.seal_key.read_bytes(), None).public_key()
    key.verify((folder / "manifest.sig").read_bytes(), b"exhibit/manifest/v1\0" + sha256(manifest))
    for item in items:
        path = shared.driver.object(item.sha256)
        assert path.read_bytes() == item.data
        assert path.stat().st_mode & 0o7777 == 0o444
    assert shared.driver.object(items[1].sha256).stat().st_blocks * 512 < 2 * MiB
    assert subprocess.run(["sha256sum", shared.driver.object(items[0].sha256)], capture_output=True,
                          text=True, timeout=30).stdout.split()[0] == items[0].sha256.hex()
    kinds = [row[0] for row in shared.driver.leaves() if row[1] == exhibit_id.hex()]
    assert kinds == [str(service_pb2.LEDGER_EXHIBIT)]
    # Every chunk's hash stands beside it.
    lines = [json.loads(line) for line in (folder / "chunks.jsonl").read_text().splitlines()]
    hashes = [line["sha256"] for line in lines if line["item"] == 1 and "offset" in line]
    assert hashes == [sha256(raw).hex() for _, raw in items[0].chunks()]


@pytest.mark.parametrize("codec", [RAW, ZSTD])
def test_codecs(codec, shared):
    data = noise(MiB + 3, codec)
    shared.sealed([Item("a.raw", data)], codec=codec)
    assert shared.driver.object(sha256(data)).read_bytes() == data


def test_zeros_are_holes(shared):
    order_id, exhibit_id, item = asked(), os.urandom(16), Item("zeros.raw", bytes(64 * MiB))
    with shared.agent.upload() as u:
        u.send(start(order_id, exhibit_id))
        assert u.wait_durable() == (1, 0)
        u.send(item_start(1, item))
        for at, raw in item.chunks():
            u.send(chunk(1, at, raw, ZERO))
        u.send(item_end(1, item), shared.agent.sealer.manifest(order_id, exhibit_id, [item]))
        u.wait(lambda: u.receipt, "the receipt")
    path = shared.driver.object(item.sha256)
    assert path.stat().st_size == 64 * MiB and path.stat().st_blocks == 0


def test_sealed_twice_is_one_exhibit(shared):
    order_id, exhibit_id, items = asked(), os.urandom(16), [Item("a.raw", b"once")]
    first = shared.agent.once(order_id, exhibit_id, items)
    assert shared.agent.once(order_id, exhibit_id, items) == first


# ---- what people do --------------------------------------------------------------------------------------

def test_list_fetch_and_hold(shared):
    items = three_items()
    exhibit_id = shared.sealed(items)
    cli, out = shared.cli(), shared.dir / "out"
    rows = cli.run("exhibits", "--json", exhibit_id.hex()[:8]).rows
    assert [row["exhibit"]["id"] for row in rows] == [exhibit_id.hex()]
    assert rows[0]["host"]["id"] == shared.identity.host_id
    assert {i["name"]: i["sha256"] for i in rows[0]["exhibit"]["items"]} == {i.name: i.sha256.hex() for i in items}
    assert cli.run("exhibits", "--case", "case-1", "--json").code == 0
    assert cli.run("exhibits", "--case", "no-such-case").code == 1

    answer = cli.run("fetch", exhibit_id.hex(), "--out", out)
    assert answer.code == 0, answer.err
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["SHA256SUMS", "manifest.json", "manifest.sig", *(i.name for i in items)])
    for item in items:
        assert (out / item.name).read_bytes() == item.data
    assert (out / "sparse.raw").stat().st_blocks * 512 < 2 * MiB
    subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=out, check=True, capture_output=True, timeout=30)
    assert (out / "manifest.json").read_bytes() == (shared.driver.exhibit(exhibit_id) / "manifest.json").read_bytes()
    fetched = [row for row in shared.driver.leaves() if row[0] == str(service_pb2.LEDGER_FETCH)
               and row[1] == exhibit_id.hex()]
    assert len(fetched) == 4 and all("/responder/ann-" in row[3] for row in fetched)
    # Again: all there, nothing overwritten.
    assert {row["outcome"] for row in cli.run("fetch", exhibit_id.hex(), "--out", out, "--json").rows} == {
        "there already"}
    (out / "memory.lime").chmod(0o644)
    (out / "memory.lime").write_bytes(b"mine")
    answer = cli.run("fetch", exhibit_id.hex(), "--out", out)
    assert answer.code == 2 and "'memory.lime' is there already with other bytes" in answer.err
    assert (out / "memory.lime").read_bytes() == b"mine"

    answer = cli.run("hold", exhibit_id.hex(), "--json")
    assert answer.code == 2 and "a hold takes a reason" in answer.err
    answer = cli.run("hold", exhibit_id.hex(), "--reason", "court", "--json")
    assert answer.rows[0]["exhibit"]["hold"] is True
    assert cli.run("exhibits", exhibit_id.hex(), "--json").rows[0]["exhibit"]["hold"] is True
    assert shared.driver.leaves()[-1][4] == "legal hold set: court"
    assert cli.run("hold", exhibit_id.hex(), "--reason", "over", "--release", "--json").rows[0]["exhibit"][
        "hold"] is False


def test_fetch_goes_on(shared):
    item = Item("a.raw", noise(9 * MiB, 21))
    exhibit_id = shared.sealed([item])
    cli, out = shared.cli(), shared.dir / "resumed"
    out.mkdir()
    (out / "a.raw.part").write_bytes(item.data[:4 * MiB + 7])
    answer = cli.run("fetch", exhibit_id.hex(), "--out", out, "--json")
    assert answer.code == 0, answer.err
    assert [row["outcome"] for row in answer.rows if row["file"]["path"] == "a.raw"] == ["gone on with"]
    assert (out / "a.raw").read_bytes() == item.data
    assert f"item 'a.raw' from byte {4 * MiB + 7} on" in [row[4] for row in shared.driver.leaves()]
    # What lay there was not the beginning of it.
    other = shared.dir / "other"
    other.mkdir()
    (other / "a.raw.part").write_bytes(bytes(100))
    answer = cli.run("fetch", exhibit_id.hex(), "--out", other)
    assert answer.code == 2 and "does not have its SHA-256" in answer.err
    assert cli.run("fetch", exhibit_id.hex(), "--out", other).code == 0


def test_fetch_follows_no_link(shared):
    exhibit_id = shared.sealed([Item("a.raw", b"evidence")])
    cli, out, victim = shared.cli(), shared.dir / "links", shared.dir / "victim"
    victim.write_bytes(b"precious")
    for name in ("a.raw", "a.raw.part"):
        folder = out / name
        folder.mkdir(parents=True)
        (folder / name).symlink_to(victim)
        answer = cli.run("fetch", exhibit_id.hex(), "--out", folder)
        assert answer.code == 2, answer.err
        assert victim.read_bytes() == b"precious"


def test_damaged_bytes_are_not_given(world, lab):
    w = world()
    item = Item("a.raw", noise(3 * MiB, 30))
    exhibit_id = w.sealed([item])
    path = w.driver.object(item.sha256)
    path.chmod(0o644)
    with open(path, "r+b") as f:
        f.seek(2 * MiB + 1)
        f.write(b"!")
    cli, out = w.cli(), w.dir / "out"
    answer = cli.run("fetch", exhibit_id.hex(), "--out", out)
    assert answer.code == 2 and "does not have its SHA-256" in answer.err
    assert not (out / "a.raw").exists()
    w.driver.stop()
    code, said = w.driver.check()
    assert code == 1
    assert f"item 'a.raw' is damaged, first at bytes {2 * MiB} to {3 * MiB - 1}" in said
    # The collector's own check says the same.
    collector = lab.collector()
    assert collector.stop() == 0
    collector.check()
    done = subprocess.run([basics.BIN / "exhibit-collector", "check", "--store.dir", collector.store, "--vault.dir",
                           w.driver.vault, "--store.ledger-key", w.site.ledger_key],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and f"first at bytes {2 * MiB} to {3 * MiB - 1}" in done.stdout
    assert "damaged: " in done.stderr


def test_incomplete_exhibits_say_so(shared):
    order_id, exhibit_id, items = asked(), os.urandom(16), [Item("a.raw", noise(9, 31))]
    shared.agent.once(order_id, exhibit_id, items, manifest=shared.agent.sealer.manifest(
        order_id, exhibit_id, items, items=[{"name": "b\u001b.raw", "bytes": 1, "sha256": "00" * 32}]))
    answer = shared.cli().run("fetch", exhibit_id.hex(), "--out", shared.dir / "incomplete")
    assert answer.code == 3
    assert "INCOMPLETE exhibit: " in answer.err and "\x1b" not in answer.err
    assert (shared.dir / "incomplete" / "a.raw").read_bytes() == items[0].data


@pytest.mark.parametrize("roles, verb, allowed", [
    ("viewer", "exhibits", True), ("viewer", "fetch", False), ("viewer", "hold", False),
    ("acquirer", "fetch", True), ("acquirer", "hold", True), ("acquirer", "release", False),
    ("approver", "release", True), ("other", "exhibits", False),
])
def test_roles(roles, verb, allowed, shared):
    exhibit_id = shared.sealed([Item("a.raw", os.urandom(5))])
    cli = shared.cli() if roles == "other" else shared.cli(roles)
    if roles == "other":
        person = shared.site.order().issue_files(shared.dir / "nobody", [
            "spiffe://exhibit.internal/acme/responder/nobody"])
        cli = Cli(shared.site, person, shared.driver.address, shared.dir)
    if verb == "release":
        shared.cli().run("hold", exhibit_id.hex(), "--reason", "x")
    # Whom the list is refused, is refused the rest before it: ask the collector itself.
    args = {"exhibits": ["exhibits"], "fetch": ["fetch", exhibit_id.hex(), "--out", shared.dir / f"r-{roles}-{verb}"],
            "hold": ["hold", exhibit_id.hex(), "--reason", "x"],
            "release": ["hold", exhibit_id.hex(), "--reason", "x", "--release"]}[verb]
    answer = cli.run(*args)
    assert (answer.code == 0) == allowed, answer.err
    if not allowed:
        assert answer.code == 2 and ("role" in answer.err or "only an approver" in answer.err)


def test_other_tenants_see_nothing(shared, site):
    exhibit_id = shared.sealed([Item("a.raw", b"ours")])
    person = site.order().issue_files(shared.dir / "stranger", ["spiffe://exhibit.internal/other/responder/eve"])
    channel = grpc.secure_channel(shared.driver.address, credentials(person.cert, person.key, site.order_ca),
                                  CHANNEL_OPTIONS)
    with channel, pytest.raises(grpc.RpcError) as refused:
        list(channel.unary_stream("/exhibit.v1.Vault/Fetch", None, None)(
            service_pb2.FetchRequest(exhibit_id=exhibit_id).SerializeToString(), timeout=20))
    assert refused.value.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND)


def test_retention_and_hold(world):
    w = world(retain=4000)
    kept, goes = w.sealed([Item("a.raw", b"kept")]), w.sealed([Item("a.raw", b"goes")])
    cli = w.cli()
    assert cli.run("hold", kept.hex(), "--reason", "court").code == 0
    until(lambda: not w.driver.exhibit(goes).exists(), 40, "the exhibit to be removed")
    until(lambda: not w.driver.object(sha256(b"goes")).exists(), 20, "its bytes to go")
    removed = [row for row in w.driver.leaves() if row[0] == str(service_pb2.LEDGER_RETENTION)]
    assert [row[1] for row in removed] == [goes.hex()]
    assert w.driver.object(sha256(b"kept")).read_bytes() == b"kept"
    assert cli.run("hold", kept.hex(), "--reason", "over", "--release").code == 0
    until(lambda: not w.driver.exhibit(kept).exists(), 40, "the released exhibit to be removed")
    w.driver.stop()
    assert w.driver.check() == (0, "")


def test_immutable_attribute(site, tmp_path):
    """Where the file system has it and we may: not even root removes a sealed file by mistake."""
    identity = site.host("immutable")
    driver = VaultDriver(site, tmp_path / "driver", immutable=1, retain=3000).start()
    try:
        agent, item = Agent(identity, driver, site.order_ca), Item("a.raw", b"stays")
        order_id, exhibit_id = asked(), os.urandom(16)
        agent.once(order_id, exhibit_id, [item])
        path = driver.object(item.sha256)
        shown = subprocess.run(["lsattr", path], capture_output=True, text=True, timeout=20)
        if shown.returncode == 0 and "i" in shown.stdout.split()[0]:
            with pytest.raises(PermissionError):
                path.unlink()
        # Retention knows the way.
        until(lambda: not path.exists(), 40, "the exhibit to be removed")
    finally:
        driver.kill()
        subprocess.run(["chattr", "-R", "-i", tmp_path], capture_output=True, timeout=20)
