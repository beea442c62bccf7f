"""Engines are real ones on loopback, each with free ports and a folder of its own; they stop by their ids."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.fakes.process import until_this_one_ends

HOST = "127.0.0.1"
READY_SECONDS = 60.0
GRPC = 10_000
"""SeaweedFS listens on each of its ports, and on the one so much above."""


def found(name: str) -> str | None:
    """The path of a program: beside this Python, else on the search path."""
    own = Path(sys.executable).parent / name
    return str(own) if own.exists() else shutil.which(name)


def free_port(*, also: int = 0) -> int:
    """A free port; with ``also``, the one so much above is free as well.

    Both lie below what the system gives to connections and to port 0 (32768 and up, by default): an engine binds its
    ports seconds later, while other tests run.
    """
    while True:
        port = random.randrange(12_000, 22_700)  # not for secrets
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind((HOST, port))
            second.bind((HOST, port + also if also else 0))
            return port


class Engine:
    """A process that listens on ``port``; it can be made to hang."""

    program = ""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.program}-"))
        self.port = free_port(also=GRPC)
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def is_there(cls) -> bool:
        """Whether its program is installed."""
        return found(cls.program) is not None

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        try:
            socket.create_connection((HOST, self.port), 0.3).close()
        except OSError:
            return False
        return True

    def start(self) -> Self:
        """Start it on the same port, with what it had stored, and wait until it answers."""
        program = found(self.program)
        assert program is not None
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                until_this_one_ends(program, *self.command()),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                start_new_session=True,
            )
        until = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            assert self._runs() and time.monotonic() < until, self._log()
            time.sleep(0.05)
        return self

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _log(self) -> str:
        """The end of what it has said."""
        return (self.folder / "log").read_text()[-2000:]

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)  # a session of its own

    def hang(self) -> None:
        """Its sockets stay open, nothing is answered."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """After it has hung."""
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9; ``start`` begins again."""
        self._send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)

    def end(self) -> None:
        """End it, and remove what it had."""
        self.go_on()
        self._send(signal.SIGTERM)
        if self._process is not None:
            try:
                self._process.wait(8)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis(Engine):
    program = "redis-server"

    def command(self) -> list[str]:
        options = {"bind": HOST, "port": self.port, "save": "", "appendonly": "no", "dir": self.folder}
        options |= {"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}
        return [part for name, value in options.items() for part in (f"--{name}", str(value))]

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), 0.3) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"


class S3(Engine):
    """Something that speaks S3."""

    key, secret, region, bucket = "testkey", "testsecret123", "us-east-1", "packages"

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    def make_bucket(self) -> Self:
        """Make ours; a store that has just started needs a moment."""
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                client.create_bucket(Bucket=self.bucket)
            except (BotoCoreError, ClientError):
                assert self._runs() and time.monotonic() < until, self._log()
                time.sleep(0.2)
            else:
                return self


class Moto(S3):
    """A fake in Python; right about conditions."""

    program = "moto_server"

    def command(self) -> list[str]:
        return ["-H", HOST, "-p", str(self.port)]


class SeaweedFs(S3):
    """A real distributed store in one process; anybody may read, as a public mirror allows."""

    program = "weed"
    reader = "readerkey"
    """The key, with the same secret, of somebody who may not write."""

    def __init__(self) -> None:
        super().__init__()
        self._ports = [free_port(also=GRPC) for _ in range(3)]

    def command(self) -> list[str]:
        ours = {"accessKey": self.key, "secretKey": self.secret}
        identities = [
            {"name": "tests", "credentials": [ours], "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
            {"name": "reader", "credentials": [{**ours, "accessKey": self.reader}], "actions": ["Read", "List"]},
            {"name": "anonymous", "actions": [f"Read:{self.bucket}"]},
        ]
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        master, volume, filer = self._ports
        return [
            "-logtostderr=true",
            "server",
            f"-dir={self.folder}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            f"-master.port={master}",
            f"-volume.port={volume}",
            "-filer",
            f"-filer.port={filer}",
            "-s3",
            f"-s3.port={self.port}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={self.folder / 's3.json'}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=256",
            "-volume.max=40",
            "-master.electionTimeout=1s",
        ]


@contextlib.contextmanager
def running(engine: Engine) -> Iterator[Engine]:
    """One that ends with the block."""
    try:
        yield engine.start()
    finally:
        engine.end()
