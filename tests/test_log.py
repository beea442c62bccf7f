"""The log: no secret, no forged line, no flood, no waiting for whoever reads it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from nugetproxy import log
from nugetproxy.errors import Reason
from nugetproxy.log import redact as redaction
from nugetproxy.log.console import wants_colors
from nugetproxy.log.floods import FloodGate
from nugetproxy.log.writer import LineWriter

ROOT = Path(__file__).parent.parent
CANARY = "canary/7f3a+secret"


@pytest.fixture(autouse=True)
def own_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put structlog, the libraries' loggers, the known secrets back as they were."""
    before = structlog.get_config()
    handlers = list(logging.getLogger().handlers)
    access = logging.getLogger("aiohttp.access").disabled
    monkeypatch.setattr(redaction, "_secrets", set())
    monkeypatch.setattr(redaction, "_secret_pattern", None)
    monkeypatch.setattr(log, "_gate", FloodGate())
    yield
    log.shutdown()
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger("aiohttp.access").disabled = access


def written(write: Callable[[], object], fmt: str = "json", level: str = "info") -> str:
    """What comes out when ``write`` logs."""
    stream = io.StringIO()
    log.setup(level, fmt, stream)
    write()
    log.shutdown()
    return stream.getvalue()


def event_of(**fields: Any) -> dict[str, Any]:
    """One event as it is written."""
    text = written(lambda: structlog.get_logger("some.module").info("thing.done", **fields))
    assert text.count("\n") == 1
    event: dict[str, Any] = json.loads(text)
    return event


def test_an_event_is_one_line_of_json_with_level_and_time() -> None:
    event = event_of(status=200, seconds=0.5, kind=Reason.DNS, nothing=None)
    stamp = event.pop("timestamp")
    assert stamp.endswith("Z") and len(stamp) == len("2026-01-01T00:00:00.000Z")
    assert event == {
        "event": "thing.done",
        "level": "info",
        "status": 200,
        "seconds": 0.5,
        "kind": "dns",
        "nothing": None,
    }


def test_levels_below_the_configured_one_are_not_written() -> None:
    def write() -> None:
        structlog.get_logger().info("a.b")
        structlog.get_logger().warning("c.d")

    assert [json.loads(line)["event"] for line in written(write, level="warning").splitlines()] == ["c.d"]


def test_request_bound_fields_are_in_the_event_and_redacted_too() -> None:
    def write() -> None:
        with structlog.contextvars.bound_contextvars(request="r1", api_key=CANARY):
            structlog.get_logger().info("a.b")

    event = json.loads(written(write))
    assert (event["request"], event["api_key"]) == ("r1", "[hidden]")


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Authorization",
        "x-nuget-apikey",
        "x_nuget_apikey",
        "api_key",
        "password",
        "token",
        "cookie",
        "set-cookie",
        "client_secret",
        "proxy-authorization",
        "credentials",
    ],
)
def test_fields_that_sound_like_a_credential_are_hidden(name: str) -> None:
    assert event_of(**{name: CANARY})[name] == "[hidden]"
    assert event_of(headers={name: CANARY})["headers"] == {name: "[hidden]"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://user:{CANARY}@h.example:8/a?sig={CANARY}#x", "https://h.example:8/a"),
        (f"failed: https://user:{CANARY}@h.example/a b", "failed: https://h.example/a b"),
        ("cannot reach 'https://h.example/a?x=1', giving up", "cannot reach 'https://h.example/a', giving up"),
        ("https://a.example/x?1 and http://b.example/y?2", "https://a.example/x and http://b.example/y"),
        ("/v3/query?q=private&x=1", "/v3/query"),
        (URL("https://user:pw@h.example/a?x=1"), "https://h.example/a"),
        (f"X-NuGet-ApiKey: {CANARY}", "X-NuGet-ApiKey: [hidden]"),
        (f"{{'Authorization': 'Basic {CANARY}', 'Accept': 'x'}}", "{'Authorization': '[hidden]', 'Accept': 'x'}"),
        (f"it said Authorization: Basic {CANARY}", "it said Authorization: [hidden]"),
        (f"it said authorization=bearer {CANARY}!", "it said authorization=[hidden]"),
        ("it asks for credentials, and has none: see a=b", "it asks for credentials, and has none: see a=b"),
        ("upstreams.a.push_credentials: is not set", "upstreams.a.push_credentials: is not set"),
        (f"((b'X-NuGet-ApiKey', b'{CANARY}'),)", "((b'X-NuGet-ApiKey', b'[hidden]'),)"),
        ("a plain sentence: nothing = hidden", "a plain sentence: nothing = hidden"),
        (b"bytes \xff", "bytes \ufffd"),
        (Path("/a/b"), "/a/b"),
    ],
)
def test_texts_lose_credentials_and_queries(text: Any, shown: str) -> None:
    event = event_of(what=text, nested={"list": [text]})
    assert event["what"] == shown
    assert event["nested"]["list"] == [shown]


def test_a_registered_secret_is_replaced_wherever_it_turns_up() -> None:
    log.register_secret(CANARY)
    event = event_of(
        what=f"before {CANARY} after",
        encoded="before canary%2F7f3a%2Bsecret after",
        deep={"a": [{"b": (CANARY,)}]},
        error_text=ValueError(CANARY),
    )
    assert event["what"] == event["encoded"] == "before [hidden] after"
    assert event["deep"] == {"a": [{"b": ["[hidden]"]}]}
    assert CANARY not in json.dumps(event)


def test_a_very_short_secret_does_not_eat_the_log() -> None:
    log.register_secret("a")
    log.register_secret("")
    assert event_of(what="banana")["what"] == "banana"


def test_of_unknown_objects_only_the_class_is_named() -> None:
    class Request:
        def __repr__(self) -> str:
            return CANARY

    event = event_of(request=Request(), many=[Request()])
    assert CANARY not in json.dumps(event)
    assert event["request"].endswith("Request>")


def test_an_exception_shows_class_message_and_place_but_no_values() -> None:
    def fail() -> None:
        local = f"local {CANARY}"
        raise ValueError(f"https://u:{CANARY}@h.example/x?{CANARY} {len(local)}")

    def write() -> None:
        try:
            fail()
        except ValueError:
            structlog.get_logger().exception("thing.failed")

    for fmt in ("json", "console"):
        text = written(write, fmt)
        assert CANARY not in text
        assert "ValueError" in text and "https://h.example/x" in text and "test_log.py" in text
    event = json.loads(written(write))
    assert (event["error"], event["level"]) == ("ValueError", "error")
    assert event["exception"].startswith("Traceback")


def test_exception_info_may_be_an_exception_or_nothing() -> None:
    assert event_of(exc_info=KeyError("x"))["error"] == "KeyError"
    assert "exception" not in event_of(exc_info=True)
    assert "exception" not in event_of(exc_info=None)


@pytest.mark.parametrize("fmt", ["json", "console"])
@pytest.mark.parametrize(
    "hostile",
    ['x\n{"event":"forged"}', "x\r\nforged", "\x1b[31mred", "\u202egnp.exe", "\u2028line", "nul\x00", "\udcff"],
)
def test_a_line_cannot_be_forged(hostile: str, fmt: str) -> None:
    text = written(lambda: structlog.get_logger().info("thing.done", what=hostile), fmt)
    assert text.count("\n") == 1
    assert text[:-1].isprintable() or fmt == "console"
    assert not {"\x1b[31mred", "\u202e", "\u2028", "\x00", "\r"} & {part for part in hostile if part in text}
    if fmt == "json":
        assert set(json.loads(text)) == {"event", "level", "timestamp", "what"}


def test_a_long_text_is_cut() -> None:
    assert len(event_of(what="x" * 100_000)["what"]) < 5000


def test_a_number_beyond_64_bits_does_not_lose_the_event() -> None:
    assert event_of(count=2**70)["count"] == str(2**70)


def test_console_lines_are_for_people() -> None:
    text = written(lambda: structlog.get_logger().info("thing.done", status=200), "console")
    assert "thing.done" in text and "status=200" in text and "{" not in text


def test_a_request_is_a_short_line_on_a_console() -> None:
    fields = {"method": "GET", "path": "/v3/index.json", "status": 200, "kind": "index", "outcome": "hit", "bytes": 9}
    text = written(lambda: log.emit("request", {**fields, "ms": 5.6, "client": "127.0.0.1"}), "console")
    assert re.fullmatch(r"\d\d:\d\d:\d\d GET /v3/index\.json 200 hit 6 ms\n", text)
    text = written(lambda: log.emit("request", {**fields, "ms": 5.6, "reason": "refused"}), "console")
    assert text.endswith("6 ms reason=refused\n")


def test_numbers_are_rounded_to_what_they_say() -> None:
    assert event_of(seconds=4.999991)["seconds"] == 5.0
    assert event_of(seconds=0.0123456)["seconds"] == 0.012


@pytest.mark.parametrize(
    ("environ", "colors"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colors_are_for_terminals_that_want_them(environ: dict[str, str], colors: bool) -> None:
    assert wants_colors(environ) is colors


ACCESS = {
    "event": "request.done",
    "method": "GET",
    "path": "/v3/content/newtonsoft.json/13.0.3/newtonsoft.json.13.0.3.nupkg",
    "status": 200,
    "seconds": 0.001,
    "peer": "127.0.0.1",
    "agent": "NuGet Command Line/6.11.0 (Microsoft Windows NT 10.0)",
}


def test_an_ordinary_access_event_takes_the_cheap_way() -> None:
    log.register_secret(CANARY)
    assert redaction._is_harmless(dict(ACCESS))


@given(
    st.dictionaries(
        st.sampled_from(["path", "agent", "token", "Cookie", "what"]),
        st.one_of(st.text(), st.integers(), st.sampled_from([CANARY, "https://u:p@h/?q", "/a?b", "token: x", "a=b"])),
    )
)
def test_the_cheap_way_never_lets_through_what_the_careful_way_would_change(fields: dict[str, Any]) -> None:
    log.register_secret(CANARY)
    careful = {
        name: redaction.HIDDEN if redaction.is_sensitive(name) else redaction._safe(value, 0)
        for name, value in fields.items()
    }
    assert redaction.redact(None, "info", dict(fields)) == careful


# --- floods ----------------------------------------------------------------------------------------------------------


def test_a_flood_is_cut_to_a_few_events_per_span_and_the_rest_is_counted() -> None:
    now = 0.0
    gate = FloodGate(burst=2, every=10.0, monotonic=lambda: now)
    assert [gate.admit("a") for _ in range(5)] == [0, 0, None, None, None]
    assert gate.admit("b") == 0
    now = 10.0
    assert [gate.admit("a") for _ in range(3)] == [3, 0, None]


def test_a_flood_of_keys_does_not_grow_the_memory() -> None:
    gate = FloodGate(keys=10, monotonic=lambda: 0.0)
    for number in range(1000):
        gate.admit(str(number))
    assert len(gate._windows) == 10


def test_rate_limited_events_tell_how_many_were_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(log, "_gate", FloodGate(burst=1, every=10.0, monotonic=lambda: now[0]))

    def write() -> None:
        assert [log.rate_limited("upstream.failed", "a", why="x") for _ in range(4)] == [True, False, False, False]
        now[0] = 11.0
        assert log.rate_limited("upstream.failed", "a")

    events = [json.loads(line) for line in written(write).splitlines()]
    assert [event.get("held_back") for event in events] == [None, 3]
    assert (events[0]["level"], events[0]["why"]) == ("warning", "x")


def test_a_thousand_loop_failures_are_a_handful_of_lines() -> None:
    async def fail() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(1000):
            log.loop_failed(loop, {"message": "socket.accept() out of system resource", "exception": OSError(24, "x")})

    lines = written(lambda: asyncio.run(fail())).splitlines()
    assert 1 <= len(lines) <= 5
    event = json.loads(lines[0])
    assert (event["event"], event["level"], event["error"]) == ("loop.failed", "error", "OSError")


# --- libraries -------------------------------------------------------------------------------------------------------


def test_what_libraries_log_goes_through_the_same_redaction() -> None:
    def write() -> None:
        logging.getLogger("some.library").warning("at %s", f"https://u:{CANARY}@h.example/?{CANARY}")
        logging.getLogger("some.library").info("not this")
        ours = next(handler for handler in logging.getLogger().handlers if isinstance(handler, log._Libraries))
        ours.handle(logging.LogRecord("some.library", logging.ERROR, "x.py", 1, "does not fit %d", ("x",), None))

    events = [json.loads(line) for line in written(write).splitlines()]
    assert [event["message"] for event in events] == ["at https://h.example/", "does not fit %d"]
    assert events[0]["library"] == "some.library"
    assert [event["level"] for event in events] == ["warning", "error"]


def test_malformed_requests_are_a_few_lines_without_tracebacks() -> None:
    from aiohttp.http_exceptions import BadStatusLine

    def write() -> None:
        for _ in range(1000):
            try:
                raise BadStatusLine("GARBAGE")
            except BadStatusLine as error:
                logging.getLogger("aiohttp.server").exception("Error handling request", exc_info=error)
        logging.getLogger("aiohttp.access").info("GET / 200")
        logging.getLogger("aiohttp.access").error("GET / 200")

    lines = written(write).splitlines()
    assert 1 <= len(lines) <= 5
    assert all("Traceback" not in line for line in lines)


def test_setting_up_twice_does_not_double_the_lines() -> None:
    log.setup("info", "json", io.StringIO())
    assert written(lambda: logging.getLogger("x").warning("once")).count("once") == 1


# --- the writer ------------------------------------------------------------------------------------------------------


def told(count: int) -> bytes:
    return f"dropped {count}\n".encode()


def said_dropped(seen: bytes) -> int:
    return sum(map(int, re.findall(rb"dropped (\d+)\n", seen)))


def test_an_unread_pipe_holds_up_nobody_and_what_was_dropped_is_told() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as read_end, os.fdopen(writer, "wb", buffering=0) as write_end:
        lines = LineWriter(write_end, told, limit=100)
        for _ in range(5000):  # 64 KiB fit into the pipe, 64 KiB are in the thread's hands, 100 lines wait
            lines.write(b"x" * 999 + b"\n")
        assert lines.dropped >= 5000 - 100 - 200
        seen = b""
        while seen.count(b"x\n") + said_dropped(seen) < 5000:  # every line arrives, or is told to be missing
            seen += os.read(read_end.fileno(), 65536)
        lines.close(timeout=10)
    assert said_dropped(seen) == lines.dropped
    assert seen.count(b"x\n") == 5000 - lines.dropped


def test_closing_does_not_wait_for_a_blocked_pipe() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"), os.fdopen(writer, "wb", buffering=0) as write_end:
        lines = LineWriter(write_end, told)
        for _ in range(1000):
            lines.write(b"x" * 999 + b"\n")
        lines.close(timeout=0.05)
        assert lines._thread.is_alive()
        os.set_blocking(reader, False)
        os.read(reader, 1 << 20)
        while lines._thread.is_alive():
            lines._thread.join(0.01)
            try:
                os.read(reader, 1 << 20)
            except BlockingIOError:
                continue


def test_a_closed_pipe_is_counted_not_raised() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as write_end:
        lines = LineWriter(write_end, told)
        lines.write(b"one\n")
        lines.close(timeout=10)
    assert lines.dropped == 1


def test_a_missing_or_closed_stream_is_counted_not_raised() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        lines = LineWriter(stream, told)
        lines.write(b"one\n")
        lines.close(timeout=10)
        assert lines.dropped == 1


def test_a_descriptor_that_somebody_made_non_blocking_still_gets_every_line() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    seen: list[bytes] = []
    with os.fdopen(reader, "rb", buffering=0) as read_end, os.fdopen(writer, "wb", buffering=0) as write_end:
        collect = threading.Thread(target=lambda: seen.extend(iter(lambda: read_end.read(4096), b"")))
        lines = LineWriter(write_end, told)
        for number in range(2000):
            lines.write(b"%0999d\n" % number)
        collect.start()
        lines.close(timeout=10)
        write_end.close()
        collect.join(10)
    assert b"".join(seen) == b"".join(b"%0999d\n" % number for number in range(2000))
    assert lines.dropped == 0


def test_lines_keep_their_order_and_none_is_lost_at_the_end() -> None:
    stream = io.BytesIO()
    lines = LineWriter(stream, told)
    for number in range(9999):
        lines.write(b"%d\n" % number)
    lines.close(timeout=10)
    assert stream.getvalue() == b"".join(b"%d\n" % number for number in range(9999))


def test_the_log_says_itself_that_it_dropped_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.StringIO):
        broken = True

        def write(self, text: str) -> int:
            if self.broken:
                raise OSError(28, "No space left on device")
            return super().write(text)

    stream = Failing()
    log.setup("info", "json", stream)
    structlog.get_logger().info("lost.one")
    for _ in range(1000):
        if log.dropped():
            break
        threading.Event().wait(0.01)
    stream.broken = False
    structlog.get_logger().info("kept.one")
    log.shutdown(timeout=10)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["kept.one", "log.dropped"]
    assert events[1]["count"] == 1


def test_a_process_whose_stdout_is_a_full_pipe_still_ends() -> None:
    import subprocess

    code = (
        "import structlog\nfrom nugetproxy import log\nlog.setup('info', 'json')\n"
        "for _ in range(3000): structlog.get_logger().info('a.b', what='x' * 200)\nlog.shutdown(0.05)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.wait(timeout=30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
