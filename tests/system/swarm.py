# SPDX-License-Identifier: Apache-2.0
"""Many agents at once. They live in a process of their own: an interpreter that has had thousands of gRPC
channels takes minutes to end, so that one does not end in good order."""
import asyncio
import collections
import json
import os
import pickle
import random
import subprocess
import sys
import threading

import basics  # noqa: F401  (first: it finds the generated modules)
import grpc
import grpc.aio

import service_pb2
from wire import CHANNEL_OPTIONS, CRITICAL, EVENTS, Host, credentials

WINDOW = 16


class Swarm:
    """Each agent is one connection. They say hello, then send a batch each `every` seconds until rest()
    (0: none, only that they are alive), and come back when they are cut off. What this says of them is up
    to a moment old; each of its parts is of the same moment."""

    def __init__(self, identities, address, order_ca, every=0.0, events=10):
        self.what = pickle.dumps((identities, address, order_ca, every, events))
        self.state = {"greeted": 0, "sealing": True, "acknowledged": {}, "sealed": {}, "errors": {}}

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(self.what)
        self.process.stdin.flush()
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        return self

    def __exit__(self, *_):
        try:
            self.process.stdin.close()
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait(10)
        self.listener.join(10)
        self.process.stdout.close()

    def _listen(self):
        for line in self.process.stdout:
            self.state = json.loads(line)

    @property
    def greeted(self):
        """How many are connected now."""
        assert self.process.poll() is None, "the swarm died"
        return self.state["greeted"]

    @property
    def errors(self):
        return self.state["errors"]

    def rest(self):
        """Seal no more."""
        self.process.stdin.write(b"rest\n")
        self.process.stdin.flush()

    def delivered(self):
        """Events sealed per host id, once all of them are acknowledged after rest(); else None."""
        state = self.state
        return state["sealed"] if not state["sealing"] and state["acknowledged"] == state["sealed"] else None


class Agents:
    """The swarm's other side, in its process."""

    def __init__(self, identities, address, order_ca, every, events):
        self.hosts, self.address, self.order_ca = [Host(i) for i in identities], address, order_ca
        self.every, self.events = every, events
        self.greeted = set()  # connected now
        self.acknowledged = collections.Counter()  # events, per host id
        self.sealed = collections.Counter()
        self.errors = collections.Counter()
        self.sealing = True

    def obey(self, commands):
        for _ in commands:
            self.sealing = False
        os._exit(0)

    async def main(self):
        tasks = [asyncio.create_task(self._agent(host, i)) for i, host in enumerate(self.hosts)]
        while True:
            await asyncio.sleep(0.1)
            print(json.dumps({"greeted": len(self.greeted), "sealing": self.sealing, "errors": self.errors,
                              "acknowledged": self.acknowledged, "sealed": self.sealed}), flush=True)
            for task in tasks:
                if task.done():
                    task.result()

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


if __name__ == "__main__":
    agents = Agents(*pickle.load(sys.stdin.buffer))
    threading.Thread(target=agents.obey, args=(sys.stdin.buffer,), daemon=True).start()
    asyncio.run(agents.main())
