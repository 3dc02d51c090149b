# SPDX-License-Identifier: Apache-2.0
"""A second reader of the ledger: signed notes, RFC 6962 proofs, tiles and pending leaves from their formats
(collector/README.md "The ledger"; C2SP), with nothing of the product's code. And what asks the service."""
import base64
import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import basics  # noqa: F401  (finds the generated modules)
import service_pb2
from wire import CHANNEL_OPTIONS, credentials, merkle_root, sha256

DASH = "\u2014 "


class Contradiction(AssertionError):
    """A proof does not show what it should."""


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def leaf_hash(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def check_inclusion(index, size, leaf, proof, root):
    """RFC 9162, 2.1.3.2."""
    fn, sn, r = index, size - 1, leaf
    if index >= size:
        raise Contradiction("the index is beyond the tree")
    for p in proof:
        if sn == 0:
            raise Contradiction("the proof is too long")
        if fn & 1 or fn == sn:
            r = node(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    if sn or r != root:
        raise Contradiction("the leaf is not in this tree")


def check_consistency(old, size, old_root, root, proof):
    """RFC 9162, 2.1.4.2."""
    if old == 0:
        return
    if old > size or (old == size and (proof or old_root != root)):
        raise Contradiction("the tree does not go on from there")
    if old == size:
        return
    proof = list(proof)
    if old & (old - 1) == 0:
        proof.insert(0, old_root)
    if not proof:
        raise Contradiction("the proof is too short")
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for c in proof[1:]:
        if sn == 0:
            raise Contradiction("the proof is too long")
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    if fr != old_root or sr != root or sn:
        raise Contradiction("the tree does not go on from there")


# ---- notes ---------------------------------------------------------------------------------------------------

class Key:
    """Whose checkpoints count: the certificate that the order authority made."""

    def __init__(self, certificate, order_ca):
        cert = x509.load_der_x509_certificate(certificate) if certificate[:1] == b"\x30" \
            else x509.load_pem_x509_certificate(certificate)
        authority = x509.load_pem_x509_certificate(Path(order_ca).read_bytes())
        authority.public_key().verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uri, = names.get_values_for_type(x509.UniformResourceIdentifier)
        self.name = uri.removeprefix("spiffe://")
        self.public = cert.public_key()
        self.raw = self.public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.id = sha256(self.name.encode() + b"\n\x01" + self.raw)[:4]

    @property
    def vkey(self):
        return f"{self.name}+{self.id.hex()}+" + base64.b64encode(b"\x01" + self.raw).decode()


@dataclass(frozen=True)
class Checkpoint:
    size: int
    root: bytes
    note: bytes


def open_checkpoint(note, key):
    text, _, signatures = note.decode().rpartition("\n\n")
    for line in signatures.splitlines():
        assert line.startswith(DASH)
        name, encoded = line[len(DASH):].split(" ")
        signature = base64.b64decode(encoded, validate=True)
        if name == key.name and signature[:4] == key.id:
            try:
                key.public.verify(signature[4:], text.encode() + b"\n")
            except InvalidSignature as e:
                raise Contradiction("the checkpoint's signature is false") from e
            origin, size, root = (text + "\n").splitlines()
            assert origin == key.name and str(int(size)) == size
            return Checkpoint(int(size), base64.b64decode(root, validate=True), note)
    raise Contradiction("nobody we know signed the checkpoint")


# ---- the folder -----------------------------------------------------------------------------------------------

def tile_name(index):
    parts = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03}")
    return "/".join(parts)


class Folder:
    """DIR/.ledger of a store."""

    def __init__(self, path, key):
        self.path, self.key = Path(path), key

    def checkpoint(self):
        return open_checkpoint((self.path / "checkpoint").read_bytes(), self.key)

    def tile(self, level, index, size):
        width = min(256, (size >> (8 * (0 if level == "entries" else level))) - 256 * index)
        name = tile_name(index) + (f".p/{width}" if width < 256 else "")
        return (self.path / "tile" / str(level) / name).read_bytes(), width

    def entries(self):
        """Those under the checkpoint, all tiles and the root compared."""
        size, found = self.checkpoint().size, []
        for index in range((size + 255) // 256):
            data, width = self.tile("entries", index, size)
            at = 0
            for _ in range(width):
                length, = struct.unpack_from(">H", data, at)
                found.append(data[at + 2:at + 2 + length])
                at += 2 + length
            assert at == len(data)
        level, hashes_of = 0, [leaf_hash(entry) for entry in found]
        while hashes_of:
            for index in range((len(hashes_of) + 255) // 256):
                data, width = self.tile(level, index, size)
                assert data == b"".join(hashes_of[256 * index:256 * index + width])
            whole = [hashes_of[i:i + 256] for i in range(0, len(hashes_of) - 255, 256)]
            for _ in range(8):
                whole = [[node(t[i], t[i + 1]) for i in range(0, len(t), 2)] for t in whole]
            hashes_of, level = [t[0] for t in whole], level + 1
        assert merkle_root(found) == self.checkpoint().root
        return found

    def pending(self):
        """Leaves by index, from files that a killed collector left."""
        found = {}
        for path in sorted(self.path.glob("pending-*")):
            data = path.read_bytes()
            if len(data) < 32 or data[:8] != b"EXHLPEND":
                continue
            nonce, at = data[12:28], 32
            assert struct.unpack_from("<I", data, 28)[0] == zlib.crc32(data[:28], zlib.crc32(nonce))
            while at + 28 <= len(data):
                magic, crc, index, _, length = struct.unpack_from("<IIQQI", data, at)
                record = data[at + 8:at + 28 + length]
                if magic != 0x4c485845 or len(record) != 20 + length or \
                        crc != zlib.crc32(record, zlib.crc32(nonce)):
                    break
                found[index] = record[20:]
                at += 28 + length
        return found

    def all(self):
        entries = self.entries()
        for index, entry in sorted(self.pending().items()):
            if index == len(entries):
                entries.append(entry)
        return [service_pb2.LedgerEntry.FromString(entry) for entry in entries]


# ---- the service -----------------------------------------------------------------------------------------------

def ask(address, identity, order_ca, method, question, reply):
    with grpc.secure_channel(address, credentials(identity.cert, identity.key, order_ca), CHANNEL_OPTIONS) as channel:
        call = channel.unary_stream(f"/exhibit.v1.Ledger/{method}",
                                    request_serializer=lambda m: m.SerializeToString(),
                                    response_deserializer=reply.FromString)
        return list(call(question, timeout=30))


def ask_update(address, identity, order_ca, old_size=0):
    answer, = ask(address, identity, order_ca, "Checkpoint", service_pb2.CheckpointRequest(old_size=old_size),
                  service_pb2.CheckpointReply)
    return answer.update


def ask_entries(address, identity, order_ca, **question):
    return ask(address, identity, order_ca, "Entries", service_pb2.EntriesRequest(**question),
               service_pb2.EntriesReply)
