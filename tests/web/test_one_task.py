"""All requests of a connection are answered by its own task, aiohttp's way from the first unusual one on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from nugetproxy.metrics import Metrics
from nugetproxy.web import lane as lanes
from nugetproxy.web.connection import Connection
from nugetproxy.web.hosts import PublicAddresses
from nugetproxy.web.server import LimitedServer
from nugetproxy.web.whole import Whole
from tests.fakes.wire import Wire

ADDRESSES = PublicAddresses(public_url="", allowed_hosts=(), trusted_proxies=())
GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


class Answering:
    """A handler that remembers by which tasks it was called; ``gate`` holds it up."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[object] | None] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()
        self.fields = {"X-A": "b"}

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.tasks.append(asyncio.current_task())
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.begin(request, ADDRESSES)
        self.reached.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            if not connection.was_given_up():
                raise
            return Whole(503, {}, b"stop", length=4)
        body = await request.read() or b"none"
        return Whole(200, self.fields, body, length=len(body))


@pytest.fixture
def answering() -> Answering:
    return Answering()


@pytest.fixture
async def wire(answering: Answering) -> AsyncIterator[Wire]:
    wire = Wire(server_of(answering), port=1)
    await wire.settle()
    yield wire
    await wire.end()


def server_of(answering: Answering) -> LimitedServer:
    return LimitedServer(
        answering, max_connections=9, max_per_ip=9, header_timeout=99.0, write_timeout=99.0, metrics=Metrics()
    )


def bodies(wire: Wire) -> list[bytes]:
    return [part.partition(b"\r\n\r\n")[2] for part in bytes(wire.written).split(b"HTTP/1.1 ")[1:]]


async def test_requests_of_a_connection_are_answered_by_its_own_task(answering: Answering, wire: Wire) -> None:
    for _ in range(3):
        await wire.feed(GET)
    assert bodies(wire) == [b"none"] * 3
    assert len(set(answering.tasks)) == 1
    assert answering.tasks[0] is wire._connection._task_handler


async def test_several_requests_at_once_are_answered_in_order(answering: Answering, wire: Wire) -> None:
    await wire.feed(GET * 3)
    assert bodies(wire) == [b"none"] * 3
    assert set(answering.tasks) == {wire._connection._task_handler}
    await wire.feed(GET * 100)  # more than are read before they are answered
    assert bodies(wire) == [b"none"] * 103


async def test_a_request_with_a_body_goes_the_other_way_and_so_do_all_behind_it(
    answering: Answering, wire: Wire
) -> None:
    await wire.feed(GET)
    await wire.feed(b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody" + GET)
    await wire.feed(GET)
    assert bodies(wire) == [b"none", b"body", b"none", b"none"]
    own = wire._connection._task_handler
    assert [task is own for task in answering.tasks] == [True, False, False, False]


async def test_what_cannot_be_read_is_refused_behind_what_could(answering: Answering, wire: Wire) -> None:
    answering.gate.clear()
    wire._connection.data_received(GET)
    await answering.reached.wait()
    wire._connection.data_received(b"GET /a HTTP/1.1\r\nHost: h\r\n bad\x00: x\r\n\r\n")
    answering.gate.set()
    await wire.settle()
    assert bodies(wire)[0] == b"none"
    assert b"HTTP/1.1 400 " in wire.written
    assert wire.closed


async def test_another_protocol_is_declined_and_the_connection_goes_on(answering: Answering, wire: Wire) -> None:
    await wire.feed(b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    await wire.feed(GET)
    assert bodies(wire) == [b"none", b"none"]


@pytest.mark.parametrize(
    "request_", [GET.replace(b"h\r\n\r", b"h\r\nConnection: close\r\n\r"), b"GET / HTTP/1.0\r\n\r\n"]
)
async def test_a_client_that_wants_one_answer_is_left_behind_it(
    answering: Answering, wire: Wire, request_: bytes
) -> None:
    await wire.feed(request_)
    assert bodies(wire) == [b"none"]
    assert wire.closed


async def test_an_answer_that_cannot_be_written_ends_the_connection_alone(answering: Answering, wire: Wire) -> None:
    answering.fields = {"X-A": "two\r\nlines"}
    await wire.feed(GET)
    assert bodies(wire) == []
    assert wire.closed


async def test_a_client_that_leaves_meanwhile_ends_the_task(answering: Answering, wire: Wire) -> None:
    answering.gate.clear()
    wire._connection.data_received(GET)
    await answering.reached.wait()
    task = wire._connection._task_handler
    assert task is not None
    wire.close()
    answering.gate.set()
    async with asyncio.timeout(10):
        await asyncio.wait([task])
    assert not wire.written


async def test_a_client_that_leaves_behind_its_request_is_not_answered(answering: Answering, wire: Wire) -> None:
    task = wire._connection._task_handler
    assert task is not None
    wire._connection.data_received(GET)
    wire._connection.connection_lost(None)
    async with asyncio.timeout(10):
        await asyncio.wait([task])
    assert task.exception() is None
    assert not answering.tasks


async def test_an_answer_is_given_up_and_the_task_is_not(answering: Answering, wire: Wire) -> None:
    answering.gate.clear()
    wire._connection.data_received(GET)
    await answering.reached.wait()
    wire._connection.cancel_document()
    await wire.settle()
    assert bodies(wire) == [b"stop"]
    task = wire._connection._task_handler
    assert task is not None
    assert not task.cancelling()
    answering.gate.set()
    await wire.feed(GET)
    assert bodies(wire) == [b"stop", b"none"]


async def test_between_two_requests_there_is_nothing_to_give_up(answering: Answering, wire: Wire) -> None:
    await wire.feed(GET)
    wire._connection.cancel_document()
    await wire.feed(GET)
    assert bodies(wire) == [b"none", b"none"]


async def test_with_another_aiohttp_everything_goes_its_way(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "PRIVATE", lanes.PRIVATE | {"_renamed"})
    with capture_logs() as events:
        server = server_of(answering)
    assert [event["event"] for event in events] == ["lane.closed"]
    wire = Wire(server, port=1)
    await wire.settle()
    await wire.feed(GET)
    assert bodies(wire) == [b"none"]
    assert answering.tasks[0] is not wire._connection._task_handler
    await wire.end()
