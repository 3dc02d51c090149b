# SPDX-License-Identifier: Apache-2.0
"""A collector in the hands of a thief: the real one's certificate and key, and a program that says whatever a
test wants. It takes batches and exhibits as the real one does, so that the tests of an agent's orders need no
other."""
import hashlib
import json
import queue
import threading
from concurrent import futures

import grpc

import event_pb2
import exhibit_pb2
import order_pb2
import service_pb2
from basics import until
from exhibit_reader import read_batch
from wire import sha256

MiB = 1 << 20


class Upload:
    """What came of one exhibit, over all calls."""

    def __init__(self, start):
        self.start, self.items, self.ended, self.manifest = start, {}, {}, None
        self.calls, self.requests = 0, 0

    def data(self, name):
        return bytes(self.items[name])

    @property
    def said(self):
        return json.loads(self.manifest.manifest)


class StolenCollector:
    def __init__(self, site, port=0):
        self.site, self.changed = site, threading.Condition()
        self.events, self.steps, self.hellos, self.uploads = [], [], [], {}
        self.contradictions = []
        self.streams = []  # queues of what to say on each stream of orders
        self.break_upload_after = None  # requests of a call; then it is cut off
        self.refuse_upload = None  # (code, sentence)
        self.names = {}
        self.port = self.start(port)

    # ---- the server -----------------------------------------------------------------------------------------

    def start(self, port=0):
        self.server = grpc.server(futures.ThreadPoolExecutor(32), options=[
            ("grpc.max_receive_message_length", 4 * MiB), ("grpc.so_reuseport", 0)])
        methods = {"Events": self._events, "Orders": self._orders, "Upload": self._upload}
        types = {"Events": service_pb2.EventsRequest, "Orders": service_pb2.OrdersRequest,
                 "Upload": exhibit_pb2.UploadRequest}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("exhibit.v1.Agent", {
            name: grpc.stream_stream_rpc_method_handler(
                function, request_deserializer=types[name].FromString,
                response_serializer=lambda m: m.SerializeToString())
            for name, function in methods.items()}),))
        credentials = grpc.ssl_server_credentials(
            [(self.site.collector.key.read_bytes(), self.site.collector.cert.read_bytes())],
            self.site.fleet_ca.read_bytes(), True)
        self.port = self.server.add_secure_port(f"127.0.0.1:{port}", credentials)
        assert self.port, "the port is taken"
        self.server.start()
        return self.port

    def stop(self):
        with self.changed:
            for said in self.streams:
                said.put(None)
            self.streams.clear()
        self.server.stop(0).wait(10)

    def restart(self):
        """Gone, and back on the same port with all that it holds."""
        self.stop()
        until(lambda: self.start(self.port), 20, "the port")

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    # ---- events ---------------------------------------------------------------------------------------------

    def _events(self, requests, _context):
        for request in requests:
            kind = request.WhichOneof("kind")
            if kind == "hello":
                yield service_pb2.EventsReply(hello=service_pb2.HelloReply(protocol=1, version=b"stolen"))
            elif kind == "batch":
                yield service_pb2.EventsReply(ack=self._take_batch(request.batch))
            elif kind == "tombstone":
                pass

    def _take_batch(self, signed):
        header, header_hash, entries = read_batch(signed.SerializeToString())
        with self.changed:
            for entry in entries:
                parsed = event_pb2.Entry.FromString(entry)
                if parsed.WhichOneof("kind") == "event":
                    self.events.append(parsed.event)
            self.changed.notify_all()
        return service_pb2.Ack(boot_id=header.boot_id, epoch=header.epoch, lane=header.lane, number=header.number,
                               header_hash=header_hash)

    def order_events(self, action=event_pb2.ACTION_ORDER):
        return [e for e in list(self.events) if e.action == action]

    def alarms(self):
        return self.order_events(event_pb2.ACTION_TAMPER)

    # ---- orders ---------------------------------------------------------------------------------------------

    def _orders(self, requests, context):
        said = queue.Queue()

        def read():
            try:
                for request in requests:
                    kind = request.WhichOneof("kind")
                    with self.changed:
                        if kind == "hello":
                            self.hellos.append(request.hello)
                            self.streams.append(said)
                            said.put(service_pb2.OrdersReply(hello=service_pb2.HelloReply(protocol=1)))
                        elif kind == "step":
                            self.steps.append(request.step)
                        else:
                            self.contradictions.append(request.contradiction)
                        self.changed.notify_all()
            except grpc.RpcError:
                pass
            said.put(None)
        threading.Thread(target=read, daemon=True).start()
        context.add_callback(lambda: said.put(None))
        yield from iter(said.get, None)
        with self.changed:
            if said in self.streams:
                self.streams.remove(said)

    def say(self, **kind):
        """To every host that listens."""
        self.wait(lambda: self.streams, "a stream of orders", 60)
        with self.changed:
            for said in self.streams:
                said.put(service_pb2.OrdersReply(**kind))

    def wait(self, check, what, seconds=30):
        with self.changed:
            assert self.changed.wait_for(check, seconds), \
                f"waited {seconds} s for {what}; steps: {[self.show(s) for s in self.steps]}"
            return check()

    @staticmethod
    def show(step):
        return order_pb2.OrderState.Name(step.state), step.reason.decode()

    def step(self, order_id, state, seconds=60):
        return self.wait(lambda: next((s for s in self.steps if s.order_id == order_id and s.state == state), None),
                         order_pb2.OrderState.Name(state), seconds)

    def states(self, order_id):
        return [s.state for s in self.steps if s.order_id == order_id]

    # ---- uploads --------------------------------------------------------------------------------------------

    def _upload(self, requests, context):
        taken, upload = 0, None
        for request in requests:
            kind = request.WhichOneof("kind")
            if self.refuse_upload:
                context.abort(*self.refuse_upload)
            if kind == "start":
                with self.changed:
                    upload = self.uploads.setdefault(request.start.exhibit_id, Upload(request.start))
                    upload.calls += 1
                    self.changed.notify_all()
                if upload.manifest:
                    yield self._receipt(upload)
                    return
                yield self._durable(upload, taken)
                continue
            taken += 1
            upload.requests += 1
            if self.break_upload_after is not None and taken > self.break_upload_after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut off by the test")
            with self.changed:
                self._take(upload, kind, request)
                self.changed.notify_all()
            if kind == "manifest":
                yield self._receipt(upload)
                return
            if taken % 4 == 0:
                yield self._durable(upload, taken)

    def _take(self, upload, kind, request):
        if kind == "item":
            self.names[(upload.start.exhibit_id, request.item.item)] = request.item.name.decode()
            upload.items.setdefault(request.item.name.decode(), bytearray())
        elif kind == "chunk":
            self._take_chunk(upload, request.chunk)
        elif kind == "end":
            name = self.names[(upload.start.exhibit_id, request.end.item)]
            assert len(upload.items[name]) == request.end.bytes
            assert hashlib.sha256(upload.items[name]).digest() == request.end.sha256
            upload.ended[name] = request.end
        else:
            upload.manifest = request.manifest

    def _take_chunk(self, upload, chunk):
        import zstandard
        data = upload.items[self.names[(upload.start.exhibit_id, chunk.item)]]
        raw = {exhibit_pb2.CODEC_RAW: lambda: chunk.data, exhibit_pb2.CODEC_ZERO: lambda: bytes(chunk.raw_bytes),
               exhibit_pb2.CODEC_ZSTD: lambda: zstandard.ZstdDecompressor().decompress(
                   chunk.data, chunk.raw_bytes)}[chunk.codec]()
        assert len(raw) == chunk.raw_bytes and sha256(raw) == chunk.sha256
        if chunk.offset < len(data):  # said again
            assert data[chunk.offset:chunk.offset + len(raw)] == raw
        else:
            assert chunk.offset == len(data), "a hole"
            data += raw

    def _durable(self, upload, requests):
        numbers = {name: number for (eid, number), name in self.names.items() if eid == upload.start.exhibit_id}
        item = next((numbers[name] for name in upload.items if name not in upload.ended), len(upload.items) + 1)
        name = next((name for name, number in numbers.items() if number == item), None)
        offset = len(upload.items[name]) if name and name in upload.items else 0
        return exhibit_pb2.UploadReply(durable=exhibit_pb2.UploadDurable(item=item, offset=offset,
                                                                         requests=requests))

    @staticmethod
    def _receipt(upload):
        return exhibit_pb2.UploadReply(receipt=exhibit_pb2.Receipt(
            manifest_sha256=sha256(upload.manifest.manifest), ledger_index=7))

    def upload_of(self, order_id, seconds=60):
        """The sealed exhibit of an order."""
        return self.wait(lambda: next((u for u in self.uploads.values()
                                       if u.start.order_id == order_id and u.manifest), None),
                         "a manifest", seconds)
