# SPDX-License-Identifier: Apache-2.0
"""One enrolled host does its worst: the collector lives on within its memory, serves an honest host
meanwhile, says in one sentence what it refuses, and stores nothing false."""
import concurrent.futures
import contextlib
import os
import random
import socket
import ssl
import time

import grpc
import pytest
import zstandard

import batch_pb2
import event_pb2
import service_pb2
from basics import FULL, TooLate, count, until
from h2raw import CANCEL, CONTINUATION, HEADERS, PING, RST_STREAM, Connection, call_headers, h2_frame, tls_context
from wire import (BULK, CHANNEL_OPTIONS, CRITICAL, EVENTS, Batch, Client, Host, Refused, credentials,
                  merkle_root, sha256, varint)

MEMORY_MAX = 512 << 20
MiB = 1 << 20


class World:
    """A collector, a hostile host's identity, and an honest host that must always get through."""

    def __init__(self, lab):
        self.site = lab.site
        self.collector = lab.collector()
        self.hostile = lab.site.host("hostile")
        self.honest_host = Host(lab.site.host("honest"))
        self.cli = lab.cli(self.collector)
        self.honest_sent = 0
        with self.client():
            pass  # known from here on, whichever tests run

    def client(self, **kwargs):
        return Client(Host(self.hostile), self.collector.address, self.site.order_ca, **kwargs)

    def honest(self, seconds=20):
        """A new connection of the honest host, one batch, acknowledged."""
        with Client(self.honest_host, self.collector.address, self.site.order_ca) as client:
            client.put(self.honest_host.execs(2, b"honest", first=self.honest_sent), seconds)
            self.honest_sent += 2

    def holds(self):
        assert self.collector.running(), self.collector.tail()
        assert self.collector.memory_peak() < MEMORY_MAX
        self.honest()

    def connection(self):
        return Connection(self.collector.port, self.hostile, self.site.order_ca)


@pytest.fixture(scope="module")
def world(module_lab):
    world = World(module_lab)
    yield world
    world.holds()
    # Nothing false was stored, and all that is honest.
    rows = world.cli.events("--host", "honest", "--action", "exec")
    said = sorted(row["process"]["args"][1] for row in rows)
    assert said == sorted(f"honest-{i}" for i in range(world.honest_sent))
    assert world.cli.events("--host", "hostile") == []
    assert world.collector.stop() == 0
    world.collector.check()


# ---- false batches -----------------------------------------------------------------------------------

def sealed(host, **wrong):
    return host.batch([event()], lane=CRITICAL, **wrong)


def event():
    return event_pb2.Event(action=event_pb2.ACTION_EXEC, hook=event_pb2.HOOK_TP_BTF, tier=1)


def flipped_signature(host):
    batch = sealed(host)
    batch.signature = bytes([batch.signature[0] ^ 1]) + batch.signature[1:]
    return batch


def payload(host, data, **fields):
    """A batch with this payload and a header that fits it, as far as a header can."""
    batch = sealed(host)
    fields = {"compressed_bytes": len(data), "compressed_sha256": sha256(data), **fields}
    header = batch.parsed()
    for name, value in fields.items():
        setattr(header, name, value)
    header = header.SerializeToString()
    return Batch(header, host.sign(b"exhibit/batch/v1\0", header), data)


def with_header(host, **fields):
    """A batch with these fields in its header, signed after they were set."""
    return payload(host, sealed(host).payload, **fields)


def bomb(size):
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=True).compressobj(size=size)
    zeros = bytes(MiB)
    return b"".join(compressor.compress(zeros) for _ in range(size // MiB)) + compressor.flush()


def no_content_size(host):
    raw = bytes(1000)
    return payload(host, zstandard.ZstdCompressor(write_content_size=False).compress(raw), raw_bytes=1000,
                   raw_sha256=sha256(raw))


def two_frames(host):
    batch = sealed(host)
    return payload(host, batch.payload + zstandard.ZstdCompressor().compress(b"more"))


def entries(host, rows, n_events=0):
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return host.batch_of_entries(rows, n_events, 1, now, BULK)


def nested(depth, tag=b"\x0a"):
    """A length-delimited field in itself, depth times."""
    out = b""
    for _ in range(depth):
        out = tag + varint(len(out)) + out
    return out


FALSE = {
    "signature": (flipped_signature, "signature"),
    "another host's key": (lambda host: sealed(host, key_id=bytes(8)), "no host record of 'hostile' names"),
    "raw hash": (lambda host: sealed(host, raw_sha256=bytes(32)), "raw_sha256 does not match"),
    "compressed hash": (lambda host: sealed(host, compressed_sha256=bytes(32)), "compressed_sha256 does not match"),
    "Merkle root": (lambda host: sealed(host, merkle_root=merkle_root([b"x"])), "merkle_root does not match"),
    "number 0": (lambda host: with_header(host, number=0, previous_hash=b""), "number is 0"),
    "sequence": (lambda host: sealed(host, last_sequence=7), "do not span count"),
    "count": (lambda host: sealed(host, entries=2), "entries"),
    "no previous": (lambda host: host.batch([event()], number=3, previous_hash=b""), "previous_hash is absent"),
    "lane": (lambda host: with_header(host, lane=9), "lane 9 does not exist"),
    "version": (lambda host: sealed(host, version=2), "version 2"),
    "boot id": (lambda host: sealed(host, boot_id=b"short"), "boot_id has 5 bytes instead of 16"),
    "a time in 10,000 years": (lambda host: sealed(host, sealed_wall_ns=(1 << 62) + 1), "beyond 2^62"),
    "bomb that says so": (lambda host: payload(host, bomb(1 << 30), raw_bytes=1 << 30), "raw_bytes"),
    "bomb that lies": (lambda host: payload(host, bomb(256 * MiB), raw_bytes=MiB), "does not hold raw_bytes"),
    "no content size": (no_content_size, "does not hold raw_bytes"),
    "two frames": (two_frames, "is not one zstd frame"),
    "payload is garbage": (lambda host: payload(host, os.urandom(500)), "is not one zstd frame"),
    "entry is garbage": (lambda host: entries(host, [b"\xff" * 50]), "cannot be read"),
    "entry nested 15,000 deep": (lambda host: entries(host, [nested(15_000)]), ""),
    "groups in groups": (lambda host: entries(host, [b"\x0b" * 50_000]), "cannot be read"),
    "100,000 entries": (lambda host: with_header(host, entries=100_000, count=1), "the most are"),
    "8,000 arguments each empty": (lambda host: entries(
        host, [b"\x0a" + varint(len(row := b"\x2a\0" * 60_000)) + row] * 8), ""),
}


@pytest.mark.parametrize("kind", FALSE)
def test_false_batch(kind, world):
    make, sentence = FALSE[kind]
    with world.client() as client:
        batch = make(client.host)
        client.send(batch)
        if not sentence:
            # Strange, but no lie: it may be stored under this host's own name or refused, never harm.
            until(lambda: client.ended or client.acks, 20, "an answer")
        else:
            ended = client.wait_ended()
            assert ended.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED,
                                  grpc.StatusCode.FAILED_PRECONDITION), ended
            assert sentence in ended.sentence
            assert client.acks == []
    world.holds()


# ---- false messages ----------------------------------------------------------------------------------

MESSAGES = {
    "garbage": lambda: os.urandom(3000),
    "empty": lambda: b"",
    "only tags": lambda: b"\x12" * 1000,
    "hello nested 100,000 deep": lambda: nested(100_000),
    "groups": lambda: b"\x0b" * 900_000,
    "batch without anything": lambda: service_pb2.EventsRequest(batch=batch_pb2.SignedBatch()).SerializeToString(),
    "tombstone of nothing": lambda: service_pb2.EventsRequest(
        tombstone=batch_pb2.SignedTombstone(tombstone=b"\x08\x01", signature=bytes(64))).SerializeToString(),
    "idle of nothing": lambda: service_pb2.EventsRequest(
        idle=batch_pb2.SignedIdle(idle=b"\x08\x01", signature=bytes(64))).SerializeToString(),
}


@pytest.mark.parametrize("greeted", [True, False], ids=["after hello", "instead of hello"])
@pytest.mark.parametrize("kind", MESSAGES)
def test_false_message(kind, greeted, world):
    with world.client(hello=greeted) as client:
        client.send(MESSAGES[kind]())
        # What nobody understands may be from a later protocol: passed over, nothing more.
        if kind != "empty":
            ended = client.wait_ended()
            assert ended.code.value[0] in (3, 7, 8, 9, 13), ended
            assert ended.sentence
        assert client.acks == []
    world.holds()


def test_batch_before_hello(world):
    with world.client(hello=False) as client:
        client.send(sealed(client.host))
        ended = client.wait_ended()
    assert ended.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "a message came before the hello" in ended.sentence


def test_100_megabytes(world):
    with world.client() as client:
        client.send(service_pb2.EventsRequest(batch=batch_pb2.SignedBatch(
            header=b"h", signature=bytes(64), payload=bytes(100 * MiB))))
        ended = client.wait_ended(60)
    assert ended.code != grpc.StatusCode.OK
    world.holds()


def test_compressed_by_grpc(world):
    """100 MB that are 100 KB on the wire."""
    channel = grpc.secure_channel(world.collector.address, credentials(
        world.hostile.cert, world.hostile.key, world.site.order_ca), CHANNEL_OPTIONS,
        compression=grpc.Compression.Gzip)
    before = world.collector.memory_peak()
    with channel, pytest.raises(grpc.RpcError):
        stub = channel.stream_stream(EVENTS, request_serializer=None, response_deserializer=None)
        list(stub(iter([bytes(100 * MiB)]), timeout=30))
    assert world.collector.memory_peak() < before + 64 * MiB
    world.holds()


# ---- false connections -------------------------------------------------------------------------------

def test_rapid_reset(world):
    """CVE-2023-44487: streams opened and reset as fast as the wire takes them; the connection is cut."""
    def attack():
        connection, stream = world.connection(), 1
        for _ in range(count(40, 400)):
            burst = bytearray()
            for _ in range(250):
                burst += h2_frame(HEADERS, 4, stream, call_headers(b"/exhibit.v1.Agent/Events"))
                burst += h2_frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4, "big"))
                stream += 2
            connection.send(bytes(burst))
        while connection.socket.recv(65536):
            pass
        raise ConnectionResetError
    with pytest.raises(OSError):
        attack()
    world.holds()


@pytest.mark.parametrize("kind", ["continuation", "ping", "headers without end", "plaintext", "garbage"])
def test_flood_of_frames(kind, world):
    def flood():
        if kind in ("plaintext", "garbage"):
            raw = socket.create_connection(("127.0.0.1", world.collector.port), timeout=20)
            data = os.urandom(1000) if kind == "garbage" else b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
            for _ in range(200):
                raw.sendall(data)
            if raw.recv(1000) == b"":
                raise ConnectionResetError
            return
        connection = world.connection()
        if kind == "continuation":
            connection.send(h2_frame(HEADERS, 0, 1, call_headers(b"/x")))
        for i in range(2000):
            if kind == "continuation":
                connection.send(h2_frame(CONTINUATION, 0, 1, b"\0\x07x-large\x7f\x81\x1f" + b"a" * 4000))
            elif kind == "ping":
                connection.send(h2_frame(PING, 0, 0, bytes(8)) * 100)
            else:
                connection.send(h2_frame(HEADERS, 0, 2 * i + 1, b"\0\x07x-large\x7f\x81\x1f" + b"a" * 4000))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        attack = pool.submit(flood)
        world.honest()
        try:
            attack.result(60)
        except OSError:
            pass  # cut, as it should be; a flood that is read and thrown away does no harm either
    world.holds()


def test_thousand_streams(world):
    """One host gets a few streams; the others are told so."""
    channels = [grpc.secure_channel(world.collector.address, credentials(
        world.hostile.cert, world.hostile.key, world.site.order_ca), CHANNEL_OPTIONS + [("n", i)])
        for i in range(20)]
    calls = []
    for i in range(1000):
        stub = channels[i % 20].stream_stream(EVENTS, request_serializer=None, response_deserializer=None)
        calls.append(stub(one_message_then_silence(), timeout=40))
    try:
        world.honest()
        codes = until(lambda: [c.code() for c in calls if not c.is_active()][:1], 30, "a refusal")
        assert codes[0] in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
        world.holds()
    finally:
        for call in calls:
            call.cancel()
        for channel in channels:
            channel.close()


def one_message_then_silence():
    yield b""
    time.sleep(30)


def client_hello(site):
    """The first bytes of a TLS connection."""
    out = ssl.MemoryBIO()
    tls = tls_context(None, site.order_ca).wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def drip(send, is_over, data, every, limit):
    """One byte each so many seconds until the other side has enough of it: how long it took. A clock that begins
    anew with each byte would let us go on for ever."""
    began = last = time.monotonic()
    rest = iter(data)
    send(bytes([next(rest)]))
    while not is_over():
        now = time.monotonic()
        assert now - began < limit, f"still served after {limit} s at a byte each {every} s"
        if now - last >= every:
            last = now
            try:
                send(bytes([next(rest)]))
            except OSError:  # the end came while we sent
                break
    return time.monotonic() - began


def call_ended(connection):
    """Whether call 1 or its connection has ended, by the frames that have come."""
    connection.socket.settimeout(0.3)
    got = bytearray()

    def over():
        try:
            data = connection.socket.recv(16384)
        except TimeoutError:
            data = None
        except OSError:
            return True
        if data == b"":
            return True
        got.extend(data or b"")
        at = 0
        while at + 9 <= len(got):
            length, kind, flags = int.from_bytes(got[at:at + 3], "big"), got[at + 3], got[at + 4]
            stream = int.from_bytes(got[at + 5:at + 9], "big")
            end_stream = kind == HEADERS and flags & 1
            if stream == 1 and (kind == RST_STREAM or end_stream):
                return True
            at += 9 + length
        return False
    return over


def socket_ended(plain):
    plain.settimeout(0.3)

    def over():
        try:
            return plain.recv(100) == b""
        except TimeoutError:
            return False
        except OSError:
            return True
    return over


# A minute between two bytes is what the promise says; five seconds are as slow to a limit of twenty.
EVERY = count(5, 60)


def test_slow_handshake(world, site):
    with socket.create_connection(("127.0.0.1", world.collector.port)) as plain:
        took = drip(plain.sendall, socket_ended(plain), client_hello(site), EVERY, 40)
    assert took > 2, "refused at once: nothing was slow"
    world.holds()


def test_slow_first_message(world):
    """A hello of which a byte comes now and then."""
    connection = world.connection()
    connection.open_call(1)
    message = b"\0" + (1000).to_bytes(4, "big") + bytes(1000)
    took = drip(lambda byte: connection.send_data(1, byte), call_ended(connection), message, EVERY, 40)
    connection.close()
    assert took > 2, "refused at once: nothing was slow"
    world.holds()


@pytest.mark.skipif(not FULL, reason="takes its 90 s")
def test_slow_message_after_the_hello(world):
    """Who has introduced himself may be silent for a while, but not speak for ever."""
    connection = world.connection()
    connection.open_call(1)
    hello = Host(world.hostile).hello().SerializeToString()
    connection.send_data(1, b"\0" + len(hello).to_bytes(4, "big") + hello)
    message = b"\0" + (1000).to_bytes(4, "big") + bytes(1000)
    took = drip(lambda byte: connection.send_data(1, byte), call_ended(connection), message, 10, 130)
    connection.close()
    assert took > 40
    world.holds()


# ---- descriptors -------------------------------------------------------------------------------------

def test_all_descriptors_taken_and_given_back(lab, site):
    """400 silent connections against a limit of 256 descriptors, then closed: the port serves again, in
    the same process or in one that its supervisor started."""
    collector = lab.collector(start=False, wrap=["prlimit", "--nofile=256:256"]).start()
    host = lab.host()
    silent = []
    for _ in range(400):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", collector.port))
        silent.append(s)
    time.sleep(3)
    for s in silent:
        s.close()

    def served():
        if not collector.running():
            assert collector.process.returncode != 0, "a supervisor restarts what failed, not what ended well"
            collector.start()
        try:
            with Client(host, collector.address, site.order_ca) as client:
                client.put(host.execs(1, b"after", first=host.number[CRITICAL]), 5)
            return True
        except (Refused, TooLate):
            return False
    until(served, 90, f"service after the descriptors came back:\n{collector.tail()}")


def test_random_bits(world):
    """Batches with one flipped bit anywhere: refused or, when the bit means nothing, the same batch."""
    random.seed(7)
    for _ in range(count(40, 400)):
        time.sleep(0.02)  # a host may make 100 calls a second
        with world.client() as client:
            wire = bytearray(sealed(client.host).request().SerializeToString())
            at = random.randrange(len(wire) * 8)
            wire[at // 8] ^= 1 << at % 8
            client.send(bytes(wire))
            client.send(client.host.hello())  # a second hello ends a stream that is still there
            client.wait_ended()
            assert client.acks == []
    world.holds()
