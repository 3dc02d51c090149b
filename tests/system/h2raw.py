# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 by hand (RFC 9113, RFC 7541), for what no decent library would send."""
import socket
import ssl
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_HEADERS, CANCEL = 4, 8


def h2_frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header(name, value):
    """A literal without indexing, without Huffman coding; names and values below 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def call_headers(path):
    rows = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", path), (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"), (b"te", b"trailers")]
    return b"".join(header(name, value) for name, value in rows)


def tls_context(identity, order_ca):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(order_ca)
    if identity:
        context.load_cert_chain(identity.cert, identity.key)
    context.set_alpn_protocols(["h2"])
    return context


class Connection:
    """One TLS connection on which HTTP/2 has begun."""

    def __init__(self, port, identity, order_ca, seconds=20):
        plain = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self.socket = tls_context(identity, order_ca).wrap_socket(plain, server_hostname="localhost")
        self.send(PREFACE + h2_frame(SETTINGS, 0, 0))

    def send(self, data):
        self.socket.sendall(data)

    def open_call(self, stream, path=b"/exhibit.v1.Agent/Events"):
        self.send(h2_frame(HEADERS, END_HEADERS, stream, call_headers(path)))

    def send_data(self, stream, data):
        self.send(h2_frame(DATA, 0, stream, data))

    def close(self):
        self.socket.close()
