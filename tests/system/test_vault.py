# SPDX-License-Identifier: Apache-2.0
"""Exhibits come in from an agent of ours, rest, and go out through the CLI: nothing that was reported durable
is lost, nothing false is taken, whatever happens."""
import json
import os
import random
import subprocess
import threading

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import basics
import exhibit_pb2
import service_pb2
from basics import count, until
from daemons import Cli
from vault_agent import (MEMORY, RAW, ZERO, ZSTD, Agent, Item, MiB, VaultDriver, asked, chunk, item_end,
                         item_start, noise, start)
from wire import CHANNEL_OPTIONS, Refused, credentials, sha256


class World:
    def __init__(self, site, folder, **words):
        self.site = site
        # Host records are read at the start.
        self.identity = site.host(f"vault-{folder.name[:40]}".replace("_", "-"))
        self.driver = VaultDriver(site, folder / "driver", **words).start()
        self.agent = Agent(self.identity, self.driver, site.order_ca)
        self.dir = folder

    def cli(self, roles="viewer,acquirer,approver", name="ann"):
        person = self.site.responder(f"{name}-{roles.replace(',', '-')}", roles=roles)
        folder = self.dir / f"cli-{name}-{roles}"
        folder.mkdir(exist_ok=True)
        return Cli(self.site, person, self.driver.address, folder)

    def sealed(self, items, **kwargs):
        order_id, exhibit_id = asked(), os.urandom(16)
        self.agent.once(order_id, exhibit_id, items, **kwargs)
        return exhibit_id


@pytest.fixture
def world(site, tmp_path):
    worlds = []

    def make(**words):
        worlds.append(World(site, tmp_path, **words))
        return worlds[-1]
    yield make
    for w in worlds:
        if w.driver.running():
            w.driver.kill()


@pytest.fixture(scope="module")
def shared(site, tmp_path_factory):
    w = World(site, tmp_path_factory.mktemp("shared"))
    yield w
    assert w.driver.running(), w.driver.log[-2000:]
    assert w.driver.stop() == 0
    code, said = w.driver.check()
    assert code == 0, said


def three_items():
    sparse = noise(MiB, 7) + bytes(3 * MiB) + noise(5, 8)
    return [Item("memory.lime", noise(3 * MiB + 17), "lime"), Item("sparse.raw", sparse),
            Item("empty.jsonl", b"", "jsonl")]


# ---- the whole way -----------------------------------------------------------------------------------------

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


# ---- what is refused -----------------------------------------------------------------------------------------

ITEM = Item("a.raw", noise(2 * MiB + 5, 3))


def bomb(size):
    import zstandard
    return zstandard.ZstdCompressor(level=1).compress(bytes(size))


REFUSALS = {
    "no start": ([item_start(1, ITEM)], "a message came before the upload was started", "INVALID_ARGUMENT"),
    "garbage": ([b"\xff" * 300], "the message cannot be read", "INVALID_ARGUMENT"),
    "no order": ([start(os.urandom(16), os.urandom(16))], "no order asks this host", "PERMISSION_DENIED"),
    "another kind": ([start(asked(3), os.urandom(16), MEMORY)], "of another kind", "PERMISSION_DENIED"),
    "short id": ([start(asked(), b"short")], "have 16 bytes each", "INVALID_ARGUMENT"),
    "later protocol": ([start(asked(), os.urandom(16), protocol=2)], "protocol 2 is not supported",
                       "FAILED_PRECONDITION"),
    "started twice": (["start", "start"], "was started already", "INVALID_ARGUMENT"),
    "chunk without item": (["start", chunk(1, 0, b"x")], "item 1 was not begun", "INVALID_ARGUMENT"),
    "item 2 first": (["start", item_start(2, ITEM)], "the next one is 1", "INVALID_ARGUMENT"),
    "path as name": (["start", item_start(1, ITEM, name=b"../../etc/passwd")], "the name of item 1",
                     "INVALID_ARGUMENT"),
    "newline in name": (["start", item_start(1, ITEM, name=b"a\nb")], "the name of item 1", "INVALID_ARGUMENT"),
    "long name": (["start", item_start(1, ITEM, name=b"a" * 4096)], "the name of item 1", "INVALID_ARGUMENT"),
    "the manifest's name": (["start", item_start(1, ITEM, name=b"manifest.json")], "the exhibit itself needs",
                            "INVALID_ARGUMENT"),
    "out of place": (["start", item_start(1, ITEM), chunk(1, MiB, noise(MiB))], "is out of place",
                     "INVALID_ARGUMENT"),
    "twice": (["start", item_start(1, ITEM), chunk(1, 0, noise(MiB)), chunk(1, 0, noise(MiB))], "comes twice",
              "INVALID_ARGUMENT"),
    "false hash": (["start", item_start(1, ITEM), chunk(1, 0, b"x", sha256=bytes(32))],
                   "does not have the SHA-256 that it names", "INVALID_ARGUMENT"),
    "short hash": (["start", item_start(1, ITEM), chunk(1, 0, b"x", sha256=b"y")], "a SHA-256 has 1 bytes",
                   "INVALID_ARGUMENT"),
    "too large": (["start", item_start(1, ITEM), chunk(1, 0, bytes(MiB + 1))], "not 1 to 1048576",
                  "INVALID_ARGUMENT"),
    "no bytes": (["start", item_start(1, ITEM), chunk(1, 0, b"")], "not 1 to 1048576", "INVALID_ARGUMENT"),
    "4 GiB said": (["start", item_start(1, ITEM), chunk(1, 0, b"x", raw_bytes=0xffffffff)], "not 1 to 1048576",
                   "INVALID_ARGUMENT"),
    "beyond all files": (["start", item_start(1, ITEM), chunk(1, 2**64 - MiB, b"x")], "lies beyond all files",
                         "INVALID_ARGUMENT"),
    "bomb": (["start", item_start(1, ITEM), chunk(1, 0, b"x" * 1000, data=bomb(512 * MiB))],
             "does not hold 1000 bytes of zstd", "INVALID_ARGUMENT"),
    "no zstd": (["start", item_start(1, ITEM), chunk(1, 0, b"x" * 1000, data=noise(900))],
                "does not hold 1000 bytes of zstd", "INVALID_ARGUMENT"),
    "codec": (["start", item_start(1, ITEM), chunk(1, 0, b"x", codec=RAW, data=b"xy")],
              "has 2 bytes instead of 1", "INVALID_ARGUMENT"),
    "end too early": (["start", item_start(1, ITEM), item_end(1, ITEM)], "but 0 bytes arrived", "INVALID_ARGUMENT"),
    "false end": (["start", item_start(1, Item("x", b"")), item_end(1, Item("x", b""), sha256=bytes(32))],
                  "does not have the SHA-256 that its end names", "INVALID_ARGUMENT"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused(name, shared):
    requests, sentence, code = REFUSALS[name]
    before = len(shared.driver.leaves())
    order_id, exhibit_id = asked(), os.urandom(16)
    with shared.agent.upload() as u:
        try:
            u.send(*(start(order_id, exhibit_id) if r == "start" else r for r in requests))
        except Refused:
            pass
        ended = u.wait_ended()
        assert sentence in ended.sentence, ended
        assert ended.code.name == code
        assert ended.sentence.count("\n") == 0
        assert u.receipt is None
    assert len(shared.driver.leaves()) == before
    assert shared.driver.running()


def test_unknown_codec_and_message(shared):
    """A codec that is none is refused, a message that nobody knows is passed over."""
    with shared.agent.upload() as u:
        u.send(start(asked(), os.urandom(16)), item_start(1, ITEM), chunk(1, 0, b"x", codec=RAW))
        u.send(b"\xfa\x01\x03abc")  # field 31
        assert u.wait_durable((1, 1))
        assert u.ended is None
    strange = chunk(1, 0, b"x", codec=RAW)
    strange.chunk.codec = 9
    with shared.agent.upload() as u:
        u.send(start(asked(), os.urandom(16)), item_start(1, ITEM), strange)
        assert "codec 9 does not exist" in u.wait_ended().sentence


def test_manifest_of_100_megabytes(shared):
    order_id, exhibit_id = asked(), os.urandom(16)
    for size, ends in ((100 * MiB, "RESOURCE_EXHAUSTED"), (MiB + 1, "INVALID_ARGUMENT")):
        with shared.agent.upload() as u:
            u.send(start(order_id, exhibit_id))
            u.wait_durable()
            u.send(shared.agent.sealer.manifest(order_id, exhibit_id, [], text=b" " * size))
            assert u.wait_ended(60).code.name == ends
    # The exhibit still waits for a good one.
    shared.agent.once(order_id, exhibit_id, [Item("a.raw", b"good")])
    assert shared.driver.record(exhibit_id)["state"] == "sealed"


def test_manifest_that_nobody_signed(shared):
    order_id, exhibit_id, items = asked(), os.urandom(16), [Item("a.raw", b"x")]
    good = shared.agent.sealer.manifest(order_id, exhibit_id, items)
    other = Agent(shared.site.host("another"), shared.driver, shared.site.order_ca)
    false = exhibit_pb2.UploadRequest.FromString(good.SerializeToString())
    false.manifest.signature = bytes(64)
    for manifest, sentence in ((false, "signature is false"),
                               (other.sealer.manifest(order_id, exhibit_id, items), "no host record of"),
                               (exhibit_pb2.UploadRequest(manifest=exhibit_pb2.SignedManifest(
                                   manifest=b"{}")), "is not signed")):
        with pytest.raises(Refused) as refused:
            shared.agent.once(order_id, exhibit_id, items, manifest=manifest)
        assert sentence in refused.value.sentence
    shared.agent.once(order_id, exhibit_id, items)
    assert shared.driver.record(exhibit_id)["state"] == "sealed"


@pytest.mark.parametrize("fields, reason", [
    ({"items": []}, "the manifest does not name it"),
    ({"complete": False}, "the host could not take all of it"),
    ({"exhibit_id": "00" * 16}, "is that of another exhibit"),
    ({"items": [{"name": "../a\u001b[31m", "bytes": 1, "sha256": "00" * 32}]}, "no name, or one that no item can have"),
])
def test_manifest_that_does_not_agree(fields, reason, shared):
    order_id, exhibit_id, items = asked(), os.urandom(16), [Item("a.raw", noise(9, 4))]
    shared.agent.once(order_id, exhibit_id, items,
                      manifest=shared.agent.sealer.manifest(order_id, exhibit_id, items, **fields))
    record = shared.driver.record(exhibit_id)
    assert record["state"] == "incomplete"
    assert reason in record["reason"]
    assert shared.driver.object(items[0].sha256).read_bytes() == items[0].data


def test_another_host_cannot_go_on_with_it(shared, site):
    order_id, exhibit_id = asked(), os.urandom(16)
    with shared.agent.upload() as u:
        u.send(start(order_id, exhibit_id))
        u.wait_durable()
        thief = Agent(site.host("thief"), shared.driver, site.order_ca)
        with thief.upload() as other:
            other.send(start(order_id, exhibit_id))
            assert "made by another host" in other.wait_ended().sentence


def test_people_cannot_upload(shared, site):
    person = site.responder("uploader", roles="viewer,acquirer,approver")
    with Agent(shared.identity, shared.driver, site.order_ca).upload() as _:
        pass
    channel = grpc.secure_channel(shared.driver.address, credentials(person.cert, person.key, site.order_ca),
                                  CHANNEL_OPTIONS)
    with channel, pytest.raises(grpc.RpcError) as refused:
        list(channel.stream_stream("/exhibit.v1.Agent/Upload", None, None)(iter([b""]), timeout=20))
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_many_calls_of_one_host(shared):
    """A host that opens too many calls hinders only itself."""
    calls = [shared.agent.upload() for _ in range(20)]
    try:
        for u in calls:
            try:
                u.send(start(asked(), os.urandom(16)))
            except Refused:
                pass
        until(lambda: any(u.ended for u in calls), 20, "a refusal")
        refused = [u.ended for u in calls if u.ended]
        assert all("too many exhibits" in e.sentence and e.code == grpc.StatusCode.UNAVAILABLE for e in refused)
    finally:
        for u in calls:
            u.close()
    until(lambda: not refuses(shared), 20, "room again")


def refuses(shared):
    try:
        shared.sealed([Item("after.raw", b"after")])
        return False
    except Refused:
        return True


# ---- interrupted ---------------------------------------------------------------------------------------------

def test_goes_on_after_a_broken_link(shared):
    order_id, exhibit_id, item = asked(), os.urandom(16), Item("a.raw", noise(6 * MiB + 9, 5))
    with shared.agent.upload() as u:
        u.send(start(order_id, exhibit_id), item_start(1, item))
        for at, raw in list(item.chunks())[:4]:
            u.send(chunk(1, at, raw))
        u.wait_durable((1, 4 * MiB))
        assert u.requests_durable == 5
    with shared.agent.upload() as u:
        u.send(start(order_id, exhibit_id))
        assert u.wait_durable() == (1, 4 * MiB)
        # Other bytes than those of before are never spliced in.
        u.send(chunk(1, 0, noise(MiB, 99)))
        assert "not spliced" in u.wait_ended().sentence
    shared.agent.once(order_id, exhibit_id, [item])
    assert shared.driver.object(item.sha256).read_bytes() == item.data


def test_what_is_said_again_counts(shared):
    """An agent that kept what was durable already, and waits for it, hears of it."""
    order_id, exhibit_id, item = asked(), os.urandom(16), Item("a.raw", noise(2 * MiB, 14))
    requests = [item_start(1, item), *(chunk(1, at, raw) for at, raw in item.chunks()), item_end(1, item)]
    for _ in range(2):
        with shared.agent.upload() as u:
            u.send(start(order_id, exhibit_id), *requests)
            u.wait(lambda: u.requests_durable == 4, "all to be durable")
            assert u.durable[-1] == (2, 0)
    shared.agent.once(order_id, exhibit_id, [item])


def test_a_new_call_takes_over_from_one_that_lingers(shared):
    order_id, exhibit_id, item = asked(), os.urandom(16), Item("a.raw", noise(MiB, 6))
    old = shared.agent.upload()
    old.send(start(order_id, exhibit_id), item_start(1, item))
    old.wait_durable()
    shared.agent.once(order_id, exhibit_id, [item])
    assert old.wait_ended().code != grpc.StatusCode.OK
    old.close()


def test_killed_at_any_moment(world):
    """SIGKILL again and again while exhibits come in: each arrives whole, with its hash, once."""
    w = world()
    random.seed(11)
    stop = threading.Event()

    def kill_and_start():
        while not stop.is_set():
            stop.wait(random.uniform(0.05, 0.7))
            w.driver.kill()
            w.driver.start()

    killer = threading.Thread(target=kill_and_start)
    killer.start()
    made = []
    try:
        for n in range(count(6, 60)):
            items = [Item("a.raw", noise(random.randrange(1, 24) * MiB + n, n)), Item("b.jsonl", b"{}\n" * n)]
            order_id, exhibit_id = asked(), os.urandom(16)
            w.agent.stubborn(order_id, exhibit_id, items)
            made.append((exhibit_id, items))
    finally:
        stop.set()
        killer.join(60)
    until(lambda: all(w.driver.exhibit(e).is_dir() for e, _ in made), 30, "the last to be sealed")
    for exhibit_id, items in made:
        assert w.driver.record(exhibit_id)["state"] == "sealed"
        for item in items:
            assert sha256(w.driver.object(item.sha256).read_bytes()) == item.sha256
    assert w.driver.stop() == 0
    code, said = w.driver.check()
    assert (code, said) == (0, "")
    assert list((w.driver.vault / "acme" / "incoming").iterdir()) == []


def test_abandoned(world):
    w = world(abandon=2000)
    order_id, exhibit_id, item = asked(), os.urandom(16), Item("a.raw", noise(3 * MiB, 12))
    with w.agent.upload() as u:
        u.send(start(order_id, exhibit_id), item_start(1, item), chunk(1, 0, item.data[:MiB]))
        u.wait_durable((1, MiB))
    until(lambda: w.driver.exhibit(exhibit_id).is_dir(), 40, "the abandoned exhibit to be sealed")
    record = w.driver.record(exhibit_id)
    assert record["state"] == "incomplete" and "did not go on with the upload" in record["reason"]
    assert record["items"] == [{"name": "a.raw", "format": "raw", "bytes": MiB,
                                "sha256": sha256(item.data[:MiB]).hex()}]
    assert w.driver.leaves()[-1][4].startswith("the host did not go on")
    # It is never spliced with what comes later.
    receipt = w.agent.once(order_id, exhibit_id, [item])
    assert receipt.manifest_sha256 == bytes(32)
    assert w.driver.record(exhibit_id) == record


def test_full_disk(site, tmp_path):
    """The vault on a file system of 24 MiB: one clear sentence, then room is made, and the upload goes on."""
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", mount], timeout=20).returncode != 0:
        pytest.skip("mounting takes root")
    try:
        identity = site.host("full-disk")
        driver = VaultDriver(site, tmp_path / "driver", reserve=2 * MiB)
        driver.vault = mount / "vault"
        (mount / "filler").write_bytes(bytes(12 * MiB))
        agent = Agent(identity, driver.start(), site.order_ca)
        order_id, exhibit_id, item = asked(), os.urandom(16), Item("a.raw", noise(16 * MiB, 13))
        with pytest.raises(Refused) as refused:
            agent.once(order_id, exhibit_id, [item])
        assert refused.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "the vault's file system is full" in refused.value.sentence
        with agent.upload() as u:
            u.send(start(order_id, exhibit_id))
            number, offset = u.wait_durable()
            assert number == 1 and offset >= 8 * MiB
        (mount / "filler").unlink()
        agent.once(order_id, exhibit_id, [item])
        assert driver.object(item.sha256).read_bytes() == item.data
        assert driver.stop() == 0
        assert driver.check()[0] == 0
    finally:
        if driver.running():
            driver.kill()
        subprocess.run(["umount", "-l", mount], timeout=20, check=True)


def test_memory_stays_bounded(shared):
    """64 MiB in four calls at once, 16 MiB of it unread messages: no more than the calls' buffers."""
    def one(n):
        shared.sealed([Item("a.raw", noise(16 * MiB, 40 + n))], codec=RAW)
    threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
        assert not t.is_alive()
    status = (f"/proc/{shared.driver.process.pid}/status")
    peak = next(int(line.split()[1]) for line in open(status) if line.startswith("VmHWM"))
    assert peak < 256 * 1024


# ---- what people do --------------------------------------------------------------------------------------------

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
