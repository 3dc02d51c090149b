# SPDX-License-Identifier: Apache-2.0
"""An independent reader of segments, written from collector/README.md "Segments" alone.

    for frame in Segment(path).frames(): ...
    python3 segment_reader.py FILE...      # one line per frame, then what the end says

It checks sums, order, Merkle root and SHA-256; it raises Damaged with the first bad byte."""
import hashlib
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

HEAD = struct.Struct("<4sBBHIIIqII")
BATCH, TOMBSTONE, HOST_RECORD, RETENTION, BEGIN, END = 1, 2, 3, 4, 16, 17
BODY_MAX = 2 << 20


class Damaged(Exception):
    def __init__(self, offset, why):
        super().__init__(f"byte {offset}: {why}")
        self.offset = offset


@dataclass
class Frame:
    kind: int
    conflict: bool
    ordinal: int
    group: int
    received_ns: int
    offset: int
    body: bytes
    size: int


class Fields:
    """Little-endian fields one after the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise Damaged(self.at, "the body is too short")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, fmt):
        return struct.unpack("<" + fmt, self.take(struct.calcsize("<" + fmt)))[0]

    def name(self):
        return self.take(self.number("B"))


def merkle_root(leaves):
    """RFC 6962 section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + merkle_root(leaves[:split]) + merkle_root(leaves[split:])).digest()


class Segment:
    def __init__(self, path):
        path = Path(path)
        self.name, self.data = path.name, path.read_bytes()
        self.open = path.name.startswith("open-")
        self.id = bytes.fromhex(path.stem.removeprefix("open-"))
        self.number = int.from_bytes(self.id[:8], "big")
        self.begin, self.end = None, None
        self.durable = self.read_mark(path.with_name(self.id.hex() + ".mark")) if self.open else 0

    def read_mark(self, path):
        """How much of an open segment is known to be durable."""
        slots = path.read_bytes() if path.exists() else b""
        marks = [struct.unpack_from("<QII", slots, at) for at in range(0, len(slots) - 15, 16)]
        return max((length for length, ordinal, crc in marks
                    if crc == zlib.crc32(struct.pack("<QI", length, ordinal), zlib.crc32(self.id))), default=0)

    def frame_at(self, offset):
        if offset + HEAD.size > len(self.data):
            raise Damaged(offset, "ends inside a head")
        magic, version, kind, flags, length, ordinal, group, received, body_crc, head_crc = \
            HEAD.unpack_from(self.data, offset)
        if magic != b"EXHF":
            raise Damaged(offset, "no frame")
        if zlib.crc32(self.data[offset:offset + 32], zlib.crc32(self.id)) != head_crc:
            raise Damaged(offset, "sum of the head")
        if version != 1 or length > BODY_MAX or group > ordinal:
            raise Damaged(offset, "head makes no sense")
        body = self.data[offset + HEAD.size:offset + HEAD.size + length]
        if len(body) < length:
            raise Damaged(offset, "ends inside a body")
        if zlib.crc32(body, zlib.crc32(self.id)) != body_crc:
            raise Damaged(offset, "sum of the body")
        return Frame(kind, bool(flags & 1), ordinal, group, received, offset, body, HEAD.size + length)

    def find(self, offset, ordinal):
        """The next whole frame at or behind offset, or None."""
        while (offset := self.data.find(b"EXHF", offset)) >= 0:
            try:
                frame = self.frame_at(offset)
                if frame.ordinal >= ordinal:
                    return frame
            except Damaged:
                pass
            offset += 1
        return None

    def torn(self, offset, ordinal):
        if offset < self.durable:
            return False
        while frame := self.find(offset, ordinal):
            if frame.group > ordinal:
                return False
            offset = frame.offset + frame.size
        return True

    def frames(self):
        """All frames but the end; sets begin and end; checks the end's sums."""
        at, ordinal, bodies = 0, 0, []
        while at < len(self.data):
            try:
                frame = self.frame_at(at)
                if frame.ordinal != ordinal:
                    raise Damaged(at, "another ordinal")
            except Damaged:
                if self.open and self.torn(at, ordinal):
                    return
                raise
            at, ordinal = at + frame.size, ordinal + 1
            if frame.kind == END:
                self.check_end(frame, at, bodies)
                return
            if frame.kind == BEGIN:
                self.read_begin(frame)
            bodies.append(frame.body)
            yield frame
        if not self.open:
            raise Damaged(at, "a sealed segment without its end")
        if at < self.durable:
            raise Damaged(at, "shorter than its mark")

    def read_begin(self, frame):
        f = Fields(frame.body)
        self.begin = dict(id=f.take(16), previous=f.take(16), previous_root=f.take(32), previous_length=f.number("Q"),
                          created_ns=f.number("q"), retention_class=f.number("B"), tenant=f.name())
        if self.begin["id"] != self.id:
            raise Damaged(frame.offset, "another segment's first frame")

    def check_end(self, frame, at, bodies):
        f = Fields(frame.body)
        self.end = dict(frames=f.number("I"), batches=f.number("I"), tombstones=f.number("I"), events=f.number("Q"),
                        first_wall_ns=f.number("q"), last_wall_ns=f.number("q"), first_received_ns=f.number("q"),
                        last_received_ns=f.number("q"), root=f.take(32), sha256=f.take(32))
        self.end["streams"] = [dict(host=f.name(), boot=f.take(16), epoch=f.take(16), lane=f.number("B"),
                                    first=f.number("Q"), last=f.number("Q")) for _ in range(f.number("I"))]
        if f.at != len(frame.body):
            raise Damaged(frame.offset, "something behind the end's streams")
        if self.data[at:] != struct.pack("<Q8s", frame.offset, b"EXHFSEND"):
            if self.open:  # torn: it does not count
                self.end = None
                return
            raise Damaged(at, "trailer")
        if self.end["frames"] != len(bodies):
            raise Damaged(frame.offset, "number of frames")
        if self.end["sha256"] != hashlib.sha256(self.data[:frame.offset]).digest():
            raise Damaged(frame.offset, "SHA-256")
        if self.end["root"] != merkle_root(bodies):
            raise Damaged(frame.offset, "Merkle root")


def segments(folder):
    """The segments of a tenant's folder, oldest first."""
    return sorted((Segment(p) for p in Path(folder).glob("*.seg")), key=lambda s: s.id)


def main():
    names = {BATCH: "batch", TOMBSTONE: "tombstone", HOST_RECORD: "host record", RETENTION: "retention", BEGIN: "begin"}
    for path in sys.argv[1:]:
        segment = Segment(path)
        for frame in segment.frames():
            print(f"{segment.name} {frame.offset} {names.get(frame.kind, frame.kind)} {len(frame.body)} bytes"
                  f"{' conflict' if frame.conflict else ''}")
        print(f"{segment.name} {'sealed' if segment.end else 'open'}", segment.end or "")


if __name__ == "__main__":
    main()
