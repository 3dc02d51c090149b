# SPDX-License-Identifier: Apache-2.0
"""An independent reader of batches and journals, written from proto/README.md and agent/README.md.

    read_batch(bytes, public_key)            # header, entries; raises Damaged
    for frame in read_journal(folder): ...   # by lane and position
    check_journal(folder, public_key)        # signatures, hashes, roots, chains of all that is there

    python3 exhibit_reader.py JOURNAL KEY.pem"""
import hashlib
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import basics  # noqa: F401  (finds the generated modules)
import batch_pb2

LANES = {1: "critical", 2: "bulk"}
FILE_HEADER = struct.Struct("<8sII16sQQ12xI")
FRAME_HEADER = struct.Struct("<4sHHQII32sQ16HII")
BATCH, TOMBSTONE = 1, 2
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Damaged(Exception):
    pass


def need(true, why):
    if not true:
        raise Damaged(why)


def sha256(data):
    return hashlib.sha256(data).digest()


def verify(public_key, domain, data, signature):
    try:
        public_key.verify(signature, domain + b"\0" + sha256(data))
    except InvalidSignature:
        raise Damaged("the signature is false") from None


def merkle_root(leaves):
    """RFC 6962 section 2.1."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0])
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + merkle_root(leaves[:split]) + merkle_root(leaves[split:]))


def varint(data, at):
    value = shift = 0
    while True:
        need(at < len(data) and shift < 64, "a length is cut")
        value |= (data[at] & 0x7f) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 0x80:
            return value, at


def split_entries(raw):
    entries, at = [], 0
    while at < len(raw):
        length, at = varint(raw, at)
        need(1 <= length <= 128 << 10 and at + length <= len(raw), "an entry is cut")
        entries.append(raw[at:at + length])
        at += length
    return entries


def decompress(payload, raw_bytes):
    need(payload[:4] == ZSTD_MAGIC, "the payload is no zstd frame")
    need(raw_bytes <= 1 << 20 and zstandard.frame_content_size(payload) == raw_bytes, "raw_bytes is false")
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        raw = decompressor.decompress(payload)
    except zstandard.ZstdError as e:
        raise Damaged(f"the zstd frame is damaged: {e}") from None
    need(not decompressor.unused_data, "something follows the zstd frame")
    return raw


def read_batch(data, public_key=None):
    """(header, hash, entries) of a SignedBatch."""
    signed = batch_pb2.SignedBatch.FromString(data)
    header = batch_pb2.BatchHeader.FromString(signed.header)
    need(header.version == 1, f"version {header.version}")
    if public_key:
        verify(public_key, b"exhibit/batch/v1", signed.header, signed.signature)
    need(header.compressed_bytes == len(signed.payload), "compressed_bytes is false")
    need(header.compressed_sha256 == sha256(signed.payload), "compressed_sha256 is false")
    raw = decompress(signed.payload, header.raw_bytes)
    need(header.raw_sha256 == sha256(raw), "raw_sha256 is false")
    entries = split_entries(raw)
    need(len(entries) == header.entries, "entries is false")
    need(header.merkle_root == merkle_root(entries), "merkle_root is false")
    need(header.gaps <= header.count <= header.entries, "the counts contradict each other")
    if header.count:
        need(header.first_sequence >= 1 and header.last_sequence - header.first_sequence + 1 == header.count,
             "the sequences do not span count")
    else:
        need(header.first_sequence == header.last_sequence == 0, "a sequence without an event")
    return header, sha256(signed.header), entries


def read_tombstone(data, public_key=None):
    signed = batch_pb2.SignedTombstone.FromString(data)
    if public_key:
        verify(public_key, b"exhibit/tombstone/v1", signed.tombstone, signed.signature)
    tombstone = batch_pb2.Tombstone.FromString(signed.tombstone)
    need(tombstone.version == 1 and tombstone.dropped, "the tombstone says nothing")
    for before, after in zip(tombstone.dropped, tombstone.dropped[1:]):
        need(after.number == before.number + 1 and after.previous_hash == before.header_hash,
             "the dropped batches are no chain")
    return tombstone


@dataclass
class Frame:
    lane: int
    position: int
    kind: int
    covers: int
    hash: bytes
    sequence: int
    counts: tuple
    body: bytes


def read_file(path):
    """The frames of one file; Damaged at the first byte that is not as it should be."""
    data = path.read_bytes()
    need(len(data) >= FILE_HEADER.size, f"{path.name}: too short")
    magic, version, lane, epoch, first, number, total = FILE_HEADER.unpack_from(data)
    need(magic == b"EXHJRNL1" and version == 1, f"{path.name}: not a journal file")
    need(total == zlib.crc32(data[:60]), f"{path.name}: byte 60: the header's sum is false")
    stem, suffix = path.name.split(".")[0].split("-"), path.suffix
    need(stem[0] == LANES[lane] and int(stem[1], 16) == (number if suffix == ".jrn" else first),
         f"{path.name}: the name is not that of the header")
    at = FILE_HEADER.size
    while at < len(data):
        where = f"{path.name}: byte {at}"
        need(at + FRAME_HEADER.size <= len(data), f"{where}: a frame is cut")
        head = data[at:at + FRAME_HEADER.size]
        magic, version, kind, position, length, covers, digest, sequence, *rest = FRAME_HEADER.unpack(head)
        counts, body_sum, head_sum = tuple(rest[:16]), rest[16], rest[17]
        need(magic == b"EXJF" and version == 1, f"{where}: no frame")
        need(head_sum == zlib.crc32(epoch + bytes([lane]) + head[:100]), f"{where}: the frame header's sum is false")
        body = data[at + FRAME_HEADER.size:at + FRAME_HEADER.size + length]
        need(len(body) == length and body_sum == zlib.crc32(body), f"{where}: the body's sum is false")
        yield Frame(lane, position, kind, covers, digest, sequence, counts, body)
        at += FRAME_HEADER.size + length


def read_journal(folder):
    """All frames, by lane and position; a tombstone stands in the place of what it covers."""
    frames = {}
    folder = Path(folder)
    for path in sorted(folder.glob("*.jrn")) + sorted(folder.glob("*.tomb")):
        for frame in read_file(path):
            if frame.kind == TOMBSTONE:
                for position in range(frame.position - frame.covers + 1, frame.position):
                    frames.pop((frame.lane, position), None)
            frames[frame.lane, frame.position] = frame
    return [frames[key] for key in sorted(frames)]


def read_epoch(folder):
    data = (Path(folder) / "epoch").read_bytes()
    need(len(data) == 32 and data[:8] == b"EXHEPOC1" and struct.unpack_from("<I", data, 8)[0] == 1, "epoch: not ours")
    need(struct.unpack_from("<I", data, 28)[0] == zlib.crc32(data[:28]), "epoch: the sum is false")
    return data[12:28]


def read_acks(folder):
    path = Path(folder) / "acks"
    if not path.exists():
        return {1: 0, 2: 0}
    magic, version, critical, bulk, total = struct.unpack("<8sIQQI", path.read_bytes())
    need(magic == b"EXHACKS1" and version == 1 and total == zlib.crc32(path.read_bytes()[:28]), "acks: not ours")
    return {1: critical, 2: bulk}


def read_marks(folder):
    """{lane: (number of the file, bytes of it that were durable, position of the last frame in them)}."""
    path, marks = Path(folder) / "marks", {}
    data = path.read_bytes() if path.exists() else b""
    need(len(data) <= 4 * 32, "marks: too long")
    for at in range(0, len(data) - 31, 32):
        number, length, position, lane, total = struct.unpack_from("<QQQII", data, at)
        if not any(data[at:at + 32]):
            continue
        need(total == zlib.crc32(data[at:at + 28]) and lane == at // 64 + 1, f"marks: byte {at}: the sum is false")
        if number:
            marks[lane] = max(marks.get(lane, (0, 0, 0)), (number, length, position))
    return marks


def check_marks(folder, frames):
    """What was durable is there: in the file that the mark names, or a newer one has come."""
    for lane, (number, length, position) in read_marks(folder).items():
        numbers = {int(path.stem.split("-")[1], 16): path for path in Path(folder).glob(f"{LANES[lane]}-*.jrn")}
        if max(numbers, default=0) > number:
            continue
        need(number in numbers, f"marks: the newest file of {LANES[lane]} is gone")
        need(numbers[number].stat().st_size >= length, f"{numbers[number].name}: bytes that were durable are gone")
        need(max((f.position for f in frames if f.lane == lane), default=0) >= position,
             f"marks: position {position} of {LANES[lane]} is gone")


def check_journal(folder, public_key):
    """Everything that a journal says of itself; returns its frames."""
    frames, last = read_journal(folder), {}
    check_marks(folder, frames)
    for frame in frames:
        if frame.kind == TOMBSTONE:
            tombstone = read_tombstone(frame.body, public_key)
            chain = [(d.number, d.header_hash, d.previous_hash, tombstone.epoch) for d in tombstone.dropped]
            need(len(chain) == frame.covers, "the tombstone covers another number of frames")
        else:
            header, digest, _ = read_batch(frame.body, public_key)
            need(header.lane == frame.lane, "a batch stands in the other lane")
            chain = [(header.number, digest, header.previous_hash, header.epoch)]
        need(chain[-1][1] == frame.hash, "the frame's hash is not the header's")
        for _, digest, previous, epoch in chain:
            before = last.get((frame.lane, epoch))
            need(before is None or previous == before, f"the chain of {LANES[frame.lane]} breaks at {frame.position}")
            last[frame.lane, epoch] = digest
    return frames


if __name__ == "__main__":
    key = load_pem_private_key(Path(sys.argv[2]).read_bytes(), None).public_key()
    for found in check_journal(sys.argv[1], key):
        print(LANES[found.lane], found.position, "batch" if found.kind == BATCH else f"tombstone of {found.covers}",
              found.hash.hex())
