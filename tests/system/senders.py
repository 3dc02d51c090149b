# SPDX-License-Identifier: Apache-2.0
"""Agents that never give up: they keep what is not acknowledged and send it again after each outage."""
import asyncio
import collections
import random
import threading
import time

import grpc
import grpc.aio

import service_pb2
from wire import CHANNEL_OPTIONS, CRITICAL, EVENTS, Client, Refused, credentials
from basics import TooLate

WINDOW = 16


class Sender(threading.Thread):
    """One host in a thread: seals batches of execs MARKER-0, MARKER-1, ... until told to stop sealing, and
    ends when all of them are acknowledged."""

    def __init__(self, host, address, order_ca, marker, per_batch=20, pause=0.01):
        super().__init__(daemon=True)
        self.host, self.address, self.order_ca, self.marker = host, address, order_ca, marker
        self.per_batch, self.pause = per_batch, pause
        self.unacknowledged = collections.deque()
        self.sealed_events = self.acknowledged_events = self.connections = 0
        self.sealing = True
        self.conflicts = []

    def seal(self):
        batch = self.host.execs(self.per_batch, self.marker, first=self.sealed_events)
        self.sealed_events += self.per_batch
        self.unacknowledged.append(batch)
        return batch

    def take_acks(self, client):
        with client.changed:
            acks, client.acks = client.acks, []
        for ack in acks:
            while self.unacknowledged and self.unacknowledged[0].parsed().number <= ack.number:
                batch = self.unacknowledged.popleft()
                self.acknowledged_events += self.per_batch
                if batch.parsed().number == ack.number and batch.hash != ack.header_hash:
                    self.conflicts.append(ack.number)

    def talk(self, client):
        for batch in list(self.unacknowledged):
            client.send(batch)
        while client.ended is None and (self.sealing or self.unacknowledged):
            if self.sealing and len(self.unacknowledged) < WINDOW:
                client.send(self.seal())
            time.sleep(self.pause)
            self.take_acks(client)
        self.take_acks(client)

    def run(self):
        while self.sealing or self.unacknowledged:
            client = None
            try:
                client = Client(self.host, self.address, self.order_ca)
                self.connections += 1
                self.talk(client)
            except (Refused, TooLate):
                time.sleep(0.2)
            finally:
                if client:
                    client.close()

    def finish(self, seconds=60):
        """Seal no more; all must become acknowledged. How many events there were."""
        self.sealing = False
        self.join(seconds)
        assert not self.is_alive(), f"{len(self.unacknowledged)} batches of {self.marker} were never acknowledged"
        assert self.conflicts == []
        assert self.acknowledged_events == self.sealed_events
        return self.sealed_events


class Swarm:
    """Many agents in one thread with an event loop; each one connection. They say hello, then send a batch
    each `every` seconds while `sealing` (0: none, only that they are alive), and come back when they are cut off."""

    def __init__(self, hosts, address, order_ca, every=0.0, events=10):
        self.hosts, self.address, self.order_ca = hosts, address, order_ca
        self.every, self.events = every, events
        self.greeted = set()  # connected now
        self.acknowledged = collections.Counter()  # events, per host id
        self.sealed = collections.Counter()
        self.handshakes = 0
        self.errors = collections.Counter()
        self.sealing, self.stopping = True, False
        self.thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(120)

    async def _main(self):
        tasks = [asyncio.create_task(self._agent(host, i)) for i, host in enumerate(self.hosts)]
        while not self.stopping:
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _agent(self, host, i):
        identity = host.identity
        pending = collections.deque()
        while True:
            channel = grpc.aio.secure_channel(
                self.address, credentials(identity.cert, identity.key, self.order_ca),
                CHANNEL_OPTIONS + [("exhibit.test", i)])
            try:
                await self._stream(host, channel, pending)
            except grpc.aio.AioRpcError as e:
                self.errors[e.code().name] += 1
            finally:
                self.greeted.discard(host.identity.host_id)
                await channel.close()
            await asyncio.sleep(random.uniform(0.1, 2))

    async def _stream(self, host, channel, pending):
        call = channel.stream_stream(EVENTS, request_serializer=service_pb2.EventsRequest.SerializeToString,
                                     response_deserializer=service_pb2.EventsReply.FromString)(
                                         wait_for_ready=True)
        await call.write(host.hello())
        reply = await call.read()
        if reply is grpc.aio.EOF or reply.WhichOneof("kind") != "hello":
            raise_for = await call.code()
            self.errors[raise_for.name] += 1
            return
        self.handshakes += 1
        self.greeted.add(host.identity.host_id)
        sending = asyncio.create_task(self._send(host, call, pending))
        try:
            while True:
                reply = await call.read()
                if reply is grpc.aio.EOF:
                    self.errors[(await call.code()).name] += 1
                    return
                if reply.WhichOneof("kind") == "goodbye":
                    return
                if reply.WhichOneof("kind") == "ack":
                    while pending and pending[0].parsed().number <= reply.ack.number:
                        pending.popleft()
                        self.acknowledged[host.identity.host_id] += self.events
        finally:
            sending.cancel()
            call.cancel()

    async def _send(self, host, call, pending):
        for batch in list(pending):
            await call.write(batch.request())
        while True:
            if self.every and self.sealing and len(pending) < WINDOW:
                name = host.identity.host_id
                batch = host.execs(self.events, b"swarm", first=self.sealed[name])
                self.sealed[name] += self.events
                pending.append(batch)
                await call.write(batch.request())
            elif not (self.every and self.sealing):
                await call.write(host.idle(CRITICAL))
            await asyncio.sleep(self.every or 5)
