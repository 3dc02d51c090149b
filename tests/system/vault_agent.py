# SPDX-License-Identifier: Apache-2.0
"""An agent that uploads exhibits, built from proto/exhibit.proto alone, and a collector that has a vault
and nothing else (driver_vault.c)."""
import hashlib
import json
import os
import queue
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import grpc
import zstandard
from cryptography.hazmat.primitives import serialization

import basics
import exhibit_pb2
import order_pb2
from basics import until
from pki import key_id
from wire import CHANNEL_OPTIONS, Refused, credentials, sha256

MiB = 1 << 20
UPLOAD = "/exhibit.v1.Agent/Upload"
MEMORY = order_pb2.ORDER_MEMORY
RAW, ZSTD, ZERO = exhibit_pb2.CODEC_RAW, exhibit_pb2.CODEC_ZSTD, exhibit_pb2.CODEC_ZERO


def asked(kind=MEMORY):
    """The id of an order that the driver knows."""
    return b"asked" + bytes([kind]) + os.urandom(10)


class VaultDriver:
    """driver_vault, started again as often as a test likes; it keeps its port."""

    def __init__(self, site, folder, wrap=(), **words):
        self.site, self.dir, self.wrap = site, Path(folder), list(wrap)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.vault, self.ready, self.log_file = self.dir / "vault", self.dir / "port", self.dir / "log"
        self.words, self.port, self.process = words, 0, None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def log(self):
        return self.log_file.read_text(errors="replace")

    def start(self, seconds=30):
        self.ready.unlink(missing_ok=True)
        words = {**self.words, "port": self.port}
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrap, basics.BUILD / "tests" / "driver_vault", self.vault, self.site.dir, self.ready,
                 *(f"{name}={value}" for name, value in words.items())],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)

        def serving():
            assert self.process.poll() is None, f"the driver ended:\n{self.log[-2000:]}"
            return self.ready.exists() and self.ready.read_text().strip()
        self.port = int(until(serving, seconds, "the driver"))
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.running():
            self.process.kill()
        return self.process.wait(20)

    def stop(self):
        if self.running():
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def check(self):
        done = subprocess.run([basics.BUILD / "tests" / "driver_vault", "check", self.vault],
                              capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def leaves(self):
        """Rows of (kind, exhibit, object, subject, text)."""
        path = Path(f"{self.ready}.ledger")
        return [tuple(line.split("\t")[1:]) for line in path.read_text().splitlines()] if path.exists() else []

    def exhibit(self, exhibit_id):
        return self.vault / "acme" / "exhibits" / exhibit_id.hex()

    def record(self, exhibit_id):
        return json.loads((self.exhibit(exhibit_id) / "exhibit.json").read_text())

    def object(self, digest):
        return self.vault / "acme" / "sha256" / digest.hex()[:2] / digest.hex()


@dataclass
class Item:
    name: str
    data: bytes
    format: str = "raw"

    @property
    def sha256(self):
        return sha256(self.data)

    def chunks(self, begin=0):
        for offset in range(begin, len(self.data), MiB):
            yield offset, self.data[offset:offset + MiB]


def start(order_id, exhibit_id, kind=MEMORY, protocol=1):
    return exhibit_pb2.UploadRequest(start=exhibit_pb2.UploadStart(
        order_id=order_id, exhibit_id=exhibit_id, kind=kind, protocol=protocol))


def item_start(number, item, **fields):
    return exhibit_pb2.UploadRequest(item=exhibit_pb2.ItemStart(
        **{"item": number, "name": item.name.encode(), "format": item.format.encode(),
           "expected_bytes": len(item.data), **fields}))


def chunk(number, offset, raw, codec=ZSTD, **fields):
    data = {RAW: lambda: raw, ZERO: lambda: b"",
            ZSTD: lambda: zstandard.ZstdCompressor(level=1).compress(raw)}[codec]()
    return exhibit_pb2.UploadRequest(chunk=exhibit_pb2.Chunk(
        **{"item": number, "offset": offset, "raw_bytes": len(raw), "codec": codec, "sha256": sha256(raw),
           "data": data, **fields}))


def item_end(number, item, **fields):
    return exhibit_pb2.UploadRequest(end=exhibit_pb2.ItemEnd(
        **{"item": number, "bytes": len(item.data), "sha256": item.sha256, **fields}))


class Sealer:
    """A host's sealing key."""

    def __init__(self, identity):
        self.key = serialization.load_pem_private_key(identity.seal_key.read_bytes(), None)
        self.public = self.key.public_key().public_bytes(serialization.Encoding.Raw,
                                                         serialization.PublicFormat.Raw)

    def manifest(self, order_id, exhibit_id, items, /, text=None, **fields):
        said = {"version": 1, "exhibit_id": exhibit_id.hex(), "order_id": order_id.hex(), "complete": True,
                "items": [{"name": i.name, "format": i.format, "bytes": len(i.data), "sha256": i.sha256.hex()}
                          for i in items]}
        data = text if text is not None else json.dumps({**said, **fields}).encode()
        return exhibit_pb2.UploadRequest(manifest=exhibit_pb2.SignedManifest(
            manifest=data, signature=self.key.sign(b"exhibit/manifest/v1\0" + sha256(data)),
            key_id=key_id(self.public)))


class Upload:
    """One call. Replies are kept; every wait has a limit."""

    def __init__(self, identity, address, order_ca):
        self.channel = grpc.secure_channel(address, credentials(identity.cert, identity.key, order_ca),
                                           CHANNEL_OPTIONS)
        self.requests = queue.Queue(8)
        self.changed = threading.Condition()
        self.durable, self.requests_durable, self.receipt, self.ended = [], 0, None, None
        self.call = self.channel.stream_stream(
            UPLOAD, request_serializer=lambda r: r if isinstance(r, bytes) else r.SerializeToString(),
            response_deserializer=exhibit_pb2.UploadReply.FromString)(self._outgoing())
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.call.cancel()
        self.channel.close()

    def _outgoing(self):
        while True:
            request = self.requests.get()
            if request is None:
                return
            yield request

    def _read(self):
        try:
            for reply in self.call:
                with self.changed:
                    if reply.WhichOneof("kind") == "durable":
                        self.durable.append((reply.durable.item, reply.durable.offset))
                        self.requests_durable = reply.durable.requests
                    else:
                        self.receipt = reply.receipt
                    self.changed.notify_all()
            ended = Refused(grpc.StatusCode.OK, "")
        except grpc.RpcError as e:
            ended = Refused(e.code(), e.details() or "")
        except ValueError as e:
            ended = Refused(grpc.StatusCode.CANCELLED, str(e))
        with self.changed:
            self.ended = ended
            self.changed.notify_all()
        while True:  # whoever waits for room to send gets on
            try:
                self.requests.get_nowait()
            except queue.Empty:
                break

    def send(self, *requests):
        for request in requests:
            while self.ended is None:
                try:
                    self.requests.put(request, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if self.ended is not None:
                raise self.ended

    def half_close(self):
        self.requests.put(None)

    def wait(self, check, what, seconds=30):
        with self.changed:
            if not self.changed.wait_for(lambda: check() or self.ended, seconds):
                raise basics.TooLate(f"waited {seconds} s for {what}")
            if not check():
                raise self.ended
            return check()

    def wait_durable(self, place=None, seconds=30):
        if place is None:
            self.wait(lambda: self.durable, "the first answer", seconds)
            return self.durable[0]
        return self.wait(lambda: self.durable and self.durable[-1] >= place, f"{place} to be durable", seconds)

    def wait_ended(self, seconds=30):
        with self.changed:
            if not self.changed.wait_for(lambda: self.ended, seconds):
                raise basics.TooLate(f"waited {seconds} s for the end of the call")
            return self.ended


class Agent:
    """Uploads whole exhibits, and goes on after whatever comes between."""

    def __init__(self, identity, driver, order_ca):
        self.identity, self.driver, self.order_ca = identity, driver, order_ca
        self.sealer = Sealer(identity)

    def upload(self):
        return Upload(self.identity, self.driver.address, self.order_ca)

    def once(self, order_id, exhibit_id, items, codec=ZSTD, manifest=None, kind=MEMORY):
        """One call from wherever the collector is; the receipt."""
        with self.upload() as u:
            u.send(start(order_id, exhibit_id, kind))
            u.wait(lambda: u.durable or u.receipt, "an answer")
            if u.receipt:
                return u.receipt
            number, offset = u.wait_durable()
            for n, item in enumerate(items, 1):
                if n < number:
                    continue
                if n > number or offset == 0:
                    u.send(item_start(n, item))
                for at, raw in item.chunks(offset if n == number else 0):
                    u.send(chunk(n, at, raw, codec))
                u.send(item_end(n, item))
            u.send(manifest or self.sealer.manifest(order_id, exhibit_id, items))
            return u.wait(lambda: u.receipt, "the receipt", 60)

    def stubborn(self, order_id, exhibit_id, items, tries=200):
        """Like an agent whose collector dies now and then."""
        for _ in range(tries):
            try:
                return self.once(order_id, exhibit_id, items)
            except Refused as e:
                if e.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED):
                    raise
                threading.Event().wait(0.1)
        raise AssertionError("never got through")


def noise(n, seed=1):
    """n bytes that no compressor shrinks, the same each time."""
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(n)
