# SPDX-License-Identifier: Apache-2.0
"""A network that can be cut: a TCP relay in the test's own process."""
import selectors
import socket
import threading


class Proxy:
    """Relays connections to port. cut(): bytes stop in both directions and new connections hang, as when a
    cable is pulled. mend(): they flow again. reset(): all connections break."""

    def __init__(self, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.flowing = threading.Event()
        self.flowing.set()
        self.closing = False
        self.pairs = {}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def cut(self):
        self.flowing.clear()

    def mend(self):
        self.flowing.set()

    def reset(self):
        for end in list(self.pairs):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.closing = True
        self.flowing.set()
        self.thread.join(10)

    def _accept(self, selector):
        client, _ = self.listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
        except OSError:
            client.close()
            return
        for one, other in ((client, server), (server, client)):
            self.pairs[one] = other
            selector.register(one, selectors.EVENT_READ)

    def _relay(self, selector, end):
        other = self.pairs[end]
        try:
            data = end.recv(65536)
            if data:
                other.settimeout(10)
                other.sendall(data)
                return
        except OSError:
            pass
        for gone in (end, other):
            selector.unregister(gone)
            del self.pairs[gone]
            gone.close()

    def _run(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self.listener, selectors.EVENT_READ)
            while not self.closing:
                self.flowing.wait()
                for key, _ in selector.select(0.2):
                    if not self.flowing.is_set():
                        break
                    if key.fileobj is self.listener:
                        self._accept(selector)
                    elif key.fileobj in self.pairs:
                        self._relay(selector, key.fileobj)
        for end in list(self.pairs):
            end.close()
        self.listener.close()
