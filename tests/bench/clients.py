"""Clients are raw sockets that read as fast as one process can, without looking at what they get.

``python -m tests.bench.clients`` is that process; it prints what it saw as JSON. ``load`` starts it.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import re
import selectors
import socket
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from multiprocessing.connection import Connection

BUFFER = bytearray(2**20)
FORK = multiprocessing.get_context("fork")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class BadAnswer(RuntimeError):
    """What came is not what was asked for."""


class Client:
    """One connection; ``asked``, ``first`` and ``done`` are times of its latest request."""

    def __init__(self, port: int, path: str, *, method: str = "GET", headers: Sequence[str] = ()) -> None:
        self._method = method
        lines = [f"Host: 127.0.0.1:{port}", "Accept-Encoding: gzip", *headers]
        self._rest = " HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n"
        self._path = path
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._head = b""
        self.size = -1
        self.received = 0
        self.asked = self.first = self.done = 0.0

    def fileno(self) -> int:
        """For the selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, path: str = "") -> None:
        """Send the request (again), or one for another path."""
        self._head, self.size, self.received = b"", -1, 0
        self.asked = time.monotonic()
        self._socket.sendall(f"{self._method} {path or self._path}{self._rest}".encode())

    def read(self) -> bool:
        """Take what is there; whether the answer is whole now."""
        got = self._socket.recv_into(BUFFER)
        if got == 0:
            raise BadAnswer(f"the server hung up after {self.received} of {self.size} bytes")
        if self.size < 0:
            got = self._read_head(got)
        if got and not self.received:
            self.first = time.monotonic()
        self.received += got
        if self.received == self.size:
            self.done = time.monotonic()
        return self.received == self.size

    def _read_head(self, got: int) -> int:
        """How many of the ``got`` bytes are body."""
        self._head += BUFFER[:got]
        head, blank, body = self._head.partition(b"\r\n\r\n")
        if not blank:
            return 0
        length = _LENGTH.search(head + b"\r\n")
        unchanged = head.startswith(b"HTTP/1.1 304 ")
        if not unchanged and (not head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 206 ")) or length is None):
            raise BadAnswer(head.decode(errors="replace")[:500])
        self.size = 0 if unchanged or self._method == "HEAD" or length is None else int(length[1])
        return len(body)


def repeat(arguments: Namespace) -> dict[str, object]:
    """Every client asks again and again: so many times each, or until the time is over."""
    deadline = time.monotonic() + arguments.seconds
    clients = [_client(arguments) for _ in range(arguments.clients)]
    left = dict.fromkeys(clients, arguments.gets)
    requests = size = 0
    began = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ, client)
            client.ask()
        while selector.get_map() and time.monotonic() < deadline:
            for key, _ in selector.select(1.0):
                client = key.data
                if not client.read():
                    continue
                requests, size, left[client] = requests + 1, size + client.size, left[client] - 1
                if left[client] == 0:
                    selector.unregister(client)
                else:
                    client.ask()
        seconds = time.monotonic() - began
        if arguments.gets > 0 and selector.get_map():
            raise BadAnswer(f"not done after {seconds:.0f} s")
    return {"requests": requests, "bytes": size, "seconds": seconds}


def sequence(arguments: Namespace) -> dict[str, object]:
    """Each path once: ``{}`` in it is a number from ``first`` on, ``gets`` numbers altogether."""
    numbers = iter(range(arguments.first, arguments.first + arguments.gets))
    size = 0
    waits: list[float] = []
    began = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for number in itertools.islice(numbers, arguments.clients):
            client = _client(arguments)
            selector.register(client, selectors.EVENT_READ, client)
            client.ask(arguments.path.format(number))
        while selector.get_map():
            if time.monotonic() - began > arguments.seconds:
                raise BadAnswer(f"{len(waits)} of {arguments.gets} after {arguments.seconds:.0f} s")
            for key, _ in selector.select(1.0):
                client = key.data
                if not client.read():
                    continue
                size += client.size
                waits.append(client.done - client.asked)
                following = next(numbers, None)
                if following is None:
                    selector.unregister(client)
                else:
                    client.ask(arguments.path.format(following))
    return {"requests": len(waits), "bytes": size, "seconds": time.monotonic() - began}


def _client(arguments: Namespace) -> Client:
    return Client(arguments.port, arguments.path, method=arguments.method, headers=arguments.header)


def crowd(arguments: Namespace) -> dict[str, object]:
    """All clients ask at once, late ones when one of them has half; times are in seconds.

    The late ones are a process of their own: here they would wait for their turn among the others.
    """
    deadline = time.monotonic() + arguments.seconds
    here, there = FORK.Pipe()
    late = FORK.Process(target=_come_late, args=(there, arguments))
    late.start()
    clients = [Client(arguments.port, arguments.path) for _ in range(arguments.clients)]
    half = False
    try:
        began = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for client in clients:
                selector.register(client, selectors.EVENT_READ, client)
                client.ask()
            while selector.get_map():
                if time.monotonic() > deadline:
                    raise BadAnswer(f"not done after {arguments.seconds:.0f} s")
                for key, _ in selector.select(1.0):
                    client = key.data
                    if client.read():
                        selector.unregister(client)
                    if not half and client.received * 2 >= client.size > 0:
                        half = True
                        here.send("now")
        if not here.poll(arguments.seconds):
            raise BadAnswer("the late clients did not finish")
        return {
            "first": sorted(client.first - client.asked for client in clients),
            "late": here.recv(),
            "seconds": max(client.done for client in clients) - began,
        }
    finally:
        late.kill()
        late.join()


def _come_late(pipe: Connection, arguments: Namespace) -> None:
    """Wait for the word, then ask one after the other, each as soon as the one before it has its first bytes."""
    clients = [Client(arguments.port, arguments.path) for _ in range(arguments.late)]
    if not pipe.poll(arguments.seconds):
        return
    for client in clients:
        client.ask()
        while not client.first:
            client.read()
    pipe.send(sorted(client.first - client.asked for client in clients))
    for client in clients:
        while client.received < client.size:
            client.read()


def main() -> None:
    """Do what the arguments say."""
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=tuple(WAYS))
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--gets", type=int, default=0, help="by each client; 0: until the time is over")
    parser.add_argument("--late", type=int, default=0, help="further clients that come at half of the download")
    parser.add_argument("--seconds", type=float, required=True, help="at most")
    parser.add_argument("--first", type=int, default=0, help="the first number of a sequence")
    parser.add_argument("--method", default="GET")
    parser.add_argument("--header", action="append", default=[])
    arguments = parser.parse_args()
    print(json.dumps(WAYS[arguments.what](arguments)))


WAYS = {"repeat": repeat, "sequence": sequence, "crowd": crowd}


if __name__ == "__main__":
    main()
