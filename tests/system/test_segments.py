# SPDX-License-Identifier: Apache-2.0
"""Real segments through the reader that was written from the document: every batch verified with
Python's own tools down to its entries, removals by their signed records."""
import hashlib
import subprocess
import sys

import pytest
import zstandard
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import powercut
import segment_reader

sys.path.insert(0, str(powercut.BUILD / "gen/python"))
import batch_pb2  # noqa: E402

DRIVER = powercut.BUILD / "tests/driver_store"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store that was filled, sealed several times and partly removed; marks of the driver; its key."""
    path = tmp_path_factory.mktemp("store")
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path / "key"], check=True, timeout=30)
    result = subprocess.run([DRIVER, "put", path / "store", path / "key", "400", "5"], capture_output=True, text=True,
                            timeout=60, check=True)
    key = load_pem_private_key((path / "key").read_bytes(), None).public_key()
    return path / "store/acme", result.stdout.splitlines(), key


def verify(key, domain, signed, signature):
    key.verify(signature, domain.encode() + b"\0" + hashlib.sha256(signed).digest())


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7f) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def entries(raw):
    at = 0
    while at < len(raw):
        size, at = varint(raw, at)
        yield raw[at:at + size]
        at += size


def open_batch(key, body):
    signed = batch_pb2.SignedBatch.FromString(body)
    verify(key, "exhibit/batch/v1", signed.header, signed.signature)
    header = batch_pb2.BatchHeader.FromString(signed.header)
    assert hashlib.sha256(signed.payload).digest() == header.compressed_sha256
    raw = zstandard.ZstdDecompressor().decompress(signed.payload)
    assert len(raw) == header.raw_bytes and hashlib.sha256(raw).digest() == header.raw_sha256
    leaves = list(entries(raw))
    assert len(leaves) == header.entries and segment_reader.merkle_root(leaves) == header.merkle_root
    return header, hashlib.sha256(signed.header).hexdigest()


def test_every_frame_verifies(stored):
    folder, marks, key = stored
    acked = {m.split()[1]: m.split() for m in marks if m.startswith("ack")}
    found, last, removed = set(), {}, {}
    previous = None
    for segment in segment_reader.segments(folder):
        counts = dict(batches=0, tombstones=0, events=0)
        for frame in segment.frames():
            if frame.kind == segment_reader.BATCH:
                header, digest = open_batch(key, frame.body)
                found.add(digest)
                counts["batches"] += 1
                counts["events"] += header.count
                chain = (header.host_id, header.lane)
                if chain in last:  # the chain, across segments
                    assert header.previous_hash.hex() == last[chain]
                last[chain] = digest
            elif frame.kind == segment_reader.TOMBSTONE:
                signed = batch_pb2.SignedTombstone.FromString(frame.body)
                verify(key, "exhibit/tombstone/v1", signed.tombstone, signed.signature)
                stone = batch_pb2.Tombstone.FromString(signed.tombstone)
                counts["tombstones"] += 1
                last[(stone.host_id, stone.lane)] = stone.dropped[-1].header_hash.hex()
            elif frame.kind == segment_reader.RETENTION:
                signed = batch_pb2.SignedRetentionRecord.FromString(frame.body)
                verify(key, "exhibit/retention/v1", signed.record, signed.signature)
                record = batch_pb2.RetentionRecord.FromString(signed.record)
                removed[int.from_bytes(record.segment_id[:8], "big")] = record
        assert segment.begin["tenant"] == b"acme" and segment.begin["retention_class"] == 1
        if previous:
            assert segment.begin["previous"] == previous.id
            assert segment.begin["previous_root"] == previous.end["root"]
        if segment.end:
            assert {k: segment.end[k] for k in counts} == counts
            previous = segment
    # Removed ones: a record for the one before the oldest that is left; all that was acknowledged is
    # here or covered by what the newest records say of its stream.
    oldest = segment_reader.segments(folder)[0]
    assert oldest.number > 1 and oldest.number - 1 in removed
    covered = {}
    for number in sorted(removed):
        for s in removed[number].streams:
            stream = f"{s.host_id.decode()[1]}.{s.lane}"
            covered[stream] = max(covered.get(stream, 0), s.last_number)
    for digest, (_, _, stream, number, kind) in acked.items():
        assert kind == "tombstone" or digest in found or int(number) <= covered[stream]
    assert found <= set(acked)


def test_a_flipped_bit_has_its_place(stored, tmp_path):
    folder = stored[0]
    sealed = next(s for s in segment_reader.segments(folder) if not s.open)
    frames = list(sealed.frames())
    target = frames[len(frames) // 2]
    data = bytearray(sealed.data)
    data[target.offset + 40] ^= 4
    (tmp_path / sealed.name).write_bytes(data)
    with pytest.raises(segment_reader.Damaged) as e:
        list(segment_reader.Segment(tmp_path / sealed.name).frames())
    assert e.value.offset == target.offset


def test_the_mark_tells_damage_of_the_last_group(stored, tmp_path):
    folder = stored[0]
    unsealed = next(s for s in segment_reader.segments(folder) if s.open)
    assert unsealed.durable == len(unsealed.data)
    mark = unsealed.id.hex() + ".mark"
    (tmp_path / mark).write_bytes((folder / mark).read_bytes())
    last = list(unsealed.frames())[-1]
    for data in (unsealed.data[:-1] + bytes([unsealed.data[-1] ^ 1]), unsealed.data[:last.offset]):
        (tmp_path / unsealed.name).write_bytes(data)
        with pytest.raises(segment_reader.Damaged) as e:
            list(segment_reader.Segment(tmp_path / unsealed.name).frames())
        assert e.value.offset == last.offset


def test_a_torn_end_is_no_damage(stored, tmp_path):
    folder = stored[0]
    unsealed = next(s for s in segment_reader.segments(folder) if s.open)
    whole = len(list(unsealed.frames()))
    (tmp_path / unsealed.name).write_bytes(unsealed.data[:-3])
    assert len(list(segment_reader.Segment(tmp_path / unsealed.name).frames())) == whole - 1
