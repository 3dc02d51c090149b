# SPDX-License-Identifier: Apache-2.0
"""Nothing false is taken into the vault."""
import os

import grpc
import pytest

import exhibit_pb2
from basics import until
from vault_agent import Agent, Item, MEMORY, MiB, RAW, asked, chunk, item_end, item_start, noise, start
from vault_world import shared  # noqa: F401  (fixtures)
from wire import CHANNEL_OPTIONS, Refused, credentials


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
