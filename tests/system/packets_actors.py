# SPDX-License-Identifier: Apache-2.0
"""Processes that use sockets in ways that mislead who attributes packets. Each prints one JSON line for each socket:
its end (protocol, port) and the processes that used it.

packets_actors.py serve|talk WAY ADDRESS [PORT]"""
import array
import json
import os
import socket
import sys
import time

MESSAGES = 5
DGRAM = ("udp",)


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def say(protocol, port, pids, **more):
    print(json.dumps({"protocol": protocol, "port": port, "pids": pids, **more}), flush=True)


def echo(s, times=MESSAGES):
    for _ in range(times):
        data = s.recv(200)
        if not data:
            return
        s.send(data)


def serve_tcp(listener):
    s, _ = listener.accept()
    try:
        echo(s)
        s.recv(1)
    except ConnectionError:  # who went without reading
        pass
    s.close()
    return [os.getpid()]


def in_child(work):
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return child


def serve_fork(listener):
    """The parent accepts, a child talks."""
    s, _ = listener.accept()
    child = in_child(lambda: echo(s))
    os.waitpid(child, 0)
    s.recv(1)
    return [os.getpid(), child]


def serve_prefork(listener):
    """The parent listens, a worker accepts, after data came."""
    def work():
        time.sleep(0.3)
        serve_tcp(listener)
    child = in_child(work)
    os.waitpid(child, 0)
    return [os.getpid(), child]


def serve_pass(listener):
    """The socket goes to another process, which talks."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def work():
        _, rights, _, _ = theirs.recvmsg(1, 64)
        given = socket.socket(fileno=array.array("i", rights[0][2][:4])[0])
        echo(given)
        given.recv(1)
    child = in_child(work)
    s, _ = listener.accept()
    ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [s.fileno()]))])
    s.close()
    os.waitpid(child, 0)
    return [os.getpid(), child]


def serve_many(listener):
    for _ in range(30):
        s, _ = listener.accept()
        s.send(s.recv(100))
        s.close()
    return [os.getpid()]


def serve_udp(s):
    for _ in range(MESSAGES):
        data, peer = s.recvfrom(200)
        s.sendto(data, peer)
    return [os.getpid()]


def serve(way, address):
    s = socket.socket(family(address), socket.SOCK_DGRAM if way in DGRAM else socket.SOCK_STREAM)
    s.bind((address, 0))
    if way not in DGRAM:
        s.listen(64)
    port = s.getsockname()[1]
    print(port, flush=True)
    say("udp" if way in DGRAM else "tcp", port, globals()[f"serve_{way}"](s))


def talk_gone(address, port):
    """It ends with data unsent and the connection open: the kernel goes on for it."""
    s = socket.create_connection((address, port))
    say("tcp", s.getsockname()[1], [os.getpid()])
    s.send(b"last words")
    os._exit(0)


def talk_many(address, port):
    for _ in range(30):
        def work():
            s = socket.create_connection((address, port))
            say("tcp", s.getsockname()[1], [os.getpid()])
            s.send(b"x")
            s.recv(10)
            s.close()
        os.waitpid(in_child(work), 0)


def talk_old(address, port):
    """Connects, waits to be told, talks."""
    s = socket.create_connection((address, port))
    say("tcp", s.getsockname()[1], [os.getpid()])
    sys.stdin.readline()
    for _ in range(MESSAGES):
        s.send(b"old")
        s.recv(200)


def talk(way, address, port):
    if f"talk_{way}" in globals():
        globals()[f"talk_{way}"](address, port)
        return
    if way in DGRAM:
        s = socket.socket(family(address), socket.SOCK_DGRAM)
        s.connect((address, port))
    else:
        s = socket.create_connection((address, port))
    say("udp" if way in DGRAM else "tcp", s.getsockname()[1], [os.getpid()])
    for _ in range(MESSAGES):
        s.send(b"hello")
        s.recv(200)
    s.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], sys.argv[3])
    else:
        talk(sys.argv[2], sys.argv[3], int(sys.argv[4]))
