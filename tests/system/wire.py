# SPDX-License-Identifier: Apache-2.0
"""An agent of its own: builds batches from proto/*.proto and proto/README.md alone, speaks Events with
grpcio. Nothing here comes from the product's code."""
import hashlib
import os
import queue
import threading
import time
from pathlib import Path

import grpc
import zstandard
from cryptography.hazmat.primitives import serialization

import basics  # noqa: F401  (finds the generated modules)
import batch_pb2
import event_pb2
import service_pb2
from pki import key_id

CRITICAL, BULK = batch_pb2.event__pb2.LANE_CRITICAL, batch_pb2.event__pb2.LANE_BULK
EVENTS = "/exhibit.v1.Agent/Events"
CHANNEL_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1),
                   ("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0),
                   ("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000),
                   ("grpc.min_reconnect_backoff_ms", 60000)]


def sha256(data):
    return hashlib.sha256(data).digest()


def varint(value):
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def merkle_root(leaves):
    """RFC 6962, section 2.1."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\1" + merkle_root(leaves[:split]) + merkle_root(leaves[split:]))


def frame(entries):
    return b"".join(varint(len(entry)) + entry for entry in entries)


def compress(raw):
    return zstandard.ZstdCompressor(level=3, write_content_size=True).compress(raw)


def event(action, process=1, **fields):
    """One event; sequence and times are given when the batch is made."""
    return event_pb2.Event(action=action, process=process, hook=event_pb2.HOOK_TP_BTF, tier=1, **fields)


def exec_process(pid, name, args, start_ns=None):
    start_ns = start_ns or time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return event_pb2.Process(key=event_pb2.ImageKey(pid=pid, start_ns=start_ns, exec_id=1), name=name[:15],
                             executable=b"/usr/bin/" + name, args=args,
                             args_bytes=sum(len(arg) + 1 for arg in args), working_directory=b"/",
                             uid=1000, gid=1000)


class Batch:
    """A sealed batch as bytes, and what an acknowledgement of it says."""

    def __init__(self, header, signature, payload):
        self.header, self.signature, self.payload = header, signature, payload

    @property
    def hash(self):
        return sha256(self.header)

    def parsed(self):
        return batch_pb2.BatchHeader.FromString(self.header)

    def message(self):
        return batch_pb2.SignedBatch(header=self.header, signature=self.signature, payload=self.payload)

    def request(self):
        return service_pb2.EventsRequest(batch=self.message())


class Host:
    """One host's sealing state: numbers, sequences and chains, per lane."""

    def __init__(self, identity, boot_id=None, epoch=None):
        self.identity = identity
        self.tenant, self.host_id = identity.tenant.encode(), identity.host_id.encode()
        self.seal = serialization.load_pem_private_key(identity.seal_key.read_bytes(), None)
        self.public = self.seal.public_key().public_bytes(serialization.Encoding.Raw,
                                                          serialization.PublicFormat.Raw)
        self.boot_id = boot_id or os.urandom(16)
        self.epoch = epoch or os.urandom(16)
        self.number = {CRITICAL: 0, BULK: 0}
        self.sequence = {CRITICAL: 0, BULK: 0}
        self.previous = {CRITICAL: b"", BULK: b""}
        self.compressor = zstandard.ZstdCompressor(level=1, write_content_size=True)

    def batch(self, events=(), processes=(), lane=BULK, number=None, age_ns=0, **wrong):
        """Seal processes and events. age_ns: how long ago it all was. Fields of the header in wrong
        replace the right ones before signing."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        entries = [event_pb2.Entry(process=p).SerializeToString() for p in processes]
        first = self.sequence[lane] + 1
        for e in events:
            self.sequence[lane] += 1
            e.sequence = self.sequence[lane]
            e.boottime_ns = e.boottime_ns or now
            entries.append(event_pb2.Entry(event=e).SerializeToString())
        return self.batch_of_entries(entries, len(events), first, now, lane, number, age_ns, wrong)

    def batch_of_entries(self, entries, n_events, first, now, lane, number=None, age_ns=0, wrong=None):
        raw = frame(entries)
        payload = self.compressor.compress(raw)
        self.number[lane] = number or self.number[lane] + 1
        fields = dict(
            version=1, tenant=self.tenant, host_id=self.host_id, host_name=self.host_id, boot_id=self.boot_id,
            epoch=self.epoch, lane=lane, number=self.number[lane], first_sequence=first if n_events else 0,
            last_sequence=first + n_events - 1 if n_events else 0, count=n_events, entries=len(entries),
            first_boottime_ns=now, last_boottime_ns=now, sealed_boottime_ns=now,
            sealed_wall_ns=time.time_ns() - age_ns, synchronised=True, watermark_ns=now,
            previous_hash=self.previous[lane], raw_bytes=len(raw), raw_sha256=sha256(raw),
            compressed_bytes=len(payload), compressed_sha256=sha256(payload), merkle_root=merkle_root(entries),
            key_id=key_id(self.public))
        fields.update(wrong or {})
        header = batch_pb2.BatchHeader(**fields).SerializeToString()
        self.previous[lane] = sha256(header)
        return Batch(header, self.sign(b"exhibit/batch/v1\0", header), payload)

    def sign(self, domain, message):
        return self.seal.sign(domain + sha256(message))

    def idle(self, lane=BULK):
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        idle = batch_pb2.Idle(version=1, tenant=self.tenant, host_id=self.host_id, boot_id=self.boot_id,
                              epoch=self.epoch, lane=lane, number=self.number[lane],
                              header_hash=self.previous[lane], watermark_ns=now, boottime_ns=now,
                              wall_ns=time.time_ns(), synchronised=True,
                              key_id=key_id(self.public)).SerializeToString()
        signed = batch_pb2.SignedIdle(idle=idle, signature=self.sign(b"exhibit/idle/v1\0", idle))
        return service_pb2.EventsRequest(idle=signed)

    def hello(self, record=None):
        record = record or self.identity.record.read_bytes()
        return service_pb2.EventsRequest(hello=service_pb2.Hello(
            protocol_min=1, protocol_max=1, version=b"test", host_name=self.host_id, kernel=b"6.1.0-test",
            host_record=batch_pb2.SignedHostRecord.FromString(record)))

    def execs(self, n, marker, first=0):
        """A critical batch of n execs with arguments marker-FIRST.. ; each its own process."""
        processes, events = [], []
        for i in range(first, first + n):
            processes.append(exec_process(10_000 + i, b"probe", [b"probe", b"%s-%d" % (marker, i)]))
            events.append(event(event_pb2.ACTION_EXEC, len(processes), exec=event_pb2.Exec(filename=b"probe"),
                                **{"class": event_pb2.CLASS_EXEC}))
        return self.batch(events, processes, lane=CRITICAL)

    def creates(self, n, path, first=0):
        """A bulk batch of n files made by one process; path holds a %d."""
        process = exec_process(9_999, b"writer", [b"writer"], start_ns=1_000_000)
        return self.batch([event(event_pb2.ACTION_CREATE, file=event_pb2.File(path=path % i, mode=0o100644),
                                 **{"class": event_pb2.CLASS_FILE_OPEN}) for i in range(first, first + n)],
                          [process])


def credentials(cert, key, roots):
    return grpc.ssl_channel_credentials(Path(roots).read_bytes(), Path(key).read_bytes() if key else None,
                                        Path(cert).read_bytes() if cert else None)


class Refused(Exception):
    """The collector ended the stream: its status and sentence."""

    def __init__(self, code, sentence):
        super().__init__(f"{code}: {sentence}")
        self.code, self.sentence = code, sentence


class Client:
    """One Events stream. Everything that arrives is kept; every wait has a limit."""

    def __init__(self, host, address, order_ca, hello=True, identity=None, options=()):
        self.host = host
        identity = identity or host.identity
        self.channel = grpc.secure_channel(address, credentials(identity.cert, identity.key, order_ca),
                                           CHANNEL_OPTIONS + list(options))
        self.requests = queue.Queue()
        self.changed = threading.Condition()
        self.hello_reply = self.goodbye = self.ended = None
        self.acks = []
        self.call = self.channel.stream_stream(
            EVENTS, request_serializer=lambda r: r if isinstance(r, bytes) else r.SerializeToString(),
            response_deserializer=service_pb2.EventsReply.FromString)(self._outgoing(), wait_for_ready=False)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        if hello:
            self.send(host.hello())
            self.wait(lambda: self.hello_reply, "the hello's answer")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

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
                    kind = reply.WhichOneof("kind")
                    if kind == "hello":
                        self.hello_reply = reply.hello
                    elif kind == "ack":
                        self.acks.append(reply.ack)
                    elif kind == "goodbye":
                        self.goodbye = reply.goodbye
                    self.changed.notify_all()
            ended = Refused(grpc.StatusCode.OK, "")
        except grpc.RpcError as e:
            ended = Refused(e.code(), e.details() or "")
        except ValueError as e:  # the channel was closed under us
            ended = Refused(grpc.StatusCode.CANCELLED, str(e))
        with self.changed:
            self.ended = ended
            self.changed.notify_all()
        self.requests.put(None)

    def send(self, request):
        self.requests.put(request if not isinstance(request, Batch) else request.request())

    def wait(self, check, what, seconds=20):
        with self.changed:
            if not self.changed.wait_for(lambda: check() or self.ended, seconds):
                raise basics.TooLate(f"waited {seconds} s for {what}")
            value = check()
            if not value:
                raise self.ended
            return value

    def wait_ack(self, batch, seconds=20):
        h = batch.parsed()
        return self.wait(lambda: next((a for a in self.acks if a.lane == h.lane and a.number >= h.number
                                       and a.epoch == h.epoch and a.boot_id == h.boot_id), None),
                         f"the acknowledgement of batch {h.number}", seconds)

    def put(self, batch, seconds=20):
        self.send(batch)
        return self.wait_ack(batch, seconds)

    def wait_ended(self, seconds=30):
        with self.changed:
            if not self.changed.wait_for(lambda: self.ended, seconds):
                raise basics.TooLate(f"waited {seconds} s for the stream's end")
        return self.ended

    def close(self):
        self.requests.put(None)
        self.call.cancel()
        self.channel.close()
        self.reader.join(10)
