"""Fields are the types of configuration values, each read from the text that people write."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from nugetproxy.admin.tokens import NAME as TOKEN_NAME
from nugetproxy.caching.policy import FOREVER
from nugetproxy.config.places import (
    Address,
    Network,
    parse_address,
    parse_egress,
    parse_host,
    parse_name,
    parse_network,
    parse_no_proxy,
    parse_origin,
    parse_path,
    parse_public_url,
    parse_site_url,
    parse_url,
)
from nugetproxy.config.secrets import Secret
from nugetproxy.config.tables import Parsed
from nugetproxy.config.units import MinFree, parse_min_free, parse_size, parse_span


def _text(parse: Callable[[str], Any], ready: type | None = None, example: str = "") -> Parsed:
    """Reads text with ``parse``; values that are of type ``ready`` already pass unchanged."""

    def read(value: Any) -> Any:
        if isinstance(value, str):
            return parse(value)
        if ready is not None and type(value) is ready:
            return value
        raise ValueError(f"must be text in quotes{example}")

    return Parsed(read)


def _texts(parse: Callable[[str], Any]) -> Parsed:
    """Reads a list of texts, or one text with commas as environment variables need it."""

    def read(value: Any) -> Any:
        items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise ValueError('must be a list of texts, such as ["one", "two"]')  # noqa: TRY004 - what is told to an operator
        return tuple(parse(item) if isinstance(item, str) else item for item in items if item != "")

    return Parsed(read)


def _finite(text: str) -> float:
    if (seconds := parse_span(text)) == FOREVER:
        raise ValueError('"forever" is not possible here; write a span of time, such as "30s"')
    return seconds


def _wait(text: str) -> float:
    if (seconds := _finite(text)) == 0:
        raise ValueError('must be longer than zero, such as "30s"')
    return seconds


def _size(text: str) -> int:
    if (size := parse_size(text)) == 0:
        raise ValueError('must be more than zero, such as "50 GiB"')
    return size


def _rate(text: str) -> int:
    return 0 if text.strip().lower() == "off" else parse_size(text)


def _span_or_off(text: str) -> float:
    return 0.0 if text.strip().lower() == "off" else _finite(text)


def _secret(text: str) -> Secret | None:
    return Secret.parse(text) if text else None


def _proxy(text: str) -> str | Secret:
    if text.startswith(("env:", "file:")):
        return Secret.parse(text)
    if not text:
        return ""
    url, user, _ = parse_egress(text)
    if user:
        raise ValueError('a URL must not hold credentials; put it into a variable and write "env:NAME"')
    return url


def _admin_listen(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value:
        return None
    return Path(parse_path(value)) if value.startswith("/") else parse_address(value)


def _or_auto(value: Any) -> Any:
    return None if value == "auto" else value


def _expiry(value: Any) -> Any:
    if value == "":
        return None
    try:
        if not isinstance(value, date):
            value = datetime.fromisoformat(value)
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        raise ValueError('is not a date; write it as "2031-12-31", or "" for none') from None


def _token_name(text: str) -> str:
    if TOKEN_NAME.fullmatch(text) is None:
        raise ValueError("a token's name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit")
    return text


def _optional_name(text: str) -> str:
    return parse_name(text) if text else ""


def _proxy_or_none(text: str) -> str | Secret:
    return text if text == "none" else _proxy(text)


_SPAN_EXAMPLE = ' with a unit, such as "30s"'
AnySpan: TypeAlias = Annotated[float, _text(parse_span, example=_SPAN_EXAMPLE)]
"""Seconds, zero and FOREVER included."""
Span: TypeAlias = Annotated[float, _text(_finite, example=_SPAN_EXAMPLE)]
"""Seconds, zero included."""
SpanOrOff: TypeAlias = Annotated[float, _text(_span_or_off, example=' with a unit, such as "30d", or "off"')]
"""Seconds; zero for "off"."""
Wait: TypeAlias = Annotated[float, _text(_wait, example=_SPAN_EXAMPLE)]
"""Seconds, more than zero."""
Size: TypeAlias = Annotated[int, _text(_size, example=' with a unit, such as "50 GiB"')]
"""Bytes, more than zero."""
Rate: TypeAlias = Annotated[int, _text(_rate, example=' with a unit, such as "20 MiB", or "off"')]
"""Bytes per second; zero for "off"."""
FreeSpace: TypeAlias = Annotated[MinFree, _text(parse_min_free, MinFree, ', such as "auto" or "20 GiB"')]
Listen: TypeAlias = Annotated[Address, _text(parse_address, Address, ', such as "127.0.0.1:5555"')]
PublicUrl: TypeAlias = Annotated[str, _text(parse_public_url)]
SiteUrl: TypeAlias = Annotated[str, _text(parse_site_url)]
SiteUrls: TypeAlias = Annotated[tuple[str, ...], _texts(parse_site_url)]
EgressProxy: TypeAlias = Annotated[str | Secret, _text(_proxy, Secret)]
UpstreamProxy: TypeAlias = Annotated[str | Secret, _text(_proxy_or_none, Secret)]
NoProxy: TypeAlias = Annotated[tuple[str, ...], _texts(parse_no_proxy)]
UpstreamUrl: TypeAlias = Annotated[str, _text(parse_url)]
UpstreamName: TypeAlias = Annotated[str, _text(parse_name)]
OptionalName: TypeAlias = Annotated[str, _text(_optional_name)]
"""The name of an upstream, or nothing."""
Texts: TypeAlias = Annotated[tuple[str, ...], _texts(str)]
FilePath: TypeAlias = Annotated[str, _text(parse_path)]
FilePaths: TypeAlias = Annotated[tuple[str, ...], _texts(parse_path)]
Names: TypeAlias = Annotated[tuple[str, ...], _texts(parse_name)]
SecretText: TypeAlias = Annotated[Secret | None, _text(_secret, Secret)]
Hosts: TypeAlias = Annotated[tuple[str, ...], _texts(parse_host)]
Origins: TypeAlias = Annotated[tuple[str, ...], _texts(parse_origin)]
Networks: TypeAlias = Annotated[tuple[Network, ...], _texts(parse_network)]
OrAuto: TypeAlias = Annotated[bool | None, Parsed(_or_auto)]
"""True, false, or "auto" (None), where other things decide."""
AdminListen: TypeAlias = Annotated[Address | Path | None, Parsed(_admin_listen)]
"""An address, the path of a Unix socket, or None."""
Expiry: TypeAlias = Annotated[float | None, Parsed(_expiry)]
"""Seconds since the epoch; None for never."""
TokenName: TypeAlias = Annotated[str, _text(_token_name)]
