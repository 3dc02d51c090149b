# SPDX-License-Identifier: Apache-2.0
"""An agent that never gives up: it keeps what is not acknowledged and sends it again after each outage."""
import collections
import threading
import time

from basics import TooLate
from wire import Client, Refused

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
